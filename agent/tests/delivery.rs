//! Enrollment and delivery against a collector in the test's own process that can be told to
//! misbehave: what was appended arrives once, whatever gets lost on the way.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod fake_collector;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fake_collector::{FakeCollector, Fault, Memory, foreign_root};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options, SharedBuffer};
use upkeep_agent::enroll::{EnrollError, Enrollment, enroll};
use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::identity::{Identity, IdentityFolder};
use upkeep_agent::uplink::{self, Link, Settings};
use upkeep_model::{Event, EventKind, Gap, HostFacts, Lane, Observation, Ranges};
use upkeep_wire::{Fingerprint, Token, TokenSecret};

const NOW: i64 = 1_700_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 24 * 3600;

/// An enrolled agent whose probes are the test itself.
struct TestAgent {
    state: tempfile::TempDir,
    folder: IdentityFolder,
    buffer: SharedBuffer,
    link: watch::Receiver<Link>,
    uplink: Option<(JoinHandle<()>, CancellationToken)>,
    address: String,
}

impl TestAgent {
    async fn enrolled(collector: &FakeCollector, limit_bytes: u64) -> Self {
        let state = tempfile::tempdir().unwrap();
        let folder = IdentityFolder::new(&state.path().join("state"));
        let identity = enroll_with(&folder, &collector.token()).await.unwrap();
        let options = Options { limit_bytes, keep_free: KeepFree { percent: 0, bytes: 0 } };
        let buffer = Buffer::open(&state.path().join("buffer"), options, NOW).unwrap();
        let (_, link) = watch::channel(Link::Starting);
        let buffer = SharedBuffer::new(buffer);
        Self { state, folder, buffer, link, uplink: None, address: identity.address }
    }

    fn connect(&mut self) {
        let settings = Settings {
            address: self.address.clone(),
            backoff_max: Duration::from_millis(20),
            interval: Duration::from_secs(10),
            boot_id: "boot".to_owned(),
            host: Host::new(HostPaths::default()),
            agent_version: "0".to_owned(),
            ground: uplink::Ground::System,
        };
        let (link, seen) = watch::channel(Link::Starting);
        let (held, _) = watch::channel(None);
        let stop = CancellationToken::new();
        let (folder, buffer) = (self.folder.clone(), self.buffer.clone());
        let task = tokio::spawn(uplink::run(settings, folder, buffer, link, held, stop.clone()));
        self.uplink = Some((task, stop));
        self.link = seen;
    }

    async fn disconnect(&mut self) {
        let (task, stop) = self.uplink.take().expect("it was connected");
        stop.cancel();
        task.await.unwrap();
    }

    async fn append(&self, ticks: std::ops::Range<i64>) {
        // A series that appears now and then makes key frames and descriptions.
        self.append_series(ticks, |tick| (0..10 + tick / 30).collect()).await;
    }

    /// Appends observations of so many series that most soon are of the past.
    async fn append_churn(&self, ticks: std::ops::Range<i64>) {
        self.append_series(ticks, |tick| (tick * 300..tick * 300 + 400).collect()).await;
    }

    async fn append_series(&self, ticks: std::ops::Range<i64>, series: impl Fn(i64) -> Vec<i64>) {
        for tick in ticks {
            let mut observation = Observation::at(NOW + tick * 10_000);
            for series in series(tick) {
                let name = format!("metric_{series}");
                observation.gauge(&name, "", &[], (tick * series) as f64);
            }
            let facts = HostFacts { hostname: format!("web{tick}"), ..HostFacts::default() };
            let event = Event { at_ms: NOW, kind: EventKind::Facts(Box::new(facts)) };
            let drafts = [Draft::Observation(observation), Draft::Event(event)];
            let buffer = self.buffer.clone();
            tokio::task::spawn_blocking(move || buffer.append(&drafts)).await.unwrap().unwrap();
        }
    }

