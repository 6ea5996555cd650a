//! What was found damaged on the collector's own disk, and what is lost by it.
//!
//! What is damaged is set aside once and not found again after a restart, so it is kept here until
//! newer findings take its place. The same finding again is kept once.

use std::fmt;

use rusqlite::{Row, Transaction, params};
use upkeep_model::HostId;

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE damage (
    id         BIGINT PRIMARY KEY,
    part       TEXT NOT NULL,
    place      TEXT NOT NULL,
    lost       TEXT NOT NULL,
    host       TEXT,
    from_ms    BIGINT,
    through_ms BIGINT,
    found_at   BIGINT NOT NULL,
    UNIQUE (part, place, lost)
);
CREATE INDEX damage_of_host ON damage (host, id);
CREATE INDEX damage_found ON damage (found_at);
";

/// So many findings are kept, the newest: a disk that fails makes more than anybody reads.
const KEPT: u32 = 10_000;

/// Which part of what the collector keeps is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DamagedPart {
    /// The samples.
    Samples,
    /// This database.
    State,
}

impl DamagedPart {
    /// Every part.
    pub const ALL: [Self; 2] = [Self::Samples, Self::State];

    /// Its name in labels and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::State => "state",
        }
    }
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// One finding. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// What it was found in.
    pub part: DamagedPart,
    /// The file, and the place in it.
    pub place: String,
    /// What is lost.
    pub lost: String,
    /// Whose data it is; `None` if that cannot be told, and any host's may be missing.
    pub host: Option<HostId>,
    /// The data is not from before this; `None` if that cannot be told.
    pub from_ms: Option<i64>,
    /// The data is not from after this; `None` if that cannot be told.
    pub through_ms: Option<i64>,
    /// When it was found first, by the collector's clock.
    pub found_at_ms: i64,
}

impl State {
    /// Keeps findings; those that are kept already stay as they are.
    ///
    /// # Errors
    /// When the database cannot be written; then none is kept.
    pub fn declare_damage(&self, findings: &[FoundDamage]) -> Result<(), StateError> {
        self.write("declaring damage", |transaction| declare(transaction, findings))
    }

    /// The findings that were kept last, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn damage(&self, limit: u32) -> Result<Vec<FoundDamage>, StateError> {
        self.read("reading what is damaged", |transaction| {
            let sql = "SELECT * FROM damage ORDER BY id DESC LIMIT ?1";
            transaction.prepare_cached(sql)?.query_map([limit], found)?.collect()
        })
    }

    /// The same of samples that are or may be a host's, which is part of the fleet since a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn damage_of_samples(
        &self,
        host: HostId,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<FoundDamage>, StateError> {
        self.read("reading what is damaged", |transaction| {
            let sql = "SELECT * FROM damage
                WHERE part = ?1 AND (host = ?2 OR host IS NULL AND found_at >= ?3)
                ORDER BY id DESC LIMIT ?4";
            let key = params![DamagedPart::Samples.as_str(), host.to_string(), since_ms, limit];
            transaction.prepare_cached(sql)?.query_map(key, found)?.collect()
        })
    }

    /// How much was found of each part since a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count_damage(&self, since_ms: i64) -> Result<Vec<(DamagedPart, u64)>, StateError> {
        self.read("counting what is damaged", |transaction| {
            let sql = "SELECT COUNT(*) AS findings FROM damage WHERE part = ?1 AND found_at >= ?2";
            let mut counting = transaction.prepare_cached(sql)?;
            let mut count = |part: DamagedPart| {
                let key = params![part.as_str(), since_ms];
                let findings = counting.query_row(key, |row| column::unsigned(row, "findings"))?;
                Ok((part, findings))
            };
            DamagedPart::ALL.into_iter().map(&mut count).collect()
        })
    }
}

fn declare(transaction: &Transaction<'_>, findings: &[FoundDamage]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO damage (id, part, place, lost, host, from_ms, through_ms, found_at)
        SELECT COALESCE(MAX(id), 0) + 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM damage WHERE 1 = 1
        ON CONFLICT (part, place, lost) DO NOTHING";
    let mut inserting = transaction.prepare_cached(sql)?;
    for one in findings {
        inserting.execute(params![
            one.part.as_str(),
            one.place,
            one.lost,
            one.host.map(|host| host.to_string()),
            one.from_ms,
            one.through_ms,
            one.found_at_ms,
        ])?;
    }
    let sql = "DELETE FROM damage WHERE id <= (SELECT MAX(id) FROM damage) - ?1";
    transaction.execute(sql, [KEPT])?;
    Ok(())
}

fn found(row: &Row<'_>) -> rusqlite::Result<FoundDamage> {
    Ok(FoundDamage {
        part: column::damaged_part(row, "part")?,
        place: row.get("place")?,
        lost: row.get("lost")?,
        host: column::optional_host(row, "host")?,
        from_ms: row.get("from_ms")?,
        through_ms: row.get("through_ms")?,
        found_at_ms: row.get("found_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::temporary;
    use uuid::Uuid;

    fn damage(part: DamagedPart, lost: &str, host: Option<u128>, found_at_ms: i64) -> FoundDamage {
        FoundDamage {
            part,
            place: "samples.redb".to_owned(),
            lost: lost.to_owned(),
            host: host.map(|id| HostId(Uuid::from_u128(id))),
            from_ms: Some(1),
            through_ms: None,
            found_at_ms,
        }
    }

    #[test]
    fn a_finding_is_kept_once_and_told_of_whom_it_concerns() {
        use DamagedPart::{Samples, State as Base};
        let (_folder, state) = temporary();
        let first = damage(Samples, "a chunk", Some(1), 10);
        let all = [first.clone(), damage(Samples, "all", None, 20), damage(Base, "rows", None, 30)];
        state.declare_damage(&all).unwrap();
        state.declare_damage(&[FoundDamage { found_at_ms: 99, ..first }]).unwrap();
        let newest_first: Vec<_> = all.iter().rev().cloned().collect();
        assert_eq!(state.damage(9).unwrap(), newest_first);
        assert_eq!(state.damage(1).unwrap(), newest_first[..1]);
        let check = |host: u128, since_ms: i64, expect: &[&str]| {
            let id = HostId(Uuid::from_u128(host));
            let found = state.damage_of_samples(id, since_ms, 9).unwrap();
            let lost: Vec<_> = found.iter().map(|one| one.lost.as_str()).collect();
            assert_eq!(lost, expect, "host {host} since {since_ms}");
        };
        check(1, 0, &["all", "a chunk"]);
        check(2, 20, &["all"]);
        check(2, 21, &[]);
        assert_eq!(state.count_damage(20).unwrap(), [(Samples, 1), (Base, 1)]);
        assert_eq!(state.count_damage(31).unwrap(), [(Samples, 0), (Base, 0)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (_folder, state) = temporary();
        let many: Vec<_> = (0..KEPT + 5)
            .map(|number| damage(DamagedPart::Samples, &number.to_string(), None, 1))
            .collect();
        state.declare_damage(&many).unwrap();
        let kept = state.damage(u32::MAX).unwrap();
        assert_eq!((kept.len(), kept.last()), (KEPT as usize, Some(&many[5])));
    }
}
