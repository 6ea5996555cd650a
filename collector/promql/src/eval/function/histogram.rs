//! Classic histograms: series with cumulative counts, told apart by the label `le`.

use std::collections::HashMap;

use upkeep_model::Labels;

use super::{ABSENT, Call, Column, EvalError, Evaluated, Evaluator, Grid};
use crate::eval::is_present;
use crate::position::Position;
use crate::quote::quoted;

/// The label that holds a bucket's upper bound.
const BOUND_LABEL: &str = "le";
/// Counts that differ by less than this part of them differ by rounding only.
const ROUNDING: f64 = 1e-12;

/// The series of one histogram, by ascending bound.
struct Histogram {
    labels: Labels,
    buckets: Vec<(f64, Vec<f64>)>,
}

/// One bucket at one step.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

pub(super) fn quantile(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let [wanted, vector] = call.arguments.as_slice() else {
        return Ok(Evaluated::Vector(Vec::new()));
    };
    let wanted = evaluator.scalar(wanted, grid)?;
    let columns = evaluator.vector(vector, grid)?;
    let histograms = assemble(evaluator, columns, call.place_of(1));
    evaluator.check_quantiles(call.place_of(0), &wanted);
    each_step(evaluator, histograms, grid, |evaluator, labels, buckets, step| {
        let wanted = wanted.get(step).copied().unwrap_or(f64::NAN);
        if make_monotonic(buckets) {
            note_monotonicity(evaluator, labels, call.place_of(1));
        }
        bucket_quantile(wanted, buckets)
    })
}

pub(super) fn fraction(
    evaluator: &mut Evaluator<'_>,
    call: &Call,
    grid: Grid,
) -> Result<Evaluated, EvalError> {
    let [lower, upper, vector] = call.arguments.as_slice() else {
        return Ok(Evaluated::Vector(Vec::new()));
    };
    let (lower, upper) = (evaluator.scalar(lower, grid)?, evaluator.scalar(upper, grid)?);
    let columns = evaluator.vector(vector, grid)?;
    let histograms = assemble(evaluator, columns, call.place_of(2));
    each_step(evaluator, histograms, grid, |evaluator, labels, buckets, step| {
        let at = |values: &[f64]| values.get(step).copied().unwrap_or(f64::NAN);
        if make_monotonic(buckets) {
            note_monotonicity(evaluator, labels, call.place_of(2));
        }
        bucket_fraction(at(&lower), at(&upper), buckets)
    })
}

fn note_monotonicity(evaluator: &mut Evaluator<'_>, labels: &Labels, place: Position) {
    let message = format!(
        "input to histogram_quantile needed to be fixed for monotonicity (see \
         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
        for_metric(labels)
    );
    evaluator.annotations.inform(place, message);
}

fn for_metric(labels: &Labels) -> String {
    let name = labels.metric_name();
    name.map(|name| format!(" for metric name {}", quoted(name))).unwrap_or_default()
}

/// Gathers the series of each histogram; those without a bound are left out with a warning.
fn assemble(
    evaluator: &mut Evaluator<'_>,
    columns: Vec<Column>,
    place: Position,
) -> Vec<Histogram> {
    let mut positions: HashMap<Labels, usize> = HashMap::new();
    let mut histograms: Vec<Histogram> = Vec::new();
    for column in columns {
        let bound_text = column.labels.get(BOUND_LABEL).unwrap_or_default();
        let Some(bound) = parse_bound(bound_text) else {
            let message = format!(
                "bucket label {BOUND_LABEL:?} is missing or has a malformed value of {}{}",
                quoted(bound_text),
                for_metric(&column.labels)
            );
            evaluator.annotations.warn(place, message);
            continue;
        };
        let mut labels = column.labels;
        labels.remove(BOUND_LABEL);
        let at = *positions.entry(labels.clone()).or_insert(histograms.len());
        if at == histograms.len() {
            histograms.push(Histogram { labels, buckets: Vec::new() });
        }
        if let Some(histogram) = histograms.get_mut(at) {
            histogram.buckets.push((bound, column.values));
        }
    }
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    histograms
}

fn parse_bound(text: &str) -> Option<f64> {
    text.parse().ok().filter(|bound: &f64| !bound.is_nan())
}

fn each_step(
    evaluator: &mut Evaluator<'_>,
    histograms: Vec<Histogram>,
    grid: Grid,
    mut apply: impl FnMut(&mut Evaluator<'_>, &Labels, &mut Vec<Bucket>, usize) -> f64,
) -> Result<Evaluated, EvalError> {
    let mut results = Vec::with_capacity(histograms.len());
    let mut buckets = Vec::new();
    for histogram in histograms {
        evaluator.budget.charge(grid.steps())?;
        let mut values = Vec::with_capacity(grid.steps());
        for step in 0..grid.steps() {
            evaluator.budget.work(histogram.buckets.len())?;
            gather(&histogram, step, &mut buckets);
            values.push(if buckets.is_empty() {
                ABSENT
            } else {
                apply(evaluator, &histogram.labels, &mut buckets, step)
            });
        }
        let read = histogram.buckets.iter().map(|(_, counts)| counts.len()).sum();
        evaluator.budget.release(read);
        results.push(Column { labels: histogram.labels, drops_name: true, values });
    }
    Ok(Evaluated::Vector(results))
}

/// The buckets that have a count at the step; counts with equal bounds, written differently, are
/// added up.
fn gather(histogram: &Histogram, step: usize, buckets: &mut Vec<Bucket>) {
    buckets.clear();
    for (bound, counts) in &histogram.buckets {
        let Some(&count) = counts.get(step).filter(|count| is_present(**count)) else { continue };
        match buckets.last_mut() {
            Some(last) if last.bound == *bound => last.count += count,
            _ => buckets.push(Bucket { bound: *bound, count }),
        }
    }
}

/// Counts are cumulative, so none may be lower than the one before. Says whether more than
/// rounding had to be mended.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut mended = false;
    let mut highest: Option<f64> = None;
    for bucket in buckets {
        if let Some(before) = highest
            && before != bucket.count
        {
            let rounding =
                (before - bucket.count).abs() <= ROUNDING * (before.abs() + bucket.count.abs());
            if rounding || bucket.count < before {
                mended |= !rounding;
                bucket.count = before;
            }
        }
        highest = Some(bucket.count);
    }
    mended
}

