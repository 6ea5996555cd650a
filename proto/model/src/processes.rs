//! The processes that take the most of a host.

use serde::{Deserialize, Serialize};

/// The heaviest processes: a bounded fact, not series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// When they were looked at, in milliseconds since 1970.
    pub at_ms: i64,
    /// Over how many seconds the share of the processor was measured.
    pub over_seconds: f64,
    /// Those that take the most of the processor, the heaviest first.
    pub by_cpu: Vec<ProcessUsage>,
    /// Those that take the most memory, the heaviest first.
    pub by_memory: Vec<ProcessUsage>,
}

/// What one process takes. Its arguments are not told, since they may hold secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// The user's number that it runs as.
    pub uid: u32,
    /// The unit that runs it; empty where none does or that is not known.
    pub unit: String,
    /// How many processors it kept busy: 1.0 is one of them all the time.
    pub cpu: f64,
    /// The memory that it has in use, in bytes.
    pub memory_bytes: u64,
}
