//! The life of a rule's alerts: inactive → pending → firing → resolved, decided from what the
//! expression gave and the time, and from nothing else.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use upkeep_model::{Labels, METRIC_NAME};

use super::snapshot::{AlertStatus, Phase};
use crate::notify::{Alert, Annotations, Fingerprint, Origin};
use crate::state::RuleAlert;

/// How long a resolved alert is kept, so that its end is told even if the first message about it
/// was lost on the way.
pub const RESOLVED_RETENTION: Duration = Duration::from_mins(15);

/// For how many turns an alert holds that is not told again, as in Prometheus: a turn that comes late
/// or finds its queue full resolves nothing.
const TURNS_HELD: u32 = 4;

/// One series of the expression's result with the rule's labels and texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The alert's labels, `alertname` among them.
    pub labels: Labels,
    /// Texts for people, filled in.
    pub annotations: Annotations,
    /// The expression's value.
    pub value: f64,
}

/// How far an alert has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pending,
    Firing { since_ms: i64 },
    Resolved { since_ms: i64, at_ms: i64 },
}

/// An alert changed its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// Its labels.
    pub labels: Labels,
    /// From what to what, and why.
    pub reason: Reason,
}

/// Why an alert changed its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Inactive → pending: the condition holds, and the rule wants it to hold for longer.
    ConditionHolds,
    /// Inactive → firing: the condition holds, and the rule waits for nothing.
    ConditionHoldsWithoutWait,
    /// Pending → firing: the condition held for as long as the rule wants.
    HeldLongEnough,
    /// Pending → inactive: the condition did not hold for as long as the rule wants.
    GoneTooSoon,
    /// Firing → resolved: the condition is gone.
    ConditionGone,
    /// Firing, on: the condition is gone, and the rule wants the alert to fire for longer.
    KeptFiring,
    /// Firing, on: the condition came back before the alert was resolved.
    ConditionBack,
    /// Firing → resolved: the condition did not come back while the alert was kept firing.
    KeptFiringLongEnough,
    /// Resolved → forgotten: everybody has had time to hear of it.
    Forgotten,
}

/// The alerts of one rule.
#[derive(Debug)]
pub struct AlertRule {
    hold_ms: i64,
    keep_firing_ms: i64,
    /// Until then restored alerts are not resolved: hosts may not have come back yet.
    settle_until_ms: i64,
    active: BTreeMap<Fingerprint, Active>,
}

#[derive(Clone, Debug)]
struct Active {
    labels: Labels,
    annotations: Annotations,
    value: f64,
    stage: Stage,
    active_at_ms: i64,
    keep_firing_since_ms: Option<i64>,
    /// When it was last handed on to be told.
    told_at_ms: Option<i64>,
    /// Whether it comes from before a restart and its condition was not seen to hold since.
    is_restored: bool,
}

impl AlertRule {
    /// A rule without alerts; `hold` is its `for`, `keep_firing` its `keep_firing_for`.
    pub fn new(hold: Duration, keep_firing: Duration) -> Self {
        Self {
            hold_ms: milliseconds(hold),
            keep_firing_ms: milliseconds(keep_firing),
            settle_until_ms: i64::MIN,
            active: BTreeMap::new(),
        }
    }

    /// Takes up alerts from before a restart. Until `settle_until_ms` none of them is resolved
    /// merely since its series is not there.
    pub fn restore(&mut self, stored: Vec<RuleAlert>, settle_until_ms: i64) {
        self.settle_until_ms = settle_until_ms;
        self.active = stored
            .into_iter()
            .map(|alert| (Fingerprint::of(&alert.labels), Active::from_stored(alert)))
            .collect();
    }

    /// Takes up the alerts of the rule that this one replaces, as they stand.
    pub fn take_over(&mut self, before: Self) {
        self.settle_until_ms = before.settle_until_ms;
        self.active = before.active;
    }

    /// Takes it that the clock was set by so much: what is pending has held as long as before, and
    /// nothing that fires is resolved before `settle_until_ms` merely since its series is not there.
    pub fn clock_was_set(&mut self, by_ms: i64, settle_until_ms: i64) {
        self.settle_until_ms = settle_until_ms;
        let shift = |at_ms: &mut i64| *at_ms = at_ms.saturating_add(by_ms);
        for active in self.active.values_mut() {
            match &mut active.stage {
                Stage::Pending => shift(&mut active.active_at_ms),
                Stage::Firing { .. } => active.is_restored = true,
                Stage::Resolved { at_ms, .. } => shift(at_ms),
            }
            active.told_at_ms.iter_mut().for_each(shift);
            active.keep_firing_since_ms.iter_mut().for_each(shift);
        }
    }

    /// Takes the result of an evaluation at `now_ms`: one candidate a label set.
    pub fn transition(&mut self, vector: Vec<Candidate>, now_ms: i64) -> Vec<Transition> {
        self.transition_of(vector, |_| true, now_ms)
    }

