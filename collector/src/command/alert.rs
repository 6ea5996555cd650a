//! `alert list|acknowledge|unacknowledge|deliveries|actions`: what fires, who takes care of it, who was
//! told, and what was done.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use upkeep_model::Labels;

use super::api::{Api, Server};
use super::{CommandError, print_json, print_table};

/// Commands on alerts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the alerts that fire, with their fingerprints.
    List(ListArguments),
    /// Take care of an alert: people are not told of it again until it is over or this expires.
    Acknowledge(AcknowledgeArguments),
    /// Take care of an alert no longer.
    Unacknowledge(OneArguments),
    /// Show who was told of an alert, when, and what came of it; the newest first.
    Deliveries(OneArguments),
    /// Show which actions an alert asked for, and what came of them; the newest first.
    Actions(OneArguments),
}

/// Which alerts to show.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// What they must match, such as `severity=critical`.
    #[arg(value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// What to take care of, and how.
#[derive(Debug, Args)]
pub struct AcknowledgeArguments {
    /// The alert's fingerprint, as `list` shows it.
    pub fingerprint: String,
    /// What is being done about it.
    #[arg(long)]
    pub note: String,
    /// Who takes care of it; without it, whom the token was made for.
    #[arg(long)]
    pub author: Option<String>,
    /// For how long, such as `2h`; without it, until it is over.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// Which alert.
#[derive(Debug, Args)]
pub struct OneArguments {
    /// The alert's fingerprint, as `list` shows it.
    pub fingerprint: String,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// An alert, as far as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    fingerprint: String,
    starts_at: String,
    labels: BTreeMap<String, String>,
    status: State,
    acknowledgement: Option<Acknowledgement>,
    action: Option<Run>,
    #[serde(default)]
    flapping: bool,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

#[derive(Deserialize)]
struct Acknowledgement {
    author: String,
    note: String,
}

/// What was sent, as far as it is printed.
#[derive(Deserialize)]
struct Delivery {
    last_at: String,
    tries: u64,
    receiver: String,
    kind: String,
    status: String,
    reason: String,
    outcome: String,
    answer: Option<String>,
}

/// What an action came to, as far as it is printed.
#[derive(Deserialize)]
struct Run {
    action: String,
    kind: Option<String>,
    asked_at: String,
    ended_at: Option<String>,
    outcome: String,
    status: Option<i64>,
    answer: Option<String>,
}

/// Runs one of the commands.
pub(super) fn run(config_file: &Path, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::List(arguments) => list(config_file, arguments),
        Command::Acknowledge(arguments) => {
            let expires_at = arguments
                .duration
                .map(|duration| Timestamp::now().checked_add(duration))
                .transpose()
                .map_err(|error| CommandError::Argument(error.to_string()))?;
            let body = json!({
                "note": arguments.note, "author": arguments.author, "expires_at": expires_at,
            });
            let path = path(&arguments.fingerprint, "acknowledgement")?;
            let api = Api::of(config_file, &arguments.server)?;
            Ok(api.done(Method::POST, &path, |request| request.json(&body))?)
        }
        Command::Unacknowledge(arguments) => {
            let path = path(&arguments.fingerprint, "acknowledgement")?;
            let api = Api::of(config_file, &arguments.server)?;
            Ok(api.done(Method::DELETE, &path, |request| request)?)
        }
        Command::Deliveries(arguments) => deliveries(config_file, arguments),
        Command::Actions(arguments) => actions(config_file, arguments),
    }
}

fn list(config_file: &Path, arguments: &ListArguments) -> Result<(), CommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let filters: Vec<_> = arguments.matchers.iter().map(|text| ("filter", text)).collect();
    let alerts: Value =
        api.json(Method::GET, "/api/v2/alerts", |request| request.query(&filters))?;
    if arguments.json {
        return print_json(&alerts);
    }
    let alerts: Vec<Shown> = serde_json::from_value(alerts)?;
    let rows = alerts.into_iter().map(|shown| {
        let care = shown.acknowledgement.map_or_else(
            || "-".to_owned(),
            |Acknowledgement { author, note }| format!("{author}: {note}"),
        );
        let action = shown
            .action
            .map_or_else(|| "-".to_owned(), |run| format!("{}: {}", run.action, run.outcome));
        let labels = Labels::new(shown.labels).to_string();
        let flapping = if shown.flapping { ", flapping" } else { "" };
        let state = format!("{}{flapping}", shown.status.state);
        vec![shown.fingerprint, state, shown.starts_at, care, action, labels]
    });
    let rows: Vec<_> = rows.collect();
    print_table(&["FINGERPRINT", "STATE", "SINCE", "ACKNOWLEDGED", "ACTION", "LABELS"], &rows)
}

