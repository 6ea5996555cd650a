//! How far confirmed groups reach, in a file of its own beside the segments.
//!
//! A last group that is damaged looks like one whose writing was cut off, and a segment that was cut
//! between two entries looks whole. The tide tells them apart. It is written after each group was
//! synced and never synced itself, so after a power cut it may be behind or unreadable, and then says
//! nothing; it is never ahead.
//!
//! Format: slots of 20 bytes, a segment's at its number modulo 256; in each the segment's number and
//! the length of it that is confirmed (u64 each, little endian), the CRC-32 of both (u32, little
//! endian).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// The file in the journal's folder.
const NAME: &str = "tide";

/// Two numbers, checksum.
const SLOT_BYTES: usize = 20;

/// More segments than a journal has at a time.
const SLOTS: u64 = 256;

/// How far one segment is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) segment: u64,
    pub(super) length: u64,
}

/// Writes the file; it is opened at the first writing.
#[derive(Debug, Default)]
pub(super) struct Tide(Option<File>);

impl Tide {
    pub(super) fn note(&mut self, folder: &Path, mark: Mark) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend_from_slice(&mark.segment.to_le_bytes());
        bytes.extend_from_slice(&mark.length.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let file = match self.0.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).open(folder.join(NAME))?
            }
        };
        let file = self.0.insert(file);
        file.seek(SeekFrom::Start(place_of(mark.segment)))?;
        file.write_all(&bytes)
    }
}

/// What was noted of a segment, if it can be read.
pub(super) fn read(folder: &Path, segment: u64) -> Option<Mark> {
    let bytes = fs::read(folder.join(NAME)).ok()?;
    let slot =
        bytes.get(usize::try_from(place_of(segment)).ok()?..)?.first_chunk::<SLOT_BYTES>()?;
    let (content, sum) = slot.split_last_chunk::<4>()?;
    let ([number, length], []) = content.as_chunks::<8>() else { return None };
    let mark = Mark { segment: u64::from_le_bytes(*number), length: u64::from_le_bytes(*length) };
    let is_good = crc32fast::hash(content) == u32::from_le_bytes(*sum);
    (is_good && mark.segment == segment).then_some(mark)
}

fn place_of(segment: u64) -> u64 {
    segment % SLOTS * SLOT_BYTES as u64
}
