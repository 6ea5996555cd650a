//! The functions that templates have besides the language's own:
//!
//! | about | functions |
//! |---|---|
//! | series | `query`, `first`, `value`, `label`, `strvalue`, `sortByLabel` |
//! | numbers | `humanize`, `humanize1024`, `humanizePercentage`, `humanizeDuration`, `humanizeTimestamp`, `parseDuration`, `toTime`, `toDuration`, `now` |
//! | text | `title`, `toUpper`, `toLower`, `match`, `reReplaceAll`, `stripPort`, `stripDomain`, `safeHtml` |
//! | links | `graphLink`, `tableLink`, `urlQueryEscape`, `externalURL`, `pathPrefix` |
//! | templates | `args`, `tmpl` |
//!
//! Moments and durations are texts here, as Go prints them: they have no methods.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError as EngineError, Value, ValueFunc};
use jiff::Timestamp;
use regex::Regex;
use upkeep_model::{METRIC_NAME, compile_pattern};

use super::{Ask, labels_value, number, syntax, text_value};

type Outcome = gotmpl::Result<Value>;
type Function = fn(&[Value]) -> Outcome;

const FUNCTIONS: &[(&str, Function)] = &[
    (syntax::SHOW, |arguments| Ok(text_value(&shown(argument(arguments, 0)?)))),
    ("first", first),
    ("value", |arguments| field(argument(arguments, 0)?, "Value")),
    ("label", label),
    ("strvalue", |arguments| member(argument(arguments, 0)?, "__value__")),
    ("sortByLabel", sort_by_label),
    ("humanize", |arguments| numeric(arguments, number::humanize)),
    ("humanize1024", |arguments| numeric(arguments, number::humanize_1024)),
    ("humanizePercentage", |arguments| numeric(arguments, number::humanize_percentage)),
    ("humanizeDuration", |arguments| numeric(arguments, number::humanize_duration)),
    ("humanizeTimestamp", |arguments| numeric(arguments, timestamp)),
    ("parseDuration", parse_duration),
    ("toTime", to_time),
    ("toDuration", |arguments| numeric(arguments, number::go_duration)),
    ("title", |arguments| textual(arguments, title)),
    ("toUpper", |arguments| textual(arguments, str::to_uppercase)),
    ("toLower", |arguments| textual(arguments, str::to_lowercase)),
    ("stripPort", |arguments| textual(arguments, |text| split_port(text).0.to_owned())),
    ("stripDomain", |arguments| textual(arguments, strip_domain)),
    ("safeHtml", |arguments| textual(arguments, str::to_owned)),
    ("match", matches),
    ("reReplaceAll", replace_all),
    ("graphLink", |arguments| textual(arguments, |text| link(text, 0))),
    ("tableLink", |arguments| textual(arguments, |text| link(text, 1))),
    ("urlQueryEscape", |arguments| textual(arguments, query_escape)),
    ("args", named_arguments),
];

/// The function that fills in a template by its name.
const INCLUDE: &str = "tmpl";

/// All of them, by name; `include` fills in a template by its name.
pub(super) fn all(include: ValueFunc) -> FuncMap {
    let entry = |(name, function): &(&str, Function)| {
        ((*name).to_owned(), Arc::new(*function) as ValueFunc)
    };
    FUNCTIONS.iter().map(entry).chain([(INCLUDE.to_owned(), include)]).collect()
}

/// The names of all functions, the language's own included.
pub(super) fn names() -> BTreeSet<String> {
    const LANGUAGE: [&str; 19] = [
        "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not",
        "or", "print", "printf", "println", "slice", "urlquery",
    ];
    let ours = FUNCTIONS.iter().map(|(name, _)| *name);
    LANGUAGE.into_iter().chain(ours).chain([INCLUDE]).map(str::to_owned).collect()
}

/// `tmpl NAME DATA`, whose answer is what the template of that name writes about the data.
pub(super) fn include(
    arguments: &[Value],
    fill: impl FnOnce(&str, &Value) -> Result<String, String>,
) -> Outcome {
    let (name, data) = (text(argument(arguments, 0)?), argument(arguments, 1)?);
    fill(&name, data).map(|text| text_value(&text)).map_err(EngineError::Exec)
}

/// Asks PromQL; the answer is a list of `Labels` and `Value`, in order of the labels.
pub(super) fn query(arguments: &[Value], ask: &Ask) -> Outcome {
    let expression = text(argument(arguments, 0)?);
    let mut points = ask(&expression).map_err(EngineError::Exec)?;
    points.sort_by(|left, right| left.labels.cmp(&right.labels));
    let samples = points.iter().map(|point| {
        Value::from_entries([
            ("Labels".to_owned(), labels_value(&point.labels)),
            ("Name".to_owned(), text_value(point.labels.get(METRIC_NAME).unwrap_or_default())),
            ("Value".to_owned(), Value::Float(point.value)),
        ])
    });
    Ok(Value::List(samples.collect()))
}

fn argument(arguments: &[Value], at: usize) -> gotmpl::Result<&Value> {
    arguments.get(at).ok_or_else(|| EngineError::Exec(format!("argument {} is missing", at + 1)))
}

fn items(value: &Value) -> gotmpl::Result<&[Value]> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(mismatch("the result of a query", other)),
    }
}

