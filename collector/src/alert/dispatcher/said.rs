//! How often the log says that a receiver cannot be told: one that is away, or refuses, would otherwise
//! fill it. What became of each message is kept beside its alerts all the same.

use std::collections::BTreeMap;

/// A line about a receiver is followed by none for so long.
const SILENCE_MS: i64 = 60_000;

/// What the log said last of each receiver.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<String, Last>);

#[derive(Clone, Copy, Debug)]
struct Last {
    at_ms: i64,
    left_out: u64,
}

impl Said {
    /// How many lines were left out since the one before; `None` if this one is to be, too.
    pub(super) fn admit(&mut self, receiver: &str, now_ms: i64) -> Option<u64> {
        let Some(last) = self.0.get_mut(receiver) else {
            self.0.insert(receiver.to_owned(), Last { at_ms: now_ms, left_out: 0 });
            return Some(0);
        };
        // A clock that is set back must not keep it silent for long.
        if (0..SILENCE_MS).contains(&now_ms.saturating_sub(last.at_ms)) {
            last.left_out += 1;
            return None;
        }
        let left_out = last.left_out;
        *last = Last { at_ms: now_ms, left_out: 0 };
        Some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_receiver_the_log_says_something_once_a_minute() {
        let mut said = Said::default();
        let mut check = |receiver: &str, at_ms: i64, expect: Option<u64>| {
            assert_eq!(said.admit(receiver, at_ms), expect, "{receiver} {at_ms}");
        };
        check("a", 100_000, Some(0));
        check("a", 100_000, None);
        check("b", 100_001, Some(0));
        check("a", 159_999, None);
        check("a", 160_000, Some(2));
        check("a", 160_001, None);
        check("a", 220_000, Some(1));
        check("a", 280_000, Some(0));
        check("a", 10_000, Some(0));
    }
}
