//! How far confirmed records reach, in a file of its own beside the database.
//!
//! A database whose last bytes are damaged looks like one whose last write was cut off: it opens,
//! sound and shorter, and the sequence numbers of what is missing would be given again. The tide
//! tells the two apart. It is written after each append was confirmed and never synced, so after a
//! power cut it may be behind or unreadable, and then says nothing; it is never ahead.
//!
//! Format: the epoch (16 bytes), the next sequence numbers of events and samples (8 each, little
//! endian), the CRC-32 of all that (4, little endian).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};

use tracing::warn;
use upkeep_model::{Epoch, Lane};

use super::BufferError;
use super::folder::Root;
use super::state::Lanes;

/// The file in the buffer's folder.
const NAME: &str = "tide";

/// Epoch, two numbers, checksum.
const BYTES: usize = 16 + 2 * 8 + 4;

/// The open file.
#[derive(Debug)]
pub(super) struct Tide(File);

impl Tide {
    pub(super) fn open(root: &Root) -> Result<Self, BufferError> {
        let path = root.path().join(NAME);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        opened.map(Self).map_err(|error| BufferError::file("open", &path, error))
    }

    /// Notes what is confirmed. Where that fails the file says less than it could, and no record is
    /// worse off.
    pub(super) fn note(&self, epoch: Epoch, lanes: &Lanes) {
        let mut bytes = epoch.0.to_vec();
        for lane in Lane::ALL {
            bytes.extend_from_slice(&lanes.of(lane).next_sequence.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut file = &self.0;
        if let Err(error) = file.rewind().and_then(|()| file.write_all(&bytes)) {
            warn!("how far the buffer reaches cannot be noted: {error}");
        }
    }

    /// What is missing of a lane's confirmed records, in words, if anything is.
    pub(super) fn missing(&self, epoch: Epoch, lanes: &Lanes) -> Option<String> {
        let confirmed = self.read().filter(|(noted, _)| *noted == epoch)?.1;
        let short = |(lane, next): (Lane, u64)| {
            let found = lanes.of(lane).next_sequence;
            (found < next)
                .then(|| format!("records {found} to {} of lane {lane} are missing", next - 1))
        };
        Lane::ALL.into_iter().zip(confirmed).find_map(short)
    }

    fn read(&self) -> Option<(Epoch, [u64; 2])> {
        let mut file = &self.0;
        let mut bytes = [0; BYTES];
        file.rewind().and_then(|()| file.read_exact(&mut bytes)).ok()?;
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        let (epoch, numbers) = content.split_first_chunk::<16>()?;
        let ([samples, events], []) = numbers.as_chunks::<8>() else { return None };
        (crc32fast::hash(content) == u32::from_le_bytes(*sum))
            .then_some((Epoch(*epoch), [u64::from_le_bytes(*samples), u64::from_le_bytes(*events)]))
    }
}
