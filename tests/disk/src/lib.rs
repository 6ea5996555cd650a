//! Power cuts without a power switch: a file system that writes down what is done to it, and the
//! states in which a disk may be found if the power had gone at any point of that.
//!
//! ```text
//! program → Recording (mounted by FUSE) → [Operation] → Disk → Tree, written into a folder
//! ```
//!
//! A [`Recording`] keeps its files in memory and a list of all that changed them. [`Disk`] replays
//! that list, with what was synced apart from what was only written, and draws from it [`Tree`]s
//! that a cut may leave: see [`Ordering`] for what may be lost there. [`Tree::write`] puts one into
//! a folder, or [`Recording::mount`] begins with it, so that a cut during recovery is tried too.
//! [`survives_power_cuts`] does all of it for whatever is [`Durable`].
//!
//! Disks also forget what was synced: [`survives_damage`] spoils the files of whatever is [`Wary`],
//! bit by bit and sector by sector.

mod damage;
mod disk;
mod error;
mod file_system;
mod operation;
mod recording;
mod setting;
mod tree;
mod trial;

pub use damage::{DamageOutcome, Harm, Wary, damage_files, survives_damage};
pub use disk::{Disk, Ordering};
pub use error::DiskError;
pub use operation::{Inode, Name, NameChange, Operation};
pub use recording::Recording;
pub use tree::{Node, Tree};
pub use trial::{Durable, Outcome, cut_power, survives_power_cuts};
