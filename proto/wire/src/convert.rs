//! Between the protocol's types and the domain's.

use prost::Message;
use thiserror::Error;
use upkeep_model::{
    Epoch, Event, EventKind, Gap, HostId, Labels, Lane, Life, METRIC_NAME, MetricKind, Ranges,
    Series,
};

use crate::v1;

/// Why a message of the protocol is not one of the domain.
#[derive(Debug, Error)]
pub enum WireError {
    /// The bytes are not protobuf of the expected type.
    #[error("the event cannot be decoded: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A JSON part is not what its field says.
    #[error("field {field} cannot be decoded: {source}")]
    Json {
        /// The field.
        field: &'static str,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A field that must be there is missing or has a value this version does not know.
    #[error("field {0} is missing or not known to this version")]
    Field(&'static str),
}

/// An event as the body of a record.
///
/// # Errors
/// When a part cannot be serialized.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, WireError> {
    let kind = match &event.kind {
        EventKind::Facts(facts) => v1::event::Kind::Facts(json("facts", facts.as_ref())?),
        EventKind::Updates(report) => v1::event::Kind::Updates(json("updates", report)?),
        EventKind::Change(change) => v1::event::Kind::Change(json("change", change)?),
        EventKind::Packages(packages) => v1::event::Kind::Packages(json("packages", packages)?),
        EventKind::Processes(report) => v1::event::Kind::Processes(json("processes", report)?),
        EventKind::Gap(gap) => v1::event::Kind::Gap(gap.into()),
    };
    Ok(v1::Event { at_ms: event.at_ms, kind: Some(kind) }.encode_to_vec())
}

/// The event in the body of a record.
///
/// # Errors
/// When the bytes are not an event, or one of a kind that this version does not know.
pub fn decode_event(body: &[u8]) -> Result<Event, WireError> {
    let event = v1::Event::decode(body)?;
    let kind = match event.kind.ok_or(WireError::Field("kind"))? {
        v1::event::Kind::Facts(text) => EventKind::Facts(Box::new(parse("facts", &text)?)),
        v1::event::Kind::Updates(text) => EventKind::Updates(parse("updates", &text)?),
        v1::event::Kind::Change(text) => EventKind::Change(parse("change", &text)?),
        v1::event::Kind::Packages(text) => EventKind::Packages(parse("packages", &text)?),
        v1::event::Kind::Processes(text) => EventKind::Processes(parse("processes", &text)?),
        v1::event::Kind::Gap(gap) => EventKind::Gap(Gap::try_from(gap)?),
    };
    Ok(Event { at_ms: event.at_ms, kind })
}

fn json<T: serde::Serialize>(field: &'static str, part: &T) -> Result<String, WireError> {
    serde_json::to_string(part).map_err(|source| WireError::Json { field, source })
}

fn parse<T: serde::de::DeserializeOwned>(field: &'static str, text: &str) -> Result<T, WireError> {
    serde_json::from_str(text).map_err(|source| WireError::Json { field, source })
}

impl From<Lane> for v1::Lane {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Samples => Self::Samples,
            Lane::Events => Self::Events,
        }
    }
}

impl TryFrom<v1::Lane> for Lane {
    type Error = WireError;

    fn try_from(lane: v1::Lane) -> Result<Self, WireError> {
        match lane {
            v1::Lane::Samples => Ok(Self::Samples),
            v1::Lane::Events => Ok(Self::Events),
            v1::Lane::Unspecified => Err(WireError::Field("lane")),
        }
    }
}

/// What is committed of a lane, as the collector tells it.
pub fn lane_mark(lane: Lane, committed: &Ranges) -> v1::LaneMark {
    let prefix = committed.prefix();
    let behind = committed.iter().filter(|range| *range.start() > prefix);
    let range = |range: std::ops::RangeInclusive<u64>| v1::Range {
        first: *range.start(),
        last: *range.end(),
    };
    v1::LaneMark {
        lane: v1::Lane::from(lane).into(),
        committed: prefix,
        ranges: behind.map(range).collect(),
    }
}

impl From<&v1::LaneMark> for Ranges {
    fn from(mark: &v1::LaneMark) -> Self {
        let mut committed = Self::through(mark.committed);
        mark.ranges.iter().for_each(|range| committed.insert(range.first..=range.last));
        committed
    }
}

impl From<&Gap> for v1::Gap {
    fn from(gap: &Gap) -> Self {
        Self {
            lane: v1::Lane::from(gap.lane).into(),
            first: gap.first,
            last: gap.last,
            from_ms: gap.from_ms,
            to_ms: gap.to_ms,
            reason: gap.reason.clone(),
        }
    }
}

impl TryFrom<v1::Gap> for Gap {
    type Error = WireError;

