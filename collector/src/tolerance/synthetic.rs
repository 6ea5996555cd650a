//! Synthetic hosts: what charts say of days and weeks that come and go, of noise, spikes, drift and
//! steps. Every draw comes from a seed, so the figures are the same each time.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::baseline::{DAY_MS, STEP_MS, WEEK_MS};
use super::chart::Chart;

/// A Monday, 0:00 UTC.
pub(super) const MONDAY_MS: i64 = 1_799_625_600_000;

/// What a synthetic signal is like. Its noise has a standard deviation of 1, in units of `noise`.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) floor: f64,
    pub(super) level: f64,
    /// By how much days and weeks swing.
    pub(super) daily: f64,
    pub(super) weekly: f64,
    pub(super) noise: f64,
    /// How much a point resembles the one before.
    pub(super) alike: f64,
    /// Noise that is skewed, as that of latencies is.
    pub(super) skewed: bool,
    /// One point of so many is far up.
    pub(super) spikes: Option<u32>,
    /// Whole numbers only.
    pub(super) whole: bool,
}

pub(super) const PLAIN: Kind = Kind {
    name: "plain",
    floor: 1e-9,
    level: 50.0,
    daily: 0.0,
    weekly: 0.0,
    noise: 1.0,
    alike: 0.0,
    skewed: false,
    spikes: None,
    whole: false,
};

/// A host has one of each, as the shipped signals are.
const HOST: [Kind; 7] = [
    Kind { name: "load", daily: 4.0, weekly: 4.0, alike: 0.4, ..PLAIN },
    Kind { name: "memory", daily: 1.5, weekly: 1.0, alike: 0.6, ..PLAIN },
    Kind { name: "latency", daily: 1.0, alike: 0.2, skewed: true, ..PLAIN },
    Kind { name: "errors", level: 0.0, noise: 0.0, spikes: Some(300), floor: 1.0, ..PLAIN },
    Kind { name: "constant", level: 0.0, noise: 0.0, floor: 1.0, ..PLAIN },
    Kind { name: "processes", daily: 6.0, weekly: 3.0, noise: 3.0, whole: true, ..PLAIN },
    Kind { name: "response", daily: 0.5, skewed: true, spikes: Some(1000), ..PLAIN },
];

/// A signal over time.
pub(super) struct Source {
    kind: Kind,
    random: StdRng,
    last: f64,
    phase: f64,
}

impl Source {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let phase = random.random::<f64>();
        Self { kind, random, last: 0.0, phase }
    }

    fn normal(&mut self) -> f64 {
        let (first, second): (f64, f64) =
            (1.0 - self.random.random::<f64>(), self.random.random::<f64>());
        (-2.0 * f64::ln(first)).sqrt() * (std::f64::consts::TAU * second).cos()
    }

    pub(super) fn value(&mut self, at_ms: i64) -> f64 {
        let Kind { level, daily, weekly, noise, alike, skewed, spikes, whole, .. } = self.kind;
        self.last = alike * self.last + (1.0 - alike * alike).sqrt() * self.normal();
        // Log-normal with a standard deviation of about 1 around 0.
        let drawn = if skewed { 2.0 * ((0.45 * self.last).exp() - 1.0) } else { self.last };
        let day = (at_ms.rem_euclid(DAY_MS)) as f64 / DAY_MS as f64;
        let is_weekend =
            at_ms.rem_euclid(WEEK_MS) / DAY_MS >= 2 && at_ms.rem_euclid(WEEK_MS) / DAY_MS < 4;
        let busy = (std::f64::consts::TAU * (day + self.phase)).sin();
        let swing = daily * busy * if is_weekend { 0.3 } else { 1.0 };
        let week = if is_weekend { -weekly } else { 0.0 };
        let spike = match spikes {
            Some(one_of) if self.random.random_ratio(1, one_of) => 40.0,
            _ => 0.0,
        };
        let value = level + swing + week + noise * drawn + spike;
        if whole { value.round() } else { value }
    }
}

