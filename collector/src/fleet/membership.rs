//! Who belongs to the fleet.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{OwnedMutexGuard, watch};
use upkeep_model::{HostId, INSTANCE, JOB, Labels, Life, METRIC_NAME};

use super::HOST_JOB;
use super::liveness::{Verdict, judge, listening_interval_ms};
use super::presence::{self, Arrived, Hearing, Presence};
use crate::state::{HostRecord, Occurrence, State, StateError};

/// A host as its batches are held against it.
#[derive(Debug)]
pub struct Member {
    /// The identity that its certificate carries.
    pub id: HostId,
    /// The name it goes by.
    pub instance: String,
    /// Labels that an operator gave it.
    pub tags: BTreeMap<String, String>,
    /// Whether it was shut out.
    pub revoked: bool,
    heard: Arc<Heard>,
}

/// What changes with every batch. It outlives the [`Member`], which a renaming replaces.
#[derive(Debug)]
struct Heard {
    /// When something last came from the host, or since when it is listened for.
    at_ms: AtomicI64,
    /// Since when it is listened for; unless `at_ms` is later, nothing came since.
    awaited_since_ms: AtomicI64,
    /// How often it says that it observes.
    interval_ms: AtomicU32,
    /// Whether `at_ms` was not written to the state yet.
    unwritten: std::sync::atomic::AtomicBool,
    /// When something had last come before this process listened.
    seen_before_ms: Option<i64>,
    presence: Mutex<Presence>,
    life: Arc<tokio::sync::Mutex<Option<Life>>>,
}

/// Where a host stands.
#[derive(Clone, Debug)]
pub enum Standing {
    /// No such host was ever enrolled here.
    Unknown,
    /// It was shut out.
    Revoked,
    /// It belongs to the fleet.
    Good(Arc<Member>),
}

/// The hosts of the fleet; shared by reference.
#[derive(Debug)]
pub struct Fleet {
    members: RwLock<HashMap<HostId, Arc<Member>>>,
    revision: watch::Sender<u64>,
    since_ms: i64,
}

