//! `status`, and the file by which the running agent tells how it does.
//!
//! The buffer belongs to the running agent alone, so `status` reads `status.json` in its place. The
//! file is for looking at only: it is replaced at once and never synced.

mod buffered;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{BUFFER_FOLDER, VERSION, now_ms};
use crate::buffer::{Pace, SharedBuffer, is_open};
use crate::config::Config;
use crate::helper::{Standing, Verb, standing};
use crate::identity::IdentityFolder;
use crate::scheduler::Failures;
use crate::uplink::Link;

use buffered::Buffered;

/// The file's name in the state folder.
const FILE: &str = "status.json";

/// The file is not replaced more often.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    process: u32,
    version: String,
    written_at_ms: i64,
    connected: bool,
    since_ms: Option<i64>,
    /// Why there is no connection.
    reason: Option<String>,
    buffer: Buffered,
    /// The probes that failed at their last run, with the reason.
    #[serde(default)]
    failing_probes: BTreeMap<String, String>,
}

/// What a run left behind that was not stopped in order. What cannot be read is not known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeftBehind {
    /// Its process.
    pub(super) process: Option<u32>,
    /// When it last wrote.
    pub(super) written_at_ms: Option<i64>,
}

/// What the run before this one left behind, if it was not stopped in order.
pub(super) fn left_behind(state_dir: &Path) -> Option<LeftBehind> {
    let text = fs::read_to_string(state_dir.join(FILE)).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_default())
}

/// Replaces the file whenever something was appended, the connection changed or a probe failed or
/// works again, until cancelled; then removes it.
pub(super) async fn keep(
    state_dir: PathBuf,
    buffer: SharedBuffer,
    interval: Duration,
    mut link: watch::Receiver<Link>,
    mut failures: watch::Receiver<Failures>,
    stop: CancellationToken,
) {
    let path = state_dir.join(FILE);
    let mut appends = buffer.appends();
    let mut failed = false;
    let pace = Arc::new(Mutex::new(Pace::new(interval)));
    let follow = async {
        loop {
            let (buffer, path, pace) = (buffer.clone(), path.clone(), Arc::clone(&pace));
            let link_now = link.borrow_and_update().clone();
            let failing = failures.borrow_and_update().clone();
            let write = move || {
                let buffer = buffer_report(&buffer, &pace);
                write(&path, &report_of(&link_now, buffer, &failing))
            };
            let written = tokio::task::spawn_blocking(write).await;
            if let Ok(Err(error)) = &written
                && !failed
            {
                warn!("the status file cannot be written: {error}");
            }
            failed = !matches!(written, Ok(Ok(())));
            tokio::time::sleep(SHORTEST_PAUSE).await;
            tokio::select! {
                _ = appends.changed() => {}
                _ = link.changed() => {}
                _ = failures.changed() => {}
            }
        }
    };
    stop.run_until_cancelled(follow).await;
    // A file that is left behind is recognized by the buffer, which nobody has open then.
    let _ = fs::remove_file(&path);
}

/// Prints who the host is and how its agent does.
pub(super) fn show(config: &Config, json: bool) -> Result<()> {
    let state_dir = &config.state_dir.0;
    let folder = IdentityFolder::new(state_dir);
    let identity = folder.identity()?;
    let (_, not_after_ms) = folder.credential()?.validity_ms();
    let report = read(state_dir);
    let helper = standing(&config.helper.verbs);
    let mut out = std::io::stdout().lock();
    if json {
        let value = serde_json::json!({
            "host_id": identity.host_id,
            "instance": identity.instance,
            "collector": identity.address,
            "enrolled_at_ms": identity.enrolled_at_ms,
            "certificate_valid_until_ms": not_after_ms,
            "agent": report.as_ref().ok(),
            "agent_unknown_because": report.as_ref().err(),
            "helper": helper,
        });
        return Ok(writeln!(out, "{value:#}")?);
    }
    writeln!(out, "host         {} ({})", identity.instance, identity.host_id)?;
    writeln!(out, "collector    {}", identity.address)?;
    writeln!(out, "enrolled     {}", time(identity.enrolled_at_ms))?;
    writeln!(out, "certificate  {}", certificate(not_after_ms, now_ms()))?;
    match report {
        Ok(report) => write!(out, "{}", running(&report, now_ms()))?,
        Err(reason) => writeln!(out, "agent        {reason}; what is buffered is unknown")?,
    }
    writeln!(out, "helper       {}", helper_line(&helper))?;
    Ok(())
}

