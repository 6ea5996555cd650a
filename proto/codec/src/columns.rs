//! Decoding some columns of a frame, without the others.

use crate::DecodeError;
use crate::block::{SCALES, scaled};
use crate::frame::{KeyFrame, read_head};
use crate::varint::Reader;

/// Codes in a word of the block's head.
const CODES: usize = 32;

/// The lower bit of each code in a word.
const LOW_BITS: u64 = 0x5555_5555_5555_5555;

/// The bit of each byte that says that its number goes on.
const GOES_ON: u64 = 0x8080_8080_8080_8080;

/// Some columns of a key frame, made ready to be decoded from the frames that lean on it.
#[derive(Clone, Debug)]
pub struct Columns {
    picks: Vec<Pick>,
    /// How many series the key frame has.
    series: usize,
}

#[derive(Clone, Debug)]
struct Pick {
    column: usize,
    value: f64,
    /// The value times each of the scales; `None` where it is not an exact integer.
    bases: [Option<i64>; SCALES.len()],
}

impl Columns {
    /// The columns of a key frame at these places in its numbers, which ascend; those beyond its end are
    /// left out.
    pub fn new(key: &KeyFrame, columns: impl IntoIterator<Item = usize>) -> Self {
        let picks = columns.into_iter().filter_map(|column| {
            let value = *key.values.get(column)?;
            Some(Pick { column, value, bases: SCALES.map(|scale| scaled(value, scale)) })
        });
        Self { picks: picks.collect(), series: key.values.len() }
    }

    /// Gives the values, in the order of the columns, of a frame that leans on the key frame; any other is
    /// taken for the key frame itself. What is not wanted is passed over and not checked, so the frame
    /// must have been decoded whole once.
    ///
    /// # Errors
    /// When the bytes end too early, or are no frame.
    pub fn decode(&self, bytes: &[u8], mut each: impl FnMut(f64)) -> Result<(), DecodeError> {
        let mut reader = Reader(bytes);
        if read_head(&mut reader)?.key.is_none() {
            self.picks.iter().for_each(|pick| each(pick.value));
            return Ok(());
        }
        let bitmap = reader.take(self.series.div_ceil(8))?;
        let changed = bitmap.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        let codes = reader.take(changed.div_ceil(4))?;
        let mut values = Values { codes, at: 0, rest: reader.0 };
        let mut ranks = Ranks::new(bitmap);
        for pick in &self.picks {
            match ranks.of(pick.column) {
                None => each(pick.value),
                Some(rank) => {
                    values.skip_to(rank)?;
                    each(values.next(pick)?);
                }
            }
        }
        Ok(())
    }
}

/// How many bits are set before each of ascending places in a bitmap.
struct Ranks<'a> {
    words: std::slice::Chunks<'a, u8>,
    /// The word that was looked at last, the place of its first bit, and the set bits before it.
    word: u64,
    first: usize,
    before: usize,
}

impl<'a> Ranks<'a> {
    fn new(bitmap: &'a [u8]) -> Self {
        let mut words = bitmap.chunks(8);
        let word = words.next().map_or(0, word_of);
        Self { words, word, first: 0, before: 0 }
    }

    /// The set bits before a place, if its own is set.
    #[inline]
    fn of(&mut self, place: usize) -> Option<usize> {
        while place >= self.first + 64 {
            self.before += self.word.count_ones() as usize;
            self.first += 64;
            self.word = self.words.next().map_or(0, word_of);
        }
        let bit = 1_u64 << (place - self.first);
        (self.word & bit != 0).then(|| self.before + (self.word & (bit - 1)).count_ones() as usize)
    }
}

/// The values of a block, read one after the other.
struct Values<'a> {
    codes: &'a [u8],
    /// How many values were read or passed over.
    at: usize,
    rest: &'a [u8],
}