impl Fleet {
    /// The fleet as the state has it. Nobody is missed before his intervals have passed from now,
    /// since while the collector was away it could hear nobody.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn load(state: &State, now_ms: i64) -> Result<Self, StateError> {
        let fleet =
            Self { members: RwLock::default(), revision: watch::Sender::new(0), since_ms: now_ms };
        fleet.refresh(state)?;
        Ok(fleet)
    }

    /// Reads the hosts again; whoever subscribed is told if something changed.
    ///
    /// # Errors
    /// When the state cannot be read; then everything stays as it was.
    pub fn refresh(&self, state: &State) -> Result<(), StateError> {
        let records = state.hosts()?;
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = members.len() != records.len();
        let mut fresh = HashMap::with_capacity(records.len());
        for record in records {
            let present = members.get(&record.id);
            let member = match present.filter(|present| present.is_as(&record)) {
                Some(present) => Arc::clone(present),
                None => {
                    changed = true;
                    Arc::new(Member::new(record, present, self.since_ms))
                }
            };
            fresh.insert(member.id, member);
        }
        *members = fresh;
        drop(members);
        if changed {
            self.revision.send_modify(|revision| *revision += 1);
        }
        Ok(())
    }

    /// Since when this process listens, in milliseconds since 1970.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Listens for every host anew, as after a start, since the clock was set.
    pub fn listen_anew(&self, now_ms: i64) {
        for member in self.members() {
            member.listen_anew(now_ms);
        }
    }

    /// Is told whenever hosts came, went, or changed their name, tags or standing.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Where a host stands.
    pub fn standing(&self, id: HostId) -> Standing {
        match self.member(id) {
            None => Standing::Unknown,
            Some(member) if member.revoked => Standing::Revoked,
            Some(member) => Standing::Good(member),
        }
    }

    /// A host, whatever its standing.
    pub fn member(&self, id: HostId) -> Option<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Every host, whatever its standing.
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Member {
    fn new(record: HostRecord, present: Option<&Arc<Self>>, since_ms: i64) -> Self {
        let heard = present.map(|present| Arc::clone(&present.heard)).unwrap_or_else(|| {
            let at_ms = record.last_seen_ms.unwrap_or(record.enrolled_at_ms).max(since_ms);
            Arc::new(Heard {
                at_ms: at_ms.into(),
                awaited_since_ms: at_ms.into(),
                interval_ms: record.interval_ms.into(),
                unwritten: false.into(),
                seen_before_ms: record.last_seen_ms,
                presence: Mutex::new(Presence {
                    lost_since_ms: record.lost_since_ms,
                    ..Presence::default()
                }),
                life: Arc::default(),
            })
        });
        Self {
            id: record.id,
            revoked: record.revoked_at_ms.is_some(),
            instance: record.instance,
            tags: record.tags,
            heard,
        }
    }

    fn is_as(&self, record: &HostRecord) -> bool {
        self.instance == record.instance
            && self.tags == record.tags
            && self.revoked == record.revoked_at_ms.is_some()
    }

    /// The life of the host's buffer that was accepted last by this process. Whoever has it is alone in
    /// taking records of the host.
    pub async fn life(&self) -> OwnedMutexGuard<Option<Life>> {
        Arc::clone(&self.heard.life).lock_owned().await
    }

    /// Notes that something came from the host.
    pub fn heard(&self, now_ms: i64) {
        self.heard.at_ms.store(now_ms, Ordering::Relaxed);
        self.heard.unwritten.store(true, Ordering::Relaxed);
    }

    /// Listens for the host anew: by a clock that was set it cannot be said when it was heard of.
    fn listen_anew(&self, now_ms: i64) {
        self.heard.awaited_since_ms.store(now_ms, Ordering::Relaxed);
        self.heard.at_ms.store(now_ms, Ordering::Relaxed);
        self.heard.unwritten.store(false, Ordering::Relaxed);
    }

    /// Notes how often the host says that it observes.
    pub fn set_interval_ms(&self, interval_ms: u32) {
        self.heard.interval_ms.store(interval_ms, Ordering::Relaxed);
    }

    /// When something last came from the host since this process listens, milliseconds since 1970.
    pub fn last_heard_ms(&self) -> Option<i64> {
        let at_ms = self.heard.at_ms.load(Ordering::Relaxed);
        (at_ms > self.heard.awaited_since_ms.load(Ordering::Relaxed)).then_some(at_ms)
    }

    /// Whether the host is heard of.
    pub fn verdict(&self, now_ms: i64) -> Verdict {
        let heard_ms = self.heard.at_ms.load(Ordering::Relaxed);
        judge(heard_ms, self.heard.interval_ms.load(Ordering::Relaxed), self.revoked, now_ms)
    }

    /// Notes how many observations of the past the host has still to deliver, as it connects.
    pub fn note_backlog(&self, records: u64) {
        self.presence().backlog_records = records;
    }

    /// Notes the times of observations of the past that have arrived, and whether those are all.
    pub fn note_arrived(&self, times: impl IntoIterator<Item = i64>, is_whole: bool) {
        let arrived = &mut self.presence().arrived;
        arrived.add(times);
        arrived.is_whole |= is_whole;
    }

    /// What is to be told of the host.
    pub(super) fn news(&self, now_ms: i64) -> Vec<Occurrence> {
        let heard_ms = self.last_heard_ms();
        let interval_ms = self.heard.interval_ms.load(Ordering::Relaxed);
        let hearing = Hearing {
            verdict: self.verdict(now_ms),
            heard_ms,
            seen_ms: heard_ms.or(self.heard.seen_before_ms),
            interval_ms: listening_interval_ms(interval_ms),
        };
        let mut presence = self.presence();
        let news = presence::news(&presence, hearing);
        if news.is_empty() && presence.arrived.is_whole {
            presence.arrived = Arrived::default();
        }
        news
    }

    /// Notes that something is told now.
    pub(super) fn told(&self, occurrence: &Occurrence) {
        let mut presence = self.presence();
        match occurrence {
            Occurrence::HostLost { since_ms } => presence.lost_since_ms = Some(*since_ms),
            Occurrence::HostBack { .. } => presence.lost_since_ms = None,
            Occurrence::BacklogDelivered { .. } => presence.arrived = Arrived::default(),
            _ => {}
        }
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.heard.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the host was heard of, if that was not asked since.
    pub(super) fn take_unwritten(&self) -> Option<i64> {
        let unwritten = self.heard.unwritten.swap(false, Ordering::Relaxed);
        unwritten.then(|| self.heard.at_ms.load(Ordering::Relaxed))
    }

    /// The labels of one of the host's series, complete: those it has itself, `instance`, `job`,
    /// and each tag whose name the series does not use for something of its own.
    pub fn complete(&self, own: Labels) -> Labels {
        let mut labels = own;
        for (name, value) in &self.tags {
            if labels.get(name).is_none() {
                labels.set(name.as_str(), value.as_str());
            }
        }
        labels.set(INSTANCE, self.instance.as_str());
        labels.set(JOB, HOST_JOB);
        labels
    }

    /// The labels of the series that says whether the host is heard of.
    pub fn up(&self) -> Labels {
        self.complete(Labels::default().with(METRIC_NAME, "up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{By, enrolled_host, temporary};

    fn by() -> By {
        By { actor: "command-line:uid 0".into(), at_ms: 5 }
    }

    #[test]
    fn labels_are_completed_and_own_labels_stay() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 7, "web1");
        let pairs = [("site", "berlin"), ("device", "rack 4")];
        let tags = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        state.tag_host(host, &BTreeMap::from(tags), &by()).unwrap();
        let fleet = Fleet::load(&state, 0).unwrap();
        let member = fleet.member(host).unwrap();
        let own = Labels::new([(METRIC_NAME, "node_disk_io_now"), ("device", "sda")]);
        assert_eq!(
            member.complete(own).to_string(),
            r#"node_disk_io_now{device="sda", instance="web1", job="node", site="berlin"}"#
        );
        assert_eq!(
            member.up().to_string(),
            r#"up{device="rack 4", instance="web1", job="node", site="berlin"}"#
        );
    }

    #[test]
    fn what_another_process_changes_arrives_and_what_was_heard_stays() {
        let (_folder, state) = temporary();
        let fleet = Fleet::load(&state, 1_000).unwrap();
        let changes = fleet.subscribe();
        let host = enrolled_host(&state, 7, "web1");
        assert!(matches!(fleet.standing(host), Standing::Unknown));
        fleet.refresh(&state).unwrap();
        assert!(changes.has_changed().unwrap());

        let Standing::Good(member) = fleet.standing(host) else { panic!("not good") };
        member.heard(60_000);
        state.rename_host(host, "front", &by()).unwrap();
        fleet.refresh(&state).unwrap();
        let renamed = fleet.member(host).unwrap();
        assert_eq!(renamed.instance, "front");
        assert_eq!(renamed.verdict(89_000), Verdict::Heard);
        assert_eq!(renamed.take_unwritten(), Some(60_000));
        assert_eq!(renamed.take_unwritten(), None);

        state.revoke_host(host, &by()).unwrap();
        fleet.refresh(&state).unwrap();
        assert!(matches!(fleet.standing(host), Standing::Revoked));
        let revision = *fleet.subscribe().borrow();
        fleet.refresh(&state).unwrap();
        assert_eq!(*fleet.subscribe().borrow(), revision);
    }

    #[test]
    fn after_the_clock_was_set_nobody_is_missed_at_once_and_everybody_after_his_intervals() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 7, "web1");
        let fleet = Fleet::load(&state, 1_000_000_000).unwrap();
        let member = fleet.member(host).unwrap();
        member.heard(1_000_001_000);
        for now_ms in [32_000_000_000, 5_000_000] {
            fleet.listen_anew(now_ms);
            assert_eq!((member.last_heard_ms(), member.take_unwritten()), (None, None));
            assert_eq!(member.verdict(now_ms + 30_000), Verdict::Heard);
            assert_eq!(member.verdict(now_ms + 30_001), Verdict::Silent { for_ms: 30_001 });
            member.heard(now_ms + 40_000);
            assert_eq!(member.last_heard_ms(), Some(now_ms + 40_000));
        }
    }

    #[test]
    fn after_a_start_nobody_is_missed_at_once() {
        let (_folder, state) = temporary();
        let host = enrolled_host(&state, 7, "web1");
        state.record_last_seen(&[(host, 2_000)]).unwrap();
        let member = Fleet::load(&state, 1_000_000).unwrap().member(host).unwrap();
        assert_eq!(member.verdict(1_030_000), Verdict::Heard);
        assert_eq!(member.verdict(1_030_001), Verdict::Silent { for_ms: 30_001 });
    }
}
