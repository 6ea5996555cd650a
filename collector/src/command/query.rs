//! `query`: asks the collector's HTTP API for the value of a PromQL expression.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use upkeep_model::Labels;

use super::api::{Api, ApiCommandError, Server};

/// What to ask, and whom.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The PromQL expression.
    pub expression: String,
    /// The moment to evaluate at, as seconds since 1970 or RFC 3339; without it, now.
    #[arg(long, conflicts_with_all = ["start", "end", "step"])]
    pub time: Option<String>,
    /// The first moment of a range.
    #[arg(long, requires_all = ["end", "step"])]
    pub start: Option<String>,
    /// The last moment of a range.
    #[arg(long, requires_all = ["start", "step"])]
    pub end: Option<String>,
    /// The time between two moments of a range, such as `30s` or `5m`.
    #[arg(long, requires_all = ["start", "end"])]
    pub step: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
    /// Print the API's answer as it came.
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints: values to the standard output, warnings to the standard error.
///
/// # Errors
/// When there is no value.
pub(super) fn run(config_file: &Path, arguments: &Arguments) -> Result<(), ApiCommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let resource = if arguments.start.is_some() { "query_range" } else { "query" };
    let mut form = vec![("query", arguments.expression.as_str())];
    let optional = [
        ("time", &arguments.time),
        ("start", &arguments.start),
        ("end", &arguments.end),
        ("step", &arguments.step),
    ];
    form.extend(optional.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    let path = format!("/api/v1/{resource}");
    let (_, body) = api.ask(Method::POST, &path, |request| request.form(&form))?;
    let response: Response = serde_json::from_str(&body)?;
    if let Response::Error { error } = response {
        return Err(ApiCommandError::Refused(error));
    }
    let printed = if arguments.json { format!("{body}\n") } else { render(&response) };
    io::stdout().write_all(printed.as_bytes())?;
    if let Response::Success { warnings, infos, .. } = response {
        for note in warnings.iter().chain(&infos) {
            writeln!(io::stderr(), "{note}")?;
        }
    }
    Ok(())
}

/// Prometheus' answer, as far as it is printed.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Response {
    Success {
        data: Data,
        #[serde(default)]
        warnings: Vec<String>,
        #[serde(default)]
        infos: Vec<String>,
    },
    Error {
        error: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar(Value),
    String(Value),
    Vector(Vec<Point>),
    Matrix(Vec<Row>),
}

/// Seconds since 1970, and the value as text.
#[derive(Debug, Deserialize)]
struct Value(f64, String);

#[derive(Debug, Deserialize)]
struct Point {
    metric: BTreeMap<String, String>,
    value: Value,
}

#[derive(Debug, Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    values: Vec<Value>,
}

/// The answer for people: one line a value, series aligned.
fn render(response: &Response) -> String {
    let Response::Success { data, .. } = response else { return String::new() };
    match data {
        Data::Scalar(value) | Data::String(value) => format!("{}\n", value.1),
        Data::Vector(points) => {
            let series = |point: &Point| (name(&point.metric), point.value.1.clone());
            aligned(&points.iter().map(series).collect::<Vec<_>>())
        }
        Data::Matrix(rows) => {
            let mut text = String::new();
            for row in rows {
                text.push_str(&name(&row.metric));
                text.push('\n');
                for Value(seconds, value) in &row.values {
                    let _ = writeln!(text, "  {}  {value}", moment(*seconds));
                }
            }
            text
        }
    }
}

fn aligned(lines: &[(String, String)]) -> String {
    let width = lines.iter().map(|(series, _)| series.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (series, value) in lines {
        let _ = writeln!(text, "{series:<width$}  {value}");
    }
    text
}

fn name(metric: &BTreeMap<String, String>) -> String {
    Labels::new(metric.iter().map(|(name, value)| (name.as_str(), value.as_str()))).to_string()
}

/// A time in RFC 3339, or the number of seconds where the calendar ends.
fn moment(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, then the calendar ends"
    )]
    let at_ms = (seconds * 1000.0).round() as i64;
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_printed_for_people() {
        let check = |json: &str, expect: &str| {
            let response: Response = serde_json::from_str(json).unwrap();
            assert_eq!(render(&response), expect);
        };
        check(r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#, "2\n");
        check(r#"{"status":"success","data":{"resultType":"string","result":[4.5,"x"]}}"#, "x\n");
        check(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "");
        check(
            r#"{"status":"success","data":{"resultType":"vector","result":[
                {"metric":{"__name__":"up","job":"a"},"value":[4,"1"]},
                {"metric":{},"value":[4,"+Inf"]}]},"warnings":["w"]}"#,
            "up{job=\"a\"}  1\n{}           +Inf\n",
        );
        check(
            r#"{"status":"success","data":{"resultType":"matrix","result":[
                {"metric":{"__name__":"up"},"values":[[0,"1"],[1.5,"NaN"]]}]}}"#,
            "up\n  1970-01-01T00:00:00Z  1\n  1970-01-01T00:00:01.5Z  NaN\n",
        );
    }

    #[test]
    fn a_range_needs_all_of_its_parts() {
        use clap::Parser;

        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            query: Arguments,
        }

        let check = |arguments: &[&str], accepted: bool| {
            let line = ["query", "--token-file", "t", "up"].iter().chain(arguments);
            assert_eq!(Line::try_parse_from(line).is_ok(), accepted, "{arguments:?}");
        };
        check(&[], true);
        check(&["--time", "4"], true);
        check(&["--start", "1", "--end", "2", "--step", "1"], true);
        check(&["--start", "1"], false);
        check(&["--start", "1", "--step", "1"], false);
        check(&["--start", "1", "--end", "2", "--step", "1", "--time", "4"], false);
    }
}
