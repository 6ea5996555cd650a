//! What the dispatcher knows and decides, without I/O: which alerts there are, how they are grouped,
//! when each group is looked at, and what each channel is to be told.
//!
//! Every change is noted for the state database; what is noted must be stored before a job that
//! follows from it is done, so that a restart neither forgets an alert nor tells it twice. The one
//! exception cannot be helped: whoever was told when the power went, before that was stored, is told
//! again.

mod acknowledgements;
mod actions;
mod flapping;
mod intake;
mod outside;
mod reroute;
mod retry;
mod set_clock;
mod silences;
mod standing;
mod sweep;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use upkeep_model::Labels;
use uuid::Uuid;

pub(super) use self::reroute::Routes;
use self::retry::pause_ms;
use super::flap::Flaps;
use super::group::{Decision, HeldAlert, Reason, Standing, milliseconds};
use super::inhibit::Inhibition;
use super::interval::Hours;
use super::route::{Route, Timing};
use super::silence::Silences;
use crate::action::Order;
use crate::ledger::News;
use crate::notify::{Fingerprint, Notification};
use crate::state::{Acknowledgement, AlertChanges, NotificationKey, NotificationRecord};

/// How many messages may be under way by one channel: one that hangs must not use up everything,
/// and one that is slow must not hold up many groups.
const IN_FLIGHT: usize = 16;

/// What the book must know of a receiver: for each channel, whether it tells of resolved alerts.
pub(super) type Channels = BTreeMap<String, Vec<bool>>;

/// Something to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// Which channel is told about which group.
    pub(super) key: NotificationKey,
    /// What it is told.
    pub(super) notification: Notification,
    /// Why.
    pub(super) reason: Reason,
    group: u64,
    standing: Standing,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Told,
    /// Worth another try, after a pause that the random number in [0, 1) shortens.
    Failed {
        reason: String,
        random: f64,
    },
    /// Not worth another try before the group is looked at anew.
    Refused {
        reason: String,
    },
}

/// See the module's description.
pub(super) struct Book {
    root: Route,
    channels: Channels,
    resolve_timeout_ms: i64,
    external_url: String,
    inhibition: Inhibition,
    silences: Silences,
    acknowledgements: BTreeMap<Fingerprint, Acknowledgement>,
    flaps: Flaps,
    alerts: BTreeMap<Fingerprint, Known>,
    groups: BTreeMap<u64, Group>,
    numbers: BTreeMap<(String, String), u64>,
    next_number: u64,
    records: BTreeMap<NotificationKey, NotificationRecord>,
    /// When each group is to be looked at.
    agenda: BTreeSet<(i64, u64)>,
    /// How many messages are under way by each channel, and which groups wait for one to end.
    lines: BTreeMap<(String, usize), Line>,
    changes: AlertChanges,
    /// Actions that are to be run.
    orders: Vec<Order>,
    /// What the ledger of usefulness is to be told.
    news: Vec<News>,
}

/// An alert, the groups that it is in, and the silences that are about it.
struct Known {
    held: HeldAlert,
    /// Ascending. Most alerts are in one group, and there may be many alerts.
    groups: Vec<u64>,
    silences: BTreeSet<Uuid>,
    /// Whether others sent it, or may have: of one from before a restart it is not known.
    is_of_others: bool,
}

impl Known {
    fn join(&mut self, group: u64) {
        if let Err(at) = self.groups.binary_search(&group) {
            self.groups.reserve_exact(1);
            self.groups.insert(at, group);
        }
    }

    fn leave(&mut self, group: u64) {
        self.groups.retain(|one| *one != group);
    }
}

/// The group that a route puts an alert into.
struct Destination {
    key: String,
    labels: Labels,
    receiver: String,
    timing: Timing,
    hours: Hours,
    /// How long an alert is held back here, in the hope that somebody acknowledges it.
    held_back_ms: Option<i64>,
}

#[derive(Default)]
struct Line {
    in_flight: usize,
    waiting: VecDeque<u64>,
}

struct Group {
    key: String,
    labels: Labels,
    receiver: String,
    timing: Timing,
    hours: Hours,
    held_back_ms: Option<i64>,
    alerts: BTreeSet<Fingerprint>,
    has_flushed: bool,
    next_flush_ms: i64,
    /// When it stands on the agenda.
    agenda_ms: i64,
    attempts: Vec<Attempt>,
}

/// How far a channel is with the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Idle,
    /// Something is to be decided as soon as the channel has room.
    Queued {
        failures: u32,
    },
    Sending {
        failures: u32,
    },
    /// It failed and is tried again.
    Pausing {
        until_ms: i64,
        failures: u32,
    },
}

