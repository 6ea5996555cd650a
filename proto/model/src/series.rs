//! Series, and the table by which an observer knows them again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Labels, METRIC_NAME, SeriesFault, check_series};

/// Parts the texts of a key; it is a byte that no UTF-8 has, so no two keys run into one another.
const SEPARATOR: u8 = 0xff;

/// How a metric behaves, in Prometheus' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Grows until its source restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// The source does not say.
    Untyped,
}

/// One series as its host describes it: the labels carry the metric name, and neither `instance`
/// nor `job`, which the collector adds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// Name and labels.
    pub labels: Labels,
    /// How it behaves.
    pub kind: MetricKind,
    /// One line for people; may be empty.
    pub help: String,
}

impl Series {
    /// A series of a metric with the given labels.
    pub fn new(kind: MetricKind, name: &str, help: &str, labels: &[(&str, &str)]) -> Self {
        let labels = Labels::new(labels.iter().copied()).with(METRIC_NAME, name);
        Self { labels, kind, help: help.to_owned() }
    }
}

/// The series that an observer has seen, each under a number. To find one that is known takes no
/// allocation. Clones are handles of the same table, so that threads may share one.
///
/// A table only grows: where series come and go, begin a new one now and then. Of a series that is
/// given anew with another kind or help, those that it was first given with hold.
#[derive(Clone, Debug, Default)]
pub struct SeriesTable {
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By name and labels in the order in which they are given, so that finding one sorts nothing.
    numbers: HashMap<Box<[u8]>, u32>,
    series: Vec<Arc<Series>>,
    /// Where keys are put together.
    key: Vec<u8>,
}

impl SeriesTable {
    /// The number of a series; one that is new gets the next.
    ///
    /// # Errors
    /// When a new one is none that a collector would take.
    pub fn number(
        &self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<u32, SeriesFault> {
        let entries = &mut *self.lock();
        write_key(&mut entries.key, name, labels);
        if let Some(&number) = entries.numbers.get(entries.key.as_slice()) {
            return Ok(number);
        }
        // A label without a value is as good as none, whatever it is called.
        check_series(name, labels.iter().copied().filter(|(_, value)| !value.is_empty()))?;
        let number = u32::try_from(entries.series.len()).unwrap_or(u32::MAX);
        entries.series.push(Arc::new(Series::new(kind, name, help, labels)));
        entries.numbers.insert(entries.key.as_slice().into(), number);
        Ok(number)
    }

    /// The series of a number; `None` where no series has it.
    pub fn get(&self, number: u32) -> Option<Arc<Series>> {
        self.lock().series.get(number as usize).cloned()
    }

    /// By number, the labels that series were given without a value. They say nothing and are no part
    /// of a series; a page for people and programs to compare shows them. Every key is gone through,
    /// so that what is not asked for costs nothing.
    pub fn empty_labels(&self) -> HashMap<u32, Vec<String>> {
        let entries = self.lock();
        let empty = entries.numbers.iter().map(|(key, number)| (*number, empty_labels_of(key)));
        empty.filter(|(_, labels)| !labels.is_empty()).collect()
    }

    /// How many series have a number.
    pub fn len(&self) -> usize {
        self.lock().series.len()
    }

    /// Whether no series has a number yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are handles of one table, so that numbers of one hold in the other.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_key(key: &mut Vec<u8>, name: &str, labels: &[(&str, &str)]) {
    key.clear();
    key.extend_from_slice(name.as_bytes());
    for (label, value) in labels {
        key.push(SEPARATOR);
        key.extend_from_slice(label.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(value.as_bytes());
    }
}

/// The labels in a key that have no value: after the name, labels and values take turns.
fn empty_labels_of(key: &[u8]) -> Vec<String> {
    let mut texts = key.split(|byte| *byte == SEPARATOR).skip(1);
    let mut empty = Vec::new();
    while let (Some(label), Some(value)) = (texts.next(), texts.next()) {
        if value.is_empty() {
            empty.push(String::from_utf8_lossy(label).into_owned());
        }
    }
    empty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_its_number_and_no_two_share_one() {
        let table = SeriesTable::default();
        let number = |name: &str, labels: &[(&str, &str)]| {
            table.number(MetricKind::Gauge, name, "", labels).unwrap()
        };
        let given: [(&str, &[(&str, &str)]); 6] = [
            ("a", &[]),
            ("a", &[("b", "cd")]),
            ("a", &[("bc", "d")]),
            ("ab", &[("c", "d")]),
            ("a", &[("b", ""), ("c", "d")]),
            ("a", &[("b", "c"), ("d", ""), ("e", "")]),
        ];
        for _ in 0..2 {
            let numbers: Vec<u32> =
                given.iter().map(|(name, labels)| number(name, labels)).collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        }
        assert_eq!(table.len(), 6);
        for (at, (name, labels)) in (0..).zip(given) {
            let expect = Series::new(MetricKind::Gauge, name, "", labels);
            assert_eq!(*table.get(at).unwrap(), expect);
        }
        assert!(table.get(6).is_none());
        let empty = [(4, vec!["b".to_owned()]), (5, vec!["d".to_owned(), "e".to_owned()])];
        assert_eq!(table.empty_labels(), empty.into());
        let kept = table.get(5).unwrap();
        assert_eq!(kept.labels.iter().collect::<Vec<_>>(), [(METRIC_NAME, "a"), ("b", "c")]);
        table.number(MetricKind::Gauge, "a", "", &[("job", "x")]).unwrap_err();
        assert_eq!(table.len(), 6);
        number("a", &[("job", "")]);
        assert_eq!(table.len(), 7);
    }

    #[test]
    fn only_handles_of_one_table_are_the_same() {
        let table = SeriesTable::default();
        assert!(table.is_same(&table.clone()));
        assert!(!table.is_same(&SeriesTable::default()));
    }
}
