//! From a body to samples on disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use upkeep_store::{Append, SeriesNumber, Store, StoreError};

use super::admit::{Bounds, SampleFault};
use super::body::{BodyFault, MAX_PACKED_BYTES, unpack};
use super::described;
use super::message::{self, MessageFault, RawMetadata, Request};
use super::meters::{Meters, Taken};
use super::sender::{Common, Hashing, Limits, Sender, SeriesFault};
use crate::fleet::Fleet;
use crate::state::State;

/// So many bodies are unpacked at a time: it is work for processors, and each may become 32 MiB.
const UNPACKED_AT_ONCE: usize = 4;

/// The bodies that are being read may have so many kibibytes together.
const ROOM_KIB: u32 = 64 * 1024;

/// A body waits for room no longer than this.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why not all samples of a request were stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The body is none.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The message is none.
    #[error(transparent)]
    Message(#[from] MessageFault),
    /// Some samples cannot be stored; all others are.
    #[error("{refused} of {all} samples were not stored: {first}")]
    Partly {
        /// How many.
        refused: usize,
        /// Of how many.
        all: usize,
        /// Why the first of them was not.
        first: String,
    },
    /// The store takes nothing at the moment.
    #[error("samples cannot be stored now: {0}")]
    Unavailable(String),
}

impl WriteError {
    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Takes what others write.
#[derive(Debug)]
pub struct WriteIn {
    store: Arc<Store>,
    state: State,
    fleet: Arc<Fleet>,
    limits: Limits,
    retention_ms: i64,
    meters: Meters,
    hashing: Hashing,
    senders: Mutex<HashMap<String, Arc<Mutex<Sender>>>>,
    enrolled: Mutex<Enrolled>,
    room: Semaphore,
    unpacking: Arc<Semaphore>,
}

/// The names of the hosts of the fleet, as of when it last changed.
#[derive(Debug)]
struct Enrolled {
    changes: watch::Receiver<u64>,
    names: Arc<HashSet<String>>,
}

/// The place of a body in memory.
#[derive(Debug)]
pub struct Room<'a> {
    _permit: SemaphorePermit<'a>,
}

/// What became of the samples of a request.
#[derive(Debug, Default)]
struct Outcome {
    taken: BTreeMap<Taken, usize>,
    /// Why the first one was refused.
    first: Option<String>,
}

impl Outcome {
    fn refuse(&mut self, result: Taken, samples: usize, why: impl ToString) {
        if samples > 0 {
            *self.taken.entry(result).or_default() += samples;
            self.first.get_or_insert_with(|| why.to_string());
        }
    }

    /// Counts it, and says whether everything was stored.
    fn tell(self, meters: &Meters) -> Result<(), WriteError> {
        let all = self.taken.values().sum();
        let stored = self.taken.get(&Taken::Stored).copied().unwrap_or_default();
        for (result, samples) in self.taken {
            meters.note(result, samples);
        }
        match self.first {
            None => Ok(()),
            Some(first) => Err(WriteError::Partly { refused: all - stored, all, first }),
        }
    }
}

impl WriteIn {
    /// Takes samples into a store that keeps them for `retention`, and what metrics are into the state.
    pub fn new(
        (store, state): (Arc<Store>, State),
        fleet: Arc<Fleet>,
        limits: Limits,
        retention: Duration,
        meters: Meters,
    ) -> Self {
        let changes = fleet.subscribe();
        let names = Arc::new(names_of(&fleet));
        Self {
            store,
            state,
            fleet,
            limits,
            retention_ms: i64::try_from(retention.as_millis()).unwrap_or(i64::MAX),
            meters,
            hashing: Hashing::default(),
            senders: Mutex::default(),
            enrolled: Mutex::new(Enrolled { changes, names }),
            room: Semaphore::new(ROOM_KIB as usize),
            unpacking: Arc::new(Semaphore::new(UNPACKED_AT_ONCE)),
        }
    }

