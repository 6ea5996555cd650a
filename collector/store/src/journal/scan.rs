//! Finds the entries in a segment's bytes, whatever these are.

use std::ops::Range;

use super::entry::{FIRST, HEADER_BYTES, LAST, LENGTH, checksum, words};

/// What a segment's bytes hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scan {
    /// Where the bodies of good entries are, in order.
    pub(crate) bodies: Vec<Range<usize>>,
    /// Stretches that hold no good entry and should.
    pub(crate) damage: Vec<Range<usize>>,
    /// Where the torn tail begins; the length of the bytes if there is none.
    pub(crate) end: usize,
}

impl Scan {
    /// A segment of which nothing can be read.
    pub(super) fn lost(length: usize) -> Self {
        Self { bodies: Vec::new(), damage: std::iter::once(0..length).collect(), end: length }
    }
}

#[derive(Clone, Debug)]
struct Found {
    whole: Range<usize>,
    group: u32,
    flags: u32,
}

/// Scans a segment from the end of its header on. Only the last segment may have a torn tail.
pub(crate) fn scan(bytes: &[u8], seed: u32, header: usize, is_last: bool) -> Scan {
    let mut found = find(bytes, seed, header);
    let end = if is_last { cut(&mut found, header.min(bytes.len())) } else { bytes.len() };
    let mut damage = Vec::new();
    let mut good_until = header.min(end);
    for entry in &found {
        if entry.whole.start > good_until {
            damage.push(good_until..entry.whole.start);
        }
        good_until = entry.whole.end;
    }
    if end > good_until {
        damage.push(good_until..end);
    }
    let body = |entry: Found| entry.whole.start + HEADER_BYTES..entry.whole.end;
    Scan { bodies: found.into_iter().map(body).collect(), damage, end }
}

fn find(bytes: &[u8], seed: u32, header: usize) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = header;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() > HEADER_BYTES) {
        // A good header is believed about its length: nothing inside its body is an entry.
        let Some((entry, body_sum)) = header_at(rest, seed, at) else {
            at += 1;
            continue;
        };
        at = entry.whole.end;
        let body = bytes.get(entry.whole.start + HEADER_BYTES..at);
        if body.is_some_and(|body| checksum(seed, body) == body_sum) {
            found.push(entry);
        }
    }
    found
}

/// What a part of a segment holds that begins where an entry does, and is perhaps cut off within one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Walk {
    /// Where the bodies of good entries are, in order.
    pub(crate) bodies: Vec<Range<usize>>,
    /// How many bytes hold no good entry and should.
    pub(crate) damaged: usize,
    /// Where the entry begins that is cut off; the length of the bytes if there is none.
    pub(crate) end: usize,
}

/// Walks a part of a segment.
pub(crate) fn walk(bytes: &[u8], seed: u32) -> Walk {
    let found = find(bytes, seed, 0);
    let good_until = found.last().map_or(0, |entry| entry.whole.end);
    // Behind the last good entry one may begin that goes on in the next part.
    let places = good_until..bytes.len();
    let cut_off = places.clone().find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.len() <= HEADER_BYTES
            || header_at(rest, seed, *at).is_some_and(|(entry, _)| entry.whole.end > bytes.len())
    });
    let end = cut_off.unwrap_or(bytes.len());
    let good: usize = found.iter().map(|entry| entry.whole.len()).sum();
    let body = |entry: Found| entry.whole.start + HEADER_BYTES..entry.whole.end;
    Walk { bodies: found.into_iter().map(body).collect(), damaged: end - good, end }
}

/// The header that these bytes begin with, if it is good, and the checksum of its body.
fn header_at(rest: &[u8], seed: u32, at: usize) -> Option<(Found, u32)> {
    let header = rest.first_chunk::<HEADER_BYTES>()?;
    let [length, group, body_sum, header_sum] = words(header);
    let (covered, _) = header.split_last_chunk::<4>()?;
    let whole = at..at + HEADER_BYTES + (length & LENGTH) as usize;
    let is_good = checksum(seed, covered) == header_sum;
    is_good.then_some((Found { whole, group, flags: length }, body_sum))
}

