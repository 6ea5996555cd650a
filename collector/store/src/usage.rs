//! What a store uses of what it may, and what it takes on disk.

/// What a store uses of what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How many series there are.
    pub series: usize,
    /// How many there may be.
    pub max_series: usize,
    /// With a longer journal it is sealed at once.
    pub max_journal_bytes: u64,
}

/// What samples take on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many pieces the sealed samples lie in.
    pub chunks: u64,
    /// What these take.
    pub chunk_bytes: u64,
    /// What the file takes that they are in, with what is free in it.
    pub database_bytes: u64,
    /// What is not sealed yet.
    pub journal_bytes: u64,
    /// What was dropped since the store was opened because it was too much.
    pub dropped_bytes: u64,
}
