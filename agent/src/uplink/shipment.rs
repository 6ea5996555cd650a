//! What is read from the buffer at once, and what is sent of it.

use std::sync::Arc;

use upkeep_model::{Epoch, Lane, Series};
use upkeep_wire::{MAX_BATCH_BYTES, v1};

use super::lane::{Credit, Part, Sent};
use crate::buffer::{Buffer, BufferError, LaneState, Portion, Record};

/// The bodies of a batch; the rest of its bound is for the records' own fields.
const MAX_BODIES_BYTES: usize = MAX_BATCH_BYTES - 16 * 1024;

/// No batch has more records, so that their own fields fit beside the bodies.
const MAX_BATCH_RECORDS: u64 = 512;

/// Consecutive pending records of a lane, with all that a reader needs to understand them.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) epoch: Epoch,
    /// Where the lane of events stood when this was read.
    pub(super) events: LaneState,
    /// Names the numbers of its series.
    pub(super) numbering: u64,
    /// The last record of the lane that is no longer pending.
    pub(super) settled: u64,
    /// Series that the collector was not told yet.
    pub(super) new_series: Vec<Arc<Series>>,
    /// The key frame that the first record leans on, where the collector was not told.
    pub(super) reference: Option<v1::Reference>,
    pub(super) records: Vec<Record>,
}

/// Which records are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub(super) part: Part,
    /// The record before them.
    pub(super) after: u64,
    /// The last one.
    pub(super) through: u64,
    pub(super) room: Credit,
}

/// What the collector was told on this connection that samples lean on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Names the numbers that the series had.
    pub(super) numbering: u64,
    /// So many series.
    pub(super) series: u32,
    /// The key frame that was sent last, as a record or as a reference, of whichever part: the collector
    /// holds few, and a backlog has many.
    key: Option<u64>,
}

impl Told {
    /// What still holds under a numbering: of another one, nothing was told.
    fn under(self, numbering: u64) -> Self {
        if self.numbering == numbering { self } else { Self { numbering, ..Self::default() } }
    }

    /// Takes it that no key frame arrived.
    pub(super) fn forget_key(&mut self) {
        self.key = None;
    }
}

/// Reads what comes next of a part.
pub(super) fn load(buffer: &mut Buffer, reach: Reach, told: Told) -> Result<Shipment, BufferError> {
    let told = told.under(buffer.numbering());
    let (lane, room) = (reach.part.lane(), reach.room);
    let portion = Portion {
        records: room.records.min(MAX_BATCH_RECORDS),
        bytes: room.bytes.min(MAX_BODIES_BYTES),
    };
    let mut records = buffer.pending(lane, reach.after, portion)?;
    records.retain(|record| record.sequence <= reach.through);
    let wanted = records.first().and_then(|record| record.key).filter(|key| told.key != Some(*key));
    let reference = match wanted {
        None => None,
        Some(sequence) => {
            buffer.key_frame(sequence)?.map(|frame| v1::Reference { sequence, frame: frame.into() })
        }
    };
    Ok(Shipment {
        epoch: buffer.epoch(),
        events: buffer.lane(Lane::Events),
        numbering: buffer.numbering(),
        settled: buffer.lane(lane).settled(),
        new_series: if records.is_empty() || lane == Lane::Events {
            Vec::new()
        } else {
            buffer.series_since(told.series).to_vec()
        },
        reference,
        records,
    })
}

impl Shipment {
    /// What it is as a batch on its way, if it has any records.
    pub(super) fn as_sent(&self) -> Option<Sent> {
        let (first, last) = (self.records.first()?, self.records.last()?);
        let bytes = self.records.iter().map(|record| record.body.len()).sum();
        Some(Sent { first: first.sequence, last: last.sequence, bytes })
    }

