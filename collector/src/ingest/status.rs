//! What a host hears when something of it is refused or cannot be committed.

use tonic::Status;
use upkeep_store::StoreError;

use super::admit::Refusal;
use super::commit::CommitError;

/// The host sent what is not admitted.
pub(super) fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::TooManyDescribed { .. } | Refusal::TooManySeries { .. } => {
            Status::resource_exhausted(refusal.to_string())
        }
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// It was not committed: the host keeps what it has and comes again.
pub(super) fn failed(error: &CommitError) -> Status {
    let CommitError::Store(store) = error else {
        return Status::unavailable(error.to_string());
    };
    match store {
        StoreError::Hole { .. } | StoreError::Numbers { .. } => {
            Status::aborted(format!("{error}; connect again"))
        }
        StoreError::TooManySeries { .. } => {
            Status::resource_exhausted(format!("{error} (limits.series)"))
        }
        _ => Status::unavailable(error.to_string()),
    }
}
