//! What a host observed before it opened its stream, as it arrives.

use upkeep_model::Ranges;

use super::commit::SampleRecord;
use crate::fleet::Member;

/// The part of a stream that tells of the past.
#[derive(Debug)]
pub(super) struct Backlog {
    /// What was observed since the host opened the stream begins here; 0 where that is not known.
    observed_from: u64,
    /// Whether some of it is still to come.
    is_open: bool,
}

impl Backlog {
    /// The backlog of a stream as its host opens it, which is noted with the host.
    pub(super) fn begin(member: &Member, committed: &Ranges, observed_from: u64) -> Self {
        let records = missing(committed, observed_from);
        member.note_backlog(records);
        Self { observed_from, is_open: records > 0 }
    }

    /// The times of those of the records that belong to it.
    pub(super) fn times(records: &[SampleRecord]) -> Vec<i64> {
        let past = records.iter().filter(|record| !record.is_live);
        past.filter_map(|record| record.timestamp_ms).collect()
    }

    /// Notes that observations of these times have arrived, and what is committed now.
    pub(super) fn note(&mut self, member: &Member, times: Vec<i64>, committed: &Ranges) {
        if self.is_open {
            self.is_open = missing(committed, self.observed_from) > 0;
            member.note_arrived(times, !self.is_open);
        }
    }
}

/// How many samples are still missing that were observed before.
fn missing(committed: &Ranges, observed_from: u64) -> u64 {
    let Some(last) = observed_from.checked_sub(1).filter(|last| *last > 0) else { return 0 };
    let holes = committed.missing(1..=last).into_iter();
    holes.map(|hole| hole.end() - hole.start() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_come_is_what_is_missing_before_the_present() {
        let check = |committed: &[std::ops::RangeInclusive<u64>], observed_from, expect| {
            let committed = committed.iter().cloned().collect();
            assert_eq!(missing(&committed, observed_from), expect, "{committed:?}");
        };
        check(&[], 0, 0);
        check(&[], 1, 0);
        check(&[], 10, 9);
        check(&[1..=9], 10, 0);
        check(&[1..=4, 7..=8, 10..=12], 10, 3);
    }
}
