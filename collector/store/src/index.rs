//! The series by their labels, in memory.
//!
//! A series is a label set at a home, the host whose chunks hold its samples; two hosts that bore
//! the same name have two series of the same label set. Series get numbers that are never given
//! again. Texts are kept once, as symbols, and a series is a list of symbol pairs.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use upkeep_model::{HostId, Labels, MatchOperator, Matcher};

/// The number of a series.
pub(crate) type SeriesRef = u32;

/// The number of a series as users of the store keep it, so that its labels are looked up once. It
/// holds as long as the store is open, or until retention removed the series: numbers are never given
/// again, so one that does not hold any more is refused and taken for no other series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesNumber(pub(crate) SeriesRef);

/// Stands for a series that is not known; it is never given out.
pub(crate) const UNKNOWN: SeriesRef = SeriesRef::MAX;

/// The days (since 1970) of the first and last sealed sample, if there is any.
pub(crate) type SealedDays = Option<(i32, i32)>;

/// Names and values as symbols, in the order of the names.
pub(crate) type SymbolLabels = Arc<[(Symbol, Symbol)]>;

type Symbol = u32;

#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    series: BTreeMap<SeriesRef, Series>,
    by_labels: HashMap<(HostId, SymbolLabels), SeriesRef>,
    postings: HashMap<Symbol, HashMap<Symbol, Vec<SeriesRef>>>,
    next: SeriesRef,
}

/// A series in the index.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) home: HostId,
    pub(crate) labels: SymbolLabels,
    pub(crate) days: SealedDays,
    /// What the database holds of `days`; `None` if it does not have the series.
    pub(crate) saved: Option<SealedDays>,
}

#[derive(Debug, Default)]
struct Symbols {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Symbol>,
}

impl Symbols {
    fn intern(&mut self, text: &str) -> Symbol {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = Symbol::try_from(self.texts.len()).unwrap_or(Symbol::MAX);
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol as usize).map(AsRef::as_ref).unwrap_or_default()
    }
}

impl Index {
    /// The number of a series; one that is new gets the next number.
    pub(crate) fn intern(&mut self, home: HostId, labels: &Labels) -> SeriesRef {
        let pairs = labels
            .iter()
            .map(|(name, value)| (self.symbols.intern(name), self.symbols.intern(value)));
        let key = (home, pairs.collect::<SymbolLabels>());
        if let Some(&number) = self.by_labels.get(&key) {
            return number;
        }
        let number = self.next;
        self.put(number, Series { home, labels: key.1, days: None, saved: None });
        number
    }

    /// Puts a series of the database back under its number.
    pub(crate) fn restore(
        &mut self,
        number: SeriesRef,
        home: HostId,
        labels: &Labels,
        days: SealedDays,
    ) {
        let pairs = labels
            .iter()
            .map(|(name, value)| (self.symbols.intern(name), self.symbols.intern(value)));
        let labels = pairs.collect();
        self.put(number, Series { home, labels, days, saved: Some(days) });
    }

    /// Sees to it that no number below this is given to a new series.
    pub(crate) fn reserve(&mut self, next: SeriesRef) {
        self.next = self.next.max(next);
    }

    /// The number that the next new series gets.
    pub(crate) fn next(&self) -> SeriesRef {
        self.next
    }

    fn put(&mut self, number: SeriesRef, series: Series) {
        for &(name, value) in series.labels.iter() {
            let postings = self.postings.entry(name).or_default().entry(value).or_default();
            if let Err(at) = postings.binary_search(&number) {
                postings.insert(at, number);
            }
        }
        self.by_labels.insert((series.home, Arc::clone(&series.labels)), number);
        self.series.insert(number, series);
        self.next = self.next.max(number.saturating_add(1));
    }

    pub(crate) fn remove(&mut self, number: SeriesRef) {
        let Some(series) = self.series.remove(&number) else { return };
        for (name, value) in series.labels.iter() {
            let Some(values) = self.postings.get_mut(name) else { continue };
            if let Some(postings) = values.get_mut(value) {
                postings.retain(|one| *one != number);
                if postings.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.postings.remove(name);
            }
        }
        self.by_labels.remove(&(series.home, series.labels));
    }

