//! Disks behind an NVMe controller: `/sys/class/nvme`.

use upkeep_model::Observation;

use super::device::{Device, is_number, number_after};
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "class/nvme";

/// The labels of a controller, and the files they are read from.
const LABELS: [(&str, &str); 5] = [
    ("firmware_revision", "firmware_rev"),
    ("model", "model"),
    ("serial", "serial"),
    ("state", "state"),
    ("cntlid", "cntlid"),
];

/// NVMe controllers and the size of their namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct NvmeProbe;

impl Probe for NvmeProbe {
    fn name(&self) -> &'static str {
        "nvme"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            if number_after(&entry.name, "nvme").is_some() {
                faults.check(observe_controller(&entry.name, host, out));
            }
        }
        faults.into_result()
    }
}

fn observe_controller(
    controller: &str,
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    let folder = format!("{FOLDER}/{controller}");
    let mut device = Device::new(host, folder.clone());
    let values = LABELS.map(|(_, file)| device.text(file, &mut faults).unwrap_or_default());
    let mut labels = vec![("device", controller)];
    let known = LABELS.iter().zip(&values);
    labels.extend(known.map(|((label, _), value)| (*label, value.as_str())));
    out.gauge("node_nvme_info", "The make of an NVMe controller.", &labels, 1.0);
    for entry in faults.keep(host.list(Tree::Sys, &folder)).unwrap_or_default() {
        if let Some(namespace) = namespace_of(&entry.name) {
            let device = Device::new(host, format!("{folder}/{}", entry.name));
            observe_namespace(controller, namespace, device, &mut faults, out);
        }
    }
    faults.into_result()
}

/// The namespace that a folder is of: `1` of `nvme0n1`, and of `nvme0c2n1`, as it is called where
/// several controllers lead to it.
fn namespace_of(folder: &str) -> Option<&str> {
    let (controller, namespace) = folder.strip_prefix("nvme")?.split_once('n')?;
    let (subsystem, path) = controller.split_once('c').unwrap_or((controller, "0"));
    (is_number(subsystem) && is_number(path) && is_number(namespace)).then_some(namespace)
}

/// Adds what is known of one namespace. Its size is counted by the kernel in units of 512 bytes;
/// node_exporter takes them for logical blocks, and its values are what dashboards expect.
fn observe_namespace(
    controller: &str,
    namespace: &str,
    mut device: Device<'_>,
    faults: &mut Faults,
    out: &mut Observation,
) {
    let state = device.text("ana_state", faults).unwrap_or_else(|| "unknown".to_owned());
    let labels = [("device", controller), ("nsid", namespace), ("ana_state", state.as_str())];
    let help = "How a namespace can be reached by its controller.";
    out.gauge("node_nvme_namespace_info", help, &labels, 1.0);
    let labels = [("device", controller), ("nsid", namespace)];
    let Some(block_bytes) = device.number("queue/logical_block_size", faults) else { return };
    let help = "The unit in which a namespace is read and written.";
    out.gauge("node_nvme_namespace_logical_block_size_bytes", help, &labels, block_bytes);
    if let Some(blocks) = device.number("size", faults) {
        let bytes = blocks * block_bytes;
        let help = "Size of a namespace.";
        out.gauge("node_nvme_namespace_size_bytes", help, &labels, bytes);
        out.gauge("node_nvme_namespace_capacity_bytes", help, &labels, bytes);
    }
    // Kernels before 6.9 do not tell this.
    if let Some(blocks) = device.number("nuse", faults) {
        let help = "Space of a namespace that is in use.";
        out.gauge("node_nvme_namespace_used_bytes", help, &labels, blocks * block_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn namespaces_are_told_from_other_folders() {
        let check = |folder: &str, expect: Option<&str>| {
            assert_eq!(namespace_of(folder), expect, "{folder}");
        };
        check("nvme0n1", Some("1"));
        check("nvme10n32", Some("32"));
        check("nvme0c3n2", Some("2"));
        check("ng0n1", None);
        check("nvme0", None);
        check("nvme0n", None);
        check("nvme0n1p1", None);
        check("nvmen1", None);
        check("nvme0cn1", None);
    }

    #[test]
    fn a_controller_is_told_as_far_as_it_says() {
        let (_folder, host) = host_with(&[
            ("sys/class/nvme/nvme0/model", b"Fast Disk           \n"),
            ("sys/class/nvme/nvme0/state", b"live\n"),
            ("sys/class/nvme/nvme0/nvme0n1/size", b"1000\n"),
            ("sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", b"512\n"),
            ("sys/class/nvme/nvme0/nvme0c0n2/size", b"1000\n"),
            ("sys/class/nvme/nvme0/nvme0c0n2/nuse", b"?\n"),
            ("sys/class/nvme/nvme0/nvme0c0n2/ana_state", b"optimized\n"),
            ("sys/class/nvme/nvme0/nvme0c0n2/queue/logical_block_size", b"4096\n"),
        ]);
        let mut out = Observation::at(0);
        let error = NvmeProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_nvme_info{cntlid=\"\",device=\"nvme0\",firmware_revision=\"\",\
                 model=\"Fast Disk\",serial=\"\",state=\"live\"} 1",
                "node_nvme_namespace_capacity_bytes{device=\"nvme0\",nsid=\"1\"} 512000",
                "node_nvme_namespace_capacity_bytes{device=\"nvme0\",nsid=\"2\"} 4.096e+06",
                "node_nvme_namespace_info{ana_state=\"optimized\",device=\"nvme0\",nsid=\"2\"} 1",
                "node_nvme_namespace_info{ana_state=\"unknown\",device=\"nvme0\",nsid=\"1\"} 1",
                "node_nvme_namespace_logical_block_size_bytes{device=\"nvme0\",nsid=\"1\"} 512",
                "node_nvme_namespace_logical_block_size_bytes{device=\"nvme0\",nsid=\"2\"} 4096",
                "node_nvme_namespace_size_bytes{device=\"nvme0\",nsid=\"1\"} 512000",
                "node_nvme_namespace_size_bytes{device=\"nvme0\",nsid=\"2\"} 4.096e+06",
            ]
        );
        assert_eq!(error, "class/nvme/nvme0/nvme0c0n2, line 1, nuse: \"?\" is not a number");
    }
}
