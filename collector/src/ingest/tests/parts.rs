//! Live samples beside a backlog, collectors that lost what they had, and clocks that are wrong.

use upkeep_model::Ranges;
use upkeep_wire::v1;

use super::harness::*;
use super::{facts, lost, values};
use crate::fleet::Verdict;

/// What is committed of the samples, as the collector tells it.
fn ranges(accepted: &v1::Accepted) -> Vec<std::ops::RangeInclusive<u64>> {
    let mark = accepted.lanes.iter().find(|mark| mark.lane() == v1::Lane::Samples).unwrap();
    Ranges::from(mark).iter().collect()
}

#[tokio::test]
async fn live_samples_are_taken_beside_the_backlog_and_only_they_say_that_the_host_is_up() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, accepted) = Wire::open(&door, &own).await;
    assert_eq!(accepted.live_from, 0);
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames(1..=2))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 2));
    for (live_from, expect) in [(6, vec![1..=2]), (10, vec![1..=2, 6..=7])] {
        let opening = v1::Open { live_from, ..open() };
        let (again, accepted) = Wire::open_with(&door, &own, opening).await.unwrap();
        assert_eq!((accepted.live_from, ranges(&accepted)), (live_from, expect));
        wire = again;
        wire.send(describe(&["node_load1"])).await;
        let live = frames(live_from..live_from + 2);
        wire.send(batch(v1::Lane::Samples, live)).await;
        assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, live_from + 1));
    }
    assert_eq!(values(&door, "node_load1"), [1.0, 2.0, 6.0, 7.0, 10.0, 11.0]);
    // A hole in the backlog holds the live samples up as little as those hold up the backlog.
    wire.send(batch(v1::Lane::Samples, frames([4]))).await;
    assert_eq!(wire.wanted().await, (v1::Lane::Samples, 3));
    wire.send(batch(v1::Lane::Samples, frames([12]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 12));
    let before = door.services.fleet.member(own.host).unwrap();
    door.set_clock(NOW + 60_000);
    wire.send(batch(v1::Lane::Samples, frames(3..=9))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 9));
    assert!(matches!(before.verdict(NOW + 60_000), Verdict::Silent { .. }));
    assert_eq!(values(&door, "node_load1"), (1..=12).map(f64::from).collect::<Vec<_>>());
    let heard: Vec<i64> = [1, 2, 6, 7, 10, 11, 12].map(|second| NOW + second * 1_000).to_vec();
    assert_eq!(*door.samples("up")[0].timestamps, heard);
    let (_, accepted) = Wire::open(&door, &own).await;
    assert_eq!(ranges(&accepted), [1..=12]);
    door.close().await;
}

#[tokio::test]
async fn without_room_for_a_further_range_samples_come_in_their_order() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let mut granted = 0;
    for round in 1..50 {
        let opening = v1::Open { live_from: round * 10, ..open() };
        let (mut wire, accepted) = Wire::open_with(&door, &own, opening).await.unwrap();
        if accepted.live_from == 0 {
            break;
        }
        granted += 1;
        wire.send(describe(&["node_load1"])).await;
        wire.send(batch(v1::Lane::Samples, frames([round * 10]))).await;
        assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, round * 10));
    }
    assert!((10..49).contains(&granted), "{granted}");
    let opening = v1::Open { live_from: 1_000, ..open() };
    let (mut wire, _) = Wire::open_with(&door, &own, opening).await.unwrap();
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames(1..=400))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 400));
    let opening = v1::Open { live_from: 1_000, ..open() };
    let (_, accepted) = Wire::open_with(&door, &own, opening).await.unwrap();
    assert_eq!((accepted.live_from, ranges(&accepted)), (1_000, vec![1..=400]));
    door.close().await;
}

#[tokio::test]
async fn what_the_host_kept_is_asked_for_and_only_the_rest_is_declared_a_gap() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames(1..=2))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 2));
    let kept = |lane, acknowledged, kept_from| v1::LaneState {
        kept_from,
        ..lane_state(lane, acknowledged)
    };
    let lanes = vec![kept(v1::Lane::Samples, 9, 6), kept(v1::Lane::Events, 4, 3)];
    let opening = v1::Open { lanes, live_from: 10, ..open() };
    let (mut wire, accepted) = Wire::open_with(&door, &own, opening).await.unwrap();
    // Events that are still to come may declare the samples.
    assert_eq!(ranges(&accepted), [1..=2]);
    wire.send(batch(v1::Lane::Events, vec![facts(3, "6.1")])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 3));
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames([6]))).await;
    assert_eq!(wire.wanted().await, (v1::Lane::Samples, 3));
    wire.send(batch(v1::Lane::Events, vec![lost(4, 4, 4)])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 4));
    wire.send(batch(v1::Lane::Samples, frames(6..=10))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 9));
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 10));
    let mut gaps = door.services.state.gaps(own.host, 10).unwrap();
    gaps.sort_by_key(|one| (one.gap.lane, one.gap.first));
    let found: Vec<_> = gaps
        .iter()
        .map(|one| (one.gap.first..=one.gap.last, one.gap.reason.starts_with("the collector")))
        .collect();
    assert_eq!(found, [(3..=3, true), (4..=4, false), (5..=5, true), (1..=2, true)]);
    assert_eq!(values(&door, "node_load1"), [1.0, 2.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    door.close().await;
}

#[tokio::test]
async fn frames_of_a_clock_that_is_far_behind_are_stored_by_the_collectors() {
    const DAY: i64 = 24 * 3_600_000;
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let wall_time_ms = NOW - 9_000 * DAY;
    let opening = v1::Open { wall_time_ms, uptime_ms: 60_000, live_from: 3, ..open() };
    let (mut wire, _) = Wire::open_with(&door, &own, opening).await.unwrap();
    wire.send(describe(&["node_load1"])).await;
    // Observed before the host started, before it connected, since then, and with the clock set right.
    let records = vec![
        frame_at(1, NOW - DAY),
        frame_at(2, wall_time_ms - 10_000),
        frame_at(3, wall_time_ms + 1_000),
        frame_at(4, NOW + 2_000),
    ];
    wire.send(batch(v1::Lane::Samples, records)).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 2));
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 4));
    let stored = &door.samples("node_load1")[0];
    assert_eq!(*stored.timestamps, [NOW - DAY, NOW - 10_000, NOW + 1_000, NOW + 2_000]);
    door.close().await;
}
