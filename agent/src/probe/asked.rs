//! What a probe may not read itself and asks of the helper, in a rhythm of its own, since each
//! question starts a process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::ProbeError;
use super::slow::SlowQuestion;
use crate::helper::HelperError;
use crate::host::{Host, HostError};

/// How long the first answer of the helper is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question to the helper, which is asked from the first time on that the probe needs its answer.
#[derive(Debug)]
pub(super) struct AskedOfHelper<T> {
    name: &'static str,
    rhythm: Duration,
    ask: fn(&Host) -> Result<T, HelperError>,
    question: Mutex<Option<SlowQuestion<Result<T, HelperError>>>>,
}

impl<T: Send + 'static> AskedOfHelper<T> {
    pub(super) fn new(
        name: &'static str,
        rhythm: Duration,
        ask: fn(&Host) -> Result<T, HelperError>,
    ) -> Self {
        Self { name, rhythm, ask, question: Mutex::default() }
    }

    /// Tells what the helper answered last, in place of what the system denies.
    ///
    /// # Errors
    /// Both reasons, where there is no answer; or what is wrong with it.
    pub(super) fn tell(
        &self,
        denied: &HostError,
        host: &Host,
        tell: impl FnOnce(&T) -> Result<(), ProbeError>,
    ) -> Result<(), ProbeError> {
        let mut question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        if question.is_none() {
            let (host, ask) = (host.clone(), self.ask);
            *question = SlowQuestion::start(self.name, self.rhythm, move || ask(&host));
        }
        let Some(question) = &*question else { return Ok(()) };
        match &*question.last(PATIENCE) {
            None => Ok(()),
            Some(Ok(answer)) => tell(answer),
            Some(Err(error)) => Err(ProbeError::System(format!("{denied}; {error}"))),
        }
    }
}
