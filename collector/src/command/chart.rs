//! `chart list|show`: what is out of tolerance on which host, and why.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Args, Subcommand};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Server};
use super::{CommandError, print_json, print_table};

/// Commands on control charts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the charts stand, those out of tolerance first.
    List(ListArguments),
    /// Show the points of a chart, and how it came to its limits.
    Show(ShowArguments),
}

/// Which charts to show.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Those of a host.
    #[arg(long)]
    pub host: Option<String>,
    /// Those of a signal.
    #[arg(long)]
    pub signal: Option<String>,
    /// Only those out of tolerance.
    #[arg(long)]
    pub broken: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// Which chart to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The host.
    pub host: String,
    /// The signal, as `list` shows it.
    pub signal: String,
    /// The first moment, in RFC 3339 or seconds since 1970; without it, a day before the end.
    #[arg(long)]
    pub start: Option<String>,
    /// The last moment; without it, now.
    #[arg(long)]
    pub end: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// A chart, as far as it is printed.
#[derive(Deserialize)]
struct Shown {
    instance: String,
    signal: String,
    broken_since: Option<String>,
    phase: String,
    #[serde(flatten)]
    point: Point,
}

/// A point of a chart.
#[derive(Deserialize)]
struct Point {
    at: String,
    value: Option<f64>,
    center: Option<f64>,
    lower_limit: Option<f64>,
    upper_limit: Option<f64>,
    broken: Vec<String>,
}

/// Runs one of the commands.
pub(super) fn run(config_file: &Path, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::List(arguments) => list(config_file, arguments),
        Command::Show(arguments) => show(config_file, arguments),
    }
}

fn list(config_file: &Path, arguments: &ListArguments) -> Result<(), CommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let broken = if arguments.broken { "true" } else { "false" };
    let mut parameters = vec![("limit", "10000"), ("broken", broken)];
    parameters.extend(arguments.host.as_deref().map(|host| ("host", host)));
    parameters.extend(arguments.signal.as_deref().map(|signal| ("signal", signal)));
    let mut answer: Value =
        api.json(Method::GET, "/api/v1/charts", |request| request.query(&parameters))?;
    let data = answer.get_mut("data").map(Value::take).unwrap_or_default();
    if arguments.json {
        return print_json(&data);
    }
    let charts = data.get("charts").cloned().unwrap_or_default();
    let charts: Vec<Shown> = serde_json::from_value(charts)?;
    let rows = charts.into_iter().map(|shown| {
        let Shown { instance, signal, broken_since, phase, point } = shown;
        let since = broken_since.unwrap_or_else(|| "-".to_owned());
        let [at, value, center, limits, broken] = point.cells();
        vec![instance, signal, value, center, limits, broken, since, phase, at]
    });
    let headings =
        ["HOST", "SIGNAL", "VALUE", "CENTRE", "LIMITS", "BROKEN", "SINCE", "PHASE", "AT"];
    print_table(&headings, &rows.collect::<Vec<_>>())
}

fn show(config_file: &Path, arguments: &ShowArguments) -> Result<(), CommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let ends = [("start", arguments.start.as_deref()), ("end", arguments.end.as_deref())];
    let given = ends.into_iter().filter_map(|(name, moment)| Some((name, moment?)));
    let given: Vec<_> = given.collect();
    let path = path(&arguments.host, &arguments.signal)?;
    let mut answer: Value = api.json(Method::GET, &path, |request| request.query(&given))?;
    let data = answer.get_mut("data").map(Value::take).unwrap_or_default();
    if arguments.json {
        return print_json(&data);
    }
    let points = data.get("points").cloned().unwrap_or_default();
    let points: Vec<Point> = serde_json::from_value(points)?;
    let rows: Vec<_> = points.into_iter().map(|point| point.cells().to_vec()).collect();
    print_table(&["AT", "VALUE", "CENTRE", "LIMITS", "BROKEN"], &rows)?;
    let told = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (unit, baseline) = (told("/unit"), told("/baseline/explanation"));
    Ok(writeln!(io::stdout().lock(), "\nunit: {unit}\nbaseline: {baseline}")?)
}

impl Point {
    /// When, the value, the centre, both limits, and the broken rules.
    fn cells(self) -> [String; 5] {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let limits = format!("{} to {}", number(self.lower_limit), number(self.upper_limit));
        let limits = if self.lower_limit.is_none() { "-".to_owned() } else { limits };
        let broken = if self.broken.is_empty() { "-".to_owned() } else { self.broken.join(", ") };
        [self.at, number(self.value), number(self.center), limits, broken]
    }
}

/// A number with about four digits, for people.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 || (size > 0.0 && size < 1e-3) => format!("{value:.3e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The path of a chart, whatever is in the names.
fn path(host: &str, signal: &str) -> Result<String, CommandError> {
    if [host, signal].iter().any(|name| ["", ".", ".."].contains(name)) {
        let message = format!("there is no chart of `{signal}` of a host `{host}`");
        return Err(CommandError::Argument(message));
    }
    // Only the path counts.
    let url = Url::parse("http://host/api/v1/charts");
    let mut url = url.map_err(|error| CommandError::Argument(error.to_string()))?;
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend([host, signal]);
    }
    Ok(url.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_addresses() {
        let check = |host: &str, expect: Option<&str>| {
            assert_eq!(path(host, "swap_in").ok().as_deref(), expect, "{host}");
        };
        check("web1:9100", Some("/api/v1/charts/web1:9100/swap_in"));
        check("a/b?c#d e%", Some("/api/v1/charts/a%2Fb%3Fc%23d%20e%25/swap_in"));
        check("..", None);
        check("", None);
    }

    #[test]
    fn numbers_are_short() {
        let check = |value: f64, expect: &str| assert_eq!(number(value), expect);
        check(0.0, "0.0000");
        check(0.01234, "0.0123");
        check(-1.5, "-1.50");
        check(1234.5, "1234");
        check(2.5e9, "2.500e9");
        check(0.000012, "1.200e-5");
    }
}
