//! Encoding: decides when a key frame is due.

use std::sync::Arc;

use upkeep_model::{is_stale, stale_marker};

use crate::block;
use crate::frame::{KIND_DELTA, KIND_KEY, KeyFrame};
use crate::varint::{put, put_signed};

/// After so many frames a new key frame is made although the series are the same, so that
/// differences stay short and a key need not be kept for long.
const FRAMES_A_KEY: u32 = 64;

/// One encoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The frame's bytes.
    pub bytes: Vec<u8>,
    /// The key frame that it leans on; `None` for a key frame.
    pub key: Option<u64>,
}

/// Turns rows of numbered values into frames. It begins with a key frame after every start.
#[derive(Debug, Default)]
pub struct Encoder {
    key: Option<Base>,
}

#[derive(Debug)]
struct Base {
    sequence: u64,
    frame: KeyFrame,
    frames: u32,
}

impl Encoder {
    /// Encodes the row of one observation under the sequence number that its record will have.
    /// The row need not be sorted; of a number given twice the first value holds.
    ///
    /// Series of the last key frame that the row lacks are ended with a staleness marker.
    pub fn encode(
        &mut self,
        sequence: u64,
        timestamp_ms: i64,
        mut row: Vec<(u32, f64)>,
    ) -> Encoded {
        row.sort_by_key(|(number, _)| *number);
        row.dedup_by_key(|(number, _)| *number);
        if let Some(base) = self.key.as_mut().filter(|base| base.fits(&row)) {
            base.frames += 1;
            let bytes = encode_delta(timestamp_ms, base, &row);
            return Encoded { bytes, key: Some(base.sequence) };
        }
        if let Some(base) = &self.key {
            end_missing(&base.frame, &mut row);
        }
        let (numbers, values): (Vec<u32>, Vec<f64>) = row.into_iter().unzip();
        let bytes = encode_key(timestamp_ms, &numbers, &values);
        let frame = KeyFrame { numbers: Arc::from(numbers), values: Arc::from(values) };
        self.key = Some(Base { sequence, frame, frames: 1 });
        Encoded { bytes, key: None }
    }
}

impl Base {
    fn fits(&self, row: &[(u32, f64)]) -> bool {
        self.frames < FRAMES_A_KEY
            && row.len() == self.frame.numbers.len()
            && row.iter().zip(self.frame.numbers.iter()).all(|((number, _), key)| number == key)
    }
}

/// Adds a staleness marker for each series that was alive in the key frame and is not in the row.
fn end_missing(key: &KeyFrame, row: &mut Vec<(u32, f64)>) {
    let present = row.len();
    for (&number, &value) in key.numbers.iter().zip(key.values.iter()) {
        let known = row.get(..present).unwrap_or_default();
        if !is_stale(value) && known.binary_search_by_key(&number, |(one, _)| *one).is_err() {
            row.push((number, stale_marker()));
        }
    }
    row.sort_by_key(|(number, _)| *number);
}

fn encode_key(timestamp_ms: i64, numbers: &[u32], values: &[f64]) -> Vec<u8> {
    let mut out = vec![KIND_KEY];
    put_signed(&mut out, timestamp_ms);
    block::put_count(&mut out, numbers.len());
    let mut last = 0;
    for &number in numbers {
        put(&mut out, u64::from(number - last));
        last = number;
    }
    block::encode(&mut out, values.iter().map(|&value| (value, 0.0)));
    out
}

fn encode_delta(timestamp_ms: i64, base: &Base, row: &[(u32, f64)]) -> Vec<u8> {
    let mut out = vec![KIND_DELTA];
    put_signed(&mut out, timestamp_ms);
    put(&mut out, base.sequence);
    let mut bitmap = vec![0_u8; row.len().div_ceil(8)];
    let mut changed = Vec::new();
    for (index, ((_, value), key)) in row.iter().zip(base.frame.values.iter()).enumerate() {
        if value.to_bits() != key.to_bits() {
            if let Some(byte) = bitmap.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
            changed.push((*value, *key));
        }
    }
    out.extend_from_slice(&bitmap);
    block::encode(&mut out, changed.into_iter());
    out
}
