//! Tells a receiver something that is no alert, and so takes no route: an operator asked for it, and
//! neither silences nor hours keep it back.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt;

use crate::notify::{Channel, Notification, NotifyError};

/// The ways by which each receiver is told, by its name.
type Ways = BTreeMap<String, Vec<Arc<Channel>>>;

/// All receivers, which the dispatcher replaces when the routing file is read again.
#[derive(Clone, Default)]
pub(super) struct Receivers(Arc<RwLock<Ways>>);

impl Receivers {
    pub(super) fn new(ways: Ways) -> Self {
        Self(Arc::new(RwLock::new(ways)))
    }

    pub(super) fn replace(&self, ways: Ways) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = ways;
    }

    fn channels(&self, receiver: &str) -> Option<Vec<Arc<Channel>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(receiver).cloned()
    }
}

/// A receiver, told by the ways that the routing file names at the time.
#[derive(Clone)]
pub struct Courier {
    receiver: String,
    receivers: Receivers,
}

impl Courier {
    /// `None` if there is no receiver of that name.
    pub(super) fn new(receiver: &str, receivers: Receivers) -> Option<Self> {
        receivers.channels(receiver).map(|_| Self { receiver: receiver.to_owned(), receivers })
    }

    /// The receiver's name.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// What each of its channels is called, in order.
    pub fn kinds(&self) -> Vec<String> {
        let channels = self.receivers.channels(&self.receiver).unwrap_or_default();
        channels.iter().map(|channel| channel.kind().to_owned()).collect()
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
        let channels = self.receivers.channels(&self.receiver).unwrap_or_default();
        let Some(channel) = channels.get(channel) else {
            return Err(NotifyError::Message("the routing file names no such way".to_owned()));
        };
        let (receiver, kind) = (&self.receiver, channel.kind());
        let sending = AssertUnwindSafe(channel.send(notification)).catch_unwind().await;
        let result =
            sending.unwrap_or_else(|_| Err(NotifyError::Message("a fault here".to_owned())));
        let title = notification.title();
        match &result {
            Ok(_) => tracing::info!(receiver, kind, title, "told"),
            Err(error) => tracing::warn!(receiver, kind, title, %error, "telling failed"),
        }
        result.map(drop)
    }
}
