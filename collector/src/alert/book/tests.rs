mod actions;
mod escalation;
mod flapping;
mod muting;
mod reroute;
mod silences;
mod views;

use std::time::Duration;

use upkeep_model::Matcher;

use super::*;
use crate::alert::flap::FlapSettings;
use crate::alert::routing;
use crate::alert::silence::SilenceDraft;
use crate::notify::{Alert, Origin};

/// A book that is driven by a clock of its own and by channels that answer as told.
struct World {
    book: Book,
    sent: Vec<(i64, Job)>,
    outcome: fn(&Job) -> Outcome,
}

impl World {
    fn new(config: &str) -> Self {
        let routing =
            routing::parse(std::path::Path::new("r.yml"), config, &routing::Allowed::default())
                .unwrap();
        let sends_resolved = |settings: &crate::notify::ChannelSettings| match settings {
            crate::notify::ChannelSettings::Webhook(webhook) => webhook.send_resolved,
            _ => true,
        };
        let channels = routing.receivers.iter().map(|receiver| {
            (receiver.name.clone(), receiver.channels.iter().map(sends_resolved).collect())
        });
        let routes = Routes {
            root: routing.root,
            channels: channels.collect(),
            resolve_timeout: routing.resolve_timeout,
            inhibit_rules: routing.inhibit_rules,
        };
        let book = Book::new(routes, "url".to_owned());
        Self { book, sent: Vec::new(), outcome: |_| Outcome::Told }
    }

    /// Lets time pass until `until_ms`, doing what is due when it is due.
    fn run(&mut self, until_ms: i64) {
        while let Some(at_ms) = self.book.next_wake_ms().filter(|at_ms| *at_ms <= until_ms) {
            let mut jobs = VecDeque::from(self.book.take_due(at_ms));
            while let Some(job) = jobs.pop_front() {
                let outcome = (self.outcome)(&job);
                jobs.extend(self.book.settle(&job, outcome, at_ms));
                self.sent.push((at_ms, job));
            }
        }
    }

    fn push(&mut self, at_ms: i64, alerts: Vec<Alert>) {
        self.run(at_ms - 1);
        self.book.accept(alerts, at_ms);
    }

    /// Makes or changes a silence.
    fn silence(&mut self, at_ms: i64, draft: SilenceDraft) -> Uuid {
        self.run(at_ms - 1);
        let fresh = Uuid::from_u128(self.book.silences().iter().count() as u128);
        let made = self.book.silences().put(&draft, fresh, at_ms).unwrap();
        let made: Vec<_> = made.into_iter().map(|(silence, _)| silence).collect();
        let id = made.last().unwrap().record.id;
        self.book.take_silences(made);
        id
    }

    /// When each message was sent, why, and its alerts with an exclamation mark if they fire.
    fn log(&mut self, until_ms: i64) -> Vec<String> {
        self.run(until_ms);
        let line = |(at_ms, job): (i64, Job)| {
            let alerts = job.notification.alerts.iter().map(|alert| {
                let sign = if alert.is_resolved(job.notification.at_ms) { "." } else { "!" };
                format!("{}{sign}", alert.name())
            });
            let alerts: Vec<_> = alerts.collect();
            let seconds = at_ms / 1000;
            format!(
                "{seconds} {}{} {:?} {}",
                job.key.receiver,
                job.key.channel,
                job.reason,
                alerts.join("")
            )
        };
        std::mem::take(&mut self.sent).into_iter().map(line).collect()
    }
}

fn alert(name: &str, starts_at_ms: i64, ends_at_ms: Option<i64>) -> Alert {
    Alert {
        labels: Labels::new([("alertname", name)]),
        annotations: crate::notify::Annotations::new(),
        starts_at_ms,
        ends_at_ms,
        holds_for: None,
        generator_url: "".into(),
        origin: Origin::Outside,
    }
}

fn draft(matchers: Vec<Matcher>, starts_at_ms: i64, ends_at_ms: i64) -> SilenceDraft {
    SilenceDraft {
        id: None,
        matchers,
        starts_at_ms,
        ends_at_ms,
        created_by: "me".to_owned(),
        comment: "new disks".to_owned(),
        annotations: BTreeMap::new(),
        recurrence: None,
    }
}

const CONFIG: &str = "
global: {resolve_timeout: 1h}
route: {receiver: a, group_by: [], group_wait: 10s, group_interval: 60s, repeat_interval: 300s}
receivers:
  - name: a
    webhook_configs: [{url: 'http://x'}]
";

