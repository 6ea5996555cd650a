//! Answers from a recording instead of from the system.
//!
//! A recording is a folder. `root/` holds files as they were on the host, `proc/`, `sys/` and
//! `run/udev/data/` included. `commands.jsonl` has one command a line, with the keys `argv`, `exit`,
//! `stdout` and `stderr`. `filesystems.jsonl` has the size of one file system a line: `mount_point`
//! and the fields of [`FilesystemUsage`]. `recorded_at` has the time at which it was made. Each of
//! the four may be missing. Empty lines are skipped.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FilesystemUsage, HostError, MAX_FILE_BYTES, Output, files};

/// A recording, read into memory.
#[derive(Debug)]
pub(super) struct Recording {
    folder: PathBuf,
    commands: HashMap<Vec<String>, Output>,
    filesystems: HashMap<String, FilesystemUsage>,
    recorded_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordedCommand {
    argv: Vec<String>,
    exit: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

#[derive(Deserialize)]
struct RecordedFilesystem {
    mount_point: String,
    #[serde(flatten)]
    usage: FilesystemUsage,
}

const COMMANDS: &str = "commands.jsonl";
const FILESYSTEMS: &str = "filesystems.jsonl";
const RECORDED_AT: &str = "recorded_at";

impl Recording {
    /// Reads a recording.
    pub(super) fn load(folder: &Path) -> Result<Self, HostError> {
        files::list(folder, |_, _| ())?;
        let commands = lines(&folder.join(COMMANDS), |line: RecordedCommand| {
            let output = Output { exit: Some(line.exit), stdout: line.stdout, stderr: line.stderr };
            (line.argv, output)
        })?;
        let filesystems = lines(&folder.join(FILESYSTEMS), |line: RecordedFilesystem| {
            (line.mount_point, line.usage)
        })?;
        let recorded_at = recorded_at(&folder.join(RECORDED_AT))?;
        Ok(Self { folder: folder.to_owned(), commands, filesystems, recorded_at })
    }

    /// When the recording was made, where it tells.
    pub(super) fn recorded_at(&self) -> Option<Timestamp> {
        self.recorded_at
    }

    /// The recorded answer of a command.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Output, HostError> {
        let key: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.commands.get(&key).cloned().ok_or_else(|| HostError::NotRecorded {
            what: arguments.join(" "),
            recording: self.folder.join(COMMANDS),
        })
    }

    /// The answer about something that recordings do not hold.
    pub(super) fn lacks(&self, what: &str) -> HostError {
        HostError::NotRecorded { what: what.to_owned(), recording: self.folder.clone() }
    }

    /// Whether any command of this program was recorded.
    pub(super) fn has_program(&self, name: &str) -> bool {
        self.commands.keys().any(|argv| argv.first().is_some_and(|program| program == name))
    }

    /// The recorded size of a file system.
    pub(super) fn filesystem(&self, mount_point: &str) -> Result<FilesystemUsage, HostError> {
        self.filesystems.get(mount_point).copied().ok_or_else(|| HostError::NotRecorded {
            what: format!("the size of the file system at {mount_point}"),
            recording: self.folder.join(FILESYSTEMS),
        })
    }
}

fn recorded_at(path: &Path) -> Result<Option<Timestamp>, HostError> {
    let mut bytes = Vec::new();
    match files::read(path, MAX_FILE_BYTES, &mut bytes) {
        Err(error) if error.is_absent() => return Ok(None),
        answer => {
            answer?;
        }
    }
    let time = String::from_utf8_lossy(&bytes).trim().parse();
    time.map(Some).map_err(|error: jiff::Error| HostError::Recording {
        path: path.to_owned(),
        line: 1,
        fault: error.to_string(),
    })
}

/// Reads a file of JSON lines into a map; a key that comes twice is a fault.
fn lines<T: DeserializeOwned, K: Hash + Eq, V>(
    path: &Path,
    split: impl Fn(T) -> (K, V),
) -> Result<HashMap<K, V>, HostError> {
    let mut bytes = Vec::new();
    match files::read(path, MAX_FILE_BYTES, &mut bytes) {
        Err(error) if error.is_absent() => return Ok(HashMap::new()),
        answer => drop(answer?),
    }
    let mut map = HashMap::new();
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let faulty =
            |fault: String| HostError::Recording { path: path.to_owned(), line: number + 1, fault };
        let parsed = serde_json::from_str(line).map_err(|error| faulty(error.to_string()))?;
        let (key, value) = split(parsed);
        if map.insert(key, value).is_some() {
            return Err(faulty("repeats an earlier line".to_owned()));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Host, Tree};
    use std::time::Duration;

    fn recording(commands: &str) -> (tempfile::TempDir, Result<Host, HostError>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/proc")).unwrap();
        std::fs::write(folder.path().join("root/proc/loadavg"), "1 2 3 1/2 3\n").unwrap();
        std::fs::write(folder.path().join(COMMANDS), commands).unwrap();
        let sizes = r#"{"mount_point":"/","block_bytes":4096,"blocks":9,"blocks_free":8,"blocks_available":7,"inodes":6,"inodes_free":5}"#;
        std::fs::write(folder.path().join(FILESYSTEMS), sizes).unwrap();
        let host = Host::replay(folder.path());
        (folder, host)
    }

    #[test]
    fn a_replay_answers_from_its_folder_only() {
        let line = r#"{"argv":["uname","-m"],"exit":3,"stdout":"riscv64\n","stderr":"odd"}"#;
        let (_folder, host) = recording(&format!("{line}\n\n"));
        let host = host.unwrap();
        let minute = Duration::from_secs(60);
        let output = host.run(&["uname", "-m"], minute).unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Some(3), "riscv64\n"));
        let error = host.run(&["uname"], minute).unwrap_err().to_string();
        assert!(error.starts_with("uname: not in the recording"), "{error}");
        assert_eq!(&*host.read(Tree::Proc, "loadavg").unwrap(), "1 2 3 1/2 3\n");
        assert_eq!(host.filesystem("/").unwrap().blocks_available, 7);
        assert!(host.filesystem("/home").is_err());
        assert!(host.has_program("uname") && !host.has_program("sh"));
    }

    #[test]
    fn a_faulty_recording_names_its_line() {
        let check = |commands: &str, expect: &str| {
            let (_folder, host) = recording(commands);
            let error = host.unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        let good = r#"{"argv":["a"],"exit":0}"#;
        check("{", "commands.jsonl, line 1: ");
        check(&format!("{good}\n{good}"), "commands.jsonl, line 2: repeats");
        check(
            &format!("\n{}", r#"{"argv":["a"],"exit":0,"out":""}"#),
            "line 2: unknown field `out`",
        );
        assert!(Host::replay(Path::new("/nonexistent")).is_err());
    }
}
