//! What is told about alerts, and how it gets into the ledger.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::notify::Fingerprint;
use crate::state::Origin;

/// How many batches of news may wait to be entered.
const NEWS_QUEUE: usize = 1024;

/// Something happened to alerts. Moments are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An alert began to fire.
    Fired {
        /// Whose alert it is.
        origin: Arc<Origin>,
        /// The alert.
        alert: Fingerprint,
        /// When.
        at_ms: i64,
    },
    /// An alert is over.
    Resolved {
        /// Whose alert it was.
        origin: Arc<Origin>,
        /// The alert.
        alert: Fingerprint,
        /// When.
        at_ms: i64,
    },
    /// A message told that alerts fire.
    Notified {
        /// The alerts.
        alerts: Vec<Fingerprint>,
    },
    /// Somebody takes care of an alert.
    Acknowledged {
        /// The alert.
        alert: Fingerprint,
        /// When.
        at_ms: i64,
    },
    /// An action was run for an alert.
    Acted {
        /// The alert.
        alert: Fingerprint,
    },
    /// Silences muted alerts that fire.
    Silenced {
        /// The alerts.
        alerts: Vec<Fingerprint>,
    },
    /// An alert began to flap.
    Flapped {
        /// The alert.
        alert: Fingerprint,
    },
}

/// Whoever has this can tell the ledger. Clones share everything; the default one tells nobody.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    queue: Option<mpsc::Sender<Vec<News>>>,
    lost: Counter<u64, AtomicU64>,
}

impl Reporter {
    /// A reporter, and where what it is told arrives.
    pub(super) fn open(registry: &mut Registry) -> (Self, mpsc::Receiver<Vec<News>>) {
        let (queue, told) = mpsc::channel(NEWS_QUEUE);
        let reporter = Self { queue: Some(queue), lost: Counter::default() };
        let help = "News about alerts that the ledger of usefulness had no room for";
        registry.register("upkeep_collector_ledger_lost_news", help, reporter.lost.clone());
        (reporter, told)
    }

    /// Tells; what finds no place is counted and lost, since nobody may wait for the ledger.
    pub fn tell(&self, news: Vec<News>) {
        let Some(queue) = self.queue.as_ref().filter(|_| !news.is_empty()) else { return };
        let count = news.len() as u64;
        if queue.try_send(news).is_err() {
            self.lost.inc_by(count);
        }
    }

    /// How much was lost.
    #[cfg(test)]
    pub(super) fn lost(&self) -> u64 {
        self.lost.get()
    }
}

/// A reporter for tests, and where what it is told arrives.
#[cfg(test)]
pub(crate) fn channel() -> (Reporter, mpsc::Receiver<Vec<News>>) {
    Reporter::open(&mut Registry::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_and_nobody_waits() {
        let (reporter, mut told) = channel();
        let news = |count| vec![News::Acted { alert: Fingerprint(1) }; count];
        reporter.tell(Vec::new());
        for _ in 0..NEWS_QUEUE {
            reporter.tell(news(1));
        }
        assert_eq!(reporter.lost(), 0);
        reporter.tell(news(3));
        assert_eq!(reporter.lost(), 3);
        assert_eq!(told.try_recv().unwrap(), news(1));
        reporter.tell(news(2));
        assert_eq!((reporter.lost(), told.len()), (3, NEWS_QUEUE));
        Reporter::default().tell(news(9));
    }
}