    /// Waits for room for a body, whose length may have been announced.
    ///
    /// # Errors
    /// When there is none for long.
    pub async fn room(&self, announced: Option<usize>) -> Result<Room<'_>, WriteError> {
        let bytes = announced.unwrap_or(MAX_PACKED_BYTES).min(MAX_PACKED_BYTES);
        let kibibytes = u32::try_from(bytes / 1024 + 1).unwrap_or(ROOM_KIB);
        let waiting = timeout(ROOM_TIMEOUT, self.room.acquire_many(kibibytes));
        match waiting.await {
            Ok(Ok(permit)) => Ok(Room { _permit: permit }),
            _ => Err(WriteError::Unavailable("too many requests are under way".to_owned())),
        }
    }

    /// Stores what a body says, and returns once that is durable.
    ///
    /// # Errors
    /// When not all of it could be stored.
    pub async fn take(
        self: &Arc<Self>,
        token: &str,
        body: Bytes,
        now_ms: i64,
    ) -> Result<(), WriteError> {
        let sender = self.sender(token, now_ms);
        match self.try_take(&sender, body.clone(), now_ms).await? {
            Ok(outcome) => outcome.tell(&self.meters),
            // Retention removed a series that was silent for long; its number is asked for anew.
            Err(StoreError::SeriesGone { .. }) => {
                lock(&sender).forget(&self.meters.series);
                let again = self.try_take(&sender, body, now_ms).await?;
                again.map_err(|error| unavailable(&error))?.tell(&self.meters)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn try_take(
        self: &Arc<Self>,
        sender: &Arc<Mutex<Sender>>,
        body: Bytes,
        now_ms: i64,
    ) -> Result<Result<Outcome, StoreError>, WriteError> {
        let permit = Arc::clone(&self.unpacking).acquire_owned().await;
        let (this, sender) = (Arc::clone(self), Arc::clone(sender));
        let (done, result) = oneshot::channel();
        let staged = spawn_blocking(move || {
            let staged = this.stage(&sender, &body, now_ms);
            drop(permit);
            let (append, outcome) = staged?;
            // Who no longer waits for the result has left; the samples are durable all the same.
            let tell = move |result| drop(done.send(result));
            this.store.submit(append.into_iter().collect(), Box::new(tell));
            Ok::<_, WriteError>(outcome)
        });
        let outcome = staged.await.map_err(|error| unavailable(&error))??;
        let committed = result.await.map_err(|error| unavailable(&error))?;
        Ok(committed.map(|()| outcome))
    }

    /// Makes of a body what is to be committed.
    fn stage(
        &self,
        sender: &Mutex<Sender>,
        body: &[u8],
        now_ms: i64,
    ) -> Result<(Option<Append>, Outcome), WriteError> {
        let message = unpack(body)?;
        let Request { mut series, samples, metadata } = message::parse(&message)?;
        self.keep(&metadata);
        let mut outcome = Outcome::default();
        for one in &series {
            outcome.refuse(Taken::Histogram, one.histograms, "native histograms are not supported");
        }
        series.retain(|one| !one.samples.is_empty());
        let hashes: Vec<_> = series.iter().map(|one| self.hashing.hash(&one.labels)).collect();
        let enrolled = self.enrolled();
        let common = Common {
            store: &self.store,
            limits: self.limits,
            enrolled: &enrolled,
            series: &self.meters.series,
        };
        let (home, numbers) = {
            let mut sender = lock(sender);
            (sender.home, sender.resolve(&common, &series, &hashes, now_ms))
        };
        let bounds = Bounds::at(now_ms, self.retention_ms);
        let mut points: Vec<(SeriesNumber, i64, f64)> = Vec::with_capacity(samples.len());
        for (one, number) in series.iter().zip(numbers) {
            let of_series = samples.get(one.samples.clone()).unwrap_or_default();
            let number = match number {
                Ok(number) => number,
                Err(fault) => {
                    outcome.refuse(fault.counted(), of_series.len(), fault);
                    continue;
                }
            };
            for &sample in of_series {
                match bounds.check(sample) {
                    Ok(()) => points.push((number, sample.0, sample.1)),
                    Err(fault) => outcome.refuse(fault.counted(), 1, fault),
                }
            }
        }
        if points.is_empty() {
            return Ok((None, outcome));
        }
        outcome.taken.insert(Taken::Stored, points.len());
        Ok((Some(Append::Numbered { home, points }), outcome))
    }

    /// Keeps what metrics are. Samples are taken although it cannot be written: senders tell it again.
    fn keep(&self, metadata: &[RawMetadata<'_>]) {
        if !metadata.is_empty()
            && let Err(error) = self.state.keep_metadata(described::metrics(metadata))
        {
            tracing::warn!(%error, "what the metrics of remote write are is not kept");
        }
    }

    fn sender(&self, token: &str, now_ms: i64) -> Arc<Mutex<Sender>> {
        let mut senders = lock(&self.senders);
        if let Some(sender) = senders.get(token) {
            return Arc::clone(sender);
        }
        let sender = Arc::new(Mutex::new(Sender::of_token(token, now_ms)));
        senders.insert(token.to_owned(), Arc::clone(&sender));
        sender
    }

    /// The names of enrolled hosts. When they have changed, senders whose series claim one of them are
    /// held against them anew.
    fn enrolled(&self) -> Arc<HashSet<String>> {
        let mut enrolled = lock(&self.enrolled);
        if enrolled.changes.has_changed().unwrap_or_default() {
            enrolled.changes.mark_unchanged();
            enrolled.names = Arc::new(names_of(&self.fleet));
            for sender in lock(&self.senders).values() {
                lock(sender).heed(&enrolled.names, &self.meters.series);
            }
        }
        Arc::clone(&enrolled.names)
    }
}

fn names_of(fleet: &Fleet) -> HashSet<String> {
    fleet.members().iter().map(|member| member.instance.clone()).collect()
}

fn unavailable(error: &dyn std::error::Error) -> WriteError {
    WriteError::Unavailable(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SampleFault {
    fn counted(self) -> Taken {
        match self {
            Self::TooOld => Taken::TooOld,
            Self::TooFarAhead => Taken::TooFarAhead,
        }
    }
}

impl SeriesFault {
    fn counted(&self) -> Taken {
        match self {
            Self::Labels(_) => Taken::InvalidLabels,
            Self::TooManyOfSender(_) | Self::TooManyOfAll(_) => Taken::TooManySeries,
        }
    }
}

#[cfg(test)]
mod tests;
