//! A clock of its own for a program under test, which can be set while it runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;

/// What Debian's package `libfaketime` installs.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of the programs that were started with it. Their other clocks go on as they are.
pub struct FakeClock {
    folder: TempDir,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that is right; `None` where libfaketime is not installed.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new() -> Result<Option<Self>> {
        let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let libraries = folders.map(|folder| folder.path().join(LIBRARY));
        let Some(library) = libraries.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let clock = Self { folder: tempfile::tempdir()?, library };
        clock.set_days_ahead(0)?;
        Ok(Some(clock))
    }

    /// Sets it so many days ahead of the right time.
    ///
    /// # Errors
    /// When the file by which the programs are told cannot be written.
    pub fn set_days_ahead(&self, days: i64) -> Result<()> {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, format!("{days:+}d\n"))?;
        std::fs::rename(draft, self.file())?;
        Ok(())
    }

    /// What a program needs in its environment to see it.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let file = self.file();
        let pairs: [(&str, &Path); 4] = [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
        ];
        pairs.map(|(name, value)| (name.into(), value.into())).to_vec()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}
