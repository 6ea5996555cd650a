//! Series as bytes: the payload of the dictionary's entries.
//!
//! One series after another: one byte of kind (0 untyped, 1 counter, 2 gauge), the help text, the
//! count of labels (four bytes), and each label's name and value. A text is its length in bytes
//! (four, little endian) and its UTF-8.

use std::sync::Arc;

use upkeep_model::{Labels, MetricKind, Series};

/// Series as the payload of one entry.
pub(super) fn encode(series: &[Arc<Series>]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in series {
        out.push(match one.kind {
            MetricKind::Untyped => 0,
            MetricKind::Counter => 1,
            MetricKind::Gauge => 2,
        });
        put_text(&mut out, &one.help);
        put_count(&mut out, one.labels.len());
        for (name, value) in one.labels.iter() {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
    }
    out
}

/// The series of an entry; `None` where the bytes are not what [`encode`] makes.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Series>> {
    let mut series = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        bytes = rest;
        let kind = match kind {
            0 => MetricKind::Untyped,
            1 => MetricKind::Counter,
            2 => MetricKind::Gauge,
            _ => return None,
        };
        let help = take_text(&mut bytes)?;
        let mut labels = Labels::default();
        for _ in 0..take_count(&mut bytes)? {
            let name = take_text(&mut bytes)?;
            labels.set(name, take_text(&mut bytes)?);
        }
        series.push(Series { labels, kind, help });
    }
    Some(series)
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    usize::try_from(u32::from_le_bytes(*count)).ok()
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (text, rest) = take_count(bytes).and_then(|length| bytes.split_at_checked(length))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_come_back_as_they_went() {
        let series = [
            Series::new(MetricKind::Counter, "a_total", "Of a.", &[("cpu", "0"), ("mode", "ü")]),
            Series::new(MetricKind::Gauge, "b", "", &[]),
            Series::new(MetricKind::Untyped, "c", "Of c.", &[("path", "/")]),
        ];
        let bytes = encode(&series.clone().map(Arc::new));
        assert_eq!(decode(&bytes).unwrap(), series);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[9]), None);
    }
}
