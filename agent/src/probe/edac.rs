//! Memory that errs: `/sys/devices/system/edac/mc`.

use upkeep_model::Observation;

use super::device::{Device, is_number, number_after};
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "devices/system/edac/mc";

/// Errors that were corrected and errors that were not, of each memory controller, its rows and
/// their channels. Errors whose row the controller cannot tell count for the row `unknown`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdacProbe;

impl Probe for EdacProbe {
    fn name(&self) -> &'static str {
        "edac"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let Some(controller) = number_after(&entry.name, "mc") else { continue };
            let folder = format!("{FOLDER}/{}", entry.name);
            faults.check(observe_controller(controller, &folder, host, out));
        }
        faults.into_result()
    }
}

fn observe_controller(
    controller: &str,
    folder: &str,
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    let mut device = Device::new(host, folder.to_owned());
    let labels = [("controller", controller)];
    if let Some(count) = device.number("ce_count", &mut faults) {
        let help = "Memory errors of a controller that were corrected.";
        out.counter("node_edac_correctable_errors_total", help, &labels, count);
    }
    if let Some(count) = device.number("ue_count", &mut faults) {
        let help = "Memory errors of a controller that could not be corrected.";
        out.counter("node_edac_uncorrectable_errors_total", help, &labels, count);
    }
    let corrected = device.number("ce_noinfo_count", &mut faults);
    let uncorrected = device.number("ue_noinfo_count", &mut faults);
    observe_row(controller, "unknown", corrected, uncorrected, out);
    for entry in faults.keep(host.list(Tree::Sys, folder)).unwrap_or_default() {
        let Some(row) = number_after(&entry.name, "csrow") else { continue };
        let folder = format!("{folder}/{}", entry.name);
        let mut device = Device::new(host, folder.clone());
        let corrected = device.number("ce_count", &mut faults);
        let uncorrected = device.number("ue_count", &mut faults);
        observe_row(controller, row, corrected, uncorrected, out);
        for entry in faults.keep(host.list(Tree::Sys, &folder)).unwrap_or_default() {
            if let Some(channel) = channel_of(&entry.name) {
                observe_channel([controller, row, channel], &mut device, &mut faults, out);
            }
        }
    }
    faults.into_result()
}

fn observe_row(
    controller: &str,
    row: &str,
    corrected: Option<f64>,
    uncorrected: Option<f64>,
    out: &mut Observation,
) {
    let labels = [("controller", controller), ("csrow", row)];
    if let Some(count) = corrected {
        let help = "Memory errors of a row that were corrected.";
        out.counter("node_edac_csrow_correctable_errors_total", help, &labels, count);
    }
    if let Some(count) = uncorrected {
        let help = "Memory errors of a row that could not be corrected.";
        out.counter("node_edac_csrow_uncorrectable_errors_total", help, &labels, count);
    }
}

/// The channel whose corrected errors a file counts: `0` of `ch0_ce_count`.
fn channel_of(file: &str) -> Option<&str> {
    let channel = file.strip_prefix("ch")?.strip_suffix("_ce_count")?;
    is_number(channel).then_some(channel)
}

fn observe_channel(
    [controller, row, channel]: [&str; 3],
    device: &mut Device<'_>,
    faults: &mut Faults,
    out: &mut Observation,
) {
    let name = device.text(&format!("ch{channel}_dimm_label"), faults);
    let name = name.map_or_else(|| "unknown".to_owned(), |name| apart(&name));
    let labels =
        [("controller", controller), ("csrow", row), ("channel", channel), ("dimm_label", &name)];
    if let Some(count) = device.number(&format!("ch{channel}_ce_count"), faults) {
        let help = "Memory errors of a channel that were corrected.";
        out.counter("node_edac_channel_correctable_errors_total", help, &labels, count);
    }
    // Many drivers do not count these by channel.
    if let Some(count) = device.number(&format!("ch{channel}_ue_count"), faults) {
        let help = "Memory errors of a channel that could not be corrected.";
        out.counter("node_edac_channel_uncorrectable_errors_total", help, &labels, count);
    }
}

/// The kernel's own name for a module, `mc#0csrow#1channel#0`, with its parts set apart as
/// node_exporter does.
fn apart(name: &str) -> String {
    name.replace('#', "").replace("csrow", "_csrow").replace("channel", "_channel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn errors_are_counted_by_controller_row_and_channel() {
        let (_folder, host) = host_with(&[
            ("sys/devices/system/edac/mc/mc1/ce_count", b"10\n"),
            ("sys/devices/system/edac/mc/mc1/ue_count", b"many\n"),
            ("sys/devices/system/edac/mc/mc1/ce_noinfo_count", b"1\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ce_count", b"9\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ue_count", b"0\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ch0_ce_count", b"9\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ch0_dimm_label", b"mc#1csrow#2channel#0\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ch1_ce_count", b"0\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/ch1_ue_count", b"3\n"),
            ("sys/devices/system/edac/mc/mc1/csrow2/chx_ce_count", b"5\n"),
            ("sys/devices/system/edac/mc/power/control", b"auto\n"),
        ]);
        let mut out = Observation::at(0);
        let error = EdacProbe.observe(&host, &mut out).unwrap_err().to_string();
        let channel = |channel: &str, name: &str| {
            format!(
                "_errors_total{{channel=\"{channel}\",controller=\"1\",csrow=\"2\",\
                 dimm_label=\"{name}\"}}"
            )
        };
        assert_eq!(
            page_of(&out),
            [
                format!("node_edac_channel_correctable{} 9", channel("0", "mc1_csrow2_channel0")),
                format!("node_edac_channel_correctable{} 0", channel("1", "unknown")),
                format!("node_edac_channel_uncorrectable{} 3", channel("1", "unknown")),
                "node_edac_correctable_errors_total{controller=\"1\"} 10".to_owned(),
                "node_edac_csrow_correctable_errors_total{controller=\"1\",csrow=\"2\"} 9"
                    .to_owned(),
                "node_edac_csrow_correctable_errors_total{controller=\"1\",csrow=\"unknown\"} 1"
                    .to_owned(),
                "node_edac_csrow_uncorrectable_errors_total{controller=\"1\",csrow=\"2\"} 0"
                    .to_owned(),
            ]
        );
        assert_eq!(error, "devices/system/edac/mc/mc1, line 1, ue_count: \"many\" is not a number");
    }
}