impl Book {
    pub(super) fn new(routes: Routes, external_url: String) -> Self {
        Self {
            root: routes.root,
            channels: routes.channels,
            resolve_timeout_ms: milliseconds(routes.resolve_timeout),
            external_url,
            inhibition: Inhibition::new(routes.inhibit_rules),
            silences: Silences::default(),
            acknowledgements: BTreeMap::new(),
            flaps: Flaps::default(),
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            records: BTreeMap::new(),
            agenda: BTreeSet::new(),
            lines: BTreeMap::new(),
            changes: AlertChanges::default(),
            orders: Vec::new(),
            news: Vec::new(),
        }
    }

    /// When something is to be done next, in milliseconds since 1970.
    pub(super) fn next_wake_ms(&self) -> Option<i64> {
        self.agenda.first().map(|(at_ms, _)| *at_ms)
    }

    /// What is to be stored.
    pub(super) fn take_changes(&mut self) -> AlertChanges {
        std::mem::take(&mut self.changes)
    }

    /// What the ledger of usefulness is to be told.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Looks at every group whose time has come; what is to be sent comes back.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Some((at_ms, number)) = self.agenda.first().copied() {
            if at_ms > now_ms {
                break;
            }
            self.look_at(number, now_ms, &mut jobs);
        }
        jobs
    }

    /// Takes how a job ended; what the channel can do next comes back.
    pub(super) fn settle(&mut self, job: &Job, outcome: Outcome, now_ms: i64) -> Vec<Job> {
        let line = (job.key.receiver.clone(), job.key.channel);
        if let Some(line) = self.lines.get_mut(&line) {
            line.in_flight = line.in_flight.saturating_sub(1);
        }
        let mut record = self.records.get(&job.key).cloned().unwrap_or_default();
        let mut next = Attempt::Idle;
        match outcome {
            Outcome::Told => {
                self.note_told(&job.notification);
                record = job.standing.clone().told(Some(&record), job.notification.at_ms);
            }
            Outcome::Refused { reason } => record.failure = Some((now_ms, reason)),
            Outcome::Failed { reason, random } => {
                record.failure = Some((now_ms, reason));
                let failures = self.attempt(job.group, job.key.channel).failures() + 1;
                let until_ms = now_ms.saturating_add(pause_ms(failures, random));
                next = Attempt::Pausing { until_ms, failures };
            }
        }
        // Whoever is not told of this group any more, since the routes changed, is remembered no more.
        let group = self.groups.get(&job.group);
        if group.is_some_and(|group| job.key.channel < group.attempts.len()) {
            self.changes.tell(job.key.clone(), record.clone());
            self.records.insert(job.key.clone(), record);
        }
        self.set_attempt(job.group, job.key.channel, next);
        self.sweep(job.group, now_ms);
        let mut jobs = Vec::new();
        while jobs.is_empty() {
            let waiting = self.lines.get_mut(&line).and_then(|line| line.waiting.pop_front());
            let Some(number) = waiting else { break };
            self.consider(number, job.key.channel, now_ms, &mut jobs);
        }
        jobs
    }

    fn group_number(&mut self, destination: Destination, now_ms: i64) -> u64 {
        let id = (destination.receiver.clone(), destination.key.clone());
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        let number = self.next_number;
        self.next_number += 1;
        let channels = self.channels.get(&id.0).map_or(0, Vec::len);
        let group = Group::new(destination, channels, now_ms);
        self.agenda.insert((group.agenda_ms, number));
        self.groups.insert(number, group);
        self.numbers.insert(id, number);
        number
    }

    /// Sets a group on the agenda for when it is to be looked at next.
    fn schedule(&mut self, number: u64) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let pauses = group.attempts.iter().filter_map(|attempt| match attempt {
            Attempt::Pausing { until_ms, .. } => Some(*until_ms),
            _ => None,
        });
        let at_ms = pauses.fold(group.next_flush_ms, i64::min);
        self.agenda.remove(&(group.agenda_ms, number));
        group.agenda_ms = at_ms;
        self.agenda.insert((at_ms, number));
    }

    fn look_at(&mut self, number: u64, now_ms: i64, jobs: &mut Vec<Job>) {
        let Some(group) = self.groups.get_mut(&number) else { return };
        let is_flush = group.next_flush_ms <= now_ms;
        if is_flush {
            group.has_flushed = true;
            group.next_flush_ms =
                now_ms.saturating_add(milliseconds(group.timing.group_interval).max(1));
            self.note_silenced(number, now_ms);
            self.order_actions(number, now_ms);
        }
        let Some(group) = self.groups.get(&number) else { return };
        let due: Vec<_> = group
            .attempts
            .iter()
            .enumerate()
            .filter(|(_, attempt)| match attempt {
                Attempt::Idle => is_flush,
                Attempt::Pausing { until_ms, .. } => *until_ms <= now_ms,
                Attempt::Queued { .. } | Attempt::Sending { .. } => false,
            })
            .map(|(channel, _)| channel)
            .collect();
        for channel in due {
            self.consider(number, channel, now_ms, jobs);
        }
        self.schedule(number);
        self.sweep(number, now_ms);
    }

    /// Decides what a channel is to be told about a group.
    fn consider(&mut self, number: u64, channel: usize, now_ms: i64, jobs: &mut Vec<Job>) {
        let failures = self.attempt(number, channel).failures();
        let Some(group) = self.groups.get(&number) else { return };
        let standing = self.standing(group, now_ms);
        match self.decision(group, channel, &standing, now_ms) {
            Decision::Rest => self.set_attempt(number, channel, Attempt::Idle),
            Decision::Note => {
                let key = group.notification_key(channel);
                let record = standing.told(self.records.get(&key), now_ms);
                self.changes.tell(key.clone(), record.clone());
                self.records.insert(key, record);
                self.set_attempt(number, channel, Attempt::Idle);
            }
            Decision::Tell(reason) => {
                let line = self.lines.entry((group.receiver.clone(), channel)).or_default();
                if line.in_flight >= IN_FLIGHT {
                    line.waiting.push_back(number);
                    self.set_attempt(number, channel, Attempt::Queued { failures });
                    return;
                }
                line.in_flight += 1;
                jobs.push(Job {
                    key: group.notification_key(channel),
                    notification: self.notification(group, channel, &standing, now_ms),
                    reason,
                    group: number,
                    standing,
                });
                self.set_attempt(number, channel, Attempt::Sending { failures });
            }
        }
    }

    fn attempt(&self, number: u64, channel: usize) -> Attempt {
        let group = self.groups.get(&number);
        group.and_then(|group| group.attempts.get(channel)).copied().unwrap_or(Attempt::Idle)
    }

    fn set_attempt(&mut self, number: u64, channel: usize, attempt: Attempt) {
        let group = self.groups.get_mut(&number);
        if let Some(slot) = group.and_then(|group| group.attempts.get_mut(channel)) {
            *slot = attempt;
        }
        self.schedule(number);
    }
}

