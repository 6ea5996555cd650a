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
        check_series(name, labels.iter().copied())?;
        let number = u32::try_from(entries.series.len()).unwrap_or(u32::MAX);
        entries.series.push(Arc::new(Series::new(kind, name, help, labels)));
        entries.numbers.insert(entries.key.as_slice().into(), number);
        Ok(number)
    }

    /// The series of a number; `None` where no series has it.
    pub fn get(&self, number: u32) -> Option<Arc<Series>> {
        self.lock().series.get(number as usize).cloned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_its_number_and_no_two_share_one() {
        let table = SeriesTable::default();
        let number = |name: &str, labels: &[(&str, &str)]| {
            table.number(MetricKind::Gauge, name, "", labels).unwrap()
        };
        let given: [(&str, &[(&str, &str)]); 5] = [
            ("a", &[]),
            ("a", &[("b", "cd")]),
            ("a", &[("bc", "d")]),
            ("ab", &[("c", "d")]),
            ("a", &[("b", ""), ("c", "d")]),
        ];
        for _ in 0..2 {
            let numbers: Vec<u32> =
                given.iter().map(|(name, labels)| number(name, labels)).collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4]);
        }
        assert_eq!(table.len(), 5);
        for (at, (name, labels)) in (0..).zip(given) {
            let expect = Series::new(MetricKind::Gauge, name, "", labels);
            assert_eq!(*table.get(at).unwrap(), expect);
        }
        assert!(table.get(5).is_none());
        table.number(MetricKind::Gauge, "a", "", &[("job", "x")]).unwrap_err();
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn only_handles_of_one_table_are_the_same() {
        let table = SeriesTable::default();
        assert!(table.is_same(&table.clone()));
        assert!(!table.is_same(&SeriesTable::default()));
    }
}
