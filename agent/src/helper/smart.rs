//! The health of the disks, as `smartctl` tells it: gathered here, read by the probe.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{HelperError, Verb};
use crate::host::{Host, HostError, Output};

/// Lists the disks with the way in which each is spoken to.
const SCAN: [&str; 3] = ["smartctl", "--scan-open", "--json"];

/// How long the list may take.
const SCAN_TIME: Duration = Duration::from_secs(60);

/// How long one disk may take.
const DEVICE_TIME: Duration = Duration::from_secs(30);

/// So much of the time for everything is kept for the answer.
const RESERVE: Duration = Duration::from_secs(5);

/// The most disks that are asked.
const MAX_DEVICES: usize = 128;

/// The most that is taken of one disk, in bytes. The longest logs of a disk that is full of errors
/// stay well under it.
const MAX_DEVICE_BYTES: usize = 512 << 10;

/// What `smartctl` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmartAnswer {
    /// What the list of disks was: the exit status and JSON of `smartctl --scan-open --json`.
    pub scan: Output,
    /// One disk after the other, in the order of the list.
    pub devices: Vec<SmartOutput>,
}

/// What `smartctl` says about one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmartOutput {
    /// The disk, such as `/dev/sda`. Several disks behind one controller share it.
    pub device: String,
    /// The way in which it is spoken to, such as `sat` or `megaraid,4`.
    pub kind: String,
    /// The protocol as `smartctl` names it, such as `ATA` or `NVMe`; empty where it does not tell.
    pub protocol: String,
    /// The exit status, whose bits tell faults of the disk too; `None` if there was no answer.
    pub exit: Option<i32>,
    /// The JSON of `smartctl --json --all --nocheck=standby`, unread.
    pub stdout: String,
    /// Why there was no answer.
    pub fault: Option<String>,
}

#[derive(Deserialize)]
struct Scan {
    #[serde(default)]
    devices: Vec<ScannedDevice>,
}

#[derive(Deserialize)]
struct ScannedDevice {
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    protocol: String,
}

/// Asks every disk. One that sleeps is not woken: `smartctl` then says so.
pub(super) fn read(host: &Host) -> Result<SmartAnswer, HelperError> {
    let until = Instant::now() + Verb::Smart.deadline().saturating_sub(RESERVE);
    let scan = host.run(&SCAN, SCAN_TIME)?;
    let devices = scanned(&scan)?;
    let ask = |device| ask(host, device, until.saturating_duration_since(Instant::now()));
    Ok(SmartAnswer { devices: devices.into_iter().map(ask).collect(), scan })
}

fn scanned(scan: &Output) -> Result<Vec<ScannedDevice>, HelperError> {
    let parsed: Scan = serde_json::from_str(&scan.stdout).map_err(|error| {
        let command = SCAN.join(" ");
        // Before version 7 there is no JSON, and the option is complained about.
        HelperError::Failed(format!("{command}: exit status {:?}: {error}", scan.exit))
    })?;
    let mut devices = parsed.devices;
    if devices.len() > MAX_DEVICES {
        let reason = format!("{} disks are more than {MAX_DEVICES}", devices.len());
        return Err(HelperError::Failed(reason));
    }
    // A name comes from the system, but it becomes an argument.
    devices.retain(|device| device.name.starts_with("/dev/"));
    Ok(devices)
}

fn ask(host: &Host, device: ScannedDevice, left: Duration) -> SmartOutput {
    let ScannedDevice { name, kind, protocol } = device;
    let mut arguments = vec!["smartctl", "--json", "--all", "--nocheck=standby"];
    let option = format!("--device={kind}");
    if !kind.is_empty() {
        arguments.push(&option);
    }
    arguments.push(&name);
    let outcome = if left.is_zero() {
        Err("the time was used up by the disks before it".to_owned())
    } else {
        host.run(&arguments, left.min(DEVICE_TIME)).map_err(|error: HostError| error.to_string())
    };
    let (exit, stdout, fault) = match outcome {
        Ok(output) if output.stdout.len() > MAX_DEVICE_BYTES => {
            let fault = format!("it printed more than {MAX_DEVICE_BYTES} bytes");
            (output.exit, String::new(), Some(fault))
        }
        Ok(output) => (output.exit, output.stdout, None),
        Err(fault) => (None, String::new(), Some(fault)),
    };
    SmartOutput { device: name, kind, protocol, exit, stdout, fault }
}