    /// Takes the result of an evaluation that looked at some of the alerts only; the others stay as
    /// they are.
    pub fn transition_of(
        &mut self,
        vector: Vec<Candidate>,
        looked_at: impl Fn(&Labels) -> bool,
        now_ms: i64,
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let mut seen: BTreeMap<_, _> = vector
            .into_iter()
            .map(|candidate| (Fingerprint::of(&candidate.labels), candidate))
            .collect();
        let mut kept = BTreeMap::new();
        for (fingerprint, mut active) in std::mem::take(&mut self.active) {
            let (keep, reason) = match seen.remove(&fingerprint) {
                Some(candidate) => self.holds(&mut active, candidate, now_ms),
                None if !looked_at(&active.labels) => (true, None),
                None => self.is_gone(&mut active, now_ms),
            };
            transitions.extend(reason.map(|reason| Transition {
                fingerprint,
                labels: active.labels.clone(),
                reason,
            }));
            if keep {
                kept.insert(fingerprint, active);
            }
        }
        self.active = kept;
        for (fingerprint, candidate) in seen {
            let (active, reason) = self.begin(candidate, now_ms);
            transitions.push(Transition { fingerprint, labels: active.labels.clone(), reason });
            self.active.insert(fingerprint, active);
        }
        transitions
    }

    fn begin(&self, candidate: Candidate, now_ms: i64) -> (Active, Reason) {
        let (stage, reason) = if self.hold_ms == 0 {
            (Stage::Firing { since_ms: now_ms }, Reason::ConditionHoldsWithoutWait)
        } else {
            (Stage::Pending, Reason::ConditionHolds)
        };
        let active = Active {
            labels: candidate.labels,
            annotations: candidate.annotations,
            value: candidate.value,
            stage,
            active_at_ms: now_ms,
            keep_firing_since_ms: None,
            told_at_ms: None,
            is_restored: false,
        };
        (active, reason)
    }

    /// The condition holds for an alert that is known.
    fn holds(
        &self,
        active: &mut Active,
        candidate: Candidate,
        now_ms: i64,
    ) -> (bool, Option<Reason>) {
        if matches!(active.stage, Stage::Resolved { .. }) {
            let (begun, reason) = self.begin(candidate, now_ms);
            *active = begun;
            return (true, Some(reason));
        }
        active.annotations = candidate.annotations;
        active.value = candidate.value;
        active.is_restored = false;
        let was_kept = active.keep_firing_since_ms.take().is_some();
        let held_ms = now_ms.saturating_sub(active.active_at_ms);
        if active.stage == Stage::Pending && held_ms >= self.hold_ms {
            active.stage = Stage::Firing { since_ms: now_ms };
            return (true, Some(Reason::HeldLongEnough));
        }
        (true, was_kept.then_some(Reason::ConditionBack))
    }

    /// The condition does not hold, or not any more, for an alert that is known.
    fn is_gone(&self, active: &mut Active, now_ms: i64) -> (bool, Option<Reason>) {
        if active.is_restored && now_ms < self.settle_until_ms {
            return (true, None);
        }
        match active.stage {
            Stage::Pending => (false, Some(Reason::GoneTooSoon)),
            Stage::Resolved { at_ms, .. } => {
                let is_over = now_ms.saturating_sub(at_ms) > milliseconds(RESOLVED_RETENTION);
                (!is_over, is_over.then_some(Reason::Forgotten))
            }
            Stage::Firing { since_ms } if self.keep_firing_ms > 0 => {
                let is_first = active.keep_firing_since_ms.is_none();
                let kept_since_ms = *active.keep_firing_since_ms.get_or_insert(now_ms);
                if now_ms.saturating_sub(kept_since_ms) < self.keep_firing_ms {
                    return (true, is_first.then_some(Reason::KeptFiring));
                }
                active.stage = Stage::Resolved { since_ms, at_ms: now_ms };
                (true, Some(Reason::KeptFiringLongEnough))
            }
            Stage::Firing { since_ms } => {
                active.stage = Stage::Resolved { since_ms, at_ms: now_ms };
                (true, Some(Reason::ConditionGone))
            }
        }
    }

    /// The alerts that are to be told now: whose firing or end was not told yet, and those told
    /// longer than `again` ago, since whoever is told may have restarted. They count as told, and
    /// hold until they are told again: for some turns of `interval`, so that one may be missed.
    pub fn take_due(
        &mut self,
        now_ms: i64,
        again: Duration,
        interval: Duration,
        generator_url: &Arc<str>,
    ) -> Vec<Alert> {
        let holds_for = again.max(interval).saturating_mul(TURNS_HELD);
        let again_ms = milliseconds(again);
        let due = self.active.values_mut().filter_map(|active| {
            let is_due = active.told_at_ms.is_none_or(|told_at_ms| {
                let is_news =
                    matches!(active.stage, Stage::Resolved { at_ms, .. } if at_ms > told_at_ms);
                is_news || now_ms.saturating_sub(told_at_ms) >= again_ms
            });
            let alert = active.alert(holds_for, generator_url).filter(|_| is_due)?;
            active.told_at_ms = Some(now_ms);
            Some(alert)
        });
        due.collect()
    }

