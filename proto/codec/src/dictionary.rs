//! The numbers of series.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use upkeep_model::{Labels, Observation, Series, SeriesTable};

/// Gives each series a number, counted from 0, that never changes. It only grows: where series come
/// and go, a new one is begun now and then.
#[derive(Debug, Default)]
pub struct Dictionary {
    numbers: HashSet<Numbered>,
    series: Vec<Arc<Series>>,
    /// The table of the last observation, and the numbers of its series as far as they are known:
    /// most observations share a table, and then no label is looked at twice.
    table: SeriesTable,
    of_table: Vec<Option<u32>>,
}

impl Dictionary {
    /// The dictionary as it was stored: series in the order of their numbers.
    pub fn restore(series: Vec<Series>) -> Self {
        let series: Vec<Arc<Series>> = series.into_iter().map(Arc::new).collect();
        let numbered = series.iter().cloned().zip(0..);
        let numbers = numbered.map(|(series, number)| Numbered { series, number }).collect();
        Self { numbers, series, ..Self::default() }
    }

    /// The values of an observation under the numbers of their series; a series that is new gets
    /// the next number.
    pub fn row(&mut self, observation: &Observation) -> Vec<(u32, f64)> {
        if !self.table.is_same(observation.table()) {
            self.table = observation.table().clone();
            self.of_table.clear();
        }
        let mut row = Vec::with_capacity(observation.len());
        for sample in observation.samples() {
            let known = self.of_table.get(sample.series as usize).copied().flatten();
            if let Some(number) = known.or_else(|| self.learn(sample.series)) {
                row.push((number, sample.value));
            }
        }
        row
    }

    /// The number of a series that the table of the last observation has under `at`.
    fn learn(&mut self, at: u32) -> Option<u32> {
        let number = self.number(self.table.get(at)?);
        let at = at as usize;
        if at >= self.of_table.len() {
            self.of_table.resize(at + 1, None);
        }
        *self.of_table.get_mut(at)? = Some(number);
        Some(number)
    }

    /// The number of a series; one that is new gets the next.
    pub fn number(&mut self, series: Arc<Series>) -> u32 {
        if let Some(known) = self.numbers.get(&series.labels) {
            return known.number;
        }
        let number = self.len();
        self.series.push(Arc::clone(&series));
        self.numbers.insert(Numbered { series, number });
        number
    }

    /// The series from a number on, in the order of their numbers.
    pub fn since(&self, number: u32) -> &[Arc<Series>] {
        self.series.get(number as usize..).unwrap_or_default()
    }

    /// How many series have a number, which is the next number to be given.
    pub fn len(&self) -> u32 {
        u32::try_from(self.series.len()).unwrap_or(u32::MAX)
    }

    /// Whether no series has a number yet.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// A series that is found by its labels.
#[derive(Debug)]
struct Numbered {
    series: Arc<Series>,
    number: u32,
}

impl Borrow<Labels> for Numbered {
    fn borrow(&self) -> &Labels {
        &self.series.labels
    }
}

impl Hash for Numbered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.series.labels.hash(state);
    }
}

impl PartialEq for Numbered {
    fn eq(&self, other: &Self) -> bool {
        self.series.labels == other.series.labels
    }
}

impl Eq for Numbered {}

#[cfg(test)]
mod tests {
    use upkeep_model::MetricKind;

    use super::*;

    #[test]
    fn a_series_keeps_its_number_whatever_table_it_comes_from() {
        let stored = Series::new(MetricKind::Gauge, "a", "", &[("x", "1")]);
        let mut dictionary = Dictionary::restore(vec![stored]);
        let (one, other) = (SeriesTable::default(), SeriesTable::default());
        // Numbers of a table differ from those of the dictionary and from another table's.
        other.number(MetricKind::Gauge, "unseen", "", &[]).unwrap();
        let mut check = |table: &SeriesTable, names: [&str; 2], expect: [u32; 2]| {
            let mut observation = Observation::within(table, 0);
            for name in names {
                observation.gauge(name, "", &[("x", "1")], 7.0);
            }
            let row = dictionary.row(&observation);
            assert_eq!(row, expect.map(|number| (number, 7.0)), "{names:?}");
        };
        check(&one, ["b", "a"], [1, 0]);
        check(&one, ["a", "b"], [0, 1]);
        check(&other, ["b", "c"], [1, 2]);
        check(&one, ["c", "a"], [2, 0]);
        assert_eq!(dictionary.len(), 3);
        let names: Vec<_> =
            dictionary.since(1).iter().map(|one| one.labels.metric_name()).collect();
        assert_eq!(names, [Some("b"), Some("c")]);
    }
}
