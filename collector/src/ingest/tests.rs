mod harness;
mod lives;
mod parts;

use std::collections::BTreeMap;

use rcgen::KeyPair;
use rustls::pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;
use upkeep_model::{Event, EventKind, Gap, HostFacts, Lane, Life};
use upkeep_wire::encode_event;
use upkeep_wire::v1;
use upkeep_wire::v1::delivery_client::DeliveryClient;

use crate::fleet::Verdict;
use crate::state::Outcome;
use harness::*;

fn event(sequence: u64, kind: EventKind) -> v1::Record {
    let body = encode_event(&Event { at_ms: NOW, kind }).unwrap().into();
    v1::Record { sequence, body }
}

fn facts(sequence: u64, kernel: &str) -> v1::Record {
    let facts = HostFacts { kernel: kernel.into(), ..HostFacts::default() };
    event(sequence, EventKind::Facts(Box::new(facts)))
}

fn lost(sequence: u64, first: u64, last: u64) -> v1::Record {
    let reason = "the disk was full".to_owned();
    let lane = Lane::Samples;
    event(sequence, EventKind::Gap(Gap { lane, first, last, from_ms: None, to_ms: None, reason }))
}

/// The values of the only series of a metric.
fn values(door: &Door, metric: &str) -> Vec<f64> {
    let series = door.samples(metric);
    assert!(series.len() <= 1, "{series:?}");
    series.into_iter().next().map(|one| one.values).unwrap_or_default()
}

#[tokio::test]
async fn a_token_gives_an_identity_once_and_again_only_for_the_same_request() {
    let door = Door::open().await;
    door.token("t1", 1, NOW + 1_000);
    let key = KeyPair::generate().unwrap();
    let first = door.enroll(enroll_request("t1", 1, &key)).await.unwrap();
    assert_eq!((first.instance.as_str(), first.collector_time_ms), ("web1", NOW));
    assert_eq!(first.trusted_roots.len(), 1);
    let lost_reply = door.enroll(enroll_request("t1", 1, &key)).await.unwrap();
    assert_eq!(lost_reply.host_id, first.host_id);

    let other = KeyPair::generate().unwrap();
    door.token("expired", 1, NOW);
    door.token("revoked", 1, NOW + 1_000);
    door.services.state.revoke_enrollment_token("revoked", &door.by()).unwrap();
    door.token("short", 1, NOW + 1_000);
    let forged = v1::EnrollRequest {
        token_secret: vec![6; 32].into(),
        ..enroll_request("short", 2, &other)
    };
    let cut = v1::EnrollRequest {
        certificate_request: vec![1, 2, 3].into(),
        ..enroll_request("short", 2, &other)
    };
    let no_secret = v1::EnrollRequest { token_secret: b"x".as_slice().into(), ..forged.clone() };
    let before = door.services.state.last_audit().unwrap();
    let refusals = [
        (enroll_request("t1", 1, &other), Code::PermissionDenied, "another key"),
        (enroll_request("t1", 2, &other), Code::PermissionDenied, "was used already"),
        (enroll_request("expired", 2, &other), Code::PermissionDenied, "has expired"),
        (enroll_request("revoked", 2, &other), Code::PermissionDenied, "was revoked"),
        (enroll_request("nobody", 2, &other), Code::Unauthenticated, "not known"),
        (forged, Code::Unauthenticated, "secret is wrong"),
        (cut, Code::InvalidArgument, "certificate request"),
        (no_secret, Code::InvalidArgument, "token_secret"),
    ];
    let count = refusals.len();
    for (request, code, text) in refusals {
        let status = door.enroll(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
    }
    let audit = door.services.state.audit(None, 100).unwrap();
    let refused = Outcome::Refused.to_string();
    let noted = audit.iter().filter(|entry| entry.id > before && entry.outcome == refused);
    assert_eq!(noted.count(), count);
    assert_eq!(door.services.state.hosts().unwrap().len(), 1);
    door.close().await;
}

#[tokio::test]
async fn records_are_stored_under_the_host_of_the_certificate_and_then_acknowledged() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let tags = BTreeMap::from([("site".to_owned(), "berlin".to_owned())]);
    door.services.state.tag_host(own.host, &tags, &door.by()).unwrap();
    let (mut wire, accepted) = Wire::open(&door, &own).await;
    assert!(accepted.window_records > 0);
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames(1..=3))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 3));
    wire.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 1));

    let stored = door.samples("node_load1");
    let labels = stored[0].labels.to_string();
    assert_eq!(labels, r#"node_load1{cpu="0", instance="web1", job="node", site="berlin"}"#);
    assert_eq!(*stored[0].timestamps, [NOW + 1_000, NOW + 2_000, NOW + 3_000]);
    assert_eq!(stored[0].values, [1.0, 2.0, 3.0]);
    let up = &door.samples("up")[0];
    assert_eq!((&up.timestamps, &up.values), (&stored[0].timestamps, &vec![1.0; 3]));
    let known = door.services.state.metadata(None).unwrap();
    assert_eq!(known.keys().collect::<Vec<_>>(), ["node_load1"]);
    let host = door.services.state.host(own.host).unwrap().unwrap();
    assert_eq!(host.facts.unwrap().kernel, "6.1");
    assert_eq!((host.interval_ms, host.agent_version.as_str()), (1_000, "0.2.0"));
    door.close().await;
}

