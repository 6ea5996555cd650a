//! Frames come back as they went in, and foreign bytes never make the decoder panic.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::collections::HashMap;

use proptest::prelude::*;
use upkeep_codec::{DecodeError, Encoder, Frame, KeyFrame, check_delta, decode, peek, retime};
use upkeep_model::{is_stale, stale_marker};

/// Encodes rows in turn and decodes them again, as a buffer and a collector would.
fn through(rows: &[Vec<(u32, f64)>]) -> Vec<Frame> {
    let mut encoder = Encoder::default();
    let mut keys: HashMap<u64, KeyFrame> = HashMap::new();
    let mut frames = Vec::new();
    for (sequence, row) in (1..).zip(rows) {
        let encoded = encoder.encode(sequence, sequence as i64 * 1000, row.clone());
        assert_eq!(peek(&encoded.bytes).unwrap().key, encoded.key);
        let frame = decode(&encoded.bytes, |key| keys.get(&key)).unwrap();
        if frame.is_key {
            keys.insert(sequence, frame.to_key());
        }
        frames.push(frame);
    }
    frames
}

fn row_of(frame: &Frame) -> Vec<(u32, u64)> {
    frame.numbers.iter().copied().zip(frame.values.iter().map(|value| value.to_bits())).collect()
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (-1_000_000_i64..1_000_000).prop_map(|hundredths| hundredths as f64 / 100.0),
        (0_u64..1 << 53).prop_map(|integer| integer as f64),
        Just(f64::NAN),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(stale_marker()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_bit_of_every_value_comes_back(
        numbers in prop::collection::btree_set(0_u32..5000, 1..60),
        columns in prop::collection::vec(prop::collection::vec(value(), 60), 1..80),
    ) {
        let rows: Vec<Vec<(u32, f64)>> = columns
            .iter()
            .map(|values| numbers.iter().copied().zip(values.iter().copied()).collect())
            .collect();
        for (frame, row) in through(&rows).iter().zip(&rows) {
            let expect: Vec<_> = row.iter().map(|(n, v)| (*n, v.to_bits())).collect();
            prop_assert_eq!(row_of(frame), expect);
        }
    }

    #[test]
    fn foreign_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let key = KeyFrame { numbers: [0, 1, 2].into(), values: [0.0, 1.5, f64::NAN].into() };
        let _ = decode(&bytes, |_| Some(&key));
    }

    #[test]
    fn a_frame_is_found_good_exactly_where_it_can_be_decoded(
        rows in prop::collection::vec(prop::collection::vec(value(), 21), 2),
        spoil in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in 0_usize..3,
    ) {
        let mut encoder = Encoder::default();
        let row = |values: &[f64]| (0..).zip(values.iter().copied()).collect::<Vec<_>>();
        let key = decode(&encoder.encode(1, 0, row(&rows[0])).bytes, |_| None).unwrap().to_key();
        let mut bytes = encoder.encode(2, 10, row(&rows[1])).bytes;
        // The kind and the key that it leans on stay what they are.
        if let Some((at, byte)) = spoil {
            let places = bytes.len() - 3;
            bytes[3 + at.index(places)] = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let decoded = decode(&bytes, |_| Some(&key)).map(|_| ());
        prop_assert_eq!(check_delta(&bytes, &key), decoded);
    }
}

#[test]
fn a_series_that_ends_is_marked_stale_once() {
    let frames = through(&[
        vec![(1, 1.0), (2, 2.0)],
        vec![(1, 1.0)],
        vec![(1, 3.0)],
        vec![(1, 3.0), (2, 5.0)],
    ]);
    let second = &frames[1];
    assert_eq!(*second.numbers, [1, 2]);
    assert!(is_stale(second.values[1]));
    assert_eq!(*frames[2].numbers, [1]);
    assert_eq!(frames[3].values, [3.0, 5.0]);
}

#[test]
fn an_unchanged_row_costs_next_to_nothing() {
    let row: Vec<(u32, f64)> = (0..500).map(|number| (number, f64::from(number) * 1.37)).collect();
    let mut encoder = Encoder::default();
    encoder.encode(1, 1_000, row.clone());
    let delta = encoder.encode(2, 11_000, row);
    assert!(delta.bytes.len() < 80, "{} bytes", delta.bytes.len());
}

#[test]
fn errors_name_what_is_wrong() {
    let check = |bytes: &[u8], expect: DecodeError| {
        assert_eq!(decode(bytes, |_| None).unwrap_err(), expect);
    };
    check(&[], DecodeError::Truncated);
    check(&[9, 0], DecodeError::Kind(9));
    check(&[2, 0, 7], DecodeError::KeyUnknown(7));
    check(&[1, 0, 2, 1, 0, 0], DecodeError::Order);
    check(&[1, 0, 0xff, 0xff, 0xff, 0x7f], DecodeError::TooManySeries(268_435_455));
    check(&[1, 0, 1, 4, 0, 2, 2], DecodeError::Trailing(1));
}

#[test]
fn a_frame_can_be_given_another_time() {
    let mut encoder = Encoder::default();
    let key = encoder.encode(1, 1_000, vec![(0, 1.0), (3, 2.5)]);
    let delta = encoder.encode(2, 2_000, vec![(0, 1.0), (3, 7.5)]);
    assert_eq!(peek(&key.bytes).unwrap().series, Some(2));
    assert_eq!(peek(&delta.bytes).unwrap().series, None);
    let base = decode(&key.bytes, |_| None).unwrap().to_key();
    for encoded in [key, delta] {
        let later = retime(&encoded.bytes, -1_700_000_000_123).unwrap();
        let frame = decode(&later, |_| Some(&base)).unwrap();
        let same = decode(&encoded.bytes, |_| Some(&base)).unwrap();
        assert_eq!((frame.timestamp_ms, row_of(&frame)), (-1_700_000_000_123, row_of(&same)));
    }
    assert_eq!(retime(&[], 1), Err(DecodeError::Truncated));
}
