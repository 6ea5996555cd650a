//! Blocks of values relative to a base, as the crate's documentation describes them.

use crate::DecodeError;
use crate::varint::{Reader, put, put_signed};

/// Integers up to here are exact in a double, and so are their differences in 64 bits.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The factors of codes 0, 1 and 2.
pub(crate) const SCALES: [f64; 3] = [1.0, 100.0, 1000.0];

/// The code of a value kept as its eight bytes.
const RAW: u8 = 3;

pub(crate) fn encode(out: &mut Vec<u8>, pairs: impl ExactSizeIterator<Item = (f64, f64)>) {
    let codes_at = out.len();
    out.resize(codes_at + pairs.len().div_ceil(4), 0);
    for (index, (value, base)) in pairs.enumerate() {
        let code = match difference(value, base) {
            Some((code, difference)) => {
                put_signed(out, difference);
                code
            }
            None => {
                out.extend_from_slice(&value.to_le_bytes());
                RAW
            }
        };
        if let Some(byte) = out.get_mut(codes_at + index / 4) {
            *byte |= code << (index % 4 * 2);
        }
    }
}

pub(crate) fn decode(
    reader: &mut Reader<'_>,
    bases: impl ExactSizeIterator<Item = f64>,
    mut each: impl FnMut(f64),
) -> Result<(), DecodeError> {
    let codes = reader.take(bases.len().div_ceil(4))?;
    for (index, base) in bases.enumerate() {
        let byte = codes.get(index / 4).copied().unwrap_or_default();
        let code = (byte >> (index % 4 * 2)) & 3;
        let value = match SCALES.get(usize::from(code)) {
            Some(&scale) => {
                let base = scaled(base, scale).ok_or(DecodeError::Base)?;
                let sum = base.checked_add(reader.signed()?).ok_or(DecodeError::Base)?;
                sum as f64 / scale
            }
            None => reader.float()?,
        };
        each(value);
    }
    Ok(())
}

/// The smallest scale at which the value and its base are integers that restore the value's bits.
fn difference(value: f64, base: f64) -> Option<(u8, i64)> {
    SCALES.iter().zip(0_u8..).find_map(|(&scale, code)| {
        let integer = scaled(value, scale)?;
        let restored = integer as f64 / scale;
        let same = restored.to_bits() == value.to_bits();
        same.then_some((code, integer - scaled(base, scale)?))
    })
}

/// The nearest integer of a value times a scale, if that is in the range of exact integers.
pub(crate) fn scaled(value: f64, scale: f64) -> Option<i64> {
    let product = (value * scale).round();
    (product.abs() < EXACT).then_some(product as i64)
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    put(out, count as u64);
}
