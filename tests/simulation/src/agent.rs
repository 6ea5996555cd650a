//! An agent: the uplink and the buffer that ship, on a disk in memory, with observations made up.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpStream;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Memory, Options, SharedBuffer};
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::identity::IdentityFolder;
use upkeep_agent::inventory::HeldPackages;
use upkeep_agent::uplink::{self, Connecting, Ground, Line, Link, Settings};
use upkeep_model::{Change, ChangeKind, Epoch, Event, EventKind, Observation};

use crate::ambient::{set_wall, wall_ms};
use crate::collector::{self, elapsed_ms};
use crate::history::History;
use crate::plan::{self, Loss};
use crate::template::{self, BEGIN_MS};
use crate::trace::{self, Traced};

/// The longest wait between two connections; short, so that a simulation has many.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How an agent observes its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As its plan says.
    Planned,
    /// One observation after another.
    Calm,
    /// Not any more.
    Ended,
}

/// An agent's disk, what runs on it, and what is known of it from outside.
pub struct Agent {
    plan: plan::Agent,
    folder: PathBuf,
    identity: IdentityFolder,
    memory: Memory,
    /// A copy of what is in memory; that of the folder stands beside it.
    copy: RefCell<Option<Memory>>,
    random: RefCell<StdRng>,
    skew_ms: Cell<i64>,
    pace: Cell<Pace>,
    buffer: RefCell<Option<SharedBuffer>>,
    /// What it made durable.
    pub history: RefCell<History>,
    /// When its last connection was accepted, in milliseconds of the simulation, and of which buffer.
    opened: Cell<Option<(i64, Epoch)>>,
    /// How far its lanes were acknowledged when that was last looked at.
    acknowledged: Cell<Option<(Epoch, [u64; 2])>>,
}

impl Agent {
    /// An agent that never ran.
    pub fn new(
        plan: plan::Agent,
        folder: PathBuf,
        identity: IdentityFolder,
        random: StdRng,
    ) -> Self {
        Self {
            plan,
            folder,
            identity,
            memory: Memory::default(),
            copy: RefCell::default(),
            random: RefCell::new(random),
            skew_ms: Cell::new(plan.skew_ms),
            pace: Cell::new(Pace::Planned),
            buffer: RefCell::default(),
            history: RefCell::default(),
            opened: Cell::default(),
            acknowledged: Cell::default(),
        }
    }

    /// Whether its buffer never has to drop anything.
    pub fn has_room(&self) -> bool {
        self.plan.limit_bytes > 1 << 20
    }

    /// The buffer, while it runs.
    pub fn buffer(&self) -> Option<SharedBuffer> {
        self.buffer.borrow().clone()
    }

    /// When its last connection was accepted, in milliseconds of the simulation, and of which buffer.
    pub fn opened(&self) -> Option<(i64, Epoch)> {
        self.opened.get()
    }

    /// Notes how far its lanes are acknowledged; says whether that is news.
    pub fn note_acknowledged(&self, epoch: Epoch, through: [u64; 2]) -> bool {
        let now = Some((epoch, through));
        self.acknowledged.replace(now) != now
    }

    /// From now on it observes so.
    pub fn set_pace(&self, pace: Pace) {
        self.pace.set(pace);
    }

    /// Sets its clock to be so far from the collector's.
    pub fn set_clock(&self, skew_ms: i64) {
        self.skew_ms.set(skew_ms);
    }

    /// Lets the next sync fail.
    pub fn fail_sync(&self) {
        self.memory.fail_next_sync();
    }

    /// Takes away what a crash costs, before its tasks end.
    pub fn lose(&self, loss: Loss) {
        self.buffer.take();
        match loss {
            Loss::Process => {}
            Loss::Unsynced => self.memory.cut_power(),
            Loss::Disk => {
                self.memory.wipe();
                self.history.borrow_mut().note_disk_lost();
            }
        }
    }

    /// Copies its disk while it runs.
    ///
    /// # Errors
    /// When the folder cannot be copied.
    pub fn copy_disk(&self) -> Result<()> {
        let copy = self.folder.with_extension("copy");
        if self.copy.borrow().is_some() {
            fs::remove_dir_all(&copy)?;
        }
        template::copy(&self.folder, &copy)?;
        self.copy.replace(Some(self.memory.copy()));
        self.history.borrow_mut().note_copied();
        Ok(())
    }

    /// Puts the copy in the place of its disk, once nothing runs on it any more. `is_known` says whether
    /// the collector has something that was observed since the copy was made.
    ///
    /// # Errors
    /// When the folder cannot be copied.
    pub fn put_back(&self, is_known: bool) -> Result<()> {
        if let Some(copy) = &*self.copy.borrow() {
            self.memory.put_back(copy);
            fs::remove_dir_all(&self.folder)?;
            template::copy(&self.folder.with_extension("copy"), &self.folder)?;
            self.history.borrow_mut().note_put_back(is_known);
        }
        Ok(())
    }