    async fn drained(&self) {
        until("the buffer to be drained", || {
            let statistics = self.buffer.lock().statistics();
            statistics.samples + statistics.events == 0
        })
        .await;
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let awaited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, awaited).await.is_ok(), "waited in vain for {what}");
}

async fn enroll_with(folder: &IdentityFolder, token: &Token) -> Result<Identity, EnrollError> {
    let enrollment =
        Enrollment { token, hostname: "web1", agent_version: "0", force: false, now_ms: NOW };
    enroll(folder, enrollment).await
}

/// Every value is the one that was appended under its name.
fn check_values(memory: &Memory) {
    for (at_ms, values) in memory.samples.values().flat_map(BTreeMap::values) {
        let tick = (at_ms - NOW) / 10_000;
        for (name, value) in values {
            let series: i64 = name.strip_prefix("metric_").unwrap().parse().unwrap();
            assert_eq!(*value, (tick * series) as f64, "{name} at tick {tick}");
        }
    }
}

/// Every tick is there once, and nothing was missing that a reader needs.
fn check_complete(memory: &Memory, ticks: std::ops::Range<i64>) {
    assert_eq!(memory.faults, Vec::<String>::new());
    assert_eq!(memory.samples.len(), 1, "epochs");
    let samples = memory.samples.values().next().unwrap();
    let times: Vec<i64> = samples.values().map(|(at_ms, _)| *at_ms).collect();
    assert_eq!(times, ticks.clone().map(|tick| NOW + tick * 10_000).collect::<Vec<_>>());
    check_values(memory);
    let events = memory.events.values().next().unwrap();
    assert_eq!(events.len() as i64, ticks.end - ticks.start);
}

#[tokio::test]
async fn everything_arrives_once_whatever_is_lost_on_the_way() {
    for fault in
        [Fault::None, Fault::LosesAcknowledgements(7), Fault::LosesRecords(9), Fault::IsFormer]
    {
        let collector = FakeCollector::start(DAY).await;
        collector.misbehave(fault);
        let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
        agent.append(0..70).await;
        agent.connect();
        agent.append(70..140).await;
        agent.drained().await;
        check_complete(&collector.memory(), 0..140);
        let streams = collector.memory().streams;
        assert_eq!(streams > 1, fault == Fault::LosesAcknowledgements(7), "{streams} streams");
    }
}

#[tokio::test]
async fn a_collector_that_was_away_gets_everything_once() {
    let mut collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    agent.connect();
    for round in 0..4 {
        agent.append(round * 40..round * 40 + 20).await;
        agent.drained().await;
        collector.stop().await;
        agent.append(round * 40 + 20..round * 40 + 40).await;
        let down = |link: &Link| matches!(link, Link::Down { .. });
        agent.link.wait_for(down).await.unwrap();
        collector.resume().await;
    }
    agent.drained().await;
    check_complete(&collector.memory(), 0..160);
}

#[tokio::test]
async fn what_is_observed_now_does_not_wait_for_the_backlog() {
    let mut collector = FakeCollector::start(DAY).await;
    collector.misbehave(Fault::HoldsBacklog);
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    let mut live = BTreeSet::new();
    for round in 0..3 {
        let begin = round * 100;
        agent.append(begin..begin + 80).await;
        if round == 0 {
            agent.connect();
        } else {
            collector.resume().await;
        }
        until("a connection", || collector.memory().streams as i64 > round).await;
        let before = agent.buffer.lock().lane(Lane::Samples).next_sequence;
        agent.append(begin + 80..begin + 100).await;
        live.extend(before..before + 20);
        until("what is observed now", || {
            let memory = collector.memory();
            let samples = memory.samples.values().next();
            samples.is_some_and(|all| live.iter().all(|sequence| all.contains_key(sequence)))
        })
        .await;
        let arrived = collector.memory().samples.values().next().unwrap().len();
        assert!(arrived < live.len() + 40, "{arrived} of a backlog that was held");
        collector.stop().await;
    }
    collector.misbehave(Fault::None);
    collector.resume().await;
    agent.drained().await;
    check_complete(&collector.memory(), 0..300);
}