/// The value below which the wanted part of the observations lies. Within a bucket observations
/// are taken to be spread evenly; the first one starts at zero, the last has no end.
fn bucket_quantile(wanted: f64, buckets: &[Bucket]) -> f64 {
    if wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    let [finite @ .., last] = buckets else { return f64::NAN };
    let Some(highest) = finite.last() else { return f64::NAN };
    if last.bound != f64::INFINITY || last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    let rank = wanted * last.count;
    let Some(at) = finite.iter().position(|bucket| bucket.count >= rank) else {
        return highest.bound;
    };
    let Some(&Bucket { bound: end, count }) = finite.get(at) else { return f64::NAN };
    let (start, below) = match at.checked_sub(1).and_then(|before| finite.get(before)) {
        Some(before) => (before.bound, before.count),
        None if end <= 0.0 => return end,
        None => (0.0, 0.0),
    };
    start + (end - start) * ((rank - below) / (count - below))
}

/// The part of the observations between two values, with the same assumptions.
fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last() else { return f64::NAN };
    if last.bound != f64::INFINITY || last.count == 0.0 || last.count.is_nan() {
        return f64::NAN;
    }
    if lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    // A bucket without an end on one side cannot be divided: a bound within it leaves all of it
    // out, unless the other bound is beyond its open end.
    let from = rank_of(lower, buckets, |bucket, below| match bucket.bound.is_infinite() {
        true => below.count,
        false => bucket.count,
    });
    let to = rank_of(upper, buckets, |_, below| below.count);
    (to - from).max(0.0) / last.count
}

/// How many observations are at or below a value; `undivided` says it for a value within a bucket
/// of infinite width.
fn rank_of(value: f64, buckets: &[Bucket], undivided: impl Fn(&Bucket, &Bucket) -> f64) -> f64 {
    let mut below = Bucket { bound: f64::NEG_INFINITY, count: 0.0 };
    for (index, bucket) in buckets.iter().enumerate() {
        let start = if index == 0 && bucket.bound > 0.0 { 0.0 } else { below.bound };
        if value <= start {
            return below.count;
        }
        if value < bucket.bound {
            let width = bucket.bound - start;
            return match width.is_infinite() {
                true => undivided(bucket, &below),
                false => below.count + (bucket.count - below.count) * ((value - start) / width),
            };
        }
        below = *bucket;
    }
    below.count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(bound, count)| Bucket { bound, count }).collect()
    }

    #[test]
    fn quantiles_are_interpolated_within_a_bucket() {
        let check = |wanted: f64, pairs: &[(f64, f64)], expect: f64| {
            let got = bucket_quantile(wanted, &buckets(pairs));
            assert!(
                got == expect || (got.is_nan() && expect.is_nan()),
                "{wanted}: {pairs:?}: {got}"
            );
        };
        let usual = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 25.0)];
        check(0.4, &usual, 1.0);
        check(0.6, &usual, 1.5);
        check(0.2, &usual, 0.5);
        check(0.99, &usual, 2.0);
        check(1.5, &usual, f64::INFINITY);
        check(-0.5, &usual, f64::NEG_INFINITY);
        check(f64::NAN, &usual, f64::NAN);
        check(0.5, &[(1.0, 10.0), (2.0, 20.0)], f64::NAN);
        check(0.5, &[(f64::INFINITY, 10.0)], f64::NAN);
        check(0.1, &[(-1.0, 10.0), (f64::INFINITY, 20.0)], -1.0);
    }

    #[test]
    fn counts_are_made_monotonic_and_only_real_dips_are_told() {
        let check = |counts: &[f64], mended: bool, expect: &[f64]| {
            let mut given: Vec<Bucket> =
                counts.iter().map(|&count| Bucket { bound: 0.0, count }).collect();
            assert_eq!(make_monotonic(&mut given), mended, "{counts:?}");
            let got: Vec<f64> = given.iter().map(|bucket| bucket.count).collect();
            assert_eq!(got, expect);
        };
        check(&[1.0, 2.0, 3.0], false, &[1.0, 2.0, 3.0]);
        check(&[1.0, 3.0, 2.0], true, &[1.0, 3.0, 3.0]);
        check(&[1.0, 1.0 - 1e-14, 2.0], false, &[1.0, 1.0, 2.0]);
    }
}
