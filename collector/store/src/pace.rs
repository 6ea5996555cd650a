//! How work on everything that is stored goes on in the background: in steps, with rests between them.

use std::time::{Duration, Instant};

use crate::StoreError;

/// So much is packed in one transaction, as it lies in the database: enough that its syncs do not
/// count, and little enough that sealing does not wait long.
pub(crate) const STEP_BYTES: u64 = 4 << 20;

/// Who may stop the work.
pub(crate) struct Pace<'a> {
    /// Whether to stop in the middle of a step.
    pub(crate) is_stopped: &'a dyn Fn() -> bool,
    /// Rests after a step that took so long, and says whether to go on.
    pub(crate) rest: &'a dyn Fn(Duration) -> bool,
}

impl Pace<'static> {
    /// Without rests or an end before the last step.
    pub(crate) const FULL: Self = Self { is_stopped: &|| false, rest: &|_| true };
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do.
    More,
    /// It was the last one.
    Last,
    /// It was stopped, and did nothing.
    Stopped,
}

impl Pace<'_> {
    /// Takes one step after the other. Says whether it came to the last one.
    pub(crate) fn keep(
        &self,
        mut step: impl FnMut() -> Result<Step, StoreError>,
    ) -> Result<bool, StoreError> {
        loop {
            let begun = Instant::now();
            if (self.is_stopped)() {
                return Ok(false);
            }
            match step()? {
                Step::Stopped => return Ok(false),
                step => {
                    if !(self.rest)(begun.elapsed()) {
                        return Ok(false);
                    }
                    if step == Step::Last {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
