//! Every rule with its numbers and what they say.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::verdict::{Judgement, judge};
use crate::state::{Origin, Tally};

/// Over how many weeks, the present one included, it can be looked back.
pub const WEEKS: RangeInclusive<u32> = 1..=53;

/// A rule that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRule {
    /// Which.
    pub origin: Origin,
    /// Why nobody is told of its alerts, if so.
    pub muted: Option<&'static str>,
}

/// A rule, or a name of alerts from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usefulness {
    /// Which.
    pub origin: Origin,
    /// Why nobody is told of its alerts, if that is the rule's own doing.
    pub muted: Option<&'static str>,
    /// What became of its alerts.
    pub tally: Tally,
    /// What that says.
    pub judgement: Judgement,
}

/// Judges the rules that there are, and alerts of others by their names; those to look at first come
/// first. What is kept of rules that are no more is left out.
pub fn usefulness(
    rules: Vec<KnownRule>,
    mut tallies: BTreeMap<Arc<Origin>, Tally>,
) -> Vec<Usefulness> {
    let mut found: Vec<_> = rules
        .into_iter()
        .map(|KnownRule { origin, muted }| {
            let tally = tallies.remove(&origin).unwrap_or_default();
            judged(origin, muted, tally)
        })
        .collect();
    let outside =
        tallies.into_iter().filter(|(origin, _)| matches!(**origin, Origin::Outside { .. }));
    found.extend(outside.map(|(origin, tally)| judged(Origin::clone(&origin), None, tally)));
    found.sort_by(|left, right| {
        let order = |one: &Usefulness| (one.judgement.verdict, std::cmp::Reverse(one.tally.fired));
        order(left).cmp(&order(right)).then_with(|| left.origin.cmp(&right.origin))
    });
    found
}

fn judged(origin: Origin, muted: Option<&'static str>, tally: Tally) -> Usefulness {
    let mut judgement = judge(&tally);
    if let Some(muted) = muted.filter(|_| tally.fired > 0 && tally.told == 0) {
        judgement.reason.push_str(": ");
        judgement.reason.push_str(muted);
    }
    Usefulness { origin, muted, tally, judgement }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Verdict;

    #[test]
    fn rules_to_look_at_come_first_and_those_that_are_gone_not_at_all() {
        let rule = |name: &str| Origin::Rule {
            file: "/r/a.yml".to_owned(),
            group: "g".to_owned(),
            name: name.to_owned(),
        };
        let fired = |fired, silenced| Tally { fired, silenced, ..Tally::default() };
        let outside = Origin::Outside { name: "Full".to_owned() };
        let tallies = [
            (rule("Quiet"), fired(3, 0)),
            (rule("Gone"), fired(99, 99)),
            (rule("Loud"), fired(20, 20)),
            (outside.clone(), fired(4, 0)),
        ];
        let tallies = tallies.map(|(origin, tally)| (Arc::new(origin), tally)).into();
        let known = ["Loud", "Never", "Quiet"].map(|name| KnownRule {
            origin: rule(name),
            muted: (name == "Quiet").then_some("its severity is info"),
        });
        let found = usefulness(known.into(), tallies);
        let shown: Vec<_> = found
            .iter()
            .map(|one| (&one.origin, one.judgement.verdict, one.judgement.reason.as_str()))
            .collect();
        let expect = [
            (&rule("Loud"), Verdict::Demote, "20 of its 20 alerts were silenced"),
            (&outside, Verdict::Untold, "it fired 4 times and nobody was told"),
            (
                &rule("Quiet"),
                Verdict::Untold,
                "it fired 3 times and nobody was told: its severity is info",
            ),
            (&rule("Never"), Verdict::NeverFired, "it did not fire"),
        ];
        assert_eq!(shown, expect);
    }
}
