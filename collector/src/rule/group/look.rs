//! What an evaluation looks at: everything, or some hosts whose samples have just arrived.

use std::sync::Arc;
use std::time::Instant;

use upkeep_model::Labels;

use super::outcome::ask;
use super::{Evaluation, LiveGroup, Unwritten};
use crate::rule::file::{Kind, Rule};
use crate::rule::hosts::{Hosts, INSTANCE, Narrowed};
use crate::rule::snapshot::Health;

/// When and at what an evaluation looks.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    /// The moment of the evaluation.
    pub(super) now_ms: i64,
    /// The moment whose samples are looked at.
    pub(super) at_ms: i64,
    /// The hosts, or `None` for everything.
    pub(super) hosts: Option<&'a Hosts>,
}

impl Look<'_> {
    /// Whether a series or an alert of these labels is looked at.
    pub(super) fn covers(&self, labels: &Labels) -> bool {
        self.hosts.is_none_or(|hosts| hosts.cover(labels))
    }
}

/// Whether a rule gives the same about a host whether it looks at all of them or at that one.
pub(super) fn is_local(rule: &Rule) -> bool {
    matches!(rule.kind, Kind::Alert(_))
        && rule.query.keeps_apart(INSTANCE)
        && rule.labels.iter().all(|label| label.name() != INSTANCE)
        && !rule.asks()
}

impl LiveGroup {
    /// Whether it has rules that can be evaluated for some hosts alone. A group that looks at the past
    /// expects its samples to come late.
    pub(in crate::rule) fn looks_at_hosts(&self) -> bool {
        self.definition.query_offset.is_zero() && self.rules.iter().any(|rule| rule.is_local)
    }

    /// Evaluates for some hosts the rules that can be.
    pub(in crate::rule) fn evaluate_hosts(&mut self, hosts: &Hosts, now_ms: i64) -> Evaluation {
        let mut evaluation = Evaluation::default();
        let mut surroundings = self.surroundings.clone();
        surroundings.source = match Narrowed::new(Arc::clone(&surroundings.source), hosts) {
            Ok(narrowed) => Arc::new(narrowed),
            Err(error) => {
                tracing::debug!(%error, "too many hosts at once; they wait for the turn");
                return evaluation;
            }
        };
        let ask = ask(&surroundings, now_ms);
        let ahead = surroundings.read_ahead(now_ms);
        let look = Look { now_ms, at_ms: now_ms, hosts: Some(hosts) };
        let limit = self.definition.limit;
        let mut unwritten = Unwritten::default();
        let mut prepared = 0;
        let local = self.rules.iter().enumerate().filter(|(_, rule)| rule.is_local);
        let places: Vec<usize> = local.map(|(place, _)| place).collect();
        for (turn, &place) in places.iter().enumerate() {
            if turn == prepared {
                let to_come = places.iter().skip(turn).filter_map(|place| self.rules.get(*place));
                prepared += ahead.prepare(to_come.map(|rule| &rule.habit), &self.own);
            }
            let Some(rule) = self.rules.get_mut(place) else { continue };
            let started = Instant::now();
            let result = rule.evaluate(&surroundings, &ask, limit, look, &mut evaluation.changes);
            rule.last_evaluation_ms = Some(now_ms);
            rule.evaluation_time = started.elapsed();
            match result {
                Ok(result) => {
                    rule.became(Health::Ok, &self.key);
                    // Between turns, only what has changed is written.
                    if !result.transitions.is_empty() {
                        unwritten.add(place, result.points);
                    }
                    evaluation.news.extend(rule.news(&result.transitions, now_ms));
                    evaluation.transitions.extend(result.transitions);
                }
                Err(error) => rule.became(Health::Failed(error.to_string()), &self.key),
            }
            let again = surroundings.tell_again;
            evaluation.alerts.extend(rule.due(now_ms, again, self.interval));
        }
        self.write(&mut unwritten);
        self.last_evaluation_ms = Some(now_ms);
        evaluation
    }
}
