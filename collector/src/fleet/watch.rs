//! The loop that notices silence and what other processes change.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use upkeep_store::{Append, Store, StoreError};

use super::{Fleet, Verdict};
use crate::clock::{Clock, ClockWatch};
use crate::state::{PresenceNews, State, StateError};

/// How soon a change by another process is noticed: a host that was revoked is refused within this.
pub const REFRESH: Duration = Duration::from_millis(500);

/// How often it is noted that the collector runs, so that after a crash it is known since when it did
/// not.
const ALIVE: Duration = Duration::from_secs(5);

/// How often `up` is written as 0 while a host is silent, and what was heard goes to the state.
pub const SILENCE_MARK: Duration = Duration::from_secs(15);

/// Why a turn of the loop failed; the next one tries again.
#[derive(Debug, Error)]
pub enum FleetError {
    /// The state cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The silence cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A blocking task ended early.
    #[error("a task ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Keeps the fleet up to date until it is told to stop.
pub async fn watch(
    fleet: Arc<Fleet>,
    state: State,
    store: Arc<Store>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut refresh = tokio::time::interval(REFRESH);
    let mut marks = tokio::time::interval(SILENCE_MARK);
    let mut alive = tokio::time::interval(ALIVE);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    marks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen_audit = None;
    let mut clock_watch = ClockWatch::begin(&clock);
    let (mut following, mut marking) = (Trouble::default(), Trouble::default());
    let (mut telling, mut living) = (Trouble::default(), Trouble::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = refresh.tick() => {
                follow_clock(&fleet, &clock, &mut clock_watch);
                following.note(follow(&fleet, &state, &mut seen_audit).await);
                telling.note(tell(&fleet, &state, clock.now_ms()).await)
            }
            _ = alive.tick() => living.note(live(&fleet, &state, clock.now_ms()).await),
            _ = marks.tick() => {
                follow_clock(&fleet, &clock, &mut clock_watch);
                marking.note(mark(&fleet, &state, &store, clock.now_ms()).await)
            }
        };
    }
    if let Err(error) = tell(&fleet, &state, clock.now_ms()).await {
        tracing::warn!(%error, "which hosts were lost is not told");
    }
    if let Err(error) = write_heard(&fleet, &state).await {
        tracing::warn!(%error, "when hosts were last seen is lost");
    }
}

/// Listens anew when the clock was set: else all hosts would be missed at once, or none for as long
/// as it was ahead.
fn follow_clock(fleet: &Fleet, clock: &Clock, watch: &mut ClockWatch) {
    if let Some(set_ms) = watch.look(clock) {
        tracing::warn!(set_ms, "the collector's clock was set; hosts are listened for anew");
        fleet.listen_anew(clock.now_ms());
    }
}

/// Why the last turn failed. A full disk lasts for many turns and is logged once.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    /// Logs what changed; says whether something did.
    fn note(&mut self, turn: Result<(), FleetError>) -> bool {
        let now = turn.err().map(|error| error.to_string());
        let is_news = now != self.0;
        if is_news {
            match &now {
                Some(error) => tracing::warn!(error, "the fleet cannot be kept up to date"),
                None => tracing::info!("the fleet is kept up to date again"),
            }
        }
        self.0 = now;
        is_news
    }
}

/// Reads the hosts again if the audit log grew: every change of a host is in it.
async fn follow(
    fleet: &Arc<Fleet>,
    state: &State,
    seen_audit: &mut Option<i64>,
) -> Result<(), FleetError> {
    let (fleet, state, seen) = (Arc::clone(fleet), state.clone(), *seen_audit);
    let newest = tokio::task::spawn_blocking(move || {
        let newest = state.last_audit()?;
        if seen != Some(newest) {
            fleet.refresh(&state)?;
        }
        Ok::<_, StateError>(newest)
    });
    *seen_audit = Some(newest.await??);
    Ok(())
}

/// Tells which hosts were lost, came back, or delivered what was missing. What cannot be written is
/// told at the next turn.
async fn tell(fleet: &Arc<Fleet>, state: &State, now_ms: i64) -> Result<(), FleetError> {
    let mut news = Vec::new();
    let members = fleet.members();
    for member in &members {
        for occurrence in member.news(now_ms) {
            news.push((member, PresenceNews { host: member.id, occurrence }));
        }
    }
    if news.is_empty() {
        return Ok(());
    }
    let (state, written) = (state.clone(), news.iter().map(|(_, news)| news.clone()).collect());
    let write = move |news: Vec<PresenceNews>| state.note_presence(&news, now_ms);
    tokio::task::spawn_blocking(move || write(written)).await??;
    for (member, news) in news {
        member.told(&news.occurrence);
    }
    Ok(())
}

async fn live(fleet: &Fleet, state: &State, now_ms: i64) -> Result<(), FleetError> {
    let (state, since_ms) = (state.clone(), fleet.since_ms());
    tokio::task::spawn_blocking(move || state.note_alive(since_ms, now_ms)).await??;
    Ok(())
}