#[tokio::test]
async fn a_collector_that_was_restored_gets_again_what_it_had() {
    let mut collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    agent.connect();
    agent.append(0..150).await;
    agent.drained().await;
    collector.stop().await;
    for samples in collector.memory().samples.values_mut() {
        samples.retain(|sequence, _| *sequence <= 90 || (100..=110).contains(sequence));
    }
    for events in collector.memory().events.values_mut() {
        events.retain(|sequence, _| *sequence <= 70);
    }
    agent.append(150..170).await;
    collector.resume().await;
    agent.append(170..180).await;
    until("everything again", || {
        let memory = collector.memory();
        let count = |all: usize| all == 180;
        memory.samples.values().all(|all| count(all.len()))
            && memory.events.values().all(|all| count(all.len()))
    })
    .await;
    agent.drained().await;
    check_complete(&collector.memory(), 0..180);
}

#[tokio::test]
async fn what_was_written_under_former_numbers_is_declared_and_the_rest_comes_again() {
    // What goes as a connection is being made is declared, too.
    for goes_meanwhile in [false, true] {
        let mut collector = FakeCollector::start(DAY).await;
        let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
        agent.connect();
        let mut tick = 0;
        // One more observation of new series makes the agent number them anew, or just did.
        let has_many = |agent: &TestAgent| agent.buffer.lock().series_since(0).len() > 1_524;
        let first_kept = |agent: &TestAgent| agent.buffer.lock().kept_from(Lane::Samples);
        let is_ready = |agent: &TestAgent| {
            if goes_meanwhile { has_many(agent) } else { first_kept(agent) > 1 }
        };
        while !is_ready(&agent) {
            agent.append_churn(tick..tick + 1).await;
            agent.drained().await;
            tick += 1;
        }
        collector.stop().await;
        for samples in collector.memory().samples.values_mut() {
            samples.retain(|sequence, _| *sequence <= 3);
        }
        if goes_meanwhile {
            collector.misbehave(Fault::AcceptsLate);
        }
        let streams = collector.memory().streams;
        collector.resume().await;
        until("a connection", || collector.memory().streams > streams).await;
        agent.append_churn(tick..tick + 1).await;
        tick += 1;
        let kept_from = first_kept(&agent);
        assert!((4..=tick as u64).contains(&kept_from), "{kept_from} of {tick}");
        collector.misbehave(Fault::None);
        until("everything that is there, and the declaration of the rest", || {
            let memory = collector.memory();
            let samples = memory.samples.values().next().unwrap();
            let declared = memory.declared.values().flat_map(Ranges::iter).collect::<Vec<_>>();
            let arrived = samples.keys().copied().eq((1..=3).chain(kept_from..=tick as u64));
            arrived && declared == [4..=kept_from - 1]
        })
        .await;
        agent.drained().await;
        let memory = collector.memory();
        assert_eq!(memory.faults, Vec::<String>::new());
        check_values(&memory);
    }
}

#[tokio::test]
async fn a_new_life_of_the_agent_goes_on_where_the_old_one_ended() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    for round in 0..3 {
        agent.connect();
        agent.append(round * 10..round * 10 + 10).await;
        agent.disconnect().await;
        let TestAgent { state, folder, buffer, link, address, .. } = agent;
        drop(buffer);
        let options =
            Options { keep_free: KeepFree { percent: 0, bytes: 0 }, ..Options::default() };
        let buffer = Buffer::open(&state.path().join("buffer"), options, NOW).unwrap();
        let buffer = SharedBuffer::new(buffer);
        agent = TestAgent { state, folder, buffer, link, address, uplink: None };
    }
    agent.connect();
    agent.drained().await;
    check_complete(&collector.memory(), 0..30);
}

