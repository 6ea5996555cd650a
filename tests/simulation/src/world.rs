//! A simulation from its first step to its last: things go wrong, then nothing does any more, and
//! everything has to arrive.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use turmoil::{Builder, Sim};
use upkeep_agent::buffer::LaneState;
use upkeep_model::{Lane, Ranges, StreamKey};

use crate::agent::{Agent, Pace};
use crate::ambient;
use crate::collector::{self, Collector, host_id};
use crate::history::{Account, Causes};
use crate::plan::{Direction, Fault, Loss, Plan};
use crate::template::{self, BEGIN_MS, name};
use crate::trace;

/// So long agents observe after the last fault, so that it shows whether what is live waits for what
/// is not.
const CALM: Duration = Duration::from_secs(40);

/// By then everything must have arrived, counted from the last fault: a connection that died silently
/// is noticed after half a minute.
const PATIENCE: Duration = Duration::from_secs(400);

/// How a simulation went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// All that happened, as one number.
    pub trace: u64,
    /// How long it took, in simulated time.
    pub elapsed: Duration,
    /// What became of the records.
    pub account: Account,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account { stored, declared } = self.account;
        let (trace, seconds) = (self.trace, self.elapsed.as_secs());
        write!(formatter, "trace {trace:016x}, {seconds} s, {stored} stored, {declared} declared")
    }
}

/// Runs the simulation of a seed on a thread that nothing ran on before.
///
/// # Errors
/// When a record is lost or altered, or does not arrive in time.
pub fn run(seed: u64, template: &Path, folder: &Path) -> Result<Outcome> {
    ambient::seed(seed);
    ambient::set_wall(Some(BEGIN_MS));
    let plan = Plan::of(seed);
    let mut world = World::new(seed, &plan, template, folder)?;
    world.trouble(&plan)?;
    world.heal()?;
    world.settle()?;
    world.verify()
}

struct World<'a> {
    sim: Sim<'a>,
    agents: Vec<Rc<Agent>>,
    collector: Rc<Collector>,
    latency: Duration,
    tick: Duration,
    causes: Causes,
    /// What ends at a step.
    ends: BTreeMap<u64, Vec<End>>,
    step: u64,
    healed_ms: i64,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug)]
enum End {
    Repair(usize),
    Release(usize),
    Fast(usize),
    StartAgent(usize),
    StartCollector,
}