async fn mark(
    fleet: &Arc<Fleet>,
    state: &State,
    store: &Arc<Store>,
    now_ms: i64,
) -> Result<(), FleetError> {
    let silent = silence(fleet, now_ms);
    if !silent.is_empty() {
        let store = Arc::clone(store);
        tokio::task::spawn_blocking(move || store.commit(silent)).await??;
    }
    write_heard(fleet, state).await
}

/// What is to be written of the hosts that are silent.
fn silence(fleet: &Fleet, now_ms: i64) -> Vec<Append> {
    let members = fleet.members();
    let silent =
        members.iter().filter(|member| matches!(member.verdict(now_ms), Verdict::Silent { .. }));
    silent
        .map(|member| Append::Points { home: member.id, points: vec![(member.up(), now_ms, 0.0)] })
        .collect()
}

async fn write_heard(fleet: &Arc<Fleet>, state: &State) -> Result<(), FleetError> {
    let heard: Vec<_> = fleet
        .members()
        .iter()
        .filter_map(|member| Some((member.id, member.take_unwritten()?)))
        .collect();
    if heard.is_empty() {
        return Ok(());
    }
    let state = state.clone();
    Ok(tokio::task::spawn_blocking(move || state.record_last_seen(&heard)).await??)
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::state::{By, Occurrence, OccurrenceFilter, enrolled_host, temporary};

    #[test]
    fn a_trouble_that_lasts_is_told_once() {
        let mut trouble = Trouble::default();
        let full = || Err(FleetError::Store(StoreError::Full { path: "journal".into() }));
        let closed = || Err(FleetError::Store(StoreError::Closed));
        let told =
            [Ok(()), full(), full(), closed(), Ok(()), Ok(())].map(|turn| trouble.note(turn));
        assert_eq!(told, [false, true, false, true, true, false]);
    }

    #[tokio::test]
    async fn what_happens_to_a_host_is_told_once() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 1, "a");
        let fleet = Arc::new(Fleet::load(&state, 0).unwrap());
        let told = async |fleet: &Arc<Fleet>, now_ms| {
            tell(fleet, &state, now_ms).await.unwrap();
            let mut found = state.occurrences(&OccurrenceFilter::default(), 100).unwrap();
            found.reverse();
            found.into_iter().map(|one| one.occurrence).collect::<Vec<_>>()
        };
        let member = fleet.member(host).unwrap();
        assert_eq!(told(&fleet, 90_000).await, [], "a host that never connected is not lost");
        member.heard(90_000);
        let lost = Occurrence::HostLost { since_ms: 90_000 };
        for now_ms in [120_000, 130_000, 140_000] {
            let expect: &[Occurrence] = if now_ms > 120_000 { slice::from_ref(&lost) } else { &[] };
            assert_eq!(told(&fleet, now_ms).await, expect);
        }
        state.record_last_seen(&[(host, 90_000)]).unwrap();

        // Another run of the collector knows what was told.
        let fleet = Arc::new(Fleet::load(&state, 200_000).unwrap());
        assert_eq!(told(&fleet, 300_000).await, slice::from_ref(&lost));
        let member = fleet.member(host).unwrap();
        member.note_backlog(3);
        member.heard(301_000);
        let back = Occurrence::HostBack { since_ms: 90_000, backlog_records: 3 };
        assert_eq!(told(&fleet, 301_000).await, [lost.clone(), back.clone()]);
        member.note_arrived([100_000, 110_000], false);
        assert_eq!(told(&fleet, 302_000).await.len(), 2);
        member.note_arrived([290_000], true);
        let delivered =
            Occurrence::BacklogDelivered { from_ms: 100_000, to_ms: 290_000, records: 3 };
        for now_ms in [303_000, 304_000] {
            assert_eq!(told(&fleet, now_ms).await, [lost.clone(), back.clone(), delivered.clone()]);
        }
        member.note_arrived([305_000], true);
        assert_eq!(told(&fleet, 305_000).await.len(), 3, "a short one is not told");
    }

    #[test]
    fn only_hosts_that_are_expected_and_silent_are_marked() {
        let (_folder, state) = temporary();
        let [silent, loud, revoked] =
            [(1, "a"), (2, "b"), (3, "c")].map(|(id, name)| enrolled_host(&state, id, name));
        let by = By { actor: "command-line:uid 0".into(), at_ms: 1 };
        state.revoke_host(revoked, &by).unwrap();
        let fleet = Fleet::load(&state, 0).unwrap();
        fleet.member(loud).unwrap().heard(99_000);
        let marked = silence(&fleet, 100_000);
        let [Append::Points { home, points }] = marked.as_slice() else { panic!("{marked:?}") };
        assert_eq!(*home, silent);
        assert_eq!((points[0].1, points[0].2), (100_000, 0.0));
        assert_eq!(points[0].0.to_string(), r#"up{instance="a", job="node"}"#);
    }
}
