//! Enrolling as another user, which only Unix needs: elsewhere the rights of the folder hold.

use std::path::Path;

use anyhow::Result;
use upkeep_wire::Token;

use super::arguments::{Arguments, EnrollArguments};

/// This process is to enroll itself.
pub(super) fn enroll(
    _state_dir: &Path,
    _arguments: &Arguments,
    _given: &EnrollArguments,
    _token: &Token,
) -> Result<bool> {
    Ok(false)
}