    pub(crate) fn get(&self, number: SeriesRef) -> Option<&Series> {
        self.series.get(&number)
    }

    /// All series in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SeriesRef, &Series)> {
        self.series.iter().map(|(&number, series)| (number, series))
    }

    /// The series with numbers in a range, in the order of their numbers.
    pub(crate) fn among(
        &self,
        numbers: Range<SeriesRef>,
    ) -> impl Iterator<Item = (SeriesRef, &Series)> {
        self.series.range(numbers).map(|(&number, series)| (number, series))
    }

    pub(crate) fn homes(&self) -> BTreeSet<HostId> {
        self.series.values().map(|series| series.home).collect()
    }

    /// Notes that a series has sealed samples from one day to another.
    pub(crate) fn extend_days(&mut self, number: SeriesRef, (first, last): (i32, i32)) {
        if let Some(series) = self.series.get_mut(&number) {
            let (earliest, latest) = series.days.unwrap_or((first, last));
            series.days = Some((earliest.min(first), latest.max(last)));
        }
    }

    /// Notes that the database holds the series as it was read with these days.
    pub(crate) fn mark_saved(&mut self, number: SeriesRef, days: SealedDays) {
        if let Some(series) = self.series.get_mut(&number) {
            series.saved = Some(days);
        }
    }

    /// The label set of a series.
    pub(crate) fn labels(&self, series: &Series) -> Labels {
        let pairs = series.labels.iter();
        Labels::new(pairs.map(|&(name, value)| (self.symbols.text(name), self.symbols.text(value))))
    }

    /// The series that pass all matchers, in the order of their numbers.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<SeriesRef> {
        // An absent label is an empty value: a matcher that takes it cannot be asked of postings,
        // so it only narrows what the others found.
        let (narrowing, finding): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.accepts(""));
        let mut found: Option<Vec<SeriesRef>> = None;
        for matcher in finding {
            let next = self.postings_of(matcher);
            found = Some(match found {
                None => next,
                Some(before) => intersect(&before, &next),
            });
        }
        let mut found = found.unwrap_or_else(|| self.series.keys().copied().collect());
        for matcher in narrowing {
            self.narrow(&mut found, matcher);
        }
        found
    }

    fn postings_of(&self, matcher: &Matcher) -> Vec<SeriesRef> {
        let values =
            self.symbols.numbers.get(matcher.name()).and_then(|name| self.postings.get(name));
        let Some(values) = values else { return Vec::new() };
        if matcher.operator() == MatchOperator::Equal {
            let value = self.symbols.numbers.get(matcher.value());
            return value.and_then(|value| values.get(value)).cloned().unwrap_or_default();
        }
        let accepted =
            values.iter().filter(|(value, _)| matcher.accepts(self.symbols.text(**value)));
        let mut all: Vec<SeriesRef> =
            accepted.flat_map(|(_, postings)| postings.iter().copied()).collect();
        all.sort_unstable();
        all
    }

    fn narrow(&self, found: &mut Vec<SeriesRef>, matcher: &Matcher) {
        let name = self.symbols.numbers.get(matcher.name());
        let Some((name, values)) = name.and_then(|name| Some((name, self.postings.get(name)?)))
        else {
            return;
        };
        let rejected: HashSet<Symbol> = values
            .keys()
            .copied()
            .filter(|value| !matcher.accepts(self.symbols.text(*value)))
            .collect();
        let is_rejected = |number: &SeriesRef| {
            let labels = self.series.get(number).map(|series| series.labels.iter());
            labels.into_iter().flatten().any(|(one, value)| one == name && rejected.contains(value))
        };
        found.retain(|number| !is_rejected(number));
    }
}

