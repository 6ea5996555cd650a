//! What the firmware says about the machine: `/sys/class/dmi/id`.

use std::sync::{Mutex, PoisonError};

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/dmi/id";

/// The labels of `node_dmi_info`, and the files they are read from. Serial numbers and the
/// machine's UUID are for the administrator only.
const LABELS: [(&str, &str); 20] = [
    ("bios_date", "bios_date"),
    ("bios_release", "bios_release"),
    ("bios_vendor", "bios_vendor"),
    ("bios_version", "bios_version"),
    ("board_asset_tag", "board_asset_tag"),
    ("board_name", "board_name"),
    ("board_serial", "board_serial"),
    ("board_vendor", "board_vendor"),
    ("board_version", "board_version"),
    ("chassis_asset_tag", "chassis_asset_tag"),
    ("chassis_serial", "chassis_serial"),
    ("chassis_vendor", "chassis_vendor"),
    ("chassis_version", "chassis_version"),
    ("product_family", "product_family"),
    ("product_name", "product_name"),
    ("product_serial", "product_serial"),
    ("product_sku", "product_sku"),
    ("product_uuid", "product_uuid"),
    ("product_version", "product_version"),
    ("system_vendor", "sys_vendor"),
];

/// Makers, models and versions of the machine, its board, its chassis and its firmware.
#[derive(Debug, Default)]
pub struct DmiProbe {
    /// What was read once, since it stays until the next start; `None` before that.
    known: Mutex<Option<Vec<(&'static str, String)>>>,
}

impl Probe for DmiProbe {
    fn name(&self) -> &'static str {
        "dmi"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Faults::default();
        if known.is_none() {
            let read = read(host, &mut faults);
            // What failed is tried again at the next tick.
            if faults.is_empty() {
                *known = Some(read);
            } else {
                observe_labels(&read, out);
            }
        }
        if let Some(known) = &*known {
            observe_labels(known, out);
        }
        faults.into_result()
    }
}

fn read(host: &Host, faults: &mut Faults) -> Vec<(&'static str, String)> {
    let mut known = Vec::new();
    for (label, file) in LABELS {
        match host.read_if_present(Tree::Sys, &format!("{FOLDER}/{file}")) {
            Ok(Some(text)) => known.push((label, text.trim().to_owned())),
            Ok(None) => {}
            Err(error) if error.is_denied() => {}
            Err(error) => faults.note(error),
        }
    }
    known
}

fn observe_labels(known: &[(&'static str, String)], out: &mut Observation) {
    if known.is_empty() {
        return;
    }
    let labels: Vec<_> = known.iter().map(|(label, value)| (*label, value.as_str())).collect();
    out.gauge("node_dmi_info", "What the firmware says about the machine.", &labels, 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn the_machine_is_told_and_read_once() {
        let (folder, host) = host_with(&[
            ("sys/class/dmi/id/sys_vendor", b"Maker Inc. \n"),
            ("sys/class/dmi/id/product_name", b"Box 1\n"),
            ("sys/class/dmi/id/chassis_asset_tag", b"\n"),
            ("sys/class/dmi/id/modalias", b"dmi:\n"),
        ]);
        let probe = DmiProbe::default();
        for _ in 0..2 {
            let mut out = Observation::at(0);
            probe.observe(&host, &mut out).unwrap();
            let expect = "node_dmi_info{product_name=\"Box 1\",system_vendor=\"Maker Inc.\"} 1";
            assert_eq!(page_of(&out), [expect]);
            std::fs::write(folder.path().join("sys/class/dmi/id/product_name"), b"x").unwrap();
        }
    }

    #[test]
    fn what_fails_is_told_and_tried_again() {
        let (folder, host) = host_with(&[("sys/class/dmi/id/sys_vendor", b"Maker Inc.\n")]);
        let odd = folder.path().join("sys/class/dmi/id/bios_date");
        std::fs::create_dir(&odd).unwrap();
        let probe = DmiProbe::default();
        let mut out = Observation::at(0);
        let error = probe.observe(&host, &mut out).unwrap_err().to_string();
        assert!(error.contains("bios_date: "), "{error}");
        assert_eq!(page_of(&out), ["node_dmi_info{system_vendor=\"Maker Inc.\"} 1"]);
        std::fs::remove_dir(&odd).unwrap();
        std::fs::write(&odd, "01/02/2026\n").unwrap();
        let mut out = Observation::at(0);
        probe.observe(&host, &mut out).unwrap();
        assert_eq!(
            page_of(&out),
            ["node_dmi_info{bios_date=\"01/02/2026\",system_vendor=\"Maker Inc.\"} 1"]
        );
    }

    #[test]
    fn a_machine_without_such_firmware_says_nothing() {
        let (_folder, host) = host_with(&[]);
        let mut out = Observation::at(0);
        DmiProbe::default().observe(&host, &mut out).unwrap();
        assert_eq!(page_of(&out), [""; 0]);
    }
}
