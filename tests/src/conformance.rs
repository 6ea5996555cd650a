//! Test data written by others, which lies beside the project.

use std::path::{Path, PathBuf};

/// A folder of the conformance data: that which `UPKEEP_CONFORMANCE` names, or `shared/conformance` beside
/// the project's folder. `None`, with a plain word, where it is not there.
pub fn conformance(folder: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let root = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(beside, PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: there is no conformance data at {}", path.display());
    None
}
