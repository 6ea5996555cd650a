//! What the ledger of usefulness is told of a rule's alerts: that they fire, and that they are over.

use std::sync::Arc;

use super::LiveRule;
use crate::ledger::{News, Origin};
use crate::rule::alert_rule::{Reason, Transition};
use crate::rule::file::Group;

/// What a rule of a group is called in the ledger.
pub(super) fn origin(group: &Group, key: &str) -> Origin {
    Origin::Rule {
        file: group.file.display().to_string(),
        group: group.name.clone(),
        name: key.to_owned(),
    }
}

impl LiveRule {
    /// What of the transitions begins or ends that an alert fires.
    pub(super) fn news<'a>(
        &'a self,
        transitions: &'a [Transition],
        at_ms: i64,
    ) -> impl Iterator<Item = News> + 'a {
        transitions.iter().filter_map(move |transition| {
            let (origin, alert) = (Arc::clone(&self.origin), transition.fingerprint);
            match transition.reason {
                Reason::ConditionHoldsWithoutWait | Reason::HeldLongEnough => {
                    Some(News::Fired { origin, alert, at_ms })
                }
                Reason::ConditionGone | Reason::KeptFiringLongEnough => {
                    Some(News::Resolved { origin, alert, at_ms })
                }
                Reason::ConditionHolds
                | Reason::GoneTooSoon
                | Reason::KeptFiring
                | Reason::ConditionBack
                | Reason::Forgotten => None,
            }
        })
    }
}
