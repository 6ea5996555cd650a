//! Whether what the agent saw is what node_exporter saw right before and right after.

use std::collections::BTreeSet;

use glob::Pattern;
use upkeep_agent::exposition::FamilyKind;

use super::look::{Look, Name, Value};
use super::page::{Difference, Row};

/// By how much values move between two looks, in percent and beyond that in their own unit: they
/// are in motion by themselves, or looking at them moves them. All other gauges stand still.
const DRIFT: [(&str, f64, f64); 24] = [
    ("node_arp_entries", 0.0, 4.0),
    ("node_cpu_*frequency_hertz", 100.0, 0.0),
    ("node_disk_io_now", 0.0, 64.0),
    ("node_entropy_available_bits", 0.0, 256.0),
    ("node_filefd_allocated", 0.0, 512.0),
    ("node_filesystem_avail_bytes", 1.0, MIB * 64.0),
    ("node_filesystem_free_bytes", 1.0, MIB * 64.0),
    ("node_filesystem_files_free", 1.0, 1000.0),
    ("node_hwmon_*", 25.0, 5.0),
    ("node_load*", 5.0, 0.5),
    ("node_memory_*", 5.0, MIB * 64.0),
    ("node_netstat_Tcp_CurrEstab", 0.0, 32.0),
    ("node_nf_conntrack_entries", 10.0, 64.0),
    ("node_power_supply_*", 10.0, 0.1),
    ("node_processes_*", 5.0, 32.0),
    ("node_procs_*", 0.0, 32.0),
    ("node_sockstat_*_bytes", 0.0, MIB),
    ("node_sockstat_*", 0.0, 64.0),
    ("node_tcp_connection_states", 0.0, 32.0),
    ("node_thermal_zone_temp", 25.0, 5.0),
    ("node_timex_*error_seconds", 5.0, 0.01),
    ("node_timex_frequency_adjustment_ratio", 0.0, 1e-5),
    ("node_timex_offset_seconds", 0.0, 0.01),
    ("node_udp_queues", 0.0, MIB),
];

const MIB: f64 = 1024.0 * 1024.0;

/// How long something takes is another number each time.
const ANY_VALUE: &str = "node_scrape_collector_duration_seconds";

/// The kernel's clocks of a processor at rest go back by a few ticks now and then, in seconds.
const CLOCK_SLIP: f64 = 0.1;

/// Every difference that the page does not tell of, and every difference that it tells of and that
/// there is not.
pub fn faults(rows: &[Row], first: &Look, agent: &Look, second: &Look) -> Vec<String> {
    let names: BTreeSet<&Name> = first.keys().chain(agent.keys()).chain(second.keys()).collect();
    let fault = |name| fault(rows, name, first.get(name), agent.get(name), second.get(name));
    names.into_iter().filter_map(fault).collect()
}

fn fault(
    rows: &[Row],
    name: &Name,
    before: Option<&Value>,
    seen: Option<&Value>,
    after: Option<&Value>,
) -> Option<String> {
    let told = |difference: Difference| {
        rows.iter().find(|row| row.difference == difference && row.is_about(name))
    };
    let Some(seen) = seen else {
        // What is in one of the two looks alone was on its way.
        before.and(after)?;
        let row = told(Difference::OnlyNodeExporter).or(told(Difference::OtherSeries));
        return row.is_none().then(|| format!("only node_exporter has {name}"));
    };
    let Some(other) = before.or(after) else {
        let row = told(Difference::OnlyAgent).or(told(Difference::OtherSeries));
        return row.is_none().then(|| format!("only the agent has {name}"));
    };
    if let Some(row) = told(Difference::OnlyAgent).or(told(Difference::OnlyNodeExporter)) {
        return Some(format!("line {} of the page, but both have {name}", row.line));
    }
    if told(Difference::OtherValue).is_some() {
        return None;
    }
    fault_of_value(name, *seen, *before.unwrap_or(other), *after.unwrap_or(other))
}

fn fault_of_value(
    name: &Name,
    (kind, value): Value,
    (other_kind, before): Value,
    (_, after): Value,
) -> Option<String> {
    if kind != other_kind {
        return Some(format!("{name} is a {kind:?}, at node_exporter a {other_kind:?}"));
    }
    let is_between = |slip: f64| (before - slip..=after + slip).contains(&value);
    let agrees = match (kind, name.metric.as_str()) {
        (_, ANY_VALUE) => true,
        (_, "node_time_seconds") => is_between(0.0),
        (_, "node_cpu_seconds_total") => is_between(CLOCK_SLIP),
        (FamilyKind::Counter, _) => is_between(0.0),
        (_, metric) => match drift(metric) {
            Some((percent, more)) => {
                let room = percent / 100.0 * before.abs().max(after.abs()) + more;
                (before.min(after) - room..=before.max(after) + room).contains(&value)
            }
            // The kernel's counters of which node_exporter does not say that they are any.
            None if kind == FamilyKind::Untyped => is_between(0.0),
            None => value == before || value == after || (value.is_nan() && before.is_nan()),
        },
    };
    (!agrees).then(|| format!("{name} is {value}, at node_exporter {before} and then {after}"))
}

fn drift(metric: &str) -> Option<(f64, f64)> {
    let is_of = |pattern: &str| Pattern::new(pattern).is_ok_and(|one| one.matches(metric));
    let (_, percent, more) = DRIFT.iter().find(|(pattern, ..)| is_of(pattern))?;
    Some((*percent, *more))
}