    /// Runs from a start to a crash.
    ///
    /// # Errors
    /// When it cannot go on.
    pub async fn run(&self) -> Result<()> {
        Clocked { agent: self, work: Box::pin(self.live()) }.await
    }

    async fn live(&self) -> Result<()> {
        let options = Options {
            limit_bytes: self.plan.limit_bytes,
            keep_free: KeepFree { percent: 0, bytes: 0 },
        };
        let buffer = loop {
            match Buffer::open_in_memory(&self.folder, &self.memory, options, wall_ms()) {
                Ok(buffer) => break SharedBuffer::new(buffer),
                // As whoever starts the agent again after it ended.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        self.buffer.replace(Some(buffer.clone()));
        self.history.borrow_mut().read(&mut buffer.lock())?;
        let settings = Settings {
            address: format!("{}:{}", collector::NAME, collector::PORT),
            backoff_max: BACKOFF_MAX,
            interval: Duration::from_secs(1),
            boot_id: "simulated".to_owned(),
            // Nothing is read of it but its uptime, which is not there.
            host: Host::new(HostPaths { procfs: self.folder.clone(), ..HostPaths::default() }),
            agent_version: "simulated".to_owned(),
            ground: Ground::Simulated(Arc::new(connect)),
        };
        let (link, _) = watch::channel(Link::Starting);
        let (held, opened) = watch::channel(None);
        let (identity, stop) = (self.identity.clone(), CancellationToken::new());
        let deliver = uplink::run(settings, identity, buffer.clone(), link, held, stop);
        tokio::select! {
            biased;
            () = deliver => anyhow::bail!("the uplink ended"),
            never = self.watch(opened) => never,
            never = self.observe(&buffer) => never,
        }
    }

    async fn watch(&self, mut opened: watch::Receiver<Option<HeldPackages>>) -> Result<()> {
        loop {
            opened.changed().await?;
            let epoch = opened.borrow_and_update().as_ref().map(|held| Epoch(held.epoch));
            self.opened.set(epoch.map(|epoch| (elapsed_ms(), epoch)));
        }
    }

    async fn observe(&self, buffer: &SharedBuffer) -> Result<()> {
        loop {
            let (pause, count) = self.next();
            tokio::time::sleep(pause).await;
            let is_planned = self.pace.get() == Pace::Planned;
            for _ in 0..if is_planned { count } else { count.min(1) } {
                let drafts = self.drafts();
                // What is not written is for the buffer to declare.
                let written = buffer.append(&drafts).is_ok();
                trace::note((elapsed_ms(), written));
                self.history.borrow_mut().read(&mut buffer.lock())?;
            }
        }
    }

    /// How long until the next observations, and how many.
    fn next(&self) -> (Duration, u32) {
        let mut random = self.random.borrow_mut();
        match self.pace.get() {
            Pace::Planned => {
                let bursts = random.random_range(0..100) < self.plan.burst_percent;
                let count = if bursts { self.plan.burst } else { 1 };
                (self.plan.pause.mul_f64(random.random_range(0.1..1.9)), count)
            }
            Pace::Calm => (Duration::from_secs(3), 1),
            Pace::Ended => (Duration::from_secs(1), 0),
        }
    }

    fn drafts(&self) -> Vec<Draft> {
        let mut random = self.random.borrow_mut();
        let (at_ms, value) = self.history.borrow_mut().draft(wall_ms());
        let mut observation = Observation::at(at_ms);
        observation.gauge(crate::history::SERIES, "", &[], value);
        for _ in 0..random.random_range(0..5) {
            let part = random.random_range(0..8).to_string();
            observation.gauge("simulated_part", "", &[("part", &part)], random.random());
        }
        let mut drafts = vec![Draft::Observation(observation)];
        if random.random_range(0..100) < 20 {
            let change = Change {
                id: value.to_string(),
                kind: ChangeKind::Configuration,
                subject: "s".repeat(random.random_range(0..900)),
                before: String::new(),
                after: value.to_string(),
            };
            drafts.push(Draft::Event(Event { at_ms, kind: EventKind::Change(change) }));
        }
        drafts
    }
}

fn connect() -> Connecting {
    Box::pin(async {
        let stream = TcpStream::connect((collector::NAME, collector::PORT)).await?;
        Ok(Box::new(Traced(stream)) as Box<dyn Line>)
    })
}

/// Work that sees an agent's own wall clock.
struct Clocked<'a> {
    agent: &'a Agent,
    work: Pin<Box<dyn Future<Output = Result<()>> + 'a>>,
}

impl Future for Clocked<'_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let before = set_wall(Some(BEGIN_MS + elapsed_ms() + self.agent.skew_ms.get()));
        let polled = self.work.as_mut().poll(context);
        set_wall(before);
        polled
    }
}
