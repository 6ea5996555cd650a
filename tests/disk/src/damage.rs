//! Damage at random: bits that flipped, files that were cut off, sectors that read as something else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::error::DiskError;
use crate::setting::{folder_in_memory, setting};
use crate::tree::Tree;

/// So many times one filled folder is damaged, each time anew; then another one is filled.
const DAMAGES_A_LIFE: u64 = 50;

/// What is read at once from a disk, and is lost at once.
const SECTOR_BYTES: usize = 512;

/// Whatever is damaged, opening and looking through takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets how many damages are tried.
const DAMAGES: &str = "UPKEEP_DAMAGES";

/// Sets which folder is the first, which brings a failure back.
const SEED: &str = "UPKEEP_DAMAGE_SEED";

/// A program that keeps files and finds out when they are not what it wrote.
pub trait Wary {
    /// What is known of a folder, to hold what is served against it.
    type Life;

    /// Fills a folder, and ends.
    fn fill(&self, folder: &Path, random: &mut StdRng) -> Self::Life;

    /// Begins again after damage to one file, whose path within the folder is given. Panics unless
    /// all that is served is as it was and all that is missing is declared and set aside.
    fn check(&self, life: &Self::Life, folder: &Path, damaged: &Path) -> Harm;
}

/// What a damage did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Everything is there.
    None,
    /// Something is lost, and declared.
    Declared,
}

/// What came of the damages that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DamageOutcome {
    /// So many damages were tried.
    pub damages: u64,
    /// So many of them lost something, which was declared.
    pub declared: u64,
    /// So many failed.
    pub failed: u64,
    /// The longest that opening and looking through took.
    pub longest: Duration,
}

/// Holds a program against damage to its files: `few` times, or as often as `UPKEEP_DAMAGES` says.
///
/// # Panics
/// When one fails, or a folder cannot be written.
pub fn survives_damage<W: Wary>(program: &W, few: u64) {
    let outcome = damage_files(program, setting(DAMAGES).unwrap_or(few));
    assert_eq!(outcome.map(|outcome| outcome.failed).map_err(|error| error.to_string()), Ok(0));
}

/// Damages a program's files, one at a time. Failures are printed with the setting of
/// `UPKEEP_DAMAGE_SEED` that brings them back.
///
/// # Errors
/// When a folder cannot be written or read.
pub fn damage_files<W: Wary>(program: &W, wanted: u64) -> Result<DamageOutcome, DiskError> {
    let mut outcome = DamageOutcome::default();
    for seed in setting(SEED).unwrap_or(1).. {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = folder_in_memory()?;
        let life = program.fill(folder.path(), &mut random);
        let filled = Tree::read(folder.path())?;
        for _ in 0..DAMAGES_A_LIFE.min(wanted - outcome.damages) {
            if !try_one(program, &life, filled.clone(), &mut random, &mut outcome)? {
                eprintln!("{SEED}={seed} does it again");
            }
        }
        if outcome.damages >= wanted {
            break;
        }
    }
    println!(
        "{}: {} damages, {} of them lost something and declared it, the slowest was over in {:.1?}: \
         {} failed",
        std::any::type_name::<W>(),
        outcome.damages,
        outcome.declared,
        outcome.longest,
        outcome.failed
    );
    Ok(outcome)
}

fn try_one<W: Wary>(
    program: &W,
    life: &W::Life,
    mut tree: Tree,
    random: &mut StdRng,
    outcome: &mut DamageOutcome,
) -> Result<bool, DiskError> {
    let (path, what) = damage_one(&mut tree, random);
    let folder = folder_in_memory()?;
    tree.write(folder.path())?;
    let begun = Instant::now();
    let check = AssertUnwindSafe(|| program.check(life, folder.path(), &path));
    let harm = catch_unwind(check);
    let took = begun.elapsed();
    outcome.damages += 1;
    outcome.declared += u64::from(matches!(harm, Ok(Harm::Declared)));
    outcome.longest = outcome.longest.max(took);
    let is_good = harm.is_ok() && took <= PATIENCE;
    if !is_good {
        outcome.failed += 1;
        eprintln!("{}: {what}; it took {took:.1?}", path.display());
    }
    Ok(is_good)
}

/// Damages one file and says which and how. A file that is empty cannot be damaged.
fn damage_one(tree: &mut Tree, random: &mut impl Rng) -> (PathBuf, String) {
    let mut files = tree.files();
    files.retain(|(_, bytes)| !bytes.is_empty());
    let chosen = random.random_range(0..files.len().max(1));
    let Some((path, bytes)) = files.into_iter().nth(chosen) else {
        return (PathBuf::new(), "there is nothing to damage".to_owned());
    };
    let length = bytes.len();
    let what = match random.random_range(0..10) {
        0..6 => {
            let flips: Vec<usize> = (0..random.random_range(1..=3))
                .map(|_| random.random_range(0..length * 8))
                .collect();
            for &bit in &flips {
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            format!("bits {flips:?} of {} flipped", length * 8)
        }
        6 | 7 => {
            bytes.truncate(random.random_range(0..length));
            format!("cut off from {length} to {} bytes", bytes.len())
        }
        8 => overwrite(bytes, random, |_| 0),
        _ => overwrite(bytes, random, |random| random.random()),
    };
    (path, what)
}

/// Overwrites up to eight sectors.
fn overwrite<R: Rng>(bytes: &mut [u8], random: &mut R, fill: impl Fn(&mut R) -> u8) -> String {
    let first = random.random_range(0..bytes.len()) / SECTOR_BYTES * SECTOR_BYTES;
    let last = bytes.len().min(first + random.random_range(1..=8) * SECTOR_BYTES);
    for byte in bytes.get_mut(first..last).unwrap_or_default() {
        *byte = fill(random);
    }
    format!("bytes {first} to {last} of {} overwritten", bytes.len())
}
