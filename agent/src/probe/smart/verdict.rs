//! Whether a disk is about to die, and what says so.
//!
//! A verdict is the worst of its findings. What a maker's firmware says about its own disk counts
//! as failing; what was seen to come before failures, in large fleets, counts as pre-failing:
//!
//! - Of the disks that failed at Backblaze, 76.7 % had at least one of five counts above zero:
//!   reallocated sectors, reported uncorrectable errors, command timeouts, pending sectors and
//!   uncorrectable sectors. Of those that worked, 4.2 % did. (A. Klein, "What SMART Stats Tell Us
//!   About Hard Drives", Backblaze, 2016.) So almost a quarter fails without a sign.
//! - How much each count tells differs. In Backblaze's data, disks with one to three reallocated
//!   sectors failed no more often than those with none (2.7 % and 2.5 % a year), those with 4 to 15
//!   at 7.5 %, with 16 to 69 at 24 %. A single pending sector means 34 %, a single reported
//!   uncorrectable error 34 %, a single uncorrectable sector 81 %; command timeouts mean nothing
//!   below a hundred, since a cable makes them too. (Rates by value as the monitor Scrutiny
//!   publishes them.)
//! - In Google's fleet a disk was 39 times more likely to fail within 60 days of its first scan
//!   error. (Pinheiro, Weber, Barroso, "Failure Trends in a Large Disk Drive Population", 2007.)

use super::attribute;
use super::disk::{Disk, Nvme, Scsi};

/// Reallocated sectors, or grown defects, from which on a disk fails markedly more often.
pub(super) const MANY_DEFECTS: f64 = 16.0;

/// Percent of its rated life from which on a disk is called old.
const OLD_PERCENT: f64 = 80.0;

/// Percent of its rated life at which a disk is worn out by its maker's reckoning. It may well work
/// on; the maker no longer says for how long it keeps data.
const WORN_OUT_PERCENT: f64 = 100.0;

/// The bits of smartctl's exit status.
mod exit {
    pub(super) const USAGE: u8 = 1 << 0;
    pub(super) const NOT_OPENED: u8 = 1 << 1;
    pub(super) const COMMAND_FAILED: u8 = 1 << 2;
    pub(super) const FAILING: u8 = 1 << 3;
    pub(super) const BELOW_THRESHOLD: u8 = 1 << 4;
    pub(super) const WAS_BELOW_THRESHOLD: u8 = 1 << 5;
    pub(super) const ERROR_LOG: u8 = 1 << 6;
    pub(super) const SELF_TEST_LOG: u8 = 1 << 7;
}

/// How a disk is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing speaks against it.
    Fine,
    /// It shows its age: there is nothing to do but to know it.
    OldAge,
    /// What it says is not enough to judge by.
    Unknown,
    /// It shows what comes before failures: its replacement should be planned.
    PreFailing,
    /// By its own word it fails, or has begun to.
    Failing,
}

impl Health {
    /// Every value, from good to bad.
    pub const ALL: [Self; 5] =
        [Self::Fine, Self::OldAge, Self::Unknown, Self::PreFailing, Self::Failing];

    /// Its name in labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::OldAge => "old_age",
            Self::Unknown => "unknown",
            Self::PreFailing => "pre_failing",
            Self::Failing => "failing",
        }
    }
}

/// One thing that was found out about a disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is, as a name that stays the same.
    pub name: &'static str,
    /// How bad it is by itself.
    pub health: Health,
    /// What was counted or measured.
    pub value: f64,
    /// The same in words.
    pub words: String,
}

impl Finding {
    pub(super) fn new(
        name: &'static str,
        health: Health,
        value: f64,
        words: impl Into<String>,
    ) -> Self {
        Self { name, health, value, words: words.into() }
    }
}

/// How a disk is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The worst of the findings.
    pub health: Health,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

