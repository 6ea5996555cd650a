//! What the numbers say about a rule: pure, with the reason in words.

use super::spread::quantile_ms;
use crate::state::Tally;

/// Of fewer alerts that people were told of nothing is said.
const ENOUGH: u64 = 5;

/// From so many on a rule fires often.
const OFTEN: u64 = 10;

/// A rule flaps whose alerts began to flap so many times.
const FLAPPING: u64 = 3;

/// It is useful if one alert in so many was acknowledged or acted on.
const USEFUL_ONE_IN: u64 = 4;

/// Nobody cares if not even one alert in so many was.
const IGNORED_ONE_IN: u64 = 20;

/// What ends by itself within so long needs nobody.
const QUICKLY_MS: i64 = 3_600_000;

/// What to think of a rule; the ones to look at first come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It should not notify any more, or be changed.
    Demote,
    /// Its alerts come and go.
    Flapping,
    /// Something speaks against it, and not enough.
    Doubtful,
    /// It fires, and nobody is told.
    Untold,
    /// People do something about it.
    Useful,
    /// It fired too rarely to say anything.
    TooFew,
    /// It did not fire.
    NeverFired,
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demote => "demote",
            Self::Flapping => "flapping",
            Self::Doubtful => "doubtful",
            Self::Untold => "untold",
            Self::Useful => "useful",
            Self::TooFew => "too few to say",
            Self::NeverFired => "never fired",
        }
    }
}

/// A verdict and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What to think of the rule.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: String,
}

/// Judges a rule by what became of its alerts.
pub fn judge(tally: &Tally) -> Judgement {
    let Tally { fired, told, cared_for, silenced, flapped, by_itself, .. } = *tally;
    let (verdict, reason) = if fired == 0 {
        (Verdict::NeverFired, "it did not fire".to_owned())
    } else if fired >= OFTEN && silenced * 2 >= fired {
        (Verdict::Demote, format!("{silenced} of its {fired} alerts were silenced"))
    } else if flapped >= FLAPPING {
        (
            Verdict::Flapping,
            format!("its alerts began to flap {flapped} times; it fired {fired} times"),
        )
    } else if told == 0 {
        (Verdict::Untold, format!("it fired {} and nobody was told", times(fired)))
    } else if told < ENOUGH {
        (Verdict::TooFew, format!("people were told of {told} alerts, and {ENOUGH} are needed"))
    } else if cared_for * USEFUL_ONE_IN >= told {
        let reason = format!("{cared_for} of {told} alerts were acknowledged or acted on");
        (Verdict::Useful, reason)
    } else if told >= OFTEN && cared_for * IGNORED_ONE_IN <= told {
        ignored(tally)
    } else {
        let reason = format!(
            "{cared_for} of {told} alerts were acknowledged or acted on; {by_itself} ended by themselves"
        );
        (Verdict::Doubtful, reason)
    };
    Judgement { verdict, reason }
}

/// Of a rule that fires often and that nobody cares about.
fn ignored(tally: &Tally) -> (Verdict, String) {
    let Tally { fired, told, cared_for, by_itself, .. } = *tally;
    let cared_for = match cared_for {
        0 => "none was".to_owned(),
        1 => "one was".to_owned(),
        _ => format!("{cared_for} were"),
    };
    let said =
        format!("of {told} alerts that people were told of {cared_for} acknowledged or acted on");
    let half_ms = quantile_ms(&tally.lasted_by_itself, 0.5);
    match half_ms.filter(|half_ms| by_itself * 2 >= fired && *half_ms <= QUICKLY_MS) {
        Some(half_ms) => {
            let within = within(half_ms);
            let reason = format!(
                "{said}; {by_itself} of {fired} ended by themselves, half of them within {within}"
            );
            (Verdict::Demote, reason)
        }
        None => (Verdict::Doubtful, format!("{said}, but they do not end quickly by themselves")),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A length of time for people: whole seconds, of which the larger parts tell enough.
fn within(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1000).unwrap_or(0).max(1);
    let seconds = if seconds >= 120 { seconds - seconds % 60 } else { seconds };
    humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::spread;

    /// A tally: how many fired, were told, cared for, silenced, ended by themselves, and how long each
    /// of the last took.
    fn tally(numbers: [u64; 5], took_s: i64) -> Tally {
        let [fired, told, cared_for, silenced, by_itself] = numbers;
        let mut tally = Tally {
            fired,
            told,
            cared_for,
            silenced,
            by_itself,
            resolved: fired,
            ..Tally::default()
        };
        for _ in 0..by_itself {
            spread::count(&mut tally.lasted_by_itself, took_s * 1000);
        }
        tally
    }

    #[test]
    fn a_rule_is_judged_with_a_reason() {
        let check = |numbers: [u64; 5], took_s: i64, verdict, reason: &str| {
            let judged = judge(&tally(numbers, took_s));
            assert_eq!((judged.verdict, judged.reason.as_str()), (verdict, reason), "{numbers:?}");
        };
        let ignored = "of 40 alerts that people were told of";
        check([0, 0, 0, 0, 0], 0, Verdict::NeverFired, "it did not fire");
        check([1, 0, 0, 0, 1], 9, Verdict::Untold, "it fired once and nobody was told");
        check(
            [9, 4, 4, 0, 0],
            9,
            Verdict::TooFew,
            "people were told of 4 alerts, and 5 are needed",
        );
        let useful = "2 of 8 alerts were acknowledged or acted on";
        check([8, 8, 2, 0, 6], 9, Verdict::Useful, useful);
        let doubtful = "2 of 9 alerts were acknowledged or acted on; 7 ended by themselves";
        check([9, 9, 2, 0, 7], 9, Verdict::Doubtful, doubtful);
        let none = "0 of 9 alerts were acknowledged or acted on; 9 ended by themselves";
        check([9, 9, 0, 0, 9], 9, Verdict::Doubtful, none);
        let demote = format!(
            "{ignored} none was acknowledged or acted on; 40 of 40 ended by themselves, half of them \
             within 10s"
        );
        check([40, 40, 0, 0, 40], 9, Verdict::Demote, &demote);
        let demote = format!(
            "{ignored} 2 were acknowledged or acted on; 38 of 60 ended by themselves, half of them \
             within 45m"
        );
        check([60, 40, 2, 0, 38], 3_600, Verdict::Demote, &demote);
        let long = format!(
            "{ignored} none was acknowledged or acted on, but they do not end quickly by themselves"
        );
        check([40, 40, 0, 0, 40], 90_000, Verdict::Doubtful, &long);
        check([40, 40, 0, 0, 19], 9, Verdict::Doubtful, &long);
        check([40, 40, 0, 0, 0], 9, Verdict::Doubtful, &long);
        check([10, 0, 0, 5, 5], 9, Verdict::Demote, "5 of its 10 alerts were silenced");
        check([9, 0, 0, 9, 0], 9, Verdict::Untold, "it fired 9 times and nobody was told");
    }

    #[test]
    fn a_rule_that_flaps_is_said_to() {
        let check = |flapped, verdict| {
            let tally = Tally { flapped, ..tally([20, 10, 9, 0, 11], 60) };
            assert_eq!(judge(&tally).verdict, verdict, "{flapped}");
        };
        check(2, Verdict::Useful);
        check(3, Verdict::Flapping);
    }
}
