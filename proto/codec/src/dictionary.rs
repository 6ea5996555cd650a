//! The numbers of an epoch's series.

use std::collections::HashMap;

use upkeep_model::{Labels, Series};

/// Gives each series of an epoch a number, counted from 0, that never changes within the epoch.
#[derive(Debug, Default)]
pub struct Dictionary {
    numbers: HashMap<Labels, u32>,
    series: Vec<Series>,
}

impl Dictionary {
    /// The dictionary as it was stored: series in the order of their numbers.
    pub fn restore(series: Vec<Series>) -> Self {
        let numbers = series.iter().zip(0..).map(|(one, number)| (one.labels.clone(), number));
        Self { numbers: numbers.collect(), series }
    }

    /// The number of a series; a series that is new gets the next one.
    pub fn number(&mut self, series: &Series) -> u32 {
        if let Some(&number) = self.numbers.get(&series.labels) {
            return number;
        }
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        self.numbers.insert(series.labels.clone(), number);
        self.series.push(series.clone());
        number
    }

    /// The series from a number on, in the order of their numbers.
    pub fn since(&self, number: u32) -> &[Series] {
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
