//! Puts together what the chunks and the head of one home have of series.
//!
//! Series that are measured together have their samples at the same times. What is read of them goes
//! through the same lists of timestamps in turn, their *path*; so these are joined, and put in order where
//! they must be, once a path and not once a series.
//!
//! Samples that are made of summaries stand for others, and the instants of most of them are made, too. So
//! where one meets a sample that came late, both stay: the made one moves to a free instant beside.

use std::collections::{HashMap, HashSet};
use std::iter::successors;
use std::sync::Arc;

use crate::summary::Resolution;

/// The samples of one series, timestamps strictly ascending.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gathered {
    pub(crate) timestamps: Arc<[i64]>,
    pub(crate) values: Vec<f64>,
}

/// Runs of samples that grow, in the order of precedence.
#[derive(Debug)]
pub(crate) struct Gathering {
    paths: Paths,
    runs: Vec<Run>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    path: usize,
    values: Vec<f64>,
}

/// Where paths can lead: each way leads from the end of a path, 0 being the empty one, through a list of
/// timestamps.
#[derive(Debug, Default)]
struct Paths {
    ways: Vec<Way>,
    /// The ends by where the way begins and which list it leads through.
    ends: HashMap<(usize, *const i64), usize>,
    /// The one that was taken last: most are taken by many series in turn.
    last: Option<(usize, *const i64, usize)>,
}

#[derive(Debug)]
struct Way {
    from: usize,
    timestamps: Arc<[i64]>,
    source: SampleSource,
}

/// What samples are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SampleSource {
    Samples,
    Summaries,
}

/// All timestamps of a path.
#[derive(Debug)]
struct Joined {
    timestamps: Arc<[i64]>,
    /// Which values these are of, where it is not all of them in turn.
    order: Option<Vec<usize>>,
}

impl Gathering {
    pub(crate) fn of(series: usize) -> Self {
        Self { paths: Paths::default(), runs: vec![Run::default(); series] }
    }

    /// Makes room in a run for as many values.
    pub(crate) fn reserve(&mut self, run: usize, values: usize) {
        if let Some(run) = self.runs.get_mut(run) {
            run.values.reserve_exact(values);
        }
    }

    /// Adds samples to a run, a value for each timestamp.
    pub(crate) fn extend(
        &mut self,
        run: usize,
        source: SampleSource,
        timestamps: &Arc<[i64]>,
        values: &[f64],
    ) {
        if let Some(run) = self.runs.get_mut(run).filter(|_| !timestamps.is_empty()) {
            run.path = self.paths.step(run.path, source, timestamps);
            run.values.extend_from_slice(values);
        }
    }

    /// The runs that have samples, by their numbers; of several samples for one instant the first stays.
    pub(crate) fn finish(self) -> impl Iterator<Item = (usize, Gathered)> {
        let Self { paths, runs } = self;
        let mut joined: Vec<Option<Joined>> = Vec::new();
        joined.resize_with(paths.ways.len() + 1, || None);
        let runs = runs.into_iter().enumerate().filter(|(_, run)| run.path != 0);
        runs.filter_map(move |(number, run)| {
            let slot = joined.get_mut(run.path)?;
            let joined = slot.get_or_insert_with(|| paths.join(run.path));
            Some((number, joined.gathered(run.values)))
        })
    }
}

impl Gathered {
    /// The samples of both; where both have one, this one's stays.
    pub(crate) fn with(self, other: &Self) -> Self {
        let mut gathering = Gathering::of(1);
        for one in [&self, other] {
            gathering.extend(0, SampleSource::Samples, &one.timestamps, &one.values);
        }
        let both = gathering.finish().next();
        both.map_or(self, |(_, both)| both)
    }
}

impl Paths {
    fn step(&mut self, from: usize, source: SampleSource, timestamps: &Arc<[i64]>) -> usize {
        let list = timestamps.as_ptr();
        if let Some((.., end)) =
            self.last.filter(|(begin, last, _)| (*begin, *last) == (from, list))
        {
            return end;
        }
        // The list is kept with the way, so no other one gets its address.
        let end = *self.ends.entry((from, list)).or_insert_with(|| {
            self.ways.push(Way { from, timestamps: Arc::clone(timestamps), source });
            self.ways.len()
        });
        self.last = Some((from, list, end));
        end
    }

