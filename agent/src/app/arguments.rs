//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Gathers a host's health and pending patches, and streams them to the collector.
#[derive(Debug, Parser)]
#[command(name = "upkeep-agent", version)]
pub(super) struct Arguments {
    /// The configuration [default: /etc/upkeep/agent.toml, and conf.d/*.toml beside it].
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) paths: PathArguments,
    /// Answer every file and command from a recording in place of this machine.
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) replay: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the host's file systems are found.
#[derive(Debug, Args)]
pub(super) struct PathArguments {
    /// Where the host's root file system is found.
    #[arg(long = "path.rootfs", global = true, value_name = "DIR")]
    pub(super) rootfs: Option<PathBuf>,
    /// Where the host's /proc is found.
    #[arg(long = "path.procfs", global = true, value_name = "DIR")]
    pub(super) procfs: Option<PathBuf>,
    /// Where the host's /sys is found.
    #[arg(long = "path.sysfs", global = true, value_name = "DIR")]
    pub(super) sysfs: Option<PathBuf>,
    /// Where the host's /run/udev/data is found.
    #[arg(long = "path.udev.data", global = true, value_name = "DIR")]
    pub(super) udev_data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Observe this host and deliver what is seen, until a signal ends it.
    Run,
    /// Exchange a token for this host's identity.
    Enroll(EnrollArguments),
    /// Show who this host is to its collector, and what waits to be delivered.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print one observation in Prometheus' text format.
    Metrics(MetricsArguments),
    /// Print how the disks are, and what speaks against them.
    Disks {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the pending updates, and whether a restart is due.
    Updates {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration.
    CheckConfig,
    /// Refresh the package lists, as root. The agent never does so by itself;
    /// upkeep-agent-refresh.timer, which is off until it is enabled, runs this daily.
    Refresh,
    /// Answer one question of the agent on standard input, a socket; upkeep-agent-helper.socket
    /// starts this.
    Helper,
}

#[derive(Debug, Args)]
pub(super) struct EnrollArguments {
    /// The file that holds the token, or - for standard input. A token is never an argument, since
    /// other users could see it. The file is deleted once the host is enrolled.
    #[arg(long, env = "UPKEEP_ENROLL_TOKEN_FILE", value_name = "FILE")]
    pub(super) token_file: PathBuf,
    /// Enroll anew although this host is enrolled; it becomes another host to the collector.
    #[arg(long)]
    pub(super) force: bool,
    /// Keep the token's file, for an image from which many hosts are made.
    #[arg(long)]
    pub(super) keep_token: bool,
}

#[derive(Debug, Args)]
pub(super) struct MetricsArguments {
    /// Ask the probes that are off by default, too.
    #[arg(long)]
    pub(super) all: bool,
    /// A folder whose *.prom files are read, or a pattern of folders; may be given more than once.
    /// It takes the place of those that the configuration names.
    #[arg(long = "textfile.directory", value_name = "DIR")]
    pub(super) textfile_directory: Vec<String>,
}
