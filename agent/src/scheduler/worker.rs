//! Probes run on a thread of their own, so that one which hangs can be left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use upkeep_model::Observation;

use crate::host::Host;
use crate::probe::Probe;

/// What became of one probe in one tick.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    /// What the probe gave, be it all or what it could read.
    pub(super) observation: Observation,
    /// How long it took, or was waited for.
    pub(super) took: Duration,
    /// What went wrong, in words for an operator.
    pub(super) failure: Option<String>,
}

struct Job {
    probe: Arc<dyn Probe>,
    at_ms: i64,
    /// Becomes true once the probe came back.
    back: Arc<AtomicBool>,
}

struct Worker {
    jobs: SyncSender<Job>,
    outcomes: Receiver<Outcome>,
}

/// Runs probes with a deadline each.
pub(super) struct ProbeRunner {
    host: Host,
    deadline: Duration,
    worker: Option<Worker>,
    probes: Vec<Slot>,
}

struct Slot {
    probe: Arc<dyn Probe>,
    /// Set while the probe hangs on a thread that was left behind.
    hanging: Option<Arc<AtomicBool>>,
}

impl ProbeRunner {
    pub(super) fn new(host: Host, probes: Vec<Box<dyn Probe>>, deadline: Duration) -> Self {
        let slot = |probe: Box<dyn Probe>| Slot { probe: Arc::from(probe), hanging: None };
        Self { host, deadline, worker: None, probes: probes.into_iter().map(slot).collect() }
    }

    /// Runs all probes in their order; `each` gets the name and outcome of one after another.
    pub(super) fn run(&mut self, at_ms: i64, mut each: impl FnMut(&'static str, Outcome)) {
        for index in 0..self.probes.len() {
            let Some(slot) = self.probes.get_mut(index) else { continue };
            let name = slot.probe.name();
            if slot.hanging.as_ref().is_some_and(|back| !back.load(Ordering::Acquire)) {
                each(name, failed(at_ms, Duration::ZERO, "it still hangs since an earlier tick"));
                continue;
            }
            slot.hanging = None;
            let back = Arc::new(AtomicBool::new(false));
            let job = Job { probe: Arc::clone(&slot.probe), at_ms, back: Arc::clone(&back) };
            let (outcome, hangs) = self.run_one(job);
            if hangs && let Some(slot) = self.probes.get_mut(index) {
                slot.hanging = Some(back);
            }
            each(name, outcome);
        }
    }

    fn run_one(&mut self, job: Job) -> (Outcome, bool) {
        let at_ms = job.at_ms;
        let begun = Instant::now();
        let worker = match self.worker.take().map_or_else(|| Worker::start(&self.host), Ok) {
            Ok(worker) => worker,
            Err(error) => {
                let reason = format!("no thread can be started: {error}");
                return (failed(at_ms, begun.elapsed(), &reason), false);
            }
        };
        let answer = match worker.jobs.send(job) {
            Ok(()) => worker.outcomes.recv_timeout(self.deadline),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(outcome) => {
                self.worker = Some(worker);
                (outcome, false)
            }
            // The worker is left behind and ends by itself if the probe ever comes back.
            Err(RecvTimeoutError::Timeout) => {
                let reason = format!("it did not come back within {:?}", self.deadline);
                (failed(at_ms, begun.elapsed(), &reason), true)
            }
            Err(RecvTimeoutError::Disconnected) => {
                (failed(at_ms, begun.elapsed(), "it panicked"), false)
            }
        }
    }
}

impl Worker {
    fn start(host: &Host) -> std::io::Result<Self> {
        // One job is under way at a time, and nobody waits to give the next.
        let (jobs, queue) = sync_channel::<Job>(1);
        let (answers, outcomes) = sync_channel(1);
        let host = host.clone();
        thread::Builder::new().name("probes".to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                let outcome = observe(&*job.probe, &host, job.at_ms);
                job.back.store(true, Ordering::Release);
                if answers.send(outcome).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, outcomes })
    }
}

