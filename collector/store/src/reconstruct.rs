//! What a reading takes of summaries: samples that agree with them.

use std::sync::Arc;

use crate::StoreError;
use crate::gathering::Gathered;
use crate::reading::{Bounds, Stretch};
use crate::summary::{Shape, Window};

/// Makes samples of the windows of one series after the other.
pub(crate) struct Reconstruction<'a> {
    shape: Shape,
    stretch: Stretch,
    bounds: &'a Bounds,
    /// The timestamps that were made last: series that are measured together share them.
    last: Option<Arc<[i64]>>,
}

impl<'a> Reconstruction<'a> {
    pub(crate) fn new(shape: Shape, stretch: Stretch, bounds: &'a Bounds) -> Self {
        Self { shape, stretch, bounds, last: None }
    }

    /// The samples of a series, those of them that lie in the stretch.
    pub(crate) fn of(&mut self, windows: &[Window]) -> Result<Gathered, StoreError> {
        let is_whole = |window: &Window| {
            self.stretch.has(window.at_ms()) && self.stretch.has(window.through_ms())
        };
        let whole = windows.iter().filter(|window| is_whole(window));
        let whole = whole.map(|window| self.shape.len(window)).fold(0, usize::saturating_add);
        self.bounds.charge(whole)?;
        let (mut times, mut values) = (Vec::with_capacity(whole), Vec::with_capacity(whole));
        for window in windows {
            if is_whole(window) {
                self.shape.put(window, &mut times, &mut values);
            } else if self.stretch.overlaps(window.at_ms(), window.through_ms()) {
                self.put_part(window, &mut times, &mut values)?;
            }
        }
        let timestamps = match &self.last {
            Some(last) if **last == *times => Arc::clone(last),
            _ => Arc::clone(self.last.insert(times.into())),
        };
        Ok(Gathered { timestamps, values })
    }

    /// Of a window that lies in the stretch in part. There are two of a series at most.
    fn put_part(
        &self,
        window: &Window,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) -> Result<(), StoreError> {
        let (mut all_times, mut all_values) = (Vec::new(), Vec::new());
        self.shape.put(window, &mut all_times, &mut all_values);
        let range = self.stretch.range_of(&all_times);
        self.bounds.charge(range.len())?;
        times.extend_from_slice(all_times.get(range.clone()).unwrap_or_default());
        values.extend_from_slice(all_values.get(range).unwrap_or_default());
        Ok(())
    }
}