    fn way_to(&self, end: usize) -> Option<&Way> {
        self.ways.get(end.checked_sub(1)?)
    }

    fn join(&self, end: usize) -> Joined {
        let mut ways: Vec<&Way> = Vec::new();
        let mut at = end;
        while let Some(way) = self.way_to(at) {
            ways.push(way);
            at = way.from;
        }
        if let [only] = ways.as_slice() {
            return Joined::of(Arc::clone(&only.timestamps), &[]);
        }
        let ways = || ways.iter().rev();
        let timestamps = ways().flat_map(|way| way.timestamps.iter().copied()).collect();
        let is_made =
            |way: &&Way| vec![way.source == SampleSource::Summaries; way.timestamps.len()];
        let made: Vec<bool> = match ways().any(|way| way.source == SampleSource::Summaries) {
            true => ways().flat_map(is_made).collect(),
            false => Vec::new(),
        };
        Joined::of(timestamps, &made)
    }
}

impl Joined {
    /// In order; `made` says which are of samples made of summaries, and is empty where none are.
    fn of(timestamps: Arc<[i64]>, made: &[bool]) -> Self {
        if timestamps.is_sorted_by(|one, next| one < next) {
            return Self { timestamps, order: None };
        }
        let mut order: Vec<(i64, usize)> = timestamps.iter().copied().zip(0..).collect();
        // The sort keeps what is equal in its order, which is that of precedence.
        order.sort_by_key(|(at_ms, _)| *at_ms);
        if !made.is_empty() {
            part(&mut order, |place| made.get(place) == Some(&true));
        }
        order.dedup_by_key(|(at_ms, _)| *at_ms);
        let timestamps = order.iter().map(|(at_ms, _)| *at_ms).collect();
        Self { timestamps, order: Some(order.into_iter().map(|(_, place)| place).collect()) }
    }

    fn gathered(&self, values: Vec<f64>) -> Gathered {
        let values = match &self.order {
            None => values,
            Some(order) => order.iter().filter_map(|place| values.get(*place).copied()).collect(),
        };
        Gathered { timestamps: Arc::clone(&self.timestamps), values }
    }
}

