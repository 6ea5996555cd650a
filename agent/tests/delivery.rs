//! Enrollment and delivery against a collector in the test's own process that can be told to
//! misbehave: what was appended arrives once, whatever gets lost on the way.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod fake_collector;

use std::collections::BTreeSet;
use std::time::Duration;

use fake_collector::{FakeCollector, Fault, Memory, foreign_root};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use upkeep_agent::buffer::{Buffer, Draft, KeepFree, Options, SharedBuffer};
use upkeep_agent::enroll::{EnrollError, Enrollment, enroll};
use upkeep_agent::identity::{Identity, IdentityFolder};
use upkeep_agent::uplink::{self, Link, Settings};
use upkeep_model::{Event, EventKind, Gap, HostFacts, Lane, Observation};
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
            agent_version: "0".to_owned(),
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
        for tick in ticks {
            let mut observation = Observation::at(NOW + tick * 10_000);
            // A series that appears now and then makes key frames and descriptions.
            for series in 0..10 + tick / 30 {
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

/// Every tick is there once, and nothing was missing that a reader needs.
fn check_complete(memory: &Memory, ticks: std::ops::Range<i64>) {
    assert_eq!(memory.faults, Vec::<String>::new());
    assert_eq!(memory.samples.len(), 1, "epochs");
    let samples = memory.samples.values().next().unwrap();
    let times: Vec<i64> = samples.values().map(|(at_ms, _)| *at_ms).collect();
    assert_eq!(times, ticks.clone().map(|tick| NOW + tick * 10_000).collect::<Vec<_>>());
    let events = memory.events.values().next().unwrap();
    assert_eq!(events.len() as i64, ticks.end - ticks.start);
}

#[tokio::test]
async fn everything_arrives_once_whatever_is_lost_on_the_way() {
    for fault in [Fault::None, Fault::LosesAcknowledgements(7), Fault::LosesRecords(9)] {
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
    collector.memory().samples.insert(epoch.0.to_vec(), [(9, (NOW, 1))].into());
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
