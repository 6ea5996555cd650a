//! Whether the way of the data works, from its signs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::rule::{GroupStatus, Health};
use crate::state::NotificationKey;

/// What there is to see, at one moment.
#[derive(Debug)]
pub struct Signs<'a> {
    /// The moment, in milliseconds since 1970, as all times here.
    pub now_ms: i64,
    /// Since when it is looked.
    pub began_at_ms: i64,
    /// How long a part of the way may stand still.
    pub patience: Duration,
    /// For each host that may send: when it last did.
    pub heard_ms: Vec<Option<i64>>,
    /// How the rules' groups do.
    pub groups: &'a [Arc<GroupStatus>],
    /// When the queue between rules and telling was last seen empty.
    pub taken_at_ms: i64,
    /// Since when telling a channel of a group fails.
    pub failing: &'a BTreeMap<NotificationKey, i64>,
}

/// What does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No host's samples were stored for a while, though there are hosts.
    NothingComesIn {
        /// How many hosts there are.
        hosts: usize,
    },
    /// A group was not evaluated for a while.
    NotEvaluated {
        /// The group.
        group: String,
    },
    /// Every rule fails.
    AllRulesFail {
        /// What one of them says.
        reason: String,
    },
    /// Alerts are not taken by what tells of them.
    NotTaken,
    /// A channel could not be told for a while.
    NotTold {
        /// The receiver.
        receiver: String,
    },
    /// What was told cannot be read.
    StateUnreadable(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingComesIn { hosts } => {
                write!(formatter, "none of {hosts} hosts has sent anything for a while")
            }
            Self::NotEvaluated { group } => {
                write!(formatter, "rule group `{group}` is not evaluated")
            }
            Self::AllRulesFail { reason } => write!(formatter, "all rules fail: {reason}"),
            Self::NotTaken => formatter.write_str("alerts are not taken from their queue"),
            Self::NotTold { receiver } => {
                write!(formatter, "receiver `{receiver}` cannot be told")
            }
            Self::StateUnreadable(reason) => write!(formatter, "{reason}"),
        }
    }
}

/// Everything that does not work.
pub fn judge(signs: &Signs<'_>) -> Vec<Fault> {
    let patience_ms = milliseconds(signs.patience);
    let is_long_ago = |at_ms: i64, more_ms: i64| {
        let since_ms = at_ms.max(signs.began_at_ms);
        signs.now_ms.saturating_sub(since_ms) > patience_ms.saturating_add(more_ms)
    };
    let mut faults = Vec::new();
    let heard_ms = signs.heard_ms.iter().flatten().max().copied();
    if !signs.heard_ms.is_empty() && is_long_ago(heard_ms.unwrap_or(i64::MIN), 0) {
        faults.push(Fault::NothingComesIn { hosts: signs.heard_ms.len() });
    }
    // A group is late once it missed two turns.
    let late = signs.groups.iter().find(|group| {
        let turns_ms = milliseconds(group.interval).saturating_mul(2);
        is_long_ago(group.last_evaluation_ms.unwrap_or(i64::MIN), turns_ms)
    });
    faults.extend(late.map(|group| Fault::NotEvaluated { group: group.name.clone() }));
    faults.extend(all_fail(signs.groups));
    if is_long_ago(signs.taken_at_ms, 0) {
        faults.push(Fault::NotTaken);
    }
    let untold = signs.failing.iter().find(|(_, since_ms)| is_long_ago(**since_ms, 0));
    faults.extend(untold.map(|(key, _)| Fault::NotTold { receiver: key.receiver.clone() }));
    faults
}

