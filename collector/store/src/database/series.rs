//! Series as blocks: labels repeat each other so much that many of them together take few bytes.

use std::collections::BTreeSet;
use std::ops::Range;

use redb::WriteTransaction;
use upkeep_model::{HostId, Labels};

use crate::binary::{
    Malformed, Reader, checked, put_labels, put_signed, put_unsigned, with_checksum,
};
use crate::index::{SealedDays, SeriesRef};

use super::{BLOCKS, Failure};

/// So many numbers share a block. More pack better; fewer cost less when one of them changes or
/// the block is damaged.
const BLOCK_NUMBERS: SeriesRef = 512;

/// Zstandard's level: blocks are written once a day, and are read at every start.
const LEVEL: i32 = 9;

/// A series as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeriesRow {
    pub(crate) number: SeriesRef,
    pub(crate) home: HostId,
    pub(crate) days: SealedDays,
    pub(crate) labels: Labels,
}

/// The block that a series is in.
pub(crate) fn block_of(number: SeriesRef) -> u32 {
    number / BLOCK_NUMBERS
}

/// The numbers of a block.
pub(crate) fn numbers_of(block: u32) -> Range<SeriesRef> {
    let first = block.saturating_mul(BLOCK_NUMBERS);
    first..first.saturating_add(BLOCK_NUMBERS)
}

/// Writes blocks anew, each with the series given for it; one without any is removed.
pub(crate) fn write_blocks(
    transaction: &WriteTransaction,
    blocks: impl IntoIterator<Item = (u32, Vec<SeriesRow>)>,
) -> Result<(), Failure> {
    let mut table = transaction.open_table(BLOCKS)?;
    for (block, series) in blocks {
        if series.is_empty() {
            table.remove(block)?;
        } else {
            table.insert(block, block_record(block, &series)?.as_slice())?;
        }
    }
    Ok(())
}

fn block_record(block: u32, series: &[SeriesRow]) -> Result<Vec<u8>, Failure> {
    let homes: BTreeSet<HostId> = series.iter().map(|row| row.home).collect();
    let homes: Vec<HostId> = homes.into_iter().collect();
    let mut text = Vec::new();
    put_unsigned(&mut text, homes.len() as u64);
    homes.iter().for_each(|home| text.extend_from_slice(home.0.as_bytes()));
    put_unsigned(&mut text, series.len() as u64);
    // Each field by itself, since its values repeat each other.
    let mut next = numbers_of(block).start;
    for row in series {
        put_unsigned(&mut text, u64::from(row.number.saturating_sub(next)));
        next = row.number.saturating_add(1);
    }
    for row in series {
        let home = homes.binary_search(&row.home).unwrap_or_default();
        put_unsigned(&mut text, home as u64);
    }
    for row in series {
        text.push(u8::from(row.days.is_some()));
        let (first, last) = row.days.unwrap_or_default();
        put_signed(&mut text, i64::from(first));
        put_signed(&mut text, i64::from(last));
    }
    series.iter().for_each(|row| put_labels(&mut text, &row.labels));
    let packed = zstd::bulk::compress(&text, LEVEL).map_err(Failure::Io)?;
    Ok(with_checksum(&block.to_be_bytes(), packed))
}

/// The series in a block.
pub(crate) fn block_from(block: u32, bytes: &[u8]) -> Result<Vec<SeriesRow>, Malformed> {
    let packed = checked(&block.to_be_bytes(), bytes)?;
    let text = zstd::stream::decode_all(packed).map_err(|_| Malformed::Packed)?;
    let mut reader = Reader(&text);
    let count = reader.count()?;
    let homes: Vec<HostId> = (0..count).map(|_| reader.host()).collect::<Result<_, _>>()?;
    let count = reader.count()?;
    let mut next = numbers_of(block).start;
    let numbers = (0..count).map(|_| {
        let number = next.checked_add(reader.unsigned32()?).ok_or(Malformed::Overlong)?;
        next = number.checked_add(1).ok_or(Malformed::Overlong)?;
        Ok(number)
    });
    let numbers: Vec<SeriesRef> = numbers.collect::<Result<_, Malformed>>()?;
    let homes_of = (0..count).map(|_| {
        let home = usize::try_from(reader.unsigned()?).map_err(|_| Malformed::Overlong)?;
        homes.get(home).copied().ok_or(Malformed::Truncated)
    });
    let homes: Vec<HostId> = homes_of.collect::<Result<_, _>>()?;
    let days: Vec<SealedDays> =
        (0..count).map(|_| read_days(&mut reader)).collect::<Result<_, _>>()?;
    let fields = numbers.into_iter().zip(homes).zip(days);
    let series = fields.map(|((number, home), days)| {
        Ok(SeriesRow { number, home, days, labels: reader.labels()? })
    });
    series.collect()
}

pub(super) fn read_days(reader: &mut Reader<'_>) -> Result<SealedDays, Malformed> {
    let is_sealed = reader.byte()? != 0;
    let mut day = || i32::try_from(reader.signed()?).map_err(|_| Malformed::Overlong);
    let days = (day()?, day()?);
    Ok(is_sealed.then_some(days))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_block_comes_back_under_its_own_number_only() {
        let row = |number: u32| SeriesRow {
            number,
            home: HostId(Uuid::from_u128(u128::from(number % 3))),
            days: (!number.is_multiple_of(5)).then_some((-1, 20_000)),
            labels: Labels::new([("__name__", "up"), ("n", number.to_string().as_str())]),
        };
        for block in [0, 7, block_of(SeriesRef::MAX - 1)] {
            let numbers = numbers_of(block);
            let series: Vec<_> = numbers.filter(|number| number % 4 != 1).map(row).collect();
            let bytes = block_record(block, &series).unwrap();
            assert!(series.iter().all(|row| block_of(row.number) == block));
            assert_eq!(block_from(block, &bytes), Ok(series));
            assert_eq!(block_from(block ^ 1, &bytes), Err(Malformed::Checksum));
        }
    }

    #[test]
    fn series_as_a_host_has_them_take_few_bytes() {
        let row = |number: u32| {
            let (host, metric) = (number / 300, number % 300);
            let name = format!("node_subsystem{}_metric{}_total", metric / 40, metric / 4);
            let pairs = [
                ("__name__", name.as_str()),
                ("device", &format!("device{}", metric % 4)),
                ("instance", &format!("host-{host:04}.example.com")),
                ("job", "node"),
            ];
            let home = HostId(Uuid::from_u128(u128::from(host)));
            SeriesRow { number, home, days: Some((20_000, 20_000)), labels: Labels::new(pairs) }
        };
        let series: Vec<_> = (0..BLOCK_NUMBERS).map(row).collect();
        let bytes = block_record(0, &series).unwrap();
        let each = bytes.len() / series.len();
        assert!(each <= 8, "{each} bytes a series");
    }
}
