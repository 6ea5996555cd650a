//! The bytes that the store's disk formats are made of.
//!
//! Integers are varints (seven bits a byte, least significant group first), signed ones in zigzag;
//! texts are their length and UTF-8; a label set is its count and pairs of texts. Whatever stands
//! in the database under a key ends with the CRC-32 of key and value (little endian), so that
//! neither a damaged value nor one under a wrong key is taken for good.

use thiserror::Error;
use upkeep_model::{Epoch, HostId, Labels, StreamKey};
use uuid::Uuid;

/// Why bytes from disk are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("the bytes end too early")]
    Truncated,
    #[error("a number has too many bytes")]
    Overlong,
    #[error("a text is not UTF-8")]
    Text,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("{0} is not what this version knows")]
    Unknown(&'static str),
    #[error("the column cannot be unpacked")]
    Column,
    #[error("the text cannot be unpacked")]
    Packed,
}

pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_unsigned(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

/// A stream as the 32 bytes of its host and epoch.
pub(crate) fn stream_bytes(stream: StreamKey) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (host, epoch) = bytes.split_at_mut(16);
    host.copy_from_slice(stream.host.0.as_bytes());
    epoch.copy_from_slice(&stream.epoch.0);
    bytes
}

/// The value with its checksum, to be kept under the key.
pub(crate) fn with_checksum(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(key, &value);
    value.extend_from_slice(&checksum.to_le_bytes());
    value
}

/// The value kept under the key, without its checksum.
pub(crate) fn checked<'a>(key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (value, sum) = bytes.split_last_chunk::<4>().ok_or(Malformed::Truncated)?;
    let is_good = checksum(key, value) == u32::from_le_bytes(*sum);
    is_good.then_some(value).ok_or(Malformed::Checksum)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Overlong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Overlong)
    }

    pub(crate) fn unsigned32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.unsigned()?).map_err(|_| Malformed::Overlong)
    }

    /// A count of things that take a byte each at least, so that a damaged count cannot make us
    /// allocate more than the bytes at hand.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.unsigned()?).map_err(|_| Malformed::Overlong)?;
        if count > self.0.len() { Err(Malformed::Truncated) } else { Ok(count) }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn float(&mut self) -> Result<f64, Malformed> {
        self.array().map(f64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text)
    }

    pub(crate) fn labels(&mut self) -> Result<Labels, Malformed> {
        let count = self.count()?;
        let mut labels = Labels::default();
        for _ in 0..count {
            let name = self.text()?;
            labels.set(name, self.text()?);
        }
        Ok(labels)
    }

    pub(crate) fn host(&mut self) -> Result<HostId, Malformed> {
        self.array().map(|bytes| HostId(Uuid::from_bytes(bytes)))
    }

    pub(crate) fn stream(&mut self) -> Result<StreamKey, Malformed> {
        Ok(StreamKey { host: self.host()?, epoch: Epoch(self.array()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN, 1_700_000_000_000] {
            let mut out = Vec::new();
            put_signed(&mut out, value);
            put_unsigned(&mut out, value as u64);
            let mut reader = Reader(&out);
            assert_eq!((reader.signed(), reader.unsigned()), (Ok(value), Ok(value as u64)));
            assert!(reader.0.is_empty());
        }
        assert_eq!(Reader(&[0xff; 12]).unsigned(), Err(Malformed::Overlong));
        assert_eq!(Reader(&[0xff; 3]).unsigned(), Err(Malformed::Truncated));
    }

    #[test]
    fn a_value_is_good_only_under_its_own_key() {
        let stored = with_checksum(b"key", b"value".to_vec());
        assert_eq!(checked(b"key", &stored), Ok(&b"value"[..]));
        assert_eq!(checked(b"kez", &stored), Err(Malformed::Checksum));
        let mut flipped = stored;
        flipped[2] ^= 4;
        assert_eq!(checked(b"key", &flipped), Err(Malformed::Checksum));
    }
}