#[tokio::test]
async fn what_was_sent_before_is_acknowledged_and_not_stored_twice() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    for turn in 0..2 {
        let (mut wire, accepted) = Wire::open(&door, &own).await;
        let marks: Vec<u64> = accepted.lanes.iter().map(|mark| mark.committed).collect();
        assert_eq!(marks, if turn == 0 { [0, 0] } else { [4, 1] });
        wire.send(describe(&["node_load1"])).await;
        wire.send(batch(v1::Lane::Samples, frames(1..=4))).await;
        assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 4));
        wire.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
        assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 1));
    }
    assert_eq!(values(&door, "node_load1"), [1.0, 2.0, 3.0, 4.0]);
    door.close().await;
}

#[tokio::test]
async fn a_hole_is_asked_for_and_nothing_behind_it_is_taken() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames([1, 2, 4, 5]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 2));
    assert_eq!(wire.wanted().await, (v1::Lane::Samples, 3));
    // What was on its way already is passed over, and not asked for a second time.
    wire.send(batch(v1::Lane::Samples, frames([6]))).await;
    wire.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 1));
    wire.send(batch(v1::Lane::Samples, frames(3..=6))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 6));
    wire.send(batch(v1::Lane::Events, vec![facts(3, "6.3")])).await;
    assert_eq!(wire.wanted().await, (v1::Lane::Events, 2));
    wire.send(batch(v1::Lane::Events, vec![facts(2, "6.2"), facts(3, "6.3")])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 3));
    assert_eq!(values(&door, "node_load1"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    door.close().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_set_aside_and_both_lanes_go_on() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    let garbage = |sequence| v1::Record { sequence, body: b"\xffgarbage".as_slice().into() };
    let [first, third] = [frames([1]), frames([3])].map(|mut one| one.remove(0));
    // The fourth is a good frame of a series that nobody described.
    let row = vec![(7, 1.0)];
    let encoded = upkeep_codec::Encoder::default().encode(4, NOW, row);
    let fourth = v1::Record { sequence: 4, body: encoded.bytes.into() };
    let records = vec![first, garbage(2), third, fourth, garbage(5)];
    wire.send(batch(v1::Lane::Samples, records)).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 5));
    wire.send(batch(v1::Lane::Samples, frames([6]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 6));
    let implausible = lost(3, 9, 8);
    let records = vec![facts(1, "6.1"), garbage(2), implausible, facts(4, "6.2")];
    wire.send(batch(v1::Lane::Events, records)).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 4));

    assert_eq!(values(&door, "node_load1"), [1.0, 3.0, 6.0]);
    let mut aside = door.services.state.quarantined(own.host).unwrap();
    aside.sort_by_key(|(lane, sequence, _)| (*lane, *sequence));
    let places: Vec<_> = aside.iter().map(|(lane, sequence, _)| (*lane, *sequence)).collect();
    let (samples, events) = (Lane::Samples, Lane::Events);
    assert_eq!(places, [(samples, 2), (samples, 4), (samples, 5), (events, 2), (events, 3)]);
    assert!(aside[0].2.contains("kind 255"), "{aside:?}");
    let gaps = door.services.state.gaps(own.host, 10).unwrap();
    let mut gaps: Vec<_> =
        gaps.iter().map(|one| (one.gap.lane, one.gap.first, one.gap.last)).collect();
    gaps.sort_unstable();
    assert_eq!(gaps, [(samples, 2, 2), (samples, 4, 5), (events, 2, 3)]);
    door.close().await;
}

