//! The series by their labels, in memory.
//!
//! A series is a label set at a home, the host whose chunks hold its samples; two hosts that bore
//! the same name have two series of the same label set. Series get numbers that are never given
//! again. Texts are kept once, as symbols, and a series is a list of symbol pairs.

mod pattern;
mod slots;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use upkeep_model::{HostId, Label, Labels, MatchOperator, Matcher};

use pattern::Pattern;
use slots::Slots;

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

/// A text. Symbols are our own numbers, so whoever chooses the texts cannot choose their hashes.
pub(crate) type Symbol = u32;

/// Series by the symbol of something that they have, ascending.
type Postings = hashbrown::HashMap<Symbol, Vec<SeriesRef>>;

#[derive(Debug, Default)]
pub(crate) struct Index {
    symbols: Symbols,
    series: Slots<Series>,
    /// The numbers of the series by hashes of their homes and labels.
    by_labels: HashTable<SeriesRef>,
    hasher: DefaultHashBuilder,
    /// By name and value.
    postings: hashbrown::HashMap<Symbol, Postings>,
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

    fn shared(&self, symbol: Symbol) -> Arc<str> {
        self.texts.get(symbol as usize).map(Arc::clone).unwrap_or_default()
    }
}

impl Index {
    /// The number of a series; one that is new gets the next number.
    pub(crate) fn intern(&mut self, home: HostId, labels: &Labels) -> SeriesRef {
        let pairs: Vec<(Symbol, Symbol)> = self.intern_texts(labels);
        if let Some(number) = self.number_of(home, &pairs) {
            return number;
        }
        let number = self.next;
        self.put(number, Series { home, labels: pairs.into(), days: None, saved: None });
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
        let labels = self.intern_texts(labels).into();
        self.put(number, Series { home, labels, days, saved: Some(days) });
    }

    fn intern_texts(&mut self, labels: &Labels) -> Vec<(Symbol, Symbol)> {
        let symbols = &mut self.symbols;
        labels.iter().map(|(name, value)| (symbols.intern(name), symbols.intern(value))).collect()
    }

    /// The number of a series that is known.
    pub(crate) fn find(&self, home: HostId, labels: &Labels) -> Option<SeriesRef> {
        let pairs: Option<Vec<_>> = labels
            .iter()
            .map(|(name, value)| Some((self.symbol(name)?, self.symbol(value)?)))
            .collect();
        self.number_of(home, &pairs?)
    }

    fn number_of(&self, home: HostId, labels: &[(Symbol, Symbol)]) -> Option<SeriesRef> {
        let is_same = |number: &SeriesRef| {
            let series = self.series.get(*number);
            series.is_some_and(|series| series.home == home && *series.labels == *labels)
        };
        self.by_labels.find(self.hasher.hash_one((home, labels)), is_same).copied()
    }

    /// Sees to it that no number below this is given to a new series.
    pub(crate) fn reserve(&mut self, next: SeriesRef) {
        self.next = self.next.max(next);
    }

    /// The number that the next new series gets.
    pub(crate) fn next(&self) -> SeriesRef {
        self.next
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    fn put(&mut self, number: SeriesRef, series: Series) {
        for &(name, value) in series.labels.iter() {
            let postings = self.postings.entry(name).or_default().entry(value).or_default();
            match postings.last() {
                Some(last) if *last >= number => {
                    if let Err(at) = postings.binary_search(&number) {
                        postings.insert(at, number);
                    }
                }
                _ => postings.push(number),
            }
        }
        let Self { series: slots, by_labels, hasher, .. } = self;
        let hash_of = |series: &Series| hasher.hash_one((series.home, &*series.labels));
        let hash = hash_of(&series);
        let is_same = |other: &SeriesRef| {
            let other = slots.get(*other);
            other.is_some_and(|one| one.home == series.home && one.labels == series.labels)
        };
        // Of two numbers of the same label set, which only a damaged database has, the later one holds.
        if let Ok(other) = by_labels.find_entry(hash, is_same) {
            other.remove();
        }
        slots.put(number, series);
        by_labels.insert_unique(hash, number, |number| slots.get(*number).map_or(0, hash_of));
        self.next = self.next.max(number.saturating_add(1));
    }

    /// Removes series, given by their numbers in ascending order.
    pub(crate) fn remove(&mut self, numbers: &[SeriesRef]) {
        let mut touched = BTreeSet::new();
        for &number in numbers {
            let Some(series) = self.series.take(number) else { continue };
            let hash = self.hasher.hash_one((series.home, &*series.labels));
            if let Ok(entry) = self.by_labels.find_entry(hash, |one| *one == number) {
                entry.remove();
            }
            touched.extend(series.labels.iter().copied());
        }
        for (name, value) in touched {
            let Some(values) = self.postings.get_mut(&name) else { continue };
            if let Some(postings) = values.get_mut(&value) {
                postings.retain(|one| numbers.binary_search(one).is_err());
                postings.shrink_to(2 * postings.len());
                if postings.is_empty() {
                    values.remove(&value);
                }
            }
            if values.is_empty() {
                self.postings.remove(&name);
            }
        }
    }

    pub(crate) fn get(&self, number: SeriesRef) -> Option<&Series> {
        self.series.get(number)
    }

    /// All series in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SeriesRef, &Series)> {
        self.series.iter()
    }

