//! How memory is used on each node of a machine with several: `/sys/devices/system/node`.

use upkeep_model::{MetricKind, Observation};

use super::memory::push_field;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "devices/system/node";

/// Memory by node, as `node_memory_numa_<field>`, in bytes where the kernel gives a size.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryNumaProbe;

impl Probe for MemoryNumaProbe {
    fn name(&self) -> &'static str {
        "meminfo_numa"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mut name = String::new();
        for entry in host.list_if_present(Tree::Sys, FOLDER)? {
            let Some(node) = entry.name.strip_prefix("node").filter(|rest| is_number(rest)) else {
                continue;
            };
            let mut take = |kind, field: &str, suffix: &str, value: f64| {
                name.clear();
                name.push_str("node_memory_numa_");
                push_field(&mut name, field);
                name.push_str(suffix);
                let help = "Memory of a node as the kernel counts it.";
                match kind {
                    MetricKind::Counter => out.counter(&name, help, &[("node", node)], value),
                    _ => out.gauge(&name, help, &[("node", node)], value),
                }
            };
            for (file, parse) in FILES {
                let file = format!("{FOLDER}/{}/{file}", entry.name);
                if let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &file)).flatten() {
                    parse(&file, &text, &mut faults, &mut take);
                }
            }
        }
        faults.into_result()
    }
}

/// Takes the kind, name, suffix and value of a number.
type Take<'take> = &'take mut dyn FnMut(MetricKind, &str, &str, f64);

type Parse = fn(&str, &str, &mut Faults, Take<'_>);

const FILES: [(&str, Parse); 2] = [("meminfo", parse_use), ("numastat", parse_placement)];

/// Reads lines such as `Node 0 MemTotal:  134182340 kB` and `Node 0 HugePages_Free:  0`.
fn parse_use(file: &str, text: &str, faults: &mut Faults, take: Take<'_>) {
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace().skip(2);
        let Some(field) = words.next().and_then(|word| word.strip_suffix(':')) else {
            faults.value(file, at + 1, line.trim(), "no colon after the name");
            continue;
        };
        let Some(number) = faults.number(file, at + 1, field, words.next()) else { continue };
        match words.next() {
            None => take(MetricKind::Gauge, field, "", number),
            Some("kB") => take(MetricKind::Gauge, field, "_bytes", number * 1024.0),
            Some(unit) => faults.value(file, at + 1, field, format!("unknown unit {unit:?}")),
        }
    }
}

/// Reads lines such as `numa_hit 193460335812`.
fn parse_placement(file: &str, text: &str, faults: &mut Faults, take: Take<'_>) {
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(field) = words.next() else { continue };
        if let Some(number) = faults.number(file, at + 1, field, words.next()) {
            take(MetricKind::Counter, field, "_total", number);
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn nodes_are_read_and_garbage_is_left_out() {
        let (_folder, host) = host_with(&[
            (
                "sys/devices/system/node/node1/meminfo",
                b"\nNode 1 MemFree:  2 kB\nNode 1 Active(anon): 1 kB\nNode 1 HugePages_Free: 3\n\
                  Node 1 Odd: 1 MB\nNode 1 Bad: x kB\nNode 1\n",
            ),
            ("sys/devices/system/node/node1/numastat", b"numa_hit 7\nnuma_miss\n"),
            ("sys/devices/system/node/node2/meminfo", b"Node 2 MemFree: 1 kB\n"),
            ("sys/devices/system/node/online", b"1-2\n"),
        ]);
        let mut out = Observation::at(0);
        let error = MemoryNumaProbe.observe(&host, &mut out).unwrap_err().to_string();
        let at = "devices/system/node/node1";
        assert_eq!(
            error,
            format!(
                "{at}/meminfo, line 5, Odd: unknown unit \"MB\"; \
                 {at}/meminfo, line 6, Bad: \"x\" is not a number; \
                 {at}/meminfo, line 7, Node 1: no colon after the name; \
                 {at}/numastat, line 2, numa_miss: missing"
            )
        );
        assert_eq!(
            page_of(&out),
            [
                "node_memory_numa_Active_anon_bytes{node=\"1\"} 1024",
                "node_memory_numa_HugePages_Free{node=\"1\"} 3",
                "node_memory_numa_MemFree_bytes{node=\"1\"} 2048",
                "node_memory_numa_MemFree_bytes{node=\"2\"} 1024",
                "node_memory_numa_numa_hit_total{node=\"1\"} 7",
            ]
        );
    }
}