/// What two ascending lists share.
fn intersect(one: &[SeriesRef], other: &[SeriesRef]) -> Vec<SeriesRef> {
    let mut other = other.iter().peekable();
    let is_shared = |number: &&SeriesRef| {
        while other.next_if(|next| next < number).is_some() {}
        other.next_if_eq(number).is_some()
    };
    one.iter().filter(is_shared).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use MatchOperator::{Equal, Matches, NotEqual, NotMatches};
    use uuid::Uuid;

    const HOME: HostId = HostId(Uuid::nil());

    fn index() -> (Index, Vec<Labels>) {
        let sets = [
            Labels::new([("__name__", "up"), ("job", "node"), ("instance", "a")]),
            Labels::new([("__name__", "up"), ("job", "node"), ("instance", "b")]),
            Labels::new([("__name__", "up"), ("job", "web")]),
            Labels::new([("__name__", "load"), ("instance", "a")]),
            Labels::default(),
        ];
        let mut index = Index::default();
        for labels in &sets {
            index.intern(HOME, labels);
        }
        (index, sets.into())
    }

    #[test]
    fn every_matcher_finds_what_a_scan_finds() {
        let (index, sets) = index();
        let check = |conditions: &[(&str, MatchOperator, &str)], expect: &[SeriesRef]| {
            let matchers: Vec<Matcher> = conditions
                .iter()
                .map(|(name, operator, value)| Matcher::new(*name, *operator, *value).unwrap())
                .collect();
            let scanned: Vec<SeriesRef> = (0..)
                .zip(&sets)
                .filter(|(_, labels)| matchers.iter().all(|matcher| matcher.matches(labels)))
                .map(|(number, _)| number)
                .collect();
            assert_eq!(scanned, expect, "the expectation of {conditions:?}");
            assert_eq!(index.select(&matchers), expect, "{conditions:?}");
        };
        check(&[], &[0, 1, 2, 3, 4]);
        check(&[("job", Equal, "node")], &[0, 1]);
        check(&[("job", Equal, "")], &[3, 4]);
        check(&[("job", NotEqual, "")], &[0, 1, 2]);
        check(&[("job", NotEqual, "node")], &[2, 3, 4]);
        check(&[("job", Matches, "n.*|web")], &[0, 1, 2]);
        check(&[("job", Matches, "node|")], &[0, 1, 3, 4]);
        check(&[("job", Matches, ".*")], &[0, 1, 2, 3, 4]);
        check(&[("job", NotMatches, ".+")], &[3, 4]);
        check(&[("job", NotMatches, "n.*")], &[2, 3, 4]);
        check(&[("job", NotMatches, "")], &[0, 1, 2]);
        check(&[("none", Equal, "")], &[0, 1, 2, 3, 4]);
        check(&[("none", Equal, "x")], &[]);
        check(&[("none", NotEqual, "x")], &[0, 1, 2, 3, 4]);
        check(&[("none", Matches, ".+")], &[]);
        check(&[("__name__", Equal, "up"), ("instance", Equal, "a")], &[0]);
        check(&[("__name__", Equal, "up"), ("instance", NotEqual, "a")], &[1, 2]);
        check(&[("instance", Matches, "a|b"), ("job", NotMatches, "web|")], &[0, 1]);
        check(&[("__name__", Equal, "up"), ("__name__", Equal, "load")], &[]);
    }

    #[test]
    fn a_removed_series_is_gone_and_its_number_is_not_given_again() {
        let (mut index, sets) = index();
        index.remove(1);
        let job = Matcher::new("job", Equal, "node").unwrap();
        assert_eq!(index.select(&[job]), [0]);
        assert_eq!(index.intern(HOME, &sets[0]), 0);
        assert_eq!(index.intern(HOME, &sets[1]), 5);
        assert_eq!(index.labels(index.get(5).unwrap()), sets[1]);
    }

    #[test]
    fn the_same_labels_of_two_homes_are_two_series() {
        let (mut index, sets) = index();
        assert_eq!(index.intern(HostId(Uuid::from_u128(1)), &sets[0]), 5);
    }
}
