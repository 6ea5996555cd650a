//! A copy of the database, as it is at one moment, while it is used.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{BUSY_TIMEOUT, State, StateError, check, restrict};

/// All pages in one step: the copy is of one moment, and nobody waits for it.
const ALL_PAGES: i32 = -1;

impl State {
    /// Copies the database page by page, so that rows keep their places, and makes the copy durable.
    /// Tells what of it is not as it was written.
    ///
    /// # Errors
    /// When the database cannot be read, or the copy not be written.
    pub fn copy_to(&self, to: &Path) -> Result<Vec<String>, StateError> {
        let file = |source| StateError::File { path: to.to_owned(), source };
        restrict(to).map_err(file)?;
        let failed = |source| StateError::Statement { action: "copying the state", source };
        let from = Connection::open(&self.connections.path).map_err(failed)?;
        from.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        let mut copy = Connection::open(to).map_err(failed)?;
        loop {
            let step = Backup::new(&from, &mut copy).and_then(|backup| backup.step(ALL_PAGES));
            if step.map_err(failed)? == StepResult::Done {
                break;
            }
        }
        // One file, without a write-ahead log beside it.
        copy.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
        copy.close().map_err(|(_, source)| failed(source))?;
        let faults = check::faults(to)?;
        File::open(to).and_then(|copy| copy.sync_all()).map_err(file)?;
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE_NAME, enrolled_host, temporary};

    #[test]
    fn a_copy_is_whole_and_of_one_moment() {
        let (folder, state) = temporary();
        for id in 1..50 {
            enrolled_host(&state, id, &format!("web{id}"));
        }
        let copied = folder.path().join("copy").join(FILE_NAME);
        std::fs::create_dir(folder.path().join("copy")).unwrap();
        assert_eq!(state.copy_to(&copied).unwrap(), Vec::<String>::new());
        enrolled_host(&state, 50, "later");
        let names: Vec<_> = std::fs::read_dir(folder.path().join("copy")).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let copy = State::open_checked(&copied, 0).unwrap();
        assert_eq!(copy.hosts().unwrap(), state.hosts().unwrap()[1..]);
        assert_eq!(copy.damage(9).unwrap(), []);
    }
}
