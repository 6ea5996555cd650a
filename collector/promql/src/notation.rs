//! Series as Prometheus' tests write them: a label set, and one value a step.
//!
//! | text | steps |
//! |---|---|
//! | `1 2 -3.5 NaN` | these values |
//! | `1+2x3` | 1, 3, 5, 7: a start, and so many more |
//! | `5x2` | 5, 5, 5 |
//! | `_`, `_x3` | no sample, three times none |
//! | `stale` | the end of the series |

use thiserror::Error;
use upkeep_model::{Labels, METRIC_NAME, MatchOperator, stale_marker};

use crate::parse::{ParseError, parse_selector};

/// The most steps that one series may have; more is a mistake, and would fill the memory.
const MAX_STEPS: usize = 10_000_000;

/// One step of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// There is no sample.
    Gap,
    /// A sample.
    Value(f64),
    /// A native histogram, which nothing here can hold.
    Native,
}

/// A text is no series.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotationError {
    /// The labels do not follow the grammar.
    #[error(transparent)]
    Labels(#[from] ParseError),
    /// The labels select instead of naming.
    #[error("`{0}` must have one value, given by `=`")]
    Matcher(String),
    /// A word is no value and no row of values.
    #[error("`{0}` is no value such as 1, 1+2x3, _x3 or stale")]
    Steps(String),
    /// The words stand for too much.
    #[error("`{0}` makes more than {MAX_STEPS} steps")]
    TooMany(String),
}

/// The labels of one series, such as `up{job="node"}` or `{job="node"}`.
///
/// # Errors
/// When the text is anything else.
pub fn parse_labels(text: &str) -> Result<Labels, NotationError> {
    let mut labels = Labels::default();
    if text.split_whitespace().collect::<String>() == "{}" {
        return Ok(labels);
    }
    for matcher in parse_selector(text)? {
        let name = matcher.name();
        if matcher.operator() != MatchOperator::Equal || labels.get(name).is_some() {
            let name = if name == METRIC_NAME { "the metric name" } else { name };
            return Err(NotationError::Matcher(name.to_owned()));
        }
        labels.set(name, matcher.value());
    }
    Ok(labels)
}

/// The steps of one series, separated by blanks.
///
/// # Errors
/// When a word is none of those that this module lists, or there are too many steps.
pub fn parse_steps(text: &str) -> Result<Vec<Step>, NotationError> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, after) = rest.split_at_checked(word_end(rest)).unwrap_or((rest, ""));
        add_steps(word, &mut steps)?;
        rest = after.trim_start();
    }
    Ok(steps)
}

/// Native histograms have blanks within their braces.
fn word_end(text: &str) -> usize {
    let mut depth = 0_i32;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            character if character.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

fn add_steps(word: &str, steps: &mut Vec<Step>) -> Result<(), NotationError> {
    let wrong = || NotationError::Steps(word.to_owned());
    if word == "_" {
        steps.push(Step::Gap);
        return Ok(());
    }
    if word == "stale" {
        steps.push(Step::Value(stale_marker()));
        return Ok(());
    }
    if let Ok(value) = word.parse() {
        steps.push(Step::Value(value));
        return Ok(());
    }
    if word.starts_with("{{") && word.ends_with("}}") {
        steps.push(Step::Native);
        return Ok(());
    }
    let (body, times) = word.rsplit_once('x').ok_or_else(wrong)?;
    let times: usize = times.parse().map_err(|_| wrong())?;
    if times.saturating_add(steps.len()) >= MAX_STEPS {
        return Err(NotationError::TooMany(word.to_owned()));
    }
    if body == "_" {
        steps.extend(std::iter::repeat_n(Step::Gap, times));
    } else if body.starts_with("{{") {
        steps.extend(std::iter::repeat_n(Step::Native, times.saturating_add(1)));
    } else {
        let (start, step) = start_and_step(body).ok_or_else(wrong)?;
        let mut value = start;
        for _ in 0..=times {
            steps.push(Step::Value(value));
            value += step;
        }
    }
    Ok(())
}

/// `5`, `5+1`, `5-1`; either number may have an exponent.
fn start_and_step(body: &str) -> Option<(f64, f64)> {
    if let Ok(start) = body.parse() {
        return Some((start, 0.0));
    }
    let signs = body.char_indices().skip(1).filter(|(_, character)| "+-".contains(*character));
    signs.map(|(at, _)| at).find_map(|at| {
        let (start, step) = body.split_at_checked(at)?;
        Some((start.parse().ok()?, step.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_steps() {
        let check = |text: &str, expect: &str| {
            let shown = |step: &Step| match step {
                Step::Gap => "_".to_owned(),
                Step::Native => "native".to_owned(),
                Step::Value(value) if value.to_bits() == stale_marker().to_bits() => "stale".into(),
                Step::Value(value) => value.to_string(),
            };
            let got = match parse_steps(text) {
                Ok(steps) => steps.iter().map(shown).collect::<Vec<_>>().join(" "),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect, "{text}");
        };
        check("", "");
        check(" 1  -2.5 NaN +Inf 1e3 ", "1 -2.5 NaN inf 1000");
        check("1+2x3", "1 3 5 7");
        check("1-2x2 -1-1x1", "1 -1 -3 -1 -2");
        check("1e-1+1e-1x1", "0.1 0.2");
        check("5x2 _ _x2 stale", "5 5 5 _ _ _ stale");
        check("3+1x0 _x0 4", "3 4");
        check("{{schema:1 count:2}} {{sum:1}}x1", "native native native");
        check("1 two", "`two` is no value such as 1, 1+2x3, _x3 or stale");
        check("1+x3", "`1+x3` is no value such as 1, 1+2x3, _x3 or stale");
        check("1x-3", "`1x-3` is no value such as 1, 1+2x3, _x3 or stale");
        check("0x99999999999", "`0x99999999999` makes more than 10000000 steps");
    }

    #[test]
    fn labels_name_one_series() {
        let check = |text: &str, expect: &str| {
            let got = match parse_labels(text) {
                Ok(labels) => labels.to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(got, expect, "{text}");
        };
        check("up", "up");
        check("{}", "{}");
        check(" { } ", "{}");
        check("{job=\"a\\\"b\"}", "{job=\"a\\\"b\"}");
        check("{\"disk.used\", 'job'='x'}", "disk.used{job=\"x\"}");
        check("up{job=~\"a\"}", "`job` must have one value, given by `=`");
        check("up{job=\"a\",job=\"b\"}", "`job` must have one value, given by `=`");
        assert!(parse_labels("up +").is_err() && parse_labels("").is_err());
    }
}
