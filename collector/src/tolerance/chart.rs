//! One signal of one host: its points are judged by what is usual, and what is usual is learned of
//! them. Pure, with the moments passed in.

use serde::{Deserialize, Serialize};

use super::baseline::{Average, Baseline, Expected, HOUR_MS, Phase, STEP_MS};
use super::broken::{ChartRule, Runs};
use super::noise::Noise;
use super::number::{median, median_in_place};

/// So many sigmas the limits lie from the centre.
const LIMIT: f64 = 3.0;

/// So many odd hours in a row are taken for the new normal: two days.
const ADOPTED_AFTER: usize = 48;

/// Points that lie further apart follow on none.
const INTERRUPTED_MS: i64 = 3 * STEP_MS;

/// Numbers beyond this are left out: their squares could not be counted with.
const LARGEST: f64 = 1e30;

/// A chart: what is known, and what the rules remember.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    floor: f64,
    baseline: Baseline,
    memory: Memory,
}

/// The part of a chart that is kept as JSON.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
struct Memory {
    average: Average,
    noise: Noise,
    runs: Runs,
    hour: Hour,
    /// The odd hours since the last ordinary one: how far off each was, and how its points were spread.
    odd: Vec<(f64, f64)>,
    last_ms: Option<i64>,
    shown: Shown,
    adopted_ms: Option<i64>,
    hours_odd: u64,
    hours_paused: u64,
    is_weekly: bool,
}

/// What there is to show of it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
struct Shown {
    last: Option<Judged>,
    /// The rules that were broken at the point before the last, and are not any more.
    ended: Vec<ChartRule>,
    broken_since_ms: Option<i64>,
}

/// The hour that is not over yet.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
struct Hour {
    start_ms: i64,
    values: Vec<f64>,
    /// Distances from the centre: in the signal's unit, and in sigmas.
    off: Vec<f64>,
    sigmas: Vec<f64>,
    odd_points: usize,
    is_paused: bool,
}

/// A point, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What was measured.
    pub value: f64,
    /// What is usual; nothing while too little is known.
    pub limits: Option<ChartLimits>,
    /// The rules that are broken.
    pub broken: Vec<ChartRule>,
}

/// The lines of a chart at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartLimits {
    /// What is expected.
    pub center: f64,
    /// Three sigmas below, and no nearer than the floor.
    pub lower: f64,
    /// The same above.
    pub upper: f64,
}

/// How a chart came to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// How much is known.
    pub phase: Phase,
    /// The first point that was learned, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// So many points were learned.
    pub points: u64,
    /// So many hours taught nothing since they were out of tolerance.
    pub hours_odd: u64,
    /// So many taught nothing for maintenance or an incident.
    pub hours_paused: u64,
    /// When another level was last taken for the new normal.
    pub adopted_ms: Option<i64>,
}

impl Chart {
    /// A chart of which nothing is known.
    pub fn new(floor: f64) -> Self {
        Self { floor, baseline: Baseline::new(), memory: Memory::default() }
    }

    /// When its last point was, in milliseconds since 1970.
    pub fn last_ms(&self) -> Option<i64> {
        self.memory.last_ms
    }

    /// The last point, and what was said of it.
    pub fn last(&self) -> Option<&Judged> {
        self.memory.shown.last.as_ref()
    }

    /// The rules that the last point ended: they were broken before it.
    pub fn ended(&self) -> &[ChartRule] {
        &self.memory.shown.ended
    }

    /// Since when a rule is broken without a pause, in milliseconds since 1970.
    pub fn broken_since_ms(&self) -> Option<i64> {
        self.memory.shown.broken_since_ms
    }

    /// Judges a point and learns of it, unless learning is `paused`. Points that are not later than the
    /// last one, or no numbers that can be counted with, are left out.
    pub fn take(&mut self, at_ms: i64, value: f64, paused: bool) -> Option<&Judged> {
        let follows = |last_ms: i64| at_ms.saturating_sub(last_ms);
        let distance_ms = self.memory.last_ms.map_or(i64::MAX, follows);
        // Neither is what is no number at all.
        let is_countable = value.abs() <= LARGEST;
        if !is_countable || distance_ms <= 0 {
            return None;
        }
        self.memory.last_ms = Some(at_ms);
        if distance_ms > INTERRUPTED_MS {
            self.memory.runs.interrupt();
        }
        let hour_ms = at_ms - at_ms.rem_euclid(HOUR_MS);
        if hour_ms != self.memory.hour.start_ms {
            self.finish_hour();
            self.memory.hour = Hour { start_ms: hour_ms, ..Hour::default() };
        }
        self.memory.hour.is_paused |= paused;
        self.memory.hour.values.push(value);
        let (limits, broken) = self.judge(at_ms, value, paused);
        Some(self.memory.shown.take(Judged { at_ms, value, limits, broken }))
    }

    /// The clock was set back: what was taken later than now is not waited for.
    pub fn come_back_to(&mut self, now_ms: i64) {
        self.memory.last_ms = self.memory.last_ms.map(|last_ms| last_ms.min(now_ms));
    }

    /// How it came to its limits, as of a moment.
    pub fn learned(&self, now_ms: i64) -> Learned {
        let Memory { adopted_ms, hours_odd, hours_paused, .. } = self.memory;
        let Average { since_ms, points, .. } = self.baseline.average;
        let phase = self.baseline.expect(now_ms).map_or(Phase::Learning, |expected| expected.phase);
        Learned { phase, since_ms, points, hours_odd, hours_paused, adopted_ms }
    }

