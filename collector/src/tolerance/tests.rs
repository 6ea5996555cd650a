//! What a chart learns, and from what it learns nothing.

use super::baseline::{DAY_MS, HOUR_MS, Phase, STEP_MS, WEEK_MS};
use super::broken::ChartRule;
use super::chart::{Chart, Judged};
use super::synthetic::{DAY, Kind, MONDAY_MS, PLAIN, Source, WEEK};

/// A chart, what is measured, and how far both are, in points.
struct Bench {
    chart: Chart,
    source: Source,
    at: i64,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        Self { chart: Chart::new(kind.floor), source: Source::new(kind, 7), at: 0 }
    }

    fn after(kind: Kind, points: i64) -> Self {
        let mut bench = Self::new(kind);
        bench.go(points, |_| 0.0, false);
        bench
    }

    /// Takes points that are off by what the function says of their number, counted from 0.
    fn go(&mut self, points: i64, off: impl Fn(i64) -> f64, paused: bool) -> Vec<Judged> {
        let mut all = Vec::new();
        for number in 0..points {
            let at_ms = MONDAY_MS + self.at * STEP_MS;
            let value = self.source.value(at_ms) + off(number);
            all.push(self.chart.take(at_ms, value, paused).unwrap().clone());
            self.at += 1;
        }
        all
    }

    fn now_ms(&self) -> i64 {
        MONDAY_MS + self.at * STEP_MS
    }

    fn center(&self) -> f64 {
        self.chart.last().unwrap().limits.unwrap().center
    }
}

fn broken(judged: &[Judged], rule: ChartRule) -> Option<usize> {
    judged.iter().position(|one| one.broken.contains(&rule))
}

#[test]
fn a_chart_is_silent_then_judges_by_the_mean_and_then_by_hours_of_the_week() {
    let mut bench = Bench::new(PLAIN);
    let first = bench.go(DAY, |_| 0.0, false);
    assert!(first.iter().all(|one| one.limits.is_none() && one.broken.is_empty()));
    let mut week = bench.go(WEEK - DAY - 4, |_| 0.0, false);
    week.extend(bench.go(4, |_| 100.0, false));
    assert!(week.iter().skip(12).all(|one| one.limits.is_some()));
    assert!(week.iter().all(|one| one.broken.is_empty()), "in its first week nothing is judged");
    let phase = |bench: &Bench| bench.chart.learned(bench.now_ms()).phase;
    assert_eq!(phase(&Bench::after(PLAIN, WEEK - DAY)), Phase::Learning);
    assert_eq!(phase(&Bench::after(PLAIN, WEEK + DAY)), Phase::Average);
    assert_eq!(phase(&Bench::after(PLAIN, 3 * WEEK - DAY)), Phase::Average);
    let old = Bench::after(PLAIN, 3 * WEEK + DAY);
    assert_eq!(phase(&old), Phase::Weekly);
    let limits = old.chart.last().unwrap().limits.unwrap();
    assert!((49.0..51.0).contains(&limits.center), "{limits:?}");
    // Three standard deviations of 1, and some for the likeness of neighbours and for tails.
    assert!((52.5..55.0).contains(&limits.upper), "{limits:?}");
    assert!((45.0..47.5).contains(&limits.lower), "{limits:?}");
}

#[test]
fn limits_follow_the_day_and_the_week() {
    let kind = Kind { daily: 8.0, weekly: 10.0, ..PLAIN };
    let mut bench = Bench::after(kind, 5 * WEEK);
    let week = bench.go(WEEK, |_| 0.0, false);
    let mut still = Source::new(Kind { noise: 0.0, ..kind }, 7);
    let mut worst = 0.0_f64;
    for one in &week {
        worst = worst.max((one.limits.unwrap().center - still.value(one.at_ms)).abs());
    }
    assert!(worst < 3.0, "the centre is {worst} from what it is without noise, which swings by 26");
    assert!(week.iter().filter(|one| !one.broken.is_empty()).count() <= 3);
    // What is usual on a working day is not on a Saturday.
    let night = bench.go(DAY * 5, |_| 0.0, false);
    assert!(night.iter().all(|one| one.broken.is_empty()));
    let saturday = bench.go(DAY, |_| 10.0, false);
    let found = broken(&saturday, ChartRule::BeyondThreeSigma);
    // In the half hour on either side of the edge both days count.
    assert!(found.is_some_and(|at| at <= 8), "{found:?}");
}

