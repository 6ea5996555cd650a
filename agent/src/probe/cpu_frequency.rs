//! How fast processors run: `/sys/devices/system/cpu/cpu*/cpufreq`.

use upkeep_model::Observation;

use super::cpu::for_each_number;
use super::device::{Device, number_after};
use super::{Faults, Probe, ProbeError};
use crate::host::{EntryKind, Host, Tree};

const FOLDER: &str = "devices/system/cpu";

/// The kernel counts thousands.
const HERTZ_PER_UNIT: f64 = 1000.0;

/// The files that hold a frequency. Those of the hardware may be for the administrator only.
const FREQUENCIES: [(&str, &str, &str); 7] = [
    ("cpuinfo_cur_freq", "node_cpu_frequency_hertz", "How fast a processor runs."),
    ("cpuinfo_avg_freq", "node_cpu_frequency_avg_hertz", "How fast a processor ran on average."),
    ("cpuinfo_min_freq", "node_cpu_frequency_min_hertz", "How slow a processor can run."),
    ("cpuinfo_max_freq", "node_cpu_frequency_max_hertz", "How fast a processor can run."),
    (
        "scaling_cur_freq",
        "node_cpu_scaling_frequency_hertz",
        "How fast the kernel lets a processor run now.",
    ),
    (
        "scaling_min_freq",
        "node_cpu_scaling_frequency_min_hertz",
        "How slow the kernel may let a processor run.",
    ),
    (
        "scaling_max_freq",
        "node_cpu_scaling_frequency_max_hertz",
        "How fast the kernel may let a processor run.",
    ),
];

/// Frequencies of processors, and by which rule the kernel chooses them.
///
/// Kernels before 5.18 let whoever asks for a processor's frequency wait for some milliseconds, one
/// processor after the other; so this probe stands behind those that are quick.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuFrequencyProbe;

impl Probe for CpuFrequencyProbe {
    fn name(&self) -> &'static str {
        "cpufreq"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let offline = offline(host, &mut faults);
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let Some(number) = number_after(&entry.name, "cpu") else { continue };
            // A processor that is switched off keeps its folder, and asking it fails.
            if entry.kind == EntryKind::File
                || number.parse().is_ok_and(|number| offline.contains(&number))
            {
                continue;
            }
            let device = Device::new(host, format!("{FOLDER}/{}/cpufreq", entry.name));
            observe_processor(number, device, &mut faults, out);
        }
        faults.into_result()
    }
}

/// The processors that are switched off.
fn offline(host: &Host, faults: &mut Faults) -> Vec<u32> {
    let path = format!("{FOLDER}/offline");
    let text = faults.keep(host.read_if_present(Tree::Sys, &path)).flatten();
    let mut numbers = Vec::new();
    for_each_number(text.as_deref().unwrap_or_default(), &path, faults, |number| {
        numbers.push(number);
    });
    numbers
}

fn observe_processor(
    cpu: &str,
    mut device: Device<'_>,
    faults: &mut Faults,
    out: &mut Observation,
) {
    for (file, metric, help) in FREQUENCIES {
        if let Some(value) = device.number_if_permitted(file, faults) {
            out.gauge(metric, help, &[("cpu", cpu)], value * HERTZ_PER_UNIT);
        }
    }
    let Some(chosen) = device.text("scaling_governor", faults) else { return };
    let offered = device.text("scaling_available_governors", faults).unwrap_or_default();
    let is_offered = offered.split_ascii_whitespace().any(|governor| governor == chosen);
    if !offered.is_empty() && !is_offered {
        let file = format!("{FOLDER}/cpu{cpu}/cpufreq");
        faults.value(
            &file,
            1,
            "scaling_governor",
            format!("{chosen:?} is not among those offered"),
        );
        return;
    }
    for governor in offered.split_ascii_whitespace() {
        let help = "1 for the rule by which the kernel chooses a processor's frequency.";
        let value = f64::from(u8::from(governor == chosen));
        let labels = [("cpu", cpu), ("governor", governor)];
        out.gauge("node_cpu_scaling_governor", help, &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn frequencies_and_governors_are_told() {
        let (_folder, host) = host_with(&[
            ("sys/devices/system/cpu/offline", b"2-3\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_avg_freq", b"1100000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", b"3400000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", b"fast\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", b"powersave\n"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors",
                b"performance powersave \n",
            ),
            ("sys/devices/system/cpu/cpu1/topology/core_id", b"0\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", b"p\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_available_governors", b"powersave\n"),
            ("sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq", b"3400000\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", b"3400000\n"),
        ]);
        let mut out = Observation::at(0);
        let error = CpuFrequencyProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            page_of(&out),
            [
                "node_cpu_frequency_avg_hertz{cpu=\"0\"} 1.1e+09",
                "node_cpu_frequency_max_hertz{cpu=\"0\"} 3.4e+09",
                "node_cpu_scaling_governor{cpu=\"0\",governor=\"performance\"} 0",
                "node_cpu_scaling_governor{cpu=\"0\",governor=\"powersave\"} 1",
            ]
        );
        assert_eq!(
            error,
            "devices/system/cpu/cpu0/cpufreq, line 1, scaling_cur_freq: \"fast\" is not a number; \
             devices/system/cpu/cpu1/cpufreq, line 1, scaling_governor: \"p\" is not among those offered"
        );
    }
}
