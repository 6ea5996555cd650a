//! Probes run on a thread of their own, so that one which hangs can be left behind.
//!
//! The thread is given all probes of a tick at once and wakes its giver when all have come back, so
//! that a tick costs two changes of threads and not two a probe.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use upkeep_model::{LeftOut, Observation, SeriesTable};

use crate::host::Host;
use crate::probe::{Probe, ProbeError};

/// What became of one probe in one tick.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    /// The probe's name.
    pub(super) name: &'static str,
    /// How long it took, or was waited for.
    pub(super) took: Duration,
    /// What went wrong, in words for an operator.
    pub(super) failure: Option<String>,
    /// How many things it could not read.
    pub(super) unreadable: usize,
}

/// Runs probes with a deadline each.
pub(super) struct ProbeRunner {
    host: Host,
    /// How long each probe is waited for.
    pub(super) deadline: Duration,
    worker: Option<Worker>,
    probes: Vec<Slot>,
}

struct Slot {
    probe: Arc<dyn Probe>,
    /// Set while the probe hangs on a thread that was left behind: the round in which it began.
    hanging: Option<Arc<Round>>,
}

impl ProbeRunner {
    pub(super) fn new(host: Host, probes: Vec<Box<dyn Probe>>, deadline: Duration) -> Self {
        let slot = |probe: Box<dyn Probe>| Slot { probe: Arc::from(probe), hanging: None };
        Self { host, deadline, worker: None, probes: probes.into_iter().map(slot).collect() }
    }

    /// Runs all probes in their order, adds what they gave to `out`, and tells how each did. What a
    /// probe that hangs has given is left out.
    pub(super) fn run(&mut self, out: &mut Observation) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(self.probes.len());
        let mut waiting = Vec::with_capacity(self.probes.len());
        for (index, slot) in self.probes.iter_mut().enumerate() {
            slot.hanging = slot.hanging.take().filter(|round| !round.is_over());
            if slot.hanging.is_some() {
                let reason = "it still hangs since an earlier tick";
                outcomes.push(failed(slot.probe.name(), Duration::ZERO, reason));
            } else {
                waiting.push(index);
            }
        }
        while !waiting.is_empty() {
            if let Err(error) = self.run_round(&mut waiting, out, &mut outcomes) {
                let reason = format!("no thread to run it: {error}");
                for slot in waiting.drain(..).filter_map(|index| self.probes.get(index)) {
                    outcomes.push(failed(slot.probe.name(), Duration::ZERO, &reason));
                }
            }
        }
        outcomes
    }

    /// Runs the probes that wait, until one hangs or panics; those of which something can be told
    /// wait no longer.
    fn run_round(
        &mut self,
        waiting: &mut Vec<usize>,
        out: &mut Observation,
        outcomes: &mut Vec<Outcome>,
    ) -> io::Result<()> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start(&self.host)?,
        };
        let given = waiting.iter().filter_map(|&index| self.probes.get(index));
        let probes = given.map(|slot| Arc::clone(&slot.probe)).collect();
        let round = Arc::new(Round::new(out));
        worker.begin(probes, &round)?;
        let stopped = round.wait(self.deadline);
        let mut ended = round.take(out);
        if let Some(Stopped { name, took, hangs }) = stopped {
            let reason = if hangs {
                format!("it did not come back within {:?}", self.deadline)
            } else {
                "it panicked".to_owned()
            };
            let slot = waiting.get(ended.len()).and_then(|&index| self.probes.get_mut(index));
            if hangs && let Some(slot) = slot {
                slot.hanging = Some(round);
            }
            ended.push(failed(name, took, &reason));
        } else {
            self.worker = Some(worker);
        }
        waiting.drain(..ended.len().min(waiting.len()));
        outcomes.append(&mut ended);
        Ok(())
    }
}

/// What went wrong with a probe, if anything did.
pub(super) fn why(error: Option<&ProbeError>, left_out: &LeftOut) -> Option<String> {
    let left_out = left_out.first.as_ref().map(|(metric, fault)| {
        format!("values left out: {}, the first of {metric:?}: {fault}", left_out.count)
    });
    match (error, left_out) {
        (Some(error), Some(left_out)) => Some(format!("{error}; {left_out}")),
        (Some(error), None) => Some(error.to_string()),
        (None, left_out) => left_out,
    }
}

fn failed(name: &'static str, took: Duration, reason: &str) -> Outcome {
    Outcome { name, took, failure: Some(reason.to_owned()), unreadable: 0 }
}

/// A probe at which a round came to its end.
struct Stopped {
    name: &'static str,
    took: Duration,
    /// It may yet come back; otherwise it panicked.
    hangs: bool,
}

/// What the thread that runs probes and the one that waits for them share.
struct Round {
    at_ms: i64,
    table: SeriesTable,
    state: Mutex<RoundState>,
    ended: Condvar,
}

#[derive(Default)]
struct RoundState {
    /// What the probes gave that came back.
    observation: Observation,
    outcomes: Vec<Outcome>,
    /// The probe that is under way, and since when.
    current: Option<(&'static str, Instant)>,
    /// Nobody waits any more; the thread is to end when its probe comes back.
    is_left_behind: bool,
    is_over: bool,
}

impl Round {
    /// A round whose values are to go into `out` in the end.
    fn new(out: &Observation) -> Self {
        let observation = Observation::within(out.table(), out.timestamp_ms);
        Self {
            at_ms: out.timestamp_ms,
            table: out.table().clone(),
            state: Mutex::new(RoundState { observation, ..RoundState::default() }),
            ended: Condvar::new(),
        }
    }

    fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Waits for the end, or until one probe took longer than the deadline; gives the one that hangs
    /// or panicked.
    fn wait(&self, deadline: Duration) -> Option<Stopped> {
        let mut state = self.state();
        loop {
            let current = state.current.map(|(name, since)| (name, since.elapsed()));
            if state.is_over {
                return current.map(|(name, took)| Stopped { name, took, hangs: false });
            }
            let left = match current {
                Some((name, took)) if took >= deadline => {
                    state.is_left_behind = true;
                    return Some(Stopped { name, took, hangs: true });
                }
                Some((_, took)) => deadline - took,
                None => deadline,
            };
            let woken = self.ended.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what there is so far.
    fn take(&self, out: &mut Observation) -> Vec<Outcome> {
        let mut state = self.state();
        out.take(&mut state.observation);
        std::mem::take(&mut state.outcomes)
    }

    /// Runs one probe; `false` if the round is to end with it. `own` is room for its values.
    fn observe(&self, probe: &dyn Probe, host: &Host, own: &mut Observation) -> bool {
        let (name, begun) = (probe.name(), Instant::now());
        self.state().current = Some((name, begun));
        let error = probe.observe(host, own).err();
        let left_out = own.take_left_out();
        let unreadable = error.as_ref().map_or(0, ProbeError::count) + left_out.count;
        let failure = why(error.as_ref(), &left_out);
        let mut state = self.state();
        state.current = None;
        if state.is_left_behind {
            return false;
        }
        state.observation.take(own);
        state.outcomes.push(Outcome { name, took: begun.elapsed(), failure, unreadable });
        true
    }

    fn state(&self) -> MutexGuard<'_, RoundState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that a round is over, be it because a probe panicked.
struct EndsRound<'round>(&'round Round);

impl Drop for EndsRound<'_> {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.ended.notify_all();
    }
}

struct Job {
    probes: Vec<Arc<dyn Probe>>,
    round: Arc<Round>,
}

struct Worker {
    jobs: SyncSender<Job>,
}

impl Worker {
    fn start(host: &Host) -> io::Result<Self> {
        // One job is under way at a time, and nobody waits to give the next.
        let (jobs, queue) = sync_channel::<Job>(1);
        let host = host.clone();
        thread::Builder::new().name("probes".to_owned()).spawn(move || work(&host, &queue))?;
        Ok(Self { jobs })
    }

    fn begin(&self, probes: Vec<Arc<dyn Probe>>, round: &Arc<Round>) -> io::Result<()> {
        let job = Job { probes, round: Arc::clone(round) };
        self.jobs.send(job).map_err(|_| io::Error::other("the one that was there has ended"))
    }
}

/// Does jobs until nobody can give one any more, or one was left behind.
fn work(host: &Host, queue: &Receiver<Job>) {
    while let Ok(Job { probes, round }) = queue.recv() {
        let _ends = EndsRound(&round);
        let mut own = Observation::within(&round.table, round.at_ms);
        for probe in &probes {
            if !round.observe(&**probe, host, &mut own) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;
    use crate::host::HostPaths;

    enum Behaviour {
        Works,
        Fails,
        /// Gives a value that no collector would take.
        Oversteps,
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
                Behaviour::Oversteps => {
                    out.gauge(self.0, "", &[("job", "1")], 1.0);
                    Ok(())
                }
                Behaviour::Fails => {
                    let missing = host.read(crate::host::Tree::Root, "no/such/file");
                    missing.map(drop).map_err(ProbeError::from)
                }
                // Without the hook, which may take long to print where it happened.
                Behaviour::Panics => std::panic::resume_unwind(Box::new("as the test wants it")),
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

    /// Each probe, how many of its values came, and its failure, in the order of the names.
    fn run(runner: &mut ProbeRunner) -> Vec<(&'static str, usize, Option<String>)> {
        let mut out = Observation::at(7);
        let outcomes = runner.run(&mut out);
        let values = |name: &str| {
            out.iter().filter(|(series, _)| series.labels.metric_name() == Some(name)).count()
        };
        let mut seen: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| (outcome.name, values(outcome.name), outcome.failure))
            .collect();
        seen.sort();
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
            Box::new(TestProbe("zeal", Behaviour::Oversteps)),
        ];
        let host = Host::new(HostPaths::default());
        let mut runner = ProbeRunner::new(host, probes, Duration::from_millis(200));
        let check = |seen: Vec<(&str, usize, Option<String>)>, hangs: (usize, Option<&str>)| {
            let [fails, first, hung, last, panics, zeal] = seen.as_slice() else {
                panic!("{seen:?}")
            };
            assert_eq!(*first, ("first", 1, None));
            assert_eq!(*last, ("last", 1, None));
            let label = "label \"job\" is set by the collector, not by a host";
            let left_out = format!("values left out: 1, the first of \"zeal\": {label}");
            assert_eq!(*zeal, ("zeal", 1, Some(left_out)), "what can be taken is kept");
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
        while !back.is_over() {
            thread::yield_now();
        }
        check(run(&mut runner), (1, None));
    }
}
