//! Whether the host is being shut down.

use crate::host::Host;
use crate::systemd::{self, Property};

/// What systemd calls its state while it shuts the host down.
const STOPPING: &str = "stopping";

/// Whether the host is being shut down, as far as systemd says so. Where it does not answer, or does not
/// run the host, that is not known and not claimed.
pub fn is_going_down(host: &Host) -> bool {
    if !systemd::runs(host) {
        return false;
    }
    let state = systemd::properties(host, &[Property::of_manager("SystemState")]);
    let state = state.unwrap_or_default().into_iter().next().flatten();
    systemd::text(state).is_some_and(|state| state == STOPPING)
}
