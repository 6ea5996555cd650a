//! The database's keys and values as bytes.

use upkeep_model::{HostId, Ranges, StreamKey};

use crate::binary::{
    Malformed, Reader, checked, put_bytes, put_signed, put_unsigned, stream_bytes, with_checksum,
};
use crate::coverage::Coverage;
use crate::index::SeriesRef;

use super::Summarised;

/// The version of the database that is written; the one before is read to be migrated.
pub(crate) const VERSION: u64 = 2;

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    pub(crate) host: HostId,
    /// Where its span begins, in milliseconds since 1970.
    pub(crate) span: i64,
    pub(crate) number: u64,
}

impl ChunkKey {
    pub(crate) fn to_bytes(self) -> [u8; 32] {
        // With its sign flipped, an integer sorts by its bytes.
        let span = (self.span as u64) ^ (1 << 63);
        let mut bytes = [0; 32];
        let parts = self.host.0.as_bytes().iter().copied();
        let parts = parts.chain(span.to_be_bytes()).chain(self.number.to_be_bytes());
        for (slot, byte) in bytes.iter_mut().zip(parts) {
            *slot = byte;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let host = reader.host()?;
        let span = (u64::from_be_bytes(reader.array()?) ^ (1 << 63)) as i64;
        Ok(Self { host, span, number: u64::from_be_bytes(reader.array()?) })
    }
}

/// Where a part of a dictionary lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DictionaryKey {
    pub(crate) stream: StreamKey,
    pub(crate) generation: u32,
    pub(crate) first_number: u32,
}

impl DictionaryKey {
    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let parts = stream_bytes(self.stream).into_iter();
        let parts =
            parts.chain(self.generation.to_be_bytes()).chain(self.first_number.to_be_bytes());
        for (slot, byte) in bytes.iter_mut().zip(parts) {
            *slot = byte;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 40]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let stream = reader.stream()?;
        let generation = u32::from_be_bytes(reader.array()?);
        Ok(Self { stream, generation, first_number: u32::from_be_bytes(reader.array()?) })
    }
}

/// What holds for the whole database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) next_series: SeriesRef,
    pub(crate) next_chunk: u64,
    /// How many chunks there are.
    pub(crate) chunks: u64,
    /// The longest span that any chunk may have, in milliseconds.
    pub(crate) longest_span_ms: i64,
    pub(crate) coverage: Coverage,
    /// What the chunks take in the database's file.
    pub(crate) chunk_bytes: u64,
    pub(crate) summarised: Summarised,
}

impl State {
    pub(crate) fn to_bytes(self, key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        put_unsigned(&mut out, VERSION);
        put_unsigned(&mut out, u64::from(self.next_series));
        put_unsigned(&mut out, self.next_chunk);
        put_unsigned(&mut out, self.chunks);
        put_signed(&mut out, self.longest_span_ms);
        put_unsigned(&mut out, self.coverage.all_before);
        put_unsigned(&mut out, self.coverage.due_before);
        put_signed(&mut out, self.coverage.at_ms);
        put_signed(&mut out, self.coverage.span_ms);
        put_unsigned(&mut out, self.chunk_bytes);
        self.summarised.put(&mut out);
        with_checksum(key.as_bytes(), out)
    }

    /// Which version wrote it.
    pub(crate) fn version_of(key: &str, bytes: &[u8]) -> Result<u64, Malformed> {
        Reader(checked(key.as_bytes(), bytes)?).unsigned()
    }

    /// Reads the state of this version or the one before, which does not say what chunks take.
    pub(crate) fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        if Self::version_of(key, bytes)? > VERSION {
            return Err(Malformed::Unknown("the version of the database"));
        }
        let mut reader = Reader(checked(key.as_bytes(), bytes)?);
        let version = reader.unsigned()?;
        Ok(Self {
            next_series: reader.unsigned32()?,
            next_chunk: reader.unsigned()?,
            chunks: reader.unsigned()?,
            longest_span_ms: reader.signed()?,
            coverage: Coverage {
                all_before: reader.unsigned()?,
                due_before: reader.unsigned()?,
                at_ms: reader.signed()?,
                span_ms: reader.signed()?,
            },
            chunk_bytes: if version == VERSION { reader.unsigned()? } else { 0 },
            summarised: Summarised::read(&mut reader)?,
        })
    }
}

/// What is kept of a stream beside its dictionaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamRecord {
    pub(crate) committed: Ranges,
    pub(crate) generation: u32,
    pub(crate) last_ms: Option<i64>,
    pub(crate) keys: Vec<(u64, bytes::Bytes)>,
}

/// Zstandard's level for key frames, which are written with every sealing.
const KEYS_LEVEL: i32 = 3;

