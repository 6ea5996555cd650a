//! What an evaluation has used of its limits.

use std::time::Instant;

use super::{EvalError, Limits};

/// How many samples are handled between two looks at the clock. Reading it costs about as much as
/// adding up a few dozen samples.
const SAMPLES_PER_LOOK: usize = 16 * 1024;

/// Counts samples read and values computed, and watches the deadline.
#[derive(Debug)]
pub(crate) struct Budget {
    samples_left: usize,
    deadline: Option<Instant>,
    until_look: usize,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { samples_left: limits.max_samples, deadline: limits.deadline, until_look: 0 }
    }

    /// Takes so many samples off what is left, before they are computed or kept.
    pub(crate) fn charge(&mut self, samples: usize) -> Result<(), EvalError> {
        self.samples_left =
            self.samples_left.checked_sub(samples).ok_or(EvalError::TooManySamples)?;
        self.work(samples)
    }

    pub(crate) fn samples_left(&self) -> usize {
        self.samples_left
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

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
