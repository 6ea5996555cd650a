//! A group of alerts and the decision whether to tell of it: pure, with the clock passed in.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::notify::{Alert, Fingerprint, Origin, PREDEFINED_ACTION};
use crate::state::NotificationRecord;

/// An alert as the dispatcher holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeldAlert {
    /// The alert as it was last told to us.
    pub(super) alert: Alert,
    /// When it counts as resolved if nobody speaks of it any more, in milliseconds since 1970.
    pub(super) expires_at_ms: i64,
    /// When it was last spoken of, in milliseconds since 1970.
    pub(super) updated_at_ms: i64,
    /// When it was first heard of since it fires, in milliseconds since 1970.
    pub(super) heard_at_ms: i64,
    /// Whether the action was ordered that it asks for.
    pub(super) has_acted: bool,
    /// For how many milliseconds after its end it counts as firing, since it flaps; else 0.
    pub(super) kept_ms: i64,
}

impl HeldAlert {
    /// An alert of which somebody spoke at the given moment; `resolve_timeout_ms` holds for one
    /// that does not say for how long it fires on.
    pub(super) fn spoken_of(alert: Alert, resolve_timeout_ms: i64, now_ms: i64) -> Self {
        let holds_ms = alert.holds_for.map_or(resolve_timeout_ms, milliseconds);
        let expires_at_ms = now_ms.saturating_add(holds_ms);
        Self {
            alert,
            expires_at_ms,
            updated_at_ms: now_ms,
            heard_at_ms: now_ms,
            has_acted: false,
            kept_ms: 0,
        }
    }

    /// When it is over: when it was said to be, or when nobody spoke of it for too long.
    pub(super) fn ends_at_ms(&self) -> i64 {
        self.alert.ends_at_ms.unwrap_or(self.expires_at_ms)
    }

    /// Whether it is over, though it may still count as firing since it flaps.
    pub(super) fn has_ended(&self, now_ms: i64) -> bool {
        self.ends_at_ms() <= now_ms
    }

    /// The action that is still to be ordered: alerts of others cannot ask for one.
    pub(super) fn wanted_action(&self) -> Option<&str> {
        if self.has_acted || self.alert.origin != Origin::Rule {
            return None;
        }
        let name = self.alert.annotations.get(PREDEFINED_ACTION)?.trim();
        Some(name).filter(|name| !name.is_empty())
    }

    /// Until when it counts as firing.
    pub(super) fn counts_until_ms(&self) -> i64 {
        self.ends_at_ms().saturating_add(self.kept_ms)
    }

    /// Whether it is over for everybody.
    pub(super) fn is_resolved(&self, now_ms: i64) -> bool {
        self.counts_until_ms() <= now_ms
    }

    /// The alert as it is told: what nobody spoke of any more has ended.
    pub(super) fn to_alert(&self, now_ms: i64) -> Alert {
        let ends_at_ms = self.is_resolved(now_ms).then(|| self.ends_at_ms());
        Alert { ends_at_ms, ..self.alert.clone() }
    }

    /// Takes what was said of the same alert later. If both speak of one stretch of time, it began
    /// when the earlier one did and has the later one's texts; otherwise the later one stands alone.
    #[must_use]
    pub(super) fn merged(&self, later: Self) -> Self {
        let began_before = later.alert.starts_at_ms <= self.ends_at_ms();
        let ended_after =
            later.alert.ends_at_ms.is_none_or(|ends_at_ms| ends_at_ms >= self.alert.starts_at_ms);
        let mut merged = later;
        if !began_before || !ended_after {
            if self.kept_ms > 0 && merged.alert.starts_at_ms <= self.counts_until_ms() {
                merged.heard_at_ms = merged.heard_at_ms.min(self.heard_at_ms);
            }
            return merged;
        }
        merged.heard_at_ms = merged.heard_at_ms.min(self.heard_at_ms);
        merged.has_acted |= self.has_acted;
        merged.alert.starts_at_ms = merged.alert.starts_at_ms.min(self.alert.starts_at_ms);
        if let (Some(before), Some(after)) = (self.alert.ends_at_ms, merged.alert.ends_at_ms) {
            merged.alert.ends_at_ms = Some(before.max(after));
        }
        // Whoever said until when it fires knows better than who says nothing, or less.
        let fires_on = self.alert.ends_at_ms.is_none() && self.alert.holds_for.is_some();
        if fires_on && merged.alert.ends_at_ms.is_none() {
            merged.expires_at_ms = merged.expires_at_ms.max(self.expires_at_ms);
        }
        merged
    }
}

/// What is to be done about a group for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Tell of it.
    Tell(Reason),
    /// Take down that the group changed, without telling.
    Note,
    /// Nothing.
    Rest,
}