fn buffer_report(buffer: &SharedBuffer, pace: &Mutex<Pace>) -> Buffered {
    let (statistics, losses) = {
        let buffer = buffer.lock();
        (buffer.statistics(), buffer.losses().to_vec())
    };
    let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
    Buffered::of(&statistics, pace.note(Instant::now(), statistics.appended_bytes), &losses)
}

fn report_of(link: &Link, buffer: Buffered, failing: &Failures) -> Report {
    let (connected, since_ms, reason) = match link {
        Link::Starting => (false, None, None),
        Link::Up { since_ms } => (true, Some(*since_ms), None),
        Link::Down { since_ms, reason } => (false, Some(*since_ms), Some(reason.clone())),
    };
    Report {
        process: std::process::id(),
        version: VERSION.to_owned(),
        written_at_ms: now_ms(),
        connected,
        since_ms,
        reason,
        buffer,
        failing_probes: failing
            .iter()
            .map(|(&name, reason)| (name.to_owned(), reason.clone()))
            .collect(),
    }
}

fn write(path: &Path, report: &Report) -> std::io::Result<()> {
    let draft = path.with_extension("draft");
    fs::write(&draft, serde_json::to_vec(report)?)?;
    fs::rename(draft, path)
}

/// The running agent's report, or why there is none. What a killed agent left behind is recognized
/// by the buffer, which nobody has open.
fn read(state_dir: &Path) -> Result<Report, String> {
    let path = state_dir.join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not run".to_owned(),
        _ => format!("unknown: {}: {error}", path.display()),
    })?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| format!("unknown: {}: {error}", path.display()))?;
    match is_open(&state_dir.join(BUFFER_FOLDER)) {
        Ok(true) => Ok(report),
        Ok(false) => Err(format!("does not run since after {}", time(report.written_at_ms))),
        Err(error) => Err(format!("unknown: {error}")),
    }
}

fn running(report: &Report, now_ms: i64) -> String {
    let age = span(now_ms - report.written_at_ms);
    let since = report.since_ms.map_or_else(|| "the start".to_owned(), time);
    let connection = match (&report.connected, &report.reason) {
        (true, _) => format!("up since {since}"),
        (false, None) => "being made".to_owned(),
        (false, Some(reason)) => format!("down since {since}: {reason}"),
    };
    format!(
        "agent        {} runs as process {} (as of {age} ago)\n\
         connection   {connection}\n\
         {}\
         probes       {}",
        report.version,
        report.process,
        report.buffer.lines(now_ms),
        probes(&report.failing_probes),
    )
}

/// How the probes do, with a line for each that fails.
fn probes(failing: &BTreeMap<String, String>) -> String {
    if failing.is_empty() {
        return "all work\n".to_owned();
    }
    let mut text = format!("{} of them fail\n", failing.len());
    for (name, reason) in failing {
        // Writing to a string does not fail.
        let _written = writeln!(text, "  {name}: {reason}");
    }
    text
}

fn helper_line(helper: &Standing) -> String {
    let names =
        |verbs: &[Verb]| verbs.iter().map(|verb| verb.name()).collect::<Vec<_>>().join(", ");
    let answers = match (&helper.unknown_because, helper.answers.is_empty()) {
        (Some(reason), _) => return reason.clone(),
        (None, true) => "answers nothing".to_owned(),
        (None, false) => format!("answers {}", names(&helper.answers)),
    };
    if helper.switched_off.is_empty() {
        return answers;
    }
    format!("{answers}; switched off in the configuration: {}", names(&helper.switched_off))
}

