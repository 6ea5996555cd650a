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
        row.extend(self.ended(&row).into_iter().map(|number| (number, stale_marker())));
        row.sort_by_key(|(number, _)| *number);
        let (numbers, values): (Vec<u32>, Vec<f64>) = row.into_iter().unzip();
        let bytes = encode_key(timestamp_ms, &numbers, &values);
        let frame = KeyFrame { numbers: Arc::from(numbers), values: Arc::from(values) };
        self.key = Some(Base { sequence, frame, frames: 1 });
        Encoded { bytes, key: None }
    }

    /// The series that are alive in the last key frame and not in the row, so that the frame which
    /// comes is to end them.
    pub fn ended(&self, row: &[(u32, f64)]) -> Vec<u32> {
        let Some(Base { frame, .. }) = &self.key else { return Vec::new() };
        let mut present: Vec<u32> = row.iter().map(|(number, _)| *number).collect();
        present.sort_unstable();
        let alive = frame.numbers.iter().zip(frame.values.iter());
        let alive = alive.filter(|(_, value)| !is_stale(**value)).map(|(number, _)| *number);
        alive.filter(|number| present.binary_search(number).is_err()).collect()
    }
}

impl Base {
    fn fits(&self, row: &[(u32, f64)]) -> bool {
        self.frames < FRAMES_A_KEY
            && row.len() == self.frame.numbers.len()
            && row.iter().zip(self.frame.numbers.iter()).all(|((number, _), key)| number == key)
    }
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
