//! What is set from outside: how much is tried, and from which seed.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A number in the environment.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Random numbers from a seed that is set or drawn. It is printed, so that what was found comes again.
pub fn seeded(name: &str) -> StdRng {
    StdRng::seed_from_u64(seed(name))
}

/// The seed alone.
pub fn seed(name: &str) -> u64 {
    let seed = setting(name).unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("{name}={seed}");
    seed
}
