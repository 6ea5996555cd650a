//! One buffer used from several threads.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{Buffer, BufferError, Draft};

/// A handle of a buffer, cheap to clone. Appends wake whoever waits for them.
#[derive(Clone)]
pub struct SharedBuffer {
    buffer: Arc<Mutex<Buffer>>,
    appended: watch::Sender<u64>,
}

impl SharedBuffer {
    /// Shares a buffer.
    pub fn new(buffer: Buffer) -> Self {
        Self { buffer: Arc::new(Mutex::new(buffer)), appended: watch::Sender::new(0) }
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
        self.lock().append(drafts)?;
        self.appended.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Sees a change with every append.
    pub fn appends(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }
}
