//! Two copies of one buffer are told apart, whatever their numbers are.

use upkeep_wire::v1::agent_message::Message;

use super::*;

fn opening(life: u8, next_sequence: u64, life_from: u64) -> v1::Open {
    let state = |lane: v1::Lane, life_from| v1::LaneState {
        lane: lane.into(),
        next_sequence,
        kept_from: 1,
        life_from,
        ..v1::LaneState::default()
    };
    v1::Open {
        lanes: vec![state(v1::Lane::Samples, life_from), state(v1::Lane::Events, 1)],
        life: vec![life; 16].into(),
        ..open()
    }
}

#[tokio::test]
async fn another_copy_of_a_buffer_is_told_so_and_changes_nothing() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, accepted) = Wire::open_with(&door, &own, opening(1, 5, 1)).await.unwrap();
    assert!(!accepted.older_copy);
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames(1..=4))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 4));

    let (mut copy, accepted) = Wire::open_with(&door, &own, opening(2, 9, 4)).await.unwrap();
    assert!(accepted.older_copy);
    assert_eq!(copy.answer().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(door.services.state.life(own.stream_key()).unwrap(), Some(Life([1; 16])));
    wire.send(batch(v1::Lane::Samples, frames(5..=6))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 6));

    // The next life of the same buffer begins behind.
    let (mut next, accepted) = Wire::open_with(&door, &own, opening(3, 7, 7)).await.unwrap();
    assert!(!accepted.older_copy);
    next.send(describe(&["node_load1"])).await;
    next.send(batch(v1::Lane::Samples, frames([7]))).await;
    assert_eq!(next.acknowledged().await, (v1::Lane::Samples, 7));
    assert_eq!(values(&door, "node_load1"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    door.close().await;
}

#[tokio::test]
async fn what_was_observed_in_an_epoch_that_an_older_copy_takes_the_place_of_is_declared() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let gaps = || door.services.state.gaps(own.host, 10).unwrap();
    let begun_anew = |life| v1::Open { epoch: vec![77; 16].into(), ..opening(life, 1, 1) };
    for (open, expect) in [
        (opening(1, 5, 1), 0),
        (begun_anew(2), 0),
        (opening(3, 5, 5), 2),
        // The same life comes again, and the next one of the same buffer.
        (opening(3, 5, 5), 2),
        (opening(4, 6, 6), 2),
        (begun_anew(5), 4),
    ] {
        let (_wire, accepted) = Wire::open_with(&door, &own, open).await.unwrap();
        assert!(!accepted.older_copy);
        assert_eq!(gaps().len(), expect);
        assert!(gaps().iter().all(|gap| gap.gap.reason.contains("older copy")));
    }
    door.close().await;
}

#[tokio::test]
async fn of_two_copies_that_connect_at_once_only_the_one_that_was_accepted_last_is_taken() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    for message in [
        batch(v1::Lane::Samples, frames([1])),
        batch(v1::Lane::Events, vec![facts(1, "6.1")]),
        describe(&["other"]),
        Message::Reference(v1::Reference::default()),
    ] {
        // Neither has sent anything, so no number tells them apart.
        let (mut first, _) = Wire::open_with(&door, &own, opening(1, 5, 1)).await.unwrap();
        let (_second, accepted) = Wire::open_with(&door, &own, opening(2, 5, 1)).await.unwrap();
        assert!(!accepted.older_copy);
        first.send(message).await;
        assert_eq!(first.answer().await.unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(door.services.store.committed(own.stream_key()).last(), 0);
    assert_eq!(door.services.state.event_mark(own.stream_key()).unwrap(), 0);
    door.close().await;
}