    /// How many alerts are pending or firing.
    pub fn count(&self) -> usize {
        self.active
            .values()
            .filter(|active| !matches!(active.stage, Stage::Resolved { .. }))
            .count()
    }

    /// Forgets all alerts, and says which there were.
    pub fn clear(&mut self) -> Vec<Fingerprint> {
        std::mem::take(&mut self.active).into_keys().collect()
    }

    /// The alerts that are pending or firing.
    pub fn statuses(&self) -> Vec<AlertStatus> {
        self.active.values().filter_map(Active::status).collect()
    }

    /// The series about the alerts: `ALERTS` is 1 while one is active, `ALERTS_FOR_STATE` is since
    /// when, in seconds since 1970.
    pub fn series(&self) -> Vec<(Labels, f64)> {
        let active = self.active.values().filter_map(Active::status);
        active
            .flat_map(|status| {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of any date fit")]
                let since = status.active_at_ms as f64 / 1000.0;
                let state = status.labels.clone().with("alertstate", status.phase.name());
                [
                    (state.with(METRIC_NAME, "ALERTS"), 1.0),
                    (status.labels.with(METRIC_NAME, "ALERTS_FOR_STATE"), since.trunc()),
                ]
            })
            .collect()
    }

    /// All alerts as they are stored.
    pub fn all_stored(&self, rule: &str) -> Vec<RuleAlert> {
        self.active.keys().filter_map(|fingerprint| self.stored(rule, *fingerprint)).collect()
    }

    /// An alert as it is stored, or `None` if there is none of that fingerprint.
    pub fn stored(&self, rule: &str, fingerprint: Fingerprint) -> Option<RuleAlert> {
        let active = self.active.get(&fingerprint)?;
        let (fired_at_ms, resolved_at_ms) = match active.stage {
            Stage::Pending => (None, None),
            Stage::Firing { since_ms } => (Some(since_ms), None),
            Stage::Resolved { since_ms, at_ms } => (Some(since_ms), Some(at_ms)),
        };
        Some(RuleAlert {
            rule: rule.to_owned(),
            fingerprint: fingerprint.to_string(),
            labels: active.labels.clone(),
            annotations: active.annotations.clone(),
            value: active.value,
            active_at_ms: active.active_at_ms,
            fired_at_ms,
            resolved_at_ms,
            keep_firing_since_ms: active.keep_firing_since_ms,
        })
    }
}

impl Active {
    fn from_stored(stored: RuleAlert) -> Self {
        let stage = match (stored.fired_at_ms, stored.resolved_at_ms) {
            (None, _) => Stage::Pending,
            (Some(since_ms), None) => Stage::Firing { since_ms },
            (Some(since_ms), Some(at_ms)) => Stage::Resolved { since_ms, at_ms },
        };
        Self {
            labels: stored.labels,
            annotations: stored.annotations,
            value: stored.value,
            stage,
            active_at_ms: stored.active_at_ms,
            keep_firing_since_ms: stored.keep_firing_since_ms,
            told_at_ms: None,
            is_restored: true,
        }
    }

    /// As it is told; `None` while it is pending.
    fn alert(&self, holds_for: Duration, generator_url: &Arc<str>) -> Option<Alert> {
        let (starts_at_ms, ends_at_ms) = match self.stage {
            Stage::Pending => return None,
            Stage::Firing { since_ms } => (since_ms, None),
            Stage::Resolved { since_ms, at_ms } => (since_ms, Some(at_ms)),
        };
        Some(Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at_ms,
            ends_at_ms,
            holds_for: Some(holds_for),
            generator_url: Arc::clone(generator_url),
            origin: Origin::Rule,
        })
    }

    fn status(&self) -> Option<AlertStatus> {
        let phase = match self.stage {
            Stage::Pending => Phase::Pending,
            Stage::Firing { .. } => Phase::Firing,
            Stage::Resolved { .. } => return None,
        };
        Some(AlertStatus {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            phase,
            active_at_ms: self.active_at_ms,
            keep_firing_since_ms: self.keep_firing_since_ms,
            value: self.value,
        })
    }
}

/// The first label set that two of the candidates share.
pub(super) fn repeated(candidates: &[Candidate]) -> Option<&Labels> {
    let mut seen = BTreeMap::new();
    candidates.iter().map(|candidate| &candidate.labels).find(|labels| match seen.entry(*labels) {
        Entry::Vacant(entry) => {
            entry.insert(());
            false
        }
        Entry::Occupied(_) => true,
    })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