impl StreamRecord {
    pub(crate) fn to_bytes(&self, key: &[u8; 32]) -> Vec<u8> {
        let mut out = Vec::new();
        let prefix = self.committed.prefix();
        put_unsigned(&mut out, prefix);
        put_unsigned(&mut out, u64::from(self.generation));
        out.push(u8::from(self.last_ms.is_some()));
        put_signed(&mut out, self.last_ms.unwrap_or_default());
        // The key frames of a stream hardly differ.
        let packed = zstd::bulk::compress(&self.key_bytes(), KEYS_LEVEL).unwrap_or_default();
        put_bytes(&mut out, &packed);
        for numbers in self.committed.iter().filter(|numbers| *numbers.start() > prefix) {
            put_unsigned(&mut out, *numbers.start());
            put_unsigned(&mut out, *numbers.end());
        }
        with_checksum(key, out)
    }

    fn key_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_unsigned(&mut out, self.keys.len() as u64);
        for (sequence, body) in &self.keys {
            put_unsigned(&mut out, *sequence);
            put_bytes(&mut out, body);
        }
        out
    }

    pub(crate) fn from_bytes(key: &[u8; 32], bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(key, bytes, |reader| {
            let keys = zstd::stream::decode_all(reader.bytes()?).map_err(|_| Malformed::Packed)?;
            read_keys(&mut Reader(&keys))
        })
    }

    /// Reads a record of version 1, which had the key frames as they are.
    pub(super) fn from_version_1(key: &[u8; 32], bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(key, bytes, read_keys)
    }

    fn read(
        key: &[u8; 32],
        bytes: &[u8],
        keys: impl FnOnce(&mut Reader<'_>) -> Result<Vec<(u64, bytes::Bytes)>, Malformed>,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader(checked(key, bytes)?);
        let mut committed = Ranges::through(reader.unsigned()?);
        let generation = reader.unsigned32()?;
        let (has_last, last_ms) = (reader.byte()? != 0, reader.signed()?);
        let keys = keys(&mut reader)?;
        while !reader.0.is_empty() {
            committed.insert(reader.unsigned()?..=reader.unsigned()?);
        }
        Ok(Self { committed, generation, last_ms: has_last.then_some(last_ms), keys })
    }
}

fn read_keys(reader: &mut Reader<'_>) -> Result<Vec<(u64, bytes::Bytes)>, Malformed> {
    let count = reader.count()?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let sequence = reader.unsigned()?;
        keys.push((sequence, bytes::Bytes::copy_from_slice(reader.bytes()?)));
    }
    Ok(keys)
}

/// A part of a dictionary.
pub(crate) fn dictionary_record(key: &[u8; 40], series: &[SeriesRef]) -> Vec<u8> {
    let mut out = Vec::new();
    put_unsigned(&mut out, series.len() as u64);
    series.iter().for_each(|number| put_unsigned(&mut out, u64::from(*number)));
    with_checksum(key, out)
}

/// The series in a part of a dictionary.
pub(crate) fn dictionary_from(key: &[u8; 40], bytes: &[u8]) -> Result<Vec<SeriesRef>, Malformed> {
    let mut reader = Reader(checked(key, bytes)?);
    let count = reader.count()?;
    (0..count).map(|_| reader.unsigned32()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use upkeep_model::Epoch;
    use uuid::Uuid;

    const HOST: HostId = HostId(Uuid::from_u128(0x0123_4567));

    #[test]
    fn keys_sort_by_host_span_and_number() {
        let key = |span, number| ChunkKey { host: HOST, span, number };
        let keys =
            [key(i64::MIN, 9), key(-5, 3), key(0, 1), key(0, 2), key(7, 0), key(i64::MAX, 0)];
        assert!(keys.map(ChunkKey::to_bytes).is_sorted());
        for key in keys {
            assert_eq!(ChunkKey::from_bytes(&key.to_bytes()), Ok(key));
        }
    }

    #[test]
    fn records_come_back_under_their_own_key_only() {
        let stream = StreamKey { host: HOST, epoch: Epoch([9; 16]) };
        let dictionary = DictionaryKey { stream, generation: 2, first_number: 70_000 }.to_bytes();
        let bytes = dictionary_record(&dictionary, &[1, 300, 7]);
        assert_eq!(dictionary_from(&dictionary, &bytes), Ok(vec![1, 300, 7]));
        assert_eq!(dictionary_from(&[0; 40], &bytes), Err(Malformed::Checksum));

        let keys = vec![(4, Bytes::from_static(b"four")), (9, Bytes::from_static(b"nine"))];
        let key = stream_bytes(stream);
        for behind in [vec![], vec![20..=u64::MAX], vec![14..=14, 16..=99]] {
            let committed = [1..=12].into_iter().chain(behind).collect();
            let (generation, last_ms, keys) = (1, Some(-3), keys.clone());
            let record = StreamRecord { committed, generation, last_ms, keys };
            assert_eq!(StreamRecord::from_bytes(&key, &record.to_bytes(&key)), Ok(record));
        }

        let coverage = Coverage { all_before: 1, due_before: 2, at_ms: 3, span_ms: 4 };
        let state = State {
            next_series: 7,
            next_chunk: 8,
            chunks: 3,
            longest_span_ms: 9,
            coverage,
            chunk_bytes: 5,
            summarised: Summarised::default(),
        };
        assert_eq!(State::from_bytes("state", &state.to_bytes("state")), Ok(state));
    }
}
