//! Decoding a frame, and what is known of it before.

use std::sync::Arc;

use thiserror::Error;

use crate::block;
use crate::places::Places;
use crate::varint::{Reader, put_signed};

/// No frame may have more series than this; it bounds what a decoder allocates.
pub const MAX_SERIES: usize = 100_000;

pub(crate) const KIND_KEY: u8 = 1;
pub(crate) const KIND_DELTA: u8 = 2;

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end before the frame does.
    #[error("the frame ends too early")]
    Truncated,
    /// Bytes are left after the frame's end.
    #[error("{0} bytes follow the frame's end")]
    Trailing(usize),
    /// A variable-length integer does not fit into 64 bits.
    #[error("a number in the frame has too many bytes")]
    Overlong,
    /// The first byte is not the kind of any frame of this version.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// The frame claims more series than allowed.
    #[error("the frame has {0} series, the limit is {MAX_SERIES}")]
    TooManySeries(u64),
    /// Series numbers are not strictly ascending within 32 bits.
    #[error("series numbers of the frame are not ascending")]
    Order,
    /// A difference was given against a base that has no exact integer form.
    #[error("a difference in the frame has no base")]
    Base,
    /// A delta frame came without the key frame that it leans on.
    #[error("the key frame {0} that the frame leans on is not known")]
    KeyUnknown(u64),
}

/// What can be told of a frame without its key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Wall clock of the observation in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The sequence number of the key frame that this frame leans on; `None` for a key frame.
    pub key: Option<u64>,
    /// How many series a key frame claims to have; `None` for a frame that leans on one.
    pub series: Option<u64>,
}

/// The base that delta frames lean on.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFrame {
    /// Series numbers, ascending.
    pub numbers: Arc<[u32]>,
    /// One value a series.
    pub values: Arc<[f64]>,
}

/// One decoded frame: a value for each series of its key frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Wall clock of the observation in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Series numbers, ascending; shared with the key frame.
    pub numbers: Arc<[u32]>,
    /// One value a series.
    pub values: Vec<f64>,
    /// Whether this is itself a key frame.
    pub is_key: bool,
}

impl Frame {
    /// The frame as the base of deltas.
    pub fn to_key(&self) -> KeyFrame {
        KeyFrame { numbers: Arc::clone(&self.numbers), values: self.values.as_slice().into() }
    }
}

/// Reads a frame's head.
pub fn peek(bytes: &[u8]) -> Result<FrameHead, DecodeError> {
    let mut reader = Reader(bytes);
    let head = read_head(&mut reader)?;
    let series = if head.key.is_none() { Some(reader.unsigned()?) } else { None };
    Ok(FrameHead { series, ..head })
}

/// The same frame under another timestamp, for a host whose clock is known to be wrong.
pub fn retime(bytes: &[u8], timestamp_ms: i64) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader(bytes);
    let kind = reader.byte()?;
    reader.signed()?;
    let mut frame = Vec::with_capacity(bytes.len() + 1);
    frame.push(kind);
    put_signed(&mut frame, timestamp_ms);
    frame.extend_from_slice(reader.0);
    Ok(frame)
}

/// Decodes a frame. `key_of` is asked for the key frame that a delta leans on, by sequence number.
pub fn decode<'k>(
    bytes: &[u8],
    key_of: impl FnOnce(u64) -> Option<&'k KeyFrame>,
) -> Result<Frame, DecodeError> {
    let mut reader = Reader(bytes);
    let head = read_head(&mut reader)?;
    let frame = match head.key {
        None => decode_key(&mut reader, head.timestamp_ms)?,
        Some(sequence) => {
            let key = key_of(sequence).ok_or(DecodeError::KeyUnknown(sequence))?;
            decode_delta(&mut reader, head.timestamp_ms, key)?
        }
    };
    if !reader.0.is_empty() {
        return Err(DecodeError::Trailing(reader.0.len()));
    }
    Ok(frame)
}

/// Finds out of a frame that leans on a key frame whether it can be decoded, without keeping a value.
pub fn check_delta(bytes: &[u8], key: &KeyFrame) -> Result<(), DecodeError> {
    let mut reader = Reader(bytes);
    let head = read_head(&mut reader)?;
    if head.key.is_none() {
        return Err(DecodeError::Kind(KIND_KEY));
    }
    let changed = changed(&mut reader, key)?;
    let bases = changed.map(|index| key.values.get(index).copied().unwrap_or_default());
    block::decode(&mut reader, bases, |_| {})?;
    if reader.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(reader.0.len())) }
}

/// Which of its key frame's values a frame has anew.
fn changed<'a>(reader: &mut Reader<'a>, key: &KeyFrame) -> Result<Places<'a>, DecodeError> {
    let count = key.values.len();
    Ok(Places::of(reader.take(count.div_ceil(8))?, count))
}

pub(crate) fn read_head(reader: &mut Reader<'_>) -> Result<FrameHead, DecodeError> {
    let kind = reader.byte()?;
    let timestamp_ms = reader.signed()?;
    let key = match kind {
        KIND_KEY => None,
        KIND_DELTA => Some(reader.unsigned()?),
        other => return Err(DecodeError::Kind(other)),
    };
    Ok(FrameHead { timestamp_ms, key, series: None })
}

fn decode_key(reader: &mut Reader<'_>, timestamp_ms: i64) -> Result<Frame, DecodeError> {
    let claimed = reader.unsigned()?;
    let count = usize::try_from(claimed)
        .ok()
        .filter(|count| *count <= MAX_SERIES)
        .ok_or(DecodeError::TooManySeries(claimed))?;
    // Every number takes a byte at least, so a short frame cannot make us allocate a long list.
    if count > reader.0.len() {
        return Err(DecodeError::Truncated);
    }
    let mut numbers = Vec::with_capacity(count);
    for index in 0..count {
        let step = reader.unsigned()?;
        let number = match numbers.last() {
            None => Some(step),
            Some(_) if index > 0 && step == 0 => None,
            Some(&last) => u64::from(last).checked_add(step),
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        numbers.push(number.ok_or(DecodeError::Order)?);
    }
    let mut values = Vec::with_capacity(count);
    block::decode(reader, std::iter::repeat_n(0.0, count), |value| values.push(value))?;
    Ok(Frame { timestamp_ms, numbers: numbers.into(), values, is_key: true })
}

fn decode_delta(
    reader: &mut Reader<'_>,
    timestamp_ms: i64,
    key: &KeyFrame,
) -> Result<Frame, DecodeError> {
    let mut changed = changed(reader, key)?;
    let mut values = key.values.to_vec();
    let bases = changed.clone().map(|index| key.values.get(index).copied().unwrap_or_default());
    block::decode(reader, bases, |value| {
        if let Some(slot) = changed.next().and_then(|index| values.get_mut(index)) {
            *slot = value;
        }
    })?;
    Ok(Frame { timestamp_ms, numbers: Arc::clone(&key.numbers), values, is_key: false })
}
