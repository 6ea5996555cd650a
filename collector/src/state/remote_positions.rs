//! How far each target of remote write was sent to.

use rusqlite::params;

use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE remote_positions (
    target  TEXT NOT NULL PRIMARY KEY,
    segment BIGINT NOT NULL,
    bytes   BIGINT NOT NULL
);
";

/// What of the samples' journal was sent to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePosition {
    /// The target's name.
    pub target: String,
    /// The journal's segment.
    pub segment: u64,
    /// How many of its bytes.
    pub bytes: u64,
}

impl State {
    /// How far each target was sent to.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn remote_positions(&self) -> Result<Vec<RemotePosition>, StateError> {
        self.read("reading the positions of remote write", |transaction| {
            let sql = "SELECT target, segment, bytes FROM remote_positions ORDER BY target";
            let mut statement = transaction.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let number = |name| row.get::<_, i64>(name).map(i64::cast_unsigned);
                let (segment, bytes) = (number("segment")?, number("bytes")?);
                Ok(RemotePosition { target: row.get("target")?, segment, bytes })
            })?;
            rows.collect()
        })
    }

    /// Notes how far a target was sent to.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_remote_position(&self, position: &RemotePosition) -> Result<(), StateError> {
        self.write("noting a position of remote write", |transaction| {
            let sql = "INSERT INTO remote_positions (target, segment, bytes) VALUES (?1, ?2, ?3)
                ON CONFLICT (target) DO UPDATE
                SET segment = excluded.segment, bytes = excluded.bytes";
            let RemotePosition { target, segment, bytes } = position;
            let values = params![target, segment.cast_signed(), bytes.cast_signed()];
            transaction.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
    }

    /// Forgets the targets that are none any more: should one come back, it begins anew.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_remote_positions(&self, except: &[String]) -> Result<(), StateError> {
        for position in self.remote_positions()? {
            if !except.contains(&position.target) {
                self.write("forgetting a position of remote write", |transaction| {
                    let sql = "DELETE FROM remote_positions WHERE target = ?1";
                    transaction.execute(sql, [&position.target])?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE_NAME, temporary};

    #[test]
    fn the_last_position_of_each_target_is_kept() {
        let (folder, state) = temporary();
        let place = |target: &str, segment, bytes| RemotePosition {
            target: target.to_owned(),
            segment,
            bytes,
        };
        assert_eq!(state.remote_positions().unwrap(), []);
        for position in [place("b", 1, 40), place("a", 2, 50), place("b", 3, u64::MAX)] {
            state.note_remote_position(&position).unwrap();
        }
        drop(state);
        let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
        let found = state.remote_positions().unwrap();
        assert_eq!(found, [place("a", 2, 50), place("b", 3, u64::MAX)]);
        state.forget_remote_positions(&["a".to_owned()]).unwrap();
        assert_eq!(state.remote_positions().unwrap(), [place("a", 2, 50)]);
    }
}
