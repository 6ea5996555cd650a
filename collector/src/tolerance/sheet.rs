//! The charts of one signal, of all hosts, and how far they have come. Pure, with the moments passed in.

use std::collections::{BTreeMap, BTreeSet};

use upkeep_promql::Row;

use super::baseline::{DAY_MS, HOUR_MS, STEP_MS};
use super::board::ChartStatus;
use super::chart::Chart;
use super::series::{ChartPoint, points};
use super::signal::Signal;
use crate::state::KeptChart;

/// So many hosts a signal is charted of.
const MAX_CHARTS: usize = 20_000;

/// A chart is forgotten that had no point for so long.
const FORGOTTEN_AFTER_MS: i64 = 35 * DAY_MS;

/// Only what is so young becomes series: what is learned of older samples is learned only.
const WRITTEN_MS: i64 = HOUR_MS;

/// The charts of a signal.
pub(super) struct Sheet {
    pub(super) signal: Signal,
    /// What was measured until then was looked at, in milliseconds since 1970.
    pub(super) through_ms: i64,
    charts: BTreeMap<String, Chart>,
    /// What was caught up with is not kept yet.
    caught_up: bool,
}

/// What the points of a stretch of time came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    pub(super) points: Vec<ChartPoint>,
    /// A host that has two series, of which one is charted.
    pub(super) twice: Option<String>,
    /// Hosts that are too many.
    pub(super) refused: usize,
}

impl Sheet {
    /// The sheet as it was kept; a signal that is new begins at `from_ms`.
    pub(super) fn of_kept(signal: Signal, kept: &[KeptChart], from_ms: i64) -> Self {
        let of_signal = kept.iter().filter(|kept| kept.signal == signal.name);
        let through_ms = of_signal.clone().map(|kept| kept.through_ms).min();
        let charts = of_signal.filter_map(|kept| {
            let chart = Chart::of_kept(signal.floor, &kept.memory, &kept.slots)?;
            Some((kept.instance.clone(), chart))
        });
        let charts = charts.collect();
        let through_ms = through_ms.unwrap_or(from_ms).max(from_ms);
        Self { charts, through_ms, signal, caught_up: false }
    }

    /// Judges the points of a stretch of time. What is to be written of them comes back.
    pub(super) fn take(
        &mut self,
        rows: &[Row],
        through_ms: i64,
        now_ms: i64,
        is_paused: impl Fn(&str, i64) -> bool,
    ) -> Taken {
        let (mut taken, mut seen) = (Taken::default(), BTreeSet::new());
        for row in rows {
            let Some(instance) = row.labels.get(upkeep_model::INSTANCE) else { continue };
            if !seen.insert(instance) {
                taken.twice = Some(instance.to_owned());
                continue;
            }
            if !self.charts.contains_key(instance) && self.charts.len() >= MAX_CHARTS {
                taken.refused += 1;
                continue;
            }
            let floor = self.signal.floor;
            let fresh = || Chart::new(floor);
            let chart = self.charts.entry(instance.to_owned()).or_insert_with(fresh);
            for (at_ms, value) in row.points() {
                let paused = is_paused(instance, at_ms);
                let is_taken = chart.take(at_ms, value, paused).is_some();
                if is_taken && at_ms > now_ms.saturating_sub(WRITTEN_MS) {
                    let signal = self.signal.name.as_str();
                    taken.points.extend(points((instance, signal), chart, at_ms));
                }
            }
        }
        self.caught_up |= through_ms - self.through_ms > STEP_MS;
        self.through_ms = through_ms;
        taken
    }

    /// The last points once more, at a later moment: a series that has no sample for five minutes counts
    /// as ended.
    pub(super) fn repeated(&self, at_ms: i64) -> Vec<ChartPoint> {
        let current =
            self.charts.iter().filter(|(_, chart)| chart.last_ms() == Some(self.through_ms));
        let signal = self.signal.name.as_str();
        current.flat_map(|(instance, chart)| points((instance, signal), chart, at_ms)).collect()
    }

    /// How each chart stands.
    pub(super) fn statuses(&self) -> Vec<ChartStatus> {
        let status = |(instance, chart): (&String, &Chart)| {
            let last = chart.last()?.clone();
            Some(ChartStatus {
                instance: instance.clone(),
                signal: self.signal.name.clone(),
                unit: self.signal.unit.clone(),
                learned: chart.learned(last.at_ms),
                broken_since_ms: chart.broken_since_ms(),
                last,
            })
        };
        self.charts.iter().filter_map(status).collect()
    }