    /// The series with numbers in a range, in the order of their numbers.
    pub(crate) fn among(
        &self,
        numbers: Range<SeriesRef>,
    ) -> impl Iterator<Item = (SeriesRef, &Series)> {
        numbers.filter_map(|number| Some((number, self.get(number)?)))
    }

    pub(crate) fn homes(&self) -> BTreeSet<HostId> {
        self.series.iter().map(|(_, series)| series.home).collect()
    }

    /// Notes that a series has sealed samples from one day to another.
    pub(crate) fn extend_days(&mut self, number: SeriesRef, (first, last): (i32, i32)) {
        if let Some(series) = self.series.get_mut(number) {
            let (earliest, latest) = series.days.unwrap_or((first, last));
            series.days = Some((earliest.min(first), latest.max(last)));
        }
    }

    /// Notes that the database holds the series as it was read with these days.
    pub(crate) fn mark_saved(&mut self, number: SeriesRef, days: SealedDays) {
        if let Some(series) = self.series.get_mut(number) {
            series.saved = Some(days);
        }
    }

    /// The label set of a series.
    pub(crate) fn labels(&self, series: &Series) -> Labels {
        let pairs = series.labels.iter().map(|&(name, value)| Label {
            name: self.symbols.shared(name),
            value: self.symbols.shared(value),
        });
        Labels::of_sorted(pairs.collect())
    }

