//! Timers that restart a host which no longer answers them: `/sys/class/watchdog`.

use upkeep_model::Observation;

use super::device::Device;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/watchdog";

/// Files that hold a number.
const NUMBERS: [(&str, &str, &str); 7] = [
    ("bootstatus", "node_watchdog_bootstatus", "What the timer says about the last start."),
    ("fw_version", "node_watchdog_fw_version", "Version of the timer's firmware."),
    ("nowayout", "node_watchdog_nowayout", "1 for a timer that cannot be stopped once it runs."),
    ("timeleft", "node_watchdog_timeleft_seconds", "Time until the timer restarts the host."),
    ("timeout", "node_watchdog_timeout_seconds", "Time after which the timer restarts the host."),
    (
        "pretimeout",
        "node_watchdog_pretimeout_seconds",
        "How long before that the timer warns the kernel.",
    ),
    (
        "access_cs0",
        "node_watchdog_access_cs0",
        "1 for a timer that started the host from its second memory of firmware.",
    ),
];

/// Files whose text becomes a label of the same name.
const TEXTS: [&str; 5] = ["options", "identity", "state", "status", "pretimeout_governor"];

/// Watchdog timers, their times and their state.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchdogProbe;

impl Probe for WatchdogProbe {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let mut device = Device::new(host, format!("{FOLDER}/{}", entry.name));
            let name = ("name", entry.name.as_str());
            for (file, metric, help) in NUMBERS {
                if let Some(value) = device.number(file, &mut faults) {
                    out.gauge(metric, help, &[name], value);
                }
            }
            let values = TEXTS.map(|file| device.text(file, &mut faults).unwrap_or_default());
            let mut labels = vec![name];
            labels.extend(TEXTS.into_iter().zip(values.iter().map(String::as_str)));
            let help = "The make and state of a watchdog timer.";
            out.gauge("node_watchdog_info", help, &labels, 1.0);
        }
        faults.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn timers_are_told_as_far_as_they_say() {
        let (_folder, host) = host_with(&[
            ("sys/class/watchdog/watchdog0/identity", b"iTCO_wdt\n"),
            ("sys/class/watchdog/watchdog0/timeout", b"30\n"),
            ("sys/class/watchdog/watchdog0/timeleft", b"soon\n"),
            ("sys/class/watchdog/watchdog1/dev", b"10:130\n"),
        ]);
        let mut out = Observation::at(0);
        let error = WatchdogProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_watchdog_info{identity=\"\",name=\"watchdog1\",options=\"\",\
                 pretimeout_governor=\"\",state=\"\",status=\"\"} 1",
                "node_watchdog_info{identity=\"iTCO_wdt\",name=\"watchdog0\",options=\"\",\
                 pretimeout_governor=\"\",state=\"\",status=\"\"} 1",
                "node_watchdog_timeout_seconds{name=\"watchdog0\"} 30",
            ]
        );
        assert_eq!(error, "class/watchdog/watchdog0, line 1, timeleft: \"soon\" is not a number");
    }
}
