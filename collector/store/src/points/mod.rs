//! Points in memory: committed samples that no stream brought, until they are sealed.
//!
//! A home has a log a series (module `log`), so that one series is read without the others and an
//! hour of it costs some hundred bytes.

mod log;

use std::collections::BTreeMap;

use upkeep_model::HostId;

use crate::index::SeriesRef;
use crate::reading::Stretch;
use log::{Log, Pushed};

/// A sample by the number of its series: milliseconds, value.
pub(crate) type NumberedPoint = (SeriesRef, i64, f64);

/// A committed sample of a series that no stream brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) at_ms: i64,
    pub(crate) value: f64,
    /// The journal segment that it is in.
    pub(crate) segment: u64,
}

/// The points of all homes.
#[derive(Debug, Default)]
pub(crate) struct Points {
    homes: BTreeMap<HostId, Home>,
}

#[derive(Debug, Default)]
struct Home {
    logs: BTreeMap<SeriesRef, Log>,
    bounds: Option<Bounds>,
}

/// What the points of a home lie between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The segment of the oldest journal entry.
    pub(crate) segment: u64,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

impl Bounds {
    fn with(self, segment: u64, at_ms: i64) -> Self {
        Self {
            segment: self.segment.min(segment),
            first_ms: self.first_ms.min(at_ms),
            last_ms: self.last_ms.max(at_ms),
        }
    }
}

impl Points {
    /// Adds points of a home, in the order in which they came. Returns how many were of an instant
    /// that had another value just before; these are not kept.
    pub(crate) fn add(
        &mut self,
        home: HostId,
        segment: u64,
        points: impl IntoIterator<Item = NumberedPoint>,
    ) -> u64 {
        let home = self.homes.entry(home).or_default();
        let mut conflicts = 0;
        for (number, at_ms, value) in points {
            match home.logs.entry(number).or_default().push(Point { at_ms, value, segment }) {
                Pushed::Kept => home.note(segment, at_ms),
                Pushed::Repeated => {}
                Pushed::Conflict => conflicts += 1,
            }
        }
        conflicts
    }

    /// The points of a series in the order in which they came.
    pub(crate) fn of(
        &self,
        home: HostId,
        series: SeriesRef,
    ) -> impl Iterator<Item = Point> + use<'_> {
        let log = self.homes.get(&home).and_then(|home| home.logs.get(&series));
        log.into_iter().flat_map(Log::iter)
    }

    /// The series of a home that have points.
    pub(crate) fn series_of(&self, home: HostId) -> impl Iterator<Item = SeriesRef> + use<'_> {
        self.homes.get(&home).into_iter().flat_map(|home| home.logs.keys().copied())
    }

    /// All series that have points, each with its home.
    pub(crate) fn series(&self) -> impl Iterator<Item = (HostId, SeriesRef)> + use<'_> {
        let homes = self.homes.iter();
        homes.flat_map(|(home, points)| points.logs.keys().map(|number| (*home, *number)))
    }

    /// The series that have points in a stretch of time.
    pub(crate) fn series_within(
        &self,
        stretch: Stretch,
    ) -> impl Iterator<Item = SeriesRef> + use<'_> {
        let overlaps = move |bounds: Bounds| stretch.overlaps(bounds.first_ms, bounds.last_ms);
        let homes = self.homes.values().filter(move |home| home.bounds.is_some_and(overlaps));
        let logs = homes.flat_map(|home| &home.logs);
        let living = logs.filter(move |(_, log)| log.iter().any(|point| stretch.has(point.at_ms)));
        living.map(|(number, _)| *number)
    }

    /// The homes that have points.
    pub(crate) fn homes(&self) -> impl Iterator<Item = HostId> + use<'_> {
        self.homes.keys().copied()
    }

    /// What the points of each home lie between.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Bounds> + use<'_> {
        self.homes.values().filter_map(|home| home.bounds)
    }

    /// The times of all points.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + use<'_> {
        let logs = self.homes.values().flat_map(|home| home.logs.values());
        logs.flat_map(Log::iter).map(|point| point.at_ms)
    }

    /// Forgets all points of a home.
    pub(crate) fn remove(&mut self, home: HostId) {
        self.homes.remove(&home);
    }

    /// Forgets what passes, given its segment and timestamp.
    pub(crate) fn forget(&mut self, mut is_sealed: impl FnMut(u64, i64) -> bool) {
        for home in self.homes.values_mut() {
            home.bounds = None;
            let mut bounds: Option<Bounds> = None;
            home.logs.retain(|_, log| {
                log.forget(&mut is_sealed, |point| {
                    let Point { at_ms, segment, .. } = point;
                    let one = Bounds { segment, first_ms: at_ms, last_ms: at_ms };
                    bounds = Some(bounds.map_or(one, |bounds| bounds.with(segment, at_ms)));
                });
                !log.is_empty()
            });
            home.bounds = bounds;
        }
        self.homes.retain(|_, home| !home.logs.is_empty());
    }
}

