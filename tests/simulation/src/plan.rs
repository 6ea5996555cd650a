//! What happens in a simulation, all of it from the seed. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// The most agents that a simulation has.
pub const MAX_AGENTS: usize = 3;

/// A simulation before it runs.
#[derive(Debug)]
pub struct Plan {
    /// How far time goes in one step.
    pub tick: Duration,
    /// How long a message is under way at most.
    pub latency: Duration,
    /// So many steps things go wrong.
    pub troubled: u64,
    /// What one host may send unanswered: records and bytes.
    pub window: (u32, u32),
    /// The agents.
    pub agents: Vec<Agent>,
    /// What goes wrong, by the step at which it does.
    pub faults: BTreeMap<u64, Vec<Fault>>,
}

/// An agent before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    /// What its records may take.
    pub limit_bytes: u64,
    /// How long it waits between two observations on average.
    pub pause: Duration,
    /// How often, of a hundred times, many observations come at once.
    pub burst_percent: u32,
    /// How many then.
    pub burst: u32,
    /// How far its clock is from the collector's, in milliseconds.
    pub skew_ms: i64,
}

/// Which messages a fault concerns.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    /// All of a host.
    Both,
    /// Those that it sends.
    Sent,
    /// Those that it should get.
    Received,
}

/// What a host loses as it crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The process.
    Process,
    /// Power: what was not synced, too.
    Unsynced,
    /// Its disk.
    Disk,
}

/// Something that goes wrong, for a number of steps.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Messages between an agent and the collector are lost.
    Partition(usize, Direction, u64),
    /// They are kept back, and arrive afterwards.
    Hold(usize, u64),
    /// They take so many steps.
    Slow(usize, u64),
    /// An agent ends and starts again.
    CrashAgent(usize, Loss, u64),
    /// The next sync of an agent's buffer fails.
    FailSync(usize),
    /// An agent's clock is set to be so many milliseconds from the collector's.
    SetClock(usize, i64),
    /// The collector is killed and starts again.
    CrashCollector(u64),
    /// It starts again from its last backup.
    RestoreCollector(u64),
    /// A backup of the collector is made.
    Backup,
    /// A copy of an agent's disk is made.
    CopyDisk(usize),
    /// An agent ends and starts again on the last copy of its disk.
    PutBack(usize, u64),
    /// The collector moves its journal into its database.
    Seal,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let tick =
            Duration::from_millis(*[50, 100, 100, 200, 200].choose(&mut random).unwrap_or(&100));
        let troubled = random.random_range(150..450);
        let count = random.random_range(1..=MAX_AGENTS);
        let agents: Vec<Agent> = (0..count).map(|_| agent(&mut random, tick)).collect();
        let mut faults = BTreeMap::<u64, Vec<Fault>>::new();
        // Each simulation has kinds of trouble of its own, so that some are deep in one.
        let kinds: Vec<u32> = (0..KINDS).filter(|_| random.random_bool(0.5)).collect();
        let mut at = 0;
        loop {
            at += random.random_range(3..50);
            let Some(kind) = kinds.choose(&mut random).filter(|_| at < troubled) else { break };
            faults.entry(at).or_default().push(fault(*kind, count, &mut random));
        }
        let latency = tick * random.random_range(1..4);
        let window = (
            *[4, 16, 64, 1024].choose(&mut random).unwrap_or(&16),
            *[600, 4_000, 256 * 1024].choose(&mut random).unwrap_or(&4_000),
        );
        // Drawn last, so that a seed whose disks are never put back stays what it was.
        if random.random_bool(0.4) {
            add_copies(&mut faults, troubled, count, &mut random);
        }
        Self { tick, latency, troubled, window, agents, faults }
    }
}

/// Lets disks be copied and put back, some more than once.
fn add_copies(
    faults: &mut BTreeMap<u64, Vec<Fault>>,
    troubled: u64,
    agents: usize,
    random: &mut StdRng,
) {
    let mut at = random.random_range(3..100);
    while at < troubled {
        let agent = random.random_range(0..agents);
        let fault = if random.random_bool(0.5) {
            Fault::CopyDisk(agent)
        } else {
            Fault::PutBack(agent, random.random_range(1..20))
        };
        faults.entry(at).or_default().push(fault);
        at += random.random_range(3..60);
    }
}

fn agent(random: &mut StdRng, tick: Duration) -> Agent {
    Agent {
        limit_bytes: *[5_000, 8_000, 20_000, 64 << 20].choose(random).unwrap_or(&20_000),
        pause: tick * random.random_range(2..30),
        burst_percent: *[0, 5, 15].choose(random).unwrap_or(&5),
        burst: random.random_range(5..80),
        skew_ms: random.random_range(-300_000..300_000),
    }
}

/// How many kinds of fault there are.
const KINDS: u32 = 12;

fn fault(kind: u32, agents: usize, random: &mut StdRng) -> Fault {
    let agent = random.random_range(0..agents);
    let short = random.random_range(1..6);
    let long = random.random_range(10..200);
    let direction = *[Direction::Both, Direction::Sent, Direction::Received]
        .choose(random)
        .unwrap_or(&Direction::Both);
    match kind {
        0 => Fault::Partition(agent, direction, short),
        1 => Fault::Partition(agent, direction, long),
        2 => Fault::Hold(agent, long),
        3 => Fault::Slow(agent, short),
        4 => Fault::CrashAgent(agent, Loss::Process, short),
        5 => Fault::CrashAgent(agent, Loss::Unsynced, long),
        6 => Fault::CrashAgent(agent, Loss::Disk, short),
        7 => Fault::FailSync(agent),
        8 => Fault::SetClock(agent, random.random_range(-300_000..300_000)),
        9 => Fault::CrashCollector(if random.random_bool(0.5) { short } else { long }),
        10 if random.random_bool(0.6) => Fault::Backup,
        10 => Fault::RestoreCollector(short),
        _ => Fault::Seal,
    }
}
