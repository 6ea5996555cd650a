//! What is known of a stream: what its numbers mean, its key frames, and how far it came.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use upkeep_codec::{DecodeError, KeyFrame, decode};
use upkeep_model::StreamKey;

use crate::StoreError;
use crate::index::{SeriesRef, UNKNOWN};

/// So many key frames of a stream are kept for frames to come, those with the highest numbers. An
/// agent's frames lean on its latest key frame; the others are for records that were in flight.
const KEYS_KEPT: usize = 8;

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
}

#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// All records up to this one were taken or skipped, though perhaps not made durable yet.
    pub(crate) accepted: u64,
    /// Records up to this one will never come.
    pub(crate) skipped: u64,
    /// How often a number got another label set.
    pub(crate) generation: u32,
    /// The series of each number, by generation. Generations before the current one are there only
    /// while the journal is read.
    pub(crate) dictionaries: BTreeMap<u32, Vec<SeriesRef>>,
    /// By the sequence number of the key frame.
    pub(crate) keys: BTreeMap<u64, Key>,
    /// The latest timestamp of a frame.
    pub(crate) last_ms: Option<i64>,
    /// What the database has of the stream.
    pub(crate) saved: Saved,
}

/// What the database has of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Saved {
    pub(crate) mark: u64,
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
        self.keys.insert(sequence, Key { layout, body: Bytes::copy_from_slice(body) });
        Ok(())
    }

    /// Checks a frame and keeps it if it is a key frame; the mark is the caller's.
    pub(crate) fn read(
        &mut self,
        stream: StreamKey,
        sequence: u64,
        body: &Bytes,
    ) -> Result<Accepted, StoreError> {
        let head = upkeep_codec::peek(body);
        let key = head.and_then(|head| match head.key {
            None => Ok(None),
            Some(key) => Ok(Some((key, self.keys.get(&key).ok_or(DecodeError::KeyUnknown(key))?))),
        });
        let decoded = key.and_then(|key| {
            let frame = decode(body, |_| key.map(|(_, key)| &key.layout.key))?;
            Ok((frame, key.map(|(sequence, key)| (sequence, Arc::clone(&key.layout)))))
        });
        let (frame, key) =
            decoded.map_err(|source| StoreError::Frame { stream, sequence, source })?;
        let (key, layout) = match key {
            Some((key, layout)) => (Some(key), layout),
            None => {
                let layout = self
                    .resolve(&frame.to_key())
                    .map_err(|number| StoreError::NotDescribed { stream, sequence, number })?;
                let key = Key { layout: Arc::clone(&layout), body: Bytes::copy_from_slice(body) };
                self.keys.insert(sequence, key);
                (None, layout)
            }
        };
        Ok(Accepted { timestamp_ms: frame.timestamp_ms, layout, key })
    }

    /// Takes back what was accepted after a record, since it did not become durable.
    pub(crate) fn roll_back(&mut self, accepted: u64) {
        self.accepted = accepted.max(self.skipped);
        let accepted = self.accepted;
        self.keys.retain(|sequence, _| *sequence <= accepted);
    }

    /// Forgets what numbers mean and all key frames, of a stream that was silent for long. The
    /// mark stays.
    pub(crate) fn forget_dictionary(&mut self) {
        self.generation += 1;
        self.dictionaries.clear();
        self.keys.clear();
    }

    /// Lets go of the key frames that frames to come will hardly lean on. It is not done while the
    /// journal is read again, since the database may then know keys of much later frames already.
    pub(crate) fn trim_keys(&mut self) {
        while self.keys.len() > KEYS_KEPT {
            self.keys.pop_first();
        }
    }

    /// Resolves all keys anew; those with a number that is not described are forgotten.
    fn resolve_keys(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        let resolved = keys.into_iter().filter_map(|(sequence, key)| {
            let layout = self.resolve(&key.layout.key).ok()?;
            Some((sequence, Key { layout, body: key.body }))
        });
        self.keys = resolved.collect();
    }

    /// The layout of a key frame, or its first number that is not described.
    fn resolve(&self, key: &KeyFrame) -> Result<Arc<Layout>, u32> {
        let dictionary = self.dictionary();
        let series = key.numbers.iter().map(|&number| {
            let series = dictionary.get(number as usize).filter(|series| **series != UNKNOWN);
            series.copied().ok_or(number)
        });
        let series = series.collect::<Result<_, _>>()?;
        Ok(Arc::new(Layout { generation: self.generation, key: key.clone(), series }))
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
    fn numbers_without_a_series_are_refused() {
        let mut stream = Stream::default();
        stream.describe(0, &[10]);
        let frame = Encoder::default().encode(1, 0, vec![(0, 1.0), (1, 2.0)]);
        let error = stream.read(KEY, 1, &frame.bytes.into()).unwrap_err();
        assert!(matches!(error, StoreError::NotDescribed { number: 1, .. }), "{error}");
    }
}
