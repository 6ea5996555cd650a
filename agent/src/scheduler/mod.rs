//! Observes the host at whole multiples of the interval, and appends what the probes saw to the
//! buffer, under one timestamp.
//!
//! Ticks run on a thread of their own, and each probe has a deadline; one that hangs is left behind
//! and reported as failed until it comes back, so that it never stops the others. A tick that takes
//! longer than the interval lets the next ones be passed over: they never pile up.

mod clock;
mod lookup;
mod minutely;
mod own;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use upkeep_model::{Observation, SeriesTable};

use crate::buffer::{Draft, Pace, SharedBuffer};
use crate::host::Host;
#[cfg(target_os = "linux")]
use crate::host::OwnProcess;
use crate::patch;
use crate::probe::Probe;

use clock::{Decision, decide, next_tick_ms, now_ms, skipped};
use lookup::{LastReport, Lookup};
use minutely::Minutely;
pub use minutely::WatchSettings;
pub use own::PROCESS_METRICS;
use worker::{ProbeRunner, why};

/// The longest that one probe may take; less where the interval is shorter.
const LONGEST_PROBE: Duration = Duration::from_secs(5);

/// The table of series is begun anew when it knows more than twice the series that were last seen,
/// and so many beside: those that ended are then forgotten, and a small host's table is left alone.
const SPARE_SERIES: usize = 1024;

/// What the metrics of pending updates are told under, beside the probes.
const UPDATES: &str = "updates";

/// What the scheduler needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The time between ticks.
    pub interval: Duration,
    /// The time between looks at pending updates.
    pub updates_interval: Duration,
    /// The version of this agent.
    pub agent_version: String,
}

/// The probes that failed at their last run, with the reason in words for an operator.
pub type Failures = BTreeMap<&'static str, String>;

/// The running threads.
pub struct Scheduler {
    failures: watch::Receiver<Failures>,
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts to observe a host. `ended` is cancelled when a thread ends, be it by a panic.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        host: &Host,
        probes: Vec<Box<dyn Probe>>,
        buffer: &SharedBuffer,
        settings: &Settings,
        watch: WatchSettings,
        ended: &CancellationToken,
    ) -> io::Result<Self> {
        let (failures, failures_seen) = watch::channel(Failures::new());
        let mut scheduler =
            Self { failures: failures_seen, stops: Vec::new(), threads: Vec::new() };
        let last_report = LastReport::default();
        let lookup = Lookup {
            host: host.clone(),
            buffer: buffer.clone(),
            updates_interval: settings.updates_interval,
            last_report: last_report.clone(),
        };
        let ticker = Ticker {
            observer: Observer::new(host, probes, settings),
            buffer: buffer.clone(),
            interval: settings.interval,
            last_report,
            failures,
            pace: Pace::new(settings.interval),
            skipped: 0,
            #[cfg(target_os = "linux")]
            process: OwnProcess::open()
                .map_err(|error| warn!("what the agent takes will not be told: {error}"))
                .ok(),
        };
        let minutely = Minutely::new(host.clone(), buffer.clone(), watch);
        scheduler.spawn("changes", ended, move |stop| minutely.run(&stop))?;
        scheduler.spawn("updates", ended, move |stop| lookup.run(&stop))?;
        scheduler.spawn("ticks", ended, move |stop| ticker.run(&stop))?;
        Ok(scheduler)
    }

    /// Which probes fail, as of the last tick.
    pub fn failures(&self) -> watch::Receiver<Failures> {
        self.failures.clone()
    }

    /// Stops the threads and waits for their end. A tick that has begun is completed.
    pub fn stop(self) {
        drop(self.stops);
        for thread in self.threads {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }

    fn spawn(
        &mut self,
        name: &str,
        ended: &CancellationToken,
        body: impl FnOnce(Receiver<()>) + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stopped) = channel();
        let ended = ended.clone().drop_guard();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ended = ended;
            body(stopped);
        })?;
        self.threads.push(thread);
        self.stops.push(stop);
        Ok(())
    }
}

