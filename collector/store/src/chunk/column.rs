//! Columns: lists of numbers, packed.
//!
//! A column of values is one byte of kind and:
//!
//! | kind | content | when |
//! |---|---|---|
//! | 0 constant | the value (8 bytes, little endian) | all bits are equal |
//! | 1 constant | power of ten (byte), signed integer | the same, where that is exact |
//! | 2 integers | power of ten (byte); count of exceptions, each: index (difference to the one before) and value (8 bytes); pco of the integers | every value but the exceptions is an integer divided by that power of ten, to the last bit |
//! | 3 floats | pco of the floats | otherwise |
//!
//! Exceptions are values that no division gives (NaN, the staleness marker, infinities, minus
//! zero); an exception repeats the integer before it. What is read is what was written, bit for
//! bit. In what was just sealed pco's settings are explicit, since its automatic ones cost several
//! times as much; what is compacted has whichever of several settings packs best.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use crate::binary::{Malformed, Reader, put_signed, put_unsigned};

use super::Effort;

/// Integers up to here are exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// More digits after the point than this are left to floats.
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// A column with more than one exception in so many values is left to floats.
const VALUES_AN_EXCEPTION: usize = 4;

const CONSTANT_RAW: u8 = 0;
const CONSTANT: u8 = 1;
const INTEGERS: u8 = 2;
const FLOATS: u8 = 3;

pub(super) fn encode_values(
    out: &mut Vec<u8>,
    values: &[f64],
    effort: Effort,
) -> Result<(), Malformed> {
    let Some(&first) = values.first() else { return Ok(()) };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        encode_constant(out, first);
        return Ok(());
    }
    let exceptions = values.iter().filter(|value| is_exception(**value)).count();
    let power = (exceptions * VALUES_AN_EXCEPTION < values.len())
        .then(|| (0..).zip(POWERS).find(|(_, factor)| fits(values, *factor)))
        .flatten();
    let Some((power, factor)) = power else {
        out.push(FLOATS);
        return pack(out, values, effort);
    };
    out.extend_from_slice(&[INTEGERS, power]);
    put_unsigned(out, exceptions as u64);
    let mut integers = Vec::with_capacity(values.len());
    let (mut last_integer, mut last_at) = (0, 0);
    for (index, &value) in values.iter().enumerate() {
        match to_integer(value, factor) {
            Some(integer) => last_integer = integer,
            None => {
                put_unsigned(out, (index - last_at) as u64);
                out.extend_from_slice(&value.to_le_bytes());
                last_at = index;
            }
        }
        integers.push(last_integer);
    }
    pack(out, &integers, effort)
}

pub(super) fn decode_values(
    bytes: &[u8],
    count: usize,
    pco: &FileDecompressor,
) -> Result<Vec<f64>, Malformed> {
    let mut reader = Reader(bytes);
    match reader.byte()? {
        CONSTANT_RAW => Ok(vec![reader.float()?; count]),
        CONSTANT => {
            let factor = read_power(&mut reader)?;
            Ok(vec![reader.signed()? as f64 / factor; count])
        }
        INTEGERS => decode_integers(&mut reader, count, pco),
        FLOATS => unpack(reader.0, count, pco),
        _ => Err(Malformed::Unknown("the kind of the column")),
    }
}

pub(super) fn encode_timestamps(
    out: &mut Vec<u8>,
    timestamps: &[i64],
    effort: Effort,
) -> Result<(), Malformed> {
    pack(out, timestamps, effort)
}

pub(super) fn decode_timestamps(
    bytes: &[u8],
    count: usize,
    pco: &FileDecompressor,
) -> Result<Vec<i64>, Malformed> {
    unpack(bytes, count, pco)
}

