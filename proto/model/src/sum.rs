//! Sums of many floats.

/// A sum that carries the digits lost to rounding along, after Neumaier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    rounded: f64,
    lost: f64,
}

impl Sum {
    /// The sum of some values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> f64 {
        let mut sum = Self::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum.value()
    }

    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        let total = self.rounded + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.rounded.abs() >= value.abs() {
            self.lost += (self.rounded - total) + value;
        } else {
            self.lost += (value - total) + self.rounded;
        }
        self.rounded = total;
    }

    /// Multiplies what was added so far.
    pub fn scale(&mut self, factor: f64) {
        self.rounded *= factor;
        self.lost *= factor;
    }

    /// Divides what was added so far.
    pub fn divide(&mut self, divisor: f64) {
        self.rounded /= divisor;
        self.lost /= divisor;
    }

    /// Whether it went beyond what a float holds.
    pub fn is_infinite(&self) -> bool {
        self.rounded.is_infinite()
    }

    /// The sum so far.
    pub fn value(&self) -> f64 {
        self.rounded + self.lost
    }
}