    /// What is to be kept: after catching up every chart, else those whose turn it is within a day.
    pub(super) fn kept(&mut self) -> Vec<KeptChart> {
        let (turns, turn) = (DAY_MS / STEP_MS, self.through_ms / STEP_MS);
        let all = std::mem::take(&mut self.caught_up);
        let is_due = |instance: &String| {
            let place = i64::from(crc32fast::hash(instance.as_bytes())) % turns;
            all || turn.rem_euclid(turns) == place
        };
        let due = self.charts.iter().filter(|(instance, _)| is_due(instance));
        let kept = due.filter_map(|(instance, chart)| {
            // All of it is numbers and lists, which always can be put into JSON.
            let (memory, slots) = chart.keep().ok()?;
            let (signal, instance) = (self.signal.name.clone(), instance.clone());
            Some(KeptChart { signal, instance, through_ms: self.through_ms, memory, slots })
        });
        kept.collect()
    }

    /// Drops charts of hosts that are long gone; by signal and host.
    pub(super) fn forget(&mut self) -> Vec<(String, String)> {
        let before_ms = self.through_ms.saturating_sub(FORGOTTEN_AFTER_MS);
        let is_gone = |chart: &Chart| chart.last_ms().is_none_or(|last_ms| last_ms < before_ms);
        let gone = self.charts.iter().filter(|(_, chart)| is_gone(chart));
        let gone: Vec<_> = gone.map(|(instance, _)| instance.clone()).collect();
        gone.iter().for_each(|instance| drop(self.charts.remove(instance)));
        gone.into_iter().map(|instance| (self.signal.name.clone(), instance)).collect()
    }

    /// Drops the chart of a host that is no more.
    pub(super) fn drop_host(&mut self, instance: &str) {
        self.charts.remove(instance);
    }

    /// The clock was set back: what was looked at lies in the future, and is looked at again.
    pub(super) fn come_back_to(&mut self, now_ms: i64) {
        self.through_ms = now_ms - now_ms.rem_euclid(STEP_MS);
        self.charts.values_mut().for_each(|chart| chart.come_back_to(now_ms));
    }
}

#[cfg(test)]
mod tests {
    use upkeep_model::{INSTANCE, JOB, Labels, METRIC_NAME};

    use super::super::series::{BROKEN, CENTER, RULE, SIGNAL, VALUE};
    use super::super::signal::{SignalText, chosen};
    use super::super::synthetic::MONDAY_MS;
    use super::*;

    fn signal() -> Signal {
        let text = SignalText { name: "requests", expr: "x", unit: "requests", floor: 1.0 };
        chosen(&[], &[text]).unwrap().pop().unwrap()
    }

    fn at(step: i64) -> i64 {
        MONDAY_MS + step * STEP_MS
    }

    /// A row of a host whose values stand at steps in a row.
    fn row(instance: &str, job: &str, first: i64, values: &[f64]) -> Row {
        let points = (first..).map(at).zip(values.iter().copied()).collect();
        Row::new(Labels::new([(INSTANCE, instance), (JOB, job)]), points)
    }

    /// A sheet of a host with a usual value of 5 for two weeks.
    fn filled() -> (Sheet, i64) {
        let mut sheet = Sheet::of_kept(signal(), &[], at(-1));
        let last = 14 * 288 - 1;
        let values: Vec<f64> = (0..=last).map(|step| 5.0 + (step % 3) as f64 * 0.1).collect();
        sheet.take(&[row("web1", "node", 0, &values)], at(last), at(last), |_, _| false);
        (sheet, last)
    }

    #[test]
    fn each_point_becomes_series_and_an_end_is_told_once() {
        let (mut sheet, last) = filled();
        let mut go = |step: i64, value: f64| {
            let rows = [row("web1", "node", step, &[value])];
            let taken = sheet.take(&rows, at(step), at(step), |_, _| false);
            let told = |(labels, at_ms, value): &ChartPoint| {
                assert_eq!(*at_ms, at(step));
                let name = labels.get(METRIC_NAME).unwrap().trim_start_matches("upkeep_chart_");
                format!("{name}{}={value:.0}", labels.get(RULE).unwrap_or_default())
            };
            let text: Vec<_> = taken.points.iter().map(told).collect();
            text.join(" ")
        };
        let lines = "center=5 lower_limit=4 upper_limit=6";
        assert_eq!(go(last + 1, 5.0), format!("value=5 {lines}"));
        assert_eq!(go(last + 2, 50.0), format!("value=50 {lines}"));
        let far = "brokenbeyond_3_sigma=1";
        let near = "broken2_of_3_beyond_2_sigma";
        assert_eq!(go(last + 3, 50.0), format!("value=50 {lines} {far} {near}=1"));
        assert_eq!(go(last + 4, 50.0), format!("value=50 {lines} {far} {near}=1"));
        assert_eq!(go(last + 5, 5.0), format!("value=5 {lines} {far} {near}=1"));
        let over = "brokenbeyond_3_sigma=0";
        assert_eq!(go(last + 6, 5.0), format!("value=5 {lines} {over} {near}=0"));
        assert_eq!(go(last + 7, 5.0), format!("value=5 {lines}"));

        let labels = |name: &str| {
            let metric = (METRIC_NAME, name);
            Labels::new([metric, (INSTANCE, "web1"), (JOB, "upkeep"), (SIGNAL, "requests")])
        };
        let again = sheet.repeated(at(last + 8));
        let names: Vec<_> =
            again.iter().map(|(labels, at_ms, _)| (labels.clone(), *at_ms)).collect();
        assert_eq!(names[..2], [VALUE, CENTER].map(|name| (labels(name), at(last + 8))));
        assert_eq!(names.len(), 4);
        // A host of which nothing came has nothing to repeat.
        sheet.take(&[], at(last + 8), at(last + 8), |_, _| false);
        assert_eq!(sheet.repeated(at(last + 9)), []);
        let labels = labels(BROKEN);
        assert_eq!(labels.get(METRIC_NAME), Some("upkeep_chart_broken"));
    }

