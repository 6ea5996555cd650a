//! What the agent keeps on its disk, after power cuts: see the crate `upkeep-disk` for how they are
//! made.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod buffer;
mod identity;