fn encode_constant(out: &mut Vec<u8>, value: f64) {
    let exact =
        (0..).zip(POWERS).find_map(|(power, factor)| Some((power, to_integer(value, factor)?)));
    match exact {
        Some((power, integer)) => {
            out.extend_from_slice(&[CONSTANT, power]);
            put_signed(out, integer);
        }
        None => {
            out.push(CONSTANT_RAW);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn decode_integers(
    reader: &mut Reader<'_>,
    count: usize,
    pco: &FileDecompressor,
) -> Result<Vec<f64>, Malformed> {
    let factor = read_power(reader)?;
    let exceptions = reader.count()?;
    let mut replaced = Vec::with_capacity(exceptions);
    let mut at = 0_usize;
    for _ in 0..exceptions {
        let step = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
        at = at.saturating_add(step);
        replaced.push((at, reader.float()?));
    }
    let integers: Vec<i64> = unpack(reader.0, count, pco)?;
    let mut values: Vec<f64> =
        integers.into_iter().map(|integer| integer as f64 / factor).collect();
    for (at, value) in replaced {
        *values.get_mut(at).ok_or(Malformed::Column)? = value;
    }
    Ok(values)
}

fn read_power(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    let power = usize::from(reader.byte()?);
    POWERS.get(power).copied().ok_or(Malformed::Unknown("the power of ten"))
}

fn fits(values: &[f64], factor: f64) -> bool {
    values.iter().all(|&value| is_exception(value) || to_integer(value, factor).is_some())
}

fn is_exception(value: f64) -> bool {
    !value.is_finite() || value.to_bits() == (-0.0_f64).to_bits()
}

/// The integer that gives the value's very bits when divided by the factor.
fn to_integer(value: f64, factor: f64) -> Option<i64> {
    let integer = (value * factor).round();
    let is_exact = integer.abs() < EXACT && (integer / factor).to_bits() == value.to_bits();
    (is_exact && !is_exception(value)).then_some(integer as i64)
}

fn pack<T: Number>(out: &mut Vec<u8>, numbers: &[T], effort: Effort) -> Result<(), Malformed> {
    let quick = ChunkConfig::default()
        .with_mode_spec(ModeSpec::Classic)
        .with_delta_spec(DeltaSpec::TryConsecutive(1));
    let configs = match effort {
        Effort::Quick => vec![quick],
        Effort::Thorough => vec![quick, ChunkConfig::default()],
    };
    let mut best: Option<Vec<u8>> = None;
    for config in &configs {
        let packed = pack_by(numbers, config)?;
        if best.as_ref().is_none_or(|best| packed.len() < best.len()) {
            best = Some(packed);
        }
    }
    out.extend(best.unwrap_or_default());
    Ok(())
}

fn pack_by<T: Number>(numbers: &[T], config: &ChunkConfig) -> Result<Vec<u8>, Malformed> {
    let mut compressor = FileCompressor::default()
        .chunk_compressor(numbers, config)
        .map_err(|_| Malformed::Column)?;
    let mut packed = Vec::new();
    compressor.write_meta(&mut packed).map_err(|_| Malformed::Column)?;
    compressor.write_page(0, &mut packed).map_err(|_| Malformed::Column)?;
    Ok(packed)
}

fn unpack<T: Number + Default>(
    bytes: &[u8],
    count: usize,
    pco: &FileDecompressor,
) -> Result<Vec<T>, Malformed> {
    let (mut column, rest) =
        pco.chunk_decompressor::<T, _>(bytes).map_err(|_| Malformed::Column)?;
    let mut page = column.page_decompressor(rest, count).map_err(|_| Malformed::Column)?;
    let mut numbers = vec![T::default(); count];
    let progress = page.read(&mut numbers).map_err(|_| Malformed::Column)?;
    if progress.n_processed == count { Ok(numbers) } else { Err(Malformed::Truncated) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_model::stale_marker;

    fn pco() -> FileDecompressor {
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).unwrap();
        FileDecompressor::new(header.as_slice()).unwrap().0
    }

    fn check(values: &[f64], kind: u8) {
        for effort in [Effort::Quick, Effort::Thorough] {
            let mut bytes = Vec::new();
            encode_values(&mut bytes, values, effort).unwrap();
            assert_eq!(bytes[0], kind, "the kind of {} values", values.len());
            let back = decode_values(&bytes, values.len(), &pco()).unwrap();
            let bits =
                |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&back), bits(values));
        }
    }

    #[test]
    fn every_kind_of_column_comes_back_bit_for_bit() {
        let nan = f64::from_bits(0x7ff8_dead_beef_0001);
        check(&[1.5; 9], CONSTANT);
        check(&[1e300; 9], CONSTANT_RAW);
        check(&[-0.0; 9], CONSTANT_RAW);
        check(&[stale_marker(); 3], CONSTANT_RAW);
        check(&[nan], CONSTANT_RAW);
        check(&[0.1, 0.2, 0.3, 17.25], INTEGERS);
        check(&[1.0, 2.0, 3.0, 4.0, stale_marker()], INTEGERS);
        check(
            &[nan, 1.0, 2.0, -0.0, 3.0, 4.0, 5.0, 6.0, f64::INFINITY, 1e9, 2e9, 7.5, 8.0],
            INTEGERS,
        );
        check(&[1.0, nan, 2.0, -0.0], FLOATS);
        check(&[0.1 + 0.2, 1.0 / 3.0, 1e-12], FLOATS);
        check(&[EXACT, 2.0 * EXACT, 1.0], FLOATS);
        check(&[EXACT - 1.0, 1.0 - EXACT, 0.0], INTEGERS);
        check(&(0..5000).map(|n| f64::from(n) / 100.0).collect::<Vec<_>>(), INTEGERS);
        check(&[f64::MIN_POSITIVE, f64::MAX, f64::NEG_INFINITY], FLOATS);
    }
}
