//! What becomes of a group's state when its file says something else.

use std::collections::{BTreeMap, VecDeque};

use upkeep_model::stale_marker;

use super::{LiveGroup, LiveRule, milliseconds};
use crate::rule::record::RecordedPoint;
use crate::state::RuleAlertChanges;

/// What a takeover leaves to be done.
#[derive(Debug, Default)]
pub(in crate::rule) struct Takeover {
    /// What is to be stored: alerts of the rules before go, those taken up come.
    pub(in crate::rule) changes: RuleAlertChanges,
    /// The ends of the series of rules that are no more.
    pub(in crate::rule) ended: Vec<RecordedPoint>,
}

impl LiveGroup {
    /// Goes on where the group stopped that this one replaces. A rule of the same kind, name and
    /// labels is the same rule: it keeps its alerts, with since when and what was told, whatever else
    /// of it was changed, and its next evaluation ends the series that it does not give any more.
    pub(in crate::rule) fn take_over(&mut self, before: Self, now_ms: i64) -> Takeover {
        let mut takeover = Takeover::default();
        for rule in &before.rules {
            for alert in rule.alerts.all_stored(&rule.key) {
                takeover.changes.remove(&alert.rule, &alert.fingerprint);
            }
        }
        let at_ms = before.end_ms(now_ms);
        self.last_evaluation_ms = before.last_evaluation_ms;
        self.evaluation_time = before.evaluation_time;
        self.missed = before.missed;
        let mut known: BTreeMap<_, VecDeque<LiveRule>> = BTreeMap::new();
        for rule in before.rules {
            known.entry(rule.definition.identity()).or_default().push_back(rule);
        }
        for rule in &mut self.rules {
            let same = known.get_mut(&rule.definition.identity());
            let Some(before) = same.and_then(VecDeque::pop_front) else { continue };
            rule.alerts.take_over(before.alerts);
            rule.written = before.written;
            rule.alerts.all_stored(&rule.key).into_iter().for_each(|alert| {
                takeover.changes.store(alert);
            });
        }
        takeover.ended = known.into_values().flatten().flat_map(|rule| rule.end(at_ms)).collect();
        takeover
    }

    /// The ends of all its series, for a group that is no more.
    pub(in crate::rule) fn end(self, now_ms: i64) -> Vec<RecordedPoint> {
        let at_ms = self.end_ms(now_ms);
        self.rules.into_iter().flat_map(|rule| rule.end(at_ms)).collect()
    }

    /// When its series end: now as the group counts it, and after everything that it wrote.
    fn end_ms(&self, now_ms: i64) -> i64 {
        let after_last_ms = self.last_evaluation_ms.map_or(now_ms, |at_ms| at_ms.saturating_add(1));
        now_ms.max(after_last_ms).saturating_sub(milliseconds(self.definition.query_offset))
    }
}

