//! `backup` and `restore`

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CommandError, by_operator, held};
use crate::archive::{self, Staged};
use crate::config::Config;
use crate::control::{Answer, Request};
use crate::state::{self, Action, Outcome, State};

/// Where the backup goes.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The folder to make; there must be nothing of that name yet.
    #[arg(value_name = "TO")]
    to: PathBuf,
}

/// Where the backup is.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The folder that `backup` made.
    #[arg(value_name = "FROM")]
    from: PathBuf,
}

/// Makes a backup, whether the server runs or not.
pub(super) fn back_up(
    config: &Config,
    config_file: &Path,
    arguments: &BackupArguments,
) -> Result<(), CommandError> {
    let to = &arguments.to;
    archive::check_free(to)?;
    let by = by_operator();
    let (state, answer) = held::ask(config, &Request::Backup)?;
    let Answer::Staged { folder, damage } = answer else {
        return Err(CommandError::Unexpected);
    };
    let staged = Staged { folder, damage };
    let manifest = archive::finish(&staged, to, &configuration(config, config_file), by.at_ms)?;
    let subject = to.display().to_string();
    state.record_audit(&by, Action::Backup, &subject, Outcome::Done, "")?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    eprintln!("{subject}: {} files, {bytes} bytes", manifest.files.len());
    for damage in &manifest.damage {
        eprintln!("damaged: {damage}");
    }
    match manifest.damage.len() {
        0 => Ok(()),
        findings => Err(CommandError::Damaged { findings }),
    }
}

/// What the collector is set up by.
fn configuration(config: &Config, config_file: &Path) -> Vec<PathBuf> {
    let drop_ins = config_file.parent().map(|folder| folder.join("conf.d"));
    let mut paths = vec![config_file.to_owned()];
    paths.extend(drop_ins);
    paths.extend(config.rules.folder_if_any());
    paths.extend(config.alerts.routing_file());
    paths
}

/// Fills an empty data folder.
pub(super) fn restore(config: &Config, arguments: &RestoreArguments) -> Result<(), CommandError> {
    let manifest = archive::restore(&arguments.from, &config.data_dir)?;
    let state = State::open(&config.data_dir.join(state::FILE_NAME))?;
    let subject = arguments.from.display().to_string();
    let detail = format!("made by version {}", manifest.version);
    state.record_audit(&by_operator(), Action::Restore, &subject, Outcome::Done, &detail)?;
    eprintln!("{} is restored from {subject}.", config.data_dir.display());
    for damage in &manifest.damage {
        eprintln!("damaged already when it was copied: {damage}");
    }
    Ok(())
}
