//! What is known of a stream: what its numbers mean, its key frames, and how far it came.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use upkeep_codec::{DecodeError, KeyFrame, check_delta, decode, peek};
use upkeep_model::{Ranges, StreamKey};

use crate::StoreError;
use crate::index::{SeriesRef, UNKNOWN};

/// So many key frames of a stream are kept for frames to come, those that were used last: the one
/// that live frames lean on, the one of the backlog beside them, and some for records that were in
/// flight.
const KEYS_KEPT: usize = 8;

/// So many ranges of a stream may be taken. Each is a time that a host was back and went away again
/// before its backlog was delivered.
const MAX_RANGES: usize = 64;

/// With so many ranges no further one is begun beside the backlog; the rest of [`MAX_RANGES`] is for
/// gaps that are declared in between.
const MAX_RANGES_BEGUN: usize = 32;

/// What the values of a frame are of: its key frame's numbers, resolved to series.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) generation: u32,
    pub(crate) key: KeyFrame,
    /// One for each number of the key frame.
    pub(crate) series: Arc<[SeriesRef]>,
}

/// A key frame that frames may lean on.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) layout: Arc<Layout>,
    pub(crate) body: Bytes,
    /// Whether it was given by itself, and not as a record of the stream.
    is_given: bool,
    /// The larger, the later it was used.
    used: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The records that were taken or skipped, though perhaps not made durable yet.
    pub(crate) accepted: Ranges,
    /// Records that will never come; without those that the database has noted.
    pub(crate) skipped: Ranges,
    /// A range of its own may begin with this record, although those before it are missing.
    begins: Option<u64>,
    /// How often a number got another label set.
    pub(crate) generation: u32,
    /// The series of each number, by generation. Generations before the current one are there only
    /// while the journal is read.
    pub(crate) dictionaries: BTreeMap<u32, Vec<SeriesRef>>,
    /// By the sequence number of the key frame.
    pub(crate) keys: BTreeMap<u64, Key>,
    /// How often a key frame was used.
    uses: u64,
    /// The latest timestamp of a frame.
    pub(crate) last_ms: Option<i64>,
    /// What the database has of the stream.
    pub(crate) saved: Saved,
}

/// What the database has of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) committed: Ranges,
    pub(crate) generation: u32,
    pub(crate) last_ms: Option<i64>,
    pub(crate) keys: Vec<u64>,
    /// How many numbers of each generation are described.
    pub(crate) numbers: BTreeMap<u32, u32>,
}

/// A frame that was found good.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) timestamp_ms: i64,
    pub(crate) layout: Arc<Layout>,
    /// The key frame that it leans on; `None` if it is one itself.
    pub(crate) key: Option<u64>,
}

impl Stream {
    /// The series of the numbers described in the current generation.
    pub(crate) fn dictionary(&self) -> &[SeriesRef] {
        self.dictionaries.get(&self.generation).map(Vec::as_slice).unwrap_or_default()
    }

    /// Gives numbers their series; numbers before the first one must have theirs. A number that
    /// had another series begins a new generation, in which those after the given ones have none:
    /// an agent that numbers its series anew describes all of them.
    pub(crate) fn describe(&mut self, first_number: u32, series: &[SeriesRef]) {
        let first = first_number as usize;
        let known = self.dictionary().get(first..).unwrap_or_default();
        let has_changed = known.iter().zip(series).any(|(before, now)| before != now);
        if has_changed {
            let dictionary = self.dictionary().get(..first).unwrap_or_default().to_vec();
            self.generation += 1;
            self.dictionaries = BTreeMap::from([(self.generation, dictionary)]);
        }
        self.put_numbers(self.generation, first_number, series);
        if has_changed {
            self.resolve_keys();
        }
    }

    /// Puts series into a generation's dictionary; numbers left out on the way are unknown.
    pub(crate) fn put_numbers(&mut self, generation: u32, first: u32, series: &[SeriesRef]) {
        let dictionary = self.dictionaries.entry(generation).or_default();
        let first = first as usize;
        let end = first + series.len();
        if dictionary.len() < end {
            dictionary.resize(end, UNKNOWN);
        }
        if let Some(slots) = dictionary.get_mut(first..end) {
            slots.copy_from_slice(series);
        }
    }

    /// Reads what comes by the dictionary of another generation.
    pub(crate) fn enter(&mut self, generation: u32) {
        if generation != self.generation {
            self.generation = generation;
            self.resolve_keys();
        }
    }

