//! Marks: which spans of which hosts have chunks that are to be packed again, and how many bytes
//! chunks take.

use upkeep_model::HostId;

use crate::binary::{Malformed, Reader, checked, put_signed, with_checksum};

/// The database's page; a value that does not fit into one gets a power of two of them.
const PAGE_BYTES: u64 = 4096;

/// What the database keeps beside a value: key, offsets, the head of its page.
const BESIDE_BYTES: u64 = 64;

/// A span of a host; they sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkKey {
    pub(crate) span: i64,
    pub(crate) host: HostId,
}

impl MarkKey {
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let span = (self.span as u64) ^ (1 << 63);
        let mut bytes = [0; 24];
        let parts = span.to_be_bytes().into_iter().chain(self.host.0.as_bytes().iter().copied());
        for (slot, byte) in bytes.iter_mut().zip(parts) {
            *slot = byte;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 24]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let span = (u64::from_be_bytes(reader.array()?) ^ (1 << 63)) as i64;
        Ok(Self { span, host: reader.host()? })
    }
}

/// A mark that was set at a time.
pub(crate) fn mark_record(key: &[u8; 24], marked_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_signed(&mut out, marked_ms);
    with_checksum(key, out)
}

/// When a mark was set, in milliseconds since 1970.
pub(crate) fn mark_from(key: &[u8; 24], bytes: &[u8]) -> Result<i64, Malformed> {
    Reader(checked(key, bytes)?).signed()
}

/// What a chunk takes in the database's file.
pub(crate) fn stored_bytes(value: &[u8]) -> u64 {
    let bytes = value.len() as u64 + BESIDE_BYTES;
    if bytes <= PAGE_BYTES / 2 {
        bytes
    } else {
        bytes.div_ceil(PAGE_BYTES).next_power_of_two() * PAGE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn marks_sort_by_time_and_come_back() {
        let key = |span, host| MarkKey { span, host: HostId(Uuid::from_u128(host)) };
        let keys = [key(i64::MIN, 9), key(-5, 3), key(0, 1), key(0, 2), key(i64::MAX, 0)];
        assert!(keys.map(MarkKey::to_bytes).is_sorted());
        for mark in keys {
            let bytes = mark.to_bytes();
            assert_eq!(MarkKey::from_bytes(&bytes), Ok(mark));
            assert_eq!(mark_from(&bytes, &mark_record(&bytes, -7)), Ok(-7));
        }
        let other = key(1, 1).to_bytes();
        let record = mark_record(&keys[0].to_bytes(), 3);
        assert_eq!(mark_from(&other, &record), Err(Malformed::Checksum));
    }

    #[test]
    fn what_does_not_fit_takes_a_power_of_two_of_pages() {
        let check = |length: usize, expect| assert_eq!(stored_bytes(&vec![0; length]), expect);
        check(100, 164);
        check(3000, 4096);
        check(4032, 4096);
        check(4033, 8192);
        check(9000, 16384);
    }
}
