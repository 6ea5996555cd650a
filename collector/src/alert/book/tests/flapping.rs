//! Alerts that come and go, and what the ledger is told.

use std::sync::Arc;

use super::*;
use crate::ledger::{News, Origin};
use crate::notify::Annotations;
use crate::state::Acknowledgement;

/// Lets an alert fire and end by turns, every `step_s` from `from_s` on, firing first.
fn alternate(world: &mut World, from_s: i64, step_s: i64, changes: i64) {
    for number in 0..changes {
        let at_ms = (from_s + number * step_s) * 1000;
        let fires = alert("A", at_ms, None);
        let ended = alert("A", at_ms - step_s * 1000, Some(at_ms));
        world.push(at_ms, vec![if number % 2 == 0 { fires } else { ended }]);
    }
}

/// The words about flapping in each message that has any.
fn words(world: &World) -> Vec<(i64, String)> {
    let told = world.sent.iter().flat_map(|(at_ms, job)| {
        let alerts = job.notification.alerts.iter();
        alerts.filter_map(move |alert| {
            Some((at_ms / 1000, alert.annotations.get("flapping")?.to_owned()))
        })
    });
    told.collect()
}

#[test]
fn of_an_alert_that_flaps_people_hear_once_and_of_its_end() {
    let mut world = World::new(&CONFIG.replace("300s", "4h"));
    // It changes every two minutes, each time for long enough to be told.
    alternate(&mut world, 0, 120, 12);
    world.run(1_320_000);
    let words = words(&world);
    let [(at_s, text)] = words.as_slice() else { panic!("{words:?}") };
    assert!(*at_s == 730 && text.starts_with("It changed 7 times within 1h."), "{text}");
    let before = [
        "10 a0 First A!",
        "130 a0 AllResolved A.",
        "250 a0 First A!",
        "370 a0 AllResolved A.",
        "490 a0 First A!",
        "610 a0 AllResolved A.",
        "730 a0 First A!",
    ];
    assert_eq!(world.log(1_320_000), before);
    // The last change was its end, at 1320 s: people hear of it once it has been over for 15 minutes.
    assert_eq!(world.log(2_219_000), [] as [&str; 0]);
    let told = world.sent.len();
    assert_eq!(told, 0);
    world.run(2_290_000);
    let (_, last) = &world.sent[0];
    assert_eq!(last.notification.alerts[0].ends_at_ms, Some(1_320_000), "when it really ended");
    assert!(last.notification.alerts[0].annotations.get("flapping").is_none());
    assert_eq!(world.log(2_290_000), ["2230 a0 AllResolved A."]);
    assert!(world.book.alerts.is_empty() && world.book.groups.is_empty());
}

#[test]
fn an_alert_that_flapped_and_goes_on_firing_is_repeated_and_told_resolved_at_once() {
    let mut world = World::new(&CONFIG.replace("300s", "1h"));
    alternate(&mut world, 0, 120, 7);
    assert_eq!(world.log(740_000).last().unwrap(), "730 a0 First A!");
    assert_eq!(world.log(4_400_000), ["4390 a0 Repeat A!"]);
    world.push(4_405_000, vec![alert("A", 720_000, Some(4_405_000))]);
    assert_eq!(world.log(4_460_000), ["4450 a0 AllResolved A."]);
}

#[test]
fn whoever_believes_that_it_fires_is_told_once_that_it_flaps() {
    let mut world = World::new(CONFIG);
    // It comes and goes between two looks, so its ends were never told.
    alternate(&mut world, 0, 15, 9);
    assert_eq!(world.log(131_000), ["10 a0 First A!", "130 a0 NewFiring A!"]);
    world.push(135_000, vec![alert("A", 120_000, Some(135_000))]);
    assert_eq!(
        world.log(1_100_000),
        ["490 a0 Repeat A!", "850 a0 Repeat A!", "1090 a0 AllResolved A."]
    );
}

#[test]
fn a_group_tells_of_its_other_alerts_all_the_while() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("B", 0, None)]);
    alternate(&mut world, 0, 120, 8);
    world.push(850_000, vec![alert("C", 850_000, None), alert("A", 720_000, Some(850_000))]);
    let told = world.log(900_000);
    assert_eq!(told.last().unwrap(), "850 a0 NewFiring B!A!C!", "{told:?}");
}

