//! Cases as a picture of time: a second a character.

use super::*;

const INTERVAL_MS: u32 = 1_000;
const END_MS: i64 = 100_000;

/// An observation every second from one through another, of a host that was booted then.
fn seen(stretches: &[(i64, i64, Option<i64>)]) -> Vec<Sighting> {
    let sightings = stretches.iter().flat_map(|&(from, to, boot)| {
        let boot_ms = boot.map(|second| second * 1_000);
        (from..=to).map(move |second| Sighting { at_ms: second * 1_000, boot_ms })
    });
    sightings.collect()
}

fn stop(second: i64, is_shutdown: bool) -> Stop {
    Stop { at_ms: second * 1_000, is_shutdown }
}

fn outage(from: i64, to: i64) -> Outage {
    Outage { from_ms: from.saturating_mul(1_000), to_ms: to * 1_000 }
}

fn lost(from: i64, to: i64, records: u64) -> LostStretch {
    let reason = "full".to_owned();
    LostStretch { from_ms: from * 1_000, to_ms: to * 1_000, records, reason }
}

fn check(what: &str, evidence: Evidence, expect: &[(HostState, i64, i64, Why)]) {
    let evidence = Evidence { interval_ms: INTERVAL_MS, ..evidence };
    let found = decide(&evidence, 0, END_MS, END_MS);
    let expect: Vec<Interval> = expect
        .iter()
        .cloned()
        .map(|(state, from, to, why)| {
            let (from_ms, to_ms) = (from * 1_000, to * 1_000);
            Interval { state, from_ms, to_ms, why }
        })
        .collect();
    assert_eq!(found, expect, "{what}");
    // Whatever is asked for is answered without a hole, and a part of it alike.
    let ends = found.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms);
    let whole = (found.first().map(|one| one.from_ms), found.last().map(|one| one.to_ms));
    assert!(ends && whole == (Some(0), Some(END_MS)), "{what}");
    let middle = decide(&evidence, 20_000, 70_000, END_MS);
    assert_eq!(middle, clipped(found, 20_000, 70_000), "{what}");
}

#[test]
fn what_a_host_was_follows_from_what_is_known() {
    use HostState::{Down, Unknown, Up};
    let none = Evidence::default;
    check("never heard of", none(), &[(Unknown, 0, 100, Why::NothingBefore)]);
    check(
        "always observed, with a tick or two left out",
        Evidence { seen: seen(&[(-5, 30, None), (33, 98, None)]), ..none() },
        &[(Up, 0, 100, Why::Observed)],
    );
    check(
        "nothing comes any more",
        Evidence { seen: seen(&[(0, 40, None)]), ..none() },
        &[(Up, 0, 40, Why::Observed), (Unknown, 40, 100, Why::Silence)],
    );
    check(
        "the agent was away while the kernel went on",
        Evidence { seen: seen(&[(0, 40, Some(-9)), (60, 99, Some(-9))]), ..none() },
        &[(Up, 0, 40, Why::Observed), (Up, 40, 60, Why::SameBoot), (Up, 60, 100, Why::Observed)],
    );
    check(
        "the power went and came back",
        Evidence { seen: seen(&[(0, 40, Some(-9)), (60, 99, Some(55))]), ..none() },
        &[
            (Up, 0, 40, Why::Observed),
            (Down, 40, 55, Why::Booted(55_000)),
            (Up, 55, 60, Why::SameBoot),
            (Up, 60, 100, Why::Observed),
        ],
    );
    check(
        "it was shut down and booted",
        Evidence {
            seen: seen(&[(0, 40, Some(-9)), (60, 99, Some(55))]),
            stops: vec![stop(42, true)],
            ..none()
        },
        &[
            (Up, 0, 40, Why::Observed),
            (Up, 40, 42, Why::SameBoot),
            (Down, 42, 55, Why::ShutDownAndBooted(42_000, 55_000)),
            (Up, 55, 60, Why::SameBoot),
            (Up, 60, 100, Why::Observed),
        ],
    );
    check(
        "it was shut down and stays so, collector or not",
        Evidence {
            seen: seen(&[(0, 40, None)]),
            stops: vec![stop(10, false), stop(40, true)],
            outages: vec![outage(70, 80)],
            ..none()
        },
        &[(Up, 0, 40, Why::Observed), (Down, 40, 100, Why::ShutDown(40_000))],
    );
    check(
        "its agent was stopped",
        Evidence { seen: seen(&[(0, 40, None)]), stops: vec![stop(40, false)], ..none() },
        &[(Up, 0, 40, Why::Observed), (Unknown, 40, 100, Why::AgentStopped(40_000))],
    );
}

#[test]
fn what_nobody_could_hear_is_not_known_unless_it_came_later() {
    use HostState::{Down, Unknown, Up};
    let none = Evidence::default;
    let outages = || vec![outage(i64::MIN, 5), outage(50, 60)];
    check(
        "the collector was away, and the backlog has come",
        Evidence { seen: seen(&[(0, 99, None)]), outages: outages(), ..none() },
        &[(Up, 0, 100, Why::Observed)],
    );
    check(
        "the collector was away, and no backlog came",
        Evidence { seen: seen(&[(10, 45, None), (70, 99, None)]), outages: outages(), ..none() },
        &[
            (Unknown, 0, 5, Why::CollectorAway),
            (Unknown, 5, 10, Why::NothingBefore),
            (Up, 10, 45, Why::Observed),
            (Unknown, 45, 50, Why::Silence),
            (Unknown, 50, 60, Why::CollectorAway),
            (Unknown, 60, 70, Why::Silence),
            (Up, 70, 100, Why::Observed),
        ],
    );
    check(
        "part of the backlog is lost, and it was observed all the same",
        Evidence {
            seen: seen(&[(0, 45, None), (70, 99, None)]),
            lost: vec![lost(46, 65, 20), lost(66, 69, 1)],
            outages: vec![outage(50, 60)],
            ..none()
        },
        &[
            (Up, 0, 45, Why::Observed),
            (Up, 45, 65, Why::Lost("full".to_owned())),
            (Unknown, 65, 70, Why::Silence),
            (Up, 70, 100, Why::Observed),
        ],
    );
    check(
        "it was observed until the power went, and that is lost",
        Evidence {
            seen: seen(&[(0, 40, Some(-9)), (60, 99, Some(55))]),
            lost: vec![lost(41, 48, 8)],
            ..none()
        },
        &[
            (Up, 0, 40, Why::Observed),
            (Up, 40, 48, Why::Lost("full".to_owned())),
            (Down, 48, 55, Why::Booted(55_000)),
            (Up, 55, 60, Why::SameBoot),
            (Up, 60, 100, Why::Observed),
        ],
    );
}