#[test]
fn what_lasts_for_two_days_is_the_new_normal() {
    for weeks in [2, 5] {
        let mut bench = Bench::after(PLAIN, weeks * WEEK);
        let before = bench.center();
        let step = bench.go(DAY, |_| 10.0, false);
        assert!(broken(&step, ChartRule::BeyondThreeSigma).is_some_and(|at| at < 3));
        assert!(step.iter().skip(3).all(|one| !one.broken.is_empty()), "the mark stays");
        assert!((bench.center() - before).abs() < 1.0, "an hour out of tolerance teaches nothing");
        bench.go(DAY + DAY / 4, |_| 10.0, false);
        let learned = bench.chart.learned(bench.now_ms());
        assert!(learned.adopted_ms.is_some() && learned.hours_odd >= 48, "{learned:?}");
        assert!((bench.center() - before - 10.0).abs() < 1.5, "{}", bench.center());
        let after = bench.go(WEEK, |_| 10.0, false);
        assert!(after.iter().filter(|one| !one.broken.is_empty()).count() < 30);
        assert!(after.last().unwrap().broken.is_empty());
    }
}

#[test]
fn drift_is_found_although_no_point_is_far_off() {
    let mut bench = Bench::after(PLAIN, 5 * WEEK);
    // By one sigma in a day, and then no more.
    let slope = |number: i64| (number as f64 / DAY as f64).min(1.4);
    let drifting = bench.go(4 * DAY, slope, false);
    let found = broken(&drifting, ChartRule::Drift).expect("a drift");
    println!("a drift of one sigma a day is found after {:.1} hours", found as f64 / 12.0);
    assert!((DAY as usize / 2..3 * DAY as usize).contains(&found), "{found}");

    let mut bench = Bench::after(PLAIN, 5 * WEEK);
    let higher = bench.go(DAY, |_| 1.6, false);
    let found = broken(&higher, ChartRule::EightOnOneSide).expect("eight hours on one side");
    assert!((7 * 12..24 * 12).contains(&found), "{found}");
}

#[test]
fn maintenance_and_incidents_teach_nothing() {
    for weeks in [2, 5] {
        let (mut bench, mut other) =
            (Bench::after(PLAIN, weeks * WEEK), Bench::after(PLAIN, weeks * WEEK));
        let before = bench.center();
        let points = bench.chart.learned(bench.now_ms()).points;
        let marks = bench.go(WEEK / 2, |_| 5.0, true);
        assert!(marks.iter().any(|one| !one.broken.is_empty()), "it is shown all the same");
        let learned = bench.chart.learned(bench.now_ms());
        assert_eq!((learned.adopted_ms, learned.hours_odd), (None, 0));
        assert!(learned.hours_paused >= 83, "{learned:?}");
        assert!(learned.points <= points + 12, "{learned:?}");
        bench.go(2, |_| 0.0, false);
        assert!((bench.center() - before).abs() < 1.0, "{}", bench.center());
        // Without a pause it would have been learned.
        other.go(WEEK / 2, |_| 5.0, false);
        assert!(other.center() > before + 4.0, "{}", other.center());
    }
}

#[test]
fn what_is_less_than_the_floor_never_counts() {
    let marks = |floor: f64| {
        let mut bench = Bench::after(Kind { noise: 0.01, floor, ..PLAIN }, 5 * WEEK);
        let step = bench.go(DAY, |_| 0.9, false);
        let limits = step.last().unwrap().limits.unwrap();
        assert!(limits.upper - limits.center >= floor && limits.center - limits.lower >= floor);
        step.iter().filter(|one| !one.broken.is_empty()).count()
    };
    assert_eq!(marks(1.0), 0);
    assert!(marks(0.1) > 250);
}

