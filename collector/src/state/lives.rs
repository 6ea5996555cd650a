//! Which life of a buffer was accepted last.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{Life, StreamKey};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE lives (
    host  TEXT NOT NULL REFERENCES hosts (id),
    epoch TEXT NOT NULL,
    life  TEXT NOT NULL,
    PRIMARY KEY (host, epoch)
);
";

/// For a database of which changes are missing: a life from before them, beside samples from after them,
/// would make another copy of the buffer that is known.
pub(super) fn forget(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM lives", [])
}

impl State {
    /// The life of a stream's buffer that was accepted last, if one ever was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn life(&self, stream: StreamKey) -> Result<Option<Life>, StateError> {
        self.read("reading a life", |transaction| {
            let sql = "SELECT life FROM lives WHERE host = ?1 AND epoch = ?2";
            let key = params![stream.host.to_string(), stream.epoch.to_string()];
            let life = |row: &Row<'_>| column::life(row, "life");
            transaction.prepare_cached(sql)?.query_row(key, life).optional()
        })
    }

    /// Notes that a life is accepted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn accept_life(&self, stream: StreamKey, life: Life) -> Result<(), StateError> {
        self.write("accepting a life", |transaction| {
            let sql = "INSERT INTO lives (host, epoch, life) VALUES (?1, ?2, ?3)
                ON CONFLICT (host, epoch) DO UPDATE SET life = excluded.life";
            let (host, epoch) = (stream.host.to_string(), stream.epoch.to_string());
            transaction.prepare_cached(sql)?.execute(params![host, epoch, life.to_string()])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE_NAME, enrolled_host, temporary};
    use upkeep_model::Epoch;

    #[test]
    fn the_last_life_of_each_buffer_is_kept() {
        let (folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        let [first, second] = [3, 4].map(|epoch| StreamKey { host, epoch: Epoch([epoch; 16]) });
        assert_eq!(state.life(first).unwrap(), None);
        state.accept_life(first, Life([1; 16])).unwrap();
        state.accept_life(first, Life([2; 16])).unwrap();
        drop(state);
        let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(state.life(first).unwrap(), Some(Life([2; 16])));
        assert_eq!(state.life(second).unwrap(), None);
    }
}
