//! Tells a receiver something that is no alert, and so takes no route: an operator asked for it, and
//! neither silences nor hours keep it back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::notify::{Channel, Notification, NotifyError};

/// A receiver and the ways by which it is told.
#[derive(Clone)]
pub struct Courier {
    receiver: String,
    channels: Vec<Arc<Channel>>,
}

impl Courier {
    pub(super) fn new(receiver: &str, channels: &[Arc<Channel>]) -> Self {
        Self { receiver: receiver.to_owned(), channels: channels.to_vec() }
    }

    /// The receiver's name.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// What each of its channels is called, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.channels.iter().map(|channel| channel.kind().to_owned()).collect()
    }

    /// Tells by one of the channels.
    ///
    /// # Errors
    /// When it did not arrive; [`NotifyError::is_permanent`] says whether to try again.
    pub async fn tell(
        &self,
        channel: usize,
        notification: &Notification,
    ) -> Result<(), NotifyError> {
        let Some(channel) = self.channels.get(channel) else { return Ok(()) };
        let (receiver, kind) = (&self.receiver, channel.kind());
        let sending = AssertUnwindSafe(channel.send(notification)).catch_unwind().await;
        let result =
            sending.unwrap_or_else(|_| Err(NotifyError::Message("a fault here".to_owned())));
        let title = notification.title();
        match &result {
            Ok(()) => tracing::info!(receiver, kind, title, "told"),
            Err(error) => tracing::warn!(receiver, kind, title, %error, "telling failed"),
        }
        result
    }
}