/// How many times a rule of the chart begins to be broken.
fn marks(chart: &mut Chart, source: &mut Source, from: i64, points: i64) -> u32 {
    let (mut marks, mut was_broken) = (0, false);
    for number in from..from + points {
        let at_ms = MONDAY_MS + number * STEP_MS;
        let judged = chart.take(at_ms, source.value(at_ms), false).unwrap();
        let is_broken = !judged.broken.is_empty();
        marks += u32::from(is_broken && !was_broken);
        was_broken = is_broken;
    }
    marks
}

pub(super) const DAY: i64 = 288;
pub(super) const WEEK: i64 = 7 * DAY;

/// False marks a host and week, over so many hosts: before three weeks, and from then on.
fn false_marks(hosts: u64) -> (f64, f64) {
    let (mut young, mut old) = (0.0, 0.0);
    for (index, kind) in HOST.into_iter().enumerate() {
        let (mut first, mut then) = (0, 0);
        for host in 0..hosts {
            let mut source = Source::new(kind, host * 100 + index as u64);
            let mut chart = Chart::new(kind.floor);
            // Hosts are installed on any day, at any time.
            let start = (host as i64 * 331) % WEEK;
            first += marks(&mut chart, &mut source, start, 3 * WEEK);
            then += marks(&mut chart, &mut source, start + 3 * WEEK, 8 * WEEK);
        }
        let (first, then) =
            (f64::from(first) / hosts as f64 / 2.0, f64::from(then) / hosts as f64 / 8.0);
        println!(
            "{:>10}: {first:.3} false marks a week by the mean, {then:.3} by hours",
            kind.name
        );
        young += first;
        old += then;
    }
    (young, old)
}

/// The share of steps that are found within three points, and the median of the points.
fn found(kind: Kind, weeks: i64, steps: u64, sigmas: f64) -> (f64, usize) {
    let mut delays = Vec::new();
    for seed in 0..steps {
        let mut source = Source::new(kind, 1_000_000 + seed);
        let mut chart = Chart::new(kind.floor);
        // Steps begin at any time of the day, none while the chart is marked already.
        let start = weeks * WEEK + (seed as i64 * 37) % DAY;
        marks(&mut chart, &mut source, 0, start);
        let delay = (0..DAY).find(|number| {
            let at_ms = MONDAY_MS + (start + number) * STEP_MS;
            let value = source.value(at_ms) + sigmas * kind.noise;
            !chart.take(at_ms, value, false).unwrap().broken.is_empty()
        });
        delays.push(delay.map_or(usize::MAX, |delay| delay as usize + 1));
    }
    delays.sort_unstable();
    let within = delays.iter().filter(|delay| **delay <= 3).count();
    (within as f64 / steps as f64, delays[delays.len() / 2])
}

#[test]
fn false_marks_are_few() {
    let (young, old) = false_marks(16);
    println!("false marks a host and week: {young:.2} by the mean, {old:.2} by hours of the week");
    assert!(young <= 1.0 && old <= 1.0, "{young} {old}");
}

#[test]
fn a_step_of_four_sigma_is_found_within_three_points() {
    let check = |kind: Kind, weeks: i64, least: f64| {
        let (share, median) = found(kind, weeks, 100, 4.0);
        let Kind { name, alike, .. } = kind;
        println!(
            "{name} (alike {alike}), week {weeks}: {:.1} % of steps within 3 points, half within {median}",
            share * 100.0
        );
        assert!(share >= least, "{name}: {share}");
    };
    check(PLAIN, 2, 0.95);
    check(PLAIN, 6, 0.95);
    check(Kind { name: "cycles", daily: 4.0, weekly: 4.0, ..PLAIN }, 6, 0.9);
    check(Kind { name: "likeness", alike: 0.4, ..PLAIN }, 6, 0.5);
}
