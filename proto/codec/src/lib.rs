//! The columnar frame: one observation of a host as bytes, in the agent's buffer, on the wire and
//! in the collector's journal alike.
//!
//! # Format, version 1
//! Series are named by numbers that hold for one epoch of a buffer ([`Dictionary`] gives them out).
//! A frame begins with one byte of kind, then the timestamp in milliseconds (zigzag varint).
//!
//! - **Key frame** (`1`): the count of series, their numbers in ascending order (the first, then
//!   differences, varints), and a block of all their values relative to zero.
//! - **Delta frame** (`2`): the sequence number of its key frame (varint), a bitmap with one bit a
//!   series of the key frame (least significant bit first), and a block of the values whose bit is
//!   set, relative to the key frame's. A bit is clear where the value's bits equal the key's.
//!
//! A delta leans on its key frame alone, never on another delta: if a record is lost, only it is
//! lost. A **block** of n values is n two-bit codes (four a byte, least significant first), then
//! the values: code 0, 1, 2 are a zigzag varint of the difference of value and base, both times
//! 1, 100 or 1000; code 3 is the value's eight bytes, little endian. A scaled code is used only
//! where it restores every bit; so decoding returns exactly what was encoded, NaNs included.
//!
//! A series that ends is in one more key frame with the staleness marker and in none thereafter.

mod block;
mod columns;
mod dictionary;
mod encoder;
mod frame;
mod places;
mod varint;

pub use columns::Columns;
pub use dictionary::Dictionary;
pub use encoder::{Encoded, Encoder};
pub use frame::{
    DecodeError, Frame, FrameHead, KeyFrame, MAX_SERIES, check_delta, decode, peek, retime,
};
