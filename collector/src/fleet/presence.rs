//! Which hosts are lost and which are back, and what they deliver afterwards. Pure: what is known of a
//! host is handed in.

use super::Verdict;
use super::liveness::MISSED_INTERVALS;
use crate::state::Occurrence;

/// What is remembered of a host between looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// When something last came from it, while it is lost.
    pub(super) lost_since_ms: Option<i64>,
    /// How many observations of the past it had to deliver as it last connected.
    pub(super) backlog_records: u64,
    /// What of that has arrived.
    pub(super) arrived: Arrived,
}

/// Observations of the past that have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    /// The time of the earliest and of the latest.
    pub(super) span: Option<(i64, i64)>,
    /// How many there are.
    pub(super) records: u64,
    /// Whether that is all that there was.
    pub(super) is_whole: bool,
}

impl Arrived {
    /// Counts further ones.
    pub(super) fn add(&mut self, times: impl IntoIterator<Item = i64>) {
        for at_ms in times {
            let (from_ms, to_ms) = self.span.unwrap_or((at_ms, at_ms));
            self.span = Some((from_ms.min(at_ms), to_ms.max(at_ms)));
            self.records += 1;
        }
    }
}

/// How a host is heard at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hearing {
    pub(super) verdict: Verdict,
    /// When something last came from it since this process listens.
    pub(super) heard_ms: Option<i64>,
    /// When something last came from it, however long ago.
    pub(super) seen_ms: Option<i64>,
    /// How often it observes.
    pub(super) interval_ms: u32,
}

/// What is to be told of a host.
pub(super) fn news(presence: &Presence, hearing: Hearing) -> Vec<Occurrence> {
    let mut news = Vec::new();
    match (hearing.verdict, presence.lost_since_ms) {
        // A host that never connected is not lost.
        (Verdict::Silent { .. }, None) => {
            news.extend(hearing.seen_ms.map(|since_ms| Occurrence::HostLost { since_ms }));
        }
        (Verdict::Heard, Some(since_ms)) if hearing.heard_ms.is_some() => {
            let backlog_records = presence.backlog_records;
            news.push(Occurrence::HostBack { since_ms, backlog_records });
        }
        (Verdict::Heard | Verdict::Silent { .. } | Verdict::NotExpected, _) => {}
    }
    news.extend(delivered(presence.arrived, hearing.interval_ms));
    news
}

/// A short interruption leaves a backlog, too, and is not worth a word.
fn delivered(arrived: Arrived, interval_ms: u32) -> Option<Occurrence> {
    let Arrived { span, records, is_whole } = arrived;
    let (from_ms, to_ms) = span.filter(|_| is_whole)?;
    let is_long = to_ms.saturating_sub(from_ms) > MISSED_INTERVALS * i64::from(interval_ms);
    is_long.then_some(Occurrence::BacklogDelivered { from_ms, to_ms, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lost_once_and_back_once() {
        let silent = Verdict::Silent { for_ms: 1 };
        let check = |lost_since_ms, verdict, heard_ms, seen_ms, expect: &[Occurrence]| {
            let presence = Presence { lost_since_ms, backlog_records: 7, ..Presence::default() };
            let hearing = Hearing { verdict, heard_ms, seen_ms, interval_ms: 1_000 };
            assert_eq!(news(&presence, hearing), expect, "{presence:?} {hearing:?}");
        };
        let lost = Occurrence::HostLost { since_ms: 5 };
        let back = Occurrence::HostBack { since_ms: 5, backlog_records: 7 };
        check(None, silent, Some(5), Some(5), std::slice::from_ref(&lost));
        check(None, silent, None, Some(5), &[lost]);
        check(None, silent, None, None, &[]);
        check(Some(5), silent, None, Some(5), &[]);
        // After a start of the collector nobody is missed, and nobody is back for that.
        check(Some(5), Verdict::Heard, None, Some(5), &[]);
        check(Some(5), Verdict::Heard, Some(9), Some(9), &[back]);
        check(None, Verdict::Heard, Some(9), Some(9), &[]);
        check(Some(5), Verdict::NotExpected, Some(9), Some(9), &[]);
    }

    #[test]
    fn a_backlog_is_told_when_it_is_whole_and_long() {
        let check = |times: &[i64], is_whole, expect: Option<(i64, i64, u64)>| {
            let mut arrived = Arrived { is_whole, ..Arrived::default() };
            arrived.add(times.iter().copied());
            let expect = expect.map(|(from_ms, to_ms, records)| Occurrence::BacklogDelivered {
                from_ms,
                to_ms,
                records,
            });
            assert_eq!(delivered(arrived, 1_000), expect, "{times:?}");
        };
        check(&[2_000, 1_000, 5_000], true, Some((1_000, 5_000, 3)));
        check(&[2_000, 1_000, 5_000], false, None);
        check(&[1_000, 2_000, 4_000], true, None);
        check(&[], true, None);
    }
}
