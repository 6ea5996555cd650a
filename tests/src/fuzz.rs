//! Foreign bytes at random: good ones are spoilt and read again, by proptest, which finds the
//! smallest spoiling that still fails.
//!
//! Without `FUZZ_SECONDS` a target has a few cases, the same each time, so that a test that fails is
//! one that was broken. With it, as `make fuzz` has it, all targets together have so many seconds,
//! each the same share, from `FUZZ_SEED` on. No seeds are kept in files: a failure names its seed, which
//! `FUZZ_SEED` brings back as the first one, and a fault that was found deserves a test of its own.

use std::fmt::Debug;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Every target, so that each knows its share of the time.
pub const TARGETS: [&str; 15] = [
    "codec frames",
    "disks",
    "disks' values",
    "files of probes",
    "files' values",
    "configuration",
    "helper's answers",
    "helper's questions",
    "package databases",
    "package managers",
    "queries",
    "recordings",
    "remote write",
    "texts of metrics",
    "tokens",
];

/// After so many cases a new seed begins, and it is looked whether the time is over.
const CASES_A_SEED: u32 = 16;

/// So often a failing case is made smaller at most.
const MOST_SHRINKS: u32 = 500;

/// What numbers and words are spoilt with.
const ODD: [&[u8]; 16] = [
    b"-1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1e400",
    b"NaN",
    b"inf",
    b"-0x",
    b"\0",
    b"\xff\xfe",
    b"\n",
    b" ",
    b":",
    b"\"",
    b"{",
    b"]",
    b"\xc3\xa9\xf0\x9f\x92\xa5",
];

/// One thing that happens to bytes. Places count from the start and are within whatever there is.
#[derive(Clone, Debug)]
pub enum Spoil {
    /// They end here.
    Cut(Index),
    /// So many are lost.
    Lose(Index, usize),
    /// So many come twice.
    Repeat(Index, usize),
    /// So many become something odd.
    Replace(Index, usize, &'static [u8]),
    /// One becomes another.
    Change(Index, u8),
}

impl Spoil {
    /// Spoils bytes.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let all = bytes.len();
        let range = |at: &Index, length: &usize| {
            let at = at.index(all + 1);
            at..(at + length).min(all)
        };
        match self {
            Self::Cut(at) => bytes.truncate(at.index(all + 1)),
            Self::Lose(at, length) => drop(bytes.drain(range(at, length))),
            Self::Repeat(at, length) => {
                let range = range(at, length);
                let again = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, again);
            }
            Self::Replace(at, length, odd) => {
                bytes.splice(range(at, length), odd.iter().copied());
            }
            Self::Change(at, byte) if !bytes.is_empty() => {
                bytes[at.index(all)] = *byte;
            }
            Self::Change(..) => {}
        }
    }
}

/// One to four things that happen to bytes.
pub fn spoils() -> impl Strategy<Value = Vec<Spoil>> {
    let at = || any::<Index>();
    let length = || 0_usize..40;
    let one = prop_oneof![
        at().prop_map(Spoil::Cut),
        (at(), length()).prop_map(|(at, length)| Spoil::Lose(at, length)),
        (at(), length()).prop_map(|(at, length)| Spoil::Repeat(at, length)),
        (at(), length(), prop::sample::select(&ODD[..]))
            .prop_map(|(at, length, odd)| Spoil::Replace(at, length, odd)),
        (at(), Just(0), prop::sample::select(&ODD[..]))
            .prop_map(|(at, length, odd)| Spoil::Replace(at, length, odd)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Spoil::Change(at, byte)),
    ];
    prop::collection::vec(one, 1..=4)
}

/// Good bytes, spoilt.
pub fn spoilt(good: &[u8], spoils: &[Spoil]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    spoils.iter().for_each(|spoil| spoil.apply(&mut bytes));
    bytes
}

/// Tries a target: `few` cases, or as many as its share of the time allows.
///
/// # Panics
/// When a case does, with the seed and the smallest case that does it, too.
pub fn survive<S: Strategy>(target: &str, few: u32, cases: &S, test: impl Fn(S::Value))
where
    S::Value: Debug,
{
    assert!(TARGETS.contains(&target), "{target:?} is not in the list, and has no share");
    let until = share().map(|share| Instant::now() + share);
    let (mut seed, mut tried) = (setting("FUZZ_SEED").unwrap_or(1), 0);
    loop {
        let due = until.map_or(few.saturating_sub(tried).min(CASES_A_SEED), |_| CASES_A_SEED);
        let config = Config {
            cases: due,
            failure_persistence: None,
            max_shrink_iters: MOST_SHRINKS,
            ..Config::default()
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config, random).run(cases, |case| {
            test(case);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{target}: FUZZ_SECONDS=1 FUZZ_SEED={seed} does it again: {failure}");
        }
        (seed, tried) = (seed.wrapping_add(1), tried + due);
        if until.map_or(tried >= few, |until| Instant::now() > until) {
            break;
        }
    }
    println!("{target}: {tried} cases");
}

/// The time that one target has: as many run side by side as the test harness has threads.
fn share() -> Option<Duration> {
    let seconds = setting("FUZZ_SECONDS")?;
    let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = setting("RUST_TEST_THREADS").unwrap_or(cores);
    let milliseconds = seconds.saturating_mul(1000).saturating_mul(threads);
    Some(Duration::from_millis(milliseconds / TARGETS.len() as u64))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}
