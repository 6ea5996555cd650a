//! Events in words, so that what happened can be read from their list alone.

use std::time::Duration;

use serde_json::{Value, json};
use upkeep_model::{Change, ChangeKind};

use super::time;
use crate::state::{Ending, Occurrence};

/// What changed on a host.
pub(super) fn of_change(change: &Change) -> String {
    let Change { id: _, kind, subject, before, after } = change;
    match kind {
        ChangeKind::PackageInstalled => format!("the package {subject} {after} was installed"),
        ChangeKind::PackageUpdated => {
            format!("the package {subject} was updated from {before} to {after}")
        }
        ChangeKind::PackageRemoved => format!("the package {subject} {before} was removed"),
        ChangeKind::Kernel => format!("the kernel {after} runs in place of {before}"),
        ChangeKind::Boot => "the host was booted".to_owned(),
        ChangeKind::Configuration => format!("the file {subject} was changed"),
        ChangeKind::AgentVersion => format!("the agent {after} runs in place of {before}"),
        ChangeKind::UnitFailed => format!("the unit {subject} failed: {after}"),
        ChangeKind::AgentStopped => "the agent was stopped in order".to_owned(),
        ChangeKind::Shutdown => "the host is shutting down; the agent was stopped".to_owned(),
        ChangeKind::AgentInterrupted if before.is_empty() => {
            "the agent starts anew; its run before was not stopped in order".to_owned()
        }
        ChangeKind::AgentInterrupted => format!(
            "the agent starts anew; its run before was not stopped in order, and is last known to \
             have worked at {before}"
        ),
    }
}

/// What the collector saw happen at a time.
pub(super) fn of_occurrence(occurrence: &Occurrence, at_ms: i64) -> String {
    match occurrence {
        Occurrence::HostLost { since_ms } => {
            format!("the host is lost: nothing came from it since {}", time::text(*since_ms))
        }
        Occurrence::HostBack { since_ms, backlog_records } => format!(
            "the host is back after {}: nothing had come from it since {}; {backlog_records} \
             observations of the time between wait at the host",
            span(at_ms.saturating_sub(*since_ms)),
            time::text(*since_ms),
        ),
        Occurrence::BacklogDelivered { from_ms, to_ms, records } => format!(
            "{records} observations from {} to {} were delivered late",
            time::text(*from_ms),
            time::text(*to_ms),
        ),
        Occurrence::GapDeclared { lane, first, last, from_ms, to_ms, reason, .. } => {
            let records = records(*first, *last);
            let count = records.map_or_else(|| "some".to_owned(), |count| count.to_string());
            format!("{count} records of {lane}{} are lost: {reason}", stretch(*from_ms, *to_ms))
        }
        Occurrence::BufferReplaced { .. } => {
            "the host has a new buffer; the former one was put aside".to_owned()
        }
        Occurrence::ClockCorrected { offset_ms } => {
            format!("the host's clock is {}; its times are corrected", off_by(*offset_ms))
        }
        Occurrence::ClockRight { offset_ms } => {
            format!("the host's clock is right again, and now {}", off_by(*offset_ms))
        }
        Occurrence::RecordSetAside { lane, sequence, reason } => {
            format!("record {sequence} of {lane} was set aside: {reason}")
        }
        Occurrence::CollectorStarted { version, ended, away_since_ms } => {
            started(version, *ended, *away_since_ms, at_ms)
        }
        Occurrence::CollectorStopped { reason } => {
            format!("the collector was stopped in order: {reason}")
        }
    }
}

