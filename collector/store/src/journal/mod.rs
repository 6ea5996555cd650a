//! The journal: what came in since it was last sealed, in the order in which it came.
//!
//! # Format, version 1
//! The journal is a folder of append-only segments, named by their number in 20 decimal digits and
//! `.segment`; numbers only grow. A segment begins with the eight bytes `upkeepJ1`, its number
//! (u64, little endian) and twice its salt (eight random bytes and the CRC-32 of number and salt);
//! entries follow. An entry is a header of 16 bytes (four u32, little endian) and a body:
//!
//! | bytes | what |
//! |---|---|
//! | 0–3 | length of the body in the lower 30 bits; bit 31: first of its group; bit 30: last |
//! | 4–7 | ordinal of its group within the segment, from 1 |
//! | 8–11 | CRC-32 of the body |
//! | 12–15 | CRC-32 of the twelve bytes before |
//!
//! Both checksums start from the CRC-32 of the segment's number and salt, so that neither blocks of
//! a file that was deleted nor bytes that a hostile host hid in a frame can pass for entries. The
//! body is one byte of kind and its fields (`binary` says how
//! numbers, texts and label sets are written; a stream is the 32 bytes of host and epoch):
//!
//! | kind | fields |
//! |---|---|
//! | 1 describe | stream, generation, first number, count, label sets |
//! | 2 reference | stream, generation, sequence, key frame to the end |
//! | 3 frame | stream, generation, sequence, frame to the end |
//! | 4 skip | stream, sequence through which records will never come; read, and no longer written |
//! | 5 series | number, home (16 bytes), label set |
//! | 6 points | count; each: number of its series, milliseconds since the one before, value (8 bytes); read, and no longer written |
//! | 7 skip | stream, first and last sequence of records that will never come |
//! | 8 points | count; the numbers of their series, each as the difference to the one before; their times in runs, each how many points share it and milliseconds since the one before; their values (8 bytes each) |
//!
//! A stream's *generation* counts how often a number got another label set; a frame's numbers mean
//! what the descriptions of its own generation say. Numbers of kinds 5, 6 and 8 hold within a segment.
//!
//! # Guarantees
//! - A *group* is written at once, synced, and only then confirmed; the next group begins after
//!   that. So only the last group of the last segment can be torn: unless it is whole, it is cut
//!   off when the store opens, all of it, since what lies behind a gap in it was never confirmed.
//!   Nothing is cut off that the tide (module `tide`) says was confirmed: that is damage.
//! - Whatever else does not pass its checksum is damage: it is reported, never served, and the
//!   entries after it are found again by their headers.
//! - A segment can be read without the ones before it: descriptions that the database did not have
//!   when the segment began, and key frames, are repeated in it before their first use.
//! - A failed sync is never repeated, since a second one may succeed without the data. The store then
//!   takes nothing more. When it opens again, what can be read of the last segment beyond the tide is
//!   copied to a fresh file and synced there before anything leans on it.

mod closed;
mod entry;
mod scan;
mod segment;
mod tide;

pub(crate) use closed::{ClosedSegment, NewJournal};
pub(crate) use entry::{Entry, Group};
pub(crate) use scan::walk;
pub(crate) use segment::{HEADER_BYTES, Journal, JournalFolder, WriteError, seed_in};