/// Runs the probes and notes how they did.
pub struct Observer {
    runner: ProbeRunner,
    /// The series that were seen, so that those which are seen again cost little.
    table: SeriesTable,
    /// How many series there were last.
    series: usize,
    /// How many things each probe could not read since the start.
    unreadable: HashMap<&'static str, u64>,
    /// What was wrong with each probe at its last run, so that it is logged once.
    failures: Failures,
    agent_version: String,
}

impl Observer {
    /// An observer of a host.
    pub fn new(host: &Host, probes: Vec<Box<dyn Probe>>, settings: &Settings) -> Self {
        let deadline = settings.interval.min(LONGEST_PROBE);
        Self {
            runner: ProbeRunner::new(host.clone(), probes, deadline),
            table: SeriesTable::default(),
            series: 0,
            unreadable: HashMap::new(),
            failures: Failures::new(),
            agent_version: settings.agent_version.clone(),
        }
    }

    /// Runs all probes once.
    pub fn observe(&mut self, at_ms: i64) -> Observation {
        if self.table.len() > 2 * self.series + SPARE_SERIES {
            self.table = SeriesTable::default();
        }
        let mut observation = Observation::within(&self.table, at_ms);
        for outcome in self.runner.run(&mut observation) {
            let unreadable = self.unreadable.entry(outcome.name).or_default();
            *unreadable = unreadable.saturating_add(outcome.unreadable as u64);
            own::probe(&outcome, *unreadable, &mut observation);
            note_failure(&mut self.failures, outcome.name, outcome.failure);
        }
        own::version(&self.agent_version, &mut observation);
        self.series = observation.len();
        observation
    }

    /// Counts and logs what was left out of an observation that something else than a probe gave.
    fn note_left_out(&mut self, source: &'static str, observation: &mut Observation) {
        let left_out = observation.take_left_out();
        let count = self.unreadable.entry(source).or_default();
        *count = count.saturating_add(left_out.count as u64);
        own::unreadable(source, *count, observation);
        note_failure(&mut self.failures, source, why(None, &left_out));
    }
}

/// Logs the beginning, the change and the end of a failure.
fn note_failure(failures: &mut Failures, name: &'static str, failure: Option<String>) {
    match failure {
        Some(reason) if failures.get(name) != Some(&reason) => {
            warn!(probe = name, "the probe failed: {reason}");
            failures.insert(name, reason);
        }
        Some(_) => {}
        None if failures.remove(name).is_some() => info!(probe = name, "the probe works again"),
        None => {}
    }
}

struct Ticker {
    observer: Observer,
    buffer: SharedBuffer,
    interval: Duration,
    last_report: LastReport,
    failures: watch::Sender<Failures>,
    pace: Pace,
    skipped: u64,
    #[cfg(target_os = "linux")]
    process: Option<OwnProcess>,
}

