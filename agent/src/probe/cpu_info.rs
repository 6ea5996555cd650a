//! The make of processors: `/proc/cpuinfo` as series, which node_exporter leaves out by default.

use upkeep_model::Observation;

use super::{CpuSettings, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "cpuinfo";

/// The labels of a processor, and the keys they are read from.
const LABELS: [(&str, &str); 10] = [
    ("package", "physical id"),
    ("core", "core id"),
    ("cpu", "processor"),
    ("vendor", "vendor_id"),
    ("family", "cpu family"),
    ("model", "model"),
    ("model_name", "model name"),
    ("microcode", "microcode"),
    ("stepping", "stepping"),
    ("cachesize", "cache size"),
];

/// Adds what the settings ask for.
pub(super) fn observe(
    settings: &CpuSettings,
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let text = host.read(Tree::Proc, FILE)?;
    for (at, block) in text.split("\n\n").filter(|block| !block.trim().is_empty()).enumerate() {
        let labels = LABELS.map(|(label, key)| (label, value_of(block, key).unwrap_or_default()));
        out.gauge("node_cpu_info", "The make of a processor.", &labels, 1.0);
        if at > 0 {
            continue;
        }
        let words = |key| value_of(block, key).unwrap_or_default().split_ascii_whitespace();
        for flag in words("flags").filter(|flag| (settings.shows_flag)(flag)) {
            let help = "A feature of the first processor.";
            out.gauge("node_cpu_flag_info", help, &[("flag", flag)], 1.0);
        }
        for bug in words("bugs").filter(|bug| (settings.shows_bug)(bug)) {
            let help = "A fault of the first processor that the kernel knows of.";
            out.gauge("node_cpu_bug_info", help, &[("bug", bug)], 1.0);
        }
    }
    Ok(())
}

fn value_of<'block>(block: &'block str, key: &str) -> Option<&'block str> {
    block.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_belong_to_the_whole_key() {
        let block = "processor\t: 3\nmodel name\t: CPU: fast\nmodel\t\t: 142\npower management:\n";
        let check = |key, expect| assert_eq!(value_of(block, key), expect, "{key}");
        check("processor", Some("3"));
        check("model", Some("142"));
        check("model name", Some("CPU: fast"));
        check("power management", Some(""));
        check("cpu", None);
    }
}