/// Moves made samples away from the instants of others, within their windows.
fn part(order: &mut Vec<(i64, usize)>, is_made: impl Fn(usize) -> bool) {
    let mut moved: Vec<(i64, usize)> = Vec::new();
    order.dedup_by(|next, first| {
        let meet = next.0 == first.0 && is_made(next.1) != is_made(first.1);
        if meet {
            if is_made(first.1) {
                std::mem::swap(first, next);
            }
            moved.push(*next);
        }
        meet
    });
    if moved.is_empty() {
        return;
    }
    let mut taken: HashSet<i64> = order.iter().map(|(at_ms, _)| *at_ms).collect();
    for (at_ms, place) in moved {
        // Windows end at multiples, which belong to them.
        let is_end = at_ms.rem_euclid(Resolution::FiveMinutes.ms()) == 0;
        let step = if is_end { -1 } else { 1 };
        let mut beside = successors(at_ms.checked_add(step), |at_ms| at_ms.checked_add(step));
        if let Some(free) = beside.find(|at_ms| !taken.contains(at_ms)) {
            taken.insert(free);
            order.push((free, place));
        }
    }
    order.sort_by_key(|(at_ms, _)| *at_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(lists: &[&[(i64, f64)]]) -> Vec<(i64, f64)> {
        let mut gathering = Gathering::of(2);
        for list in lists {
            let timestamps: Arc<[i64]> = list.iter().map(|(at_ms, _)| *at_ms).collect();
            let values: Vec<f64> = list.iter().map(|(_, value)| *value).collect();
            gathering.extend(1, SampleSource::Samples, &timestamps, &values);
        }
        let mut found = gathering.finish();
        let first = found.next();
        assert!(found.next().is_none());
        first.map_or(Vec::new(), |(run, found)| {
            assert_eq!(run, 1);
            found.timestamps.iter().copied().zip(found.values).collect()
        })
    }

    #[test]
    fn the_first_value_of_an_instant_stays() {
        let check = |lists: &[&[(i64, f64)]], expect: &[(i64, f64)]| {
            assert_eq!(gathered(lists), expect, "{lists:?}");
        };
        check(&[], &[]);
        check(&[&[]], &[]);
        check(&[&[(1, 1.0), (2, 2.0)]], &[(1, 1.0), (2, 2.0)]);
        check(&[&[(1, 1.0)], &[], &[(2, 2.0), (9, 0.5)]], &[(1, 1.0), (2, 2.0), (9, 0.5)]);
        check(&[&[(2, 2.0)], &[(1, 1.0)], &[(2, 3.0), (4, 4.0)]], &[(1, 1.0), (2, 2.0), (4, 4.0)]);
        check(&[&[(1, 1.0), (1, 2.0), (1, 3.0)]], &[(1, 1.0)]);
    }

    #[test]
    fn made_samples_make_room_for_those_that_came_late() {
        let check = |made: &[i64], late: &[i64], expect: &[(i64, f64)]| {
            for made_first in [true, false] {
                let mut gathering = Gathering::of(1);
                let mut extend = |source, times: &[i64], value: f64| {
                    gathering.extend(0, source, &times.into(), &vec![value; times.len()]);
                };
                if made_first {
                    extend(SampleSource::Summaries, made, 1.0);
                }
                extend(SampleSource::Samples, late, 2.0);
                if !made_first {
                    extend(SampleSource::Summaries, made, 1.0);
                }
                let found = gathering.finish().next().unwrap().1;
                let found: Vec<_> = found.timestamps.iter().copied().zip(found.values).collect();
                assert_eq!(found, expect, "{made:?} and {late:?}");
            }
        };
        check(&[5, 9], &[7], &[(5, 1.0), (7, 2.0), (9, 1.0)]);
        check(&[5, 9], &[5], &[(5, 2.0), (6, 1.0), (9, 1.0)]);
        check(&[5, 6, 9], &[5, 7], &[(5, 2.0), (6, 1.0), (7, 2.0), (8, 1.0), (9, 1.0)]);
        check(&[299_999, 300_000], &[300_000], &[(299_998, 1.0), (299_999, 1.0), (300_000, 2.0)]);
    }

    #[test]
    fn series_of_the_same_path_share_their_timestamps_and_others_do_not() {
        let list = |times: &[i64]| -> Arc<[i64]> { times.into() };
        let lists = [list(&[1, 2]), list(&[5]), list(&[3, 4])];
        let paths: [&[usize]; 6] = [&[0, 2], &[0, 2], &[0], &[0, 2, 1], &[2], &[1, 0]];
        let mut gathering = Gathering::of(paths.len());
        for (run, path) in paths.iter().enumerate() {
            for &list in *path {
                let values: Vec<f64> = lists[list].iter().map(|at_ms| *at_ms as f64).collect();
                gathering.extend(run, SampleSource::Samples, &lists[list], &values);
            }
        }
        let found: Vec<Gathered> = gathering.finish().map(|(_, found)| found).collect();
        for (found, path) in found.iter().zip(paths) {
            let mut times: Vec<i64> = path.iter().flat_map(|at| lists[*at].to_vec()).collect();
            times.sort_unstable();
            assert_eq!(*found.timestamps, times, "{path:?}");
            assert!(found.values.iter().zip(times).all(|(value, at_ms)| *value == at_ms as f64));
        }
        assert!(Arc::ptr_eq(&found[0].timestamps, &found[1].timestamps));
        assert!(Arc::ptr_eq(&found[2].timestamps, &lists[0]));
        assert!(Arc::ptr_eq(&found[4].timestamps, &lists[2]));
    }

    #[test]
    fn of_two_homes_the_first_ones_value_stays() {
        let one = Gathered { timestamps: [1, 3].into(), values: vec![1.0, 3.0] };
        let other = Gathered { timestamps: [2, 3].into(), values: vec![0.2, 0.3] };
        let both = Gathered { timestamps: [1, 2, 3].into(), values: vec![1.0, 0.2, 3.0] };
        assert_eq!(one.with(&other), both);
    }
}
