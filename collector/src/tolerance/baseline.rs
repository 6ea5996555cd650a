//! What is usual for one signal of one host, learned hour by hour. Pure.
//!
//! For the first three weeks it is an exponentially weighted mean with its variance. Beside it every
//! hour of the week collects the medians of its last four weeks and how far its points lie from what
//! was expected of them: from then on the centre is the median of those, and the spread their MAD.

use serde::{Deserialize, Serialize};

use super::number::{median, median_in_place};

/// The distance of points, in milliseconds.
pub const STEP_MS: i64 = 5 * 60_000;

pub(super) const HOUR_MS: i64 = 60 * 60_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
pub(super) const WEEK_MS: i64 = 7 * DAY_MS;

/// Before it has seen a whole week, nobody can tell a Monday from an incident.
pub(super) const JUDGED_AFTER_MS: i64 = WEEK_MS;

/// Limits are shown so soon.
const SHOWN_AFTER_MS: i64 = DAY_MS;

/// So much must be known before hours of the week are told apart.
pub(super) const WEEKLY_AFTER_MS: i64 = 3 * WEEK_MS;

/// The hours of a week.
pub(super) const SLOTS: usize = 168;

/// So many weeks an hour of the week remembers.
const WEEKS: usize = 4;

/// So many numbers a slot is kept as.
const SLOT_NUMBERS: usize = WEEKS + 2;

/// The memory of the exponentially weighted mean, in points: a week.
const MEMORY: f64 = 2016.0;

/// A standard deviation in terms of the median absolute deviation of what is normal.
pub(super) const SIGMAS_PER_MAD: f64 = 1.4826;

/// How much is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Less than a week: nothing is judged.
    Learning,
    /// Judged by the exponentially weighted mean.
    Average,
    /// Judged by the hour of the week.
    Weekly,
}

/// What is expected of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) phase: Phase,
    pub(super) center: f64,
    /// Between these two a point is where it belongs: near the edge of an hour, its neighbour counts too.
    pub(super) band: (f64, f64),
    pub(super) sigma: f64,
}

/// The part that is kept as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Average {
    /// The first point that was learned, in milliseconds since 1970.
    pub(super) since_ms: Option<i64>,
    /// So many points were learned.
    pub(super) points: u64,
    mean: f64,
    variance: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Baseline {
    pub(super) average: Average,
    slots: Vec<Slot>,
}

/// An hour of the week.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    /// The medians of its last weeks, the newest first; those not known are NaN.
    medians: [f32; WEEKS],
    /// The usual median distance of its points from what was expected; NaN if not known.
    deviation: f32,
    /// So many weeks in a row it was odd.
    odd_weeks: f32,
}

impl Default for Slot {
    fn default() -> Self {
        Self { medians: [f32::NAN; WEEKS], deviation: f32::NAN, odd_weeks: 0.0 }
    }
}

impl Baseline {
    pub(super) fn new() -> Self {
        Self { average: Average::default(), slots: vec![Slot::default(); SLOTS] }
    }

    /// What is expected at a moment; nothing before there are limits.
    pub(super) fn expect(&self, at_ms: i64) -> Option<Expected> {
        let age_ms = at_ms.saturating_sub(self.average.since_ms?);
        if age_ms < SHOWN_AFTER_MS || self.average.points < 100 {
            return None;
        }
        if age_ms >= WEEKLY_AFTER_MS
            && let Some(expected) = self.expect_of_hour(at_ms)
        {
            return Some(expected);
        }
        let Average { mean, variance, .. } = self.average;
        let phase = if age_ms < JUDGED_AFTER_MS { Phase::Learning } else { Phase::Average };
        Some(Expected { phase, center: mean, band: (mean, mean), sigma: variance.sqrt() })
    }

    fn expect_of_hour(&self, at_ms: i64) -> Option<Expected> {
        let slot = slot_of(at_ms);
        let own = self.slots.get(slot)?;
        if own.known() < 2 {
            return None;
        }
        let center = own.center()?;
        let is_early = at_ms.rem_euclid(HOUR_MS) < HOUR_MS / 2;
        let beside = if is_early { slot + SLOTS - 1 } else { slot + 1 } % SLOTS;
        let beside = self.slots.get(beside).and_then(Slot::center).unwrap_or(center);
        Some(Expected {
            phase: Phase::Weekly,
            center,
            band: (center.min(beside), center.max(beside)),
            sigma: self.spread(slot)? * SIGMAS_PER_MAD,
        })
    }