/// Removes the last group unless it is whole, and returns where the bytes that count end.
fn cut(found: &mut Vec<Found>, header: usize) -> usize {
    let Some(last) = found.last() else { return header };
    let (group, end) = (last.group, last.whole.end);
    let begin = found.partition_point(|entry| entry.group < group);
    let entries = found.get(begin..).unwrap_or_default();
    let is_contiguous = entries
        .iter()
        .zip(entries.iter().skip(1))
        .all(|(one, next)| one.whole.end == next.whole.start);
    let is_begun = entries.first().is_some_and(|entry| entry.flags & FIRST != 0);
    let is_ended = entries.last().is_some_and(|entry| entry.flags & LAST != 0);
    if is_contiguous && is_begun && is_ended {
        return end;
    }
    found.truncate(begin);
    found.last().map_or(header, |entry| entry.whole.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Entry, Group};
    use upkeep_model::{HostId, Labels};
    use uuid::Uuid;

    const SEED: u32 = 77;

    fn group(ordinal: u32, entries: u32) -> Vec<u8> {
        let (home, labels) = (HostId(Uuid::nil()), Labels::new([("__name__", "value")]));
        let mut group = Group::new(SEED, ordinal);
        for number in 0..entries {
            group.push(&Entry::Series { number, home, labels: labels.clone() });
        }
        group.finish().to_vec()
    }

    /// Two groups of three entries, 50 bytes each.
    fn two_groups() -> Vec<u8> {
        [group(1, 3), group(2, 3)].concat()
    }

    #[test]
    fn a_part_is_walked_to_the_entry_that_is_cut_off() {
        let bytes = two_groups();
        for length in 0..=bytes.len() {
            let walk = walk(&bytes[..length], SEED);
            let whole = length / 50;
            assert_eq!(
                (walk.bodies.len(), walk.damaged, walk.end),
                (whole, 0, whole * 50),
                "{length}"
            );
        }
        let mut spoilt = bytes.clone();
        spoilt[60] ^= 1;
        spoilt[130] ^= 1;
        let walk = walk(&spoilt[..280], SEED);
        assert_eq!((walk.bodies.len(), walk.damaged, walk.end), (3, 100, 250));
    }

    fn check(bytes: &[u8], is_last: bool, bodies: usize, damage: Option<Range<usize>>, end: usize) {
        let scan = scan(bytes, SEED, 0, is_last);
        let damage: Vec<_> = damage.into_iter().collect();
        assert_eq!((scan.bodies.len(), scan.damage, scan.end), (bodies, damage, end));
    }

    #[test]
    fn a_torn_group_is_cut_whole() {
        let bytes = two_groups();
        assert_eq!(bytes.len(), 300);
        check(&bytes, true, 6, None, 300);
        for length in 150..300 {
            check(&bytes[..length], true, 3, None, 150);
        }
        check(&bytes[..149], true, 0, None, 0);
        check(&[], true, 0, None, 0);
        // The middle of the last group never reached the disk, its end did.
        let mut hollow = bytes.clone();
        hollow[200..250].fill(0);
        check(&hollow, true, 3, None, 150);
        // Its beginning never reached the disk.
        let mut headless = bytes;
        headless[150..200].fill(0);
        check(&headless, true, 3, None, 150);
    }

    #[test]
    fn what_follows_a_whole_group_is_cut() {
        let bytes = [two_groups(), vec![0; 99]].concat();
        check(&bytes, true, 6, None, 300);
        check(&bytes, false, 6, Some(300..399), 399);
    }

    #[test]
    fn damage_before_the_last_group_is_told_and_passed_over() {
        for at in [0, 7, 15, 16, 40, 49] {
            let mut bytes = two_groups();
            bytes[at] ^= 0x10;
            check(&bytes, true, 5, Some(0..50), 300);
            check(&bytes, false, 5, Some(0..50), 300);
        }
        let mut bytes = two_groups();
        bytes[260] ^= 1;
        check(&bytes, false, 5, Some(250..300), 300);
    }

    #[test]
    fn entries_of_another_segment_are_not_taken() {
        assert!(scan(&two_groups(), SEED + 1, 0, true).bodies.is_empty());
    }
}