#[tokio::test]
async fn what_was_dropped_is_declared_before_what_follows_is_sent() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 40_000).await;
    agent.append(0..300).await;
    let dropped = agent.buffer.lock().statistics().dropped_samples;
    assert!(dropped > 50, "{dropped}");
    agent.connect();
    agent.append(300..310).await;
    agent.drained().await;
    let memory = collector.memory();
    assert_eq!(memory.faults, Vec::<String>::new());
    let arrived: BTreeSet<u64> = memory.samples.values().next().unwrap().keys().copied().collect();
    let declared =
        memory.events.values().next().unwrap().values().filter_map(|event| match &event.kind {
            EventKind::Gap(Gap { lane: Lane::Samples, first, last, .. }) => Some(*first..=*last),
            _ => None,
        });
    let lost: BTreeSet<u64> = declared.flatten().collect();
    assert_eq!(arrived.union(&lost).copied().collect::<Vec<_>>(), (1..=310).collect::<Vec<_>>());
    assert!(arrived.is_disjoint(&lost));
}

#[tokio::test]
async fn a_collector_that_knows_more_than_the_buffer_meets_a_new_epoch() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    let epoch = agent.buffer.lock().epoch();
    agent.append(0..2).await;
    collector.memory().samples.insert(epoch.0.to_vec(), [(9, (NOW, BTreeMap::new()))].into());
    agent.connect();
    until("another epoch", || agent.buffer.lock().epoch() != epoch).await;
    agent.append(5..8).await;
    agent.drained().await;
    let epoch = agent.buffer.lock().epoch();
    let memory = collector.memory();
    assert_eq!(memory.faults, Vec::<String>::new());
    assert_eq!(memory.samples[&epoch.0.to_vec()].len(), 3);
    let first = memory.events[&epoch.0.to_vec()].values().next().unwrap();
    assert!(matches!(&first.kind, EventKind::Gap(gap) if gap.first == 0), "{first:?}");
}

#[tokio::test]
async fn an_older_copy_of_a_buffer_sends_nothing_and_begins_anew() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    let former = agent.buffer.lock().epoch();
    agent.append(0..2).await;
    collector.misbehave(Fault::KnowsAnotherCopy(1));
    agent.connect();
    until("another epoch", || agent.buffer.lock().epoch() != former).await;
    agent.append(5..8).await;
    agent.drained().await;
    let epoch = agent.buffer.lock().epoch().0.to_vec();
    let memory = collector.memory();
    assert_eq!(memory.faults, Vec::<String>::new());
    assert!(
        !memory.samples.contains_key(&former.0[..]) && !memory.events.contains_key(&former.0[..])
    );
    assert_eq!(memory.samples[&epoch].len(), 3);
    let declared: Vec<Lane> = memory.events[&epoch]
        .values()
        .filter_map(|event| match &event.kind {
            EventKind::Gap(gap) if gap.reason.ends_with("older copy of itself") => Some(gap.lane),
            _ => None,
        })
        .collect();
    assert_eq!(declared, Lane::ALL);
}

#[tokio::test]
async fn a_short_certificate_is_renewed_while_records_are_delivered() {
    let collector = FakeCollector::start(3).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    let before = agent.folder.credential().unwrap();
    agent.connect();
    let mut tick = 0;
    while collector.memory().renewals < 3 {
        assert!(tick < 1_000, "no renewal");
        agent.append(tick..tick + 1).await;
        tick += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    agent.drained().await;
    check_complete(&collector.memory(), 0..tick);
    assert_ne!(agent.folder.credential().unwrap(), before);
}

#[tokio::test]
async fn a_refusal_is_told_with_the_collectors_own_words() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    collector.misbehave(Fault::Refuses("this host was revoked"));
    agent.connect();
    let down = |link: &Link| matches!(link, Link::Down { .. });
    let link = agent.link.wait_for(down).await.unwrap().clone();
    let Link::Down { reason, .. } = link else { panic!("{link:?}") };
    assert!(reason.contains("this host was revoked"), "{reason}");
    collector.misbehave(Fault::None);
    agent.append(0..1).await;
    agent.drained().await;
}