impl Values<'_> {
    #[inline]
    fn next(&mut self, pick: &Pick) -> Result<f64, DecodeError> {
        let byte = self.codes.get(self.at / 4).copied().unwrap_or_default();
        let code = usize::from((byte >> (self.at % 4 * 2)) & 3);
        self.at += 1;
        let mut reader = Reader(self.rest);
        let value = match (SCALES.get(code), pick.bases.get(code)) {
            (Some(scale), Some(base)) => {
                let base = base.ok_or(DecodeError::Base)?;
                base.checked_add(reader.signed()?).ok_or(DecodeError::Base)? as f64 / scale
            }
            _ => reader.float()?,
        };
        self.rest = reader.0;
        Ok(value)
    }

    #[inline]
    fn skip_to(&mut self, index: usize) -> Result<(), DecodeError> {
        while self.at < index {
            let within = self.at % CODES;
            let word = self.codes.get(self.at / CODES * 8..).map_or(0, word_of) >> (2 * within);
            let here = (index - self.at).min(CODES - within);
            let raw = (word & (word >> 1) & LOW_BITS).trailing_zeros() as usize / 2;
            self.skip_numbers(raw.min(here))?;
            self.at += raw.min(here);
            if raw < here {
                self.rest = self.rest.get(size_of::<f64>()..).ok_or(DecodeError::Truncated)?;
                self.at += 1;
            }
        }
        Ok(())
    }

    /// Passes over numbers by counting the bytes that end one, eight bytes at a time.
    fn skip_numbers(&mut self, mut count: usize) -> Result<(), DecodeError> {
        while let Some((bytes, rest)) = self.rest.split_first_chunk::<8>().filter(|_| count > 0) {
            let mut ends = !u64::from_le_bytes(*bytes) & GOES_ON;
            let found = ends.count_ones() as usize;
            if found < count {
                count -= found;
                self.rest = rest;
                continue;
            }
            for _ in 1..count {
                ends &= ends - 1;
            }
            let length = ends.trailing_zeros() as usize / 8 + 1;
            self.rest = self.rest.get(length..).ok_or(DecodeError::Truncated)?;
            return Ok(());
        }
        let mut reader = Reader(self.rest);
        for _ in 0..count {
            reader.unsigned()?;
        }
        self.rest = reader.0;
        Ok(())
    }
}

/// The first eight bytes, or as many as there are, as a number.
#[inline]
fn word_of(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Encoder, decode};

    /// Values that take each of the codes, one byte and several, and none where they stay.
    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-9..9_i64).prop_map(|value| value as f64),
            2 => (-1_000_000..1_000_000_i64).prop_map(|value| value as f64 / 100.0),
            1 => (0..1_000_000_000_i64).prop_map(|value| value as f64 * 977.0),
            1 => (0..1_000_i64).prop_map(|value| value as f64 / 1000.0),
            1 => any::<u64>().prop_map(f64::from_bits),
        ]
    }

    proptest! {
        #[test]
        fn some_columns_are_those_of_the_whole_frame(
            rows in (1..200_usize).prop_flat_map(|series| {
                prop::collection::vec(prop::collection::vec(value(), series), 2)
            }),
            wanted in prop::collection::btree_set(0..210_usize, 0..40),
        ) {
            let mut encoder = Encoder::default();
            let mut encode = |sequence, values: &Vec<f64>| {
                encoder.encode(sequence, 5, (0..).zip(values.iter().copied()).collect()).bytes
            };
            let (first, second) = (encode(1, &rows[0]), encode(2, &rows[1]));
            let key = decode(&first, |_| None).unwrap().to_key();
            let whole = decode(&second, |_| Some(&key)).unwrap().values;
            let columns = Columns::new(&key, wanted.iter().copied());
            let bits = |values: &[f64]| {
                let there = wanted.iter().filter_map(|column| values.get(*column));
                there.map(|value| value.to_bits()).collect::<Vec<_>>()
            };
            let mut found = Vec::new();
            columns.decode(&second, |value| found.push(value.to_bits())).unwrap();
            prop_assert_eq!(found, bits(&whole));
            let mut own = Vec::new();
            columns.decode(&first, |value| own.push(value.to_bits())).unwrap();
            prop_assert_eq!(own, bits(&rows[0]));
        }
    }

    #[test]
    fn what_is_cut_short_or_no_frame_is_refused() {
        let row = |by: f64| (0..70).map(|number| (number, f64::from(number) * by)).collect();
        let mut encoder = Encoder::default();
        let first = encoder.encode(1, 5, row(1.0)).bytes;
        let second = encoder.encode(2, 5, row(1_000.1)).bytes;
        let key = decode(&first, |_| None).unwrap().to_key();
        let columns = Columns::new(&key, [69]);
        assert_eq!(columns.decode(&[7, 0], |_| ()), Err(DecodeError::Kind(7)));
        for length in 0..second.len() {
            let cut = columns.decode(&second[..length], |_| ());
            assert_eq!(cut, Err(DecodeError::Truncated), "{length}");
        }
    }
}
