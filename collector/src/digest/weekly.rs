//! The weekly digest: rules that are to be demoted and those that flap. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::report::{Entry, Kind, Report};
use crate::ledger::{Origin, Tally, Usefulness, Verdict, quantile_ms};

/// The digest of rules as they are judged since a moment.
pub(super) fn weekly(rules: &[Usefulness], since_ms: i64) -> Report {
    let of = |verdict| rules.iter().filter(move |one| one.judgement.verdict == verdict);
    let named = of(Verdict::Demote).chain(of(Verdict::Flapping));
    let mut entries = vec![overview(rules, since_ms)];
    entries.extend(named.map(entry));
    let (demote, flapping) = (of(Verdict::Demote).count(), of(Verdict::Flapping).count());
    let title = match (demote, flapping) {
        (0, 0) => "Weekly digest: no rule to demote".to_owned(),
        (demote, flapping) => {
            format!("Weekly digest: {demote} to demote, {flapping} flapping")
        }
    };
    Report::of(Kind::Weekly, title, entries)
}

fn overview(rules: &[Usefulness], since_ms: i64) -> Entry {
    let fired = rules.iter().filter(|one| one.tally.fired > 0).count();
    let sum = |number: fn(&Tally) -> u64| rules.iter().map(|one| number(&one.tally)).sum::<u64>();
    let since = Timestamp::from_millisecond(since_ms)
        .map(|at| at.strftime("%Y-%m-%d").to_string())
        .unwrap_or_default();
    let summary = format!(
        "Since {since}: {} alerts of {fired} rules; people were told of {}, of which {} were \
         acknowledged or acted on",
        sum(|tally| tally.fired),
        sum(|tally| tally.told),
        sum(|tally| tally.cared_for),
    );
    Entry { summary, ..Entry::default() }
}

fn entry(one: &Usefulness) -> Entry {
    let verdict = one.judgement.verdict.name().to_owned();
    let (name, mut labels) = match &one.origin {
        Origin::Rule { file, group, name } => {
            (name, vec![("file".to_owned(), file.clone()), ("group".to_owned(), group.clone())])
        }
        Origin::Outside { name } => (name, Vec::new()),
    };
    let shown = if name.is_empty() { "alerts without a name of their own" } else { name };
    labels.extend([("rule".to_owned(), name.clone()), ("verdict".to_owned(), verdict.clone())]);
    Entry {
        summary: format!("{verdict}: {shown}"),
        texts: vec![
            ("why".to_owned(), one.judgement.reason.clone()),
            ("numbers".to_owned(), numbers(&one.tally)),
        ],
        labels,
    }
}

fn numbers(tally: &Tally) -> String {
    let Tally { fired, told, acknowledged, acted, silenced, flapped, by_itself, .. } = tally;
    let mut text = format!(
        "fired {fired}, told {told}, acknowledged {acknowledged}, acted on {acted}, silenced \
         {silenced}, flapped {flapped}, ended by itself {by_itself}"
    );
    let within = |share| quantile_ms(&tally.lasted_by_itself, share).map(shown);
    if let (Some(half), Some(most)) = (within(0.5), within(0.9)) {
        text.push_str(&format!(" (half of them within {half}, nine of ten within {most})"));
    }
    text
}

fn shown(ms: i64) -> String {
    let seconds = Duration::from_secs(u64::try_from(ms / 1000).unwrap_or(0).max(1));
    humantime::format_duration(seconds).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Judgement;

    fn rule(name: &str, verdict: Verdict, fired: u64) -> Usefulness {
        let (file, group) = ("/r/a.yml".to_owned(), "hosts".to_owned());
        let lasted_by_itself = vec![0, 0, 0, fired];
        Usefulness {
            origin: Origin::Rule { file, group, name: name.to_owned() },
            muted: None,
            tally: Tally {
                fired,
                told: fired,
                by_itself: fired,
                lasted_by_itself,
                ..Tally::default()
            },
            judgement: Judgement { verdict, reason: format!("because of {name}") },
        }
    }

    #[test]
    fn rules_to_demote_and_those_that_flap_are_named_with_their_numbers() {
        let rules = [
            rule("Loud", Verdict::Demote, 40),
            rule("Restless", Verdict::Flapping, 9),
            rule("Good", Verdict::Useful, 8),
            rule("Never", Verdict::NeverFired, 0),
        ];
        let report = weekly(&rules, 1_793_577_600_000);
        assert_eq!(report.title, "Weekly digest: 1 to demote, 1 flapping");
        let summaries: Vec<_> = report.entries.iter().map(|entry| entry.summary.as_str()).collect();
        let overview = "Since 2026-11-02: 57 alerts of 3 rules; people were told of 57, of which 0 were \
                        acknowledged or acted on";
        assert_eq!(summaries, [overview, "demote: Loud", "flapping: Restless"]);
        let numbers = "fired 40, told 40, acknowledged 0, acted on 0, silenced 0, flapped 0, ended by \
                       itself 40 (half of them within 45s, nine of ten within 57s)";
        let expect = [("why", "because of Loud"), ("numbers", numbers)];
        let texts = report.entries[1].texts.iter();
        let texts: Vec<_> = texts.map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(texts, expect);
        assert_eq!(report.entries[1].labels.len(), 4);
    }

    #[test]
    fn a_week_without_anything_says_so() {
        let report = weekly(&[rule("Good", Verdict::Useful, 8)], 0);
        assert_eq!(report.title, "Weekly digest: no rule to demote");
        assert_eq!(report.entries.len(), 1);
    }
}
