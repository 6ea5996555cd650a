//! Reading from the source, each thing once.
//!
//! What different functions read is kept apart, as a source may give each what suits it.

use upkeep_model::{Matcher, SeriesSamples};

use super::{EvalError, Evaluator};
use crate::expression::{Expression, Selector, TimeShift};
use crate::source::{Hint, Selection};

/// What an expression reads several times, and what of it is known.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    repeated: Vec<Repeated>,
    known: Vec<Known>,
}

/// A selector that stands in an expression several times.
#[derive(Debug)]
struct Repeated {
    matchers: Vec<Matcher>,
    time: TimeShift,
    function: Option<&'static str>,
    reach_ms: i64,
    /// How often it is still to be read.
    left: usize,
}

#[derive(Debug)]
struct Known {
    matchers: Vec<Matcher>,
    stretch: (i64, i64),
    function: Option<&'static str>,
    series: Vec<SeriesSamples>,
}

impl Readings {
    pub(crate) fn new(expression: &Expression, lookback_ms: i64) -> Self {
        let mut repeated: Vec<Repeated> = Vec::new();
        let mut note = |selector: &Selector, function, reach_ms| match repeated
            .iter_mut()
            .find(|one| one.is(selector, function, reach_ms))
        {
            Some(one) => one.left += 1,
            None => repeated.push(Repeated {
                matchers: selector.matchers.clone(),
                time: selector.time,
                function,
                reach_ms,
                left: 1,
            }),
        };
        expression.walk(&mut |node| match node {
            Expression::Selector(selector) => note(selector, None, lookback_ms),
            Expression::Call(call) => {
                for argument in &call.arguments {
                    if let Expression::Range(range) = argument {
                        note(&range.selector, Some(call.function.name), range.range_ms);
                    }
                }
            }
            _ => {}
        });
        repeated.retain(|one| one.left > 1);
        Self { repeated, known: Vec::new() }
    }

    /// Notes that a selector is read. Returns whether it will be again.
    fn is_needed_again(&mut self, selector: &Selector, hint: Hint) -> bool {
        let mut repeated = self.repeated.iter_mut();
        match repeated.find(|one| one.is(selector, hint.function, hint.range_ms)) {
            Some(one) => {
                one.left = one.left.saturating_sub(1);
                one.left > 0
            }
            None => false,
        }
    }

    fn position(&self, selector: &Selector, stretch: (i64, i64), hint: Hint) -> Option<usize> {
        self.known.iter().position(|one| {
            one.stretch == stretch
                && one.function == hint.function
                && one.matchers == selector.matchers
        })
    }
}

impl Repeated {
    fn is(&self, selector: &Selector, function: Option<&'static str>, reach_ms: i64) -> bool {
        (self.function, self.reach_ms) == (function, reach_ms)
            && self.time == selector.time
            && self.matchers == selector.matchers
    }
}

impl Evaluator<'_> {
    /// Reads the series of a selector over `(first - reach, last]`.
    pub(super) fn read(
        &mut self,
        selector: &Selector,
        (first_ms, last_ms): (i64, i64),
        hint: Hint,
    ) -> Result<Vec<SeriesSamples>, EvalError> {
        let stretch = (first_ms.saturating_sub(hint.range_ms), last_ms);
        let is_needed_again = self.readings.is_needed_again(selector, hint);
        let known = self.readings.position(selector, stretch, hint);
        let series = match known {
            Some(at) if is_needed_again => {
                self.readings.known.get(at).map(|known| known.series.clone()).unwrap_or_default()
            }
            Some(at) => {
                let series = self.readings.known.swap_remove(at).series;
                self.budget.release(count(&series));
                series
            }
            None => self.source.select(&Selection {
                matchers: selector.matchers.clone(),
                after_ms: stretch.0,
                through_ms: stretch.1,
                max_samples: self.budget.samples_left(),
                deadline: self.budget.deadline(),
                hint,
            })?,
        };
        self.budget.charge(count(&series))?;
        if known.is_none() && is_needed_again {
            self.budget.charge(count(&series))?;
            let matchers = selector.matchers.clone();
            let (function, series) = (hint.function, series.clone());
            self.readings.known.push(Known { matchers, stretch, function, series });
        }
        Ok(series)
    }
}

/// How many samples series have together.
pub(super) fn count(series: &[SeriesSamples]) -> usize {
    series.iter().map(|one| one.values.len()).sum()
}
