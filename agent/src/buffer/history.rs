//! Everything that is made durable, in the log, for whoever holds it against what the collector has.
//!
//! It is off unless the log is asked for it (`RUST_LOG=info,upkeep_agent::buffer::history=trace`), and
//! then costs a line of JSON for each record. A record is told twice, in full before it is written, and
//! as durable once it was synced, before it may be sent. So whatever a collector ever gets stands in
//! the log, and whatever the log calls durable the collector owes.

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::{Level, enabled, trace};
use upkeep_model::{Event, EventKind, Observation, Series};

use super::Draft;

/// Tells what is about to be written.
pub(super) fn tell_brought(drafts: &[Draft]) {
    if enabled!(Level::TRACE) {
        let records: Value = drafts.iter().map(record).collect();
        trace!("brought {records}");
    }
}

/// Tells that what was brought last is on the disk.
pub(super) fn tell_durable() {
    trace!("durable");
}

fn record(draft: &Draft) -> Value {
    match draft {
        Draft::Observation(observation) => samples(observation),
        Draft::Event(event) => happening(event),
    }
}

fn samples(observation: &Observation) -> Value {
    // As text, since JSON has no infinity; a reader of it gets the same bits.
    let sample = |(series, value): (Arc<Series>, f64)| json!([labels(&series), value.to_string()]);
    let samples: Vec<Value> = observation.iter().map(sample).collect();
    json!({ "at_ms": observation.timestamp_ms, "samples": samples })
}

fn labels(series: &Series) -> Value {
    series.labels.iter().collect()
}

fn happening(event: &Event) -> Value {
    let (kind, content) = match &event.kind {
        EventKind::Facts(facts) => ("facts", json!(facts)),
        EventKind::Change(change) => ("change", json!(change)),
        EventKind::Updates(_) => ("updates", Value::Null),
        EventKind::Packages(_) => ("packages", Value::Null),
        EventKind::Processes(_) => ("processes", Value::Null),
        EventKind::Gap(_) => ("gap", Value::Null),
    };
    json!({ "at_ms": event.at_ms, kind: content })
}
