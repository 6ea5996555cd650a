//! Acknowledgements in the book: who takes care of an alert ends that people are told of it again and
//! again. They end with the alert.

use std::collections::BTreeMap;

use super::{Book, Group};
use crate::alert::group::{Decision, Reason, Standing};
use crate::ledger::News;
use crate::notify::Fingerprint;
use crate::state::Acknowledgement;

impl Book {
    /// Takes up who took care of what before a restart.
    pub(in crate::alert) fn restore_acknowledgements(
        &mut self,
        acknowledgements: BTreeMap<String, Acknowledgement>,
    ) {
        let mut left = acknowledgements;
        let known = self
            .alerts
            .keys()
            .filter_map(|fingerprint| Some((*fingerprint, left.remove(&fingerprint.to_string())?)));
        self.acknowledgements = known.collect();
        // An alert that is no more leaves nothing to take care of.
        left.keys().for_each(|gone| self.changes.end_acknowledgement(gone));
    }

    /// Whether there is an alert that fires.
    pub(in crate::alert) fn fires(&self, fingerprint: Fingerprint, now_ms: i64) -> bool {
        self.alerts.get(&fingerprint).is_some_and(|known| !known.held.is_resolved(now_ms))
    }

    /// Takes who takes care of an alert, or that nobody does.
    pub(in crate::alert) fn take_acknowledgement(
        &mut self,
        fingerprint: Fingerprint,
        made: Option<Acknowledgement>,
    ) {
        match made {
            Some(made) => {
                let at_ms = made.made_at_ms;
                self.news.push(News::Acknowledged { alert: fingerprint, at_ms });
                self.acknowledgements.insert(fingerprint, made);
            }
            None => drop(self.acknowledgements.remove(&fingerprint)),
        }
    }

    /// Who takes care of an alert.
    pub(in crate::alert) fn acknowledgement(
        &self,
        fingerprint: Fingerprint,
        now_ms: i64,
    ) -> Option<&Acknowledgement> {
        self.acknowledgements.get(&fingerprint).filter(|made| made.holds(now_ms))
    }

    /// Forgets who took care of an alert that is over.
    pub(super) fn end_acknowledgement(&mut self, fingerprint: Fingerprint) {
        if self.acknowledgements.remove(&fingerprint).is_some() {
            self.changes.end_acknowledgement(&fingerprint.to_string());
        }
    }

    /// What was decided, unless it is to tell again what somebody takes care of already.
    pub(super) fn unless_acknowledged(
        &self,
        decision: Decision,
        group: &Group,
        standing: &Standing,
        now_ms: i64,
    ) -> Decision {
        if decision != Decision::Tell(Reason::Repeat) || self.acknowledgements.is_empty() {
            return decision;
        }
        let mut firing =
            group.alerts.iter().filter(|one| standing.firing.contains(&one.to_string()));
        if firing.all(|one| self.acknowledgement(*one, now_ms).is_some()) {
            Decision::Rest
        } else {
            decision
        }
    }
}
