//! Inhibition: while one alert fires, others that it explains are not told.

use std::collections::{BTreeMap, HashMap};

use upkeep_model::{Labels, Matcher};

use crate::notify::Fingerprint;

/// Which alerts keep which others from being told.
#[derive(Clone, Debug, PartialEq)]
pub struct InhibitRule {
    /// What an alert must match to keep others from being told.
    pub source: Vec<Matcher>,
    /// What an alert must match to be kept from being told.
    pub target: Vec<Matcher>,
    /// The labels whose values the two must share; one that is missing equals an empty one.
    pub equal: Vec<String>,
}

/// The rules, and for each of them the alerts that may inhibit, by the values of its equal labels.
pub(super) struct Inhibition {
    rules: Vec<Indexed>,
}

struct Indexed {
    rule: InhibitRule,
    sources: HashMap<Vec<String>, BTreeMap<Fingerprint, Side>>,
}

/// What an alert that matches the source side is on the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    SourceOnly,
    Both,
}

impl Inhibition {
    pub(super) fn new(rules: Vec<InhibitRule>) -> Self {
        let indexed = |rule| Indexed { rule, sources: HashMap::new() };
        Self { rules: rules.into_iter().map(indexed).collect() }
    }

    /// Takes note of an alert that there is.
    pub(super) fn enter(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for Indexed { rule, sources } in &mut self.rules {
            if matches(&rule.source, labels) {
                let is_both = matches(&rule.target, labels);
                let side = if is_both { Side::Both } else { Side::SourceOnly };
                sources.entry(rule.shared(labels)).or_default().insert(fingerprint, side);
            }
        }
    }

    /// Forgets an alert that is no more.
    pub(super) fn leave(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for Indexed { rule, sources } in &mut self.rules {
            let shared = rule.shared(labels);
            if let Some(alike) = sources.get_mut(&shared) {
                alike.remove(&fingerprint);
                if alike.is_empty() {
                    sources.remove(&shared);
                }
            }
        }
    }

    /// The alert that fires and keeps one of these labels from being told. One that matches both sides
    /// of a rule is inhibited only by what does not: otherwise it would inhibit itself, and two such
    /// alerts each other.
    pub(super) fn inhibitor(
        &self,
        labels: &Labels,
        is_firing: impl Fn(&Fingerprint) -> bool,
    ) -> Option<Fingerprint> {
        self.rules.iter().find_map(|Indexed { rule, sources }| {
            if !matches(&rule.target, labels) {
                return None;
            }
            let alike = sources.get(&rule.shared(labels))?;
            let is_both = matches(&rule.source, labels);
            let mut inhibiting = alike
                .iter()
                .filter(|(source, side)| !(is_both && **side == Side::Both) && is_firing(source));
            inhibiting.next().map(|(source, _)| *source)
        })
    }
}

impl InhibitRule {
    fn shared(&self, labels: &Labels) -> Vec<String> {
        let value = |name: &String| labels.get(name).unwrap_or_default().to_owned();
        self.equal.iter().map(value).collect()
    }
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::matcher;

    fn rule(source: &str, target: &str, equal: &[&str]) -> InhibitRule {
        let read =
            |text: &str| if text.is_empty() { Vec::new() } else { matcher::parse(text).unwrap() };
        let equal = equal.iter().map(|name| (*name).to_owned()).collect();
        InhibitRule { source: read(source), target: read(target), equal }
    }

    fn labels(text: &str) -> Labels {
        Labels::new(text.split(' ').filter_map(|pair| pair.split_once('=')))
    }

    /// Whether `target` is inhibited while the sources fire, itself among them.
    fn is_inhibited(rules: &[InhibitRule], firing: &[&str], target: &str) -> bool {
        let mut inhibition = Inhibition::new(rules.to_vec());
        for text in firing.iter().chain([&target]) {
            inhibition.enter(Fingerprint::of(&labels(text)), &labels(text));
        }
        inhibition.inhibitor(&labels(target), |_| true).is_some()
    }

    #[test]
    fn an_alert_is_inhibited_by_what_matches_and_shares_its_labels() {
        let check = |rule: &InhibitRule, firing: &[&str], target: &str, expect: bool| {
            let rules = std::slice::from_ref(rule);
            assert_eq!(is_inhibited(rules, firing, target), expect, "{rule:?} {firing:?} {target}");
        };
        let shared = rule("s=1", "t=1", &["e"]);
        check(&shared, &["s=1 e=x"], "t=1 e=x", true);
        check(&shared, &["s=1 e=x"], "t=1 e=y", false);
        check(&shared, &["s=1 e=x"], "t=2 e=x", false);
        check(&shared, &["s=2 e=x"], "t=1 e=x", false);
        check(&shared, &["s=1 e=x"], "t=1", false);
        // What is missing equals what is empty, on both sides.
        check(&shared, &["s=1"], "t=1", true);
        check(&shared, &["s=1 e="], "t=1", true);
        check(&rule("s=1", "t=1", &["e", "f"]), &["s=1 e=x f=1"], "t=1 e=x f=2", false);
        check(&rule("s=1", "t=1", &[]), &["s=1 e=x"], "t=1 e=y", true);
        // An alert of both sides: neither by itself nor by others of both sides.
        check(&shared, &[], "s=1 t=1", false);
        check(&shared, &["s=1 t=1 x=2"], "s=1 t=1", false);
        check(&shared, &["s=1"], "s=1 t=1", true);
        check(&shared, &["s=1 t=1"], "t=1", true);
        // A rule without matchers says of each alert that it is both.
        check(&rule("", "", &[]), &["a=1"], "b=1", false);
        check(&rule("", "", &["e"]), &["a=1 e=x"], "b=1 e=x", false);
        check(&rule("", "t=1", &[]), &["a=1"], "t=1", true);
    }

    #[test]
    fn only_what_fires_and_is_there_inhibits() {
        let (source, target) = (labels("s=1"), labels("t=1"));
        let mut inhibition =
            Inhibition::new(vec![rule("x=1", "y=1", &[]), rule("s=1", "t=1", &[])]);
        inhibition.enter(Fingerprint::of(&source), &source);
        assert_eq!(inhibition.inhibitor(&target, |_| true), Some(Fingerprint::of(&source)));
        assert_eq!(inhibition.inhibitor(&target, |_| false), None);
        inhibition.leave(Fingerprint::of(&source), &source);
        assert_eq!(inhibition.inhibitor(&target, |_| true), None);
        assert!(inhibition.rules.iter().all(|rule| rule.sources.is_empty()), "nothing is left");
    }
}