    /// The messages that carry it, in the order in which they must be sent.
    pub(super) fn into_messages(self, lane: Lane, told: &mut Told) -> Vec<v1::AgentMessage> {
        *told = told.under(self.numbering);
        let mut messages = describe(&self.new_series, told.series);
        told.series += u32::try_from(self.new_series.len()).unwrap_or(u32::MAX);
        messages.extend(self.reference.map(v1::agent_message::Message::Reference));
        if lane == Lane::Samples {
            told.key = self.records.last().map(|last| last.key.unwrap_or(last.sequence));
        }
        let record =
            |record: Record| v1::Record { sequence: record.sequence, body: record.body.into() };
        messages.push(v1::agent_message::Message::Batch(v1::Batch {
            lane: v1::Lane::from(lane).into(),
            records: self.records.into_iter().map(record).collect(),
        }));
        let wrap = |message| v1::AgentMessage { message: Some(message) };
        messages.into_iter().map(wrap).collect()
    }
}

/// A message that describes series has about so many bytes at most. Both ends keep the room for the
/// longest message they had on a connection, and most of a host's messages are short.
const DESCRIBED_BYTES: usize = 8 * 1024;

/// The series as messages.
fn describe(series: &[Arc<Series>], first: u32) -> Vec<v1::agent_message::Message> {
    let mut messages = Vec::new();
    let mut bytes = usize::MAX;
    for (one, number) in series.iter().zip(first..) {
        let length = one.help.len()
            + one.labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
        bytes = bytes.saturating_add(length);
        if bytes > DESCRIBED_BYTES {
            messages.push(v1::Describe { first_number: number, series: Vec::new() });
            bytes = length;
        }
        if let Some(describe) = messages.last_mut() {
            describe.series.push((&**one).into());
        }
    }
    messages.into_iter().map(v1::agent_message::Message::Describe).collect()
}

#[cfg(test)]
mod tests {
    use upkeep_model::MetricKind;
    use v1::agent_message::Message;

    use super::*;

    fn record(sequence: u64, key: Option<u64>) -> Record {
        Record { sequence, at_ms: 0, key, body: vec![1] }
    }

    fn shipment(new_series: Vec<Arc<Series>>, records: Vec<Record>) -> Shipment {
        let reference = Some(v1::Reference { sequence: 7, frame: vec![9].into() });
        let events = LaneState::default();
        Shipment {
            epoch: Epoch([0; 16]),
            events,
            numbering: 1,
            settled: 0,
            new_series,
            reference,
            records,
        }
    }

    #[test]
    fn series_and_key_frames_come_before_the_records_that_need_them() {
        let one = Arc::new(Series::new(MetricKind::Gauge, "a", "", &[]));
        let series = vec![one; 3];
        let mut told = Told { numbering: 1, series: 4, ..Told::default() };
        let records = vec![record(9, Some(7)), record(10, None), record(11, Some(10))];
        let messages = shipment(series, records).into_messages(Lane::Samples, &mut told);
        let [describe, reference, batch] = messages.as_slice() else { panic!("{messages:?}") };
        assert!(
            matches!(&describe.message, Some(Message::Describe(d)) if d.first_number == 4 && d.series.len() == 3)
        );
        assert!(matches!(&reference.message, Some(Message::Reference(r)) if r.sequence == 7));
        assert!(matches!(&batch.message, Some(Message::Batch(b)) if b.records.len() == 3));
        assert_eq!((told.series, told.key), (7, Some(10)));
    }

    #[test]
    fn under_other_numbers_everything_is_told_again() {
        let mut told = Told { numbering: 9, series: 4, key: Some(3) };
        let one = Arc::new(Series::new(MetricKind::Gauge, "a", "", &[]));
        let messages =
            shipment(vec![one], vec![record(8, Some(7))]).into_messages(Lane::Samples, &mut told);
        assert!(matches!(&messages[0].message, Some(Message::Describe(d)) if d.first_number == 0));
        let expect = Told { numbering: 1, series: 1, key: Some(7) };
        assert_eq!(told, expect);
    }

    #[test]
    fn many_series_take_several_messages() {
        let help = "h".repeat(1_000);
        let one = Arc::new(Series::new(MetricKind::Gauge, "a", &help, &[]));
        let series = vec![one; 60];
        let messages = describe(&series, 5);
        let mut next = 5;
        for message in &messages {
            let Message::Describe(describe) = message else { panic!("{message:?}") };
            assert_eq!(describe.first_number, next);
            assert!((1..=8).contains(&describe.series.len()));
            next += describe.series.len() as u32;
        }
        assert_eq!((messages.len(), next), (8, 65));
    }
}
