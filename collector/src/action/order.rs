//! Orders, and their way to whoever carries them out.

use tokio::sync::mpsc;

use crate::notify::{Alert, Fingerprint};

/// So many batches may wait; whoever brings more waits until one was noted.
const BATCHES: usize = 16;

/// An action that an alert asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The action's name, as the rule gives it.
    pub action: String,
    /// What stands for the alert's labels.
    pub fingerprint: Fingerprint,
    /// The alert.
    pub alert: Alert,
}

/// Where orders are put. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Queue(mpsc::Sender<Vec<Order>>);

/// Where orders are taken from.
#[derive(Debug)]
pub struct Orders(pub(super) mpsc::Receiver<Vec<Order>>);

/// A queue, and its other end.
pub fn queue() -> (Queue, Orders) {
    let (queue, orders) = mpsc::channel(BATCHES);
    (Queue(queue), Orders(orders))
}

impl Queue {
    /// Puts in what was ordered together. Once nobody takes orders any more they are lost, and so said
    /// in the log.
    pub async fn put(&self, orders: Vec<Order>) {
        if let Err(lost) = self.0.send(orders).await {
            tracing::error!(
                orders = lost.0.len(),
                "actions are not run: the collector is stopping"
            );
        }
    }
}
