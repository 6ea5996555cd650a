use super::table::Column;
use super::*;

fn table(rows: usize, columns: u32) -> Table {
    let timestamps = (0..rows as i64).map(|row| 1_000 + row * 10_000 + row % 3).collect();
    let column = |series: u32| {
        let present: Vec<bool> = (0..rows)
            .map(|row| match series % 3 {
                0 => true,
                1 => row >= rows / 2,
                _ => row % 2 == 0,
            })
            .collect();
        let of_row =
            |row: usize| f64::from(series) + ((row * row) as f64 * 0.37 * f64::from(series)).sin();
        let values = (0..rows).filter(|row| present[*row]).map(of_row).collect();
        Column { series: series * 7 + 1, present, values }
    };
    Table { timestamps, columns: (0..columns).map(column).collect() }
}

/// Packs tables, and holds what comes back against them: of each series the first table that has it
/// for an instant.
fn check(tables: &[Table], expect_chunks: usize) -> Vec<Vec<u8>> {
    let chunks = encode(tables, Effort::Quick).unwrap();
    assert_eq!(chunks.len(), expect_chunks);
    assert!(chunks.iter().all(|chunk| chunk.len() <= 4 * 4096 - 128));
    let mut packed = tables
        .iter()
        .flat_map(|table| table.columns.iter().map(|column| (&table.timestamps, column)));
    for encoded in &chunks {
        let chunk = Chunk::open(encoded).unwrap();
        let glance = Chunk::glance(encoded).unwrap();
        for series in chunk.series() {
            let (timestamps, column) = packed.next().unwrap();
            assert_eq!(series, column.series);
            assert!(glance.series.contains(&series));
            let expect = timestamps.iter().zip(&column.present);
            let expect: Arc<[i64]> = expect.filter(|(_, is)| **is).map(|(at, _)| *at).collect();
            assert!(expect.iter().all(|at| glance.times.contains(at)));
            let samples = chunk.samples(series).unwrap().unwrap();
            assert_eq!(samples, (expect, column.values.clone()));
        }
        assert_eq!(chunk.samples(3).unwrap(), None);
    }
    assert!(packed.next().is_none());
    chunks
}

#[test]
fn a_table_comes_back_from_as_many_chunks_as_it_needs() {
    let chunks = check(&[table(200, 60)], 4);
    let glances = chunks.iter().map(|chunk| Chunk::glance(chunk).unwrap());
    assert!(glances.map(|glance| glance.series).is_sorted_by(|one, next| one.end() < next.start()));
}

#[test]
fn tables_with_times_of_their_own_share_a_chunk_unless_they_share_a_series() {
    let numbered = |from_ms, series| {
        let column = |series| Column { series, present: vec![true; 2], values: vec![1.0, 2.5] };
        Table { timestamps: vec![from_ms, from_ms + 7], columns: vec![column(series)] }
    };
    let chunks = check(&[table(40, 6), numbered(-9, 2), numbered(5, 600)], 1);
    let glance = Glance { series: 1..=600, times: -9..=391_000 };
    assert_eq!(Chunk::glance(&chunks[0]), Ok(glance));
    check(&[numbered(5, 600), numbered(5, 600), numbered(5, 2)], 2);
}

#[test]
fn all_times_there_are_can_be_told_at_a_glance() {
    let column = Column { series: u32::MAX - 1, present: vec![true; 2], values: vec![0.5, 1.0] };
    let all = Table { timestamps: vec![i64::MIN, i64::MAX], columns: vec![column] };
    let chunks = check(&[all], 1);
    let series = u32::MAX - 1..=u32::MAX - 1;
    let glance = Glance { series, times: i64::MIN..=i64::MAX };
    assert_eq!(Chunk::glance(&chunks[0]), Ok(glance));
}

#[test]
fn a_chunk_of_version_1_is_read() {
    let table = table(40, 6);
    let encoded = check(std::slice::from_ref(&table), 1).remove(0);
    let mut reader = Reader(&encoded);
    Glance::read(&mut reader).unwrap();
    let header = reader.bytes().unwrap();
    assert_eq!(reader.byte(), Ok(1), "the count of sections");
    let mut old = vec![OLDEST_VERSION];
    crate::binary::put_bytes(&mut old, header);
    old.extend_from_slice(reader.0);

    let (old_chunk, chunk) = (Chunk::open(&old).unwrap(), Chunk::open(&encoded).unwrap());
    assert!(old_chunk.series().eq(chunk.series()));
    for column in &table.columns {
        let samples = old_chunk.samples(column.series).unwrap();
        assert_eq!(samples, chunk.samples(column.series).unwrap());
    }
    let glance = Chunk::glance(&old).unwrap();
    assert_eq!(glance, Glance { series: 0..=u32::MAX, times: i64::MIN..=i64::MAX });
}

#[test]
fn damaged_chunks_are_refused_without_panic() {
    let encoded = encode(&[table(40, 6)], Effort::Thorough).unwrap().remove(0);
    let glance = Chunk::glance(&encoded).unwrap();
    for at in 0..encoded.len() {
        for flip in [1, 0x10, 0x80, 0xff] {
            let mut bytes = encoded.clone();
            bytes[at] ^= flip;
            // What would be passed over for its first bytes alone must not be taken for another.
            if let Ok(damaged) = Chunk::glance(&bytes) {
                assert!(damaged == glance || damaged.series == (0..=u32::MAX));
            }
            if let Ok(chunk) = Chunk::open(&bytes) {
                for series in chunk.series() {
                    let _ = chunk.samples(series);
                }
            }
        }
        let _ = Chunk::open(&encoded[..at]);
    }
}
