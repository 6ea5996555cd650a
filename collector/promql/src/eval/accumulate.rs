//! Sums, means and their like, exact where plain floats lose digits.

pub(crate) use upkeep_model::Sum;

/// Something that values are added to one by one, and that has a value once there is one.
pub(crate) trait Accumulator: Default {
    fn add(&mut self, value: f64);
    fn value(&self) -> f64;
}

impl Accumulator for Sum {
    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }

    fn value(&self) -> f64 {
        Sum::value(self)
    }
}

/// A mean: the sum divided by the count, or, once the sum would overflow, moved a step with each
/// value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    count: f64,
    sum: Sum,
    moves: bool,
}

impl Accumulator for Mean {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.moves {
            let mut sum = self.sum;
            sum.add(value);
            if self.count == 1.0 || !sum.is_infinite() {
                self.sum = sum;
                return;
            }
            self.moves = true;
            self.sum.divide(self.count - 1.0);
        }
        self.sum.scale((self.count - 1.0) / self.count);
        self.sum.add(value / self.count);
    }

    fn value(&self) -> f64 {
        if self.moves {
            self.sum.value()
        } else {
            let mut sum = self.sum;
            sum.divide(self.count);
            sum.value()
        }
    }
}

/// The population variance, after Welford.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Accumulator for Variance {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let before = value - self.mean.value();
        self.mean.add(before / self.count);
        self.squares.add(before * (value - self.mean.value()));
    }

    fn value(&self) -> f64 {
        self.squares.value() / self.count
    }
}

/// The population standard deviation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deviation(Variance);

impl Accumulator for Deviation {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn value(&self) -> f64 {
        self.0.value().sqrt()
    }
}

/// The smallest value; NaN only if there is nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Smallest(f64);

impl Default for Smallest {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Accumulator for Smallest {
    fn add(&mut self, value: f64) {
        if self.0.is_nan() || value < self.0 {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// The largest value; NaN only if there is nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Largest(f64);

impl Default for Largest {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Accumulator for Largest {
    fn add(&mut self, value: f64) {
        if self.0.is_nan() || value > self.0 {
            self.0 = value;
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// How many values there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(f64);

impl Accumulator for Count {
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// 1, if there is any value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct One;

impl Accumulator for One {
    fn add(&mut self, _: f64) {}

    fn value(&self) -> f64 {
        1.0
    }
}

/// The quantile of values, which it sorts; between two of them it is interpolated. NaN counts as
/// smaller than any number.
pub(crate) fn quantile(quantile: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|one, other| nan_first(*one, *other));
    let last = values.len() - 1;
    let rank = quantile * last as f64;
    let lower = rank.floor();
    let weight = rank - lower;
    let at = |index: usize| values.get(index.min(last)).copied().unwrap_or(f64::NAN);
    let lower = lower as usize;
    at(lower) * (1.0 - weight) + at(lower + 1) * weight
}

fn nan_first(one: f64, other: f64) -> std::cmp::Ordering {
    other.is_nan().cmp(&one.is_nan()).then_with(|| one.total_cmp(&other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<A: Accumulator>(values: &[f64], expect: f64) {
        let mut accumulator = A::default();
        values.iter().for_each(|&value| accumulator.add(value));
        let got = accumulator.value();
        let same = got == expect || (got.is_nan() && expect.is_nan());
        assert!(same, "{}: {values:?}: {got}", std::any::type_name::<A>());
    }

    #[test]
    fn digits_survive_large_values() {
        check::<Sum>(&[1.0, 1e100, 1.0, -1e100], 2.0);
        check::<Mean>(&[1.0, 1e100, 1.0, -1e100], 0.5);
        check::<Mean>(&[f64::MAX, f64::MAX], f64::MAX);
        check::<Mean>(&[f64::INFINITY, 0.0], f64::INFINITY);
        check::<Mean>(&[f64::INFINITY, f64::NEG_INFINITY], f64::NAN);
        check::<Variance>(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 4.0);
        check::<Deviation>(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 2.0);
        check::<Variance>(&[f64::INFINITY], f64::NAN);
    }

    #[test]
    fn extremes_prefer_numbers() {
        check::<Smallest>(&[f64::NAN, 3.0, 1.0], 1.0);
        check::<Largest>(&[f64::NAN, 3.0, 1.0, f64::NAN], 3.0);
        check::<Largest>(&[f64::NAN], f64::NAN);
    }

    #[test]
    fn quantiles_are_interpolated() {
        let check = |at: f64, values: &[f64], expect: f64| {
            let got = quantile(at, &mut values.to_vec());
            assert!(got == expect || (got.is_nan() && expect.is_nan()), "{at}: {values:?}: {got}");
        };
        check(0.5, &[4.0, 0.0, 1.0], 1.0);
        check(0.75, &[0.0, 1.0, 4.0], 2.5);
        check(1.0, &[0.0, 1.0, f64::NAN], 1.0);
        check(0.2, &[0.0, 1.0, f64::NAN], f64::NAN);
        check(-0.1, &[0.0], f64::NEG_INFINITY);
        check(1.1, &[0.0], f64::INFINITY);
        check(0.5, &[], f64::NAN);
    }
}
