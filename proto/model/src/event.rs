//! What travels in the events lane.

use crate::{Change, HostFacts, Lane, PackageInventory, ProcessReport, UpdateReport};

/// Something that happened on a host or was found out about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Wall clock of the host in milliseconds since 1970.
    pub at_ms: i64,
    /// What it is.
    pub kind: EventKind,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The host's facts, sent at start and when they change.
    Facts(Box<HostFacts>),
    /// The host's pending updates, sent when they were looked up.
    Updates(UpdateReport),
    /// Something about the host is no longer as it was.
    Change(Change),
    /// Installed packages, whole or as the difference to what was sent before.
    Packages(PackageInventory),
    /// The processes that take the most; each report takes the place of the one before.
    Processes(ProcessReport),
    /// Records that were lost before they could be delivered.
    Gap(Gap),
}

/// Records that will never come: the declaration of a loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The lane that lost records.
    pub lane: Lane,
    /// First lost sequence number.
    pub first: u64,
    /// Last lost sequence number.
    pub last: u64,
    /// Timestamp of the first lost record in milliseconds, where known.
    pub from_ms: Option<i64>,
    /// Timestamp of the last lost record in milliseconds, where known.
    pub to_ms: Option<i64>,
    /// Why they were lost, in words for an operator.
    pub reason: String,
}