#[test]
fn a_group_is_told_in_time_and_again() {
    let mut world = World::new(CONFIG);
    world.push(1_000, vec![alert("A", 1_000, None)]);
    world.push(5_000, vec![alert("B", 5_000, None)]);
    assert_eq!(world.log(12_000), ["11 a0 First A!B!"]);
    world.push(20_000, vec![alert("C", 20_000, None)]);
    assert_eq!(world.log(70_000), [] as [&str; 0], "a group waits for its interval");
    assert_eq!(world.log(72_000), ["71 a0 NewFiring A!B!C!"]);
    world.push(80_000, vec![alert("A", 1_000, Some(80_000))]);
    assert_eq!(world.log(132_000), ["131 a0 NewResolved B!C!A."]);
    assert_eq!(world.log(431_000), [] as [&str; 0]);
    assert_eq!(world.log(500_000), ["491 a0 Repeat B!C!"]);
    world.push(510_000, vec![alert("B", 5_000, Some(510_000)), alert("C", 20_000, Some(510_000))]);
    assert_eq!(world.log(560_000), ["551 a0 AllResolved B.C."]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
    assert!(world.book.records.is_empty() && world.book.next_wake_ms().is_none());
}

#[test]
fn an_alert_that_waited_elsewhere_is_told_at_once() {
    let mut world = World::new(CONFIG);
    world.push(100_000, vec![alert("A", 50_000, None)]);
    assert_eq!(world.log(100_000), ["100 a0 First A!"]);
}

#[test]
fn a_clock_that_is_set_tells_nobody_anything() {
    const YEAR_MS: i64 = 365 * 24 * 3_600_000;
    for by_ms in [YEAR_MS, -YEAR_MS] {
        let mut world = World::new(CONFIG);
        world.push(1_000, vec![alert("A", 1_000, None), alert("B", 1_000, None)]);
        assert_eq!(world.log(12_000), ["11 a0 First A!B!"]);
        world.push(20_000, vec![alert("B", 1_000, Some(20_000))]);
        assert_eq!(world.log(72_000), ["71 a0 NewResolved A!B."]);
        world.book.clock_was_set(by_ms, 72_000);
        assert_eq!(world.log(by_ms + 200_000), [] as [&str; 0]);
        world.book.clock_was_set(-by_ms, by_ms + 200_000);
        assert_eq!(world.log(430_000), [] as [&str; 0]);
        assert_eq!(world.log(440_000), ["431 a0 Repeat A!"]);
    }
}

#[test]
fn what_nobody_speaks_of_any_more_is_resolved() {
    let mut world = World::new(&CONFIG.replace("1h", "90s"));
    world.push(0, vec![alert("A", 0, None)]);
    world.push(60_000, vec![alert("A", 0, None)]);
    assert_eq!(world.log(149_000), ["10 a0 First A!"]);
    assert_eq!(world.log(200_000), ["190 a0 AllResolved A."]);
}

#[test]
fn an_alert_that_says_how_long_it_holds_is_taken_at_its_word() {
    let (_folder, state) = crate::state::temporary();
    let config = CONFIG.replace("1h", "30s");
    let mut world = World::new(&config);
    let holding = Alert { holds_for: Some(Duration::from_mins(40)), ..alert("A", 0, None) };
    world.push(0, vec![holding.clone(), alert("B", 0, None)]);
    assert_eq!(world.log(100_000), ["10 a0 First A!B!", "70 a0 NewResolved A!B."]);
    restart(&mut world, &state, &config, 100_000);
    world.push(700_000, vec![holding]);
    let told = world.log(3_200_000);
    let (last, before) = told.split_last().unwrap();
    assert_eq!(last, "3100 a0 AllResolved A.", "700 s and 40 minutes later");
    assert!(before.iter().all(|line| line.ends_with("Repeat A!")), "{before:?}");
}

#[test]
fn a_resolved_alert_that_nobody_heard_of_is_no_news() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, Some(0))]);
    assert!(world.book.alerts.is_empty() && world.book.take_changes().is_empty());
    world.push(1_000, vec![alert("B", 1_000, None)]);
    world.push(2_000, vec![alert("B", 1_000, Some(2_000))]);
    assert_eq!(world.log(100_000), [] as [&str; 0]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
    world.push(200_000, vec![alert("C", 200_000, None)]);
    world.push(220_000, vec![alert("A", 0, Some(0))]);
    assert_eq!(world.log(300_000), ["210 a0 First C!"], "nor is it one beside others");
}

#[test]
fn an_alert_that_returns_is_news() {
    let mut world =
        World::new(&CONFIG.replace("url: 'http://x'", "url: 'http://x', send_resolved: false"));
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None)]);
    world.push(20_000, vec![alert("B", 0, Some(20_000))]);
    world.push(100_000, vec![alert("B", 100_000, None)]);
    assert_eq!(world.log(140_000), ["10 a0 First A!B!", "130 a0 NewFiring A!B!"]);
}