    fn try_from(gap: v1::Gap) -> Result<Self, WireError> {
        Ok(Self {
            lane: gap.lane().try_into()?,
            first: gap.first,
            last: gap.last,
            from_ms: gap.from_ms,
            to_ms: gap.to_ms,
            reason: gap.reason,
        })
    }
}

impl From<&Series> for v1::Series {
    fn from(series: &Series) -> Self {
        let label =
            |(name, value): (&str, &str)| v1::Label { name: name.into(), value: value.into() };
        let kind = match series.kind {
            MetricKind::Counter => v1::MetricKind::Counter,
            MetricKind::Gauge => v1::MetricKind::Gauge,
            MetricKind::Untyped => v1::MetricKind::Untyped,
        };
        Self {
            name: series.labels.metric_name().unwrap_or_default().to_owned(),
            labels: series
                .labels
                .iter()
                .filter(|(name, _)| *name != METRIC_NAME)
                .map(label)
                .collect(),
            kind: kind.into(),
            help: series.help.clone(),
        }
    }
}

impl From<v1::Series> for Series {
    fn from(series: v1::Series) -> Self {
        // A kind of a newer agent is one that this collector cannot tell.
        let kind = match v1::MetricKind::try_from(series.kind) {
            Ok(v1::MetricKind::Counter) => MetricKind::Counter,
            Ok(v1::MetricKind::Gauge) => MetricKind::Gauge,
            Ok(v1::MetricKind::Untyped) | Err(_) => MetricKind::Untyped,
        };
        let labels = series.labels.into_iter().map(|label| (label.name, label.value));
        let labels = Labels::new(labels).with(METRIC_NAME, series.name);
        Self { labels, kind, help: series.help }
    }
}

impl TryFrom<&v1::Open> for Epoch {
    type Error = WireError;

    fn try_from(open: &v1::Open) -> Result<Self, WireError> {
        let bytes = <[u8; 16]>::try_from(open.epoch.as_ref());
        bytes.map(Epoch).map_err(|_| WireError::Field("epoch"))
    }
}

impl v1::Open {
    /// The life of the buffer, if the agent knows lives.
    ///
    /// # Errors
    /// When it is not of the length that a life has.
    pub fn told_life(&self) -> Result<Option<Life>, WireError> {
        if self.life.is_empty() {
            return Ok(None);
        }
        let bytes = <[u8; 16]>::try_from(self.life.as_ref());
        bytes.map(|bytes| Some(Life(bytes))).map_err(|_| WireError::Field("life"))
    }
}

impl TryFrom<&v1::EnrollReply> for HostId {
    type Error = WireError;

    fn try_from(reply: &v1::EnrollReply) -> Result<Self, WireError> {
        let uuid = uuid::Uuid::from_slice(&reply.host_id);
        uuid.map(HostId).map_err(|_| WireError::Field("host_id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep_model::HostFacts;

    #[test]
    fn events_come_back_as_they_went() {
        let gap = Gap {
            lane: Lane::Samples,
            first: 3,
            last: 9,
            from_ms: Some(-5),
            to_ms: None,
            reason: "the disk was full".into(),
        };
        let facts = HostFacts { hostname: "web1".into(), ..HostFacts::default() };
        for kind in [EventKind::Gap(gap), EventKind::Facts(Box::new(facts))] {
            let event = Event { at_ms: 1_700_000_000_123, kind };
            assert_eq!(decode_event(&encode_event(&event).unwrap()).unwrap(), event);
        }
    }

    #[test]
    fn what_is_committed_comes_back_as_it_went() {
        let check = |ranges: &[std::ops::RangeInclusive<u64>], expect: (u64, usize)| {
            let committed: Ranges = ranges.iter().cloned().collect();
            let mark = lane_mark(Lane::Samples, &committed);
            assert_eq!((mark.committed, mark.ranges.len()), expect, "{ranges:?}");
            assert_eq!(Ranges::from(&mark), committed);
        };
        check(&[], (0, 0));
        check(&[1..=9], (9, 0));
        check(&[1..=9, 20..=30, 40..=40], (9, 2));
        check(&[2..=9], (0, 1));
    }

    #[test]
    fn an_event_of_an_unknown_kind_is_refused() {
        assert!(matches!(decode_event(&[8, 1]), Err(WireError::Field("kind"))));
        assert!(matches!(decode_event(&[0xff]), Err(WireError::Protobuf(_))));
    }

    #[test]
    fn series_come_back_as_they_went() {
        let series = Series::new(MetricKind::Counter, "x_total", "An x.", &[("cpu", "0")]);
        assert_eq!(Series::from(v1::Series::from(&series)), series);
    }
}
