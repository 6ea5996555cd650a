//! What the collector knows that is no sample: hosts, tokens, updates, marks, the audit log.
//!
//! The state lives in one SQLite database in the collector's data folder, in write-ahead mode with
//! a sync at every commit: what a function here returned as done survives a power cut. This module
//! is the only one that contains SQL, and the SQL keeps to what PostgreSQL takes too (times are
//! milliseconds since 1970 in a BIGINT, identities and hashes are text).
//!
//! A database that is damaged is found as the server opens it (module `check`) and once an hour. What
//! passes its checksums goes on in a new one, the damaged one into `quarantine/`, and what is lost is
//! declared (modules `row_sum`, `tide`, `salvage`). A row that is damaged later is found as it is read
//! or changed (`failing`). These modules know SQLite's own tables.
//!
//! Every function blocks; asynchronous callers go through `tokio::task::spawn_blocking`. Several
//! processes may have the database open: the command line changes it while the server runs.

mod acknowledgements;
mod action_runs;
mod alerts;
mod api_tokens;
mod audit;
mod changes;
mod charts;
mod check;
mod column;
mod copy;
mod damage;
#[cfg(test)]
mod damaged;
mod deletion;
mod deliveries;
mod digests;
mod enrollments;
mod events;
mod failing;
mod flapping;
mod gaps;
mod hold;
mod hosts;
mod lives;
mod metadata;
mod migrations;
mod occurrences;
mod packages;
mod page;
#[cfg(test)]
mod power_cut;
mod presence;
mod processes;
mod remote_positions;
mod row_sum;
mod rule_alerts;
mod runs;
mod salvage;
mod secret;
mod silences;
mod tide;
mod tokens;
mod updates;
mod usefulness;

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use thiserror::Error;

use failing::Failing;
use hold::Hold;

pub use acknowledgements::Acknowledgement;
pub use action_runs::{EndedRun, NewRun, RunAudit, RunOutcome, SeenRun};
pub use alerts::{AlertChanges, NotificationKey, NotificationRecord, StoredAlert};
pub use api_tokens::{ApiToken, NewApiToken, Scope, UnknownScope};
pub use audit::{Action, AuditEntry, By, Outcome};
pub use changes::{ChangeFilter, SeenChange};
pub use charts::KeptChart;
pub use damage::{DamagedPart, FoundDamage};
pub use deliveries::{Delivery, DeliveryOutcome, SeenDelivery};
pub use enrollments::{
    Enrollment, EnrollmentAttempt, EnrollmentRefusal, decide as decide_enrollment,
};
pub use events::{CommittedEvents, EventRecord};
pub use flapping::FlapRecord;
pub use gaps::{DeclaredGap, LossSummary, Quarantined};
pub use hosts::{CertificateRecord, Contact, HostChange, HostRecord};
pub use metadata::{MetadataByName, MetricMetadata, MetricType};
pub use occurrences::{Ending, Occurrence, OccurrenceFilter, OccurrenceKind, SeenOccurrence};
pub use packages::{HostPackage, PackageCursor, PackageFilter, PackageState};
pub use page::{EventCursor, EventFilter};
pub use presence::PresenceNews;
pub use remote_positions::RemotePosition;
pub use rule_alerts::{RuleAlert, RuleAlertChanges};
pub use runs::Outage;
pub use secret::SecretHash;
pub use silences::{SilenceChange, SilenceRecord};
pub use tokens::{EnrollmentToken, NewEnrollmentToken};
pub use updates::{HostUpdates, PendingUpdate};
pub use usefulness::{Became, Origin, Tally, UnendedAlert, UsefulnessChanges, WeekTally};

