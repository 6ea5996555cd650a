//! The steps of an evaluation.

/// Evenly spaced moments, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    start_ms: i64,
    step_ms: i64,
    steps: usize,
}

impl Grid {
    /// One moment.
    pub(crate) fn moment(at_ms: i64) -> Self {
        Self { start_ms: at_ms, step_ms: 1, steps: 1 }
    }

    /// From the start by steps to the last one that is not after the end. An end before the start
    /// makes a grid without steps; the step must be positive.
    pub(crate) fn span(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let steps = if end_ms < start_ms {
            0
        } else {
            let intervals = end_ms.saturating_sub(start_ms) / step_ms.max(1);
            usize::try_from(intervals).map_or(usize::MAX, |intervals| intervals.saturating_add(1))
        };
        Self { start_ms, step_ms, steps }
    }

    pub(crate) fn steps(self) -> usize {
        self.steps
    }

    pub(crate) fn step_ms(self) -> i64 {
        self.step_ms
    }

    pub(crate) fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// The last moment, or the start where there is none.
    pub(crate) fn end_ms(self) -> i64 {
        let intervals = i64::try_from(self.steps.saturating_sub(1)).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(intervals))
    }

    /// All moments in order.
    pub(crate) fn moments(self) -> impl Iterator<Item = i64> {
        std::iter::successors(Some(self.start_ms), move |at| at.checked_add(self.step_ms))
            .take(self.steps)
    }

    pub(crate) fn first_step(self) -> Self {
        Self { steps: 1, ..self }
    }
}