impl Ticker {
    fn run(mut self, stop: &Receiver<()>) {
        let mut tick_ms = next_tick_ms(now_ms(), self.interval);
        let mut last_ms = None;
        loop {
            let wait = match decide(now_ms(), tick_ms, self.interval) {
                Decision::Wait(wait) => wait,
                Decision::Reschedule => {
                    tick_ms = next_tick_ms(now_ms(), self.interval);
                    continue;
                }
                Decision::Tick => {
                    if let Some(last_ms) = last_ms.replace(tick_ms) {
                        self.skipped += skipped(last_ms, tick_ms, self.interval);
                    }
                    self.tick(tick_ms);
                    tick_ms = next_tick_ms(now_ms(), self.interval);
                    Duration::ZERO
                }
            };
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tick(&mut self, at_ms: i64) {
        let (statistics, losses) = {
            let buffer = self.buffer.lock();
            (buffer.statistics(), buffer.losses().to_vec())
        };
        let begun = Instant::now();
        let pace = self.pace.note(begun, statistics.appended_bytes);
        let mut observation = self.observer.observe(at_ms);
        own::observation(begun.elapsed(), &mut observation);
        own::delivery(&statistics, pace, self.skipped, &mut observation);
        own::losses(&losses, &mut observation);
        #[cfg(target_os = "linux")]
        match self.process.as_mut().map(OwnProcess::usage) {
            Some(Ok(usage)) => own::process(&usage, &mut observation),
            Some(Err(error)) => debug!("what the agent takes is not known: {error}"),
            None => {}
        }
        if let Some(report) = self.last_report.get() {
            patch::observe(&report, &mut observation);
            self.observer.note_left_out(UPDATES, &mut observation);
        }
        self.tell_failures();
        let series = observation.len();
        match self.buffer.append(&[Draft::Observation(observation)]) {
            Ok(()) => debug!(timestamp_ms = at_ms, series, "observation is durable"),
            Err(error) => warn!(timestamp_ms = at_ms, "an observation was lost: {error}"),
        }
    }

    /// Wakes those who follow the failures only when there is something new.
    fn tell_failures(&self) {
        let now = &self.observer.failures;
        self.failures.send_if_modified(|told| {
            let is_new = told != now;
            if is_new {
                told.clone_from(now);
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::host::HostPaths;
    use crate::probe::{LoadProbe, ProbeError, StatProbe};

    /// Gives as many new series each time.
    struct EverNew(usize, AtomicUsize);

    impl Probe for EverNew {
        fn name(&self) -> &'static str {
            "ever_new"
        }

        fn observe(&self, _host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
            for _ in 0..self.0 {
                let number = self.1.fetch_add(1, Ordering::Relaxed).to_string();
                out.gauge("new", "", &[("number", &number)], 1.0);
            }
            Ok(())
        }
    }

    fn settings(interval: Duration) -> Settings {
        Settings { interval, updates_interval: interval, agent_version: "0".to_owned() }
    }

    #[test]
    fn a_probe_may_take_an_interval_and_no_more_than_its_bound() {
        let check = |interval_ms: u64, expect_ms: u64| {
            let settings = settings(Duration::from_millis(interval_ms));
            let observer = Observer::new(&Host::new(HostPaths::default()), Vec::new(), &settings);
            assert_eq!(observer.runner.deadline, Duration::from_millis(expect_ms));
        };
        check(1_000, 1_000);
        check(5_000, 5_000);
        check(3_600_000, 5_000);
    }

    #[test]
    fn series_that_ended_are_forgotten() {
        let settings = settings(Duration::from_secs(10));
        let probe = EverNew(500, AtomicUsize::new(0));
        let host = Host::new(HostPaths::default());
        let mut observer = Observer::new(&host, vec![Box::new(probe)], &settings);
        let mut most = 0;
        for tick in 0..20 {
            assert_eq!(observer.observe(tick).len(), 503);
            most = most.max(observer.table.len());
        }
        assert!(most > 2 * 503 && most < 2 * 503 + SPARE_SERIES + 503, "{most}");
    }

    #[test]
    fn what_cannot_be_read_is_counted_of_each_probe() {
        let folder = tempfile::tempdir().unwrap();
        let stat = "intr 1\nctxt many\nbtime 1\nprocesses\nprocs_running 1\nprocs_blocked 0\n";
        std::fs::write(folder.path().join("stat"), stat).unwrap();
        std::fs::write(folder.path().join("loadavg"), "1 2 3 1/2 3\n").unwrap();
        let paths = HostPaths { procfs: folder.path().into(), ..HostPaths::default() };
        let probes: Vec<Box<dyn Probe>> = vec![Box::new(StatProbe::default()), Box::new(LoadProbe)];
        let settings = settings(Duration::from_secs(10));
        let mut observer = Observer::new(&Host::new(paths), probes, &settings);
        for tick in 1..=2 {
            let observation = observer.observe(tick);
            let counted = observation.iter().filter(|(series, _)| {
                series.labels.metric_name() == Some("upkeep_agent_unreadable_values_total")
            });
            let counted: Vec<_> = counted
                .map(|(series, value)| (series.labels.get("collector").unwrap().to_owned(), value))
                .collect();
            assert_eq!(counted, [("stat".to_owned(), 2.0 * tick as f64)]);
        }
    }
}