    /// The text of a symbol.
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.symbols.text(symbol)
    }

    /// The symbol of a text that some series has or had.
    pub(crate) fn symbol(&self, text: &str) -> Option<Symbol> {
        self.symbols.numbers.get(text).copied()
    }

    /// The series that pass all matchers, in the order of their numbers.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<SeriesRef> {
        // An absent label is an empty value: a matcher that takes it cannot be asked of postings,
        // so it only narrows what the others found.
        let (narrowing, finding): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.accepts(""));
        let mut lists: Vec<Cow<'_, [SeriesRef]>> = Vec::new();
        for matcher in finding {
            lists.push(self.postings_of(matcher));
        }
        lists.sort_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        let mut found = match lists.next() {
            Some(shortest) => shortest.into_owned(),
            None => self.series.iter().map(|(number, _)| number).collect(),
        };
        for list in lists {
            keep_shared(&mut found, &list);
        }
        for matcher in narrowing {
            self.narrow(&mut found, matcher);
        }
        found
    }

    fn postings_of(&self, matcher: &Matcher) -> Cow<'_, [SeriesRef]> {
        let values = self.symbol(matcher.name()).and_then(|name| self.postings.get(&name));
        let Some(values) = values else { return Cow::default() };
        let lists = self.lists_of(values, matcher);
        match lists.as_slice() {
            [] => Cow::default(),
            [only] => Cow::Borrowed(only),
            several => {
                let mut all = several.concat();
                all.sort_unstable();
                // A series has one value of a label, but an expression may name a value twice.
                all.dedup();
                Cow::Owned(all)
            }
        }
    }

    /// The postings of the values that a matcher accepts.
    fn lists_of<'a>(&self, values: &'a Postings, matcher: &Matcher) -> Vec<&'a [SeriesRef]> {
        let of_text = |text: &str| values.get(&self.symbol(text)?).map(Vec::as_slice);
        let pattern = match matcher.operator() {
            MatchOperator::Equal => return of_text(matcher.value()).into_iter().collect(),
            MatchOperator::Matches => Pattern::of(matcher.value()),
            MatchOperator::NotEqual | MatchOperator::NotMatches => Pattern::Other,
        };
        let accepts = |text: &str| match &pattern {
            Pattern::Prefix { prefix, rest } => {
                text.strip_prefix(&**prefix).is_some_and(|tail| tail.len() >= *rest)
            }
            Pattern::Texts(_) | Pattern::Other => matcher.accepts(text),
        };
        match &pattern {
            Pattern::Texts(texts) => texts.iter().filter_map(|text| of_text(text)).collect(),
            Pattern::Prefix { .. } | Pattern::Other => {
                let accepted = values.iter().filter(|(value, _)| accepts(self.text(**value)));
                accepted.map(|(_, postings)| postings.as_slice()).collect()
            }
        }
    }

    fn narrow(&self, found: &mut Vec<SeriesRef>, matcher: &Matcher) {
        let name = self.symbol(matcher.name());
        let Some((name, values)) = name.and_then(|name| Some((name, self.postings.get(&name)?)))
        else {
            return;
        };
        let rejected = values.iter().filter(|(value, _)| !matcher.accepts(self.text(**value)));
        let rejected: hashbrown::HashSet<Symbol> = rejected.map(|(value, _)| *value).collect();
        if rejected.is_empty() {
            return;
        }
        let is_rejected = |number: &SeriesRef| {
            let labels = self.series.get(*number).map(|series| series.labels.iter());
            let mut labels = labels.into_iter().flatten();
            labels.any(|(one, value)| *one == name && rejected.contains(value))
        };
        found.retain(|number| !is_rejected(number));
    }
}

/// Keeps what is in another ascending list as well.
fn keep_shared(found: &mut Vec<SeriesRef>, mut other: &[SeriesRef]) {
    found.retain(|number| {
        // Steps that double, then the place between the last two: a short list against a long one costs
        // no more than a look-up for each of its numbers.
        let mut step = 1;
        while other.get(step - 1).is_some_and(|next| next < number) {
            step *= 2;
        }
        let from = other.get(step / 2..).unwrap_or_default();
        let passed = from.get(..step.min(from.len())).unwrap_or(from);
        other = from.get(passed.partition_point(|next| next < number)..).unwrap_or_default();
        other.first() == Some(number)
    });
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
        check(&[("job", Matches, "(node|web|node|none)")], &[0, 1, 2]);
        check(&[("job", Matches, "no.*")], &[0, 1]);
        check(&[("job", Matches, "node.+")], &[]);
        check(&[("job", Matches, "node.*"), ("instance", Matches, "b|c")], &[1]);
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
        index.remove(&[1]);
        let job = Matcher::new("job", Equal, "node").unwrap();
        assert_eq!(index.select(&[job]), [0]);
        assert_eq!(index.intern(HOME, &sets[0]), 0);
        assert_eq!(index.intern(HOME, &sets[1]), 5);
        assert_eq!(index.labels(index.get(5).unwrap()), sets[1]);
    }

    #[test]
    fn what_two_lists_share_is_found_whatever_their_lengths() {
        let check = |one: &[SeriesRef], other: &[SeriesRef]| {
            let mut found = one.to_vec();
            keep_shared(&mut found, other);
            let expect: Vec<_> = one.iter().filter(|number| other.contains(number)).collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), expect, "{one:?} and {other:?}");
        };
        let many: Vec<SeriesRef> = (0..1_000).map(|number| number * 3).collect();
        for few in
            [&[][..], &[0], &[1], &[2997], &[9999], &[0, 3, 4, 6, 1_500, 2_996, 2_997, 2_998]]
        {
            check(few, &many);
            check(&many, few);
        }
        check(&many, &many);
    }

    #[test]
    fn the_same_labels_of_two_homes_are_two_series() {
        let (mut index, sets) = index();
        assert_eq!(index.intern(HostId(Uuid::from_u128(1)), &sets[0]), 5);
    }
}
