//! `prometheus.WriteRequest` as bytes.
//!
//! | message | fields |
//! |---|---|
//! | `WriteRequest` | 1: `TimeSeries`, any number; 3: metadata |
//! | `TimeSeries` | 1: `Label`, any number; 2: `Sample`, any number; 3: exemplars; 4: native histograms |
//! | `Label` | 1: name; 2: value |
//! | `Sample` | 1: value, a double; 2: milliseconds since 1970 |
//! | metadata | 1: kind, a number; 2: name of the metric; 4: help; 5: unit |
//!
//! A message is walked, and not made into one: of a series that is known nothing but the bytes of its
//! labels and its samples is needed.

use std::borrow::Cow;
use std::ops::Range;

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use thiserror::Error;
use upkeep_model::Labels;

/// Why bytes are not the message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageFault {
    /// They are no protobuf message, or one whose fields have other types.
    #[error("the message is no prometheus.WriteRequest: {0}")]
    Malformed(String),
}

impl MessageFault {
    fn of(what: &str) -> Self {
        Self::Malformed(what.to_owned())
    }
}

impl From<prost::DecodeError> for MessageFault {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A sample: milliseconds since 1970, value.
pub(super) type Sample = (i64, f64);

/// A message that was walked.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) series: Vec<RawSeries<'a>>,
    /// The samples of all series, in their order.
    pub(super) samples: Vec<Sample>,
    /// What metrics are.
    pub(super) metadata: Vec<RawMetadata<'a>>,
}

/// What a metric is, as it stands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RawMetadata<'a> {
    pub(super) kind: u64,
    pub(super) name: &'a [u8],
    pub(super) help: &'a [u8],
    pub(super) unit: &'a [u8],
}

/// A series of a message.
#[derive(Debug)]
pub(super) struct RawSeries<'a> {
    /// The fields of its labels, one after another as they stand.
    pub(super) labels: Cow<'a, [u8]>,
    /// Its samples among those of the request.
    pub(super) samples: Range<usize>,
    /// How many native histograms it has.
    pub(super) histograms: usize,
}

/// Walks a message.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Request<'_>, MessageFault> {
    let mut request = Request::default();
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Content::Bytes(series)) => {
                let series = parse_series(series, &mut request.samples)?;
                request.series.push(series);
            }
            (3, Content::Bytes(metadata)) => request.metadata.push(parse_metadata(metadata)?),
            (1 | 3, _) => {
                return Err(MessageFault::of("a series or its metadata has a wrong type"));
            }
            _ => {}
        }
    }
    Ok(request)
}

fn parse_metadata(mut bytes: &[u8]) -> Result<RawMetadata<'_>, MessageFault> {
    let mut metadata = RawMetadata::default();
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Content::Number(kind)) => metadata.kind = kind,
            (2, Content::Bytes(name)) => metadata.name = name,
            (4, Content::Bytes(help)) => metadata.help = help,
            (5, Content::Bytes(unit)) => metadata.unit = unit,
            (1 | 2 | 4 | 5, _) => {
                return Err(MessageFault::of("a field of metadata has a wrong type"));
            }
            _ => {}
        }
    }
    Ok(metadata)
}

fn parse_series<'a>(
    bytes: &'a [u8],
    samples: &mut Vec<Sample>,
) -> Result<RawSeries<'a>, MessageFault> {
    let mut labels: Cow<'a, [u8]> = Cow::Borrowed(&[]);
    // Where the labels end that stand together.
    let mut end = None;
    let (first, mut histograms) = (samples.len(), 0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let (tag, content) = field(&mut rest)?;
        let now = bytes.len() - rest.len();
        match (tag, content) {
            (1, Content::Bytes(_)) => {
                let before = end.replace(now);
                match &mut labels {
                    Cow::Borrowed(_) if before.is_none() => {
                        labels = Cow::Borrowed(part(bytes, at..now));
                    }
                    Cow::Borrowed(so_far) if before == Some(at) => {
                        labels = Cow::Borrowed(part(bytes, at - so_far.len()..now));
                    }
                    apart => apart.to_mut().extend_from_slice(part(bytes, at..now)),
                }
            }
            (2, Content::Bytes(sample)) => samples.push(parse_sample(sample)?),
            (1 | 2, _) => return Err(MessageFault::of("a label or sample has a wrong type")),
            (4, _) => histograms += 1,
            _ => {}
        }
    }
    Ok(RawSeries { labels, samples: first..samples.len(), histograms })
}

