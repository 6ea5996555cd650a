//! The entries of the database: what their keys and values look like.

use sled::IVec;
use upkeep_model::Lane;

use super::BufferError;
use super::tree::Batch;

/// The version of the value's layout, its first byte.
const VERSION: u8 = 1;

/// Version, kind, number, part, parts, checksum.
const HEADER_BYTES: usize = 1 + 1 + 8 + 2 + 2 + 4;

/// No value of the database is longer than this. A leaf holds up to 16 values, and leaves over
/// about 128 KiB would go to blob files, which sled never syncs.
const MAX_VALUE_BYTES: usize = 4096;

/// The payload of one value.
const MAX_PART_BYTES: usize = MAX_VALUE_BYTES - HEADER_BYTES;

/// The length of a key: kind, number, part.
const KEY_BYTES: usize = 1 + 8 + 2;

/// The key of a value.
pub(super) type Key = [u8; KEY_BYTES];

/// No key is before this one.
pub(super) const FIRST_KEY: Key = [0; KEY_BYTES];

/// No key is after this one.
pub(super) const LAST_KEY: Key = [u8::MAX; KEY_BYTES];

/// What an entry holds. The number is the first byte of its key and keeps its meaning for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Proves that the database is the one that was written: the epoch.
    Sentinel = 1,
    /// The counters of both lanes.
    Counters = 2,
    /// Series of the dictionary; the entry's number is that of its first series.
    Series = 3,
    /// A record of the samples lane; the entry's number is its sequence number.
    Samples = 4,
    /// A record of the events lane; the entry's number is its sequence number.
    Events = 5,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Sentinel, Self::Counters, Self::Series, Self::Samples, Self::Events];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

impl From<Lane> for Kind {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Samples => Self::Samples,
            Lane::Events => Self::Events,
        }
    }
}

/// An entry as it is meant: the parts of its values joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) payload: Vec<u8>,
}

impl Entry {
    pub(super) fn new(kind: Kind, number: u64, payload: Vec<u8>) -> Self {
        Self { kind, number, payload }
    }

    /// How many values the entry takes.
    pub(super) fn parts(&self) -> u16 {
        let parts = self.payload.len().div_ceil(MAX_PART_BYTES).max(1);
        u16::try_from(parts).unwrap_or(u16::MAX)
    }

    /// What its keys and values take, without the database's own overhead.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.parts()) * (KEY_BYTES + HEADER_BYTES) as u64
    }

    /// Adds the entry to a batch.
    pub(super) fn put(&self, batch: &mut Batch) {
        let parts = self.parts();
        let mut rest = self.payload.as_slice();
        for part in 0..parts {
            let (payload, after) = rest.split_at(rest.len().min(MAX_PART_BYTES));
            rest = after;
            batch.insert(
                key(self.kind, self.number, part),
                value(self.kind, self.number, (part, parts), payload),
            );
        }
    }

    /// Adds the entry's removal to a batch.
    pub(super) fn remove(&self, batch: &mut Batch) {
        remove(batch, self.kind, self.number, self.parts());
    }
}

/// Adds the removal of an entry of so many parts to a batch.
pub(super) fn remove(batch: &mut Batch, kind: Kind, number: u64, parts: u16) {
    for part in 0..parts {
        batch.remove(key(kind, number, part));
    }
}

/// The first key of an entry.
pub(super) fn first_key(kind: Kind, number: u64) -> Key {
    key(kind, number, 0)
}

/// The last key that an entry of the kind and number can have.
pub(super) fn last_key(kind: Kind, number: u64) -> Key {
    key(kind, number, u16::MAX)
}

fn key(kind: Kind, number: u64, part: u16) -> Key {
    let mut key = [0; KEY_BYTES];
    let (head, tail) = key.split_at_mut(1);
    let (middle, tail) = tail.split_at_mut(8);
    head.copy_from_slice(&[kind as u8]);
    middle.copy_from_slice(&number.to_be_bytes());
    tail.copy_from_slice(&part.to_be_bytes());
    key
}

fn value(kind: Kind, number: u64, (part, parts): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + payload.len());
    value.push(VERSION);
    value.push(kind as u8);
    value.extend_from_slice(&number.to_le_bytes());
    value.extend_from_slice(&part.to_le_bytes());
    value.extend_from_slice(&parts.to_le_bytes());
    let checksum = checksum(&value, payload);
    value.extend_from_slice(&checksum.to_le_bytes());
    value.extend_from_slice(payload);
    value
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// One value, checked.
struct Part<'v> {
    kind: Kind,
    number: u64,
    part: u16,
    parts: u16,
    payload: &'v [u8],
}

