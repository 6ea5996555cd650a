//! A host made of files: the agent reads this tree in place of the machine's own, so that a story
//! decides what it sees.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

/// A recording as `upkeep-agent --replay` takes it: `root/` and `commands.jsonl`.
pub struct FakeHost {
    folder: TempDir,
}

impl FakeHost {
    /// A small healthy Debian machine without pending updates.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(hostname: &str) -> Result<Self> {
        let host = Self { folder: tempfile::tempdir()? };
        for (path, text) in [
            (
                "proc/stat",
                "cpu  100 0 50 1000 5 0 1 0 0 0\ncpu0 100 0 50 1000 5 0 1 0 0 0\nintr 5000 1\nctxt 9000\nbtime 1700000000\nprocesses 1234\nprocs_running 1\nprocs_blocked 0\nsoftirq 100 1\n",
            ),
            (
                "proc/meminfo",
                "MemTotal:        2048000 kB\nMemFree:         1024000 kB\nMemAvailable:    1536000 kB\n",
            ),
            (
                "proc/net/dev",
                "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n",
            ),
            (
                "proc/1/net/dev",
                "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n",
            ),
            ("proc/diskstats", "   8       0 sda 100 0 800 50 200 0 1600 70 0 90 120\n"),
            ("proc/uptime", "1000.00 900.00\n"),
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Example CPU\n"),
            ("proc/mounts", ""),
            ("proc/1/mountinfo", ""),
            ("proc/self/mountinfo", ""),
            ("proc/sys/kernel/osrelease", "6.1.0-40-amd64\n"),
            ("proc/sys/kernel/ostype", "Linux\n"),
            ("proc/sys/kernel/version", "#1 SMP\n"),
            ("proc/sys/kernel/domainname", "(none)\n"),
            ("proc/sys/kernel/arch", "x86_64\n"),
            ("proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555\n"),
            (
                "etc/os-release",
                "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
            ),
        ] {
            host.write(path, text)?;
        }
        host.write("proc/sys/kernel/hostname", &format!("{hostname}\n"))?;
        host.write("etc/hostname", &format!("{hostname}\n"))?;
        host.set_load(0.1)?;
        host.command(&[], 0, "")?;
        Ok(host)
    }

    /// The folder for `--replay`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file into the host's tree, whole at once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root().join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text)?;
        std::fs::rename(draft, path)?;
        Ok(())
    }

    /// Sets the load averages.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_load(&self, load: f64) -> Result<()> {
        self.write("proc/loadavg", &format!("{load:.2} {load:.2} {load:.2} 1/100 4321\n"))
    }

    /// Records what a command answers; an empty `argv` only makes the recording exist.
    ///
    /// # Errors
    /// When the recording cannot be written.
    pub fn command(&self, argv: &[&str], exit: i32, stdout: &str) -> Result<()> {
        let path = self.path().join("commands.jsonl");
        let mut text = if path.exists() { std::fs::read_to_string(&path)? } else { String::new() };
        if !argv.is_empty() {
            let line =
                serde_json::json!({"argv": argv, "exit": exit, "stdout": stdout, "stderr": ""});
            text.push_str(&format!("{line}\n"));
        }
        std::fs::write(path, text)?;
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.path().join("root")
    }
}
