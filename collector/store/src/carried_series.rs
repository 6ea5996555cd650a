//! Which series of points the current journal segment tells the labels of.
//!
//! Every point that comes is held against this, which asks the index only about what it does not know.
//! What it knows holds for the segment: until that is sealed, and another one begun, its points are in
//! the head, for which retention leaves their series alone.

use std::collections::HashMap;

use upkeep_model::{HostId, Labels};

use crate::StoreError;
use crate::core::Core;
use crate::index::SeriesRef;
use crate::points::NumberedPoint;
use crate::seal::day_of;

/// Stands for a home.
type HomeKey = u32;

/// The home of a series that the segment has, and a day that the index knows it lives on.
type Carried = (HomeKey, i32);

#[derive(Debug, Default)]
pub(crate) struct CarriedSeries {
    by_number: hashbrown::HashMap<SeriesRef, Carried>,
    homes: HashMap<HostId, HomeKey>,
}

impl CarriedSeries {
    /// Sees to it that retention keeps the series of points, and gives those that the segment is yet
    /// to tell the labels of.
    pub(crate) fn see(
        &mut self,
        core: &Core,
        home: HostId,
        points: &[NumberedPoint],
    ) -> Result<Vec<(SeriesRef, Labels)>, StoreError> {
        let next = HomeKey::try_from(self.homes.len()).unwrap_or(HomeKey::MAX);
        let key = *self.homes.entry(home).or_insert(next);
        let mut unseen: Vec<(SeriesRef, i32)> = Vec::new();
        for &(number, at_ms, _) in points {
            let day = day_of(at_ms);
            let known = self.by_number.get(&number);
            if known != Some(&(key, day)) && unseen.last() != Some(&(number, day)) {
                unseen.push((number, day));
            }
        }
        if unseen.is_empty() { Ok(Vec::new()) } else { self.look_up(core, home, key, unseen) }
    }

    fn look_up(
        &mut self,
        core: &Core,
        home: HostId,
        key: HomeKey,
        mut unseen: Vec<(SeriesRef, i32)>,
    ) -> Result<Vec<(SeriesRef, Labels)>, StoreError> {
        unseen.sort_unstable();
        unseen.dedup();
        let mut index = core.index_mut();
        let is_there = |number| index.get(number).is_some_and(|series| series.home == home);
        if !unseen.iter().all(|(number, _)| is_there(*number)) {
            return Err(StoreError::SeriesGone { home });
        }
        let mut fresh = Vec::new();
        for (number, day) in unseen {
            // A series about to be removed by retention is alive again.
            index.extend_days(number, (day, day));
            if self.by_number.insert(number, (key, day)).is_none()
                && let Some(series) = index.get(number)
            {
                fresh.push((number, index.labels(series)));
            }
        }
        Ok(fresh)
    }
}
