//! Sets of sequence numbers, kept as ranges.

use std::ops::RangeInclusive;

/// A set of sequence numbers, which count from 1. It is held as ranges that neither overlap nor
/// touch, in ascending order: as many as there are holes, however many numbers it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

impl Ranges {
    /// All numbers from 1 through this one; none for 0.
    pub fn through(last: u64) -> Self {
        std::iter::once(1..=last).collect()
    }

    /// Adds numbers. An empty range adds none, and 0 is no sequence number.
    pub fn insert(&mut self, numbers: RangeInclusive<u64>) {
        let (first, last) = (*numbers.start().max(&1), *numbers.end());
        if first > last {
            return;
        }
        // Those from `begin` to before `end` overlap the new one or touch it.
        let begin = self.0.partition_point(|range| range.last < first - 1);
        let end = self.0.partition_point(|range| range.first <= last.saturating_add(1));
        let touched = self.0.get(begin..end).unwrap_or_default();
        let first = touched.first().map_or(first, |range| range.first.min(first));
        let last = touched.last().map_or(last, |range| range.last.max(last));
        drop(self.0.splice(begin..end, [Range { first, last }]));
    }

    /// Adds the numbers of another set.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|numbers| self.insert(numbers));
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        self.range_of(number).is_some()
    }

    /// The last number up to which all from this one on are in the set; `None` if this is not.
    pub fn end_of(&self, number: u64) -> Option<u64> {
        self.range_of(number).map(|range| range.last)
    }

    /// The last number up to which all from 1 on are in the set; 0 if 1 is not.
    pub fn prefix(&self) -> u64 {
        self.end_of(1).unwrap_or_default()
    }

    /// The largest number in the set; 0 if it is empty.
    pub fn last(&self) -> u64 {
        self.0.last().map_or(0, |range| range.last)
    }

    /// How many ranges the set has.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        self.0.iter().map(|range| range.first..=range.last)
    }

    /// The ranges of numbers between two, both included, that are not in the set.
    pub fn missing(&self, within: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let (mut next, last) = (*within.start(), *within.end());
        let mut holes = Vec::new();
        let begin = self.0.partition_point(|range| range.last < next);
        for range in self.0.iter().skip(begin) {
            if range.first > last {
                break;
            }
            if range.first > next {
                holes.push(next..=range.first - 1);
            }
            match range.last.checked_add(1) {
                Some(after) => next = after,
                None => return holes,
            }
        }
        if next <= last {
            holes.push(next..=last);
        }
        holes
    }

    fn range_of(&self, number: u64) -> Option<Range> {
        let place = self.0.partition_point(|range| range.last < number);
        self.0.get(place).copied().filter(|range| range.first <= number)
    }
}

impl FromIterator<RangeInclusive<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u64>>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|numbers| set.insert(numbers));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_merge_where_they_touch() {
        let check = |ranges: &[RangeInclusive<u64>], expect: &[RangeInclusive<u64>]| {
            let set: Ranges = ranges.iter().cloned().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), expect, "{ranges:?}");
        };
        check(&[], &[]);
        check(&[RangeInclusive::new(1, 0)], &[]);
        check(&[0..=0], &[]);
        check(&[0..=2], &[1..=2]);
        check(&[1..=3, 5..=6], &[1..=3, 5..=6]);
        check(&[5..=6, 1..=3, 4..=4], &[1..=6]);
        check(&[1..=9, 3..=4], &[1..=9]);
        check(&[3..=4, 8..=9, 2..=8], &[2..=9]);
        check(&[u64::MAX..=u64::MAX, 1..=u64::MAX - 1], &[1..=u64::MAX]);
        assert_eq!(Ranges::through(0), Ranges::default());
        assert_eq!(Ranges::through(u64::MAX).missing(1..=u64::MAX), []);
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_answers_as_a_naive_set(
            steps in prop::collection::vec((1..60_u64, 0..9_u64), 0..30),
            within in (1..60_u64, 0..60_u64),
        ) {
            let (mut set, mut naive) = (Ranges::default(), BTreeSet::new());
            for (first, length) in steps {
                set.insert(first..=first + length);
                naive.extend(first..=first + length);
                let flat: Vec<u64> = set.iter().flatten().collect();
                prop_assert_eq!(&flat, &naive.iter().copied().collect::<Vec<_>>());
                prop_assert!(set.iter().collect::<Vec<_>>().is_sorted_by(|a, b| a.end() + 1 < *b.start()));
            }
            for number in 0..80 {
                prop_assert_eq!(set.contains(number), naive.contains(&number));
                let end = (number..).take_while(|one| naive.contains(one)).last();
                prop_assert_eq!(set.end_of(number), end);
            }
            prop_assert_eq!(set.prefix(), (1..).take_while(|one| naive.contains(one)).count() as u64);
            prop_assert_eq!(set.last(), naive.last().copied().unwrap_or_default());
            let within = within.0..=within.0 + within.1;
            let holes: Vec<u64> = set.missing(within.clone()).into_iter().flatten().collect();
            let expect: Vec<u64> = within.filter(|one| !naive.contains(one)).collect();
            prop_assert_eq!(holes, expect);
        }
    }
}