/// Judges a disk.
pub(super) fn verdict(disk: &Disk) -> Verdict {
    let mut findings = Vec::new();
    self_verdict(disk, &mut findings);
    findings.extend(attribute::findings(&disk.attributes));
    if let Some(nvme) = &disk.nvme {
        nvme_findings(nvme, &mut findings);
    }
    if let Some(scsi) = &disk.scsi {
        scsi_findings(scsi, &mut findings);
    }
    findings.extend(endurance(disk.endurance_used));
    exit_findings(disk, &mut findings);
    findings.extend(unreadable(disk));
    // The order of those that are equally bad is that in which they were found.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.health));
    let health = findings.first().map_or(Health::Fine, |worst| worst.health);
    Verdict { health, findings }
}

/// What the disk says of itself. An NVMe disk says no more by that than by its critical warnings,
/// which are told apart where they are known.
fn self_verdict(disk: &Disk, findings: &mut Vec<Finding>) {
    let is_explained =
        disk.nvme.as_ref().and_then(|nvme| nvme.critical_warning).is_some_and(|bits| bits != 0.0);
    if disk.passed == Some(false) && !is_explained {
        let words = "the disk itself says that it fails";
        findings.push(Finding::new("self_assessment", Health::Failing, 0.0, words));
    }
}

fn nvme_findings(nvme: &Nvme, findings: &mut Vec<Finding>) {
    let bits = nvme.critical_warning.unwrap_or_default() as u64;
    for (bit, health, words) in [
        (0, Health::Failing, "its spare blocks are used up"),
        (1, Health::PreFailing, "it is hotter or colder than its maker allows"),
        (2, Health::Failing, "errors have made it unreliable"),
        (3, Health::Failing, "it can no longer be written to"),
        (4, Health::Failing, "its memory is no longer safe from a power cut"),
        (5, Health::Failing, "its persistent memory can no longer be written to"),
    ] {
        if bits & (1 << bit) != 0 {
            findings.push(Finding::new("critical_warning", health, bits as f64, words));
        }
    }
    if bits >> 6 != 0 {
        let words = format!("it gives a critical warning that is not known here ({bits:#x})");
        findings.push(Finding::new("critical_warning", Health::PreFailing, bits as f64, words));
    }
    if let (Some(spare), Some(threshold)) = (nvme.available_spare, nvme.spare_threshold)
        && spare < threshold
    {
        let words = format!("{spare} % of its spare blocks are left, less than {threshold} %");
        findings.push(Finding::new("available_spare", Health::Failing, spare, words));
    }
    if let Some(errors) = nvme.media_errors.filter(|&errors| errors > 0.0) {
        let words = format!("times that data could not be read back: {errors}");
        findings.push(Finding::new("media_errors", Health::PreFailing, errors, words));
    }
}

fn scsi_findings(scsi: &Scsi, findings: &mut Vec<Finding>) {
    if let Some(defects) = scsi.grown_defects.filter(|&defects| defects > 0.0) {
        let health = if defects >= MANY_DEFECTS { Health::PreFailing } else { Health::OldAge };
        let words = format!("sectors that became defective and were replaced: {defects}");
        findings.push(Finding::new("grown_defects", health, defects, words));
    }
    for errors in &scsi.errors {
        let name = match errors.work {
            "read" => "uncorrected_read_errors",
            "write" => "uncorrected_write_errors",
            _ => "uncorrected_verify_errors",
        };
        if let Some(count) = errors.uncorrected.filter(|&count| count > 0.0) {
            let words = format!("errors that could not be corrected, to {}: {count}", errors.work);
            findings.push(Finding::new(name, Health::PreFailing, count, words));
        }
    }
}

fn endurance(used: Option<f64>) -> Option<Finding> {
    let used = used.filter(|&used| used >= OLD_PERCENT)?;
    let health = if used >= WORN_OUT_PERCENT { Health::PreFailing } else { Health::OldAge };
    let words = format!("{used} % of its rated life is used");
    Some(Finding::new("endurance_used", health, used, words))
}