impl Home {
    fn note(&mut self, segment: u64, at_ms: i64) {
        let one = Bounds { segment, first_ms: at_ms, last_ms: at_ms };
        self.bounds = Some(self.bounds.map_or(one, |bounds| bounds.with(segment, at_ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const HOME: HostId = HostId(Uuid::nil());

    fn found(points: &Points, series: SeriesRef) -> Vec<(i64, f64, u64)> {
        let points = points.of(HOME, series);
        points.map(|point| (point.at_ms, point.value, point.segment)).collect()
    }

    #[test]
    fn the_first_value_of_an_instant_stays_and_another_one_is_counted() {
        let mut points = Points::default();
        assert_eq!(
            points.add(HOME, 1, [(3, 10, 1.0), (3, 10, 1.0), (3, 10, 2.0), (4, 10, 2.0)]),
            1
        );
        assert_eq!(points.add(HOME, 2, [(3, 10, -0.0), (3, 20, 2.0)]), 1);
        assert_eq!(found(&points, 3), [(10, 1.0, 1), (20, 2.0, 2)]);
        assert_eq!(found(&points, 4), [(10, 2.0, 1)]);
        assert_eq!(found(&points, 5), []);
    }

    #[test]
    fn what_was_sealed_is_forgotten_and_the_rest_stays_as_it_was() {
        let mut points = Points::default();
        for step in 0..100 {
            points.add(HOME, 1 + step / 40, [(1, step as i64 * 10, step as f64), (2, 5, 0.5)]);
        }
        let bounds = |points: &Points| points.bounds().collect::<Vec<_>>();
        assert_eq!(bounds(&points), [Bounds { segment: 1, first_ms: 0, last_ms: 990 }]);
        points.forget(|segment, at_ms| segment < 3 && at_ms < 500);
        assert_eq!(bounds(&points), [Bounds { segment: 2, first_ms: 500, last_ms: 990 }]);
        let expect: Vec<_> =
            (50..100).map(|step| (step * 10, step as f64, 1 + step as u64 / 40)).collect();
        assert_eq!(found(&points, 1), expect);
        assert_eq!(points.series_of(HOME).collect::<Vec<_>>(), [1]);
        points.forget(|_, _| true);
        assert_eq!(points.homes().count() + bounds(&points).len(), 0);
    }

    #[test]
    fn an_hour_of_a_live_series_takes_less_than_half_a_kilobyte() {
        // The mix of a host: more than half of its series hardly ever move, the rest are counters.
        let mut points = Points::default();
        let series = 100_u32;
        for step in 0..360_u64 {
            let at_ms = 1_700_000_000_000 + step as i64 * 10_000;
            let value = |number: u32| match number {
                0..58 => 1e9 + f64::from(number),
                58..86 => (step * 731 + u64::from(number) * step % 97) as f64,
                _ => ((step * 7919 + u64::from(number) * 31) % 4001) as f64 / 100.0,
            };
            points.add(
                HOME,
                1 + step / 90,
                (0..series).map(|number| (number, at_ms, value(number))),
            );
        }
        let logs = points.homes.values().flat_map(|home| home.logs.values());
        let bytes: usize = logs.map(|log| log.heap_bytes() + size_of::<(SeriesRef, Log)>()).sum();
        let each = bytes / series as usize;
        assert!(each < 512, "{each} bytes a series");
    }
}
