//! The rules by which a chart is out of tolerance. Pure.
//!
//! The textbook's rules are for a few points a day from independent draws. Of 2,016 points a week and
//! seven signals each would fire by chance every day, so they ask for more here: docs/control-charts.md
//! has the figures.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Two of the last three points lie beyond this, on one side.
const FAR: f64 = 3.0;

/// Two of the last three lie beyond this, on one side…
const NEAR: f64 = 2.0;

/// …and so does the mean of the three.
const MEAN_OF_THREE: f64 = 2.25;

/// So many hours in a row have their median on one side…
const HOURS: i8 = 8;

/// …and at least so far off.
const HOUR_OFF: f64 = 1.0;

/// The memory of the EWMA, in points: a day.
const DRIFT_MEMORY: f64 = 288.0;

/// The EWMA passes this, and comes back below the second.
const DRIFTED: f64 = 0.75;
const DRIFTS_NO_MORE: f64 = 0.5;

/// A single point drags the EWMA by no more than this.
const DRAG: f64 = 4.0;

/// A rule of control charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChartRule {
    /// Two of the last three points are beyond the limits, on one side.
    BeyondThreeSigma,
    /// Two of the last three points are beyond two sigma on one side, and their mean clearly is.
    TwoOfThreeBeyondTwoSigma,
    /// Eight hours in a row are on one side of the centre line, by one sigma and more.
    EightOnOneSide,
    /// The exponentially weighted moving average has left the centre line.
    Drift,
}

impl ChartRule {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::BeyondThreeSigma, Self::TwoOfThreeBeyondTwoSigma, Self::EightOnOneSide, Self::Drift];

    /// The value of the label `rule`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeyondThreeSigma => "beyond_3_sigma",
            Self::TwoOfThreeBeyondTwoSigma => "2_of_3_beyond_2_sigma",
            Self::EightOnOneSide => "8_on_one_side",
            Self::Drift => "drift",
        }
    }
}

/// What the rules remember. Points are told by their distance from the centre in sigmas.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Runs {
    /// The last three points.
    recent: VecDeque<f64>,
    /// So many hours in a row are on one side: above if positive, below if negative.
    hours: i8,
    average: f64,
    drifts: bool,
}

impl Runs {
    /// Takes a point. What goes over days is judged by the hour of the week only: a mean of all hours
    /// would call every day a run.
    pub(super) fn take(&mut self, distance: f64, is_weekly: bool) {
        if self.recent.len() >= 3 {
            self.recent.pop_front();
        }
        self.recent.push_back(distance);
        if !is_weekly {
            return;
        }
        let drag = distance.clamp(-DRAG, DRAG);
        self.average += (drag - self.average) / DRIFT_MEMORY;
        let threshold = if self.drifts { DRIFTS_NO_MORE } else { DRIFTED };
        self.drifts = self.average.abs() > threshold;
    }

    /// Takes the median of an hour's points.
    pub(super) fn take_hour(&mut self, distance: f64) {
        let side = if distance.abs() < HOUR_OFF { 0 } else { distance.signum() as i8 };
        let goes_on = self.hours.signum() == side;
        let hours = if goes_on { self.hours.saturating_add(side) } else { side };
        self.hours = hours.clamp(-HOURS, HOURS);
    }

    /// Points are missing: the next one follows on none.
    pub(super) fn interrupt(&mut self) {
        self.recent.clear();
    }

    /// The rules that are broken now.
    pub(super) fn broken(&self) -> Vec<ChartRule> {
        let holds = |rule: &ChartRule| match rule {
            ChartRule::BeyondThreeSigma => self.two_beyond(FAR).is_some(),
            ChartRule::TwoOfThreeBeyondTwoSigma => self.two_beyond(NEAR).is_some_and(|side| {
                let mean = self.recent.iter().sum::<f64>() / self.recent.len().max(1) as f64;
                self.recent.len() == 3 && mean * side > MEAN_OF_THREE
            }),
            ChartRule::EightOnOneSide => self.hours.abs() >= HOURS,
            ChartRule::Drift => self.drifts,
        };
        ChartRule::ALL.into_iter().filter(holds).collect()
    }

    /// The side on which two of the last three points are beyond a limit.
    fn two_beyond(&self, limit: f64) -> Option<f64> {
        let beyond = |side: f64| self.recent.iter().filter(|one| **one * side > limit).count();
        [1.0, -1.0].into_iter().find(|side| beyond(*side) >= 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_break_the_rules_of_points() {
        let check = |points: &[f64], expect: &[&str]| {
            let mut runs = Runs::default();
            points.iter().for_each(|point| runs.take(*point, true));
            let broken: Vec<_> = runs.broken().into_iter().map(ChartRule::name).collect();
            assert_eq!(broken, expect, "{points:?}");
        };
        let (far, near) = ("beyond_3_sigma", "2_of_3_beyond_2_sigma");
        check(&[], &[]);
        check(&[0.0, 0.0, 50.0], &[]);
        check(&[0.0, 3.1, 3.1], &[far]);
        check(&[3.1, 0.0, 3.1], &[far]);
        check(&[0.0, -3.1, -3.1], &[far]);
        check(&[0.0, 3.1, -3.1], &[]);
        check(&[4.0, 4.0], &[far]);
        check(&[4.0, 4.0, 4.0], &[far, near]);
        check(&[2.5, 2.5, 2.5], &[near]);
        check(&[-2.9, -2.9, -1.9], &[near]);
        check(&[2.2, 2.2, 2.2], &[]);
        check(&[4.0, 4.0, 0.0, 0.0], &[]);
    }

    #[test]
    fn hours_and_days_break_the_others() {
        let hours = |medians: &[f64]| {
            let mut runs = Runs::default();
            medians.iter().for_each(|median| runs.take_hour(*median));
            runs.broken().contains(&ChartRule::EightOnOneSide)
        };
        assert!(hours(&[1.1; 8]) && hours(&[-1.1; 200]));
        assert!(!hours(&[1.1; 7]) && !hours(&[0.9; 20]));
        assert!(!hours(&[1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, -1.1, 1.1]));
        assert!(!hours(&[[1.1; 7].as_slice(), &[0.0], &[1.1; 7]].concat()));

        let drifts = |points: usize, distance: f64, is_weekly: bool| {
            let mut runs = Runs::default();
            (0..points).for_each(|_| runs.take(distance, is_weekly));
            runs.broken().contains(&ChartRule::Drift)
        };
        assert!(drifts(500, 1.0, true) && drifts(500, -1.0, true));
        assert!(!drifts(50_000, 0.7, true) && !drifts(100, 1.0, true));
        assert!(!drifts(500, 1.0, false));
        assert!(!drifts(50, 1e9, true), "what is far off for a short while is no drift");
    }
}
