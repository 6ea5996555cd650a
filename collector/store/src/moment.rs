//! The store as it is at one moment, to be read at leisure while it goes on.
//!
//! Sealing moves what the journal has into the database and removes segments. So both are taken hold of
//! while it waits: a read transaction of the database, and the files of all segments that are closed
//! by then. What they hold does not change any more, whoever writes or removes meanwhile. Everything
//! that was confirmed before is in one of them, and nothing that was confirmed later.

use std::sync::PoisonError;

use redb::ReadTransaction;

use crate::StoreError;
use crate::core::Core;
use crate::damage::Affected;
use crate::database::State;
use crate::journal::ClosedSegment;

/// What was taken hold of beside the transaction.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) state: State,
    /// Ascending.
    pub(crate) segments: Vec<ClosedSegment>,
}

impl Core {
    /// Reads the store as it is now. Sealing waits only until the work begins.
    pub(crate) fn at_one_moment<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&ReadTransaction, &Moment) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _reading = self.reading.read().unwrap_or_else(PoisonError::into_inner);
        // A database that failed is opened anew.
        drop(self.reported(Affected::default(), self.database.snapshot())?);
        let mut state = self.state();
        self.apply_deletions(&mut state)?;
        let below = self.rotate()?;
        let moment = Moment { state: *state, segments: self.journal.closed(below)? };
        let read = self.database.read(|transaction| {
            drop(state);
            Ok(work(transaction, &moment))
        });
        let read = read.map_err(|failure| self.database.told(failure, action));
        self.reported(Affected::default(), read.flatten())
    }
}
