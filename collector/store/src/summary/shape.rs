//! How samples are made of a summary, so that whoever reads samples reads summaries too.
//!
//! No shape gives what was measured between the first and the last sample of a window; each gives
//! samples that agree with the summary in what a reader asks of them, over windows of its resolution
//! and any number of such.

use upkeep_model::stale_marker;

use super::{Summary, Window};

/// Sums that differ by no more than such a part are the same.
const SAME: f64 = 1e-12;

/// What samples that are made of summaries have to agree with them in. All of them begin and end with
/// the very first and last sample of each window, lie at even distances, and end with its staleness
/// marker where there was one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// In count, sum, smallest and largest.
    #[default]
    Level,
    /// In count, and in how much a counter rose, its resets included: it rises to what it lost, falls to
    /// zero where it must, and rises again. Where values are below zero, which no counter has, or there
    /// are fewer samples than that takes, it only goes from the first to the last.
    Counter,
    /// In smallest and largest, with as few samples as will do.
    Sparse {
        /// No two of a window are further apart than this, in milliseconds, unless they were when they
        /// were measured.
        within_ms: i64,
    },
}

impl Shape {
    /// How many samples it makes of a window at most, the marker included.
    pub(crate) fn len(self, window: &Window) -> usize {
        let samples = window.summary.as_ref().map_or(0, |summary| self.samples(summary));
        samples.saturating_add(usize::from(window.ended_at.is_some()))
    }

