//! One eval of a script: what to evaluate and what must come out.

use std::collections::BTreeMap;

use upkeep_model::Labels;
use upkeep_promql::{
    Answer, EvalError, Limits, ParseError, Query, Step, Value, format_value, parse,
};

use super::data::Data;
use super::notation;
use super::pinned;

/// What became of an eval.
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// When to evaluate, in milliseconds.
#[derive(Clone, Copy)]
enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// How a message must be.
enum Wanted {
    Any,
    Exactly(String),
    Like(String),
}

/// An eval as the script has it.
pub(crate) struct Eval {
    text: String,
    when: When,
    fails: Option<Wanted>,
    warns: Vec<Wanted>,
    informs: Vec<Wanted>,
    warns_not: bool,
    informs_not: bool,
    ordered: bool,
    scalar: Option<f64>,
    string: Option<String>,
    /// Start and step of an expected range vector.
    raw: Option<(i64, i64)>,
    series: Vec<(Labels, Vec<Step>)>,
    needs_native: bool,
}

impl Eval {
    pub(crate) fn parse(head: &str, body: &[&str]) -> Result<Self, String> {
        let wrong = || format!("eval {head:?}");
        let (command, rest) = head.split_once(' ').ok_or_else(wrong)?;
        let (when, text) = when(rest.trim()).ok_or_else(wrong)?;
        let mut eval = Self {
            text: text.to_owned(),
            when,
            fails: (command == "eval_fail").then_some(Wanted::Any),
            warns: (command == "eval_warn").then_some(Wanted::Any).into_iter().collect(),
            informs: (command == "eval_info").then_some(Wanted::Any).into_iter().collect(),
            warns_not: false,
            informs_not: false,
            ordered: command == "eval_ordered",
            scalar: None,
            string: None,
            raw: None,
            series: Vec::new(),
            needs_native: false,
        };
        for line in body {
            eval.expect(line)?;
        }
        Ok(eval)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn expect(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("expect ") {
            return self.expect_keyword(rest.trim());
        }
        if let Ok(value) = line.parse() {
            self.scalar = Some(value);
            return Ok(());
        }
        self.needs_native |= line.contains("{{");
        let (labels, items) = notation::series(line)?;
        // A histogram's text may stand in a label, as `count_values` makes it.
        self.needs_native |= labels.iter().any(|(_, value)| value.starts_with("{count:"));
        self.series.push((labels, items));
        Ok(())
    }

    fn expect_keyword(&mut self, rest: &str) -> Result<(), String> {
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let wanted = || match rest.trim().split_once(':') {
            Some(("msg", text)) => Wanted::Exactly(text.trim().to_owned()),
            Some(("regex", text)) => Wanted::Like(text.trim().to_owned()),
            _ => Wanted::Any,
        };
        match word {
            "fail" => self.fails = Some(wanted()),
            "warn" => self.warns.push(wanted()),
            "info" => self.informs.push(wanted()),
            "no_warn" => self.warns_not = true,
            "no_info" => self.informs_not = true,
            "ordered" => self.ordered = true,
            "string" => self.string = Some(notation::string(rest.trim())?.0),
            "range" => {
                let words: Vec<&str> = rest.split_whitespace().collect();
                let &["vector", "from", from, "to", _, "step", step] = words.as_slice() else {
                    return Err(format!("expect range {rest:?}"));
                };
                self.raw = Some((notation::duration_ms(from)?, notation::duration_ms(step)?));
            }
            other => return Err(format!("expect {other:?}")),
        }
        Ok(())
    }

    pub(crate) fn run(&self, data: &Data) -> Outcome {
        let query = match parse(&self.text) {
            Ok(query) => query,
            Err(error @ ParseError::Unsupported { .. }) => {
                return Outcome::Skipped(error.to_string());
            }
            Err(error) => return judge(self.check_failure(&error.to_string())),
        };
        if self.needs_native {
            return Outcome::Skipped("native histograms are expected".to_owned());
        }
        let limits = Limits::default();
        let result = match self.when {
            When::Range { start, end, step } => query.range(data, start, end, step, &limits),
            When::Instant(at) => query.instant(data, at, &limits),
        };
        if let Some(obstacle) = data.obstacle() {
            return Outcome::Skipped(format!("reads samples that need {obstacle}"));
        }
        judge(self.check(result).and_then(|()| self.check_elsewhere(&query, data, &limits)))
    }

    /// As in Prometheus' harness, an instant is also evaluated as a step of a range, and with
    /// everything pinned to it by `@` at other moments.
    fn check_elsewhere(&self, query: &Query, data: &Data, limits: &Limits) -> Result<(), String> {
        let When::Instant(at) = self.when else { return Ok(()) };
        if self.fails.is_some() || self.raw.is_some() || self.string.is_some() {
            return Ok(());
        }
        if !self.ordered {
            let range = query.range(data, at - 60_000, at + 60_000, 60_000, limits);
            let moment = range.map(|answer| only_at(answer, at, self.scalar.is_some()));
            // Steps before and after may need what the moment itself does not.
            if data.obstacle().is_none() {
                self.check(moment).map_err(|why| format!("as a range: {why}"))?;
            }
        }
        let Some(pinned) = pinned::at(&self.text, at) else { return Ok(()) };
        let query = parse(&pinned).map_err(|error| format!("{pinned}: {error}"))?;
        let others = if at == 0 { vec![-1_000, 1_000] } else { vec![-10 * at, 0, at / 5, 10 * at] };
        for other in others {
            self.check(query.instant(data, other, limits))
                .map_err(|why| format!("{pinned} at {other} ms: {why}"))?;
        }
        Ok(())
    }

    fn check(&self, result: Result<Answer, EvalError>) -> Result<(), String> {
        let answer = match (result, &self.fails) {
            (Err(error), _) => return self.check_failure(&error.to_string()),
            (Ok(_), Some(_)) => return Err("it does not fail".to_owned()),
            (Ok(answer), None) => answer,
        };
        check_messages("warning", &answer.warnings, &self.warns, self.warns_not)?;
        check_messages("info", &answer.infos, &self.informs, self.informs_not)?;
        self.check_value(&answer.value)
    }

    fn check_failure(&self, message: &str) -> Result<(), String> {
        match &self.fails {
            Some(wanted) if fits(wanted, message) => Ok(()),
            Some(_) => Err(format!("it fails with another message: {message}")),
            None => Err(format!("it fails: {message}")),
        }
    }

    fn check_value(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::Scalar { value, .. } => match self.scalar {
                Some(expected) if same(expected, *value) => Ok(()),
                other => Err(format!("got {}, expected {other:?}", format_value(*value))),
            },
            Value::Text { text, .. } if self.string.as_ref() == Some(text) => Ok(()),
            Value::Text { text, .. } => Err(format!("got {text:?}")),
            Value::Vector(points) => {
                let got: Vec<(Labels, Vec<(i64, f64)>)> = points
                    .iter()
                    .map(|point| (point.labels.clone(), vec![(0, point.value)]))
                    .collect();
                if self.ordered {
                    let names = |list: &[(Labels, Vec<(i64, f64)>)]| -> Vec<String> {
                        list.iter().map(|(labels, _)| labels.to_string()).collect()
                    };
                    let expected = names(&self.expected(0, 1));
                    if names(&got) != expected {
                        return Err(format!("got the order {:?}", names(&got)));
                    }
                }
                compare(self.expected(0, 1), got)
            }
            Value::Matrix(rows) => {
                let (start, step) = match (self.raw, self.when) {
                    (Some(raw), _) => raw,
                    (None, When::Range { start, step, .. }) => (start, step),
                    (None, When::Instant(at)) => (at, 1),
                };
                let got = rows.iter().map(|row| (row.labels.clone(), row.points().collect()));
                compare(self.expected(start, step), got.collect())
            }
        }
    }

