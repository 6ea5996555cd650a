//! One buffer used from several threads.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use upkeep_model::{Epoch, Lane};

use super::{Buffer, BufferError, Draft, history};

/// A handle of a buffer, cheap to clone. Appends wake whoever waits for them.
#[derive(Clone)]
pub struct SharedBuffer {
    buffer: Arc<Mutex<Buffer>>,
    heads: watch::Sender<Heads>,
}

/// How far the buffer was filled by the last append, so that nobody need look into it for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The buffer that the numbers are of.
    pub epoch: Epoch,
    samples: u64,
    events: u64,
}

impl Heads {
    fn of_buffer(buffer: &Buffer) -> Self {
        Self {
            epoch: buffer.epoch(),
            samples: buffer.lane(Lane::Samples).next_sequence,
            events: buffer.lane(Lane::Events).next_sequence,
        }
    }

    /// The sequence number that the next record of a lane will get.
    pub fn of(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Samples => self.samples,
            Lane::Events => self.events,
        }
    }
}

impl SharedBuffer {
    /// Shares a buffer.
    pub fn new(buffer: Buffer) -> Self {
        let heads = watch::Sender::new(Heads::of_buffer(&buffer));
        Self { buffer: Arc::new(Mutex::new(buffer)), heads }
    }

    /// The buffer, for as long as the guard lives. Blocks while another thread has it.
    pub fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(|poisoned| {
            self.buffer.clear_poison();
            let mut buffer = poisoned.into_inner();
            buffer.distrust();
            buffer
        })
    }

    /// Appends drafts and wakes those who wait. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Buffer::append`].
    pub fn append(&self, drafts: &[Draft]) -> Result<(), BufferError> {
        let mut buffer = self.lock();
        history::tell_brought(drafts);
        buffer.append(drafts)?;
        history::tell_durable();
        // Told while the lock is held, so that no older news comes after newer.
        self.heads.send_replace(Heads::of_buffer(&buffer));
        Ok(())
    }

    /// Sees a change with every append.
    pub fn appends(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }
}