    /// Lets a range of its own begin with a record. Says whether it may: the number of ranges is
    /// bounded.
    pub(crate) fn begin_at(&mut self, first: u64) -> bool {
        self.begins = None;
        let begins = self.follows(first)
            || self.accepted.contains(first)
            || self.accepted.count() < MAX_RANGES_BEGUN;
        if begins {
            self.begins = Some(first);
        }
        begins
    }

    /// Whether a record may be taken: the first, one after another, or the begin of a range.
    pub(crate) fn follows(&self, sequence: u64) -> bool {
        sequence == 1
            || self.begins == Some(sequence)
            || sequence.checked_sub(1).is_some_and(|before| self.accepted.contains(before))
    }

    /// The record that must come before one that does not follow.
    pub(crate) fn wanted_before(&self, sequence: u64) -> u64 {
        let holes = self.accepted.missing(1..=sequence);
        holes.last().map_or(sequence, |hole| *hole.start())
    }

    /// Passes over records that will never come. Says whether it did: the number of ranges is
    /// bounded.
    pub(crate) fn skip(&mut self, numbers: RangeInclusive<u64>) -> bool {
        let mut accepted = self.accepted.clone();
        accepted.insert(numbers.clone());
        let fits = accepted.count() <= MAX_RANGES.max(self.accepted.count());
        if fits {
            self.accepted = accepted;
            self.skipped.insert(numbers);
        }
        fits
    }

    /// Notes what the database has now.
    pub(crate) fn note_saved(&mut self, saved: Saved) {
        let holes = |numbers| saved.committed.missing(numbers);
        self.skipped = self.skipped.iter().flat_map(holes).collect();
        self.saved = saved;
    }

