//! What the firmware says about the machine: `/sys/class/dmi/id`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use upkeep_model::Observation;

use super::slow::SlowQuestion;
use super::{Faults, Probe, ProbeError};
use crate::helper::{self, DmiAnswer, HelperError};
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

/// How often the helper is asked while it does not answer.
const RHYTHM: Duration = Duration::from_secs(3600);

/// How long its first answer is waited for, so that the labels are there from the first tick on.
const PATIENCE: Duration = Duration::from_secs(1);

type Serials = Result<DmiAnswer, HelperError>;

/// Makers, models and versions of the machine, its board, its chassis and its firmware. What only
/// the administrator may read comes from the helper; where that does not answer it is left out, as
/// node_exporter leaves it out.
#[derive(Debug, Default)]
pub struct DmiProbe {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unread,
    /// All but the closed files was read.
    Asking(Known, SlowQuestion<Serials>),
    /// Everything was read that ever will be, since it stays until the next start.
    Read(Known),
}

/// Labels and their values.
type Known = Vec<(&'static str, String)>;

impl Probe for DmiProbe {
    fn name(&self) -> &'static str {
        "dmi"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults = Faults::default();
        if let State::Unread = *state {
            let (known, is_closed) = read(host, &mut faults);
            let asked = host.clone();
            let question = is_closed.then(|| {
                SlowQuestion::start("serial numbers", RHYTHM, move || helper::dmi(&asked))
            });
            *state = match question.flatten() {
                // What failed is tried again at the next tick.
                _ if !faults.is_empty() => {
                    observe_labels(&known, out);
                    State::Unread
                }
                Some(question) => State::Asking(known, question),
                None => State::Read(known),
            };
        }
        if let State::Asking(known, question) = &mut *state {
            let answer = question.last(PATIENCE).take();
            if let Some(Ok(answer)) = answer {
                add_serials(&answer, known);
                *state = State::Read(std::mem::take(known));
            }
        }
        if let State::Asking(known, _) | State::Read(known) = &*state {
            observe_labels(known, out);
        }
        faults.into_result()
    }
}

/// Reads what is open, and whether some files are closed.
fn read(host: &Host, faults: &mut Faults) -> (Known, bool) {
    let (mut known, mut is_closed) = (Known::new(), false);
    for (label, file) in LABELS {
        match host.read_if_present(Tree::Sys, &format!("{FOLDER}/{file}")) {
            Ok(Some(text)) => known.push((label, text.trim().to_owned())),
            Ok(None) => {}
            Err(error) if error.is_denied() => is_closed = true,
            Err(error) => faults.note(error),
        }
    }
    (known, is_closed)
}

fn add_serials(answer: &DmiAnswer, known: &mut Known) {
    for (label, file) in LABELS {
        let value = answer.fields.get(file).filter(|_| known.iter().all(|(has, _)| *has != label));
        if let Some(value) = value {
            known.push((label, value.clone()));
        }
    }
}

fn observe_labels(known: &Known, out: &mut Observation) {
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
            let expect = "node_dmi_info{chassis_asset_tag=\"\",product_name=\"Box 1\",\
                 system_vendor=\"Maker Inc.\"} 1";
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
    fn serial_numbers_come_from_the_helper_where_files_are_closed() {
        let (_folder, host) = host_with(&[
            ("sys/class/dmi/id/product_serial", b"S1\n"),
            ("sys/class/dmi/id/product_uuid", b"U1\n"),
        ]);
        let mut known =
            vec![("product_name", "Box 1".to_owned()), ("product_uuid", "U0".to_owned())];
        add_serials(&helper::dmi(&host).unwrap(), &mut known);
        let expect = [("product_name", "Box 1"), ("product_uuid", "U0"), ("product_serial", "S1")];
        assert_eq!(known, expect.map(|(label, value)| (label, value.to_owned())));
    }

    #[test]
    fn a_machine_without_such_firmware_says_nothing() {
        let (_folder, host) = host_with(&[]);
        let mut out = Observation::at(0);
        DmiProbe::default().observe(&host, &mut out).unwrap();
        assert_eq!(page_of(&out), [""; 0]);
    }
}
