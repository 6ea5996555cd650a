//! The dead-man's switch: a request to an address outside, again and again, for as long as samples come
//! in, rules are evaluated and people are told. Whoever waits there raises the alarm when it stops, which
//! nobody could hear from here.

mod judgement;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::{task, time};
use tokio_util::sync::CancellationToken;

pub use judgement::{Fault, Signs, judge};

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::notify::{Alert, HttpSettings, NotifyError, Ping, Secret};
use crate::rule::Board;
use crate::state::{NotificationKey, State, StateError};

/// How often it is looked whether the queue of alerts is taken from.
const LOOK: Duration = Duration::from_secs(1);

/// What can be set about the heartbeat.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address, secret as such addresses are.
    pub url: Secret,
    /// How often it is sent.
    pub interval: Duration,
    /// How long a part of the way may stand still.
    pub patience: Duration,
    /// How to send.
    pub http: HttpSettings,
}

/// What is looked at.
pub struct Parts {
    /// The hosts, and when they were last heard.
    pub fleet: Arc<Fleet>,
    /// The rules, and when they were last evaluated.
    pub board: Arc<Board>,
    /// What people were told, and what could not be told.
    pub state: State,
    /// The queue that rules put their alerts into.
    pub alerts: mpsc::Sender<Vec<Alert>>,
    /// Tells the time.
    pub clock: Clock,
}

/// Sends it until `stop`.
///
/// # Errors
/// When certificates cannot be read.
pub async fn run(
    settings: Settings,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), NotifyError> {
    let ping = Ping::new(settings.http)?;
    let mut pulse = Pulse::begin(parts, settings.patience);
    let mut beats = time::interval(settings.interval);
    beats.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut looks = time::interval(LOOK.min(settings.interval));
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = looks.tick() => pulse.look_at_queue(),
            _ = beats.tick() => {
                let faults = pulse.faults().await;
                pulse.note(&faults);
                if faults.is_empty() {
                    let sent = stop.run_until_cancelled(ping.send(&settings.url)).await;
                    pulse.note_sent(sent.unwrap_or(Ok(())));
                }
            }
        }
    }
}

/// What is remembered from one beat to the next.
struct Pulse {
    parts: Parts,
    patience: Duration,
    began_at_ms: i64,
    /// When the queue was last seen empty.
    taken_at_ms: i64,
    /// Since when telling fails, by channel and group.
    failing: BTreeMap<NotificationKey, i64>,
    /// What was last said to be wrong, so that it is said once.
    said: Vec<Fault>,
    is_unsent: bool,
}

impl Pulse {
    fn begin(parts: Parts, patience: Duration) -> Self {
        let now_ms = parts.clock.now_ms();
        Self {
            parts,
            patience,
            began_at_ms: now_ms,
            taken_at_ms: now_ms,
            failing: BTreeMap::new(),
            said: Vec::new(),
            is_unsent: false,
        }
    }

    /// An empty batch goes the way of alerts; as long as somebody takes it, the queue is seen empty.
    fn look_at_queue(&mut self) {
        let queue = &self.parts.alerts;
        if queue.capacity() == queue.max_capacity() {
            self.taken_at_ms = self.parts.clock.now_ms();
            // Nobody at the other end is a fault that shows at the next look.
            drop(queue.try_send(Vec::new()));
        }
    }

    async fn faults(&mut self) -> Vec<Fault> {
        let now_ms = self.parts.clock.now_ms();
        if let Err(error) = self.follow_failures(now_ms).await {
            return vec![Fault::StateUnreadable(error.to_string())];
        }
        let members = self.parts.fleet.members();
        let hosts = members.iter().filter(|member| !member.revoked);
        let groups = self.parts.board.snapshot().groups;
        judge(&Signs {
            now_ms,
            began_at_ms: self.began_at_ms,
            patience: self.patience,
            heard_ms: hosts.map(|member| member.last_heard_ms()).collect(),
            groups: &groups,
            taken_at_ms: self.taken_at_ms,
            failing: &self.failing,
        })
    }

    /// Learns which messages fail now, and keeps since when.
    async fn follow_failures(&mut self, now_ms: i64) -> Result<(), StateError> {
        let state = self.parts.state.clone();
        let read = task::spawn_blocking(move || state.notifications()).await;
        let Ok(records) = read else {
            // The task was stopped with the program.
            return Ok(());
        };
        let failing = records?.into_iter().filter(|(_, record)| record.failure.is_some());
        self.failing = failing
            .map(|(key, _)| {
                let since_ms = self.failing.get(&key).copied().unwrap_or(now_ms);
                (key, since_ms)
            })
            .collect();
        Ok(())
    }

    fn note(&mut self, faults: &[Fault]) {
        // Which host, group or message it is may change at each beat; what kind of thing, seldom.
        let kinds =
            |faults: &[Fault]| faults.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        if kinds(faults) == kinds(&self.said) {
            return;
        }
        if faults.is_empty() {
            tracing::info!("the heartbeat is sent again: all parts of the way work");
        }
        for fault in faults {
            tracing::error!(%fault, "the heartbeat stops");
        }
        self.said = faults.to_vec();
    }

    fn note_sent(&mut self, sent: Result<(), NotifyError>) {
        match (sent, self.is_unsent) {
            (Err(error), false) => tracing::warn!(%error, "the heartbeat does not arrive"),
            (Ok(()), true) => tracing::info!("the heartbeat arrives again"),
            (Err(_), true) | (Ok(()), false) => return,
        }
        self.is_unsent = !self.is_unsent;
    }
}