fn mismatch(wanted: &str, got: &Value) -> EngineError {
    EngineError::Exec(format!("{wanted} is wanted, not {}", got.type_name()))
}

fn first(arguments: &[Value]) -> Outcome {
    let first = items(argument(arguments, 0)?)?.first().cloned();
    first.ok_or_else(|| EngineError::Exec("first() of an empty result".to_owned()))
}

fn label(arguments: &[Value]) -> Outcome {
    member(argument(arguments, 1)?, &text(argument(arguments, 0)?))
}

/// A label of a sample; empty if the sample lacks it.
fn member(sample: &Value, name: &str) -> Outcome {
    let labels = field(sample, "Labels")?;
    Ok(labels.field(name).cloned().unwrap_or_else(|| text_value("")))
}

fn field(sample: &Value, name: &str) -> Outcome {
    sample.field(name).cloned().ok_or_else(|| mismatch("a sample", sample))
}

fn sort_by_label(arguments: &[Value]) -> Outcome {
    let name = text(argument(arguments, 0)?);
    let mut sorted = items(argument(arguments, 1)?)?.to_vec();
    sorted.sort_by_cached_key(|sample| member(sample, &name).map(|value| text(&value)).ok());
    Ok(Value::List(sorted.into()))
}

/// A value as it is printed: numbers as Go prints them, and nothing for what is absent.
fn shown(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Float(number) => number::shortest(*number),
        other => other.to_string(),
    }
}

fn text(value: &Value) -> String {
    shown(value)
}

fn textual(arguments: &[Value], change: impl FnOnce(&str) -> String) -> Outcome {
    Ok(text_value(&change(&text(argument(arguments, 0)?))))
}

fn numeric(arguments: &[Value], print: impl FnOnce(f64) -> String) -> Outcome {
    Ok(text_value(&print(float(argument(arguments, 0)?)?)))
}

fn float(value: &Value) -> gotmpl::Result<f64> {
    if let Value::String(text) = value {
        return text.parse().map_err(|_| mismatch("a number", value));
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers are printed with four digits")]
    let from_integer = value.as_int().map(|integer| integer as f64);
    value.as_float().or(from_integer).ok_or_else(|| mismatch("a number", value))
}

/// Seconds since 1970 as Go prints a moment.
fn timestamp(seconds: f64) -> String {
    moment(seconds).unwrap_or_else(|| number::shortest(seconds))
}

fn to_time(arguments: &[Value]) -> Outcome {
    let seconds = float(argument(arguments, 0)?)?;
    let wrong = || EngineError::Exec(format!("{} is no time", number::shortest(seconds)));
    moment(seconds).map(|text| text_value(&text)).ok_or_else(wrong)
}

fn moment(seconds: f64) -> Option<String> {
    #[expect(clippy::cast_possible_truncation, reason = "casts saturate, and range is checked")]
    let milliseconds = (seconds * 1000.0) as i64;
    let moment = Timestamp::from_millisecond(milliseconds).ok().filter(|_| seconds.is_finite())?;
    Some(moment.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string())
}

/// The path of the page that shows an expression, on the tab for graphs (0) or tables (1).
fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escape(expression))
}

/// As Go's `url.QueryEscape`: a blank becomes a plus sign.
fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// A map of `arg0`, `arg1`, …, to hand several values to a template.
fn named_arguments(arguments: &[Value]) -> Outcome {
    let named = arguments.iter().enumerate();
    let named = named.map(|(at, value)| (Arc::from(format!("arg{at}")), value.clone()));
    Ok(Value::Map(Arc::new(named.collect())))
}

fn parse_duration(arguments: &[Value]) -> Outcome {
    let duration = crate::yaml::duration(&text(argument(arguments, 0)?));
    duration
        .map(|duration| Value::Float(duration.as_secs_f64()))
        .map_err(|error| EngineError::Exec(error.to_string()))
}

/// Each word with a capital.
fn title(text: &str) -> String {
    let mut is_start = true;
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        if is_start {
            output.extend(character.to_uppercase());
        } else {
            output.push(character);
        }
        is_start = character.is_whitespace();
    }
    output
}

fn matches(arguments: &[Value]) -> Outcome {
    let pattern = pattern(argument(arguments, 0)?)?;
    Ok(Value::Bool(pattern.is_match(&text(argument(arguments, 1)?))))
}

fn replace_all(arguments: &[Value]) -> Outcome {
    let pattern = pattern(argument(arguments, 0)?)?;
    let replacement = text(argument(arguments, 1)?);
    let subject = text(argument(arguments, 2)?);
    Ok(text_value(&pattern.replace_all(&subject, replacement.as_str())))
}

fn pattern(value: &Value) -> gotmpl::Result<Regex> {
    compile_pattern(&text(value)).map_err(|error| EngineError::Exec(error.to_string()))
}

/// Host and port of an address; an address without a port is all host.
fn split_port(address: &str) -> (&str, Option<&str>) {
    let Some((host, port)) = address.rsplit_once(':') else {
        return (address, None);
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match bare {
        Some(host) => (host, Some(port)),
        None if host.contains(':') => (address, None),
        None => (host, Some(port)),
    }
}

/// The first part of a host name, its port kept; addresses stay whole.
fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address);
    if host.parse::<IpAddr>().is_ok() {
        return address.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}