#[tokio::test]
async fn samples_that_were_declared_lost_are_not_waited_for() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Events, vec![lost(1, 1, 5)])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 1));
    wire.send(batch(v1::Lane::Samples, frames(6..=7))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 7));
    drop(wire);
    let (_, accepted) = Wire::open(&door, &own).await;
    let marks: Vec<u64> = accepted.lanes.iter().map(|mark| mark.committed).collect();
    assert_eq!(marks, [7, 1]);
    door.close().await;
}

#[tokio::test]
async fn what_the_collector_lost_after_acknowledging_it_is_declared_a_gap() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let lanes = vec![lane_state(v1::Lane::Samples, 9), lane_state(v1::Lane::Events, 3)];
    let (mut wire, accepted) =
        Wire::open_with(&door, &own, v1::Open { lanes, ..open() }).await.unwrap();
    let marks: Vec<u64> = accepted.lanes.iter().map(|mark| mark.committed).collect();
    assert_eq!(marks, [9, 3]);
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames([10]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 10));
    let mut gaps: Vec<_> = door.services.state.gaps(own.host, 10).unwrap();
    gaps.sort_by_key(|one| one.gap.lane);
    let ranges: Vec<_> = gaps.iter().map(|one| (one.gap.first, one.gap.last)).collect();
    assert_eq!(ranges, [(1, 9), (1, 3)]);
    assert_eq!(gaps[0].stream, own.stream_key());
    door.close().await;
}

#[tokio::test]
async fn nobody_delivers_without_a_certificate_of_this_fleet() {
    let (door, elsewhere) = (Door::open().await, Door::open().await);
    let channel = door.connect(None).await.unwrap();
    let status = DeliveryClient::new(channel)
        .stream(tokio_stream::empty::<v1::AgentMessage>())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");

    let stranger = elsewhere.host("t1", "web1");
    let refused = match door.connect(Some(&stranger)).await {
        Err(_) => true,
        // TLS 1.3 tells the client only as it begins to talk.
        Ok(channel) => DeliveryClient::new(channel)
            .renew(v1::RenewRequest::default())
            .await
            .is_err_and(|status| status.code() != Code::InvalidArgument),
    };
    assert!(refused);

    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames([1]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 1));
    for door in [door, elsewhere] {
        door.close().await;
    }
}

#[tokio::test]
async fn a_revoked_host_is_cut_off_and_not_let_in_again() {
    let door = Door::open().await;
    let (own, healthy) = (door.host("t1", "web1"), door.host("t2", "web2"));
    let (mut wire, _) = Wire::open(&door, &own).await;
    let (mut other, _) = Wire::open(&door, &healthy).await;
    door.services.state.revoke_host(own.host, &door.by()).unwrap();
    door.services.fleet.refresh(&door.services.state).unwrap();
    let status = wire.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    for _ in 0..2 {
        let Err(status) = Wire::open_with(&door, &own, open()).await else { panic!("let in") };
        assert!(status.message().contains("revoked"), "{status}");
    }
    let audit = door.services.state.audit(None, 100).unwrap();
    let noted = audit.iter().filter(|entry| entry.action == "host-connect").count();
    assert_eq!(noted, 1);
    other.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
    assert_eq!(other.acknowledged().await, (v1::Lane::Events, 1));
    door.close().await;
}

#[tokio::test]
async fn renaming_and_expiry_end_open_streams() {
    let door = Door::open().await;
    let (own, late) = (door.host("t1", "web1"), door.host("t2", "web2"));
    let (mut wire, _) = Wire::open(&door, &own).await;
    let (mut other, _) = Wire::open(&door, &late).await;
    door.services.state.rename_host(own.host, "front", &door.by()).unwrap();
    door.services.fleet.refresh(&door.services.state).unwrap();
    assert_eq!(wire.answer().await.unwrap_err().code(), Code::Unavailable);
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(describe(&["node_load1"])).await;
    wire.send(batch(v1::Lane::Samples, frames([1]))).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 1));
    assert_eq!(door.samples("node_load1")[0].labels.get("instance"), Some("front"));

    door.set_clock(i64::MAX / 2);
    other.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
    let status = other.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    door.close().await;
}