#[test]
fn a_chart_goes_on_after_a_restart_as_if_there_had_been_none() {
    let kind = Kind { daily: 4.0, weekly: 4.0, ..PLAIN };
    // In the middle of an hour, in every phase, within a step, and after it was taken for normal.
    for (points, off) in [(0, 0.0), (5, 0.0), (3000, 0.0), (4001, 9.0), (7003, 9.0), (7700, 9.0)] {
        let mut bench = Bench::new(kind);
        bench.go(points, |number| if number > 3990 { off } else { 0.0 }, false);
        let (memory, slots) = bench.chart.keep().unwrap();
        let mut kept = Chart::of_kept(kind.floor, &memory, &slots).unwrap();
        assert_eq!(kept.last(), bench.chart.last());
        assert_eq!(kept.broken_since_ms(), bench.chart.broken_since_ms());
        for one in bench.go(2 * WEEK, |_| off, false) {
            let again = kept.take(one.at_ms, one.value, false).unwrap();
            assert_eq!(again.broken, one.broken, "{points}: {}", one.at_ms);
        }
        assert_eq!(kept.learned(bench.now_ms()), bench.chart.learned(bench.now_ms()));
    }
    let (memory, slots) = Chart::new(1.0).keep().unwrap();
    for (memory, slots) in [("{}", slots.as_slice()), (&memory, &slots[1..]), ("", &slots)] {
        assert!(Chart::of_kept(1.0, memory, slots).is_none(), "{memory}");
    }
}

#[test]
fn a_mark_tells_when_it_began_and_what_ended() {
    let mut bench = Bench::after(PLAIN, 5 * WEEK);
    let start_ms = bench.now_ms();
    bench.go(6, |_| 20.0, false);
    let since_ms = bench.chart.broken_since_ms().unwrap();
    assert!((1..=2).contains(&((since_ms - start_ms) / STEP_MS)), "{since_ms}");
    let mut ended = Vec::new();
    for _ in 0..4 {
        bench.go(1, |_| 0.0, false);
        ended.extend(bench.chart.ended().to_vec());
    }
    ended.sort_unstable();
    assert_eq!(ended, [ChartRule::BeyondThreeSigma, ChartRule::TwoOfThreeBeyondTwoSigma]);
    assert_eq!((bench.chart.broken_since_ms(), bench.chart.ended()), (None, &[][..]));
}

#[test]
fn points_without_a_number_or_out_of_order_are_left_out() {
    let mut chart = Chart::new(1.0);
    let mut check = |at: i64, value: f64, taken: bool| {
        let at_ms = MONDAY_MS + at * STEP_MS;
        assert_eq!(chart.take(at_ms, value, false).is_some(), taken, "{at} {value}");
    };
    check(0, f64::NAN, false);
    check(0, f64::INFINITY, false);
    check(0, -1e300, false);
    check(0, 1.0, true);
    check(0, 1.0, false);
    check(-1, 1.0, false);
    check(1, 1.0, true);
    chart.come_back_to(MONDAY_MS);
    assert_eq!(chart.last_ms(), Some(MONDAY_MS));
    assert!(chart.take(MONDAY_MS + STEP_MS, 1.0, false).is_some());
}

#[test]
fn points_on_either_side_of_a_gap_are_not_told_together() {
    let marked = |pause: i64| {
        let mut bench = Bench::after(PLAIN, 2 * WEEK);
        bench.go(1, |_| 20.0, false);
        bench.at += pause;
        !bench.go(1, |_| 20.0, false).last().unwrap().broken.is_empty()
    };
    assert!(marked(0) && marked(2));
    assert!(!marked(3));
}

#[test]
fn the_spans_fit_together() {
    assert_eq!((WEEK * STEP_MS, DAY * STEP_MS), (WEEK_MS, DAY_MS));
    assert_eq!(MONDAY_MS.rem_euclid(DAY_MS) % HOUR_MS, 0);
}