fn actions(config_file: &Path, arguments: &OneArguments) -> Result<(), CommandError> {
    let path = path(&arguments.fingerprint, "actions")?;
    let api = Api::of(config_file, &arguments.server)?;
    let mut answer: Value = api.json(Method::GET, &path, |request| request)?;
    let runs = answer.pointer_mut("/data/actions").map(Value::take).unwrap_or_default();
    if arguments.json {
        return print_json(&runs);
    }
    let runs: Vec<Run> = serde_json::from_value(runs)?;
    let dash = || "-".to_owned();
    let rows = runs.into_iter().map(|run| {
        let what =
            run.kind.map_or_else(|| run.action.clone(), |kind| format!("{} ({kind})", run.action));
        let status = run.status.map_or_else(dash, |status| status.to_string());
        let (ended_at, answer) =
            (run.ended_at.unwrap_or_else(dash), run.answer.unwrap_or_else(dash));
        vec![run.asked_at, ended_at, what, run.outcome, status, answer]
    });
    let headings = ["ASKED", "ENDED", "ACTION", "OUTCOME", "STATUS", "ANSWER"];
    print_table(&headings, &rows.collect::<Vec<_>>())
}

fn deliveries(config_file: &Path, arguments: &OneArguments) -> Result<(), CommandError> {
    let path = path(&arguments.fingerprint, "deliveries")?;
    let api = Api::of(config_file, &arguments.server)?;
    let mut answer: Value = api.json(Method::GET, &path, |request| request)?;
    let sent = answer.pointer_mut("/data/deliveries").map(Value::take).unwrap_or_default();
    if arguments.json {
        return print_json(&sent);
    }
    let sent: Vec<Delivery> = serde_json::from_value(sent)?;
    let rows = sent.into_iter().map(|sent| {
        let answer = sent.answer.unwrap_or_else(|| "-".to_owned());
        let (to, tries) = (format!("{} ({})", sent.receiver, sent.kind), sent.tries.to_string());
        vec![sent.last_at, to, sent.status, sent.reason, tries, sent.outcome, answer]
    });
    let headings = ["AT", "TO", "STATUS", "REASON", "TRIES", "OUTCOME", "ANSWER"];
    print_table(&headings, &rows.collect::<Vec<_>>())
}

/// Where something about one alert is; a fingerprint has no character that means something there.
fn path(fingerprint: &str, what: &str) -> Result<String, CommandError> {
    let is_hexadecimal = fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fingerprint.len() != 16 || !is_hexadecimal {
        let message = format!("`{fingerprint}` is not a fingerprint of sixteen hexadecimal digits");
        return Err(CommandError::Argument(message));
    }
    Ok(format!("/api/v1/alerts/{fingerprint}/{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fingerprints_go_into_addresses() {
        let check =
            |text: &str, expect: bool| assert_eq!(path(text, "x").is_ok(), expect, "{text}");
        check("00000000000000ff", true);
        check("ff", false);
        check("00000000000000f/", false);
        check("00000000000000f?", false);
    }
}
