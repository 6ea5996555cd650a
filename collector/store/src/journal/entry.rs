//! Entries as bytes.

use bytes::Bytes;
use upkeep_model::{HostId, Labels, StreamKey};

use crate::binary::{Malformed, Reader, put_labels, put_signed, put_unsigned, stream_bytes};

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const FIRST: u32 = 1 << 31;
pub(super) const LAST: u32 = 1 << 30;
pub(super) const LENGTH: u32 = LAST - 1;

const DESCRIBE: u8 = 1;
const REFERENCE: u8 = 2;
const FRAME: u8 = 3;
const SKIP: u8 = 4;
const SERIES: u8 = 5;
const POINTS: u8 = 6;
const SKIP_RANGE: u8 = 7;
const POINT_COLUMNS: u8 = 8;

/// About how many bytes a point takes, to set them aside at once.
const POINT_BYTES: usize = 12;

/// One entry of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    Describe { stream: StreamKey, generation: u32, first_number: u32, series: Vec<Labels> },
    Reference { stream: StreamKey, generation: u32, sequence: u64, frame: Bytes },
    Frame { stream: StreamKey, generation: u32, sequence: u64, body: Bytes },
    Skip { stream: StreamKey, first: u64, last: u64 },
    Series { number: u32, home: HostId, labels: Labels },
    Points { points: Vec<(u32, i64, f64)> },
}

impl Entry {
    /// The entry in a body whose checksum was good.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        match reader.byte()? {
            DESCRIBE => parse_describe(&mut reader),
            REFERENCE => {
                let (stream, generation, sequence, frame) = parse_frame(&mut reader)?;
                Ok(Self::Reference { stream, generation, sequence, frame })
            }
            FRAME => {
                let (stream, generation, sequence, body) = parse_frame(&mut reader)?;
                Ok(Self::Frame { stream, generation, sequence, body })
            }
            SKIP => Ok(Self::Skip { stream: reader.stream()?, first: 1, last: reader.unsigned()? }),
            SKIP_RANGE => {
                let (stream, first) = (reader.stream()?, reader.unsigned()?);
                Ok(Self::Skip { stream, first, last: reader.unsigned()? })
            }
            SERIES => {
                let number = reader.unsigned32()?;
                Ok(Self::Series { number, home: reader.host()?, labels: reader.labels()? })
            }
            POINTS => parse_points(&mut reader),
            POINT_COLUMNS => parse_point_columns(&mut reader),
            _ => Err(Malformed::Unknown("the kind of the entry")),
        }
    }

    /// Whose it is; points are of the series that they name.
    pub(crate) fn home(&self) -> Option<HostId> {
        match self {
            Self::Describe { stream, .. }
            | Self::Reference { stream, .. }
            | Self::Frame { stream, .. }
            | Self::Skip { stream, .. } => Some(stream.host),
            Self::Series { home, .. } => Some(*home),
            Self::Points { .. } => None,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Describe { stream, generation, first_number, series } => {
                put_head(out, DESCRIBE, *stream);
                put_unsigned(out, u64::from(*generation));
                put_unsigned(out, u64::from(*first_number));
                put_unsigned(out, series.len() as u64);
                series.iter().for_each(|labels| put_labels(out, labels));
            }
            Self::Reference { stream, generation, sequence, frame: body }
            | Self::Frame { stream, generation, sequence, body } => {
                let is_frame = matches!(self, Self::Frame { .. });
                put_head(out, if is_frame { FRAME } else { REFERENCE }, *stream);
                put_unsigned(out, u64::from(*generation));
                put_unsigned(out, *sequence);
                out.extend_from_slice(body);
            }
            Self::Skip { stream, first, last } => {
                put_head(out, SKIP_RANGE, *stream);
                put_unsigned(out, *first);
                put_unsigned(out, *last);
            }
            Self::Series { number, home, labels } => {
                out.push(SERIES);
                put_unsigned(out, u64::from(*number));
                out.extend_from_slice(home.0.as_bytes());
                put_labels(out, labels);
            }
            Self::Points { points } => put_points(out, points),
        }
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, stream: StreamKey) {
    out.push(kind);
    out.extend_from_slice(&stream_bytes(stream));
}

fn put_points(out: &mut Vec<u8>, points: &[(u32, i64, f64)]) {
    out.push(POINT_COLUMNS);
    put_unsigned(out, points.len() as u64);
    out.reserve(POINT_BYTES * points.len());
    let mut last = 0;
    for &(number, ..) in points {
        put_signed(out, i64::from(number) - last);
        last = i64::from(number);
    }
    let mut last = 0;
    for points in points.chunk_by(|(_, one, _), (_, next, _)| one == next) {
        let Some(&(_, at_ms, _)) = points.first() else { continue };
        put_unsigned(out, points.len() as u64);
        put_signed(out, at_ms.wrapping_sub(last));
        last = at_ms;
    }
    points.iter().for_each(|(.., value)| out.extend_from_slice(&value.to_le_bytes()));
}

fn parse_describe(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let stream = reader.stream()?;
    let (generation, first_number) = (reader.unsigned32()?, reader.unsigned32()?);
    let count = reader.count()?;
    let series = (0..count).map(|_| reader.labels()).collect::<Result<_, _>>()?;
    Ok(Entry::Describe { stream, generation, first_number, series })
}

fn parse_frame(reader: &mut Reader<'_>) -> Result<(StreamKey, u32, u64, Bytes), Malformed> {
    let stream = reader.stream()?;
    let (generation, sequence) = (reader.unsigned32()?, reader.unsigned()?);
    Ok((stream, generation, sequence, Bytes::copy_from_slice(reader.0)))
}

