//! The command line: one file and one variant for each group of commands.

mod alert;
mod api;
mod api_token;
mod backup;
mod chart;
mod check_config;
mod digest;
mod held;
mod host;
mod init;
mod owner;
mod query;
mod routing;
mod rules;
mod silence;
mod store;
mod token;
mod usefulness;

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;
use thiserror::Error;
use upkeep_config::ConfigError;

pub use api::ApiCommandError;

use crate::archive::ArchiveError;
use crate::ca::{Authority, CaError};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::ControlError;
use crate::state::{self, By, State, StateError};
use crate::yaml::Faults;

/// The configuration file that is used where none is named.
const DEFAULT_CONFIG: &str = "/etc/upkeep/collector.toml";

/// Receives what agents report, stores it, judges it by rules, alerts, and serves it over HTTP.
#[derive(Debug, Parser)]
#[command(name = "upkeep-collector", version)]
pub struct CommandLine {
    /// The configuration file.
    #[arg(long, global = true, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the collector can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until a signal says to stop.
    Serve,
    /// Make the certificate authority and the collector's own certificate.
    Init(init::Arguments),
    /// Enrollment tokens, by which hosts join.
    #[command(subcommand)]
    Token(token::Command),
    /// API tokens, for programs and people.
    #[command(subcommand)]
    ApiToken(api_token::Command),
    /// The hosts of the fleet.
    #[command(subcommand)]
    Host(host::Command),
    /// Copy everything that a collector needs into a folder, while it runs or not.
    Backup(backup::BackupArguments),
    /// Fill an empty data folder from a backup; the collector must not run.
    Restore(backup::RestoreArguments),
    /// The samples as they lie on disk.
    #[command(subcommand)]
    Store(store::Command),
    /// The value of a PromQL expression, by the HTTP API.
    Query(query::Arguments),
    /// The rules that hosts are judged by.
    #[command(subcommand)]
    Rules(rules::Command),
    /// Who is told of alerts.
    #[command(subcommand)]
    Routing(routing::Command),
    /// What people are not told of for a while, by the HTTP API.
    #[command(subcommand)]
    Silence(silence::Command),
    /// What fires, who takes care of it and who was told, by the HTTP API.
    #[command(subcommand)]
    Alert(alert::Command),
    /// What people read now and then instead of being alerted of it, by the HTTP API.
    #[command(subcommand)]
    Digest(digest::Command),
    /// What is out of tolerance by the control charts, by the HTTP API.
    #[command(subcommand)]
    Chart(chart::Command),
    /// Check the configuration and say what it comes to.
    CheckConfig,
}

/// Why a command could not do what it was asked.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The certificate authority refuses.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// The state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No token can be made of what was given.
    #[error("no token can be made: {0}")]
    Token(#[from] upkeep_wire::TokenError),
    /// The collector gives no answer.
    #[error(transparent)]
    Api(#[from] ApiCommandError),
    /// Rule files have faults, which were told one by one.
    #[error("the rules have {0}")]
    Rules(String),
    /// Unit tests of rules have faults or failed, which was told one by one.
    #[error("{failures} failures and {faults} faults")]
    RuleTests {
        /// How many expectations were not met.
        failures: usize,
        /// How many faults the files have.
        faults: usize,
    },
    /// The rules or the routing file cannot be used.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// What was named does not exist.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// What kind of thing it is.
        what: &'static str,
        /// How it was named.
        name: String,
    },
    /// The data as a whole cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A backup cannot be made or restored.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A server has the samples open, and its socket is not there.
    #[error("a collector has the samples open and cannot be asked; its log says why")]
    Unreachable,
    /// A server of another version answers something else.
    #[error("the collector answers something else than it was asked; is it of another version?")]
    Unexpected,
    /// Something is damaged, and was told.
    #[error("{findings} findings of damage")]
    Damaged {
        /// How many.
        findings: usize,
    },
    /// Nothing can be said about damage.
    #[error("{0}")]
    Unread(Box<CommandError>),
    /// It was not confirmed.
    #[error("nothing was deleted; give --yes to do it")]
    Unconfirmed,
    /// An argument has a value that it cannot have.
    #[error("{0}")]
    Argument(String),
    /// Root gave the command, and it cannot go on as the owner of the data.
    #[error("cannot go on as the owner of {}: {source}", folder.display())]
    Owner {
        /// The folder of the data.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The output cannot be put into JSON.
    #[error("cannot write the output: {0}")]
    Json(#[from] serde_json::Error),
}

impl CommandError {
    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Unread(_)) { 2 } else { 1 }
    }
}

/// Runs any command but `serve`.
///
/// # Errors
/// When it cannot do what it was asked; nothing was changed then.
pub fn run(line: &CommandLine) -> Result<(), CommandError> {
    match &line.command {
        Command::Serve | Command::CheckConfig => {
            check_config::run(&Config::load(&line.config)?, &line.config)
        }
        Command::Rules(command) => rules::run(&line.config, command),
        Command::Routing(command) => routing::run(command, || Ok(Config::load(&line.config)?)),
        Command::Silence(command) => silence::run(&line.config, command),
        Command::Alert(command) => alert::run(&line.config, command),
        Command::Digest(command) => digest::run(&line.config, command),
        Command::Chart(command) => chart::run(&line.config, command),
        Command::Query(arguments) => Ok(query::run(&line.config, arguments)?),
        Command::Init(arguments) => init::run(&config_of_owner(line)?, arguments),
        Command::Token(command) => token::run(&config_of_owner(line)?, command),
        Command::ApiToken(command) => api_token::run(&config_of_owner(line)?, command),
        Command::Host(command) => host::run(&config_of_owner(line)?, command),
        Command::Backup(arguments) => {
            backup::back_up(&config_of_owner(line)?, &line.config, arguments)
        }
        Command::Restore(arguments) => backup::restore(&config_of_owner(line)?, arguments),
        Command::Store(command) => {
            let config = config_of_owner(line);
            store::run(&config.map_err(|error| CommandError::Unread(Box::new(error)))?, command)
        }
    }
}

/// The configuration, for commands that leave something in the data folder: they run as its owner.
fn config_of_owner(line: &CommandLine) -> Result<Config, CommandError> {
    let config = Config::load(&line.config)?;
    let folder = &config.data_dir;
    owner::go_on_as_owner_of(folder)
        .map_err(|source| CommandError::Owner { folder: folder.clone(), source })?;
    Ok(config)
}

/// Opens the state of a collector that was initialised.
fn open_state(config: &Config) -> Result<State, CommandError> {
    Authority::open(&config.data_dir, config.certificates.host_lifetime.0)?;
    Ok(State::open(&config.data_dir.join(state::FILE_NAME))?)
}

/// Who runs this command, now.
fn by_operator() -> By {
    let user = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    By { actor: format!("command-line:uid {user}"), at_ms: Clock::system().now_ms() }
}

fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

/// Prints rows under their headings, columns aligned.
fn print_table(headings: &[&str], rows: &[Vec<String>]) -> Result<(), CommandError> {
    let width = |column: usize, heading: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(heading.len())
    };
    let widths: Vec<usize> =
        headings.iter().enumerate().map(|(column, heading)| width(column, heading)).collect();
    let mut out = io::stdout().lock();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A moment for people; a dash where there is none.
fn moment(at_ms: Option<i64>) -> String {
    at_ms
        .and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok())
        .map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
