use upkeep_model::stale_marker;

use crate::summary::windows_of;

use super::*;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A day of a series, of a kind by its number.
fn windows(resolution: Resolution, series: SeriesRef) -> Vec<Window> {
    let rare = if series % 5 == 4 { 90 } else { 1 };
    let (mut times, mut values, mut counter) = (Vec::new(), Vec::new(), 1e6);
    for step in (0..DAY / 20_000).step_by(rare) {
        times.push(step * 20_000 + i64::from(series % 3));
        let noise = ((step * i64::from(series + 1)) as f64 * 0.37).sin();
        counter = if step % 1_000 == 999 { 0.0 } else { counter + noise.abs() };
        values.push(match series % 5 {
            0 => 7.25,
            1 => counter,
            2 if step % 700 > 690 => stale_marker(),
            _ => noise,
        });
    }
    windows_of(resolution, &times, &values)
}

fn packed(resolution: Resolution, numbers: &[SeriesRef]) -> Vec<Vec<u8>> {
    let mut packer = SummaryPacker::new(resolution);
    for number in numbers {
        packer.add(*number, &windows(resolution, *number)).unwrap();
    }
    packer.finish().unwrap()
}

#[test]
fn summaries_come_back_from_as_many_chunks_as_they_need() {
    for (resolution, expect_chunks) in Resolution::ALL.into_iter().zip([13, 1]) {
        let numbers: Vec<SeriesRef> = (0..40).map(|number| number * 3 + 1).collect();
        let chunks = packed(resolution, &numbers);
        let mut found = Vec::new();
        for bytes in &chunks {
            assert!(bytes.len() <= 8 * 4096 - 128, "{}", bytes.len());
            let chunk = SummaryChunk::open(bytes).unwrap();
            let glance = super::super::Chunk::glance(bytes).unwrap();
            assert_eq!(chunk.resolution, resolution);
            for series in chunk.series() {
                let windows_there = chunk.windows(series).unwrap();
                assert_eq!(windows_there, windows(resolution, series), "{series}");
                assert!(glance.series.contains(&series));
                for window in &windows_there {
                    assert!(glance.times.contains(&window.at_ms()));
                    assert!(glance.times.contains(&window.through_ms()));
                }
                found.push(series);
            }
            assert_eq!(chunk.windows(5_000), Ok(vec![]));
            assert!(super::super::Chunk::open(bytes).is_err(), "they are no samples");
        }
        assert_eq!(found, numbers);
        assert_eq!(chunks.len(), expect_chunks);
    }
}

#[test]
fn a_series_that_only_ended_is_there() {
    let ended = Window { summary: None, ended_at: Some(5) };
    let mut packer = SummaryPacker::new(Resolution::OneHour);
    packer.add(9, &[ended]).unwrap();
    let chunks = packer.finish().unwrap();
    let chunk = SummaryChunk::open(&chunks[0]).unwrap();
    assert_eq!(chunk.series(), BTreeSet::from([9]));
    assert_eq!(chunk.windows(9), Ok(vec![ended]));
}

#[test]
fn damaged_chunks_of_summaries_are_refused_without_panic() {
    let encoded = packed(Resolution::OneHour, &[4, 9]).remove(0);
    for at in 0..encoded.len() {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut bytes = encoded.clone();
            bytes[at] ^= flip;
            if let Ok(chunk) = SummaryChunk::open(&bytes) {
                for series in chunk.series() {
                    let _ = chunk.windows(series);
                }
            }
        }
        let _ = SummaryChunk::open(&encoded[..at]);
    }
}
