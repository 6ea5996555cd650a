//! What the current segment of the journal tells beside samples, so that it can be read by itself.

use std::collections::{BTreeSet, HashMap};

use upkeep_model::{Ranges, StreamKey};

use crate::carried_series::CarriedSeries;
use crate::index::{Index, SeriesRef};
use crate::journal::{Entry, Group};
use crate::stream::Stream;

/// What the current segment has, so that it can be read by itself.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) segment: u64,
    /// Whether it is followed, so that it must tell what the database knows as well.
    is_followed: bool,
    streams: HashMap<StreamKey, CarriedStream>,
    pub(crate) series: CarriedSeries,
}

#[derive(Debug, Default)]
struct CarriedStream {
    generation: u32,
    numbers: u32,
    keys: BTreeSet<u64>,
    /// What it says will never come, and what the database says is committed.
    skipped: Ranges,
}

impl Carried {
    /// Nothing yet, of a segment.
    pub(crate) fn of_segment(segment: u64, is_followed: bool) -> Self {
        Self { segment, is_followed, ..Self::default() }
    }

    /// Writes everything declared of a stream that the segment lacks.
    pub(crate) fn declare(
        &mut self,
        group: &mut Group,
        index: &Index,
        stream: StreamKey,
        state: &Stream,
    ) {
        self.numbers(group, index, stream, state);
        for &key in state.keys.keys() {
            self.key(group, stream, state, key);
        }
        let carried = self.of(stream, state);
        for numbers in state.skipped.iter() {
            for missing in carried.skipped.missing(numbers) {
                let (first, last) = (*missing.start(), *missing.end());
                carried.skipped.insert(missing);
                group.push(&Entry::Skip { stream, first, last });
            }
        }
    }

    /// Writes the descriptions that neither the segment nor the database has.
    pub(crate) fn numbers(
        &mut self,
        group: &mut Group,
        index: &Index,
        stream: StreamKey,
        state: &Stream,
    ) {
        let carried = self.of(stream, state);
        let missing = state.dictionary().get(carried.numbers as usize..).unwrap_or_default();
        if missing.is_empty() {
            return;
        }
        let labels = |number: &SeriesRef| {
            index.get(*number).map(|series| index.labels(series)).unwrap_or_default()
        };
        let first_number = carried.numbers;
        carried.numbers = u32::try_from(state.dictionary().len()).unwrap_or(u32::MAX);
        let series = missing.iter().map(labels).collect();
        let generation = state.generation;
        group.push(&Entry::Describe { stream, generation, first_number, series });
    }

    /// Writes a key frame that the segment lacks.
    pub(crate) fn key(
        &mut self,
        group: &mut Group,
        stream: StreamKey,
        state: &Stream,
        sequence: u64,
    ) {
        if let Some(key) = state.keys.get(&sequence)
            && self.of(stream, state).keys.insert(sequence)
        {
            let (generation, frame) = (state.generation, key.body.clone());
            group.push(&Entry::Reference { stream, generation, sequence, frame });
        }
    }

    pub(crate) fn own_key(&mut self, stream: StreamKey, sequence: u64) {
        if let Some(carried) = self.streams.get_mut(&stream) {
            carried.keys.insert(sequence);
        }
    }

    fn of(&mut self, stream: StreamKey, state: &Stream) -> &mut CarriedStream {
        let is_followed = self.is_followed;
        let fresh = || CarriedStream {
            generation: state.generation,
            numbers: if is_followed { 0 } else { saved_numbers(state) },
            keys: BTreeSet::new(),
            skipped: state.saved.committed.clone(),
        };
        let carried = self.streams.entry(stream).or_insert_with(fresh);
        if carried.generation != state.generation {
            let skipped = std::mem::take(&mut carried.skipped);
            *carried = CarriedStream { skipped, ..fresh() };
        }
        carried
    }
}

fn saved_numbers(state: &Stream) -> u32 {
    state.saved.numbers.get(&state.generation).copied().unwrap_or_default()
}
