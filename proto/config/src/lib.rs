//! Configuration files: one TOML file and the `conf.d/*.toml` beside it.
//!
//! The files are read in order of their names, the main file first; a key of a later file replaces
//! that of an earlier one, tables are merged key by key, lists are replaced whole. A key that no
//! setting has is a fault, and all faults of all files are reported at once, each with its file,
//! line and key.

mod fault;
mod file;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use fault::{ConfigError, Fault};

/// The folder beside the main file whose `*.toml` files are read after it.
const DROP_IN_FOLDER: &str = "conf.d";

/// Reads the main file and its drop-ins into one value. Every field of `T` must have a default
/// (`#[serde(default)]`), and `T` must not use `deny_unknown_fields`, which would hide all unknown
/// keys but the first.
///
/// # Errors
/// All faults of all files.
pub fn load<T: DeserializeOwned>(main: &Path) -> Result<T, ConfigError> {
    let mut faults = Vec::new();
    let mut merged = Table::new();
    let drop_ins = drop_ins(main).unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    for path in std::iter::once(main.to_owned()).chain(drop_ins) {
        match file::read::<T>(&path) {
            Ok(table) => merge(&mut merged, table),
            Err(mut found) => faults.append(&mut found),
        }
    }
    if !faults.is_empty() {
        return Err(ConfigError { faults });
    }
    merged.try_into().map_err(|error| ConfigError::one(Fault::of_file(main, &error)))
}

/// The drop-ins in the order in which they count.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, Fault> {
    let folder = main.parent().unwrap_or(Path::new(".")).join(DROP_IN_FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Fault::of_file(&folder, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Fault::of_file(&folder, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(present)), Value::Table(added)) => merge(present, added),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