    /// The usual deviation around a slot: of a single one it is too uncertain.
    fn spread(&self, slot: usize) -> Option<f64> {
        let around = (slot + SLOTS - 2..=slot + SLOTS + 2).map(|near| near % SLOTS);
        let known = around.filter_map(|near| self.slots.get(near));
        let deviations = known.map(|near| f64::from(near.deviation)).filter(|one| !one.is_nan());
        median(deviations)
    }

    /// Learns the points of an ordinary hour.
    pub(super) fn learn(&mut self, hour_ms: i64, values: &[f64]) {
        self.average.since_ms.get_or_insert(hour_ms);
        for value in values {
            self.average.take(*value);
        }
        self.learn_slot(hour_ms, values);
        if let Some(slot) = self.slots.get_mut(slot_of(hour_ms)) {
            slot.odd_weeks = 0.0;
        }
    }

    /// Takes note of an odd hour. It teaches nothing, unless the same hour was odd a week ago: then
    /// it is how this hour is by now.
    pub(super) fn note_odd(&mut self, hour_ms: i64, values: &[f64]) {
        let index = slot_of(hour_ms);
        let again = self.slots.get(index).is_some_and(|slot| slot.odd_weeks >= 1.0);
        if again {
            self.learn_slot(hour_ms, values);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.odd_weeks = (slot.odd_weeks + 1.0).min(100.0);
        }
    }

    /// Moves all that is known to another level, with at least so much deviation.
    pub(super) fn shift(&mut self, by: f64, deviation: f64) {
        self.average.mean += by;
        let variance = (deviation * SIGMAS_PER_MAD).powi(2);
        self.average.variance = self.average.variance.max(variance);
        for slot in &mut self.slots {
            slot.medians = slot.medians.map(|one| narrow(f64::from(one) + by));
            slot.odd_weeks = 0.0;
            if f64::from(slot.deviation) < deviation {
                slot.deviation = narrow(deviation);
            }
        }
    }

    fn learn_slot(&mut self, hour_ms: i64, values: &[f64]) {
        let Some(slot) = self.slots.get_mut(slot_of(hour_ms)) else { return };
        let Some(middle) = median(values.iter().copied()) else { return };
        // What was expected says more about how good expectations are than what turned out.
        let expected = slot.center().unwrap_or(middle);
        let mut distances: Vec<f64> = values.iter().map(|one| (one - expected).abs()).collect();
        let Some(deviation) = median_in_place(&mut distances) else { return };
        let known = slot.known();
        let share = if known <= 1 { 1.0 } else { 1.0 / known.min(WEEKS) as f64 };
        let before = if slot.deviation.is_nan() { deviation } else { f64::from(slot.deviation) };
        slot.deviation = narrow(before + share * (deviation - before));
        slot.medians.rotate_right(1);
        if let Some(newest) = slot.medians.first_mut() {
            *newest = narrow(middle);
        }
    }

    /// The slots as bytes.
    pub(super) fn slot_bytes(&self) -> Vec<u8> {
        let numbers = self
            .slots
            .iter()
            .flat_map(|slot| slot.medians.into_iter().chain([slot.deviation, slot.odd_weeks]));
        numbers.flat_map(f32::to_le_bytes).collect()
    }

    /// A baseline of what was kept; nothing if the bytes are not those of slots.
    pub(super) fn of_kept(average: Average, bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let (slots, more) = numbers.as_chunks::<SLOT_NUMBERS>();
        if !rest.is_empty() || !more.is_empty() || slots.len() != SLOTS {
            return None;
        }
        let slots = slots.iter().map(|[a, b, c, d, deviation, odd_weeks]| Slot {
            medians: [*a, *b, *c, *d],
            deviation: *deviation,
            odd_weeks: *odd_weeks,
        });
        Some(Self { average, slots: slots.collect() })
    }
}

impl Average {
    fn take(&mut self, value: f64) {
        self.points += 1;
        let share = (1.0 / self.points as f64).max(1.0 / MEMORY);
        let distance = value - self.mean;
        self.mean += share * distance;
        self.variance = (1.0 - share) * (self.variance + share * distance * distance);
    }
}

impl Slot {
    fn known(&self) -> usize {
        self.medians.iter().filter(|one| !one.is_nan()).count()
    }

    fn center(&self) -> Option<f64> {
        median(self.medians.iter().map(|one| f64::from(*one)).filter(|one| !one.is_nan()))
    }
}

/// Which hour of the week a moment lies in, by UTC.
fn slot_of(at_ms: i64) -> usize {
    usize::try_from(at_ms.rem_euclid(WEEK_MS) / HOUR_MS).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "seven digits are more than a chart shows")]
fn narrow(value: f64) -> f32 {
    value as f32
}
