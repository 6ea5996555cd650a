//! Wiring.

/// The file in the data folder that tells where the running server listens.
pub const ADDRESSES_FILE: &str = "addresses.json";