    fn expected(&self, start: i64, step: i64) -> Vec<(Labels, Vec<(i64, f64)>)> {
        let moments = || (0..).map(|index: i64| start + index * step);
        self.series
            .iter()
            .map(|(labels, items)| {
                let points = moments().zip(items).filter_map(|(at, item)| match item {
                    Step::Value(value) => Some((at, *value)),
                    Step::Gap | Step::Native => None,
                });
                (labels.clone(), points.collect())
            })
            .collect()
    }
}

fn judge(result: Result<(), String>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    }
}

/// `instant at T EXPRESSION` or `range from A to B step S EXPRESSION`.
fn when(text: &str) -> Option<(When, &str)> {
    let mut rest = text;
    let mut word = || {
        rest = rest.trim_start();
        let (word, after) = rest.split_once(char::is_whitespace)?;
        rest = after;
        Some(word)
    };
    let when = match word()? {
        "instant" => {
            word().filter(|at| *at == "at")?;
            When::Instant(notation::duration_ms(word()?).ok()?)
        }
        "range" => {
            let mut named = |name: &str| {
                word().filter(|word| *word == name)?;
                notation::duration_ms(word()?).ok()
            };
            When::Range { start: named("from")?, end: named("to")?, step: named("step")? }
        }
        _ => return None,
    };
    Some((when, rest.trim()))
}