#[tokio::test]
async fn what_is_not_admitted_is_refused_with_its_reason_and_harms_no_other() {
    let door = Door::open().await;
    let (own, healthy) = (door.host("t1", "web1"), door.host("t2", "web2"));
    let (mut other, _) = Wire::open(&door, &healthy).await;
    other.send(describe(&["node_load1"])).await;
    let many: Vec<String> = (0..101).map(|index| format!("m{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let wide: Vec<(u32, f64)> = (0..11).map(|number| (number, 1.0)).collect();
    let wide = upkeep_codec::Encoder::default().encode(1, NOW, wide);
    let wide = v1::Record { sequence: 1, body: wide.bytes.into() };
    let claim = v1::agent_message::Message::Describe(v1::Describe {
        first_number: 0,
        series: vec![v1::Series {
            name: "up".into(),
            labels: vec![v1::Label { name: "instance".into(), value: "web2".into() }],
            ..v1::Series::default()
        }],
    });
    let huge = v1::Record { sequence: 1, body: vec![0; 5 * 1024 * 1024].into() };
    door.set_clock(NOW + 10_000);
    for (message, code, text) in [
        (describe(&["two words"]), Code::InvalidArgument, "\"two words\" is no metric name"),
        (claim, Code::InvalidArgument, "\"instance\" is set by the collector"),
        (describe(&many), Code::ResourceExhausted, "the limit is 100"),
        (batch(v1::Lane::Samples, vec![wide]), Code::ResourceExhausted, "the limit is 10"),
        (batch(v1::Lane::Unspecified, vec![]), Code::InvalidArgument, "lane"),
        (v1::agent_message::Message::Open(open()), Code::InvalidArgument, "open already"),
        (batch(v1::Lane::Events, vec![huge]), Code::OutOfRange, "too large"),
    ] {
        let (mut wire, _) = Wire::open(&door, &own).await;
        wire.send(message).await;
        let status = wire.answer().await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
    }
    assert_eq!(door.samples("up").len(), 0);
    // It connects again and again, and is missed all the same.
    let missed = door.services.fleet.member(own.host).unwrap().verdict(NOW + 10_000);
    assert!(matches!(missed, Verdict::Silent { .. }), "{missed:?}");
    other.send(batch(v1::Lane::Samples, frames([1]))).await;
    assert_eq!(other.acknowledged().await, (v1::Lane::Samples, 1));
    door.close().await;
}

#[tokio::test]
async fn frames_of_a_clock_that_is_ahead_are_stored_by_the_collectors() {
    const HOUR: i64 = 3_600_000;
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let opening = v1::Open { wall_time_ms: NOW + HOUR, ..open() };
    let (mut wire, _) = Wire::open_with(&door, &own, opening).await.unwrap();
    wire.send(describe(&["node_load1"])).await;
    let records = vec![frame_at(1, NOW + HOUR - 10_000), frame_at(2, NOW + HOUR)];
    wire.send(batch(v1::Lane::Samples, records)).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Samples, 2));
    assert_eq!(*door.samples("node_load1")[0].timestamps, [NOW - 10_000, NOW]);
    assert_eq!(*door.samples("up")[0].timestamps, [NOW - 10_000, NOW]);
    let host = door.services.state.host(own.host).unwrap().unwrap();
    assert_eq!(host.clock_offset_ms, Some(HOUR));
    door.close().await;
}

#[tokio::test]
async fn a_host_renews_its_certificate_with_a_new_key() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let key = KeyPair::generate().unwrap();
    let channel = door.connect(Some(&own)).await.unwrap();
    let certificate_request = request_of(&key).into();
    let reply = DeliveryClient::new(channel)
        .renew(v1::RenewRequest { certificate_request })
        .await
        .unwrap()
        .into_inner();
    let leaf = rustls::pki_types::CertificateDer::from(reply.certificate_chain[0].to_vec());
    assert_eq!(crate::ca::identify(&leaf).unwrap().host, own.host);
    assert_eq!(door.services.state.audit(None, 1).unwrap()[0].action, "host-renew");
    door.close().await;
}

#[tokio::test]
async fn silent_peers_and_old_tls_keep_nobody_out() {
    let door = Door::open().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(door.address).await.unwrap());
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(old));
    let stream = TcpStream::connect(door.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    assert!(connector.connect(name, stream).await.is_err());

    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    wire.send(batch(v1::Lane::Events, vec![facts(1, "6.1")])).await;
    assert_eq!(wire.acknowledged().await, (v1::Lane::Events, 1));
    // Who says nothing is let go after the time for handshakes.
    let ended = in_time(silent[0].read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    door.close().await;
}

#[tokio::test]
async fn streams_end_when_the_collector_stops() {
    let door = Door::open().await;
    let own = door.host("t1", "web1");
    let (mut wire, _) = Wire::open(&door, &own).await;
    door.close().await;
    let status = wire.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
