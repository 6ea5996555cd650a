//! Remote write, version 1: others' samples come in by it, and ours go out.
//!
//! The way in: `http::write` reads a body → [`WriteIn`] unpacks it (`body`), walks the message
//! (`message`), finds each series' number by the bytes of its labels (`sender`; only labels that are new
//! are read and judged, `admit`) and commits. An answer is given once the samples are durable.

mod admit;
mod body;
mod message;
mod meters;
mod sender;
mod write_in;

pub use admit::{LabelFault, SampleFault};
pub use body::{BodyFault, HeaderFault, MAX_PACKED_BYTES, check_headers};
pub use message::MessageFault;
pub use meters::Meters;
pub use sender::Limits;
pub use write_in::{WriteError, WriteIn};
