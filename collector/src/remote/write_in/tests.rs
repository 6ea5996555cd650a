use upkeep_model::{Labels, MatchOperator, Matcher, stale_marker};
use upkeep_store::Options;

use super::*;
use crate::fleet::Fleet;
use crate::remote::message::{Sample, put_series};
use crate::state::{State, enrolled_host, temporary};

const NOW_MS: i64 = 1_700_000_000_000;
const RETENTION: Duration = Duration::from_hours(24);

/// The labels of a series and what is written of it.
type Written<'a> = (&'a [(&'a str, &'a str)], &'a [Sample]);

struct World {
    write_in: Arc<WriteIn>,
    store: Arc<Store>,
    fleet: Arc<Fleet>,
    state: State,
    _folders: [tempfile::TempDir; 2],
}

impl World {
    fn new() -> Self {
        let (of_state, state) = temporary();
        let of_store = tempfile::tempdir().unwrap();
        let fleet = Arc::new(Fleet::load(&state, NOW_MS).unwrap());
        let options = Options { retention: RETENTION, ..Options::default() };
        let store = Arc::new(Store::open(of_store.path(), options).unwrap());
        let limits = Limits { series_per_sender: 5, series_of_all_senders: 7 };
        let (to, of) = (Arc::clone(&store), Arc::clone(&fleet));
        let to = (to, state.clone());
        let write_in = Arc::new(WriteIn::new(to, of, limits, RETENTION, Meters::default()));
        Self { write_in, store, fleet, state, _folders: [of_state, of_store] }
    }

