//! What a group reads ahead, and what each rule reads as it comes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use upkeep_model::SeriesSamples;
use upkeep_promql::{Selection, SourceError};

use super::*;
use crate::rule::hosts::Hosts;

/// Notes how much is read alone and how much together.
#[derive(Default)]
struct Counting {
    memory: Arc<Memory>,
    read: Mutex<(usize, Vec<usize>)>,
    refuses: AtomicBool,
}

impl Counting {
    /// What was read since the last time: how many selections alone, and how many together each time.
    fn take(&self) -> (usize, Vec<usize>) {
        std::mem::take(&mut *self.read.lock().unwrap())
    }
}

impl Source for Counting {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.read.lock().unwrap().0 += 1;
        self.memory.select(selection)
    }

    fn select_all(&self, selections: &[Selection]) -> Result<Vec<Vec<SeriesSamples>>, SourceError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(SourceError::TooManySamples);
        }
        self.read.lock().unwrap().1.push(selections.len());
        selections.iter().map(|selection| self.memory.select(selection)).collect()
    }
}

/// A group of rules, given as their conditions or, with a name before ` = `, as what they record.
fn group(rules: &[&str], source: &Arc<Counting>) -> LiveGroup {
    let rules = rules.iter().enumerate().map(|(number, rule)| match rule.split_once(" = ") {
        Some((name, expr)) => format!("    - {{ record: '{name}', expr: '{expr}' }}\n"),
        None => format!("    - {{ alert: A{number}, expr: '{rule}' }}\n"),
    });
    let text = format!("groups:\n- name: g\n  rules:\n{}", rules.collect::<String>());
    let mut group = live(&text, &source.memory);
    group.surroundings.source = source.clone();
    group
}

fn source() -> Arc<Counting> {
    let source = Arc::new(Counting::default());
    for name in ["up", "load", "busy"] {
        source.memory.put(name, &[("instance", "a")], 0, 1.0);
        source.memory.put(name, &[("instance", "b")], 0, 1.0);
    }
    source
}

#[test]
fn what_rules_have_asked_for_twice_is_read_ahead_together() {
    let check = |rules: &[&str], expect: (usize, &[usize])| {
        let source = source();
        let mut group = group(rules, &source);
        let mut turn = |at_s: i64| {
            group.evaluate(at_s * 1000);
            (0..rules.len()).for_each(|rule| assert_eq!(health(&group, rule), "ok", "{rules:?}"));
            source.take()
        };
        let first = turn(15);
        assert_eq!((&first.1, &turn(30)), (&vec![], &first), "{rules:?}");
        for at_s in [45, 61] {
            assert_eq!(turn(at_s), (expect.0, expect.1.to_vec()), "{rules:?} at {at_s}");
        }
    };
    check(&["up > 9"], (1, &[]));
    check(&["up > 9", "load > 9"], (0, &[2]));
    check(&["up > 9", "up > 99"], (0, &[1]));
    check(&["up > 9 and load > 9", "rate(busy[5m]) > 9", "up offset 1m > 9"], (0, &[4]));
    check(&["rate(up[5m]) > 9", "max_over_time(up[5m]) > 9", "up > 9"], (0, &[3]));
    // A fixed moment is another one each time, as seen from the turn.
    check(&["up @ 9 > 9", "load > 9", "busy > 9"], (1, &[2]));
    // What the group writes is not there yet.
    check(&["x = sum(up)", "x > 9", "load > 9"], (1, &[2]));
    check(&["x = sum(up)", "{instance=\"a\"} > 9", "load > 9"], (1, &[2]));
    check(&["up > 9", "count(ALERTS) > 9", "load > 9"], (1, &[2]));
}

#[test]
fn what_is_read_ahead_is_of_this_turn_and_what_cannot_be_is_read_as_it_is_asked_for() {
    let source = source();
    let mut group = group(&["up > 5", "load > 5"], &source);
    let mut fire = |at_s: i64| {
        let evaluation = group.evaluate(at_s * 1000);
        assert_eq!((health(&group, 0), health(&group, 1)), ("ok".to_owned(), "ok".to_owned()));
        evaluation.transitions.len()
    };
    assert_eq!([fire(15), fire(30), fire(45)], [0, 0, 0]);
    source.memory.put("up", &[("instance", "b")], 59_000, 6.0);
    assert_eq!(fire(60), 1);
    assert_eq!(source.take().1, [2, 2]);
    source.refuses.store(true, Ordering::SeqCst);
    source.memory.put("load", &[("instance", "a")], 74_000, 6.0);
    assert_eq!(fire(75), 1);
    assert_eq!(source.take(), (2, vec![]));
}

#[test]
fn hosts_that_arrive_are_read_ahead_too() {
    let source = source();
    let mut group = group(&["up > 5", "sum(busy) > 9", "load > 5"], &source);
    let mut hosts = Hosts::default();
    hosts.insert("b".to_owned());
    group.evaluate(15_000);
    group.evaluate(30_000);
    source.take();
    for name in ["up", "load"] {
        source.memory.put(name, &[("instance", "a")], 40_000, 9.0);
        source.memory.put(name, &[("instance", "b")], 40_000, 9.0);
    }
    let evaluation = group.evaluate_hosts(&hosts, 41_000);
    assert_eq!(source.take(), (0, vec![2]), "both rules that look at hosts, and not the sum");
    let labels = evaluation.transitions.iter().map(|one| one.labels.get("instance"));
    assert_eq!(labels.collect::<Vec<_>>(), [Some("b"), Some("b")]);
}
