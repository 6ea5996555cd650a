//! Starting, awaiting and ending the programs under test.

use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at while it is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// A program of the workspace, as the build that the tests belong to left it.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of the running program")?;
    let found = own.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built; run `cargo build --workspace --bins`"))
}

/// Waits until the condition gives something, and names what it waited for when it does not.
///
/// # Errors
/// When the deadline passes; the last error of the condition is told too.
pub async fn until<T, F>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + within;
    let mut last = None;
    loop {
        match condition().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if Instant::now() > deadline {
            let last = last.map(|error| format!("; last error: {error:#}")).unwrap_or_default();
            bail!("waited {within:?} in vain for {what}{last}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a finished program left.
#[derive(Debug)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a program that must have succeeded.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub fn success(self) -> Result<String> {
        if self.code != Some(0) {
            bail!("exit {:?}\n{}{}", self.code, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Runs a command to its end, with something on its standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A program that runs until it is told to end; its output is appended to a log file.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it without a chance to do anything, as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits for that.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<Option<i32>> {
        run(Command::new("kill").arg("-TERM").arg(self.id().to_string()), "")?.success()?;
        let child = &mut self.child;
        let ended = until("the program's end after SIGTERM", within, || {
            let ended = child.try_wait();
            async move { Ok(ended?) }
        });
        Ok(ended.await?.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; what counts is that nothing is left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