/// Why a group is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody was told of the group yet, and something fires.
    First,
    /// An alert fires that was not told.
    NewFiring,
    /// Nothing fires any more.
    AllResolved,
    /// An alert is resolved that was not told.
    NewResolved,
    /// The same was told long enough ago.
    Repeat,
    /// Nothing fires any more, and the attempts to tell while something did failed.
    Owed,
}

impl Reason {
    /// What the reason is called where people see what was sent.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::NewFiring => "new firing",
            Self::AllResolved => "all resolved",
            Self::NewResolved => "new resolved",
            Self::Repeat => "repeat",
            Self::Owed => "owed",
        }
    }
}

/// Decides about a group: what fires and what is resolved of what is not muted, against what the
/// channel was told.
pub(super) fn decide(
    record: Option<&NotificationRecord>,
    firing: &BTreeSet<String>,
    resolved: &BTreeSet<String>,
    sends_resolved: bool,
    repeat_ms: i64,
    now_ms: i64,
) -> Decision {
    if firing.is_empty() && resolved.is_empty() {
        return Decision::Rest;
    }
    let told = record.and_then(|record| Some((record, record.sent_at_ms?)));
    let Some((record, sent_at_ms)) = told else {
        let is_owed = sends_resolved && record.is_some_and(|record| record.failure.is_some());
        return match firing.is_empty() {
            false => Decision::Tell(Reason::First),
            true if is_owed => Decision::Tell(Reason::Owed),
            // A group that was only ever seen resolved is no news.
            true => Decision::Rest,
        };
    };
    if !firing.is_subset(&record.firing) {
        return Decision::Tell(Reason::NewFiring);
    }
    if firing.is_empty() {
        let knew_of_some = !record.firing.is_empty() || !record.withheld.is_disjoint(resolved);
        return match (knew_of_some, sends_resolved) {
            (false, _) => Decision::Rest,
            (true, true) => Decision::Tell(Reason::AllResolved),
            (true, false) => Decision::Note,
        };
    }
    if sends_resolved && !resolved.is_subset(&record.resolved) {
        return Decision::Tell(Reason::NewResolved);
    }
    if now_ms.saturating_sub(sent_at_ms) > repeat_ms {
        return Decision::Tell(Reason::Repeat);
    }
    Decision::Rest
}

/// The alerts of a group: those that are not muted by whether they fire, and the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Fingerprints of those that fire.
    pub(super) firing: BTreeSet<String>,
    /// Fingerprints of those that are resolved.
    pub(super) resolved: BTreeSet<String>,
    /// Fingerprints of those that are muted, whether they fire or not.
    pub(super) muted: BTreeSet<String>,
}

impl Standing {
    /// Adds an alert.
    pub(super) fn add(&mut self, fingerprint: Fingerprint, is_resolved: bool, is_muted: bool) {
        let set = match (is_muted, is_resolved) {
            (true, _) => &mut self.muted,
            (false, true) => &mut self.resolved,
            (false, false) => &mut self.firing,
        };
        set.insert(fingerprint.to_string());
    }

    /// What a channel knows once it was told of this.
    pub(super) fn told(
        self,
        before: Option<&NotificationRecord>,
        at_ms: i64,
    ) -> NotificationRecord {
        let known = before.map(|before| before.firing.iter().chain(&before.withheld));
        let withheld = known.into_iter().flatten().filter(|known| self.muted.contains(*known));
        NotificationRecord {
            withheld: withheld.cloned().collect(),
            firing: self.firing,
            resolved: self.resolved,
            sent_at_ms: Some(at_ms),
            failure: None,
        }
    }
}