#[tokio::test]
async fn a_certificate_that_expired_is_named_as_the_reason() {
    let collector = FakeCollector::start(-60).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    agent.connect();
    let down = |link: &Link| matches!(link, Link::Down { .. });
    let link = agent.link.wait_for(down).await.unwrap().clone();
    let Link::Down { reason, .. } = link else { panic!("{link:?}") };
    assert!(reason.contains("certificate has expired"), "{reason}");
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_no_connection() {
    let collector = FakeCollector::start(DAY).await;
    let mut agent = TestAgent::enrolled(&collector, 64 << 20).await;
    collector.misbehave(Fault::RefusesSamples("the host has too many series"));
    agent.append(0..1).await;
    agent.connect();
    let mut seen = agent.link.clone();
    let link = seen.wait_for(|link| *link != Link::Starting).await.unwrap().clone();
    let Link::Down { reason, .. } = link else { panic!("{link:?}") };
    assert!(reason.contains("too many series"), "{reason}");
    seen.mark_unchanged();
    until("more attempts", || collector.memory().streams > 4).await;
    // Nothing new is told, and so nothing is logged either.
    assert!(!seen.has_changed().unwrap());
    collector.misbehave(Fault::None);
    agent.drained().await;
    agent.link.wait_for(|link| matches!(link, Link::Up { .. })).await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_makes_no_second_host() {
    let collector = FakeCollector::start(DAY).await;
    collector.misbehave(Fault::LosesReplies(2));
    let state = tempfile::tempdir().unwrap();
    let folder = IdentityFolder::new(&state.path().join("state"));
    for _ in 0..2 {
        let error = enroll_with(&folder, &collector.token()).await.unwrap_err();
        assert!(matches!(&error, EnrollError::Failed(_)), "{error}");
        assert!(folder.identity().is_err());
    }
    enroll_with(&folder, &collector.token()).await.unwrap();
    let memory = collector.memory();
    let ids: BTreeSet<_> = memory.enrollments.iter().map(|(id, _)| id).collect();
    assert_eq!((memory.enrollments.len(), ids.len()), (3, 1));
    assert!(folder.pending().unwrap().is_none());
}

#[tokio::test]
async fn an_enrolled_host_is_not_enrolled_again_unasked() {
    let collector = FakeCollector::start(DAY).await;
    let agent = TestAgent::enrolled(&collector, 64 << 20).await;
    let error = enroll_with(&agent.folder, &collector.token()).await.unwrap_err();
    assert!(error.to_string().contains("enrolled already as web1"), "{error}");
    assert_eq!(collector.memory().enrollments.len(), 1);
}

#[tokio::test]
async fn what_is_refused_is_named() {
    let collector = FakeCollector::start(DAY).await;
    let good = collector.token();
    let secret = |byte| TokenSecret::new([byte; 32]);
    let pins = good.pins().to_vec();
    let foreign = vec![Fingerprint::of(&foreign_root())];
    let state = tempfile::tempdir().unwrap();
    let check = async |token: Token, expect: &str| {
        let folder = IdentityFolder::new(&state.path().join(token.to_text()));
        let error = enroll_with(&folder, &token).await.unwrap_err();
        assert!(error.to_string().contains(expect), "{expect}: {error}");
        assert!(folder.identity().is_err());
    };
    let address = good.address();
    let port = collector.address.port();
    let token = |id: &str, secret, address: &str, pins| Token::new(id, secret, address, pins);
    check(token("a", secret(9), address, pins.clone()).unwrap(), "not known").await;
    check(token("a", secret(1), address, foreign).unwrap(), "fingerprint").await;
    let other_name = format!("localhost:{port}");
    check(token("a", secret(1), &other_name, pins.clone()).unwrap(), "not valid for name").await;
    check(token("a", secret(1), "127.0.0.1:1", pins).unwrap(), "cannot connect").await;
    assert_eq!(collector.memory().enrollments.len(), 0);
}
