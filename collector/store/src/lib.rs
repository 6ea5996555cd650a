//! Samples on disk: durable before they are confirmed, packed when their span is over, found by
//! their labels.
//!
//! A frame's way: `Store::submit` → `committer` (group commit) → `journal` on disk and `head` in
//! memory → `seal` (transposed by `chunk`) → `database`, where `compact` packs it again, and
//! `downsample` makes a `summary` of days that are old. A query's way: `index` (which series) →
//! `head` and `database` (`reconstruct` makes samples of summaries) → merged by `query`. Opening is `recover`, which loads the database and
//! `replay`s the journal. Whoever wants everything that is committed, in the order in which it was, reads the
//! journal behind the committer (`follow`). `coverage` is the rule that says what is where.
//!
//! The disk formats and what they guarantee are described above the code that reads and writes
//! them: `folder` (which files), `journal`, `database`, `chunk` and its columns, `binary` (numbers
//! and texts).

mod binary;
mod carried;
mod carried_series;
mod chunk;
mod committer;
mod compact;
mod core;
mod coverage;
mod damage;
mod database;
mod delete;
mod downsample;
mod error;
mod fold;
mod folder;
mod follow;
mod gathering;
mod head;
mod head_part;
mod hold;
mod index;
mod journal;
mod look_up;
mod moment;
mod options;
mod pace;
mod points;
mod query;
mod reading;
mod reconstruct;
mod recover;
mod replay;
mod retain;
mod rows;
mod seal;
mod snapshot;
mod store;
mod stream;
mod summary;
mod usage;
mod verify;

pub use damage::{Affected, Damage};
pub use error::StoreError;
pub use follow::{Batch, Follower, Place};
pub use index::SeriesNumber;
pub use options::{Downsampling, JOURNAL_OVERFULL, Options};
pub use reading::{Found, Reading, Summaries};
pub use store::{Append, Done, Store};
pub use summary::{Resolution, Shape};
pub use usage::{Size, Usage};
pub use verify::Verification;
