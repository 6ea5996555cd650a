//! When disks are asked, and what is known of them meanwhile.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde::Serialize;
use tracing::{info, warn};

use super::Settings;
use super::disk::Disk;
use super::field::Notes;
use super::parse::parse;
use super::verdict::{Health, Verdict, verdict};
use crate::helper::{self, HelperError, SmartAnswer};
use crate::host::Host;

/// After so many intervals without an answer, what was read is no longer repeated: a disk that
/// cannot be asked any more may be one that is dying.
const KEPT_INTERVALS: i64 = 3;

/// Why disks could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The host does not offer it: there is no smartctl, or the helper is switched off.
    Unavailable(String),
    /// It should have worked.
    Failed(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unavailable(reason) | Self::Failed(reason)) = self;
        formatter.write_str(reason)
    }
}

/// A disk and its verdict, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiskHealth {
    /// Its name in labels.
    pub device: String,
    /// Its model, as its maker calls it; empty if it does not tell.
    pub model: String,
    /// Its serial number; empty if it does not tell.
    pub serial: String,
    /// How it is: `fine`, `old_age`, `unknown`, `pre_failing` or `failing`.
    pub health: &'static str,
    /// Why, the worst first; empty for one against which nothing speaks.
    pub reasons: Vec<String>,
}

/// Asks the disks once, for a person who waits.
///
/// # Errors
/// When they cannot be asked.
pub fn look(host: &Host) -> Result<Vec<DiskHealth>, Unread> {
    let answer = ask(host)?;
    let (disks, _notes) = merge(&[], &answer, 0);
    let described = disks.into_iter().map(|KnownDisk { disk, verdict, .. }| DiskHealth {
        device: disk.label,
        model: disk.identity.model,
        serial: disk.identity.serial,
        health: verdict.health.name(),
        reasons: verdict.findings.into_iter().map(|finding| finding.words).collect(),
    });
    Ok(described.collect())
}

/// A disk as it was read last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownDisk {
    pub(super) disk: Disk,
    pub(super) verdict: Verdict,
    /// When its values were read, in milliseconds since 1970.
    pub(super) read_at_ms: i64,
    /// It slept when it was to be asked last.
    pub(super) is_asleep: bool,
}

/// What is known after a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) disks: Vec<KnownDisk>,
    /// What could not be read of what smartctl said.
    pub(super) notes: Notes,
    /// Why the last reading gave nothing, if it did.
    pub(super) unread: Option<Unread>,
    /// When the disks answered last.
    answered_at_ms: i64,
}

/// What is known of the disks, brought up to date by a thread that lives as long as one reading.
#[derive(Debug, Default)]
pub(super) struct Readings {
    settings: Settings,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Arc<Known>>,
    /// When the last reading was begun.
    begun_at_ms: Option<i64>,
    is_reading: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readings {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, shared: Arc::default() }
    }

    /// What is known at a time; a reading is begun if one is due. `None` before the first answer.
    pub(super) fn at(&self, host: &Host, now_ms: i64) -> Option<Arc<Known>> {
        let interval_ms = i64::try_from(self.settings.interval.as_millis()).unwrap_or(i64::MAX);
        let mut state = self.shared.state();
        if !state.is_reading && is_due(state.begun_at_ms, now_ms, interval_ms) {
            state.begun_at_ms = Some(now_ms);
            state.is_reading = self.begin(host, now_ms, interval_ms);
        }
        let until = Instant::now() + self.settings.patience;
        while state.known.is_none() && state.is_reading {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.known.clone()
    }

    /// Starts a reading; `false` if no thread can be started, which is tried again when the next one
    /// is due.
    fn begin(&self, host: &Host, now_ms: i64, interval_ms: i64) -> bool {
        let (host, shared) = (host.clone(), Arc::clone(&self.shared));
        let read = move || {
            // Whatever becomes of the reading, the next one may begin.
            let _ending = Ending(Arc::clone(&shared));
            let answer = ask(&host);
            let mut state = shared.state();
            let next = follow(state.known.as_deref(), answer, now_ms, interval_ms);
            log_changes(state.known.as_deref(), &next);
            state.known = Some(Arc::new(next));
        };
        thread::Builder::new().name("disks".to_owned()).spawn(read).is_ok()
    }
}

/// Marks a reading as ended when it goes out of scope, be it by a panic.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state().is_reading = false;
        self.0.ended.notify_all();
    }
}

/// Whether a reading is due; one is, too, when the clock was set back.
fn is_due(begun_at_ms: Option<i64>, now_ms: i64, interval_ms: i64) -> bool {
    begun_at_ms.is_none_or(|begun| now_ms < begun || now_ms - begun >= interval_ms)
}

fn ask(host: &Host) -> Result<SmartAnswer, Unread> {
    helper::smart(host).map_err(|error| match error {
        HelperError::Off { .. } | HelperError::Absent(_) | HelperError::Refused(_) => {
            Unread::Unavailable(error.to_string())
        }
        // Another root, or a recording, has no disks that could be asked.
        _ if !host.is_this_system() => Unread::Unavailable(error.to_string()),
        _ => Unread::Failed(error.to_string()),
    })
}

/// What is known after a reading that was begun at a time.
fn follow(
    before: Option<&Known>,
    answer: Result<SmartAnswer, Unread>,
    at_ms: i64,
    interval_ms: i64,
) -> Known {
    let earlier = before.map(|known| known.disks.as_slice()).unwrap_or_default();
    match answer {
        Ok(answer) => {
            let (disks, notes) = merge(earlier, &answer, at_ms);
            Known { disks, notes, unread: None, answered_at_ms: at_ms }
        }
        Err(unread) => {
            let answered_at_ms = before.map_or(at_ms, |known| known.answered_at_ms);
            let is_kept = at_ms - answered_at_ms < KEPT_INTERVALS.saturating_mul(interval_ms);
            let disks = if is_kept { earlier.to_vec() } else { Vec::new() };
            Known { disks, notes: Notes::default(), unread: Some(unread), answered_at_ms }
        }
    }
}

