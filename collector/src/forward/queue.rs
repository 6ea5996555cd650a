//! What waits to be sent to one Alertmanager: of each alert the last that was said of it, in the order
//! in which they began to wait, and no more than so many.

use std::collections::{BTreeMap, VecDeque};

use crate::notify::{Alert, Fingerprint};

/// So many alerts may wait; of more the oldest are left out.
pub(super) const MOST: usize = 10_000;

/// What was said of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) alert: Alert,
    /// When it was said, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

impl Told {
    /// Until when it fires, in milliseconds since 1970: its end, or the end of the time for which it
    /// holds if nobody speaks of it again.
    pub(super) fn ends_at_ms(&self) -> Option<i64> {
        let holds_ms = self.alert.holds_for.map(|holds_for| holds_for.as_millis());
        let holds_ms = holds_ms.and_then(|holds_ms| i64::try_from(holds_ms).ok());
        self.alert.ends_at_ms.or_else(|| self.at_ms.checked_add(holds_ms?))
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    order: VecDeque<Fingerprint>,
    told: BTreeMap<Fingerprint, Told>,
    /// How many were left out since there were too many, or were refused for good.
    pub(super) dropped: u64,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Takes what is said of an alert.
    pub(super) fn put(&mut self, told: Told) {
        let fingerprint = told.alert.fingerprint();
        if self.told.insert(fingerprint, told).is_none() {
            self.order.push_back(fingerprint);
        }
        while self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.told.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// Takes back what could not be sent. What was said since holds.
    pub(super) fn put_back(&mut self, batch: Vec<(Fingerprint, Told)>) {
        for (fingerprint, told) in batch.into_iter().rev() {
            if self.told.contains_key(&fingerprint) {
                continue;
            }
            if self.order.len() >= MOST {
                self.dropped += 1;
                continue;
            }
            self.told.insert(fingerprint, told);
            self.order.push_front(fingerprint);
        }
    }

    /// What has waited longest, so much of it at most.
    pub(super) fn take(&mut self, most: usize) -> Vec<(Fingerprint, Told)> {
        let taken = self.order.drain(..most.min(self.order.len()));
        taken.filter_map(|one| Some((one, self.told.remove(&one)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use upkeep_model::Labels;

    use super::*;
    use crate::notify::{Annotations, Origin};

    fn told(name: &str, at_ms: i64) -> Told {
        let alert = Alert {
            labels: Labels::new([("alertname", name)]),
            annotations: Annotations::new(),
            starts_at_ms: 0,
            ends_at_ms: None,
            holds_for: Some(Duration::from_secs(240)),
            generator_url: "".into(),
            origin: Origin::Rule,
        };
        Told { alert, at_ms }
    }

    fn shown(batch: &[(Fingerprint, Told)]) -> Vec<String> {
        batch.iter().map(|(_, told)| format!("{}{}", told.alert.name(), told.at_ms)).collect()
    }

    #[test]
    fn the_last_word_holds_at_the_place_of_the_first() {
        let mut waiting = Waiting::default();
        for (name, at_ms) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
            waiting.put(told(name, at_ms));
        }
        let batch = waiting.take(2);
        assert_eq!(shown(&batch), ["a4", "b2"]);
        waiting.put(told("b", 5));
        waiting.put_back(batch);
        assert_eq!(shown(&waiting.take(9)), ["a4", "c3", "b5"]);
        assert_eq!((waiting.len(), waiting.dropped), (0, 0));
    }

    #[test]
    fn of_too_many_the_oldest_are_left_out() {
        let mut waiting = Waiting::default();
        (0..MOST + 2).for_each(|number| waiting.put(told(&format!("n{number:05}"), 0)));
        assert_eq!((waiting.len(), waiting.dropped), (MOST, 2));
        let batch = waiting.take(3);
        assert_eq!(shown(&batch[..1]), ["n000020"]);
        waiting.put(told("new", 0));
        waiting.put_back(batch);
        assert_eq!((waiting.len(), waiting.dropped), (MOST, 3));
        assert_eq!(shown(&waiting.take(1)), ["n000030"], "what is newer is kept");
    }

    #[test]
    fn an_alert_fires_until_its_end_or_as_long_as_it_holds() {
        let check = |ends_at_ms, holds_for, expect| {
            let mut told = told("a", 1_000);
            (told.alert.ends_at_ms, told.alert.holds_for) = (ends_at_ms, holds_for);
            assert_eq!(told.ends_at_ms(), expect);
        };
        check(Some(700), Some(Duration::from_secs(4)), Some(700));
        check(None, Some(Duration::from_secs(4)), Some(5_000));
        check(None, Some(Duration::MAX), None);
        check(None, None, None);
    }
}