/// That one rule fails is its own fault; that all do is that of what they stand on.
fn all_fail(groups: &[Arc<GroupStatus>]) -> Option<Fault> {
    let mut reasons = groups.iter().flat_map(|group| &group.rules).map(|rule| match &rule.health {
        Health::Failed(reason) => Some(reason),
        Health::Unknown | Health::Ok => None,
    });
    let first = reasons.next()??;
    reasons.all(|reason| reason.is_some()).then(|| Fault::AllRulesFail { reason: first.clone() })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::rule::{RuleKind, RuleStatus};
    use upkeep_model::Labels;

    const NOW_MS: i64 = 10_000_000;

    fn group(interval_s: u64, ago_s: Option<i64>, rules: &[Option<&str>]) -> Arc<GroupStatus> {
        let rule = |failure: &Option<&str>| RuleStatus {
            name: "r".to_owned(),
            key: "r".to_owned(),
            query: "up".to_owned(),
            labels: Labels::default(),
            kind: RuleKind::Recording,
            health: failure.map_or(Health::Ok, |reason| Health::Failed(reason.to_owned())),
            last_evaluation_ms: None,
            evaluation_time: Duration::ZERO,
            failures: 0,
        };
        Arc::new(GroupStatus {
            name: "g".to_owned(),
            file: PathBuf::from("f.yml"),
            interval: Duration::from_secs(interval_s),
            limit: 0,
            last_evaluation_ms: ago_s.map(|ago_s| NOW_MS - ago_s * 1_000),
            evaluation_time: Duration::ZERO,
            missed: 0,
            rules: rules.iter().map(rule).collect(),
        })
    }

    /// Faults after so many seconds of looking, with a patience of 300 s.
    fn faults(
        looking_s: i64,
        heard_ago_s: &[Option<i64>],
        groups: &[Arc<GroupStatus>],
        taken_ago_s: i64,
        failing_for_s: Option<i64>,
    ) -> Vec<String> {
        let ago = |ago_s: i64| NOW_MS - ago_s * 1_000;
        let key =
            NotificationKey { group: "{}:{}".to_owned(), receiver: "ops".to_owned(), channel: 0 };
        let signs = Signs {
            now_ms: NOW_MS,
            began_at_ms: ago(looking_s),
            patience: Duration::from_mins(5),
            heard_ms: heard_ago_s.iter().map(|heard| heard.map(ago)).collect(),
            groups,
            taken_at_ms: ago(taken_ago_s),
            failing: &failing_for_s.map(|ago_s| (key, ago(ago_s))).into_iter().collect(),
        };
        judge(&signs).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_part_of_the_way_can_be_broken() {
        let check = |found: Vec<String>, expect: &[&str]| assert_eq!(found, expect);
        check(faults(9_000, &[], &[], 0, None), &[]);
        // What comes in.
        let silent = "none of 2 hosts has sent anything for a while";
        check(faults(9_000, &[Some(301), None], &[], 0, None), &[silent]);
        check(faults(9_000, &[Some(301), Some(300)], &[], 0, None), &[]);
        check(faults(9_000, &[None, None], &[], 0, None), &[silent]);
        check(faults(300, &[None, None], &[], 0, None), &[]);
        // Rules.
        let late = "rule group `g` is not evaluated";
        check(faults(9_000, &[], &[group(15, Some(330), &[None])], 0, None), &[]);
        check(faults(9_000, &[], &[group(15, Some(331), &[None])], 0, None), &[late]);
        check(faults(9_000, &[], &[group(3_600, Some(7_000), &[None])], 0, None), &[]);
        check(faults(9_000, &[], &[group(15, None, &[])], 0, None), &[late]);
        check(faults(300, &[], &[group(15, None, &[])], 0, None), &[]);
        let fails = "all rules fail: no room";
        let broken = group(15, Some(1), &[Some("no room"), Some("other")]);
        let groups = [broken, group(15, Some(1), &[None])];
        check(faults(9_000, &[], &groups[..1], 0, None), &[fails]);
        check(faults(9_000, &[], &groups, 0, None), &[]);
        // Telling.
        check(faults(9_000, &[], &[], 301, None), &["alerts are not taken from their queue"]);
        check(faults(9_000, &[], &[], 0, Some(300)), &[]);
        check(faults(9_000, &[], &[], 0, Some(301)), &["receiver `ops` cannot be told"]);
    }
}
