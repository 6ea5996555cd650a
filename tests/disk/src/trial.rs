//! Power cuts at random points of random lives, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::disk::{Disk, Ordering};
use crate::error::DiskError;
use crate::operation::Operation;
use crate::recording::Recording;
use crate::setting::{folder_in_memory, setting};
use crate::tree::Tree;

/// States that one life gives; then another life begins.
const STATES_A_LIFE: u64 = 25;

/// Sets how many states are tried.
const STATES: &str = "UPKEEP_POWER_CUTS";

/// Sets which life is the first, which brings a failure back.
const SEED: &str = "UPKEEP_POWER_CUT_SEED";

/// A program that keeps something on a disk, and what it owes after a power cut.
pub trait Durable {
    /// What is known of a life, to hold a state against it.
    type Life;

    /// Lives for a while in a folder, and says by [`Recording::mark`] what it relies on.
    fn live(&self, recording: &Recording, random: &mut StdRng) -> Self::Life;

    /// Begins again with what it finds, and ends.
    fn open(&self, folder: &Path);

    /// Begins again with what it finds after a cut that came after a mark, and panics unless all
    /// that was relied on is there.
    fn check(&self, life: &Self::Life, mark: Option<u64>, folder: &Path);
}

/// What came of the states that were tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// So many states were tried.
    pub states: u64,
    /// So many of them lack something that was written and not synced.
    pub lacking: u64,
    /// So many of them were of cuts while an earlier state was being opened.
    pub while_opening: u64,
    /// So many failed.
    pub failed: u64,
}

/// Holds a program against states of its disk: `few` of them, or as many as `UPKEEP_POWER_CUTS` says.
/// Where no file system of the test's own can be mounted, this is said and nothing is tried; but
/// whoever set `UPKEEP_POWER_CUTS` wants it tried, so then it is a failure.
///
/// # Panics
/// When a state fails, or could not be made.
pub fn survives_power_cuts<D: Durable>(program: &D, ordering: Ordering, few: u64) {
    let wanted = setting(STATES);
    match cut_power(program, ordering, wanted.unwrap_or(few)) {
        Err(error @ DiskError::Mount { .. }) if wanted.is_none() => {
            eprintln!("SKIPPED: power cuts take root and /dev/fuse: {error}");
        }
        outcome => {
            assert_eq!(outcome.map(|outcome| outcome.failed).map_err(|e| e.to_string()), Ok(0))
        }
    }
}

/// Tries states of a program's disk. Half are of cuts during a life, half of cuts while what such a
/// cut left was being opened. Failures are printed with the setting of `UPKEEP_POWER_CUT_SEED` that
/// brings them back.
///
/// # Errors
/// When no file system can be mounted, or no state be written.
pub fn cut_power<D: Durable>(
    program: &D,
    ordering: Ordering,
    wanted: u64,
) -> Result<Outcome, DiskError> {
    let mut outcome = Outcome::default();
    for seed in setting(SEED).unwrap_or(1).. {
        let mut random = StdRng::seed_from_u64(seed);
        let states = STATES_A_LIFE.min(wanted - outcome.states);
        let before = outcome.failed;
        one_life(program, ordering, states, &mut random, &mut outcome)?;
        if outcome.failed > before {
            eprintln!("{SEED}={seed} does it again ({ordering:?})");
        }
        if outcome.states >= wanted {
            break;
        }
    }
    println!(
        "{}: {} states of {ordering:?} disks, {} of them lacking something not synced, {} cut again \
         while opening: {} failed",
        std::any::type_name::<D>(),
        outcome.states,
        outcome.lacking,
        outcome.while_opening,
        outcome.failed
    );
    Ok(outcome)
}

fn one_life<D: Durable>(
    program: &D,
    ordering: Ordering,
    states: u64,
    random: &mut StdRng,
    outcome: &mut Outcome,
) -> Result<(), DiskError> {
    let recording = Recording::mount(Tree::default())?;
    let life = program.live(&recording, random);
    let operations = recording.take();
    drop(recording);
    let mut disk = Disk::new(ordering, Tree::default());
    let (mut done, wanted) = (0, outcome.states + states);
    for place in places(&operations, states.div_ceil(2), random) {
        go_on(&mut disk, &operations, &mut done, place);
        let found = disk.after_cut(random);
        outcome.states += 1;
        outcome.lacking += u64::from(found != disk.whole());
        outcome.failed += u64::from(!is_sound(program, &life, disk.mark(), &found)?);
        if outcome.states < wanted {
            let opening = record_opening(program, ordering, found, random)?;
            let again = opening.after_cut(random);
            outcome.states += 1;
            outcome.lacking += u64::from(again != opening.whole());
            outcome.while_opening += 1;
            outcome.failed += u64::from(!is_sound(program, &life, disk.mark(), &again)?);
        }
    }
    Ok(())
}

/// A disk while a program begins again with what a cut left.
fn record_opening<D: Durable>(
    program: &D,
    ordering: Ordering,
    found: Tree,
    random: &mut StdRng,
) -> Result<Disk, DiskError> {
    let recording = Recording::mount(found.clone())?;
    // If this fails it also failed without a second cut, where it was counted.
    let _ = catch_unwind(AssertUnwindSafe(|| program.open(recording.path())));
    let operations = recording.take();
    let mut disk = Disk::new(ordering, found);
    let place = places(&operations, 1, random).pop().unwrap_or_default();
    go_on(&mut disk, &operations, &mut 0, place);
    Ok(disk)
}

fn go_on(disk: &mut Disk, operations: &[Operation], done: &mut usize, place: usize) {
    for operation in operations.get(*done..place).unwrap_or_default() {
        disk.apply(operation);
    }
    *done = place;
}

/// Where the power goes, in order: mostly right after something was done that is not synced yet.
fn places(operations: &[Operation], count: u64, random: &mut StdRng) -> Vec<usize> {
    let is_unsynced =
        |operation: &Operation| matches!(operation, Operation::Names(_) | Operation::Write { .. });
    let unsynced: Vec<usize> = (1..=operations.len())
        .zip(operations)
        .filter_map(|(place, operation)| is_unsynced(operation).then_some(place))
        .collect();
    let one = |random: &mut StdRng| {
        let anywhere = random.random_range(0..=operations.len());
        let chosen = unsynced.get(random.random_range(0..unsynced.len().max(1)));
        chosen.filter(|_| random.random_bool(0.9)).copied().unwrap_or(anywhere)
    };
    let mut places: Vec<usize> = (0..count).map(|_| one(random)).collect();
    places.sort_unstable();
    places
}

fn is_sound<D: Durable>(
    program: &D,
    life: &D::Life,
    mark: Option<u64>,
    found: &Tree,
) -> Result<bool, DiskError> {
    let folder = folder_in_memory()?;
    found.write(folder.path())?;
    let check = AssertUnwindSafe(|| program.check(life, mark, folder.path()));
    Ok(catch_unwind(check).is_ok())
}
