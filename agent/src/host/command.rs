//! Programs, run with a deadline and a bound on what they print.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::HostError;

/// The folders in which programs are looked for; the caller's own search path is never used.
pub(super) const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The same folders as the search path that programs are given for their own children.
const SEARCH_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The most that is taken of each of a program's two streams, in bytes: a full upgrade of a
/// distribution with every package installed stays well under it.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// How often a program that has closed its streams is asked whether it has ended.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// What a program said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its exit status; `None` if a signal ended it.
    pub exit: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// Runs a program to its end, or ends it with all its children.
pub(super) fn run(arguments: &[&str], deadline: Duration) -> Result<Output, HostError> {
    let (name, rest) = arguments
        .split_first()
        .ok_or_else(|| HostError::NoProgram { program: String::new(), searched: SEARCH_PATH })?;
    let program = find(name)?;
    let until = Instant::now() + deadline;
    let mut command = Command::new(program);
    command
        .args(rest)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", SEARCH_PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    lead_own_group(&mut command);
    let failed = |source| HostError::Run { program: (*name).to_owned(), source };
    let mut child = command.spawn().map_err(failed)?;
    let outcome = gather(&mut child, until);
    if outcome.is_err() {
        end(&mut child);
    }
    outcome.map_err(|stop| match stop {
        Stop::Deadline => HostError::Deadline { program: (*name).to_owned(), after: deadline },
        Stop::TooMuch => {
            HostError::TooMuchOutput { program: (*name).to_owned(), limit: MAX_OUTPUT_BYTES }
        }
        Stop::Io(source) => failed(source),
    })
}

/// Why a program is not waited for any longer.
enum Stop {
    Deadline,
    TooMuch,
    Io(io::Error),
}

fn find(name: &str) -> Result<PathBuf, HostError> {
    let given = PathBuf::from(name);
    if given.is_absolute() {
        return Ok(given);
    }
    FOLDERS
        .iter()
        .map(|folder| PathBuf::from(folder).join(name))
        .find(|path| !name.contains('/') && path.is_file())
        .ok_or_else(|| HostError::NoProgram { program: name.to_owned(), searched: SEARCH_PATH })
}

/// Reads both streams to their ends and waits for the exit. The readers end with the streams: a
/// program that is ended takes its whole process group along.
fn gather(child: &mut Child, until: Instant) -> Result<Output, Stop> {
    let (sender, receiver) = mpsc::sync_channel(2);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>),
    ];
    for (which, stream) in streams.into_iter().enumerate() {
        let Some(stream) = stream else { continue };
        let sender = sender.clone();
        thread::Builder::new()
            .name("command output".to_owned())
            .spawn(move || drop(sender.send((which, drain(stream)))))
            .map_err(Stop::Io)?;
    }
    drop(sender);
    let mut texts = [String::new(), String::new()];
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok((which, read)) => {
                if let Some(text) = texts.get_mut(which) {
                    *text = String::from_utf8_lossy(&read?).into_owned();
                }
            }
            Err(RecvTimeoutError::Timeout) => return Err(Stop::Deadline),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let exit = wait(child, until)?.code();
    let [stdout, stderr] = texts;
    Ok(Output { exit, stdout, stderr })
}

fn drain(stream: Box<dyn Read + Send>) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    stream.take(MAX_OUTPUT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(Stop::Io)?;
    if bytes.len() > MAX_OUTPUT_BYTES { Err(Stop::TooMuch) } else { Ok(bytes) }
}

fn wait(child: &mut Child, until: Instant) -> Result<ExitStatus, Stop> {
    loop {
        if let Some(status) = child.try_wait().map_err(Stop::Io)? {
            return Ok(status);
        }
        if Instant::now() >= until {
            return Err(Stop::Deadline);
        }
        thread::sleep(EXIT_POLL);
    }
}

#[cfg(unix)]
fn lead_own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn lead_own_group(_command: &mut Command) {}

/// Ends a program and what it started. Both may have ended by themselves meanwhile, so a refusal is
/// no fault; the wait leaves no zombie.
fn end(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ended = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    drop(child.kill());
    drop(child.wait());
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_gets_a_cleared_environment_and_its_answer_is_whole() {
        let output = run(&["env"], MINUTE).unwrap();
        let mut lines: Vec<&str> = output.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let output = run(&["sh", "-c", "echo out; echo bad >&2; exit 7"], MINUTE).unwrap();
        assert_eq!(
            output,
            Output { exit: Some(7), stdout: "out\n".to_owned(), stderr: "bad\n".to_owned() }
        );
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let script = format!("sleep 60 & echo $! > {}; wait", file.display());
        let error = run(&["sh", "-c", &script], Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, HostError::Deadline { .. }), "{error}");
        let child = std::fs::read_to_string(file).unwrap();
        let limit = Instant::now() + Duration::from_secs(30);
        // An ended process whose parent has not asked for it yet is a zombie.
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() {
            assert!(Instant::now() < limit, "the child outlived its parent");
            thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_floods_is_ended() {
        let error = run(&["sh", "-c", "exec cat /dev/zero"], MINUTE).unwrap_err();
        assert!(matches!(error, HostError::TooMuchOutput { .. }), "{error}");
    }

    #[test]
    fn only_the_systems_folders_are_searched() {
        for name in ["no-such-program", "../bin/sh", ""] {
            assert!(run(&[name], MINUTE).unwrap_err().is_absent(), "{name}");
        }
        assert!(run(&[], MINUTE).is_err());
    }
}