/// What the exit status says beyond what was read: the bits of it that nothing else explains.
fn exit_findings(disk: &Disk, findings: &mut Vec<Finding>) {
    let bits = disk.exit.unwrap_or_default();
    let is_set = |bit: u8| bits & bit != 0;
    let is_known = |findings: &[Finding], name: &str| {
        findings.iter().any(|finding| finding.name.starts_with(name))
    };
    let is_failing = findings.iter().any(|finding| finding.health == Health::Failing);
    let is_explained = is_failing || is_known(findings, "critical_warning");
    if is_set(exit::FAILING) && !is_explained {
        let words = "smartctl says that the disk fails";
        findings.push(Finding::new("self_assessment", Health::Failing, 0.0, words));
    }
    if is_set(exit::BELOW_THRESHOLD) && !is_known(findings, attribute::BELOW_THRESHOLD) {
        let words =
            "smartctl says that an attribute which foretells failure is below its threshold";
        findings.push(Finding::new(attribute::BELOW_THRESHOLD, Health::Failing, 1.0, words));
    }
    if is_set(exit::WAS_BELOW_THRESHOLD) && !is_known(findings, attribute::WAS_BELOW_THRESHOLD) {
        let words = "smartctl says that an attribute was below its threshold in the past";
        let name = attribute::WAS_BELOW_THRESHOLD;
        findings.push(Finding::new(name, Health::PreFailing, 1.0, words));
    }
    // The sum of nothing is -0.
    let errors = disk.error_logs.iter().map(|(_, count)| count).sum::<f64>() + 0.0;
    if is_set(exit::ERROR_LOG) || errors > 0.0 {
        let words = "its error log has entries";
        findings.push(Finding::new("error_log", Health::OldAge, errors, words));
    }
    if is_set(exit::SELF_TEST_LOG) || disk.failed_self_test.is_some() {
        let errors: f64 = disk.self_tests.iter().filter_map(|log| log.errors).sum();
        let words = match &disk.failed_self_test {
            Some(words) if !words.is_empty() => format!("a self-test found a fault: {words}"),
            _ => "a self-test found a fault".to_owned(),
        };
        findings.push(Finding::new("self_test", Health::PreFailing, errors.max(1.0), words));
    }
}

/// Why there is not enough to judge by, if there is not.
fn unreadable(disk: &Disk) -> Option<Finding> {
    let unknown = |words: String| Some(Finding::new("unreadable", Health::Unknown, 1.0, words));
    let with_complaints = |words: &str| {
        let complaints = disk.complaints.join("; ");
        if complaints.is_empty() { words.to_owned() } else { format!("{words}: {complaints}") }
    };
    let Some(bits) = disk.exit else {
        return unknown(with_complaints("smartctl gave no answer"));
    };
    if disk.is_asleep {
        return unknown("it sleeps, and has not been read since the agent started".to_owned());
    }
    if bits & exit::USAGE != 0 {
        return unknown(with_complaints("smartctl cannot speak to it"));
    }
    if bits & exit::NOT_OPENED != 0 {
        return unknown(with_complaints("smartctl cannot open it"));
    }
    // A SCSI disk counts its errors even where it is told not to warn by itself.
    if disk.is_monitored == Some(false) && disk.scsi.is_none() {
        return unknown("its self-monitoring is switched off".to_owned());
    }
    let says_something = disk.passed.is_some() || disk.nvme.is_some();
    let says_enough = disk.passed.is_some()
        && (disk.nvme.is_some() || disk.scsi.is_some() || !disk.attributes.is_empty());
    if bits & exit::COMMAND_FAILED != 0 && !says_enough {
        return unknown(with_complaints("it did not answer all that smartctl asked"));
    }
    if !says_something {
        return unknown(with_complaints("it does not say how it is"));
    }
    None
}
