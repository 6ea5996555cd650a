//! Who has the database open. Processes share it, by a lock on the file `state.lock` beside it; whoever
//! puts another database in the place of a damaged one has it alone, since what another process
//! changed meanwhile would go with the damaged one. The lock ends with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::StateError;

/// How long one waits for the other: a salvage takes less.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked whether the other is done.
const LOOK: Duration = Duration::from_millis(20);

/// As long as this lives, the database is held.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "closing the file ends the lock")] File);

/// Shares the database with others.
pub(super) fn share(database: &Path) -> Result<Hold, StateError> {
    wait(database, File::try_lock_shared)
}

/// Has it alone.
pub(super) fn alone(database: &Path) -> Result<Hold, StateError> {
    wait(database, File::try_lock)
}

fn wait(
    database: &Path,
    lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<Hold, StateError> {
    let path = database.with_extension("lock");
    let failed = |source: io::Error| StateError::File { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    let begun = Instant::now();
    loop {
        match lock(&file) {
            Ok(()) => return Ok(Hold(file)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse { path: database.to_owned() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::state::{FILE_NAME, State};

    #[test]
    fn whoever_has_it_alone_keeps_others_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let shared = [State::open(&path).unwrap(), State::open(&path).unwrap()];
        let file = File::open(path.with_extension("lock")).unwrap();
        assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        drop(shared);

        let held = alone(&path).unwrap();
        let (opening, opened) = mpsc::channel();
        let other = thread::spawn(move || {
            let state = State::open(&path);
            opening.send(Instant::now()).unwrap();
            state.map(drop)
        });
        assert!(opened.recv_timeout(10 * LOOK).is_err());
        let released = Instant::now();
        drop(held);
        assert!(opened.recv().unwrap() >= released);
        other.join().unwrap().unwrap();
    }
}
