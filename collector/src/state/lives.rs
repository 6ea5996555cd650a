//! Which life of a buffer was accepted last.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{Epoch, HostId, Life, StreamKey};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE lives (
    host  TEXT NOT NULL REFERENCES hosts (id),
    epoch TEXT NOT NULL,
    life  TEXT NOT NULL,
    PRIMARY KEY (host, epoch)
);
";

/// In which order the lives of a host were accepted; those from before this step are the first.
pub(super) const SCHEMA_ORDER: &str = "
ALTER TABLE lives ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
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

    /// The epoch of which a host's life was accepted last, if one ever was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_epoch(&self, host: HostId) -> Result<Option<Epoch>, StateError> {
        self.read("reading an epoch", |transaction| {
            let sql = "SELECT epoch FROM lives WHERE host = ?1 ORDER BY place DESC LIMIT 1";
            let epoch = |row: &Row<'_>| column::epoch(row, "epoch");
            transaction.prepare_cached(sql)?.query_row([host.to_string()], epoch).optional()
        })
    }

    /// Notes that a life is accepted.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn accept_life(&self, stream: StreamKey, life: Life) -> Result<(), StateError> {
        self.write("accepting a life", |transaction| {
            let sql = "INSERT INTO lives (host, epoch, life, place)
                SELECT ?1, ?2, ?3, 1 + coalesce(max(place), 0) FROM lives WHERE host = ?1
                ON CONFLICT (host, epoch) DO UPDATE SET life = excluded.life, place = excluded.place";
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

    #[test]
    fn the_epoch_that_was_accepted_last_is_known() {
        let (_folder, state) = temporary();
        let [host, other] =
            [(1, "web1"), (2, "web2")].map(|(id, name)| enrolled_host(&state, id, name));
        let [first, second] = [3, 4].map(|epoch| StreamKey { host, epoch: Epoch([epoch; 16]) });
        assert_eq!(state.last_epoch(host).unwrap(), None);
        for (life, stream) in [(1, first), (2, second), (3, first)] {
            state.accept_life(stream, Life([life; 16])).unwrap();
            assert_eq!(state.last_epoch(host).unwrap(), Some(stream.epoch));
        }
        assert_eq!(state.last_epoch(other).unwrap(), None);
    }
}
