//! `silence add|list|expire`: what people are not told of for a while; a maintenance window is a
//! silence for hosts or tags.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use upkeep_model::{MatchOperator, Matcher};

use super::api::{Api, Server};
use super::{CommandError, print_json, print_table};
use crate::alert;

/// Commands on silences.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep people from being told of alerts for a while, and print the silence's identity.
    Add(Box<AddArguments>),
    /// Show silences.
    List(ListArguments),
    /// End silences before their time.
    Expire(ExpireArguments),
}

/// Of what, for how long, and why.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// What alerts must match, such as `alertname=HostDown` or `severity=~"warning|info"`.
    #[arg(required_unless_present_any = ["hosts", "tags"], value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Alerts of this host; may be given several times.
    #[arg(long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Alerts of hosts with this tag; of several tags a host must have all.
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    pub tags: Vec<String>,
    /// From when on, in RFC 3339; without it, now.
    #[arg(long)]
    pub start: Option<Timestamp>,
    /// For how long, such as `2h`.
    #[arg(long, value_parser = humantime::parse_duration, required_unless_present = "end")]
    pub duration: Option<Duration>,
    /// Until when, in RFC 3339.
    #[arg(long, conflicts_with = "duration")]
    pub end: Option<Timestamp>,
    /// Only at these times in between, such as `sunday 02:00-04:00` or `monday:friday 22:00-24:00`;
    /// may be given several times.
    #[arg(long = "every", value_name = "TIMES")]
    pub times: Vec<String>,
    /// The time zone of `--every`, such as `Europe/Berlin`.
    #[arg(long, default_value = "UTC", requires = "times")]
    pub zone: String,
    /// Why.
    #[arg(long)]
    pub comment: String,
    /// Who wants it; without it, the user.
    #[arg(long, env = "USER", default_value = "unknown")]
    pub author: String,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// Which silences to show.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Those that are over, too.
    #[arg(long)]
    pub expired: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// Which silences to end.
#[derive(Debug, Args)]
pub struct ExpireArguments {
    /// Their identities, as `list` shows them.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// A silence, as far as it is printed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    id: String,
    status: State,
    ends_at: String,
    created_by: String,
    comment: String,
    matchers: Vec<ShownMatcher>,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownMatcher {
    name: String,
    value: String,
    is_regex: bool,
    is_equal: bool,
}

/// Runs one of the commands.
pub(super) fn run(config_file: &Path, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Add(arguments) => {
            let silence = wanted(arguments, Timestamp::now())?;
            let api = Api::of(config_file, &arguments.server)?;
            let made: Value =
                api.json(Method::POST, "/api/v2/silences", |request| request.json(&silence))?;
            let id = made.get("silenceID").and_then(Value::as_str).unwrap_or_default();
            Ok(writeln!(io::stdout(), "{id}")?)
        }
        Command::List(arguments) => list(config_file, arguments),
        Command::Expire(arguments) => {
            let api = Api::of(config_file, &arguments.server)?;
            arguments.ids.iter().try_for_each(|id| {
                // An identity has no character that means something in an address.
                let id = uuid::Uuid::parse_str(id)
                    .map_err(|error| CommandError::Argument(format!("`{id}`: {error}")))?;
                Ok(api.done(Method::DELETE, &format!("/api/v2/silence/{id}"), |request| request)?)
            })
        }
    }
}

fn list(config_file: &Path, arguments: &ListArguments) -> Result<(), CommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let expired = [("expired", arguments.expired.to_string())];
    let silences: Value =
        api.json(Method::GET, "/api/v2/silences", |request| request.query(&expired))?;
    if arguments.json {
        return print_json(&silences);
    }
    let silences: Vec<Shown> = serde_json::from_value(silences)?;
    let row = |shown: &Shown| {
        let matchers: Vec<_> = shown.matchers.iter().map(ShownMatcher::text).collect();
        let Shown { id, status, ends_at, created_by, comment, .. } = shown;
        let (state, matchers) = (status.state.clone(), matchers.join(","));
        vec![id.clone(), state, ends_at.clone(), matchers, created_by.clone(), comment.clone()]
    };
    let rows: Vec<_> = silences.iter().map(row).collect();
    print_table(&["ID", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"], &rows)
}

/// The silence that the arguments describe.
fn wanted(arguments: &AddArguments, now: Timestamp) -> Result<Value, CommandError> {
    let refuse = CommandError::Argument;
    let mut matchers = Vec::new();
    for text in &arguments.matchers {
        matchers.extend(alert::matchers(text).map_err(|error| refuse(error.to_string()))?);
    }
    matchers.extend(of_hosts(&arguments.hosts)?);
    for tag in &arguments.tags {
        let (name, value) = tag
            .split_once('=')
            .ok_or_else(|| refuse(format!("`{tag}` is not a tag such as role=db")))?;
        matchers.push(Matcher::equal(name, value));
    }
    let start = arguments.start.unwrap_or(now);
    let end = match (arguments.end, arguments.duration) {
        (Some(end), _) => end,
        (None, duration) => start
            .checked_add(duration.unwrap_or_default())
            .map_err(|error| refuse(error.to_string()))?,
    };
    let recurrence = arguments
        .times
        .iter()
        .map(|times| interval(times, &arguments.zone))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "matchers": matchers.iter().map(view).collect::<Vec<_>>(),
        "startsAt": start, "endsAt": end,
        "createdBy": arguments.author, "comment": arguments.comment,
        "recurrence": if recurrence.is_empty() { Value::Null } else { recurrence.into() },
    }))
}

