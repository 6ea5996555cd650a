//! What is found out seldom and slowly: pending updates. It runs beside the ticks and never delays
//! one.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};
use upkeep_model::{Event, EventKind, UpdateReport};

use super::clock::now_ms;
use crate::buffer::{Draft, SharedBuffer};
use crate::host::Host;
use crate::patch;

/// When an event that could not be written is brought again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The last report of pending updates, for the metrics of every tick.
#[derive(Clone, Default)]
pub(super) struct LastReport(Arc<Mutex<Option<Arc<UpdateReport>>>>);

impl LastReport {
    pub(super) fn get(&self) -> Option<Arc<UpdateReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, report: UpdateReport) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(report));
    }
}

/// Looks things up until its sender is dropped.
pub(super) struct Lookup {
    pub(super) host: Host,
    pub(super) buffer: SharedBuffer,
    pub(super) updates_interval: Duration,
    pub(super) last_report: LastReport,
}

impl Lookup {
    pub(super) fn run(self, stop: &Receiver<()>) {
        let mut memory = patch::Memory::default();
        loop {
            match stop.recv_timeout(self.send_updates(&mut memory)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Sends the pending updates; gives the time until the next look.
    fn send_updates(&self, memory: &mut patch::Memory) -> Duration {
        let at_ms = now_ms();
        let report = patch::report(&self.host, at_ms, memory);
        self.last_report.set(report.clone());
        if self.send(EventKind::Updates(report), at_ms) {
            self.updates_interval
        } else {
            RETRY_AFTER
        }
    }

    fn send(&self, kind: EventKind, at_ms: i64) -> bool {
        let event = Event { at_ms, kind };
        match self.buffer.append(&[Draft::Event(event)]) {
            Ok(()) => {
                debug!(at_ms, "event is durable");
                true
            }
            Err(error) => {
                warn!("an event cannot be buffered yet: {error}");
                false
            }
        }
    }
}
