//! A real agent in a folder of its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::collector::Collector;
use crate::process::{Output, Running, binary, run};

/// How long an agent may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is logged, with the times of what is durable.
const USUAL: &str = "info,upkeep_agent::scheduler=debug";

/// The same, with everything that is made durable.
const WITH_LEDGER: &str = "info,upkeep_agent::scheduler=debug,upkeep_agent::buffer::history=trace";

/// What an agent logs when its collector no longer has what it acknowledged. It sends that again as long
/// as it keeps it, so nothing would be missing.
pub const FORGOTTEN: &str = "the collector lost what it had acknowledged";

/// What a story sets; everything else stays at its default.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// How often it observes, as the configuration has it, such as `"1s"`.
    pub interval: Option<String>,
    /// A recorded host to observe in place of this machine.
    pub replay: Option<PathBuf>,
    /// More lines of TOML for the configuration, in a drop-in.
    pub settings: String,
    /// Where its keys and its buffer are to be; a folder of its own unless given.
    pub state_dir: Option<PathBuf>,
    /// Whether its log tells everything that it makes durable, for a [`crate::Ledger`].
    pub ledger: bool,
}

/// An agent with its state, enrolled or not.
pub struct Agent {
    folder: TempDir,
    state_dir: PathBuf,
    replay: Option<PathBuf>,
    log_filter: &'static str,
    environment: Vec<(OsString, OsString)>,
    running: Option<Running>,
}

impl Agent {
    /// An agent that is configured and neither enrolled nor running.
    ///
    /// # Errors
    /// When its folder cannot be written.
    pub fn new(options: &AgentOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let interval = options.interval.as_deref().unwrap_or("1s");
        let state_dir = options.state_dir.clone().unwrap_or_else(|| folder.path().join("state"));
        let main = format!(
            "state_dir = {state_dir:?}\ninterval = \"{interval}\"\n[uplink]\nbackoff_max = \"1s\"\n",
        );
        std::fs::create_dir_all(folder.path().join("conf.d"))?;
        std::fs::write(folder.path().join("agent.toml"), main)?;
        std::fs::write(folder.path().join("conf.d/10-story.toml"), &options.settings)?;
        let replay = options.replay.clone();
        let log_filter = if options.ledger { WITH_LEDGER } else { USUAL };
        let environment = Vec::new();
        Ok(Self { folder, state_dir, replay, log_filter, environment, running: None })
    }

    /// An agent that is enrolled and runs.
    ///
    /// # Errors
    /// When either fails.
    pub fn start(collector: &Collector, options: &AgentOptions) -> Result<Self> {
        let mut agent = Self::new(options)?;
        agent.enroll(&collector.token()?)?.success()?;
        agent.launch()?;
        Ok(agent)
    }

    /// Gives its next lives more of an environment.
    pub fn set_environment(&mut self, environment: Vec<(OsString, OsString)>) {
        self.environment = environment;
    }

    /// Enrolls with a token given on standard input.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn enroll(&self, token: &str) -> Result<Output> {
        run(self.program()?.args(["enroll", "--token-file", "-"]), token)
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let mut command = self.program()?;
        command.env("RUST_LOG", self.log_filter).arg("run");
        self.end_line()?;
        self.running = Some(Running::start(&mut command, &self.log_path())?);
        Ok(())
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the agent does not run")?.kill()
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end in time, or not with 0.
    pub async fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the agent does not run")?;
        match running.stop(PATIENCE).await? {
            Some(0) => Ok(()),
            other => bail!("the agent ended with {other:?}: {}", self.log()?),
        }
    }

    /// Runs one of its commands.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        run(self.program()?.args(arguments), "")
    }

    /// The process id of the running agent.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("the agent does not run")?.id())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.running {
            Some(running) => Ok(!running.has_ended()?),
            None => Ok(false),
        }
    }

    /// The timestamps of all frames that the agent has confirmed as durable, from its log, over all
    /// its lives.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn confirmed(&self) -> Result<Vec<i64>> {
        let stamp = |line: &str| {
            let (_, rest) = line.split_once("observation is durable")?;
            let (_, rest) = rest.split_once("timestamp_ms=")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Ok(plain(&self.log()?).lines().filter_map(stamp).collect())
    }

    /// Everything that it has logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_path())?)
    }

    /// How long the log is by now.
    ///
    /// # Errors
    /// When there is none.
    pub fn log_bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.log_path())?.len())
    }

    /// What it has logged since the log was so long.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log_since(&self, bytes: u64) -> Result<String> {
        let mut file = File::open(self.log_path())?;
        file.seek(SeekFrom::Start(bytes))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Its identity, as enrollment stored it.
    ///
    /// # Errors
    /// When it is not enrolled.
    pub fn identity(&self) -> Result<Value> {
        let path = self.state_dir().join("identity.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The folder that holds its keys and its buffer.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    /// The folder of its configuration.
    pub fn configuration_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Ends a line of the log that a kill cut off, so that the next life begins one of its own.
    fn end_line(&self) -> Result<()> {
        let mut file =
            File::options().create(true).read(true).append(true).open(self.log_path())?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("agent.log")
    }

    fn program(&self) -> Result<Command> {
        // The benchmark measures the agent as it is shipped, which has a profile of its own.
        let shipped = std::env::var_os("UPKEEP_AGENT").map(PathBuf::from);
        let mut command = Command::new(shipped.map_or_else(|| binary("upkeep-agent"), Ok)?);
        command.envs(self.environment.iter().cloned());
        command.arg("--config").arg(self.folder.path().join("agent.toml"));
        if let Some(replay) = &self.replay {
            command.arg("--replay").arg(replay);
        }
        Ok(command)
    }
}

/// The log without the colours that a terminal would show.
fn plain(log: &str) -> String {
    let mut text = String::with_capacity(log.len());
    let mut inside = false;
    for character in log.chars() {
        match character {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            other => text.push(other),
        }
    }
    text
}