fn part(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}

fn parse_sample(mut bytes: &[u8]) -> Result<Sample, MessageFault> {
    let (mut at_ms, mut value) = (0, 0.0);
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Content::Fixed(bits)) => value = f64::from_bits(bits),
            (2, Content::Number(number)) => at_ms = number as i64,
            (1 | 2, _) => return Err(MessageFault::of("a sample's field has a wrong type")),
            _ => {}
        }
    }
    Ok((at_ms, value))
}

/// A label's name and value, as they stand.
pub(super) type RawLabel<'a> = (&'a [u8], &'a [u8]);

/// Names and values in the fields of labels, as they stand.
pub(super) fn parse_labels(mut bytes: &[u8]) -> Result<Vec<RawLabel<'_>>, MessageFault> {
    let mut labels = Vec::new();
    while !bytes.is_empty() {
        let (_, Content::Bytes(mut label)) = field(&mut bytes)? else {
            return Err(MessageFault::of("a label has a wrong type"));
        };
        let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
        while !label.is_empty() {
            match field(&mut label)? {
                (1, Content::Bytes(text)) => name = text,
                (2, Content::Bytes(text)) => value = text,
                (1 | 2, _) => return Err(MessageFault::of("a label's text has a wrong type")),
                _ => {}
            }
        }
        labels.push((name, value));
    }
    Ok(labels)
}

/// What a field holds.
enum Content<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    /// What no field of the message is.
    Other,
}

/// Takes a field off the front.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Content<'a>), MessageFault> {
    let (tag, wire_type) = decode_key(bytes)?;
    let content = match wire_type {
        WireType::Varint => Content::Number(decode_varint(bytes)?),
        WireType::SixtyFourBit => {
            let (fixed, rest) = bytes
                .split_first_chunk::<8>()
                .ok_or_else(|| MessageFault::of("a number ends too early"))?;
            *bytes = rest;
            Content::Fixed(u64::from_le_bytes(*fixed))
        }
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
            let (content, rest) = bytes
                .split_at_checked(length)
                .ok_or_else(|| MessageFault::of("a field ends too early"))?;
            *bytes = rest;
            Content::Bytes(content)
        }
        other => {
            skip_field(other, tag, bytes, DecodeContext::default())?;
            Content::Other
        }
    };
    Ok((tag, content))
}