/// What a range has at one of its moments, as the instant would give it.
fn only_at(answer: Answer, at: i64, scalar: bool) -> Answer {
    let Value::Matrix(rows) = answer.value else { return answer };
    let points = rows.into_iter().filter_map(|row| {
        let value = row.points().find(|(moment, _)| *moment == at)?.1;
        Some(upkeep_promql::Point { labels: row.labels, at_ms: at, value })
    });
    let points: Vec<_> = points.collect();
    let value = match points.first() {
        Some(point) if scalar => Value::Scalar { at_ms: at, value: point.value },
        _ => Value::Vector(points),
    };
    Answer { value, ..answer }
}

fn check_messages(
    kind: &str,
    got: &[String],
    wanted: &[Wanted],
    unwanted: bool,
) -> Result<(), String> {
    if unwanted && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    let is_there = |wanted: &Wanted| got.iter().any(|text| fits(wanted, without_place(text)));
    match wanted.iter().all(is_there) {
        true => Ok(()),
        false => Err(format!("a {kind} is missing; got {got:?}")),
    }
}

/// Scripts expect messages without the place that the API adds.
fn without_place(message: &str) -> &str {
    let is_place = |text: &str| {
        text.strip_suffix(')').is_some_and(|place| {
            place.split(':').count() == 2 && place.chars().all(|c| c == ':' || c.is_ascii_digit())
        })
    };
    message.rsplit_once(" (").filter(|(_, end)| is_place(end)).map_or(message, |(text, _)| text)
}

fn fits(wanted: &Wanted, message: &str) -> bool {
    match wanted {
        Wanted::Any => true,
        Wanted::Exactly(text) => message == text,
        Wanted::Like(pattern) => {
            regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(message))
        }
    }
}

fn same(one: f64, other: f64) -> bool {
    if one.is_nan() || other.is_nan() {
        return one.is_nan() && other.is_nan();
    }
    one == other || (one - other).abs() / (one.abs() + other.abs()) < 1e-6
}

fn compare(
    expected: Vec<(Labels, Vec<(i64, f64)>)>,
    got: Vec<(Labels, Vec<(i64, f64)>)>,
) -> Result<(), String> {
    let count = got.len();
    let got: BTreeMap<Labels, Vec<(i64, f64)>> = got.into_iter().collect();
    if got.len() != count {
        return Err("a series came twice".to_owned());
    }
    let mut left = got.clone();
    for (labels, points) in expected {
        let Some(found) = left.remove(&labels) else {
            return Err(format!("{labels} is missing; got {}", listed(&got)));
        };
        let fits = points.len() == found.len()
            && points
                .iter()
                .zip(&found)
                .all(|(one, other)| one.0 == other.0 && same(one.1, other.1));
        if !fits {
            return Err(format!("{labels}: expected {points:?}, got {found:?}"));
        }
    }
    if !left.is_empty() {
        return Err(format!("unexpected {}", listed(&left)));
    }
    Ok(())
}

fn listed(series: &BTreeMap<Labels, Vec<(i64, f64)>>) -> String {
    let mut text: Vec<String> =
        series.iter().map(|(labels, points)| format!("{labels} {points:?}")).collect();
    text.truncate(5);
    text.join(", ")
}
