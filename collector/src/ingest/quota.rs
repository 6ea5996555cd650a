//! How much the log says of one peer. A host that keeps trying in vain, or a stranger who keeps
//! knocking, would otherwise fill the log with what was said before.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// So many lines are logged of one peer within [`PERIOD_MS`].
const LINES: u32 = 20;

/// After that long in milliseconds a peer's lines are counted anew.
const PERIOD_MS: i64 = 3_600_000;

/// So many peers are counted at once; of more nothing is logged, until the periods of some are over.
const PEERS: usize = 16_384;

/// The lines that were logged of each peer.
#[derive(Debug)]
pub(super) struct LogQuota<K> {
    used: Mutex<HashMap<K, Used>>,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    since_ms: i64,
    lines: u32,
}

impl<K> Default for LogQuota<K> {
    fn default() -> Self {
        Self { used: Mutex::default() }
    }
}

impl<K: Copy + Display + Eq + Hash> LogQuota<K> {
    /// Counts one more line of a peer, and says whether to log it. That later ones will be left
    /// out is logged here.
    pub(super) fn admits(&self, peer: K, now_ms: i64) -> bool {
        let line = self.count(peer, now_ms);
        if line == Some(LINES) {
            tracing::info!(%peer, "after the next line, this log is silent about it for an hour");
        }
        line.is_some()
    }

    /// The number of the line within its period; none if it is one too many.
    fn count(&self, peer: K, now_ms: i64) -> Option<u32> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |used: &Used| now_ms.saturating_sub(used.since_ms) < PERIOD_MS;
        if used.len() >= PEERS && !used.contains_key(&peer) {
            used.retain(|_, used| is_current(used));
            if used.len() >= PEERS {
                return None;
            }
        }
        let entry = used.entry(peer).or_insert(Used { since_ms: now_ms, lines: 0 });
        if !is_current(entry) {
            *entry = Used { since_ms: now_ms, lines: 0 };
        }
        entry.lines = entry.lines.saturating_add(1);
        (entry.lines <= LINES).then_some(entry.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_lines_and_gets_new_ones_after_the_period() {
        let quota = LogQuota::default();
        let admitted =
            |peer: u32, now_ms: i64| (0..100).filter(|_| quota.admits(peer, now_ms)).count();
        assert_eq!(admitted(1, 0), LINES as usize);
        assert_eq!(admitted(2, 5), LINES as usize);
        assert_eq!(admitted(1, PERIOD_MS - 1), 0);
        assert_eq!(admitted(1, PERIOD_MS), LINES as usize);
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let quota = LogQuota::default();
        let crowd = PEERS as u32;
        assert!((0..crowd).all(|peer| quota.admits(peer, 0)));
        assert!(!quota.admits(crowd, 1));
        assert!(quota.admits(0, 1));
        assert!(quota.admits(crowd, PERIOD_MS));
        assert_eq!(quota.used.lock().unwrap().len(), 1);
    }
}