fn certificate(not_after_ms: i64, now_ms: i64) -> String {
    let until = time(not_after_ms);
    if not_after_ms > now_ms {
        format!("valid until {until} ({} left)", span(not_after_ms - now_ms))
    } else {
        format!("EXPIRED at {until}: enroll this host anew with --force")
    }
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(
        |_| format!("{at_ms} ms"),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn span(ms: i64) -> String {
    let seconds = Duration::from_secs(u64::try_from(ms / 1000).unwrap_or_default());
    humantime::format_duration(seconds).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Buffer, Options, Statistics};

    #[test]
    fn what_a_run_left_behind_is_told() {
        let state = tempfile::tempdir().unwrap();
        assert!(left_behind(state.path()).is_none());
        let check = |text: &str, expect: (Option<u32>, Option<i64>)| {
            fs::write(state.path().join(FILE), text).unwrap();
            let left = left_behind(state.path()).unwrap();
            assert_eq!((left.process, left.written_at_ms), expect, "{text}");
        };
        check(r#"{"process": 7, "written_at_ms": 9, "version": "1"}"#, (Some(7), Some(9)));
        check(r#"{"process": 7, "writ"#, (None, None));
        check("", (None, None));
    }

    #[test]
    fn a_report_counts_while_its_agent_has_the_buffer_open() {
        let state = tempfile::tempdir().unwrap();
        let (path, folder) = (state.path().join(FILE), state.path().join(BUFFER_FOLDER));
        assert_eq!(read(state.path()).unwrap_err(), "does not run");
        let buffer = Buffer::open(&folder, Options::default(), 0).unwrap();
        let link = Link::Down { since_ms: 0, reason: "no route".into() };
        let statistics = Statistics { samples: 7, oldest_ms: Some(1_000), ..Statistics::default() };
        let buffer_now = Buffered::of(&statistics, None, &[]);
        let failing = Failures::from([("hwmon", "temp1_input: no value".to_owned())]);
        let report = report_of(&link, buffer_now, &failing);
        write(&path, &report).unwrap();
        let shown = running(&read(state.path()).unwrap(), report.written_at_ms);
        let fails = "probes       1 of them fail\n  hwmon: temp1_input: no value\n";
        for part in ["1970-01-01 00:00:00 UTC: no route", "7 samples", "(as of 0s ago)", fails] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        drop(buffer);
        assert!(read(state.path()).unwrap_err().contains("does not run since"));
        fs::write(&path, "{").unwrap();
        assert!(read(state.path()).unwrap_err().contains("unknown"));
    }

    #[test]
    fn an_expired_certificate_is_shown_as_such() {
        assert_eq!(certificate(60_000, 0), "valid until 1970-01-01 00:01:00 UTC (1m left)");
        assert!(certificate(0, 60_000).starts_with("EXPIRED"));
    }

    #[test]
    fn what_the_helper_does_not_answer_is_shown() {
        let check = |answers: &[Verb], off: &[Verb], reason: Option<&str>, expect: &str| {
            let standing = Standing {
                answers: answers.into(),
                switched_off: off.into(),
                unknown_because: reason.map(str::to_owned),
            };
            assert_eq!(helper_line(&standing), expect);
        };
        check(&[Verb::Smart, Verb::Dmi], &[], None, "answers smart, dmi");
        check(
            &[Verb::Dmi],
            &[Verb::Energy],
            None,
            "answers dmi; switched off in the configuration: energy",
        );
        check(
            &[],
            &[Verb::Restarts, Verb::Clock],
            None,
            "answers nothing; switched off in the configuration: restarts, clock",
        );
        check(&[Verb::Dmi], &[], Some("the helper is switched off"), "the helper is switched off");
    }
}