fn parse_points(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let count = reader.count()?;
    let mut points = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        let number = reader.unsigned32()?;
        last = last.wrapping_add(reader.signed()?);
        points.push((number, last, reader.float()?));
    }
    Ok(Entry::Points { points })
}

fn parse_point_columns(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
    let count = reader.count()?;
    let mut points: Vec<(u32, i64, f64)> = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(reader.signed()?);
        points.push((u32::try_from(last).map_err(|_| Malformed::Overlong)?, 0, 0.0));
    }
    let mut at_ms = 0_i64;
    let mut rest = points.as_mut_slice();
    while !rest.is_empty() {
        let count = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
        at_ms = at_ms.wrapping_add(reader.signed()?);
        let (now, later) = std::mem::take(&mut rest)
            .split_at_mut_checked(count.max(1))
            .ok_or(Malformed::Truncated)?;
        now.iter_mut().for_each(|(_, at, _)| *at = at_ms);
        rest = later;
    }
    for (.., value) in &mut points {
        *value = reader.float()?;
    }
    Ok(Entry::Points { points })
}

/// Entries that are to be written and synced together.
#[derive(Debug)]
pub(crate) struct Group {
    bytes: Vec<u8>,
    /// So many of them describe series.
    described: usize,
    seed: u32,
    ordinal: u32,
    last_at: usize,
}

impl Group {
    pub(super) fn new(seed: u32, ordinal: u32) -> Self {
        Self { bytes: Vec::new(), described: 0, seed, ordinal, last_at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an entry and returns where the group's bytes end now, which for a frame is also where
    /// its body ends.
    pub(crate) fn push(&mut self, entry: &Entry) -> usize {
        let at = self.bytes.len();
        self.bytes.resize(at + HEADER_BYTES, 0);
        entry.put(&mut self.bytes);
        let body = self.bytes.get(at + HEADER_BYTES..).unwrap_or_default();
        let first = if at == 0 { FIRST } else { 0 };
        let length = u32::try_from(body.len()).unwrap_or(LENGTH) & LENGTH;
        let checksum = checksum(self.seed, body);
        self.put_header(at, length | first, checksum);
        self.last_at = at;
        if matches!(entry, Entry::Describe { .. } | Entry::Series { .. }) {
            self.described += self.bytes.len() - at;
        }
        self.bytes.len()
    }

    /// How many of its bytes describe series.
    pub(crate) fn described(&self) -> usize {
        self.described
    }

    /// The group's bytes, its last entry marked as such.
    pub(crate) fn finish(mut self) -> Bytes {
        let at = self.last_at;
        if let Some(header) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            let [length, _, body_sum, _] = words(header);
            self.put_header(at, length | LAST, body_sum);
        }
        self.bytes.into()
    }

    fn put_header(&mut self, at: usize, length: u32, body_sum: u32) {
        let mut header = [0_u8; HEADER_BYTES];
        let words = [length, self.ordinal, body_sum];
        for (slot, word) in header.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        if let Some((covered, sum)) = header.split_last_chunk_mut::<4>() {
            *sum = checksum(self.seed, covered).to_le_bytes();
        }
        if let Some(slot) = self.bytes.get_mut(at..at + HEADER_BYTES) {
            slot.copy_from_slice(&header);
        }
    }
}

/// The four numbers of a header.
pub(super) fn words(header: &[u8; HEADER_BYTES]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(header.chunks_exact(4)) {
        *word = bytes.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
    }
    words
}

/// The CRC-32 of bytes in a segment with this seed.
pub(super) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_model::Epoch;
    use uuid::Uuid;

    #[test]
    fn entries_come_back_as_they_went_in() {
        let host = HostId(Uuid::from_u128(7));
        let stream = StreamKey { host, epoch: Epoch([3; 16]) };
        let labels = Labels::new([("__name__", "up"), ("job", "node")]);
        let series = vec![labels.clone(), Labels::default()];
        let frame = Bytes::from_static(b"frame");
        let points = vec![
            (1, i64::MAX, 1.0),
            (200, i64::MIN, f64::INFINITY),
            (0, 5, -0.0),
            (1, 5, 3.5),
            (u32::MAX, 6, 0.0),
        ];
        for entry in [
            Entry::Describe { stream, generation: 2, first_number: 300, series },
            Entry::Reference { stream, generation: 0, sequence: 9, frame: frame.clone() },
            Entry::Frame { stream, generation: 1, sequence: u64::MAX, body: frame },
            Entry::Skip { stream, first: 5, last: 12 },
            Entry::Series { number: 5, home: host, labels },
            Entry::Points { points },
        ] {
            let mut body = Vec::new();
            entry.put(&mut body);
            assert_eq!(Entry::parse(&body), Ok(entry));
        }
        assert_eq!(Entry::parse(&[99]), Err(Malformed::Unknown("the kind of the entry")));
        let mut former = Vec::new();
        put_head(&mut former, SKIP, stream);
        put_unsigned(&mut former, 12);
        assert_eq!(Entry::parse(&former), Ok(Entry::Skip { stream, first: 1, last: 12 }));
        let mut former = vec![POINTS, 2];
        for (number, step_ms, value) in [(7, 1_000, 1.5), (9, -10, 2.5_f64)] {
            put_unsigned(&mut former, number);
            put_signed(&mut former, step_ms);
            former.extend_from_slice(&value.to_le_bytes());
        }
        let points = vec![(7, 1_000, 1.5), (9, 990, 2.5)];
        assert_eq!(Entry::parse(&former), Ok(Entry::Points { points }));
    }
}
