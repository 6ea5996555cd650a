//! The gRPC protocol between agent and collector: the generated types, and their conversion to and
//! from the domain types. Only the edges of both programs use this crate.

mod convert;
mod token;

pub use convert::{WireError, decode_event, encode_event, lane_mark};
pub use token::{Fingerprint, Token, TokenError, TokenSecret};

/// The generated protocol, `upkeep.v1`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated from upkeep.proto"
)]
pub mod v1 {
    tonic::include_proto!("upkeep.v1");
}

/// No gRPC message may be longer than this, in either direction; it bounds what a peer makes us hold.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// A batch is closed before its records exceed this.
pub const MAX_BATCH_BYTES: usize = 256 * 1024;
