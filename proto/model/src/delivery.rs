//! Who sent a record and where it stands in its sequence.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity that the collector assigned to a host when it was enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub Uuid);

impl fmt::Display for HostId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// 128 random bits that name an agent's buffer. A buffer that had to be made anew has a new epoch, so
/// that its sequences cannot be mistaken for those of the lost one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).simple().fmt(formatter)
    }
}

/// 128 random bits that name one life of a buffer, which lasts from one opening of its files to the
/// next. They are on no disk of the agent's, so two copies of a buffer never go on as the same life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(pub [u8; 16]);

impl fmt::Display for Life {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).simple().fmt(formatter)
    }
}

/// The two sequences of an epoch. Each counts its records from 1 without holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Frames of measurements; the oldest go first when the buffer is full.
    Samples,
    /// Facts, updates and gaps; they go last when the buffer is full.
    Events,
}

impl Lane {
    /// Both lanes, in the order in which they are offered to the collector.
    pub const ALL: [Self; 2] = [Self::Events, Self::Samples];
}

impl fmt::Display for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Samples => "samples",
            Self::Events => "events",
        })
    }
}

/// One buffer of one host: what series numbers and sequence numbers are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// The host, as its certificate names it.
    pub host: HostId,
    /// Its buffer.
    pub epoch: Epoch,
}
