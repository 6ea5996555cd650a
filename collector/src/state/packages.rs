//! The packages that are installed on the hosts.
//!
//! A host sends all of them once and then what changed, each under the hash of the state it leads
//! to. A state that does not come out at its hash is kept, since most of it is right, but under no
//! hash: the host hears at its next connection that another state than its own is here, and sends
//! everything again.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use upkeep_model::{HostId, InstalledPackage, PackageInventory, state_hash};

use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE package_states (
    host       TEXT NOT NULL REFERENCES hosts (id),
    manager    TEXT NOT NULL,
    hash       TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (host, manager)
);
CREATE TABLE packages (
    host         TEXT NOT NULL REFERENCES hosts (id),
    manager      TEXT NOT NULL,
    name         TEXT NOT NULL,
    architecture TEXT NOT NULL,
    version      TEXT NOT NULL,
    PRIMARY KEY (host, manager, name, architecture, version)
);
CREATE INDEX packages_by_name ON packages (name, host);
";

/// What is known of one manager's packages on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageState {
    /// The manager.
    pub manager: String,
    /// The hash of the state; empty where it is not the one that the host has.
    pub hash: String,
    /// When it last changed, by the collector's clock, milliseconds since 1970.
    pub changed_at_ms: i64,
}

/// One package of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPackage {
    /// The host.
    pub host: HostId,
    /// The name that the fleet knows it by.
    pub instance: String,
    /// The manager that installed it.
    pub manager: String,
    /// The package.
    pub package: InstalledPackage,
}

/// Where a page of packages begins: behind this one, which the page before ended with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageCursor {
    /// Its host's name in the fleet.
    pub instance: String,
    /// Its manager.
    pub manager: String,
    /// The package.
    pub package: InstalledPackage,
}

/// Which packages are asked for; an empty filter means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageFilter {
    /// Of one host only.
    pub host: Option<HostId>,
    /// Of this name only.
    pub name: Option<String>,
    /// Only what comes after this one in the answer's order.
    pub after: PackageCursor,
}

impl State {
    /// What is known of a host's packages, a state a manager.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn package_states(&self, host: HostId) -> Result<Vec<PackageState>, StateError> {
        self.read("reading the states of packages", |transaction| {
            let sql = "SELECT * FROM package_states WHERE host = ?1 ORDER BY manager";
            let state = |row: &Row<'_>| {
                Ok(PackageState {
                    manager: row.get("manager")?,
                    hash: row.get("hash")?,
                    changed_at_ms: row.get("changed_at")?,
                })
            };
            transaction.prepare_cached(sql)?.query_map([host.to_string()], state)?.collect()
        })
    }

    /// Installed packages in the order of instance, manager, name, architecture and version, at
    /// most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn packages(
        &self,
        filter: &PackageFilter,
        limit: u32,
    ) -> Result<Vec<HostPackage>, StateError> {
        let PackageFilter { host, name, after } = filter;
        self.read("reading packages", |transaction| {
            let sql = "SELECT packages.*, hosts.instance FROM packages
                JOIN hosts ON hosts.id = packages.host
                WHERE (?1 IS NULL OR packages.host = ?1) AND (?2 IS NULL OR packages.name = ?2)
                    AND (hosts.instance, manager, name, architecture, version)
                        > (?3, ?4, ?5, ?6, ?7)
                ORDER BY hosts.instance, manager, name, architecture, version LIMIT ?8";
            let PackageCursor { instance, manager, package } = after;
            let values = params![
                host.map(|host| host.to_string()),
                name,
                instance,
                manager,
                package.name,
                package.architecture,
                package.version,
                limit
            ];
            transaction.prepare_cached(sql)?.query_map(values, host_package)?.collect()
        })
    }
}

/// Takes what a host says of its packages. What was taken before changes nothing.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    host: HostId,
    inventory: &PackageInventory,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let manager = inventory.manager.as_str();
    let known = known_hash(transaction, host, manager)?;
    if known.as_deref() == Some(inventory.hash.as_str()) {
        return Ok(());
    }
    if inventory.base.is_none() {
        let sql = "DELETE FROM packages WHERE host = ?1 AND manager = ?2";
        transaction.prepare_cached(sql)?.execute(params![host.to_string(), manager])?;
    }
    for package in &inventory.removed {
        let sql = "DELETE FROM packages WHERE host = ?1 AND manager = ?2
            AND name = ?3 AND architecture = ?4 AND version = ?5";
        change(transaction, sql, host, manager, package)?;
    }
    for package in &inventory.installed {
        let sql = "INSERT INTO packages (host, manager, name, architecture, version)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        change(transaction, sql, host, manager, package)?;
    }
    let reached = state_hash(&state_of(transaction, host, manager)?);
    let hash = if reached == inventory.hash { reached } else { String::new() };
    let sql = "INSERT INTO package_states (host, manager, hash, changed_at) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (host, manager) DO UPDATE
        SET hash = excluded.hash, changed_at = excluded.changed_at";
    transaction.prepare_cached(sql)?.execute(params![host.to_string(), manager, hash, now_ms])?;
    Ok(())
}

fn known_hash(
    transaction: &Transaction<'_>,
    host: HostId,
    manager: &str,
) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT hash FROM package_states WHERE host = ?1 AND manager = ?2";
    let key = params![host.to_string(), manager];
    transaction.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