fn observe(probe: &dyn Probe, host: &Host, at_ms: i64) -> Outcome {
    let begun = Instant::now();
    let mut observation = Observation::at(at_ms);
    let failure = probe.observe(host, &mut observation).err().map(|error| error.to_string());
    Outcome { observation, took: begun.elapsed(), failure }
}

fn failed(at_ms: i64, took: Duration, reason: &str) -> Outcome {
    Outcome { observation: Observation::at(at_ms), took, failure: Some(reason.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;

    use super::*;
    use crate::host::HostPaths;
    use crate::probe::ProbeError;

    enum Behaviour {
        Works,
        Fails,
        Panics,
        /// Comes back when something is sent, once; works afterwards.
        Hangs(Mutex<Option<Receiver<()>>>),
    }

    struct TestProbe(&'static str, Behaviour);

    impl Probe for TestProbe {
        fn name(&self) -> &'static str {
            self.0
        }

        fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
            out.gauge(self.0, "", &[], 1.0);
            match &self.1 {
                Behaviour::Works => Ok(()),
                Behaviour::Fails => {
                    let missing = host.read(crate::host::Tree::Root, "no/such/file");
                    missing.map(drop).map_err(ProbeError::from)
                }
                Behaviour::Panics => panic!("as the test wants it"),
                Behaviour::Hangs(wait) => {
                    let wait = wait.lock().unwrap().take();
                    if let Some(wait) = wait {
                        let _ = wait.recv();
                    }
                    Ok(())
                }
            }
        }
    }

    fn hanging() -> (Behaviour, Sender<()>) {
        let (free, wait) = std::sync::mpsc::channel();
        (Behaviour::Hangs(Mutex::new(Some(wait))), free)
    }

    fn run(runner: &mut ProbeRunner) -> Vec<(&'static str, usize, Option<String>)> {
        let mut seen = Vec::new();
        runner.run(7, |name, outcome| {
            assert_eq!(outcome.observation.timestamp_ms, 7);
            seen.push((name, outcome.observation.samples.len(), outcome.failure));
        });
        seen
    }

    #[test]
    fn one_that_fails_or_hangs_never_stops_the_others() {
        let (hangs, free) = hanging();
        let probes: Vec<Box<dyn Probe>> = vec![
            Box::new(TestProbe("first", Behaviour::Works)),
            Box::new(TestProbe("fails", Behaviour::Fails)),
            Box::new(TestProbe("hangs", hangs)),
            Box::new(TestProbe("panics", Behaviour::Panics)),
            Box::new(TestProbe("last", Behaviour::Works)),
        ];
        let host = Host::new(HostPaths::default());
        let mut runner = ProbeRunner::new(host, probes, Duration::from_millis(200));
        let check = |seen: Vec<(&str, usize, Option<String>)>, hangs: (usize, Option<&str>)| {
            let [first, fails, hung, panics, last] = seen.as_slice() else { panic!("{seen:?}") };
            assert_eq!(*first, ("first", 1, None));
            assert_eq!(*last, ("last", 1, None));
            assert!(fails.2.as_ref().unwrap().contains("no/such/file"), "{fails:?}");
            assert_eq!(fails.1, 1, "what could be read is kept");
            assert!(panics.2.as_ref().unwrap().contains("panicked"), "{panics:?}");
            assert_eq!(hung.1, hangs.0);
            match (&hung.2, hangs.1) {
                (None, None) => {}
                (Some(reason), Some(expect)) => assert!(reason.contains(expect), "{reason}"),
                other => panic!("{other:?}"),
            }
        };
        check(run(&mut runner), (0, Some("did not come back")));
        let begun = Instant::now();
        check(run(&mut runner), (0, Some("still hangs")));
        assert!(begun.elapsed() < Duration::from_millis(200), "it is not waited for again");

        drop(free);
        let back = runner.probes[2].hanging.clone().unwrap();
        while !back.load(Ordering::Acquire) {
            thread::yield_now();
        }
        check(run(&mut runner), (1, None));
    }
}