/// One matcher for all hosts that are named.
fn of_hosts(hosts: &[String]) -> Result<Option<Matcher>, CommandError> {
    let refuse = |error: upkeep_model::MatcherError| CommandError::Argument(error.to_string());
    match hosts {
        [] => Ok(None),
        [host] => Ok(Some(Matcher::equal("instance", host))),
        hosts => {
            let names: Vec<_> = hosts.iter().map(|host| regex::escape(host)).collect();
            Matcher::new("instance", MatchOperator::Matches, names.join("|"))
                .map(Some)
                .map_err(refuse)
        }
    }
}

/// `sunday 02:00-04:00`, or only the times.
fn interval(text: &str, zone: &str) -> Result<Value, CommandError> {
    let (days, times) = match text.trim().rsplit_once(' ') {
        Some((days, times)) => (Some(days.trim()), times),
        None => (None, text.trim()),
    };
    let (start, end) = times.split_once('-').ok_or_else(|| {
        CommandError::Argument(format!("`{text}` is not a time such as `sunday 02:00-04:00`"))
    })?;
    let times = json!([{"start_time": start, "end_time": end}]);
    let interval = match days {
        None => json!({"times": times, "location": zone}),
        Some(days) => {
            let days: Vec<_> = days.split(',').map(str::trim).collect();
            json!({"times": times, "location": zone, "weekdays": days})
        }
    };
    alert::Recurrence::parse(&json!([interval]).to_string())
        .map_err(|error| CommandError::Argument(format!("`{text}`: {error}")))?;
    Ok(interval)
}

fn view(matcher: &Matcher) -> Value {
    let (is_regex, is_equal) = match matcher.operator() {
        MatchOperator::Equal => (false, true),
        MatchOperator::NotEqual => (false, false),
        MatchOperator::Matches => (true, true),
        MatchOperator::NotMatches => (true, false),
    };
    json!({
        "name": matcher.name(), "value": matcher.value(),
        "isRegex": is_regex, "isEqual": is_equal,
    })
}

impl ShownMatcher {
    fn text(&self) -> String {
        let operator = match (self.is_regex, self.is_equal) {
            (false, true) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (true, false) => "!~",
        };
        format!("{}{operator}{:?}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        add: AddArguments,
    }

    /// What a command line asks for, or why it is refused.
    fn asked(line: &[&str]) -> Result<Value, String> {
        let usual = ["add", "--token-file", "t", "--comment", "c", "--author", "me"];
        let line = Line::try_parse_from(usual.iter().chain(line))
            .map_err(|_| "not to be read".to_owned())?;
        wanted(&line.add, "2027-01-01T00:00:00Z".parse().unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_window_is_for_matchers_hosts_and_tags() {
        let check = |line: &[&str], expect: &[&str]| {
            let asked = asked(line).unwrap();
            let matchers: Vec<ShownMatcher> =
                serde_json::from_value(asked["matchers"].clone()).unwrap();
            let matchers: Vec<_> = matchers.iter().map(ShownMatcher::text).collect();
            assert_eq!(matchers, expect, "{line:?}");
            assert_eq!((&asked["createdBy"], &asked["comment"]), (&json!("me"), &json!("c")));
        };
        check(&["a=b,c!~\"d|e\"", "--duration", "2h"], &["a=\"b\"", "c!~\"d|e\""]);
        check(&["--host", "web1", "--duration", "2h"], &["instance=\"web1\""]);
        check(
            &["--host", "web.1", "--host", "web2", "--tag", "role=db", "--duration", "2h"],
            &["instance=~\"web\\\\.1|web2\"", "role=\"db\""],
        );
    }

    #[test]
    fn a_window_begins_and_ends() {
        let check = |line: &[&str], expect: Result<(&str, &str), &str>| {
            let asked = asked(&[&["a=b"], line].concat());
            let span = asked.map(|asked| (asked["startsAt"].clone(), asked["endsAt"].clone()));
            let expect = expect.map(|(start, end)| (json!(start), json!(end)));
            assert_eq!(span, expect.map_err(str::to_owned), "{line:?}");
        };
        let (now, later) = ("2027-01-01T00:00:00Z", "2027-01-01T02:00:00Z");
        check(&["--duration", "2h"], Ok((now, later)));
        check(&["--end", later], Ok((now, later)));
        check(&["--start", later, "--duration", "1h"], Ok((later, "2027-01-01T03:00:00Z")));
        check(&[], Err("not to be read"));
        check(&["--duration", "2h", "--end", later], Err("not to be read"));
    }

    #[test]
    fn a_window_recurs() {
        let check = |times: &str, zone: &str, expect: Result<Value, &str>| {
            let line = ["a=b", "--duration", "2h", "--every", times, "--zone", zone];
            match (asked(&line), expect) {
                (Ok(asked), Ok(expect)) => assert_eq!(asked["recurrence"], json!([expect])),
                (Err(error), Err(expect)) => assert!(error.contains(expect), "{error}"),
                (asked, expect) => panic!("{asked:?} {expect:?}"),
            }
        };
        let times = json!([{"start_time": "02:00", "end_time": "04:00"}]);
        let (utc, berlin) = ("UTC", "Europe/Berlin");
        check("02:00-04:00", utc, Ok(json!({"times": times, "location": utc})));
        check(
            "saturday, sunday 02:00-04:00",
            berlin,
            Ok(json!({"times": times, "location": berlin, "weekdays": ["saturday", "sunday"]})),
        );
        check("sunday", utc, Err("is not a time such as"));
        check("someday 02:00-04:00", utc, Err("`someday` is not a day of the week"));
        check("04:00-02:00", utc, Err("the end must come after the start"));
        check("02:00-04:00", "Mars/Base", Err("`Mars/Base` is not a time zone"));
        assert_eq!(asked(&["a=b", "--duration", "2h"]).unwrap()["recurrence"], Value::Null);
    }
}
