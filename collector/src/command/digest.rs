//! `digest show|send`: what the digests say, and sending one now.

use std::io::{self, Write as _};
use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::api::{Api, ApiCommandError, Server};
use super::{CommandError, print_json};

/// Commands on digests.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show a digest as it would be sent now.
    Show(ShowArguments),
    /// Send a digest now to the receiver that the configuration names, whether it is due or not.
    Send(SendArguments),
}

/// Which digest.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// What became of alerts.
    Weekly,
    /// What happened since yesterday.
    Daily,
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Which digest.
    #[arg(default_value = "weekly")]
    pub kind: Kind,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// What to send.
#[derive(Debug, Args)]
pub struct SendArguments {
    /// Which digest.
    #[arg(default_value = "weekly")]
    pub kind: Kind,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

#[derive(Deserialize)]
struct Shown {
    title: String,
    receiver: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    summary: String,
    texts: Map<String, Value>,
}

#[derive(Deserialize)]
struct Sent {
    title: String,
    channels: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    kind: String,
    answer: Option<String>,
}

/// Runs one of the commands.
pub(super) fn run(config_file: &Path, command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Show(arguments) => {
            let data = ask(config_file, &arguments.server, Method::GET, arguments.kind)?;
            if arguments.json { print_json(&data) } else { show(serde_json::from_value(data)?) }
        }
        Command::Send(arguments) => {
            let data = ask(config_file, &arguments.server, Method::POST, arguments.kind)?;
            sent(serde_json::from_value(data)?)
        }
    }
}

fn ask(
    config_file: &Path,
    server: &Server,
    method: Method,
    kind: Kind,
) -> Result<Value, CommandError> {
    let kind = match kind {
        Kind::Weekly => "weekly",
        Kind::Daily => "daily",
    };
    let api = Api::of(config_file, server)?;
    let mut answer: Value =
        api.json(method, "/api/v1/digest", |request| request.query(&[("kind", kind)]))?;
    Ok(answer.get_mut("data").map(Value::take).unwrap_or_default())
}

fn show(shown: Shown) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", shown.title)?;
    match &shown.receiver {
        Some(receiver) => writeln!(out, "for {receiver}")?,
        None => writeln!(out, "for nobody: [digest] in the configuration names no receiver")?,
    }
    for Entry { summary, texts } in shown.entries {
        writeln!(out, "\n{summary}")?;
        for (name, text) in texts {
            writeln!(out, "  {name}: {}", text.as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Says how each channel was told; that one was not is a failure.
fn sent(sent: Sent) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    if sent.channels.is_empty() {
        writeln!(out, "{}: not sent", sent.title)?;
    }
    let mut failed = Vec::new();
    for Told { kind, answer } in sent.channels {
        match answer {
            None => writeln!(out, "{}: sent by {kind}", sent.title)?,
            Some(answer) => failed.push(format!("{kind}: {answer}")),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(ApiCommandError::Refused(failed.join("; ")).into())
}
