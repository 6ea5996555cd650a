//! Snapshots: a copy of the store as it is at one moment, made while it goes on.
//!
//! A snapshot is a folder that [`Store::open`](crate::Store::open) opens. It is made under another name
//! and gets its own once all of it is durable. The database is copied record by record, so its file
//! has no free pages, and bytes under writes are never read; of the journal, the segments are copied.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use redb::ReadTransaction;

use crate::StoreError;
use crate::binary::Malformed;
use crate::core::Core;
use crate::damage::{Affected, Damage};
use crate::database::{ChunkKey, CopyFailure, copy_tables};
use crate::folder::{Folder, sync_parent};
use crate::journal::{Entry, NewJournal};
use crate::moment::Moment;

/// What a snapshot's name ends with while it is made.
const UNFINISHED: &str = ".unfinished";

impl Core {
    /// Copies the store and tells what of it is damaged.
    pub(crate) fn snapshot(&self, to: &Path) -> Result<Vec<Damage>, StoreError> {
        if to.exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(StoreError::io("make a snapshot at", to, source));
        }
        let unfinished = unfinished(to);
        let made = remove(&unfinished).and_then(|()| self.copy_to(&unfinished));
        let named = made.and_then(|damage| {
            fs::rename(&unfinished, to)
                .and_then(|()| sync_parent(to))
                .map_err(|source| StoreError::io("finish the snapshot", to, source))?;
            Ok(damage)
        });
        if named.is_err() {
            // The next one begins with this.
            let _ = remove(&unfinished);
        }
        let damage = named?;
        for Damage { place, lost, affected } in &damage {
            self.damage.report_of(*affected, place.as_str(), lost.as_str());
        }
        Ok(damage)
    }

    fn copy_to(&self, path: &Path) -> Result<Vec<Damage>, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| StoreError::io("create", path, source))?;
        let folder = Folder::open(path)?;
        let mut damage = Vec::new();
        self.at_one_moment("copy", |transaction, moment| {
            self.copy_database(transaction, &folder, &mut damage)?;
            copy_journal(moment, &folder, &mut damage)
        })?;
        folder.sync()?;
        Ok(damage)
    }

    fn copy_database(
        &self,
        transaction: &ReadTransaction,
        folder: &Folder,
        damage: &mut Vec<Damage>,
    ) -> Result<(), StoreError> {
        let mut damaged = |table: &str, key: &[u8], error| {
            damage.push(self.damaged_record(table, key, error));
        };
        let cache_bytes = self.options.cache_bytes;
        let copied = copy_tables(transaction, &folder.database(), cache_bytes, &mut damaged);
        copied.map_err(|failure| match failure {
            CopyFailure::Source(failure) => self.database.told(failure, "copy"),
            CopyFailure::Target(failure) => failure.told("write", folder),
        })?;
        let path = folder.database();
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|source| StoreError::io("sync", &path, source))
    }

    fn damaged_record(&self, table: &str, key: &[u8], error: Malformed) -> Damage {
        let place = format!("samples.redb, table {table}");
        let chunk = key.first_chunk().filter(|_| table == "chunks");
        if let Some(Ok(key)) = chunk.map(ChunkKey::from_bytes) {
            let ChunkKey { host, span, number } = key;
            let through_ms = self.end_of_span(span);
            let lost = format!("chunk {number} of host {host} from {span} ms on: {error}");
            return Damage { place, lost, affected: Affected::host(host).within(span, through_ms) };
        }
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Damage { place, lost: format!("record {digits}: {error}"), affected: Affected::default() }
    }
}

fn copy_journal(
    moment: &Moment,
    folder: &Folder,
    damage: &mut Vec<Damage>,
) -> Result<(), StoreError> {
    let journal = NewJournal::make(folder.journal())?;
    for segment in &moment.segments {
        let (bytes, scan) = segment.read()?;
        let place = segment.path.display().to_string();
        let affected = Affected::default();
        for stretch in &scan.damage {
            let lost = format!("what bytes {} to {} said", stretch.start, stretch.end);
            damage.push(Damage { place: place.clone(), lost, affected });
        }
        for body in &scan.bodies {
            if let Err(error) = Entry::parse(bytes.get(body.clone()).unwrap_or_default()) {
                let place = format!("{place}, byte {}", body.start);
                damage.push(Damage { place, lost: format!("an entry: {error}"), affected });
            }
        }
        segment.write_to(&journal, &bytes)?;
    }
    journal.finish()
}

fn unfinished(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(UNFINISHED);
    name.into()
}

/// Removes what a cut left.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, source))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
