//! What an evaluation uses of its limits.

use std::time::Instant;

use super::{Column, EvalError, Limits};

/// How many samples are handled between two looks at the clock. Reading it costs about as much as
/// adding up a few dozen samples.
const SAMPLES_PER_LOOK: usize = 16 * 1024;

/// Counts the samples and values that are in memory at once, as Prometheus does, and watches the
/// deadline.
#[derive(Debug)]
pub(crate) struct Budget {
    max_samples: usize,
    live: usize,
    watch: Watch,
}

/// Looks at the clock now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    deadline: Option<Instant>,
    until_look: usize,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { max_samples, deadline, .. } = *limits;
        Self { max_samples, live: 0, watch: Watch { deadline, until_look: 0 } }
    }

    /// Counts so many samples as being in memory, before they are computed or kept.
    pub(crate) fn charge(&mut self, samples: usize) -> Result<(), EvalError> {
        let live = self.live.saturating_add(samples);
        if live > self.max_samples {
            return Err(EvalError::TooManySamples);
        }
        self.live = live;
        self.work(samples)
    }

    /// Counts so many samples as no longer being in memory.
    pub(crate) fn release(&mut self, samples: usize) {
        self.live = self.live.saturating_sub(samples);
    }

    /// Counts the values of columns as no longer being in memory.
    pub(crate) fn release_columns(&mut self, columns: &[Column]) {
        self.release(columns.iter().map(|column| column.values.len()).sum());
    }

    /// Drops columns without a value.
    pub(crate) fn drop_empty(&mut self, columns: &mut Vec<Column>) {
        columns.retain(|column| {
            let stays = column.has_values();
            if !stays {
                self.live = self.live.saturating_sub(column.values.len());
            }
            stays
        });
    }

    pub(crate) fn samples_left(&self) -> usize {
        self.max_samples - self.live
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watch.deadline
    }

    /// For a thread that shares in the work.
    pub(crate) fn watch(&self) -> Watch {
        self.watch
    }

    /// Notes that so many samples are about to be looked at, and gives up after the deadline.
    pub(crate) fn work(&mut self, samples: usize) -> Result<(), EvalError> {
        self.watch.work(samples)
    }
}

impl Watch {
    /// Notes that so many samples are about to be looked at, and gives up after the deadline.
    pub(crate) fn work(&mut self, samples: usize) -> Result<(), EvalError> {
        if let Some(left) = self.until_look.checked_sub(samples) {
            self.until_look = left;
            return Ok(());
        }
        self.until_look = SAMPLES_PER_LOOK;
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(EvalError::Timeout),
            _ => Ok(()),
        }
    }
}
