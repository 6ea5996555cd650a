//! Where work runs that waits for the disk.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinError, spawn_blocking};
use tonic::Status;
use upkeep_store::{Append, Store, StoreError};

use super::commit::CommitError;
use crate::state::StateError;

/// Where work runs that waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskWork {
    /// On threads of its own, so that no stream waits for another's.
    #[default]
    OnThreads,
    /// On the one thread of a simulation, whose clock stands still meanwhile: so the order in which
    /// things happen is up to the simulation alone.
    InPlace,
}

impl DiskWork {
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self {
            Self::OnThreads => spawn_blocking(work).await,
            Self::InPlace => Ok(work()),
        }
    }

    /// Asks the state something.
    pub(super) async fn ask<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, Status> {
        let done = self.run(work).await;
        done.map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::unavailable(error.to_string()))
    }

    /// Hands appends to the store's committer and waits for the sync that makes them durable.
    pub(super) async fn append(
        self,
        store: &Arc<Store>,
        appends: Vec<Append>,
    ) -> Result<Result<(), StoreError>, CommitError> {
        if self == Self::InPlace {
            return Ok(store.commit(appends));
        }
        let (done, result) = oneshot::channel();
        // Who no longer waits for the result has left; the records are durable all the same.
        let tell = Box::new(move |result| drop(done.send(result)));
        if let Err((appends, tell)) = store.try_submit(appends, tell) {
            let store = Arc::clone(store);
            let handed = spawn_blocking(move || store.submit(appends, tell));
            handed.await.map_err(|_| CommitError::Broken)?;
        }
        result.await.map_err(|_| CommitError::Broken)
    }
}