    /// What is to be kept of it: JSON, and bytes.
    ///
    /// # Errors
    /// When it cannot be put into JSON.
    pub fn keep(&self) -> serde_json::Result<(String, Vec<u8>)> {
        let mut memory = self.memory.clone();
        memory.average = self.baseline.average.clone();
        Ok((serde_json::to_string(&memory)?, self.baseline.slot_bytes()))
    }

    /// A chart as it was kept; nothing if that cannot be read.
    pub fn of_kept(floor: f64, memory: &str, slots: &[u8]) -> Option<Self> {
        let memory: Memory = serde_json::from_str(memory).ok()?;
        let baseline = Baseline::of_kept(memory.average.clone(), slots)?;
        Some(Self { floor, baseline, memory: Memory { average: Average::default(), ..memory } })
    }

    /// The limits at a moment, and the rules that are broken with this value.
    fn judge(
        &mut self,
        at_ms: i64,
        value: f64,
        paused: bool,
    ) -> (Option<ChartLimits>, Vec<ChartRule>) {
        let Some(expected) = self.baseline.expect(at_ms) else { return (None, Vec::new()) };
        self.enter(expected.phase);
        let (limits, distance) = self.measure(&expected, value);
        let mut broken = Vec::new();
        if expected.phase != Phase::Learning {
            self.memory.runs.take(distance, expected.phase == Phase::Weekly);
            broken = self.memory.runs.broken();
            let hour = &mut self.memory.hour;
            hour.off.push(value - expected.center);
            hour.sigmas.push(distance);
            hour.odd_points += usize::from(!broken.is_empty() || distance.abs() > LIMIT);
        }
        if broken.is_empty() && !paused {
            let sigma = expected.sigma.max(self.floor / LIMIT);
            let off = off_band(&expected, value) / sigma;
            self.memory.noise.learn((value - expected.center) / sigma, off);
        }
        (Some(limits), broken)
    }

    /// What was remembered in sigmas means something else when those are of another kind.
    fn enter(&mut self, phase: Phase) {
        let is_weekly = phase == Phase::Weekly;
        if self.memory.is_weekly != is_weekly {
            self.memory.is_weekly = is_weekly;
            self.memory.noise = Noise::default();
            self.memory.runs = Runs::default();
        }
    }

    /// The limits, and how many sigmas a value is off; 0 where that is too little to count.
    fn measure(&self, expected: &Expected, value: f64) -> (ChartLimits, f64) {
        let (low, high) = expected.band;
        let (below, above) = self.memory.noise.widths();
        let sigma = |width: f64| (expected.sigma * width).max(self.floor / LIMIT);
        let limits = ChartLimits {
            center: expected.center,
            lower: low - LIMIT * sigma(below),
            upper: high + LIMIT * sigma(above),
        };
        let off = off_band(expected, value);
        let counts = (value - expected.center).abs() >= self.floor;
        let distance = off / sigma(if off < 0.0 { below } else { above });
        (limits, if counts { distance } else { 0.0 })
    }

    /// The hour is over: it is learned, or left out.
    fn finish_hour(&mut self) {
        let mut hour = std::mem::take(&mut self.memory.hour);
        let is_odd = hour.odd_points * 2 > hour.values.len();
        if self.memory.is_weekly
            && let Some(middle) = median_in_place(&mut hour.sigmas)
        {
            self.memory.runs.take_hour(middle);
        }
        if hour.is_paused {
            self.memory.hours_paused += 1;
        } else if is_odd {
            self.memory.hours_odd += 1;
            self.baseline.note_odd(hour.start_ms, &hour.values);
            self.note_odd(&hour);
        } else if !hour.values.is_empty() {
            self.memory.odd.clear();
            self.baseline.learn(hour.start_ms, &hour.values);
        }
    }

    /// What lasts for two days without an ordinary hour is the new normal.
    fn note_odd(&mut self, hour: &Hour) {
        let Some(off) = median(hour.off.iter().copied()) else { return };
        let around = hour.off.iter().map(|one| (one - off).abs());
        self.memory.odd.push((off, median(around).unwrap_or_default()));
        if self.memory.odd.len() < ADOPTED_AFTER {
            return;
        }
        let odd = std::mem::take(&mut self.memory.odd);
        let Some(by) = median(odd.iter().map(|(off, _)| *off)) else { return };
        let deviation = median(odd.iter().map(|(_, deviation)| *deviation)).unwrap_or_default();
        self.baseline.shift(by, deviation);
        self.memory.runs = Runs::default();
        self.memory.adopted_ms = Some(hour.start_ms + HOUR_MS);
    }
}

impl Shown {
    fn take(&mut self, judged: Judged) -> &Judged {
        let before = self.last.take().map(|last| last.broken).unwrap_or_default();
        self.ended = before.into_iter().filter(|rule| !judged.broken.contains(rule)).collect();
        self.broken_since_ms = match self.broken_since_ms {
            _ if judged.broken.is_empty() => None,
            Some(since_ms) => Some(since_ms),
            None => Some(judged.at_ms),
        };
        self.last.insert(judged)
    }
}

/// How far a value lies from where it belongs.
fn off_band(expected: &Expected, value: f64) -> f64 {
    let (low, high) = expected.band;
    (value - high).max(0.0) + (value - low).min(0.0)
}
