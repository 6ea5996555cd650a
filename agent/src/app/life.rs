//! The beginning and the end of a run, told as events: after an outage they tell a host that was shut
//! down from one whose agent died.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;
use upkeep_model::{Change, ChangeKind, Event, EventKind, Lane};

use super::{now_ms, status};
use crate::buffer::{Draft, SharedBuffer};
use crate::host::Host;
use crate::inventory;
use crate::uplink::Link;

/// How long the last event is waited for until the collector has it. A host that is shut down tells so
/// only now.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it is looked whether the collector has it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Tells that the run before this one was not stopped in order, if it was not. To be called before this
/// run writes a status of its own.
pub(super) fn tell_beginning(state_dir: &Path, buffer: &SharedBuffer) {
    let Some(left) = status::left_behind(state_dir) else { return };
    let before = left.written_at_ms.map(rfc3339).unwrap_or_default();
    let id = format!("interrupted {before} {}", left.process.unwrap_or_default());
    tell(buffer, ChangeKind::AgentInterrupted, id, before);
}

/// Tells that this run is stopped in order, and why, and gives the collector a moment to hear it.
pub(super) async fn tell_end(host: &Host, buffer: &SharedBuffer, link: &watch::Receiver<Link>) {
    let (host, told) = (host.clone(), buffer.clone());
    let telling = tokio::task::spawn_blocking(move || {
        let is_going_down = inventory::is_going_down(&host);
        let kind = if is_going_down { ChangeKind::Shutdown } else { ChangeKind::AgentStopped };
        let id = format!("stopped {} {}", rfc3339(now_ms()), std::process::id());
        tell(&told, kind, id, String::new());
    });
    let heard = async {
        // A thread that panicked has said so itself.
        let _ = telling.await;
        // The lock is held for no longer than a write takes, and nothing else is left to be done.
        while matches!(*link.borrow(), Link::Up { .. })
            && buffer.lock().lane(Lane::Events).pending() > 0
        {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout(LAST_WORDS, heard).await;
}

fn tell(buffer: &SharedBuffer, kind: ChangeKind, id: String, before: String) {
    let change = Change { id, kind, subject: String::new(), before, after: String::new() };
    let event = Event { at_ms: now_ms(), kind: EventKind::Change(change) };
    if let Err(error) = buffer.append(&[Draft::Event(event)]) {
        warn!(kind = kind.as_str(), "an event about the agent itself cannot be told: {error}");
    }
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| at.to_string()).unwrap_or_default()
}