    /// Writes series, and gives what is said about what was not stored.
    async fn write(&self, token: &str, series: &[Written<'_>]) -> String {
        self.write_at(NOW_MS, token, series).await
    }

    async fn write_at(&self, now_ms: i64, token: &str, series: &[Written<'_>]) -> String {
        let mut message = Vec::new();
        for (labels, samples) in series {
            put_series(&mut message, &Labels::new(labels.iter().copied()), samples);
        }
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        let written = self.write_in.take(token, body.into(), now_ms).await;
        written.map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn check(&self, name: &str, expect: &[Sample]) {
        let matcher = Matcher::new("__name__", MatchOperator::Equal, name).unwrap();
        let found = self.store.select(&[matcher], i64::MIN, i64::MAX).unwrap();
        let samples = found.iter().flat_map(|series| series.timestamps.iter().zip(&series.values));
        let bits = |(at_ms, value): (&i64, &f64)| (*at_ms, value.to_bits());
        let expect: Vec<_> = expect.iter().map(|(at_ms, value)| bits((at_ms, value))).collect();
        assert_eq!(samples.map(bits).collect::<Vec<_>>(), expect, "{name}");
    }
}

#[tokio::test]
async fn every_sample_that_may_be_stored_is_and_the_first_refusal_is_told() {
    let world = World::new();
    let stale = stale_marker();
    let good: &[Sample] = &[(NOW_MS, 1.5), (NOW_MS - 1_000, stale), (NOW_MS - 86_400_000, -0.0)];
    assert_eq!(world.write("a", &[(&[("__name__", "x")], good)]).await, "");
    let expect = [(NOW_MS - 86_400_000, -0.0), (NOW_MS - 1_000, stale), (NOW_MS, 1.5)];
    world.check("x", &expect);

    let mixed: &[Sample] =
        &[(NOW_MS - 86_400_001, 1.0), (NOW_MS + 5, 2.0), (NOW_MS + 600_001, 3.0)];
    let said =
        world.write("a", &[(&[("a", "1")], &[(NOW_MS, 1.0)]), (&[("__name__", "y")], mixed)]).await;
    assert!(said.starts_with("3 of 4 samples were not stored: invalid labels"), "{said}");
    world.check("y", &[(NOW_MS + 5, 2.0)]);

    let said = world.write("a", &[(&[("__name__", "y")], mixed)]).await;
    assert_eq!(said, "2 of 3 samples were not stored: too old sample: older than the retention");
    assert_eq!(world.store.conflicts(), 0);
    assert_eq!(world.write("a", &[(&[("__name__", "y")], &[(NOW_MS + 5, 9.0)])]).await, "");
    world.check("y", &[(NOW_MS + 5, 2.0)]);
    assert_eq!(world.store.conflicts(), 1);
}

#[tokio::test]
async fn what_is_no_message_is_told_and_nothing_is_stored() {
    let world = World::new();
    for (body, expect) in [
        (&b""[..], "cannot be unpacked"),
        (b"\xff\xff\xff\xff\x0f", "the limit is"),
        (b"\x02\x04\x0a\x09", "no prometheus.WriteRequest"),
    ] {
        let refused = world.write_in.take("a", Bytes::from_static(body), NOW_MS).await;
        let refused = refused.unwrap_err();
        assert!(!refused.is_passing() && refused.to_string().contains(expect), "{refused}");
    }
    assert_eq!(world.write("a", &[]).await, "");
    assert_eq!(world.write("a", &[(&[("a", "1")], &[])]).await, "");
    assert_eq!(world.store.label_sets(&[], i64::MIN, i64::MAX).unwrap(), []);
}

#[tokio::test]
async fn an_enrolled_host_reports_alone_under_its_name() {
    let world = World::new();
    let labels: &[(&str, &str)] = &[("__name__", "x"), ("instance", "web1")];
    assert_eq!(world.write("a", &[(labels, &[(NOW_MS, 1.0)])]).await, "");
    enrolled_host(&world.state, 7, "web1");
    world.fleet.refresh(&world.state).unwrap();
    let said = world.write("a", &[(labels, &[(NOW_MS + 1, 2.0)])]).await;
    assert!(said.contains("\"web1\" is an enrolled host"), "{said}");
    world.check("x", &[(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn new_series_are_bounded_and_known_ones_go_on() {
    let world = World::new();
    let names: Vec<String> = (0..9).map(|number| format!("x{number}")).collect();
    let labels: Vec<_> = names.iter().map(|name| [("__name__", name.as_str())]).collect();
    let samples = [(NOW_MS, 1.0)];
    let series: Vec<_> = labels.iter().map(|labels| (&labels[..], &samples[..])).collect();
    let said = world.write("a", &series[..6]).await;
    assert!(said.starts_with("1 of 6") && said.contains("series_per_sender"), "{said}");
    let said = world.write("b", &series[..3]).await;
    assert!(said.starts_with("1 of 3") && said.contains("series_of_all_senders"), "{said}");
    assert_eq!(world.write("a", &series[..5]).await, "");
    // What is idle for an hour makes room.
    let later = NOW_MS + 2 * 60 * 60 * 1000;
    let later_samples = [(later, 1.0)];
    let new: Vec<_> = labels[5..].iter().map(|set| (&set[..], &later_samples[..])).collect();
    assert_eq!(world.write_at(later, "a", &new).await, "");
    assert_eq!(world.write_in.meters.series.load(std::sync::atomic::Ordering::Relaxed), 6);
}

#[tokio::test]
async fn a_series_that_retention_removed_is_found_anew_and_no_other_is_taken_for_it() {
    let world = World::new();
    let x: &[(&str, &str)] = &[("__name__", "x")];
    let y: &[(&str, &str)] = &[("__name__", "y")];
    assert_eq!(world.write("a", &[(x, &[(NOW_MS, 1.0)])]).await, "");
    world.store.seal_all(NOW_MS).unwrap();
    let later = NOW_MS + 3 * 86_400_000;
    world.store.retain(later).unwrap();
    world.check("x", &[]);
    assert_eq!(world.write_at(later, "b", &[(y, &[(later, 2.0)])]).await, "");
    // The number is still known to the sender, if not to the store.
    let hour = later - 60 * 60 * 1000;
    lock(&world.write_in.sender("a", later)).keep_awake(hour, later);
    assert_eq!(world.write_at(later, "a", &[(x, &[(later, 3.0)])]).await, "");
    world.check("x", &[(later, 3.0)]);
    world.check("y", &[(later, 2.0)]);
}