/// Writes a series with its samples as a field of a message.
pub(super) fn put_series(out: &mut Vec<u8>, labels: &Labels, samples: &[Sample]) {
    let mut series = Vec::new();
    for (name, value) in labels.iter() {
        let mut label = Vec::with_capacity(name.len() + value.len() + 6);
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut series, 1, &label);
    }
    for &(at_ms, value) in samples {
        let mut sample = Vec::with_capacity(20);
        encode_key(1, WireType::SixtyFourBit, &mut sample);
        sample.extend_from_slice(&value.to_bits().to_le_bytes());
        encode_key(2, WireType::Varint, &mut sample);
        encode_varint(at_ms as u64, &mut sample);
        put_bytes(&mut series, 2, &sample);
    }
    put_bytes(out, 1, &series);
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field that the message has, made by a derived encoder.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Whole {
        #[prost(message, repeated, tag = "1")]
        series: Vec<WholeSeries>,
        #[prost(message, repeated, tag = "3")]
        metadata: Vec<WholeMetadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct WholeMetadata {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(string, tag = "4")]
        help: String,
        #[prost(string, tag = "5")]
        unit: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct WholeSeries {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<WholeLabel>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<WholeSample>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        exemplars: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "4")]
        histograms: Vec<Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct WholeLabel {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct WholeSample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        at_ms: i64,
    }

    fn whole() -> Whole {
        let label = |name: &str, value: &str| WholeLabel { name: name.into(), value: value.into() };
        let sample = |at_ms, value| WholeSample { at_ms, value };
        let series = vec![
            WholeSeries {
                labels: vec![label("__name__", "up"), label("job", "größe")],
                samples: vec![sample(5, 1.5), sample(-7, f64::INFINITY), sample(0, 0.0)],
                exemplars: vec![vec![1, 2]],
                histograms: vec![vec![], vec![8, 1]],
            },
            WholeSeries { labels: vec![label("a", "")], ..WholeSeries::default() },
        ];
        let [name, help, unit] = ["up", "Größe.", "bytes"].map(str::to_owned);
        Whole { series, metadata: vec![WholeMetadata { kind: 2, name, help, unit }] }
    }

    #[test]
    fn a_message_is_walked_as_a_derived_decoder_reads_it() {
        let bytes = prost::Message::encode_to_vec(&whole());
        let request = parse(&bytes).unwrap();
        assert_eq!(request.samples, [(5, 1.5), (-7, f64::INFINITY), (0, 0.0)]);
        let [first, second] = request.series.as_slice() else { panic!("{request:?}") };
        assert_eq!((first.samples.clone(), first.histograms), (0..3, 2));
        let labels = parse_labels(&first.labels).unwrap();
        let expect = [("__name__", "up"), ("job", "größe")];
        assert_eq!(labels, expect.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        assert_eq!((second.samples.len(), second.histograms), (0, 0));
        assert_eq!(parse_labels(&second.labels).unwrap(), [(&b"a"[..], &b""[..])]);
        let [name, help, unit] = ["up", "Größe.", "bytes"].map(str::as_bytes);
        assert_eq!(request.metadata, [RawMetadata { kind: 2, name, help, unit }]);
    }

    #[test]
    fn labels_that_stand_apart_are_brought_together() {
        let field = |tag, bytes: &[u8]| {
            let mut out = Vec::new();
            put_bytes(&mut out, tag, bytes);
            out
        };
        let label = |name: &str| field(1, &[field(1, name.as_bytes()), field(2, b"v")].concat());
        let sample = field(2, &[]);
        let apart =
            [label("a"), sample.clone(), label("b"), label("c"), sample, label("d")].concat();
        let bytes = field(1, &apart);
        let request = parse(&bytes).unwrap();
        let together = [label("a"), label("b"), label("c"), label("d")].concat();
        assert_eq!(request.series.first().unwrap().labels.as_ref(), together);
        assert_eq!(request.samples, [(0, 0.0), (0, 0.0)]);
    }

    #[test]
    fn what_is_written_is_read_by_a_derived_decoder() {
        let labels = Labels::new([("__name__", "up"), ("job", "größe")]);
        let mut bytes = Vec::new();
        put_series(&mut bytes, &labels, &[(5, 1.5), (-7, f64::INFINITY), (0, 0.0)]);
        let read = <Whole as prost::Message>::decode(bytes.as_slice()).unwrap();
        let mut expect = whole();
        expect.series.truncate(1);
        for series in &mut expect.series {
            (series.exemplars, series.histograms) = (Vec::new(), Vec::new());
        }
        assert_eq!(read.series, expect.series);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let check = |bytes: &[u8], expect: bool| {
            assert_eq!(parse(bytes).is_ok(), expect, "{bytes:?}");
        };
        check(b"", true);
        check(b"\x0a", false);
        check(b"\x0a\x05ab", false);
        check(b"\x08\x01", false);
        check(b"\x18\x01", false);
        check(b"\x1a\x02\x10\x01", false);
        check(b"\x1a\x02\x18\x01", true);
        check(b"\x0a\x02\x10\x01", false);
        check(b"\x0a\x04\x12\x02\x08\x01", false);
        check(b"\x0a\x05\x12\x03\x09ab", false);
        check(b"\x38\x01", true);
        check(b"\x0f", false);
        check(&[0xff; 12], false);
    }
}
