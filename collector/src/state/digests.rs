//! Which digests were sent.

use rusqlite::params;

use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE digests (
    kind     TEXT NOT NULL,
    receiver TEXT NOT NULL,
    channel  BIGINT NOT NULL,
    due_at   BIGINT NOT NULL,
    PRIMARY KEY (kind, receiver, channel)
);
";

impl State {
    /// Up to when each channel of a receiver has got the digests of one kind: when the last one was
    /// due that is done with, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn digests(&self, kind: &str, receiver: &str) -> Result<Vec<(usize, i64)>, StateError> {
        self.read("reading which digests were sent", |transaction| {
            let sql = "SELECT channel, due_at FROM digests
                WHERE kind = ?1 AND receiver = ?2 ORDER BY channel";
            transaction
                .prepare_cached(sql)?
                .query_map(params![kind, receiver], |row| {
                    let channel: i64 = row.get("channel")?;
                    Ok((usize::try_from(channel).unwrap_or(usize::MAX), row.get("due_at")?))
                })?
                .collect()
        })
    }

    /// Notes that channels of a receiver have got the digest that was due at a moment, or need not
    /// get it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_digest(
        &self,
        kind: &str,
        receiver: &str,
        channels: &[usize],
        due_ms: i64,
    ) -> Result<(), StateError> {
        self.write("noting that a digest was sent", |transaction| {
            let sql = "INSERT INTO digests (kind, receiver, channel, due_at)
                VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (kind, receiver, channel) DO UPDATE SET due_at = excluded.due_at";
            let mut note = transaction.prepare_cached(sql)?;
            for channel in channels {
                let channel = i64::try_from(*channel).unwrap_or(i64::MAX);
                note.execute(params![kind, receiver, channel, due_ms])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::state;

    #[test]
    fn each_channel_has_its_own_last_digest() {
        let (_folder, state) = state::temporary();
        state.note_digest("weekly", "ops", &[0, 1], 5).unwrap();
        state.note_digest("weekly", "ops", &[1], 9).unwrap();
        state.note_digest("daily", "ops", &[0], 7).unwrap();
        assert_eq!(state.digests("weekly", "ops").unwrap(), [(0, 5), (1, 9)]);
        assert_eq!(state.digests("daily", "ops").unwrap(), [(0, 7)]);
        assert_eq!(state.digests("daily", "boss").unwrap(), []);
    }
}
