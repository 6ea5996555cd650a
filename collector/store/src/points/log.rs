//! The points of one series as bytes, in the order in which they came.
//!
//! Each sample is told by what changed since the one before, in operations of a byte and what
//! follows it. The lower three bits say which:
//!
//! | operation | upper five bits | follows |
//! |---|---|---|
//! | `SAME` | how often; 31: it follows | samples of the same value, each one step later |
//! | `SCALED` 1, 2, 3 | bit 3: a new step follows; 4–7: the difference in zigzag; from 7 to 14: 7 and how often 256 is in the difference less 7, of which the rest follows in a byte; 15: it follows | a value of which 1, 100 or 1000 times are an integer, as the one before it |
//! | `BITS` | bit 3 as above; 4–6: how many of the last bytes are the same | the bits that differ |
//! | `SEGMENT` | | the segment of the samples after it, as the difference to the one before |
//!
//! A step is the distance in time of two samples that follow each other. Nothing of this is on disk.

use crate::binary::{Reader, put_signed, put_unsigned};

use super::Point;

const SAME: u8 = 0;
const BITS: u8 = 4;
const SEGMENT: u8 = 5;
const KIND: u8 = 0b111;

/// In an operation that tells a value: a new step follows.
const STEP: u8 = 0b1000;

/// The most samples that one byte can tell as the same, and what says that their count follows.
const MANY: u8 = 31;

/// Differences below this are told by the operation, those below [`MIDDLE`] more with one more byte.
const NARROW: u64 = 7;
const MIDDLE: u64 = 256 * 8;

/// What says that a difference follows.
const WIDE: u8 = 15;

/// What a value is multiplied by to become an integer, in the order of the operations from 1 on.
const SCALES: [f64; 3] = [1.0, 100.0, 1000.0];

/// Integers up to this are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// So many more bytes are set aside at least when a log has to grow.
const GROWTH: usize = 16;

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is in the log.
    Kept,
    /// It is the same as the last one.
    Repeated,
    /// The last one has the same instant and another value.
    Conflict,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    bytes: Vec<u8>,
    last: State,
    /// The latest time of all.
    latest_ms: i64,
    /// How often the last sample came again a step later, which is not among the bytes yet.
    same: u32,
    is_begun: bool,
}

/// What the next sample is told by.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    at_ms: i64,
    step_ms: i64,
    value: f64,
    segment: u64,
}

impl State {
    fn point(self) -> Point {
        Point { at_ms: self.at_ms, value: self.value, segment: self.segment }
    }
}

impl Log {
    pub(super) fn push(&mut self, point: Point) -> Pushed {
        let Point { at_ms, value, segment } = point;
        let last = self.last;
        let is_same = value.to_bits() == last.value.to_bits();
        // What comes behind a later sample may repeat one before that: sealing, which brings all into
        // the order of time, sees it.
        if self.is_begun && at_ms == last.at_ms && at_ms == self.latest_ms {
            return if is_same { Pushed::Repeated } else { Pushed::Conflict };
        }
        self.latest_ms = if self.is_begun { self.latest_ms.max(at_ms) } else { at_ms };
        let step_ms = at_ms.wrapping_sub(last.at_ms);
        let goes_on = self.is_begun && segment == last.segment && step_ms == last.step_ms;
        if goes_on && is_same && self.same < u32::MAX {
            self.same += 1;
            self.last.at_ms = at_ms;
            return Pushed::Kept;
        }
        self.end_run();
        if self.bytes.capacity() - self.bytes.len() < GROWTH {
            self.bytes.reserve_exact(GROWTH + self.bytes.len() / 8);
        }
        if segment != last.segment {
            self.bytes.push(SEGMENT);
            put_signed(&mut self.bytes, segment.wrapping_sub(last.segment) as i64);
        }
        let step = (step_ms != last.step_ms).then_some(step_ms);
        put_value(&mut self.bytes, last.value, value, step);
        self.last = State { at_ms, step_ms, value, segment };
        self.is_begun = true;
        Pushed::Kept
    }