    /// Takes a key frame for frames to come.
    pub(crate) fn put_key(
        &mut self,
        stream: StreamKey,
        sequence: u64,
        body: &Bytes,
    ) -> Result<(), StoreError> {
        let frame = decode(body, |_| None).map_err(|source| StoreError::Frame {
            stream,
            sequence,
            source,
        })?;
        let layout = self.resolve(&frame.to_key()).map_err(|number| StoreError::NotDescribed {
            stream,
            sequence,
            number,
        })?;
        let body = Bytes::copy_from_slice(body);
        let used = self.next_use();
        self.keys.insert(sequence, Key { layout, body, is_given: true, used });
        Ok(())
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Checks a frame and keeps it if it is a key frame; the mark is the caller's.
    pub(crate) fn read(
        &mut self,
        stream: StreamKey,
        sequence: u64,
        body: &Bytes,
    ) -> Result<Accepted, StoreError> {
        let told = |source| StoreError::Frame { stream, sequence, source };
        let head = peek(body).map_err(told)?;
        let used = self.next_use();
        let timestamp_ms = head.timestamp_ms;
        if let Some(leans_on) = head.key {
            let key = self.keys.get_mut(&leans_on);
            let key = key.ok_or(DecodeError::KeyUnknown(leans_on)).map_err(told)?;
            check_delta(body, &key.layout.key).map_err(told)?;
            key.used = used;
            let layout = Arc::clone(&key.layout);
            return Ok(Accepted { timestamp_ms, layout, key: Some(leans_on) });
        }
        let frame = decode(body, |_| None).map_err(told)?;
        let layout = self.resolve(&frame.to_key()).map_err(|number| StoreError::NotDescribed {
            stream,
            sequence,
            number,
        })?;
        let (body, is_given) = (Bytes::copy_from_slice(body), false);
        let key = Key { layout: Arc::clone(&layout), body, is_given, used };
        self.keys.insert(sequence, key);
        Ok(Accepted { timestamp_ms, layout, key: None })
    }

    /// Takes a frame of the journal, which was checked before it was written there: one that leans on a key
    /// frame is not decoded again.
    pub(crate) fn recall(
        &mut self,
        stream: StreamKey,
        sequence: u64,
        body: &Bytes,
    ) -> Result<Accepted, StoreError> {
        let fault = |source| StoreError::Frame { stream, sequence, source };
        let head = peek(body).map_err(fault)?;
        let Some(sequence_of_key) = head.key else { return self.read(stream, sequence, body) };
        let used = self.next_use();
        let key = self.keys.get_mut(&sequence_of_key);
        let key = key.ok_or(fault(DecodeError::KeyUnknown(sequence_of_key)))?;
        key.used = used;
        let layout = Arc::clone(&key.layout);
        Ok(Accepted { timestamp_ms: head.timestamp_ms, layout, key: head.key })
    }

    /// Takes back what was accepted since, as it did not become durable.
    pub(crate) fn roll_back(&mut self, before: &Ranges) {
        let mut accepted = before.clone();
        accepted.extend(&self.skipped);
        self.keys.retain(|sequence, key| key.is_given || accepted.contains(*sequence));
        self.accepted = accepted;
    }

    /// Forgets what numbers mean and all key frames, of a stream that was silent for long. The
    /// mark stays.
    pub(crate) fn forget_dictionary(&mut self) {
        self.generation += 1;
        self.dictionaries.clear();
        self.keys.clear();
    }

    /// The key frame that goes into the database, where each takes room for as long as the stream
    /// is known: the one that was used last. An agent gives those that its records lean on whenever
    /// it connects, and each segment of the journal carries its own, so that this one serves where a
    /// segment lost its own. A key frame of a record that is not durable yet is in no journal that
    /// could be lost.
    pub(crate) fn key_to_save(&self, committed: &Ranges) -> Option<u64> {
        let durable = self.keys.iter().filter(|(sequence, _)| committed.contains(**sequence));
        durable.max_by_key(|(_, key)| key.used).map(|(sequence, _)| *sequence)
    }

    /// Lets go of the key frames that frames to come will hardly lean on. It is not done while the
    /// journal is read again, since the database may then know keys of much later frames already.
    pub(crate) fn trim_keys(&mut self) {
        while self.keys.len() > KEYS_KEPT {
            let oldest = self.keys.iter().min_by_key(|(_, key)| key.used);
            let Some(oldest) = oldest.map(|(sequence, _)| *sequence) else { return };
            self.keys.remove(&oldest);
        }
    }

    /// Resolves all keys anew; those with a number that is not described are forgotten.
    fn resolve_keys(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let resolved = keys.into_iter().filter_map(|(sequence, key)| {
            let layout = self.resolve(&key.layout.key).ok()?;
            Some((sequence, Key { layout, ..key }))
        });
        self.keys = resolved.collect();
    }

    /// The layout of a key frame, or its first number that is not described.
    fn resolve(&self, key: &KeyFrame) -> Result<Arc<Layout>, u32> {
        let generation = self.generation;
        // Key frames follow one another with the same series, which they then share.
        let layouts = self.keys.values().map(|known| &known.layout);
        let mut same = layouts.filter(|known| known.generation == generation);
        if let Some(same) = same.find(|known| known.key.numbers == key.numbers) {
            let numbers = Arc::clone(&same.key.numbers);
            let key = KeyFrame { numbers, values: Arc::clone(&key.values) };
            return Ok(Arc::new(Layout { generation, key, series: Arc::clone(&same.series) }));
        }
        let dictionary = self.dictionary();
        let series = key.numbers.iter().map(|&number| {
            let series = dictionary.get(number as usize).filter(|series| **series != UNKNOWN);
            series.copied().ok_or(number)
        });
        let series = series.collect::<Result<_, _>>()?;
        Ok(Arc::new(Layout { generation, key: key.clone(), series }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_codec::Encoder;
    use upkeep_model::{Epoch, HostId};
    use uuid::Uuid;

    const KEY: StreamKey = StreamKey { host: HostId(Uuid::nil()), epoch: Epoch([0; 16]) };

    #[test]
    fn a_renamed_series_holds_from_the_next_frame_on() {
        let mut stream = Stream::default();
        stream.describe(0, &[10, 11]);
        let mut encoder = Encoder::default();
        let mut frame = |sequence| {
            let encoded = encoder.encode(sequence, 0, vec![(0, 1.0), (1, sequence as f64)]);
            Bytes::from(encoded.bytes)
        };
        let before = stream.read(KEY, 1, &frame(1)).unwrap();
        stream.describe(0, &[10, 11]);
        assert_eq!(stream.generation, 0);
        stream.describe(1, &[12]);
        let after = stream.read(KEY, 2, &frame(2)).unwrap();
        assert_eq!((before.layout.generation, &*before.layout.series), (0, &[10, 11][..]));
        assert_eq!((after.layout.generation, &*after.layout.series), (1, &[10, 12][..]));
    }

    #[test]
    fn series_that_are_numbered_anew_take_one_generation() {
        let mut stream = Stream::default();
        stream.describe(0, &[10, 11, 12, 13]);
        stream.describe(0, &[13, 10]);
        stream.describe(2, &[14]);
        stream.describe(3, &[15, 16]);
        assert_eq!((stream.generation, stream.dictionary()), (1, &[13, 10, 14, 15, 16][..]));
    }

    #[test]
    fn a_range_begins_where_it_was_announced_and_nowhere_else() {
        let mut stream = Stream::default();
        stream.skip(1..=9);
        let check = |stream: &Stream, sequence, expect| {
            assert_eq!(stream.follows(sequence), expect, "{sequence}");
        };
        check(&stream, 10, true);
        check(&stream, 20, false);
        assert!(stream.begin_at(20));
        check(&stream, 20, true);
        check(&stream, 19, false);
        assert_eq!(stream.wanted_before(19), 10);
        stream.skip(20..=29);
        check(&stream, 30, true);
        assert_eq!((stream.wanted_before(15), stream.wanted_before(35)), (10, 30));
        assert!(stream.begin_at(40));
        check(&stream, 21, true);
        check(&stream, 50, false);
    }

    #[test]
    fn the_number_of_ranges_is_bounded() {
        let mut stream = Stream::default();
        let begun = (1..200).filter(|step| {
            let first = step * 10;
            stream.begin_at(first) && stream.skip(first..=first)
        });
        assert_eq!(begun.count(), MAX_RANGES_BEGUN);
        let skipped = (1..200).filter(|step| stream.skip(step * 10 + 5..=step * 10 + 5));
        assert_eq!(skipped.count(), MAX_RANGES - MAX_RANGES_BEGUN);
        // What makes no further range is taken all the same.
        assert!(stream.begin_at(11) && !stream.begin_at(1_000));
        assert!(stream.skip(1..=1_999));
        assert_eq!(stream.accepted.count(), 1);
    }

    #[test]
    fn key_frames_of_the_same_series_share_them() {
        let mut stream = Stream::default();
        stream.describe(0, &[10, 11, 12]);
        let key = |sequence, numbers: &[u32]| {
            let row = numbers.iter().map(|number| (*number, sequence as f64)).collect();
            Bytes::from(Encoder::default().encode(sequence, 0, row).bytes)
        };
        let read = |stream: &mut Stream, sequence, numbers: &[u32]| {
            stream.read(KEY, sequence, &key(sequence, numbers)).unwrap().layout
        };
        let first = read(&mut stream, 1, &[0, 1]);
        let second = read(&mut stream, 2, &[0, 1]);
        assert!(Arc::ptr_eq(&first.series, &second.series));
        assert_eq!((first.key.values[0], second.key.values[0]), (1.0, 2.0));
        assert_eq!(*read(&mut stream, 3, &[0, 2]).series, [10, 12]);
        stream.describe(1, &[13, 12]);
        assert_eq!(*read(&mut stream, 4, &[0, 1]).series, [10, 13]);
    }

    #[test]
    fn the_keys_that_are_in_use_stay() {
        let mut stream = Stream::default();
        stream.describe(0, &[10, 11]);
        let (mut backlog, mut live) = (Encoder::default(), Encoder::default());
        let frame = |encoder: &mut Encoder, sequence, row| {
            Bytes::from(encoder.encode(sequence, 0, row).bytes)
        };
        stream.put_key(KEY, 3, &frame(&mut backlog, 3, vec![(0, 1.0)])).unwrap();
        for step in 0..50_u64 {
            let row = vec![((step % 2) as u32, step as f64)];
            let body = frame(&mut live, 1_000 + step, row);
            stream.read(KEY, 1_000 + step, &body).unwrap();
            stream.trim_keys();
            let body = frame(&mut backlog, 4 + step, vec![(0, step as f64)]);
            stream.read(KEY, 4 + step, &body).unwrap();
            stream.trim_keys();
        }
        assert!(stream.keys.contains_key(&3) && stream.keys.len() == KEYS_KEPT);
        let all: Ranges = [1..=2_000].into_iter().collect();
        assert_eq!(stream.key_to_save(&all), Some(3), "it was used last");
        let without_last: Ranges = [1_000..=2_000].into_iter().collect();
        assert_eq!(stream.key_to_save(&without_last), Some(1_049));
        assert_eq!(stream.key_to_save(&Ranges::default()), None);
    }

    #[test]
    fn numbers_without_a_series_are_refused() {
        let mut stream = Stream::default();
        stream.describe(0, &[10]);
        let frame = Encoder::default().encode(1, 0, vec![(0, 1.0), (1, 2.0)]);
        let error = stream.read(KEY, 1, &frame.bytes.into()).unwrap_err();
        assert!(matches!(error, StoreError::NotDescribed { number: 1, .. }), "{error}");
    }
}