    fn samples(self, summary: &Summary) -> usize {
        // Timestamps are whole milliseconds, and no two are the same.
        let instants = summary.last_at.abs_diff(summary.first_at).saturating_add(1);
        let count = summary.count.clamp(1, instants);
        let count = match self {
            Self::Level | Self::Counter => count,
            Self::Sparse { within_ms } => {
                let within = within_ms.unsigned_abs().max(1);
                let parts = (instants - 1).div_ceil(within);
                let corners = 1 + u64::from(instants > 1) + inner(summary);
                count.min(corners.max(parts.saturating_add(1)))
            }
        };
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Adds the samples of a window to others that lie before it.
    pub(crate) fn put(self, window: &Window, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        if let Some(summary) = &window.summary {
            let count = self.samples(summary);
            put_times(summary, count, times);
            match self {
                Self::Level => put_level(summary, count, values),
                Self::Counter => put_counter(summary, count, values),
                Self::Sparse { .. } => put_sparse(summary, count, values),
            }
        }
        if let Some(ended_at) = window.ended_at {
            times.push(ended_at);
            values.push(stale_marker());
        }
    }
}

/// How many of smallest and largest are neither the first nor the last.
fn inner(summary: &Summary) -> u64 {
    u64::from(is_inner(summary, summary.min)) + u64::from(is_inner(summary, summary.max))
}

fn is_inner(summary: &Summary, value: f64) -> bool {
    !value.is_nan() && value != summary.first && value != summary.last
}

fn put_times(summary: &Summary, count: usize, times: &mut Vec<i64>) {
    let span_ms = summary.last_at.saturating_sub(summary.first_at);
    let parts = i64::try_from(count.saturating_sub(1)).unwrap_or(i64::MAX).max(1);
    let places = (0..parts).map(|part| span_ms.saturating_mul(part) / parts);
    times.extend(places.map(|place| summary.first_at.saturating_add(place)));
    if count > 1 {
        times.push(summary.last_at);
    }
}

/// Where the smallest and the largest stand among so many samples, if they are not at the ends.
fn places(summary: &Summary, count: usize) -> (Option<usize>, Option<usize>) {
    let between = count.saturating_sub(2);
    let place = |value: f64, part: usize| {
        (between > 0 && is_inner(summary, value)).then_some(1 + part * between / 3)
    };
    (place(summary.min, 1), place(summary.max, 2))
}

/// First, smallest, largest and last in their places, all others the mean of what is left of the sum;
/// or what may well have been, where there may have been but two values: that something is up, or since
/// when it is.
fn put_level(summary: &Summary, count: usize, values: &mut Vec<f64>) {
    if let Some(of_first) = of_first_where_two(summary, count) {
        put_two(summary, count, of_first, values);
        return;
    }
    let (smallest_at, largest_at) = places(summary, count);
    let mut left = summary.sum - summary.first;
    let mut others = count - 1;
    let corners = [
        (count > 1).then_some(summary.last),
        smallest_at.map(|_| summary.min),
        largest_at.map(|_| summary.max),
    ];
    for corner in corners.into_iter().flatten() {
        left -= corner;
        others = others.saturating_sub(1);
    }
    let other = filler(summary, left, others);
    values.push(summary.first);
    for place in 1..count.saturating_sub(1) {
        values.push(match place {
            _ if smallest_at == Some(place) => summary.min,
            _ if largest_at == Some(place) => summary.max,
            _ => other,
        });
    }
    if count > 1 {
        values.push(summary.last);
    }
}

/// How many samples have the value of the first, if there may have been no value but the smallest and the
/// largest.
fn of_first_where_two(summary: &Summary, count: usize) -> Option<usize> {
    let Summary { first, last, min, max, sum, .. } = *summary;
    let is_end = |value: f64| value == min || value == max;
    let large = ((sum - min * count as f64) / (max - min)).round();
    let is_possible = large >= 1.0 && large < count as f64 && is_end(first) && is_end(last);
    let again = large * max + (count as f64 - large) * min;
    let scale = min.abs().max(max.abs()) * count as f64;
    if !is_possible || (again - sum).abs() > SAME * scale {
        return None;
    }
    let of_first = if first == max { large as usize } else { count - large as usize };
    (first != last || of_first > 1).then_some(of_first)
}

/// As many samples as the first one begin; where the last is the same again, the others lie between.
fn put_two(summary: &Summary, count: usize, of_first: usize, values: &mut Vec<f64>) {
    let Summary { first, last, min, max, .. } = *summary;
    let other = if first == max { min } else { max };
    let behind = if first == last { (of_first / 2).max(1) } else { 0 };
    values.extend((0..of_first - behind).map(|_| first));
    values.extend((of_first..count).map(|_| other));
    values.extend((0..behind).map(|_| last));
}

/// The value that so many samples have whose sum is this.
fn filler(summary: &Summary, left: f64, others: usize) -> f64 {
    let mean = left / others.max(1) as f64;
    if summary.sum.is_nan() {
        // Something in between was not a number, and is what makes the sum none.
        return mean;
    }
    // Of infinities it is not known how many they were, but one is there.
    let mean = if mean.is_nan() { 0.0 } else { mean };
    mean.max(summary.min).min(summary.max)
}

fn put_sparse(summary: &Summary, count: usize, values: &mut Vec<f64>) {
    let last = count.saturating_sub(1);
    let mut corners = vec![(0, summary.first)];
    let (smallest_at, largest_at) = places(summary, count);
    corners.extend(smallest_at.map(|place| (place, summary.min)));
    corners.extend(largest_at.map(|place| (place, summary.max)));
    corners.push((last, summary.last));
    put_lines(&corners, values);
}

/// A path on which a counter loses what it lost. The values that resets took away have this sum, so a
/// counter that rises to it, and falls once, lost the same.
fn put_counter(summary: &Summary, count: usize, values: &mut Vec<f64>) {
    let Summary { first, last, lost, .. } = *summary;
    let end = count.saturating_sub(1);
    let middle = end / 2;
    if lost > first && last < lost && end > 1 {
        // It rises to the peak and falls to the last.
        put_lines(&[(0, first), (end - 1, lost), (end, last)], values);
    } else if lost > first && last >= lost && end > 2 {
        put_lines(&[(0, first), (middle, lost), (middle + 1, 0.0), (end, last)], values);
    } else if lost == first && last < first && end > 1 {
        // It falls at once, perhaps to stay.
        put_lines(&[(0, first), (1, last.min(0.0)), (end, last)], values);
    } else if lost == first && lost > 0.0 && last >= first && end > 1 {
        put_lines(&[(0, first), (1, 0.0), (end, last)], values);
    } else if last < first {
        put_lines(&[(0, first), (end.saturating_sub(1), first), (end, last)], values);
    } else {
        put_lines(&[(0, first), (end, last)], values);
    }
}

/// Straight lines from corner to corner, the places of which ascend.
fn put_lines(corners: &[(usize, f64)], values: &mut Vec<f64>) {
    for (&(from, begin), &(to, end)) in corners.iter().zip(corners.iter().skip(1)) {
        let (low, high) = (begin.min(end), begin.max(end));
        let parts = to.saturating_sub(from) as f64;
        for place in from..to {
            let part = (place - from) as f64 / parts;
            let value = begin + (end - begin) * part;
            values.push(if place == from { begin } else { value.max(low).min(high) });
        }
    }
    values.extend(corners.last().map(|(_, value)| *value));
}