fn read_part(value: &[u8]) -> Option<Part<'_>> {
    let (header, rest) = value.split_at_checked(HEADER_BYTES - 4)?;
    let (sum, payload) = rest.split_first_chunk::<4>()?;
    let (&version, fields) = header.split_first()?;
    let (&kind, fields) = fields.split_first()?;
    let (number, fields) = fields.split_first_chunk::<8>()?;
    let (part, fields) = fields.split_first_chunk::<2>()?;
    let parts = fields.first_chunk::<2>()?;
    let sound = version == VERSION && u32::from_le_bytes(*sum) == checksum(header, payload);
    sound.then_some(Part {
        kind: Kind::of(kind)?,
        number: u64::from_le_bytes(*number),
        part: u16::from_le_bytes(*part),
        parts: u16::from_le_bytes(*parts),
        payload,
    })
}

/// Joins the values of a scan in key order into entries.
pub(super) struct Join<I>(I);

impl<I: Iterator<Item = sled::Result<(IVec, IVec)>>> Join<I> {
    pub(super) fn new(pairs: I) -> Self {
        Self(pairs)
    }

    fn read(&mut self, key: &[u8], value: &[u8]) -> Result<Entry, BufferError> {
        let damaged = || BufferError::Damaged(format!("entry {key:02x?} is not what was written"));
        let first = read_part(value).ok_or_else(damaged)?;
        let (kind, number, parts) = (first.kind, first.number, first.parts);
        if key != first_key(kind, number) || first.part != 0 {
            return Err(damaged());
        }
        let mut payload = first.payload.to_vec();
        for index in 1..parts {
            let (key, value) = self.0.next().ok_or_else(damaged)??;
            let part = read_part(&value).ok_or_else(damaged)?;
            let fits = (part.kind, part.number, part.part, part.parts);
            if fits != (kind, number, index, parts) || *key != self::key(kind, number, index) {
                return Err(damaged());
            }
            payload.extend_from_slice(part.payload);
        }
        Ok(Entry { kind, number, payload })
    }
}

impl<I: Iterator<Item = sled::Result<(IVec, IVec)>>> Iterator for Join<I> {
    type Item = Result<Entry, BufferError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = match self.0.next()? {
            Ok(pair) => pair,
            Err(error) => return Some(Err(error.into())),
        };
        Some(self.read(&key, &value))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    fn stored(entries: &[Entry]) -> Vec<(IVec, IVec)> {
        let shelf = Memory::default().shelf(1);
        let mut batch = Batch::default();
        entries.iter().for_each(|entry| entry.put(&mut batch));
        shelf.apply(batch);
        shelf.pairs(FIRST_KEY..=LAST_KEY)
    }

    fn joined(pairs: &[(IVec, IVec)]) -> Result<Vec<Entry>, BufferError> {
        Join::new(pairs.iter().cloned().map(Ok)).collect()
    }

    #[test]
    fn entries_of_every_length_come_back() {
        for length in [0, 1, MAX_PART_BYTES, MAX_PART_BYTES + 1, 100_000] {
            let payload = (0..length).map(|index| index as u8).collect();
            let entries = [
                Entry::new(Kind::Samples, 7, payload),
                Entry::new(Kind::Events, 1, b"event".to_vec()),
            ];
            let pairs = stored(&entries);
            assert!(pairs.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
            assert_eq!(joined(&pairs).unwrap(), entries, "{length} bytes");
            let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!(bytes as u64, entries.iter().map(Entry::stored_bytes).sum::<u64>());
        }
    }

    #[test]
    fn an_entry_that_lacks_a_part_or_a_bit_is_damaged() {
        let pairs = stored(&[Entry::new(Kind::Events, 3, vec![5; 10_000])]);
        for missing in 0..pairs.len() {
            let mut some = pairs.clone();
            some.remove(missing);
            assert!(matches!(joined(&some), Err(BufferError::Damaged(_))), "part {missing}");
        }
        for bit in (0..pairs[1].1.len() * 8).step_by(997) {
            let mut value = pairs[1].1.to_vec();
            value[bit / 8] ^= 1 << (bit % 8);
            let mut flipped = pairs.clone();
            flipped[1].1 = value.into();
            assert!(matches!(joined(&flipped), Err(BufferError::Damaged(_))), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_under_a_foreign_key_is_damaged() {
        let mut pairs = stored(&[Entry::new(Kind::Events, 3, b"x".to_vec())]);
        pairs[0].0 = IVec::from(&first_key(Kind::Events, 4));
        assert!(matches!(joined(&pairs), Err(BufferError::Damaged(_))));
    }
}
