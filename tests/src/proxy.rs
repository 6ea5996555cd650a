//! A network that fails, between agents and a collector: a TCP proxy whose connections come to all the
//! ends that TCP can show, drawn from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What is read from a side at once, at most: less than most messages have.
const PIECE_BYTES: usize = 2048;

/// How long a connection lives at most while the network fails.
const LIFE_MS: std::ops::Range<u64> = 50..1500;

/// A proxy on loopback; it ends with the test's runtime.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// The weather, and how often it turned before.
    weather: watch::Sender<(u64, Weather)>,
    ends: Mutex<BTreeMap<&'static str, usize>>,
}

/// What becomes of connections. When it changes, all that are there are cut, unless they fall mute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everything passes.
    Fair,
    /// Each connection has a fate of its own, drawn from the seed and its number.
    Foul(u64),
    /// The collector hears the agents that are connected, and they do not hear it.
    Mute,
}

impl Proxy {
    /// Starts a proxy before an address; everything passes at first.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            weather: watch::Sender::new((0, Weather::Fair)),
            ends: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared })
    }

    /// The configuration of an agent that goes this way.
    pub fn settings(&self) -> String {
        format!("[uplink]\naddress = \"{}\"\nbackoff_max = \"200ms\"\n", self.address)
    }

    /// From now on every connection fails in its own way.
    pub fn storm(&self, seed: u64) {
        self.shared.turn(Weather::Foul(seed));
    }

    /// From now on no answer of the collector arrives.
    pub fn mute(&self) {
        self.shared.turn(Weather::Mute);
    }

    /// From now on everything passes.
    pub fn heal(&self) {
        self.shared.turn(Weather::Fair);
    }

    /// How many connections failed so far.
    pub fn failed(&self) -> usize {
        self.shared.ends().values().sum()
    }
}

/// How many connections came to which end.
impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self.shared.ends();
        write!(formatter, "{} connections", ends.values().sum::<usize>())?;
        ends.iter().try_for_each(|(end, count)| write!(formatter, ", {count} {end}"))
    }
}

impl Shared {
    fn turn(&self, to: Weather) {
        self.weather.send_modify(|(number, weather)| (*number, *weather) = (*number + 1, to));
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut number = 0;
    while let Ok((agent, _)) = listener.accept().await {
        let mut weather = shared.weather.subscribe();
        let (turn, now) = *weather.borrow_and_update();
        let (fate, mut random) = match now {
            Weather::Fair => (Fate::Passes, StdRng::seed_from_u64(0)),
            Weather::Mute => (Fate::Refused, StdRng::seed_from_u64(0)),
            Weather::Foul(seed) => {
                number += 1;
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(number));
                (Fate::draw(&mut random), random)
            }
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let answers = shared.weather.subscribe();
            tokio::select! {
                // Whatever goes wrong is what was wanted.
                _ = live(agent, &shared.target, fate, answers, &mut random) => {}
                _ = weather.wait_for(|(new, is)| *new != turn && *is != Weather::Mute) => {}
            }
            if matches!(now, Weather::Foul(_)) {
                *shared.ends().entry(fate.name()).or_default() += 1;
            }
        });
    }
}

/// What becomes of one connection.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Passes,
    /// Taken and cut at once.
    Refused,
    /// Every piece comes late, and only so many bytes a second.
    Slow {
        delay: Duration,
        bytes_a_second: u32,
    },
    /// Cut off after so many bytes of either side, by a reset or by an end in good order.
    Cut {
        after: u64,
        is_reset: bool,
    },
    /// After so many bytes neither side hears the other, or one of them does not.
    Silent {
        after: u64,
        up: bool,
        down: bool,
    },
    /// After so many bytes of the agent the rest is held back and the agent is cut off; it arrives when
    /// the agent's next connection has overtaken it.
    Overtaken {
        after: u64,
        held: Duration,
    },
    /// The collector gets all of it a second time beside the first.
    Twice,
}

impl Fate {
    fn draw(random: &mut StdRng) -> Self {
        // From within the handshake through many batches.
        let after = 1_u64 << random.random_range(6..17);
        let after = random.random_range(after / 2..after);
        match random.random_range(0..13) {
            0 => Self::Refused,
            1 | 2 => Self::Slow {
                delay: Duration::from_millis(random.random_range(5..150)),
                bytes_a_second: 1 << random.random_range(11..18),
            },
            3..6 => Self::Cut { after, is_reset: random.random() },
            6..9 => {
                let up = random.random();
                Self::Silent { after, up, down: !up || random.random() }
            }
            9..12 => Self::Overtaken {
                after,
                held: Duration::from_millis(random.random_range(50..1000)),
            },
            _ => Self::Twice,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Passes => "not failed",
            Self::Refused => "refused",
            Self::Slow { .. } => "slow",
            Self::Cut { .. } => "cut off",
            Self::Silent { .. } => "silent",
            Self::Overtaken { .. } => "overtaken",
            Self::Twice => "doubled",
        }
    }