/// A duration in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use upkeep_model::Labels;

    use super::*;
    use crate::notify::{Annotations, Origin};

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_group_is_told_of_for_a_reason() {
        let check = |told: Option<(&[&str], &[&str])>,
                     firing: &[&str],
                     resolved: &[&str],
                     sends_resolved,
                     passed: i64,
                     expect| {
            let record = told.map(|(firing, resolved)| NotificationRecord {
                firing: set(firing),
                resolved: set(resolved),
                withheld: set(&["w"]),
                sent_at_ms: Some(1_000),
                failure: None,
            });
            let decision = decide(
                record.as_ref(),
                &set(firing),
                &set(resolved),
                sends_resolved,
                500,
                1_000 + passed,
            );
            assert_eq!(decision, expect, "{told:?} {firing:?} {resolved:?} {sends_resolved}");
        };
        check(None, &["a"], &[], true, 0, Decision::Tell(Reason::First));
        check(None, &[], &["a"], true, 0, Decision::Rest);
        check(Some((&["a"], &[])), &["a"], &[], true, 500, Decision::Rest);
        check(Some((&["a"], &[])), &["a"], &[], true, 501, Decision::Tell(Reason::Repeat));
        check(Some((&["a"], &[])), &["a", "b"], &[], true, 1, Decision::Tell(Reason::NewFiring));
        check(Some((&["a"], &[])), &[], &["a"], true, 1, Decision::Tell(Reason::AllResolved));
        check(Some((&["a"], &[])), &[], &["a"], false, 1, Decision::Note);
        check(Some((&[], &["a"])), &[], &["a"], true, 900, Decision::Rest);
        check(
            Some((&["a", "b"], &[])),
            &["a"],
            &["b"],
            true,
            1,
            Decision::Tell(Reason::NewResolved),
        );
        check(Some((&["a", "b"], &[])), &["a"], &["b"], false, 1, Decision::Rest);
        check(Some((&["a", "b"], &["b"])), &["a"], &["b"], true, 1, Decision::Rest);
        check(Some((&[], &["a"])), &["a"], &[], true, 1, Decision::Tell(Reason::NewFiring));
        // Everything is muted.
        check(Some((&["a"], &[])), &[], &[], true, 900, Decision::Rest);
        // Its end is owed of what was told and muted since.
        check(Some((&[], &[])), &[], &["w"], true, 1, Decision::Tell(Reason::AllResolved));
        check(Some((&[], &[])), &[], &["w"], false, 1, Decision::Note);
        check(Some((&[], &[])), &[], &["b"], true, 1, Decision::Rest);
        check(Some((&["a"], &[])), &["a"], &["w"], true, 1, Decision::Tell(Reason::NewResolved));
    }

    #[test]
    fn a_group_never_told_of_is_first_even_after_failures() {
        let record = NotificationRecord {
            failure: Some((5, "status 503".to_owned())),
            ..NotificationRecord::default()
        };
        let check = |firing: &[&str], resolved: &[&str], sends_resolved, expect| {
            let (firing, resolved) = (set(firing), set(resolved));
            assert_eq!(decide(Some(&record), &firing, &resolved, sends_resolved, 500, 10), expect);
        };
        check(&["a"], &[], true, Decision::Tell(Reason::First));
        check(&[], &["a"], true, Decision::Tell(Reason::Owed));
        check(&[], &["a"], false, Decision::Rest);
        check(&[], &[], true, Decision::Rest);
    }

    #[test]
    fn the_same_alert_again_is_merged() {
        let held = |starts_at_ms, ends_at_ms, text: &str| HeldAlert {
            alert: Alert {
                labels: Labels::new([("alertname", "A")]),
                annotations: Annotations::from([("summary".to_owned(), text.to_owned())]),
                starts_at_ms,
                ends_at_ms,
                holds_for: None,
                generator_url: "".into(),
                origin: Origin::Outside,
            },
            expires_at_ms: starts_at_ms + 300,
            updated_at_ms: starts_at_ms,
            heard_at_ms: starts_at_ms,
            has_acted: text == "old",
            kept_ms: 0,
        };
        let check = |before: (i64, Option<i64>), after: (i64, Option<i64>), expect| {
            let merged = held(before.0, before.1, "old").merged(held(after.0, after.1, "new"));
            assert_eq!((merged.alert.starts_at_ms, merged.alert.ends_at_ms), expect);
            assert_eq!(merged.alert.annotations.get("summary"), Some("new"));
            assert_eq!(merged.heard_at_ms, expect.0, "as long as it fires");
            assert_eq!(merged.has_acted, expect.0 <= before.0, "as long as it fires");
        };
        check((10, None), (20, None), (10, None));
        check((20, None), (10, None), (10, None));
        check((10, None), (10, Some(50)), (10, Some(50)));
        check((10, Some(60)), (10, Some(50)), (10, Some(60)));
        check((10, Some(60)), (40, None), (10, None));
        check((10, Some(60)), (61, None), (61, None));
        check((10, None), (311, None), (311, None));
        // Seconds for which each says that it fires on, and until when it does after the second word at 100 s.
        let check = |before: Option<u64>, after: Option<u64>, expect| {
            let spoken_of = |holds_s: Option<u64>, at_ms| {
                let holds_for = holds_s.map(Duration::from_secs);
                let alert = Alert { holds_for, ..held(0, None, "new").alert };
                HeldAlert::spoken_of(alert, 300_000, at_ms)
            };
            let merged = spoken_of(before, 0).merged(spoken_of(after, 100_000));
            assert_eq!(merged.ends_at_ms(), expect, "{before:?} {after:?}");
        };
        check(None, None, 400_000);
        check(Some(900), None, 900_000);
        check(Some(900), Some(200), 900_000);
        check(Some(200), Some(900), 1_000_000);
        check(Some(200), None, 400_000);
        check(None, Some(50), 150_000);
    }
}