    #[test]
    fn what_is_old_is_learned_and_not_written() {
        let mut sheet = Sheet::of_kept(signal(), &[], at(-1));
        let rows = [row("web1", "node", 0, &[1.0; 24])];
        let taken = sheet.take(&rows, at(23), at(23), |_, _| false);
        assert_eq!(taken.points.len(), 12, "those of the last hour");
        assert_eq!(taken.points.first().unwrap().1, at(12));
        assert_eq!(sheet.statuses().first().unwrap().learned.points, 12, "an hour that is over");
    }

    #[test]
    fn a_host_with_two_series_is_named_and_has_one_chart() {
        let mut sheet = Sheet::of_kept(signal(), &[], at(-1));
        let rows = ["node", "other"].map(|job| row("web1", job, 0, &[1.0]));
        let nameless = Row::new(Labels::new([(JOB, "node")]), vec![(at(0), 1.0)]);
        let rows = [rows.as_slice(), &[nameless]].concat();
        let taken = sheet.take(&rows, at(0), at(0), |_, _| false);
        assert_eq!((taken.twice.as_deref(), taken.refused), (Some("web1"), 0));
        assert_eq!(sheet.statuses().len(), 1);
    }

    #[test]
    fn pauses_are_asked_for_by_host_and_moment() {
        let mut sheet = Sheet::of_kept(signal(), &[], at(-1));
        let rows = ["web1", "web2"].map(|host| row(host, "node", 0, &[1.0; 37]));
        let paused = |host: &str, at_ms: i64| host == "web2" && at_ms == at(15);
        sheet.take(&rows, at(36), at(36), paused);
        let learned: Vec<_> = sheet.statuses().into_iter().map(|one| one.learned).collect();
        assert_eq!(learned.iter().map(|one| one.points).collect::<Vec<_>>(), [36, 24]);
        assert_eq!(learned.iter().map(|one| one.hours_paused).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn everything_is_kept_after_catching_up_and_then_each_chart_once_a_day() {
        let (mut sheet, last) = filled();
        let kept = sheet.kept();
        assert_eq!(kept.len(), 1);
        let again = Sheet::of_kept(signal(), &kept, at(0));
        assert_eq!((again.through_ms, again.statuses()), (at(last), sheet.statuses()));
        assert_eq!(Sheet::of_kept(signal(), &kept, at(last + 9)).through_ms, at(last + 9));

        let mut times = 0;
        for step in last + 1..=last + 288 {
            sheet.take(&[], at(step), at(step), |_, _| false);
            times += sheet.kept().len();
        }
        assert_eq!(times, 1);
    }

    #[test]
    fn charts_go_with_their_host_or_when_nothing_comes_any_more() {
        let (mut sheet, last) = filled();
        assert_eq!(sheet.forget(), []);
        sheet.take(&[], at(last + 36 * 288), at(last + 36 * 288), |_, _| false);
        assert_eq!(sheet.forget(), [("requests".to_owned(), "web1".to_owned())]);
        let (mut sheet, _) = filled();
        sheet.drop_host("web2");
        assert_eq!(sheet.statuses().len(), 1);
        sheet.drop_host("web1");
        assert!(sheet.statuses().is_empty());
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_charts() {
        let (mut sheet, last) = filled();
        sheet.come_back_to(at(last - 100));
        assert_eq!(sheet.through_ms, at(last - 100));
        let rows = [row("web1", "node", last - 99, &[5.0])];
        let taken = sheet.take(&rows, at(last - 99), at(last - 99), |_, _| false);
        assert_eq!(taken.points.len(), 4);
    }
}