    /// What becomes of a direction's bytes.
    fn way(self, is_up: bool) -> Way {
        let free =
            Way { delay: Duration::ZERO, bytes_a_second: None, until: u64::MAX, swallows: false };
        match self {
            Self::Slow { delay, bytes_a_second } => {
                Way { delay, bytes_a_second: Some(bytes_a_second), ..free }
            }
            Self::Cut { after, .. } => Way { until: after, ..free },
            Self::Silent { after, up, down } if up && is_up || down && !is_up => {
                Way { until: after, swallows: true, ..free }
            }
            Self::Overtaken { after, .. } if is_up => Way { until: after, ..free },
            _ => free,
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Way {
    delay: Duration,
    bytes_a_second: Option<u32>,
    /// So many bytes pass.
    until: u64,
    /// Whether what comes then is taken and thrown away. Otherwise the connection ends.
    swallows: bool,
}

/// A connection from its beginning to its end.
async fn live(
    agent: TcpStream,
    target: &str,
    fate: Fate,
    weather: watch::Receiver<(u64, Weather)>,
    random: &mut StdRng,
) -> Result<()> {
    if matches!(fate, Fate::Refused) {
        agent.set_zero_linger()?;
        return Ok(());
    }
    let collector = TcpStream::connect(target).await?;
    let second = match fate {
        Fate::Twice => Some(second(target).await?),
        _ => None,
    };
    if matches!(fate, Fate::Cut { is_reset: true, .. } | Fate::Overtaken { .. }) {
        agent.set_zero_linger()?;
    }
    if matches!(fate, Fate::Cut { is_reset: true, .. }) {
        collector.set_zero_linger()?;
    }
    let (agent_out, agent_in) = agent.into_split();
    let (collector_out, collector_in) = collector.into_split();
    let mut up = Pump::new(collector_in, agent_out, fate.way(true));
    up.beside = second;
    let mut down = Pump::new(agent_in, collector_out, fate.way(false));
    down.weather = Some(weather);
    let life = async {
        tokio::select! { ended = up.run() => ended, ended = down.run() => ended }
    };
    let longest = match fate {
        Fate::Passes => Duration::MAX,
        _ => Duration::from_millis(random.random_range(LIFE_MS)),
    };
    let _ = timeout(longest, life).await;
    if let Fate::Overtaken { held, .. } = fate {
        up.hold_for(Duration::from_millis(random.random_range(1..400))).await;
        // The agent is cut off here and comes again, while this still reaches the collector.
        drop((up.from, down.to));
        sleep(held).await;
        up.to.write_all(&up.held).await?;
        up.to.flush().await?;
        sleep(held).await;
    }
    Ok(())
}

/// A connection beside another, whose answers nobody hears.
async fn second(target: &str) -> Result<OwnedWriteHalf> {
    let (mut answers, to) = TcpStream::connect(target).await?.into_split();
    tokio::spawn(async move {
        let mut piece = [0; PIECE_BYTES];
        while answers.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    });
    Ok(to)
}

struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    beside: Option<OwnedWriteHalf>,
    way: Way,
    /// What was read and may not pass yet.
    held: Vec<u8>,
    /// Where answers go: they do not while the network is mute.
    weather: Option<watch::Receiver<(u64, Weather)>>,
}

impl Pump {
    fn new(to: OwnedWriteHalf, from: OwnedReadHalf, way: Way) -> Self {
        Self { from, to, beside: None, way, held: Vec::new(), weather: None }
    }

    fn is_mute(&self) -> bool {
        self.weather.as_ref().is_some_and(|weather| weather.borrow().1 == Weather::Mute)
    }

    /// Carries bytes until one side ends, or no more may pass.
    async fn run(&mut self) -> Result<()> {
        let mut piece = [0; PIECE_BYTES];
        loop {
            let read = self.from.read(&mut piece).await?;
            let passes = usize::try_from(self.way.until).unwrap_or(usize::MAX).min(read);
            let (Some(bytes), Some(rest)) = (piece.get(..passes), piece.get(passes..read)) else {
                return Ok(());
            };
            if read == 0 {
                return Ok(());
            }
            if self.is_mute() {
                continue;
            }
            self.way.until -= passes as u64;
            sleep(self.way.delay).await;
            if let Some(rate) = self.way.bytes_a_second {
                sleep(Duration::from_secs_f64(passes as f64 / f64::from(rate))).await;
            }
            self.to.write_all(bytes).await?;
            if let Some(beside) = &mut self.beside {
                // The collector may have hung up on the second one, which is its right.
                let _ = beside.write_all(bytes).await;
            }
            if passes < read && !self.way.swallows {
                self.held.extend_from_slice(rest);
                return Ok(());
            }
        }
    }

    /// Keeps back what comes within a time.
    async fn hold_for(&mut self, time: Duration) {
        let read =
            async { while self.from.read_buf(&mut self.held).await.is_ok_and(|read| read > 0) {} };
        let _ = timeout(time, read).await;
    }
}
