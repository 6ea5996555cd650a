//! Does what is asked, with the data open.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use upkeep_model::HostId;
use upkeep_store::Store;

use super::{Answer, ControlError, Request};
use crate::archive::{self, Staged};
use crate::damage::Declarer;
use crate::fleet::Fleet;
use crate::state::{By, HostChange, State};

/// The data, as whoever has it open holds it.
#[derive(Clone, Debug)]
pub struct Held {
    data_dir: PathBuf,
    state: State,
    store: Arc<Store>,
    declarer: Arc<Declarer>,
    /// Who is let in meanwhile, if anybody is.
    fleet: Option<Arc<Fleet>>,
    /// One thing at a time: a backup must not have a host in its samples that its state has lost.
    turn: Arc<Mutex<()>>,
}

impl Held {
    /// What is open.
    pub fn new(
        data_dir: &Path,
        state: State,
        store: Arc<Store>,
        declarer: Arc<Declarer>,
        fleet: Option<Arc<Fleet>>,
    ) -> Self {
        let data_dir = data_dir.to_owned();
        Self { data_dir, state, store, declarer, fleet, turn: Arc::default() }
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Does what is asked; for blocking threads.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn act(&self, request: &Request, now_ms: i64) -> Result<Answer, ControlError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match request {
            Request::Backup => {
                let staged = archive::stage(&self.data_dir, &self.store, &self.state)?;
                let Staged { folder, damage } = staged;
                self.declarer.declare(now_ms)?;
                Ok(Answer::Staged { folder, damage })
            }
            Request::Verify => {
                let read = self.store.verify();
                self.declarer.declare(now_ms)?;
                Ok(Answer::Verified(Box::new(read?.into())))
            }
            Request::DeleteHost { host, actor } => {
                self.delete(*host, &By { actor: actor.clone(), at_ms: now_ms })
            }
        }
    }

    /// Shuts the host out, and then deletes its samples before its rows: cut short in between, it can
    /// still be named, and deleted again.
    fn delete(&self, host: HostId, by: &By) -> Result<Answer, ControlError> {
        if self.state.revoke_host(host, by)? == HostChange::NoSuchHost {
            return Err(ControlError::NoSuchHost);
        }
        self.refresh()?;
        self.store.delete_home(host)?;
        self.state.delete_host(host, by)?;
        self.refresh()?;
        // What came while its streams were being cut off.
        self.store.delete_home(host)?;
        Ok(Answer::Deleted)
    }

    fn refresh(&self) -> Result<(), ControlError> {
        match &self.fleet {
            Some(fleet) => Ok(fleet.refresh(&self.state)?),
            None => Ok(()),
        }
    }
}
