//! Pending updates of the hosts, and since when each is pending.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{HostId, Knowledge, ManagerReport, PackageUpdate, Stay, UpdateReport};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE updates (
    host        TEXT PRIMARY KEY REFERENCES hosts (id),
    received_at BIGINT NOT NULL,
    report      TEXT NOT NULL
);
CREATE TABLE pending_updates (
    host         TEXT NOT NULL REFERENCES hosts (id),
    manager      TEXT NOT NULL,
    package      TEXT NOT NULL,
    architecture TEXT NOT NULL,
    offered      TEXT NOT NULL,
    installed    TEXT NOT NULL,
    origin       TEXT NOT NULL,
    security     BOOLEAN NOT NULL,
    held         BOOLEAN NOT NULL,
    first_seen   BIGINT NOT NULL,
    PRIMARY KEY (host, manager, package, architecture, offered)
);
";

/// Since it is told why an update stays, and what it is for.
pub(super) const SCHEMA_STAYS: &str = "
ALTER TABLE pending_updates ADD COLUMN severity TEXT NOT NULL DEFAULT '';
ALTER TABLE pending_updates ADD COLUMN advisories TEXT NOT NULL DEFAULT '[]';
ALTER TABLE pending_updates ADD COLUMN stays TEXT NOT NULL DEFAULT '';
UPDATE pending_updates SET stays = 'kept_back' WHERE held;
ALTER TABLE pending_updates DROP COLUMN held;
";

/// What a host last said about its patches.
#[derive(Clone, Debug, PartialEq)]
pub struct HostUpdates {
    /// When it came, by the collector's clock, milliseconds since 1970.
    pub received_at_ms: i64,
    /// What it said.
    pub report: UpdateReport,
    /// Each update that is pending as far as is known. Where the newest report could not tell, these
    /// are of the one before, and the report says that it could not.
    pub pending: Vec<PendingUpdate>,
}

/// One update of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingUpdate {
    /// The package manager that offers it.
    pub manager: String,
    /// The update.
    pub update: PackageUpdate,
    /// Since when some update of this package is pending, milliseconds since 1970: by the clock of
    /// the host's report that named it first.
    pub first_seen_ms: i64,
}

impl State {
    /// What a host last said about its patches; `None` if it never did.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn updates(&self, host: HostId) -> Result<Option<HostUpdates>, StateError> {
        self.read("reading a host's updates", |transaction| {
            let sql = "SELECT * FROM updates WHERE host = ?1";
            let stored = transaction
                .prepare_cached(sql)?
                .query_row([host.to_string()], |row| {
                    Ok((row.get("received_at")?, column::json(row, "report")?))
                })
                .optional()?;
            let Some((received_at_ms, report)) = stored else { return Ok(None) };
            let sql = "SELECT * FROM pending_updates WHERE host = ?1
                ORDER BY security DESC, package, architecture, offered";
            let pending = transaction
                .prepare_cached(sql)?
                .query_map([host.to_string()], pending)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(HostUpdates { received_at_ms, report, pending }))
        })
    }
}

/// Takes a report in the place of the host's one before. What a manager could not tell leaves its
/// updates as they were: not knowing is no news of their installation.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    host: HostId,
    report: &UpdateReport,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO updates (host, received_at, report) VALUES (?1, ?2, ?3)
        ON CONFLICT (host) DO UPDATE
        SET received_at = excluded.received_at, report = excluded.report";
    transaction.execute(sql, params![host.to_string(), now_ms, column::to_json(report)?])?;
    forget_vanished_managers(transaction, host, &report.managers)?;
    for manager in &report.managers {
        if let Knowledge::Known(updates) = &manager.updates {
            replace(transaction, host, &manager.manager, updates, report.checked_at_ms)?;
        }
    }
    Ok(())
}