    /// Writes down the samples that were the same.
    fn end_run(&mut self) {
        match u8::try_from(self.same) {
            Ok(0) => {}
            Ok(few) if few < MANY => self.bytes.push(SAME | few << 3),
            _ => {
                self.bytes.push(SAME | MANY << 3);
                put_unsigned(&mut self.bytes, u64::from(self.same));
            }
        }
        self.same = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_begun
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Point> + '_ {
        Iter { reader: Reader(&self.bytes), state: State::default(), same: 0, open: self.same }
    }

    /// Forgets what passes, given its segment and timestamp, and tells what stays.
    pub(super) fn forget(
        &mut self,
        mut is_sealed: impl FnMut(u64, i64) -> bool,
        mut stays: impl FnMut(Point),
    ) {
        if !self.iter().any(|point| is_sealed(point.segment, point.at_ms)) {
            self.iter().for_each(stays);
            return;
        }
        let mut rest = Self::default();
        for point in self.iter().filter(|point| !is_sealed(point.segment, point.at_ms)) {
            rest.push(point);
            stays(point);
        }
        *self = rest;
    }

    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

struct Iter<'a> {
    reader: Reader<'a>,
    state: State,
    /// How often the last sample is still to be told again.
    same: u64,
    /// How often the very last sample came again.
    open: u32,
}

impl Iterator for Iter<'_> {
    type Item = Point;

    fn next(&mut self) -> Option<Point> {
        loop {
            if self.same > 0 {
                self.same -= 1;
                self.state.at_ms = self.state.at_ms.wrapping_add(self.state.step_ms);
                return Some(self.state.point());
            }
            let Ok(operation) = self.reader.byte() else {
                self.same = u64::from(std::mem::take(&mut self.open));
                if self.same == 0 {
                    return None;
                }
                continue;
            };
            match operation & KIND {
                SAME if operation >> 3 == MANY => self.same = self.reader.unsigned().ok()?,
                SAME => self.same = u64::from(operation >> 3),
                SEGMENT => {
                    let difference = self.reader.signed().ok()?;
                    self.state.segment = self.state.segment.wrapping_add(difference as u64);
                }
                _ => {
                    if operation & STEP != 0 {
                        self.state.step_ms = self.reader.signed().ok()?;
                    }
                    let before = self.state.value;
                    self.state.value = read_value(&mut self.reader, operation, before)?;
                    self.state.at_ms = self.state.at_ms.wrapping_add(self.state.step_ms);
                    return Some(self.state.point());
                }
            }
        }
    }
}

fn put_value(out: &mut Vec<u8>, before: f64, value: f64, step_ms: Option<i64>) {
    let step_bit = if step_ms.is_some() { STEP } else { 0 };
    let put_step = |out: &mut Vec<u8>| {
        if let Some(step_ms) = step_ms {
            put_signed(out, step_ms);
        }
    };
    for (kind, scale) in (1..).zip(SCALES) {
        let (Some(from), Some(to)) = (integer(before, scale), integer(value, scale)) else {
            continue;
        };
        let difference = to - from;
        let zigzag = ((difference << 1) ^ (difference >> 63)) as u64;
        let beyond = zigzag.checked_sub(NARROW);
        let nibble = match beyond {
            None => zigzag as u8,
            Some(beyond) if beyond < MIDDLE => (NARROW + beyond / 256) as u8,
            Some(_) => WIDE,
        };
        out.push(kind | step_bit | nibble << 4);
        put_step(out);
        match beyond {
            None => {}
            Some(beyond) if beyond < MIDDLE => out.push((beyond % 256) as u8),
            Some(_) => put_unsigned(out, zigzag),
        }
        return;
    }
    let differs = before.to_bits() ^ value.to_bits();
    // None at all differ where a value comes again after another step.
    let same_bytes = if differs == 0 { 0 } else { (differs.trailing_zeros() / 8) as u8 };
    out.push(BITS | step_bit | same_bytes << 4);
    put_step(out);
    put_unsigned(out, differs >> (8 * same_bytes));
}

