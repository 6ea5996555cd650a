//! Another routing file while alerts fire: nobody is told again.

use super::*;
use crate::alert::book::Routes;

impl World {
    fn reroute(&mut self, config: &str, at_ms: i64) {
        self.run(at_ms - 1);
        let fresh = Self::new(config).book;
        let path = std::path::Path::new("r.yml");
        let routing = routing::parse(path, config, &routing::Allowed::default()).unwrap();
        let routes = Routes {
            root: fresh.root,
            channels: fresh.channels,
            resolve_timeout: routing.resolve_timeout,
            inhibit_rules: routing.inhibit_rules,
        };
        self.book.reroute(routes, at_ms);
    }
}

#[test]
fn timers_begin_anew_and_nobody_is_told_again() {
    let check = |config: &str| {
        let mut world = World::new(CONFIG);
        world.push(1_000, vec![alert("A", 1_000, None), alert("B", 1_000, None)]);
        assert_eq!(world.log(12_000), ["11 a0 First A!B!"]);
        world.push(20_000, vec![alert("B", 1_000, Some(20_000))]);
        world.reroute(config, 30_000);
        // The group's next turn would have come at 71.
        assert_eq!(world.log(69_000), ["30 a0 NewResolved A!B."], "{config}");
        assert_eq!(world.log(329_000), [] as [&str; 0], "{config}");
        world.push(330_500, vec![alert("A", 1_000, Some(330_500))]);
        let told = world.log(1_000_000);
        assert!(told.last().unwrap().ends_with("AllResolved A."), "{config}: {told:?}");
        assert!(world.book.alerts.is_empty() && world.book.groups.is_empty(), "{config}");
        assert!(world.book.records.is_empty() && world.book.next_wake_ms().is_none(), "{config}");
    };
    check(CONFIG);
    check(&CONFIG.replace("group_wait: 10s", "group_wait: 25s"));
    check(&format!("{CONFIG}    slack_configs: []\n  - name: other\n"));
    check(&CONFIG.replace("global:", "inhibit_rules: []\nglobal:"));
}

#[test]
fn a_message_under_way_is_not_sent_again() {
    let mut world = World::new(CONFIG);
    world.push(1_000, vec![alert("A", 1_000, None)]);
    let mut jobs = world.book.take_due(11_000);
    assert_eq!(jobs.len(), 1);
    world.reroute(&CONFIG.replace("group_interval: 60s", "group_interval: 20s"), 12_000);
    assert!(world.book.take_due(40_000).is_empty(), "it is still under way");
    let job = jobs.remove(0);
    assert!(world.book.settle(&job, Outcome::Told, 41_000).is_empty());
    assert_eq!(world.log(300_000), [] as [&str; 0]);
    assert_eq!(world.book.records.len(), 1);

    // What goes elsewhere now leaves nothing of its message behind.
    let mut world = World::new(CONFIG);
    world.push(1_000, vec![alert("A", 1_000, None)]);
    let job = world.book.take_due(11_000).remove(0);
    world.reroute(
        &CONFIG.replace("receiver: a", "receiver: b").replace("name: a", "name: b"),
        12_000,
    );
    assert!(world.book.settle(&job, Outcome::Told, 13_000).is_empty());
    assert_eq!(world.log(60_000), ["12 b0 First A!"]);
    assert!(world.book.records.keys().all(|key| key.receiver == "b"));
}

#[test]
fn what_fails_is_tried_again_after_the_same_pause() {
    let mut world = World::new(CONFIG);
    world.push(1_000, vec![alert("A", 1_000, None)]);
    let job = world.book.take_due(11_000).remove(0);
    let failed = Outcome::Failed { reason: "503".to_owned(), random: 0.0 };
    assert!(world.book.settle(&job, failed, 11_000).is_empty());
    world.reroute(CONFIG, 11_100);
    assert_eq!(world.log(11_900), [] as [&str; 0]);
    assert_eq!(world.log(20_000), ["12 a0 First A!"]);
}

#[test]
fn silences_acknowledgements_and_actions_are_kept_and_inhibition_is_the_files() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None), alert("C", 0, None)]);
    let matchers = crate::alert::matchers("alertname=B").unwrap();
    world.silence(1, draft(matchers, 1, 90_000));
    assert_eq!(world.log(12_000), ["10 a0 First A!C!"]);
    let inhibiting = format!(
        "inhibit_rules: [{{source_matchers: [alertname=A], target_matchers: [alertname=D]}}]{CONFIG}"
    );
    world.reroute(&inhibiting, 20_000);
    world.push(21_000, vec![alert("D", 21_000, None)]);
    assert_eq!(world.log(89_000), [] as [&str; 0], "B is silenced and D inhibited");
    assert_eq!(world.log(150_000), ["140 a0 NewFiring A!B!C!"]);
    world.reroute(CONFIG, 160_000);
    assert_eq!(world.log(170_000), ["160 a0 NewFiring A!B!C!D!"]);
    let fingerprint = alert("A", 0, None).fingerprint();
    let made = Acknowledgement {
        author: "me".to_owned(),
        note: String::new(),
        made_at_ms: 0,
        expires_at_ms: None,
    };
    world.book.take_acknowledgement(fingerprint, Some(made));
    world.reroute(CONFIG, 180_000);
    assert!(world.book.acknowledgement(fingerprint, 181_000).is_some());
    let (_folder, state) = crate::state::temporary();
    restart(&mut world, &state, CONFIG, 190_000);
    assert_eq!(world.log(250_000), [] as [&str; 0], "what was told is stored");
}
