//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, or the folder that could not be read.
    pub path: PathBuf,
    /// The line, counted from 1, where the fault has one.
    pub line: Option<usize>,
    /// The key with its tables, such as `buffer.limit`, where the fault has one.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    /// A fault of a file as a whole.
    pub fn of_file(path: &Path, error: &impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line: None, key: None, message: error.to_string() }
    }

    /// A fault of a setting that was found after all files had been merged.
    pub fn of_key(path: &Path, key: &str, error: &impl fmt::Display) -> Self {
        Self { key: Some(key.to_owned()), ..Self::of_file(path, error) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(formatter, ": {key}")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

/// All faults of a configuration, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl ConfigError {
    /// An error of a single fault.
    pub fn one(fault: Fault) -> Self {
        Self { faults: vec![fault] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}