fn read_value(reader: &mut Reader<'_>, operation: u8, before: f64) -> Option<f64> {
    let kind = operation & KIND;
    if kind == BITS {
        let differs = reader.unsigned().ok()? << (8 * ((operation >> 4) & KIND));
        return Some(f64::from_bits(before.to_bits() ^ differs));
    }
    let scale = *SCALES.get(usize::from(kind).checked_sub(1)?)?;
    let nibble = u64::from(operation >> 4);
    let zigzag = match nibble {
        0..NARROW => nibble,
        _ if nibble == u64::from(WIDE) => reader.unsigned().ok()?,
        _ => nibble * 256 - NARROW * 256 + u64::from(reader.byte().ok()?) + NARROW,
    };
    let difference = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
    Some((integer(before, scale)? + difference) as f64 / scale)
}

/// The integer that a value becomes, if every bit of the value comes back from it.
fn integer(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round();
    let whole = scaled as i64;
    let is_exact = scaled.abs() < EXACT && (whole as f64 / scale).to_bits() == value.to_bits();
    is_exact.then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(points: &[(i64, f64, u64)]) {
        let mut log = Log::default();
        let mut expect: Vec<(i64, u64, u64)> = Vec::new();
        for &(at_ms, value, segment) in points {
            let latest = expect.iter().map(|point| point.0).max();
            let is_again =
                expect.last().is_some_and(|last| last.0 == at_ms && latest == Some(at_ms));
            let pushed = log.push(Point { at_ms, value, segment });
            assert_eq!(pushed == Pushed::Kept, !is_again);
            if !is_again {
                expect.push((at_ms, value.to_bits(), segment));
            }
            let found = log.iter().map(|point| (point.at_ms, point.value.to_bits(), point.segment));
            assert_eq!(found.collect::<Vec<_>>(), expect);
        }
    }

    #[test]
    fn points_come_back_as_they_went_in() {
        check(&[]);
        check(&[(0, 0.0, 0), (0, 0.0, 0)]);
        check(&[(10, -0.0, 1), (20, 0.0, 1), (30, 0.0, 1), (40, 0.0, 2), (50, 0.1, 2)]);
        check(&[(i64::MAX, f64::MAX, 1), (i64::MIN, f64::MIN_POSITIVE, u64::MAX), (0, 5e-324, 0)]);
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        check(&[(10, 1.5, 1), (20, stale, 1), (30, stale, 1), (45, stale, 1), (46, f64::NAN, 1)]);
        check(&[(10, f64::INFINITY, 1), (20, f64::NEG_INFINITY, 1), (5, 9e15, 1), (6, -9e15, 1)]);
        let long: Vec<_> = (0..3_000).map(|step| (step * 10, (step / 70) as f64, 1)).collect();
        check(long.get(..200).unwrap_or_default());
        let mut log = Log::default();
        for &(at_ms, value, segment) in &long {
            log.push(Point { at_ms, value, segment });
        }
        assert!(log.iter().map(|point| (point.at_ms, point.value, point.segment)).eq(long));
    }

    proptest! {
        #[test]
        fn any_points_come_back(
            points in prop::collection::vec(
                (
                    prop_oneof![0..50_i64, any::<i64>()],
                    prop_oneof![
                        (0..9_i32).prop_map(f64::from),
                        (0..99_999_i32).prop_map(|cents| f64::from(cents) / 100.0),
                        any::<u64>().prop_map(f64::from_bits),
                    ],
                    0..3_u64,
                ),
                0..40,
            )
        ) {
            check(&points);
        }
    }
}