impl LiveRule {
    fn end(self, at_ms: i64) -> impl Iterator<Item = RecordedPoint> {
        self.written.into_iter().map(move |labels| (labels, at_ms, stale_marker()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rule::group::tests::live;
    use crate::rule::memory::Memory;
    use crate::rule::snapshot::RuleKind;
    use crate::state::{self, RuleAlert};

    const BEFORE: &str = "
groups:
  - name: hosts
    query_offset: 1s
    rules:
      - record: hosts
        expr: count(up)
      - alert: Down
        expr: up == 0
        for: 10s
        labels: {severity: warning}
        annotations: {action: look, outcome: it runs}
      - alert: Down
        expr: up == 0
        labels: {severity: critical}
        annotations: {action: look, outcome: it runs}
";

    /// The alerts of a group: rule, severity, whether it fires, since when.
    fn alerts(group: &LiveGroup) -> Vec<(String, String, i64)> {
        let rules = group.status().rules.clone();
        let shown = rules.into_iter().flat_map(|rule| match rule.kind {
            RuleKind::Recording => Vec::new(),
            RuleKind::Alerting { alerts, .. } => alerts,
        });
        let severity = |labels: &upkeep_model::Labels| labels.get("severity").unwrap().to_owned();
        shown
            .map(|alert| {
                (severity(&alert.labels), alert.phase.name().to_owned(), alert.active_at_ms)
            })
            .collect()
    }

    /// Evaluates `BEFORE` at 5 s with a host that is down, replaces it by `after` at 8 s, and gives the
    /// group that goes on, the ends of series and what is stored.
    fn replaced(after: &str) -> (Arc<Memory>, LiveGroup, Vec<String>, Vec<RuleAlert>) {
        let memory = Arc::new(Memory::default());
        memory.put("up", &[("instance", "web1")], 0, 0.0);
        let mut before = live(BEFORE, &memory);
        let evaluation = before.evaluate(5_000);
        assert_eq!(evaluation.alerts.len(), 1);
        let (_folder, state) = state::temporary();
        state.change_rule_alerts("g", &evaluation.changes, 5_000).unwrap();
        let mut group = live(after, &memory);
        let Takeover { changes, ended } = group.take_over(before, 8_000);
        state.change_rule_alerts("g", &changes, 8_000).unwrap();
        let ended = ended.into_iter().map(|(labels, at_ms, value)| {
            assert!(value.to_bits() == stale_marker().to_bits() && at_ms == 7_000, "{at_ms}");
            labels.to_string()
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort();
        (memory, group, ended, state.rule_alerts("g").unwrap().0)
    }

    #[test]
    fn rules_of_the_same_name_and_labels_keep_what_they_know() {
        let waiting = ("warning".to_owned(), "pending".to_owned(), 5_000);
        let firing = ("critical".to_owned(), "firing".to_owned(), 5_000);
        let check = |after: &str, expect: &[&(String, String, i64)], ends: &[&str]| {
            let (_, group, ended, _) = replaced(after);
            let expect: Vec<_> = expect.iter().map(|alert| (*alert).clone()).collect();
            assert_eq!(alerts(&group), expect, "{after}");
            assert_eq!(ended, ends, "{after}");
        };
        let warning = "ALERTS{alertname=\"Down\", alertstate=\"pending\", instance=\"web1\", severity=\"warning\"}";
        let warning_since =
            "ALERTS_FOR_STATE{alertname=\"Down\", instance=\"web1\", severity=\"warning\"}";
        check(BEFORE, &[&waiting, &firing], &[]);
        check(&BEFORE.replace("for: 10s", "for: 1h"), &[&waiting, &firing], &[]);
        check(&BEFORE.replace("count(up)", "sum(up)"), &[&waiting, &firing], &[]);
        check(&BEFORE.replace("action: look,", "action: run,"), &[&waiting, &firing], &[]);
        check(
            &BEFORE.replace("severity: warning", "severity: page"),
            &[&firing],
            &[warning_since, warning],
        );
        check(&BEFORE.replace("record: hosts", "record: host"), &[&waiting, &firing], &["hosts"]);
        check(
            "groups: [{name: hosts, rules: []}]",
            &[],
            &[
                "ALERTS_FOR_STATE{alertname=\"Down\", instance=\"web1\", severity=\"critical\"}",
                warning_since,
                "ALERTS{alertname=\"Down\", alertstate=\"firing\", instance=\"web1\", severity=\"critical\"}",
                warning,
                "hosts",
            ],
        );
    }

    #[test]
    fn what_waited_goes_on_waiting_and_what_was_told_is_not_told_again() {
        let (_, mut group, ..) = replaced(&BEFORE.replace("up == 0", "up < 1"));
        assert_eq!(group.evaluate(14_000).alerts.len(), 0);
        let told = group.evaluate(15_000).alerts;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (told[0].labels.get("severity"), told[0].starts_at_ms),
            (Some("warning"), 15_000)
        );
    }

    #[test]
    fn series_that_a_changed_rule_gives_no_more_end_with_its_next_evaluation() {
        let (memory, mut group, ..) = replaced(&BEFORE.replace("count(up)", "count(up) > 7"));
        group.evaluate(20_000);
        let samples = memory.samples("hosts");
        assert_eq!(samples[0], (4_000, 1.0));
        assert_eq!((samples[1].0, samples[1].1.to_bits()), (19_000, stale_marker().to_bits()));
    }

    #[test]
    fn alerts_are_stored_under_the_keys_that_rules_have_now() {
        let (first, second) = BEFORE.split_at(BEFORE.find("      - alert: Down").unwrap());
        let (warning, critical) =
            second.split_at(1 + second.rfind("\n      - alert: Down").unwrap());
        let check = |after: &str, expect: &[(&str, &str)]| {
            let (_, _, _, stored) = replaced(after);
            let key = |alert: &RuleAlert| {
                (alert.rule.clone(), alert.labels.get("severity").unwrap().to_owned())
            };
            let keys: Vec<_> = stored.iter().map(key).collect();
            let keys: Vec<_> =
                keys.iter().map(|(rule, severity)| (rule.as_str(), severity.as_str())).collect();
            assert_eq!(keys, expect, "{after}");
        };
        check(BEFORE, &[("Down", "warning"), ("Down#2", "critical")]);
        let reordered = format!("{first}{critical}{warning}");
        check(&reordered, &[("Down", "critical"), ("Down#2", "warning")]);
        check(&format!("{first}{critical}"), &[("Down", "critical")]);
        check("groups: [{name: hosts, rules: []}]", &[]);
    }

    #[test]
    fn a_group_that_is_no_more_ends_all_its_series_after_what_it_wrote() {
        let memory = Arc::new(Memory::default());
        memory.put("up", &[("instance", "web1")], 0, 1.0);
        let mut group = live(BEFORE, &memory);
        group.evaluate(5_000);
        let ended = group.end(4_000);
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].0.to_string().as_str(), ended[0].1), ("hosts", 4_001));
    }
}