#[test]
fn it_flaps_on_after_a_restart() {
    let (_folder, state) = crate::state::temporary();
    let config = CONFIG.replace("300s", "4h");
    let mut world = World::new(&config);
    alternate(&mut world, 0, 120, 8);
    assert_eq!(world.log(850_000).last().unwrap(), "730 a0 First A!");
    restart(&mut world, &state, &config, 850_000);
    let shown = world.book.alerts(&Default::default(), 850_000);
    assert!(shown[0].is_flapping && shown[0].expires_at_ms == 840_000 + 900_000, "{shown:?}");
    world.push(960_000, vec![alert("A", 960_000, None)]);
    world.push(1_080_000, vec![alert("A", 960_000, Some(1_080_000))]);
    assert_eq!(world.log(1_979_000), [] as [&str; 0]);
    assert_eq!(world.log(2_100_000).len(), 1, "its end is told");
}

#[test]
fn who_takes_care_of_an_alert_that_flaps_goes_on_doing_so() {
    let mut world = World::new(CONFIG);
    alternate(&mut world, 0, 120, 7);
    let fingerprint = alert("A", 0, None).fingerprint();
    let made = Acknowledgement {
        author: "me".to_owned(),
        note: String::new(),
        made_at_ms: 760_000,
        expires_at_ms: None,
    };
    world.run(760_000);
    world.book.take_acknowledgement(fingerprint, Some(made));
    world.push(800_000, vec![alert("A", 720_000, Some(800_000))]);
    world.push(850_000, vec![alert("A", 850_000, None)]);
    assert!(world.book.acknowledgement(fingerprint, 860_000).is_some());
    let held = &world.book.alerts[&fingerprint].held;
    assert_eq!(held.heard_at_ms, 720_000, "people have known of it all the while");
    world.push(900_000, vec![alert("A", 850_000, Some(900_000))]);
    world.run(2_000_000);
    assert!(world.book.acknowledgement(fingerprint, 2_000_000).is_none());
}

#[test]
fn the_ledger_is_told_what_becomes_of_alerts() {
    let mut world = World::new(CONFIG);
    let silent = Matcher::new("alertname", upkeep_model::MatchOperator::Equal, "B").unwrap();
    world.silence(0, draft(vec![silent], 0, 3_600_000));
    world.push(1_000, vec![alert("A", 1_000, None), alert("B", 1_000, None)]);
    world.run(12_000);
    let [a, b] = ["A", "B"].map(|name| alert(name, 0, None).fingerprint());
    let told = world.book.take_news();
    assert_eq!(told, [News::Silenced { alerts: vec![b] }, News::Notified { alerts: vec![a] }]);
    let made = Acknowledgement {
        author: "me".to_owned(),
        note: String::new(),
        made_at_ms: 20_000,
        expires_at_ms: None,
    };
    world.book.take_acknowledgement(a, Some(made));
    world.book.take_acknowledgement(a, None);
    assert_eq!(world.book.take_news(), [News::Acknowledged { alert: a, at_ms: 20_000 }]);
    world.push(30_000, vec![alert("A", 1_000, Some(30_000)), alert("B", 1_000, Some(30_000))]);
    world.run(100_000);
    assert_eq!(world.book.take_news(), [], "rules say themselves what is over");

    alternate(&mut world, 1_000, 60, 7);
    world.run(1_400_000);
    assert!(world.book.take_news().contains(&News::Flapped { alert: a }));
}

#[test]
fn of_alerts_of_others_the_ledger_hears_here() {
    let mut world = World::new(&CONFIG.replace("1h", "90s"));
    let fingerprint = alert("A", 0, None).fingerprint();
    let origin = Arc::new(Origin::Outside { name: "A".to_owned() });
    let fired = |at_ms| News::Fired { origin: Arc::clone(&origin), alert: fingerprint, at_ms };
    let over = |at_ms| News::Resolved { origin: Arc::clone(&origin), alert: fingerprint, at_ms };
    let mut said = |at_ms, posted: Option<Alert>| {
        world.run(at_ms);
        world.book.accept_of_others(posted.into_iter().collect(), at_ms);
        let mut news = world.book.take_news();
        news.retain(|one| matches!(one, News::Fired { .. } | News::Resolved { .. }));
        news
    };
    let annotated = Annotations::from([("a".to_owned(), "b".to_owned())]);
    assert_eq!(said(1_000, Some(alert("A", 0, None))), [fired(1_000)]);
    assert_eq!(said(2_000, Some(Alert { annotations: annotated, ..alert("A", 0, None) })), []);
    assert_eq!(said(3_000, Some(alert("A", 0, Some(3_000)))), [over(3_000)]);
    assert_eq!(said(4_000, Some(alert("A", 0, Some(3_000)))), []);
    assert_eq!(said(5_000, Some(alert("A", 5_000, None))), [over(3_000), fired(5_000)]);
    // Nobody speaks of it any more.
    assert_eq!(said(200_000, None), [over(95_000)]);
    assert_eq!(said(300_000, Some(alert("A", 300_000, None))), [fired(300_000)]);
}