/// The database's name in the data folder.
pub const FILE_NAME: &str = "state.db";

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the state could not be read or changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file or its folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The database cannot be opened or set up.
    #[error("{}: cannot be opened: {source}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// Another process has the database open, and does not end.
    #[error("{}: another process uses it", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database was written by a newer version of the program.
    #[error("{}: has schema version {found}, this version of the program knows {known}; \
             use a newer upkeep-collector", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A migration failed; the database is as it was before it.
    #[error("migration {version} ({name}) failed: {source}")]
    Migration {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A statement failed; nothing of its transaction holds.
    #[error("{action} failed: {source}")]
    Statement {
        /// What was being done.
        action: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A records of events does not follow on what was committed.
    #[error("events up to {committed} are committed, and {got} does not follow")]
    Hole {
        /// The last sequence number that was committed.
        committed: u64,
        /// The one that came.
        got: u64,
    },
}

impl StateError {
    /// Whether the disk is full: the same change may succeed later.
    pub fn is_disk_full(&self) -> bool {
        let (Self::Open { source, .. }
        | Self::Migration { source, .. }
        | Self::Statement { source, .. }) = self
        else {
            return false;
        };
        source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }
}

/// A handle on the database; clones share it.
#[derive(Clone, Debug)]
pub struct State {
    connections: Arc<Connections>,
}

/// Readers do not wait for a writer's sync, since each side has a connection of its own.
#[derive(Debug)]
struct Connections {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    failing: Failing,
    metadata: metadata::Known,
    /// The faults that the last look at all of it told.
    told: Mutex<Vec<String>>,
    _hold: Hold,
}

impl State {
    /// Opens the database, makes it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be opened, another process does not let go of it, or a newer version of the
    /// program wrote it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_by(path, |path| Connection::open(path))
    }

    fn open_by(
        path: &Path,
        connect: impl Fn(&Path) -> rusqlite::Result<Connection>,
    ) -> Result<Self, StateError> {
        restrict(path).map_err(|source| StateError::File { path: path.to_owned(), source })?;
        let failed = |source| StateError::Open { path: path.to_owned(), source };
        let hold = hold::share(path)?;
        let failing = Failing::default();
        let connect = || {
            let connection = connect(path).and_then(set_up)?;
            failing.register(&connection)?;
            Ok(connection)
        };
        let mut writer = connect().map_err(failed)?;
        migrations::run(&mut writer, path)?;
        let reader = connect().map_err(failed)?;
        failing::read_by_views(&reader).map_err(failed)?;
        let connections = Connections {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            failing,
            metadata: metadata::Known::default(),
            told: Mutex::default(),
            _hold: hold,
        };
        Ok(Self { connections: Arc::new(connections) })
    }

    /// Runs statements that change something as one transaction.
    fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let failed = |source| StateError::Statement { action, source };
        self.transact(action, |transaction| work(transaction).map_err(failed))
    }

    /// The same for work that can fail for reasons of its own; then nothing is changed.
    fn transact<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let failed = |source| StateError::Statement { action, source };
        let mut connection = lock(&self.connections.writer);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let done = work(&transaction).inspect_err(|_| self.connections.failing.tell_refused())?;
        let count = check::count_one(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        // A note that cannot be written leaves the one before, which is not ahead either.
        let _ = tide::note(&self.connections.path, count);
        Ok(done)
    }

    /// Runs statements that only read, on one snapshot.
    fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        let failed = |source| StateError::Statement { action, source };
        let mut connection = lock(&self.connections.reader);
        let transaction = connection.transaction().map_err(failed)?;
        let done = work(&transaction).map_err(failed)?;
        self.connections.failing.tell(&transaction)?;
        Ok(done)
    }
}

/// A panic in another thread rolled its transaction back, so the connection is in order.
fn lock<T>(connection: &Mutex<T>) -> MutexGuard<'_, T> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes sure that the file exists and only its owner can read it, before SQLite opens it; SQLite
/// gives its companions (`-wal`, `-shm`) the same mode.
fn restrict(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn set_up(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Otherwise a statement is planned anew for the values of each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    row_sum::register(&connection)?;
    Ok(connection)
}

#[cfg(test)]
pub(crate) fn temporary() -> (tempfile::TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
    (folder, state)
}

/// A host that is in the state without having enrolled.
#[cfg(test)]
pub(crate) fn enrolled_host(state: &State, id: u128, name: &str) -> upkeep_model::HostId {
    let id = upkeep_model::HostId(uuid::Uuid::from_u128(id));
    state.write("adding", |transaction| hosts::insert(transaction, id, name, "0.1.0", 0)).unwrap();
    id
}

/// Every fifth event declares a gap, the others tell of a change; both carry their number, and the text.
#[cfg(test)]
fn numbered_event(sequence: u64, text: String) -> EventRecord {
    use upkeep_model::{Change, ChangeKind, Event, EventKind, Gap, Lane};
    let kind = if sequence.is_multiple_of(5) {
        EventKind::Gap(Gap {
            lane: Lane::Samples,
            first: sequence * 10,
            last: sequence * 10 + 3,
            from_ms: None,
            to_ms: None,
            reason: text,
        })
    } else {
        EventKind::Change(Change {
            id: format!("change-{sequence}"),
            kind: ChangeKind::PackageUpdated,
            subject: format!("package-{sequence}"),
            before: text,
            after: "2".to_owned(),
        })
    };
    EventRecord { sequence, event: Ok(Event { at_ms: sequence as i64, kind }) }
}