fn forget_vanished_managers(
    transaction: &Transaction<'_>,
    host: HostId,
    managers: &[ManagerReport],
) -> rusqlite::Result<()> {
    let sql = "SELECT DISTINCT manager FROM pending_updates WHERE host = ?1";
    let stored: Vec<String> = transaction
        .prepare_cached(sql)?
        .query_map([host.to_string()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in stored {
        if managers.iter().all(|manager| manager.manager != name) {
            forget(transaction, host, &name)?;
        }
    }
    Ok(())
}

fn replace(
    transaction: &Transaction<'_>,
    host: HostId,
    manager: &str,
    updates: &[PackageUpdate],
    checked_at_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "SELECT * FROM pending_updates WHERE host = ?1 AND manager = ?2";
    let before: Vec<PendingUpdate> = transaction
        .prepare_cached(sql)?
        .query_map(params![host.to_string(), manager], pending)?
        .collect::<rusqlite::Result<_>>()?;
    forget(transaction, host, manager)?;
    let sql = "INSERT INTO pending_updates (host, manager, package, architecture, offered,
        installed, origin, security, severity, advisories, stays, first_seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO NOTHING";
    let mut insert = transaction.prepare_cached(sql)?;
    for update in updates {
        // A package that is pending for long is so even if ever newer versions are offered.
        let first_seen_ms = before
            .iter()
            .filter(|one| {
                one.update.package == update.package
                    && one.update.architecture == update.architecture
            })
            .map(|one| one.first_seen_ms)
            .min()
            .unwrap_or(checked_at_ms);
        insert.execute(params![
            host.to_string(),
            manager,
            update.package,
            update.architecture,
            update.offered,
            update.installed,
            update.origin,
            update.security,
            update.severity,
            column::to_json(&update.advisories)?,
            update.stays.map_or("", Stay::as_str),
            first_seen_ms
        ])?;
    }
    Ok(())
}

fn forget(transaction: &Transaction<'_>, host: HostId, manager: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM pending_updates WHERE host = ?1 AND manager = ?2";
    transaction.execute(sql, params![host.to_string(), manager])?;
    Ok(())
}

fn pending(row: &Row<'_>) -> rusqlite::Result<PendingUpdate> {
    Ok(PendingUpdate {
        manager: row.get("manager")?,
        update: PackageUpdate {
            package: row.get("package")?,
            architecture: row.get("architecture")?,
            installed: row.get("installed")?,
            offered: row.get("offered")?,
            origin: row.get("origin")?,
            security: row.get("security")?,
            severity: row.get("severity")?,
            advisories: column::json(row, "advisories")?,
            stays: column::stay(row, "stays")?,
        },
        first_seen_ms: row.get("first_seen")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{hosts, temporary};
    use upkeep_model::RebootReport;
    use uuid::Uuid;

    fn offer(package: &str, offered: &str) -> PackageUpdate {
        PackageUpdate {
            package: package.into(),
            offered: offered.into(),
            ..PackageUpdate::default()
        }
    }

    fn report(
        checked_at_ms: i64,
        managers: Vec<(&str, Knowledge<Vec<PackageUpdate>>)>,
    ) -> UpdateReport {
        let managers = managers.into_iter().map(|(manager, updates)| ManagerReport {
            manager: manager.into(),
            updates,
            ..ManagerReport::default()
        });
        let reboot = Knowledge::Known(RebootReport::default());
        UpdateReport {
            checked_at_ms,
            managers: managers.collect(),
            reboot,
            ..UpdateReport::default()
        }
    }

    #[test]
    fn a_package_is_pending_since_it_was_first_seen() {
        let (_folder, state) = temporary();
        let host = HostId(Uuid::from_u128(1));
        let say = |report: &UpdateReport| {
            state.write("test", |transaction| apply(transaction, host, report, 99)).unwrap();
            let pending = state.updates(host).unwrap().unwrap().pending;
            let seen =
                |one: PendingUpdate| (one.update.package, one.update.offered, one.first_seen_ms);
            pending.into_iter().map(seen).collect::<Vec<_>>()
        };
        state
            .write("test", |transaction| hosts::insert(transaction, host, "web1", "0.1.0", 1))
            .unwrap();
        let row = |package: &str, offered: &str, at| (package.to_owned(), offered.to_owned(), at);
        assert!(state.updates(host).unwrap().is_none());

        let both = Knowledge::Known(vec![offer("curl", "1"), offer("bash", "1")]);
        let seen = say(&report(10, vec![("apt", both)]));
        assert_eq!(seen, [row("bash", "1", 10), row("curl", "1", 10)]);

        let newer = Knowledge::Known(vec![offer("curl", "2"), offer("zlib", "1")]);
        let seen = say(&report(20, vec![("apt", newer)]));
        assert_eq!(seen, [row("curl", "2", 10), row("zlib", "1", 20)]);

        let unknown = report(30, vec![("apt", Knowledge::Unknown("apt-get is busy".into()))]);
        assert_eq!(say(&unknown).len(), 2);
        assert_eq!(state.updates(host).unwrap().unwrap().report, unknown);

        assert_eq!(say(&report(40, vec![])), []);
    }
}