/// Reads an answer. A disk that sleeps keeps what was read of it before, if something was.
fn merge(before: &[KnownDisk], answer: &SmartAnswer, at_ms: i64) -> (Vec<KnownDisk>, Notes) {
    let mut notes = Notes::default();
    let mut disks: Vec<KnownDisk> = Vec::with_capacity(answer.devices.len());
    for output in &answer.devices {
        let disk = parse(output, &mut notes);
        if disks.iter().any(|known| known.disk.label == disk.label) {
            notes.add(format!("smartctl {}", output.device), "it is listed twice".to_owned());
            continue;
        }
        let earlier = before.iter().find(|known| known.disk.label == disk.label);
        disks.push(match earlier {
            Some(earlier) if disk.is_asleep => KnownDisk { is_asleep: true, ..earlier.clone() },
            _ => KnownDisk {
                verdict: verdict(&disk),
                is_asleep: disk.is_asleep,
                read_at_ms: at_ms,
                disk,
            },
        });
    }
    (disks, notes)
}

/// Logs what is new about the disks' health, for those who read the journal on the host.
fn log_changes(before: Option<&Known>, now: &Known) {
    if let Some(Unread::Unavailable(reason)) = &now.unread
        && before.is_none_or(|before| before.unread != now.unread)
    {
        info!("the health of disks is not known: {reason}");
    }
    let earlier = before.map(|before| before.disks.as_slice()).unwrap_or_default();
    for KnownDisk { disk, verdict, .. } in &now.disks {
        let was = earlier.iter().find(|known| known.disk.label == disk.label);
        let was = was.map_or(Health::Fine, |known| known.verdict.health);
        let device = disk.label.as_str();
        let words: Vec<_> = verdict.findings.iter().map(|found| found.words.as_str()).collect();
        let (name, words) = (verdict.health.name(), words.join("; "));
        match verdict.health {
            health if health == was => {}
            Health::Failing | Health::PreFailing => warn!(device, "the disk is {name}: {words}"),
            _ => info!(device, "the disk is {name}: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::helper::SmartOutput;

    const INTERVAL_MS: i64 = 600_000;

    /// An answer about `/dev/sda`, which is well or asleep.
    fn answer(is_asleep: bool) -> SmartAnswer {
        let said = json!([{"string": "Device is in STANDBY mode, exit(2)"}]);
        let document = if is_asleep {
            json!({"device": {"name": "/dev/sda"}, "smartctl": {"messages": said}})
        } else {
            json!({"device": {"name": "/dev/sda", "protocol": "ATA"},
                "smart_status": {"passed": true}, "power_cycle_count": 7})
        };
        let output = SmartOutput {
            device: "/dev/sda".to_owned(),
            kind: "sat".to_owned(),
            exit: Some(if is_asleep { 2 } else { 0 }),
            stdout: document.to_string(),
            ..SmartOutput::default()
        };
        SmartAnswer { devices: vec![output], ..SmartAnswer::default() }
    }

    /// What is told of the only disk: its verdict, when it was read, whether it sleeps.
    fn told(known: &Known) -> Vec<(Health, i64, bool)> {
        let told = known.disks.iter();
        told.map(|known| (known.verdict.health, known.read_at_ms, known.is_asleep)).collect()
    }

    #[test]
    fn a_disk_that_sleeps_keeps_its_values_with_their_age() {
        let asleep = follow(None, Ok(answer(true)), 0, INTERVAL_MS);
        assert_eq!(told(&asleep), [(Health::Unknown, 0, true)]);
        let awake = follow(Some(&asleep), Ok(answer(false)), 10, INTERVAL_MS);
        assert_eq!(told(&awake), [(Health::Fine, 10, false)]);
        let again = follow(Some(&awake), Ok(answer(true)), 20, INTERVAL_MS);
        assert_eq!(told(&again), [(Health::Fine, 10, true)]);
        assert_eq!(again.disks[0].disk.power_cycles, Some(7.0));
        // One that is gone, or that comes twice, is told of no more than is there.
        let gone = follow(Some(&again), Ok(SmartAnswer::default()), 30, INTERVAL_MS);
        assert!(gone.disks.is_empty() && gone.notes == Notes::default());
        let mut twice = answer(false);
        twice.devices.extend(answer(false).devices);
        let twice = follow(None, Ok(twice), 30, INTERVAL_MS);
        assert!(twice.disks.len() == 1 && twice.notes != Notes::default());
    }

    #[test]
    fn what_was_read_is_not_repeated_for_ever() {
        let failed = || Err(Unread::Failed("no answer".to_owned()));
        let known = follow(None, Ok(answer(false)), 0, INTERVAL_MS);
        let soon = follow(Some(&known), failed(), 2 * INTERVAL_MS, INTERVAL_MS);
        assert_eq!(told(&soon), [(Health::Fine, 0, false)]);
        assert!(soon.unread.is_some());
        let late = follow(Some(&soon), failed(), 3 * INTERVAL_MS, INTERVAL_MS);
        assert_eq!((told(&late), late.unread), (Vec::new(), failed().err()));
    }

    #[test]
    fn readings_have_a_rhythm_of_their_own() {
        let check = |begun, now, expect| assert_eq!(is_due(begun, now, INTERVAL_MS), expect);
        check(None, 0, true);
        check(Some(0), INTERVAL_MS - 1, false);
        check(Some(0), INTERVAL_MS, true);
        check(Some(INTERVAL_MS), 0, true);
    }
}