impl World<'_> {
    fn new(seed: u64, plan: &Plan, template: &Path, folder: &Path) -> Result<Self> {
        let mut sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(plan.tick)
            .simulation_duration(Duration::MAX)
            .max_message_latency(plan.latency)
            .tcp_capacity(4096)
            .build();
        let collector = Rc::new(Collector::new(folder, template, plan.window)?);
        let serving = Rc::clone(&collector);
        sim.host(collector::NAME, move || {
            let serving = Rc::clone(&serving);
            async move { Ok(serving.serve(agent_at).await?) }
        });
        let mut agents = Vec::new();
        for (index, planned) in plan.agents.iter().enumerate() {
            let random = StdRng::seed_from_u64(seed ^ (index as u64 + 1) << 32);
            let identity = template::identity(template, index);
            let agent = Rc::new(Agent::new(*planned, folder.join(name(index)), identity, random));
            agents.push(Rc::clone(&agent));
            sim.host(name(index), move || {
                let agent = Rc::clone(&agent);
                async move { Ok(agent.run().await?) }
            });
        }
        Ok(Self {
            sim,
            agents,
            collector,
            latency: plan.latency,
            tick: plan.tick,
            causes: Causes::default(),
            ends: BTreeMap::new(),
            step: 0,
            healed_ms: 0,
        })
    }

    fn trouble(&mut self, plan: &Plan) -> Result<()> {
        while self.step < plan.troubled {
            for fault in plan.faults.get(&self.step).into_iter().flatten() {
                self.begin(*fault).with_context(|| format!("{fault:?}"))?;
            }
            self.advance()?;
        }
        Ok(())
    }

    fn heal(&mut self) -> Result<()> {
        for end in std::mem::take(&mut self.ends).into_values().flatten() {
            self.end(end);
        }
        self.healed_ms = self.now_ms();
        self.pace(Pace::Calm);
        Ok(())
    }

    /// Waits until everything has arrived.
    fn settle(&mut self) -> Result<()> {
        let since = self.sim.elapsed();
        while self.sim.elapsed() < since + CALM {
            self.advance()?;
            self.check_live()?;
        }
        self.pace(Pace::Ended);
        while !self.is_settled() {
            let waited = self.sim.elapsed() - since;
            ensure!(waited < PATIENCE, "after {waited:?} not all has arrived: {}", self.pending());
            self.advance()?;
        }
        Ok(())
    }

    fn verify(self) -> Result<Outcome> {
        let services = self.collector.services().context("the collector is down")?;
        let mut account = Account::default();
        for index in 0..self.agents.len() {
            for gap in services.state.gaps(host_id(index), u32::MAX)? {
                tracing::debug!("{} {} {:?}", name(index), gap.stream.epoch, gap.gap);
            }
        }
        for (index, agent) in self.agents.iter().enumerate() {
            let history = agent.history.borrow();
            let one = history
                .verify(host_id(index), &services, self.causes, agent.has_room())
                .with_context(|| name(index))?;
            account.stored += one.stored;
            account.declared += one.declared;
        }
        Ok(Outcome { trace: trace::sum(), elapsed: self.sim.elapsed(), account })
    }

    fn advance(&mut self) -> Result<()> {
        for end in self.ends.remove(&self.step).into_iter().flatten() {
            self.end(end);
        }
        self.step += 1;
        ambient::set_wall(Some(BEGIN_MS + self.now_ms()));
        self.sim.step().map_err(|error| anyhow!("{error}"))?;
        for (index, agent) in self.agents.iter().enumerate() {
            let Some(buffer) = agent.buffer() else { continue };
            let mut buffer = buffer.lock();
            agent.history.borrow_mut().read(&mut buffer)?;
            let states = Lane::ALL.map(|lane| buffer.lane(lane));
            for state in states {
                trace::note((state.next_sequence, state.acknowledged, state.lost_through));
            }
            let stream = StreamKey { host: host_id(index), epoch: buffer.epoch() };
            if agent.note_acknowledged(stream.epoch, states.map(|state| state.acknowledged)) {
                self.check_acknowledged(stream, states).with_context(|| name(index))?;
            }
        }
        Ok(())
    }

    /// What an agent takes for acknowledged is at the collector, unless that lost it since.
    fn check_acknowledged(&self, stream: StreamKey, states: [LaneState; 2]) -> Result<()> {
        let Some(services) = self.collector.services().filter(|_| !self.causes.restored) else {
            return Ok(());
        };
        for (lane, state) in Lane::ALL.into_iter().zip(states) {
            let committed = match lane {
                Lane::Samples => services.store.committed(stream),
                Lane::Events => Ranges::through(services.state.event_mark(stream)?),
            };
            // What was dropped is declared by an event that may be on its way.
            let missing = committed.missing(state.lost_through + 1..=state.acknowledged);
            ensure!(missing.is_empty(), "{missing:?} of lane {lane} is not there: {state:?}");
        }
        Ok(())
    }

    fn now_ms(&self) -> i64 {
        self.sim.elapsed().as_millis() as i64
    }

    fn pace(&self, pace: Pace) {
        self.agents.iter().for_each(|agent| agent.set_pace(pace));
    }

    fn begin(&mut self, fault: Fault) -> Result<()> {
        trace::note(format!("{} {fault:?}", self.step));
        log(self.step, &fault);
        let collector = collector::NAME;
        match fault {
            Fault::Partition(agent, direction, steps) => {
                match direction {
                    Direction::Both => self.sim.partition(name(agent), collector),
                    Direction::Sent => self.sim.partition_oneway(name(agent), collector),
                    Direction::Received => self.sim.partition_oneway(collector, name(agent)),
                }
                self.end_after(steps, End::Repair(agent));
            }
            Fault::Hold(agent, steps) => {
                self.sim.hold(name(agent), collector);
                self.end_after(steps, End::Release(agent));
            }
            Fault::Slow(agent, ticks) => {
                let latency = self.tick * u32::try_from(ticks)? + self.latency;
                self.sim.set_link_max_message_latency(name(agent), collector, latency);
                self.end_after(40, End::Fast(agent));
            }
            Fault::CrashAgent(agent, loss, steps) => self.crash_agent(agent, loss, steps),
            Fault::FailSync(agent) => self.agents[agent].fail_sync(),
            Fault::SetClock(agent, skew_ms) => self.agents[agent].set_clock(skew_ms),
            Fault::CrashCollector(steps) => self.crash_collector(false, steps)?,
            Fault::RestoreCollector(steps) => self.crash_collector(true, steps)?,
            Fault::Backup => self.collector.back_up()?,
            Fault::CopyDisk(agent) => {
                if self.sim.is_host_running(name(agent)) && self.agents[agent].buffer().is_some() {
                    self.agents[agent].copy_disk()?;
                }
            }
            Fault::PutBack(agent, steps) => {
                if self.sim.is_host_running(name(agent)) {
                    let is_known = self.knows_beyond_copy(agent)?;
                    self.crash_agent(agent, Loss::Process, steps);
                    self.agents[agent].put_back(is_known)?;
                }
            }
            Fault::Seal => {
                if let Some(services) = self.collector.services() {
                    services.store.seal_all(BEGIN_MS + self.now_ms())?;
                }
            }
        }
        Ok(())
    }

    /// Whether the collector has what an agent observed since the copy of its disk was made.
    fn knows_beyond_copy(&self, agent: usize) -> Result<bool> {
        let copied = self.agents[agent].history.borrow().copied();
        let (Some((epoch, [samples, events])), Some(services)) =
            (copied, self.collector.services())
        else {
            return Ok(false);
        };
        let stream = StreamKey { host: host_id(agent), epoch };
        let has_samples = services.store.committed(stream).last() > samples;
        Ok(has_samples || services.state.event_mark(stream)? > events)
    }

    fn crash_agent(&mut self, agent: usize, loss: Loss, steps: u64) {
        if self.sim.is_host_running(name(agent)) {
            self.agents[agent].lose(loss);
            self.sim.crash(name(agent));
            self.end_after(steps, End::StartAgent(agent));
        }
    }

    fn crash_collector(&mut self, from_backup: bool, steps: u64) -> Result<()> {
        if self.sim.is_host_running(collector::NAME) {
            let (restored, remove) = self.collector.pull_disk(from_backup)?;
            self.causes.restored |= restored;
            self.sim.crash(collector::NAME);
            remove();
            self.end_after(steps, End::StartCollector);
        }
        Ok(())
    }

    fn end_after(&mut self, steps: u64, end: End) {
        self.ends.entry(self.step + steps).or_default().push(end);
    }

    fn end(&mut self, end: End) {
        log(self.step, &end);
        let collector = collector::NAME;
        match end {
            End::Repair(agent) => self.sim.repair(name(agent), collector),
            End::Release(agent) => self.sim.release(name(agent), collector),
            End::Fast(agent) => {
                self.sim.set_link_max_message_latency(name(agent), collector, self.latency);
            }
            End::StartAgent(agent) => self.sim.bounce(name(agent)),
            End::StartCollector => self.sim.bounce(collector),
        }
    }

    /// What was observed since a connection was made arrives at once, whatever else waits.
    fn check_live(&self) -> Result<()> {
        let Some(services) = self.collector.services() else { return Ok(()) };
        let bound = (self.latency + self.tick) * 8;
        for (index, agent) in self.agents.iter().enumerate() {
            let (Some(buffer), Some((opened_ms, epoch))) = (agent.buffer(), agent.opened()) else {
                continue;
            };
            // A buffer that began anew since then has to connect again.
            if opened_ms < self.healed_ms || epoch != buffer.lock().epoch() {
                continue;
            }
            let stream = StreamKey { host: host_id(index), epoch };
            let committed = services.store.committed(stream);
            let before_ms = self.now_ms() - bound.as_millis() as i64;
            let waits = agent.history.borrow().waits(&committed, opened_ms, before_ms);
            ensure!(
                waits.is_none(),
                "{}: sample {waits:?} is live and waits for more than {bound:?}; committed {committed:?}",
                name(index)
            );
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.agents.iter().all(|agent| {
            agent.buffer().is_some_and(|buffer| {
                let buffer = buffer.lock();
                Lane::ALL.iter().all(|lane| buffer.lane(*lane).pending() == 0)
            })
        })
    }

    fn pending(&self) -> String {
        let of = |agent: &Rc<Agent>| {
            agent.buffer().map(|buffer| {
                let buffer = buffer.lock();
                Lane::ALL.map(|lane| (lane, buffer.lane(lane)))
            })
        };
        format!("{:?}", self.agents.iter().map(of).collect::<Vec<_>>())
    }
}

/// The agent whose host has an address.
fn agent_at(address: IpAddr) -> usize {
    let name = turmoil::reverse_lookup(address).unwrap_or_default();
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
}

fn log(step: u64, what: &impl fmt::Debug) {
    tracing::info!(step, "{what:?}");
}