impl Destination {
    /// Every group that an alert of these labels belongs into.
    fn all(root: &Route, labels: &Labels) -> Vec<Self> {
        let routes = root.matching(labels).into_iter();
        let destinations = routes
            .flat_map(|route| [Some(Self::of(route, labels)), Self::of_escalation(route, labels)]);
        destinations.flatten().collect()
    }

    fn of(route: &Route, labels: &Labels) -> Self {
        let labels = route.group_labels(labels);
        Self {
            key: route.group_key(&labels),
            labels,
            receiver: route.receiver.clone(),
            timing: route.timing,
            hours: route.hours.clone(),
            held_back_ms: None,
        }
    }

    /// The group of whom the route escalates to: of the same alerts, later.
    fn of_escalation(route: &Route, labels: &Labels) -> Option<Self> {
        let escalation = route.escalation.as_ref()?;
        let usual = Self::of(route, labels);
        Some(Self {
            key: format!("{}/escalated:{}", route.key, usual.labels),
            receiver: escalation.to.clone(),
            timing: Timing { group_wait: escalation.after, ..route.timing },
            held_back_ms: Some(milliseconds(escalation.after)),
            ..usual
        })
    }
}

impl Group {
    /// A group without alerts, to be looked at when they have waited for more.
    fn new(destination: Destination, channels: usize, now_ms: i64) -> Self {
        let Destination { key, labels, receiver, timing, hours, held_back_ms } = destination;
        let next_flush_ms = now_ms.saturating_add(milliseconds(timing.group_wait));
        Self {
            key,
            labels,
            receiver,
            timing,
            hours,
            held_back_ms,
            alerts: BTreeSet::new(),
            has_flushed: false,
            next_flush_ms,
            agenda_ms: next_flush_ms,
            attempts: vec![Attempt::Idle; channels],
        }
    }

    fn notification_key(&self, channel: usize) -> NotificationKey {
        NotificationKey { receiver: self.receiver.clone(), channel, group: self.key.clone() }
    }
}

impl Attempt {
    fn failures(self) -> u32 {
        match self {
            Self::Idle => 0,
            Self::Queued { failures }
            | Self::Sending { failures }
            | Self::Pausing { failures, .. } => failures,
        }
    }
}

#[cfg(test)]
mod tests;
