//! Remote write, version 1: others' samples come in by it, and ours go out.
//!
//! The way in: `http::write` reads a body → [`WriteIn`] unpacks it (`body`), walks the message
//! (`message`), finds each series' number by the bytes of its labels (`sender`; only labels that are new
//! are read and judged, `admit`) and commits. An answer is given once the samples are durable.
//!
//! The way out: the store's journal, followed → `batch` (kept names, labels, messages) → `target` (one
//! request) → the position in the state; [`run`] drives it for each target.

mod admit;
mod batch;
mod body;
mod described;
mod message;
mod meters;
mod out_meters;
mod sender;
#[cfg(test)]
mod spoilt;
mod target;
mod write_in;
mod write_out;

pub use admit::{LabelFault, SampleFault};
pub use body::{BodyFault, HeaderFault, MAX_PACKED_BYTES, check_headers};
pub use message::MessageFault;
pub use meters::Meters;
pub use out_meters::OutMeters;
pub use sender::Limits;
pub use target::{TargetFault, TargetSettings};
pub use write_in::{WriteError, WriteIn};
pub use write_out::{WriteOutError, followed_from, run};
