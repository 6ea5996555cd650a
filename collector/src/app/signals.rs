//! What the service manager and people at a terminal tell a running server.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::reload::Reloader;

/// The signals that end the server, and the one that has rules and routing read again.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal that ends the server.
    pub(super) async fn next(&mut self, files: &Reloader) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => {
                    let files = files.clone();
                    // The log has how it went, and a signal has nobody else to tell.
                    tokio::spawn(async move { drop(files.reload().await) });
                }
            }
        }
    }
}
