//! What is silenced is not told, and is told afterwards if it still fires.

use super::*;

fn silence(matchers: &str, starts_at_ms: i64, ends_at_ms: i64) -> SilenceDraft {
    draft(crate::alert::matcher::parse(matchers).unwrap(), starts_at_ms, ends_at_ms)
}

#[test]
fn a_silence_holds_for_alerts_of_before_and_of_after() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None)]);
    assert_eq!(world.log(11_000), ["10 a0 First A!B!"]);
    world.silence(20_000, silence("alertname=~\"A|C\"", 20_000, 100_000));
    world.push(30_000, vec![alert("C", 30_000, None), alert("D", 30_000, None)]);
    assert_eq!(world.log(90_000), ["70 a0 NewFiring B!D!"]);
    assert_eq!(world.log(140_000), ["130 a0 NewFiring A!B!C!D!"]);
}

#[test]
fn a_silence_that_ends_before_its_time_holds_no_longer() {
    let mut world = World::new(CONFIG);
    let id = world.silence(0, silence("alertname=A", 0, 1_000_000));
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(world.log(100_000), [] as [&str; 0]);
    let ended = world.book.silences().expire(id, 110_000).unwrap();
    world.book.take_silences([ended]);
    assert_eq!(world.log(140_000), ["130 a0 First A!"]);
}

#[test]
fn a_silence_that_is_forgotten_is_known_to_no_alert() {
    let mut world = World::new(CONFIG);
    let id = world.silence(0, silence("alertname=A", 0, 5_000));
    world.push(0, vec![alert("A", 0, None)]);
    assert!(world.book.alerts.values().all(|known| known.silences.contains(&id)));
    world.book.forget_silences(&[id]);
    assert!(world.book.alerts.values().all(|known| known.silences.is_empty()));
    assert_eq!(world.book.silences().iter().count(), 0);
}

#[test]
fn other_matchers_make_another_silence() {
    let mut world = World::new(CONFIG);
    let first = world.silence(0, silence("alertname=A", 0, 1_000_000));
    world.push(0, vec![alert("A", 0, None), alert("B", 0, None)]);
    let changed = SilenceDraft { id: Some(first), ..silence("alertname=B", 0, 1_000_000) };
    let second = world.silence(5_000, changed);
    assert_ne!(first, second);
    assert_eq!(world.log(11_000), ["10 a0 First A!"]);
    // The same ones change it in place.
    let changed = SilenceDraft { id: Some(second), ..silence("alertname=B", 5_000, 20_000) };
    assert_eq!(world.silence(12_000, changed), second);
    assert_eq!(world.log(71_000), ["70 a0 NewFiring A!B!"]);
}

#[test]
fn the_end_of_what_was_told_is_kept_until_the_silence_is_over() {
    let mut world = World::new(CONFIG);
    world.push(0, vec![alert("A", 0, None)]);
    assert_eq!(world.log(11_000), ["10 a0 First A!"]);
    world.silence(20_000, silence("alertname=A", 20_000, 200_000));
    world.push(30_000, vec![alert("A", 0, Some(30_000))]);
    assert_eq!(world.log(200_000), [] as [&str; 0]);
    assert_eq!(world.log(300_000), ["250 a0 AllResolved A."]);
}

#[test]
fn a_clock_that_is_set_leaves_silences_where_they_are() {
    let mut world = World::new(CONFIG);
    world.silence(0, silence("alertname=A", 0, 50_000));
    world.push(0, vec![alert("A", 0, None)]);
    world.book.clock_was_set(1_000_000, 5_000);
    assert_eq!(world.log(1_011_000), ["1010 a0 First A!"]);
}