#[test]
fn a_receiver_that_fails_is_tried_again_and_no_other_told_twice() {
    let config = format!("{CONFIG}    ")
        .replace("[{url: 'http://x'}]", "[{url: 'http://x'}, {url: 'http://y'}]");
    let mut world = World::new(&config);
    world.outcome = |job| match job.key.channel {
        0 => Outcome::Told,
        _ => Outcome::Failed { reason: "status 503".to_owned(), random: 0.0 },
    };
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(
        world.log(20_000),
        ["10 a0 First A!", "10 a1 First A!", "11 a1 First A!", "13 a1 First A!", "17 a1 First A!"]
    );
    world.push(21_000, vec![alert("B", 21_000, None)]);
    world.outcome = |_| Outcome::Told;
    assert_eq!(world.log(30_000), ["25 a1 First A!B!"], "what is told is how it stands");
    assert_eq!(world.log(80_000), ["70 a0 NewFiring A!B!"]);
}

#[test]
fn what_could_not_be_told_while_it_fired_is_told_after() {
    let mut world = World::new(CONFIG);
    world.outcome = |_| Outcome::Failed { reason: "refused".to_owned(), random: 0.0 };
    world.push(0, vec![alert("A", 0, None)]);
    world.push(11_500, vec![alert("A", 0, Some(11_500))]);
    world.outcome = |_| Outcome::Told;
    assert_eq!(world.log(20_000), ["10 a0 First A!", "11 a0 First A!", "13 a0 Owed A."]);
}

#[test]
fn a_refusal_is_not_repeated_before_the_groups_next_turn() {
    let mut world = World::new(CONFIG);
    world.outcome = |_| Outcome::Refused { reason: "status 404".to_owned() };
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(world.log(100_000), ["10 a0 First A!", "70 a0 First A!"]);
}

#[test]
fn a_channel_has_a_bounded_number_of_messages_under_way() {
    let mut world = World::new(&CONFIG.replace("group_by: []", "group_by: ['...']"));
    let alerts = (0..50).map(|number| alert(&format!("A{number}"), 0, None)).collect();
    world.book.accept(alerts, 0);
    let jobs = world.book.take_due(10_000);
    assert_eq!(jobs.len(), IN_FLIGHT);
    assert!(world.book.next_wake_ms().unwrap() > 10_000, "waiting does not spin");
    let mut told = 0;
    let mut jobs = VecDeque::from(jobs);
    while let Some(job) = jobs.pop_front() {
        told += 1;
        jobs.extend(world.book.settle(&job, Outcome::Told, 10_000));
    }
    assert_eq!(told, 50);
}

/// Plays a book's changes into stores as the database would, and begins a new book from them.
fn restart(world: &mut World, state: &crate::state::State, config: &str, now_ms: i64) {
    state.change_alerts(&world.book.take_changes()).unwrap();
    let outcome = world.outcome;
    *world = World::new(config);
    world.outcome = outcome;
    world.book.restore_flapping(FlapSettings::default(), state.flapping().unwrap());
    world.book.restore(state.alerts().unwrap(), state.notifications().unwrap(), now_ms);
}

#[test]
fn a_restart_tells_nobody_again_and_forgets_nothing() {
    let (_folder, state) = crate::state::temporary();
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(world.log(20_000), ["10 a0 First A!"]);
    world.push(21_000, vec![alert("B", 21_000, None)]);
    restart(&mut world, &state, CONFIG, 30_000);
    world.push(30_500, vec![alert("A", 0, None), alert("B", 21_000, None)]);
    assert_eq!(world.log(35_000), ["30 a0 NewFiring A!B!"]);
    restart(&mut world, &state, CONFIG, 40_000);
    assert_eq!(world.log(45_000), [] as [&str; 0]);

    world.outcome = |_| Outcome::Failed { reason: "down".to_owned(), random: 0.0 };
    world.push(50_000, vec![alert("A", 0, Some(50_000)), alert("B", 21_000, Some(50_000))]);
    assert!(!world.log(110_000).is_empty());
    restart(&mut world, &state, CONFIG, 120_000);
    world.outcome = |_| Outcome::Told;
    assert_eq!(world.log(140_000), ["120 a0 AllResolved A.B."]);
    state.change_alerts(&world.book.take_changes()).unwrap();
    assert!(state.alerts().unwrap().is_empty() && state.notifications().unwrap().is_empty());
}

#[test]
fn records_of_groups_that_are_no_more_are_forgotten() {
    let (_folder, state) = crate::state::temporary();
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    world.run(20_000);
    let other = CONFIG.replace("group_by: []", "group_by: [alertname]");
    restart(&mut world, &state, &other, 30_000);
    state.change_alerts(&world.book.take_changes()).unwrap();
    assert!(state.notifications().unwrap().is_empty());
}

#[test]
fn pauses_grow_to_a_bound_and_are_shortened_by_chance() {
    assert_eq!(
        [1, 2, 3, 6, 7, 60].map(|failures| pause_ms(failures, 0.0)),
        [1_000, 2_000, 4_000, 32_000, 60_000, 60_000]
    );
    assert_eq!(pause_ms(3, 0.999_999), 2_001);
}