/// The fields of an occurrence for programs.
pub(super) fn details(occurrence: &Occurrence) -> Value {
    match occurrence {
        Occurrence::HostLost { since_ms } => json!({"since": time::text(*since_ms)}),
        Occurrence::HostBack { since_ms, backlog_records } => {
            json!({"since": time::text(*since_ms), "backlog_records": backlog_records})
        }
        Occurrence::BacklogDelivered { from_ms, to_ms, records } => json!({
            "from": time::text(*from_ms), "to": time::text(*to_ms), "records": records,
        }),
        Occurrence::GapDeclared { lane, epoch, first, last, from_ms, to_ms, reason } => json!({
            "lane": lane, "records": records(*first, *last), "from": from_ms.map(time::text),
            "to": to_ms.map(time::text), "reason": reason, "epoch": epoch,
        }),
        Occurrence::BufferReplaced { before, after } => {
            json!({"former_epoch": before, "epoch": after})
        }
        Occurrence::ClockCorrected { offset_ms } | Occurrence::ClockRight { offset_ms } => {
            json!({"offset_seconds": seconds(*offset_ms)})
        }
        Occurrence::RecordSetAside { lane, sequence, reason } => {
            json!({"lane": lane, "sequence": sequence, "reason": reason})
        }
        Occurrence::CollectorStarted { version, ended, away_since_ms } => json!({
            "version": version, "after": ended, "away_since": away_since_ms.map(time::text),
        }),
        Occurrence::CollectorStopped { reason } => json!({"reason": reason}),
    }
}

fn started(version: &str, ended: Option<Ending>, since_ms: Option<i64>, at_ms: i64) -> String {
    let begun = format!("the collector {version} was started");
    let Some((ended, since_ms)) = ended.zip(since_ms) else {
        return format!("{begun} for the first time");
    };
    let how = match ended {
        Ending::Clean => "it had been stopped in order",
        Ending::Unclean => "it had not been stopped in order",
    };
    let away = span(at_ms.saturating_sub(since_ms));
    format!("{begun} after {away}, since {}; {how}", time::text(since_ms))
}

/// How many records a gap has; not known of what never had numbers.
fn records(first: u64, last: u64) -> Option<u64> {
    (first > 0).then(|| last.saturating_sub(first).saturating_add(1))
}

fn stretch(from_ms: Option<i64>, to_ms: Option<i64>) -> String {
    match (from_ms, to_ms) {
        (Some(from_ms), Some(to_ms)) => {
            format!(" from {} to {}", time::text(from_ms), time::text(to_ms))
        }
        (None, Some(to_ms)) => format!(" up to {}", time::text(to_ms)),
        (Some(from_ms), None) => format!(" from {} on", time::text(from_ms)),
        (None, None) => String::new(),
    }
}

fn off_by(offset_ms: i64) -> String {
    let word = if offset_ms < 0 { "behind" } else { "ahead" };
    let amount = Duration::from_millis(offset_ms.unsigned_abs());
    format!("{} {word}", humantime::format_duration(amount))
}

/// A length of time in words, to the second.
fn span(ms: i64) -> String {
    let seconds = Duration::from_secs(u64::try_from(ms / 1000).unwrap_or_default());
    humantime::format_duration(seconds).to_string()
}

#[expect(clippy::cast_precision_loss, reason = "offsets of clocks are far below 2^53 ms")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_reads_as_a_sentence() {
        let check = |occurrence: Occurrence, expect: &str| {
            assert_eq!(of_occurrence(&occurrence, 90_000), expect);
        };
        check(
            Occurrence::HostLost { since_ms: 0 },
            "the host is lost: nothing came from it since 1970-01-01T00:00:00Z",
        );
        check(
            Occurrence::HostBack { since_ms: 0, backlog_records: 9 },
            "the host is back after 1m 30s: nothing had come from it since 1970-01-01T00:00:00Z; \
             9 observations of the time between wait at the host",
        );
        let (lane, epoch, reason) = ("samples".to_owned(), "e".to_owned(), "full".to_owned());
        let (first, last, from_ms, to_ms) = (3, 9, Some(0), Some(60_000));
        check(
            Occurrence::GapDeclared { lane, epoch, first, last, from_ms, to_ms, reason },
            "7 records of samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z are lost: full",
        );
        check(
            Occurrence::ClockCorrected { offset_ms: -7_200_000 },
            "the host's clock is 2h behind; its times are corrected",
        );
        let started = |ended, away_since_ms| Occurrence::CollectorStarted {
            version: "1".to_owned(),
            ended,
            away_since_ms,
        };
        check(started(None, None), "the collector 1 was started for the first time");
        check(
            started(Some(Ending::Unclean), Some(30_000)),
            "the collector 1 was started after 1m, since 1970-01-01T00:00:30Z; it had not been \
             stopped in order",
        );
    }
}
