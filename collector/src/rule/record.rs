//! Where the results of rules are written to.

use thiserror::Error;
use upkeep_model::{HostId, Labels};
use upkeep_store::{Append, Store};
use uuid::Uuid;

/// The results could not be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the result could not be stored: {0}")]
pub struct RecordError(pub String);

/// One value of one series: its labels with the metric name, when, in milliseconds since 1970, and
/// what.
pub type RecordedPoint = (Labels, i64, f64);

/// Something that keeps what rules compute.
pub trait Recorder: Send + Sync {
    /// Writes points; when it returns, later evaluations see them.
    ///
    /// # Errors
    /// When they could not be written.
    fn record(&self, points: Vec<RecordedPoint>) -> Result<(), RecordError>;
}

/// Series of rules belong to no host: the store keeps them under the identity that no host has.
impl Recorder for Store {
    fn record(&self, points: Vec<RecordedPoint>) -> Result<(), RecordError> {
        let home = HostId(Uuid::nil());
        self.commit(vec![Append::Points { home, points }])
            .map_err(|error| RecordError(error.to_string()))
    }
}
