//! `store verify`

use std::io::{self, Write as _};

use clap::{Args, Subcommand};

use super::{CommandError, held, moment, print_json};
use crate::config::Config;
use crate::control::{Answer, Finding, Request, Verified};

/// Commands on the samples as they lie on disk.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read all samples and tell what is damaged. Ends with 0 if nothing is, with 1 if something is,
    /// with 2 if they cannot be read.
    Verify(VerifyArguments),
}

/// How to tell it.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands.
pub(super) fn run(config: &Config, command: &Command) -> Result<(), CommandError> {
    let Command::Verify(arguments) = command;
    let unread = |error| CommandError::Unread(Box::new(error));
    let (_, answer) = held::ask(config, &Request::Verify).map_err(unread)?;
    let Answer::Verified(read) = answer else { return Err(unread(CommandError::Unexpected)) };
    if arguments.json {
        print_json(&read).map_err(unread)?;
    } else {
        print(&read).map_err(|error| unread(error.into()))?;
    }
    match read.damage.len() {
        0 => Ok(()),
        findings => Err(CommandError::Damaged { findings }),
    }
}

fn print(read: &Verified) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Verified { chunks, series, streams, dictionaries, segments, entries, damage } = read;
    writeln!(
        out,
        "read: {chunks} chunks, {series} series, {streams} streams, {dictionaries} dictionaries, \
         {entries} entries in {segments} segments of the journal"
    )?;
    for Finding { place, lost, host, from_ms, through_ms } in damage {
        let host = host.map_or_else(|| "any host".to_owned(), |host| format!("host {host}"));
        let (from, through) = (moment(*from_ms), moment(*through_ms));
        writeln!(out, "damaged: {place}: {lost} (samples of {host}, {from} to {through})")?;
    }
    Ok(())
}