fn change(
    transaction: &Transaction<'_>,
    sql: &str,
    host: HostId,
    manager: &str,
    package: &InstalledPackage,
) -> rusqlite::Result<()> {
    let InstalledPackage { name, architecture, version } = package;
    let values = params![host.to_string(), manager, name, architecture, version];
    transaction.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn state_of(
    transaction: &Transaction<'_>,
    host: HostId,
    manager: &str,
) -> rusqlite::Result<Vec<InstalledPackage>> {
    let sql = "SELECT * FROM packages WHERE host = ?1 AND manager = ?2";
    transaction
        .prepare_cached(sql)?
        .query_map(params![host.to_string(), manager], installed)?
        .collect()
}

fn installed(row: &Row<'_>) -> rusqlite::Result<InstalledPackage> {
    Ok(InstalledPackage {
        name: row.get("name")?,
        architecture: row.get("architecture")?,
        version: row.get("version")?,
    })
}

fn host_package(row: &Row<'_>) -> rusqlite::Result<HostPackage> {
    Ok(HostPackage {
        host: column::host(row, "host")?,
        instance: row.get("instance")?,
        manager: row.get("manager")?,
        package: installed(row)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{enrolled_host, temporary};

    fn package(name: &str, version: &str) -> InstalledPackage {
        let architecture = "amd64".to_owned();
        InstalledPackage { name: name.to_owned(), architecture, version: version.to_owned() }
    }

    fn hash(state: &[(&str, &str)]) -> String {
        let state: Vec<_> = state.iter().map(|(name, version)| package(name, version)).collect();
        state_hash(&state)
    }

    /// What leads from one state to another; from nothing, it is everything.
    fn difference(base: Option<&[(&str, &str)]>, state: &[(&str, &str)]) -> PackageInventory {
        let old = base.unwrap_or_default();
        let only = |these: &[(&str, &str)], those: &[(&str, &str)]| {
            let missing = these.iter().filter(|one| !those.contains(one));
            missing.map(|(name, version)| package(name, version)).collect()
        };
        PackageInventory {
            manager: "dpkg".to_owned(),
            base: base.map(hash),
            hash: hash(state),
            installed: only(state, old),
            removed: only(old, state),
        }
    }

    fn take(state: &State, host: HostId, inventory: &PackageInventory) {
        state.write("taking", |transaction| apply(transaction, host, inventory, 7)).unwrap();
    }

    fn names(state: &State, filter: &PackageFilter, limit: u32) -> Vec<String> {
        let packages = state.packages(filter, limit).unwrap();
        let text = |one: HostPackage| {
            format!("{} {} {}", one.instance, one.package.name, one.package.version)
        };
        packages.into_iter().map(text).collect()
    }

    #[test]
    fn differences_lead_from_state_to_state() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        let first = [("bash", "1"), ("zlib", "1"), ("kernel", "5"), ("kernel", "6")];
        let second = [("bash", "2"), ("kernel", "6"), ("kernel", "7")];
        take(&state, host, &difference(None, &first));
        take(&state, host, &difference(Some(&first), &second));
        let expect = ["web1 bash 2", "web1 kernel 6", "web1 kernel 7"];
        assert_eq!(names(&state, &PackageFilter::default(), 9), expect);
        let known = state.package_states(host).unwrap().remove(0);
        assert_eq!((known.hash, known.changed_at_ms), (hash(&second), 7));
        take(&state, host, &difference(None, &first));
        assert_eq!(names(&state, &PackageFilter::default(), 9).len(), first.len());
    }

    #[test]
    fn a_state_that_does_not_come_out_at_its_hash_has_none() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "web1");
        take(&state, host, &difference(None, &[("bash", "1")]));
        let unseen = [("bash", "1"), ("zlib", "1")];
        take(&state, host, &difference(Some(&unseen), &[("bash", "2"), ("zlib", "1")]));
        assert_eq!(state.package_states(host).unwrap()[0].hash, "");
        let whole = difference(None, &[("bash", "1")]);
        take(&state, host, &whole);
        assert_eq!(state.package_states(host).unwrap()[0].hash, whole.hash);
        assert_eq!(names(&state, &PackageFilter::default(), 9), ["web1 bash 1"]);
    }

    #[test]
    fn packages_are_found_by_host_and_name_and_come_by_pages() {
        let (_folder, state) = temporary();
        let (web, database) =
            (enrolled_host(&state, 1, "web1"), enrolled_host(&state, 2, "database"));
        take(&state, web, &difference(None, &[("bash", "1"), ("zlib", "1")]));
        take(&state, database, &difference(None, &[("bash", "2")]));
        let check = |filter: PackageFilter, limit, expect: &[&str]| {
            assert_eq!(names(&state, &filter, limit), expect, "{filter:?}");
        };
        let all = PackageFilter::default;
        check(all(), 2, &["database bash 2", "web1 bash 1"]);
        let after = PackageCursor {
            instance: "web1".to_owned(),
            manager: "dpkg".to_owned(),
            package: package("bash", "1"),
        };
        check(PackageFilter { after, ..all() }, 2, &["web1 zlib 1"]);
        check(PackageFilter { host: Some(web), ..all() }, 9, &["web1 bash 1", "web1 zlib 1"]);
        let name = Some("bash".to_owned());
        check(PackageFilter { name, ..all() }, 9, &["database bash 2", "web1 bash 1"]);
    }
}
