//! A recording of a host that a test makes, as `docs/replay.md` describes it.

use std::time::{SystemTime, UNIX_EPOCH};

use upkeep_agent::host::Host;
use upkeep_agent::patch::{self, Memory};
use upkeep_model::UpdateReport;

/// A recording in a folder of its own.
pub(crate) struct Recording {
    /// Where it lies.
    pub(crate) folder: tempfile::TempDir,
    /// The lines of `commands.jsonl`.
    pub(crate) commands: String,
}

impl Recording {
    /// A recording of a host without files and programs.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), commands: String::new() }
    }

    /// Adds what a command answered.
    pub(crate) fn command(mut self, argv: &[&str], exit: i32, stdout: &str, stderr: &str) -> Self {
        let line = serde_json::json!({
            "argv": argv, "exit": exit, "stdout": stdout, "stderr": stderr,
        });
        self.commands.push_str(&format!("{line}\n"));
        self
    }

    /// Adds a file of the host.
    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let path = self.folder.path().join("root").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// What the agent tells of the host at a moment.
    pub(crate) fn report(&self, now: SystemTime, memory: &mut Memory) -> UpdateReport {
        std::fs::write(self.folder.path().join("commands.jsonl"), &self.commands).unwrap();
        let now = now.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        patch::report(&Host::replay(self.folder.path()).unwrap(), now, memory)
    }
}
