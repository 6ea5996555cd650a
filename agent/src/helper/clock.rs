//! How the kernel's clock is disciplined. The call that tells it can also set the clock, so that the
//! agent's sandbox refuses it; a helper of its own, which may do nothing else, makes it.

use super::HelperError;
use crate::host::{ClockState, Host};

/// Asks the kernel.
pub(super) fn read(host: &Host) -> Result<ClockState, HelperError> {
    let another = || HelperError::Absent("the clock is that of another machine".to_owned());
    host.clock_state()?.ok_or_else(another)
}
