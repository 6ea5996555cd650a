//! Our samples to others: each target follows the journal of the store at its own pace.
//!
//! A target's position is the place in the journal up to which it took everything or refused it for
//! good. It is noted in the state after requests, at most once a second, so after a crash some samples are
//! sent a second time, which receivers take for the repetition that it is. The journal is kept until
//! every target has read it, up to [`MAX_BEHIND_BYTES`] of it; what a target is further behind is passed
//! over and counted. Nothing here is in the way of what comes in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;
use upkeep_store::{Batch, Follower, Place, Store, StoreError};

use super::batch::{Packed, pack};
use super::out_meters::{OutMeters, Sent};
use super::target::{Answer, Target, TargetFault, TargetSettings};
use crate::state::{RemotePosition, State, StateError};

/// How often the journal is looked at once everything was sent.
const LOOK: Duration = Duration::from_millis(500);

/// How often a position is noted at most.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A pause after a failure is drawn between nothing and a bound, which begins with this and doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So much of the journal is kept for a target at most: some days of a hundred hosts.
const MAX_BEHIND_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Why samples cannot be sent to anybody.
#[derive(Debug, Error)]
pub enum WriteOutError {
    /// A target cannot be used as it is set.
    #[error(transparent)]
    Target(#[from] TargetFault),
    /// Positions cannot be read or noted.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The first segment of the journal that a target is yet to read; `None` where there are no targets.
/// Positions of what is no target any more are forgotten.
///
/// # Errors
/// When the state cannot be read.
pub fn followed_from(state: &State, targets: &[TargetSettings]) -> Result<Option<u64>, StateError> {
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    state.forget_remote_positions(&names)?;
    if targets.is_empty() {
        return Ok(None);
    }
    let positions = state.remote_positions()?;
    // A target that is new begins with what comes in from now on.
    Ok(Some(positions.iter().map(|position| position.segment).min().unwrap_or(u64::MAX)))
}

/// Sends to all targets until it is told to stop.
///
/// # Errors
/// When a target cannot be used as it is set, or the state not be read.
pub async fn run(
    settings: Vec<TargetSettings>,
    store: Arc<Store>,
    state: State,
    meters: OutMeters,
    stop: CancellationToken,
) -> Result<(), WriteOutError> {
    let positions = state.remote_positions()?;
    let mut senders = Vec::with_capacity(settings.len());
    for settings in &settings {
        let target = settings.build()?;
        let noted = positions.iter().find(|position| position.target == target.name);
        let noted = noted.map(|noted| Place { segment: noted.segment, bytes: noted.bytes });
        let follower = store.follow(noted);
        senders.push((target, noted, follower));
    }
    let places: Vec<Place> =
        senders.iter().map(|(_, noted, follower)| noted.unwrap_or(follower.place())).collect();
    let floor = Arc::new(Floor { store, places: Mutex::new(places) });
    let mut tasks = JoinSet::new();
    for (index, (target, noted, follower)) in senders.into_iter().enumerate() {
        let (state, meters, floor) = (state.clone(), meters.clone(), Arc::clone(&floor));
        let (name, place) = (target.name.clone(), follower.place());
        let notes = Notes { name, index, state, floor, noted, place, at: Instant::now() };
        let sender = Sender { target, follower: Some(follower), meters, notes, stop: stop.clone() };
        tasks.spawn(sender.run());
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// What of the journal has to be kept.
#[derive(Debug)]
struct Floor {
    store: Arc<Store>,
    /// How far each target came, as the state has it.
    places: Mutex<Vec<Place>>,
}

impl Floor {
    fn note(&self, index: usize, place: Place) -> Result<(), StoreError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = places.get_mut(index) {
            *slot = place;
        }
        self.store.keep_from(places.iter().map(|place| place.segment).min())
    }
}

/// The position of a target.
#[derive(Debug)]
struct Notes {
    name: String,
    index: usize,
    state: State,
    floor: Arc<Floor>,
    /// What the state has.
    noted: Option<Place>,
    /// What it is to have.
    place: Place,
    at: Instant,
}

impl Notes {
    async fn note(&mut self) -> Result<(), WriteOutError> {
        self.at = Instant::now();
        if self.noted == Some(self.place) {
            return Ok(());
        }
        let place = self.place;
        let Place { segment, bytes } = place;
        let position = RemotePosition { target: self.name.clone(), segment, bytes };
        let (state, floor, index) = (self.state.clone(), Arc::clone(&self.floor), self.index);
        let is_new_segment = self.noted.is_none_or(|noted| noted.segment != segment);
        spawn_blocking(move || {
            state.note_remote_position(&position)?;
            if is_new_segment {
                floor.note(index, place)?;
            }
            Ok::<_, WriteOutError>(())
        })
        .await??;
        self.noted = Some(place);
        Ok(())
    }
}

/// How the sending of a message ended.
enum End {
    /// There is nothing more to do about it.
    Over,
    /// It was refused: why.
    Refused(String),
    /// It was told to stop before.
    Stopped,
}

/// Sends to one target.
struct Sender {
    target: Target,
    /// Away while it reads.
    follower: Option<Follower>,
    meters: OutMeters,
    notes: Notes,
    stop: CancellationToken,
}

impl Sender {
    async fn run(mut self) -> Result<(), WriteOutError> {
        let stop = self.stop.clone();
        let mut trouble = None;
        while !stop.is_cancelled() {
            match self.step().await {
                Ok(()) => trouble = None,
                Err(error) => {
                    let now = error.to_string();
                    // A full disk lasts for many turns and is logged once.
                    if trouble.as_ref() != Some(&now) {
                        tracing::warn!(target = self.target.name, "remote write: {now}");
                        trouble = Some(now);
                    }
                    self.rest(LONGEST_PAUSE).await;
                }
            }
        }
        self.notes.note().await
    }

    /// Sends what was committed since, or waits for something.
    async fn step(&mut self) -> Result<(), WriteOutError> {
        let Some(batch) = self.read().await? else {
            self.meters.behind(&self.target.name, 0);
            self.notes.note().await?;
            self.rest(LOOK).await;
            return Ok(());
        };
        let Batch { samples, next, lost } = batch;
        if lost > 0 {
            tracing::warn!(target = self.target.name, lost, "remote write: damage in the journal");
            self.meters.count(&self.target.name, Sent::Lost, 1);
        }
        // The next one stands at the end.
        let mut messages = pack(&self.target, samples);
        messages.reverse();
        while let Some(message) = messages.pop() {
            match self.send(&message).await? {
                End::Over => {}
                End::Refused(why) => {
                    let halves = message.halves();
                    if halves.is_empty() {
                        let (target, samples) = (&self.target.name, message.samples);
                        tracing::warn!(target, samples, "remote write refused: {why}");
                        self.meters.count(target, Sent::Refused, samples);
                    }
                    messages.extend(halves);
                }
                End::Stopped => return Ok(()),
            }
        }
        self.notes.place = next;
        if self.notes.at.elapsed() >= NOTE_EVERY {
            let behind = self.behind().await?;
            self.meters.behind(&self.target.name, behind);
            self.notes.note().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Option<Batch>, StoreError> {
        let Some(mut follower) = self.follower.take() else { return Err(StoreError::Closed) };
        let reading = spawn_blocking(move || {
            let read = follower.next_batch();
            (follower, read)
        });
        let (follower, read) = reading.await.map_err(|_| StoreError::Closed)?;
        self.follower = Some(follower);
        read
    }

    async fn behind(&mut self) -> Result<u64, StoreError> {
        let Some(follower) = self.follower.take() else { return Err(StoreError::Closed) };
        let asking = spawn_blocking(move || {
            let behind = follower.behind();
            (follower, behind)
        });
        let (follower, behind) = asking.await.map_err(|_| StoreError::Closed)?;
        self.follower = Some(follower);
        behind
    }

    /// Sends a message until it is taken, refused, or too far behind.
    async fn send(&mut self, message: &Packed) -> Result<End, WriteOutError> {
        let stop = self.stop.clone();
        let samples = message.samples;
        let mut bound = FIRST_PAUSE;
        loop {
            let sending = self.target.send(message.body.clone());
            let Some(answer) = stop.run_until_cancelled(sending).await else {
                return Ok(End::Stopped);
            };
            let (name, meters) = (&self.target.name, &self.meters);
            let (why, after) = match answer {
                Answer::Taken => {
                    meters.count(name, Sent::Taken, samples);
                    return Ok(End::Over);
                }
                Answer::Refused(why) => return Ok(End::Refused(why)),
                Answer::Later(why, after) => (why, after),
            };
            meters.count_failure(name);
            let behind = self.behind().await?;
            self.meters.behind(&self.target.name, behind);
            if behind > MAX_BEHIND_BYTES {
                tracing::warn!(target = self.target.name, samples, "remote write: too far behind");
                self.meters.count(&self.target.name, Sent::PassedOver, samples);
                return Ok(End::Over);
            }
            let pause = pause(bound, after, rand::random());
            if bound == FIRST_PAUSE {
                tracing::warn!(target = self.target.name, ?pause, "remote write failed: {why}");
            }
            bound = LONGEST_PAUSE.min(bound * 2);
            self.rest(pause).await;
        }
    }

    async fn rest(&self, time: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(time)).await;
    }
}

/// How long to wait after a failure: a share of the bound, or as the target wishes and that share of
/// the first pause more, so that not everybody comes back at once.
fn pause(bound: Duration, wished: Option<Duration>, share: f64) -> Duration {
    match wished {
        Some(wished) => wished + FIRST_PAUSE.mul_f64(share),
        None => bound.mul_f64(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_share_of_its_bound_or_what_the_target_wishes() {
        let check = |bound, wished: Option<u64>, share, expect| {
            let (bound, wished) = (Duration::from_secs(bound), wished.map(Duration::from_secs));
            assert_eq!(pause(bound, wished, share), Duration::from_millis(expect));
        };
        check(8, None, 0.0, 0);
        check(8, None, 0.5, 4_000);
        check(60, None, 1.0, 60_000);
        check(8, Some(30), 0.5, 30_250);
    }
}