mod scenarios {
    //! Alertmanager's own timed scenarios, on a clock that is simulated.

    use std::path::{Path, PathBuf};

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Scenario {
        name: String,
        config: String,
        tolerance_ms: i64,
        events: Vec<Event>,
        wants: Vec<Want>,
    }

    #[derive(Deserialize)]
    struct Event {
        at: f64,
        action: String,
        #[serde(default)]
        alerts: Vec<Told>,
        #[serde(flatten)]
        silence: Option<Silent>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Silent {
        starts_at: f64,
        ends_at: f64,
        matcher: Wanted,
    }

    #[derive(Deserialize)]
    struct Wanted {
        name: String,
        value: String,
    }

    #[derive(Clone, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Told {
        labels: BTreeMap<String, String>,
        starts_at: Option<f64>,
        ends_at: Option<f64>,
    }

    #[derive(Deserialize)]
    struct Want {
        between: (f64, f64),
        alerts: Vec<Told>,
    }

    /// What this program serves so far.
    const SERVED: [&str; 5] =
        ["TestRepeat", "TestBatching", "TestResolved", "TestInhibiting", "TestSilencing"];

    fn milliseconds(seconds: f64) -> i64 {
        (seconds * 1000.0).round() as i64
    }

    fn play(scenario: &Scenario) {
        let mut world = World::new(&scenario.config.replace("%s", "127.0.0.1:1"));
        for event in &scenario.events {
            let at_ms = milliseconds(event.at);
            if let Some(silent) = &event.silence {
                assert_eq!(event.action, "set_silence", "{}", scenario.name);
                let matcher = Matcher::equal(&silent.matcher.name, &silent.matcher.value);
                let (from_ms, to_ms) =
                    (milliseconds(silent.starts_at), milliseconds(silent.ends_at));
                world.silence(at_ms, draft(vec![matcher], from_ms, to_ms));
                continue;
            }
            assert_eq!(event.action, "push", "{}", scenario.name);
            let alerts = event.alerts.iter().map(|told| Alert {
                labels: Labels::new(told.labels.clone()),
                annotations: crate::notify::Annotations::new(),
                starts_at_ms: told.starts_at.map_or(at_ms, milliseconds),
                ends_at_ms: told.ends_at.map(milliseconds),
                holds_for: None,
                generator_url: "".into(),
                origin: Origin::Outside,
            });
            world.push(at_ms, alerts.collect());
        }
        let last = scenario.wants.iter().map(|want| want.between.1).fold(0.0, f64::max);
        world.run(milliseconds(last) + scenario.tolerance_ms);
        let mut sent = world.sent.iter();
        for want in &scenario.wants {
            let (at_ms, job) = sent.next().unwrap_or_else(|| panic!("{}: too few", scenario.name));
            let (from_ms, to_ms) = (milliseconds(want.between.0), milliseconds(want.between.1));
            let place = format!("{} at {at_ms}, wanted {from_ms}..{to_ms}", scenario.name);
            assert!((from_ms..=to_ms + scenario.tolerance_ms).contains(at_ms), "{place}");
            let mut alerts = job.notification.alerts.clone();
            assert_eq!(alerts.len(), want.alerts.len(), "{place}");
            for wanted in &want.alerts {
                let labels = Labels::new(wanted.labels.clone());
                let found = alerts.iter().position(|alert| alert.labels == labels).unwrap();
                let alert = alerts.remove(found);
                let near = |wanted: Option<f64>, got: Option<i64>| match (wanted, got) {
                    (Some(wanted), Some(got)) => {
                        (milliseconds(wanted) - got).abs() <= scenario.tolerance_ms
                    }
                    (wanted, got) => wanted.is_none() && got.is_none(),
                };
                assert!(near(wanted.starts_at, Some(alert.starts_at_ms)), "{place}: {alert:?}");
                assert!(near(wanted.ends_at, alert.ends_at_ms), "{place}: {alert:?}");
            }
        }
        assert!(sent.next().is_none(), "{}: too many", scenario.name);
    }

    #[test]
    fn alertmanagers_scenarios_hold() {
        let root = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
            PathBuf::from,
        );
        let file = root.join("alertmanager/acceptance_scenarios.json");
        let Ok(text) = std::fs::read_to_string(&file) else {
            println!("skipped: {} is not there", file.display());
            return;
        };
        let scenarios: Vec<Scenario> = serde_json::from_str(&text).unwrap();
        let served: Vec<_> =
            scenarios.iter().filter(|scenario| SERVED.contains(&scenario.name.as_str())).collect();
        assert_eq!(served.len(), SERVED.len());
        served.into_iter().for_each(play);
    }
}
