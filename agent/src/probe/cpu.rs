//! Where processors spend their time: `/proc/stat`, and what slows them: `/sys/devices/system/cpu`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use upkeep_model::Observation;

use super::device::{Device, number_after};
use super::{Faults, Probe, ProbeError, cpu_info};
use crate::host::{Host, Tree};

const STAT: &str = "stat";

const CPU_FOLDER: &str = "devices/system/cpu";

/// The kernel counts time in these units a second for its users, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A counter of idle time that falls by this many seconds or more is that of another processor in
/// the same place; smaller steps back are an old fault of the kernel and are smoothed.
const REPLACED_AFTER_SECONDS: f64 = 3.0;

/// More processors than any kernel is built for; a range that goes beyond is garbage.
const MOST_PROCESSORS: u32 = 1 << 16;

/// The columns of a processor's line.
const COLUMNS: [Column; 10] = [
    Column { metric: SECONDS, mode: "user" },
    Column { metric: SECONDS, mode: "nice" },
    Column { metric: SECONDS, mode: "system" },
    Column { metric: SECONDS, mode: "idle" },
    Column { metric: SECONDS, mode: "iowait" },
    Column { metric: SECONDS, mode: "irq" },
    Column { metric: SECONDS, mode: "softirq" },
    Column { metric: SECONDS, mode: "steal" },
    Column { metric: GUEST, mode: "user" },
    Column { metric: GUEST, mode: "nice" },
];

const IDLE: usize = 3;

const SECONDS: (&str, &str) =
    ("node_cpu_seconds_total", "Time that a processor spent in a mode since boot.");

const GUEST: (&str, &str) = (
    "node_cpu_guest_seconds_total",
    "Time that a processor spent in virtual machines, which the modes user and nice contain too.",
);

struct Column {
    metric: (&'static str, &'static str),
    mode: &'static str,
}

/// Seconds a column, `None` where an old kernel has no such column.
type Times = [Option<f64>; COLUMNS.len()];

/// What of the processors is shown beside their times, as node_exporter's options.
#[derive(Clone, Copy, Debug)]
pub struct CpuSettings {
    /// Show each processor's make.
    pub info: bool,
    /// Which of the first processor's features to show.
    pub shows_flag: fn(&str) -> bool,
    /// Which of the first processor's faults to show.
    pub shows_bug: fn(&str) -> bool,
}

impl Default for CpuSettings {
    fn default() -> Self {
        Self { info: false, shows_flag: |_| false, shows_bug: |_| false }
    }
}

/// Processor times, throttling and isolation.
#[derive(Debug, Default)]
pub struct CpuProbe {
    settings: CpuSettings,
    seen: Mutex<BTreeMap<u32, Times>>,
}

impl CpuProbe {
    /// A probe with settings of its own.
    pub fn new(settings: CpuSettings) -> Self {
        Self { settings, seen: Mutex::default() }
    }
}

impl Probe for CpuProbe {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        if self.settings.info {
            faults.check(cpu_info::observe(&self.settings, host, out));
        }
        if let Some(text) = faults.keep(host.read(Tree::Proc, STAT)) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            parse(&text, &mut faults, |number, now| {
                let known = seen.entry(number).or_default();
                advance(known, now);
                observe_times(number, known, out);
            });
        }
        faults.check(observe_isolated(host, out));
        let entries = faults.keep(host.list_if_present(Tree::Sys, CPU_FOLDER)).unwrap_or_default();
        let folders = entries.iter().filter_map(|entry| number_after(&entry.name, "cpu"));
        let numbers: Vec<&str> = folders.collect();
        faults.check(observe_throttles(&numbers, host, out));
        faults.check(observe_online(&numbers, host, out));
        faults.into_result()
    }
}

fn observe_times(number: u32, times: &Times, out: &mut Observation) {
    let cpu = number.to_string();
    for (column, seconds) in COLUMNS.iter().zip(times) {
        if let Some(seconds) = *seconds {
            let (metric, help) = column.metric;
            out.counter(metric, help, &[("cpu", &cpu), ("mode", column.mode)], seconds);
        }
    }
}

/// Reads the lines `cpu0 …`, `cpu1 …`; the line `cpu …` is their sum.
fn parse(text: &str, faults: &mut Faults, mut take: impl FnMut(u32, Times)) {
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next().filter(|name| *name != "cpu") else { continue };
        let Some(number) = name.strip_prefix("cpu") else { continue };
        let Ok(number) = number.parse() else {
            faults.value(STAT, at + 1, name, "not the number of a processor");
            continue;
        };
        let times = COLUMNS.map(|column| {
            let word = words.next();
            let ticks =
                word.and_then(|word| word.parse().ok()).filter(|ticks: &f64| ticks.is_finite());
            if ticks.is_none() {
                faults.number(STAT, at + 1, &format!("{name} {}", column.mode), word);
            }
            Some(ticks? / TICKS_PER_SECOND)
        });
        take(number, times);
    }
}

/// Takes newer times over older ones, so that no counter falls while its processor stays.
fn advance(known: &mut Times, now: Times) {
    let idle = |times: &Times| times.get(IDLE).copied().flatten();
    if let (Some(before), Some(after)) = (idle(known), idle(&now))
        && before - after >= REPLACED_AFTER_SECONDS
    {
        *known = Times::default();
    }
    for (known, now) in known.iter_mut().zip(now) {
        *known = match (*known, now) {
            (Some(before), Some(after)) => Some(before.max(after)),
            (_, now) => now,
        };
    }
}

fn observe_isolated(host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
    let path = format!("{CPU_FOLDER}/isolated");
    let Some(text) = host.read_if_present(Tree::Sys, &path)? else { return Ok(()) };
    let mut faults = Faults::default();
    for_each_number(&text, &path, &mut faults, |number| {
        let help = "1 for a processor that the scheduler leaves alone.";
        out.gauge("node_cpu_isolated", help, &[("cpu", &number.to_string())], 1.0);
    });
    faults.into_result()
}

/// Reads a list of processors such as `0-3,8`.
pub(super) fn for_each_number(
    text: &str,
    file: &str,
    faults: &mut Faults,
    mut take: impl FnMut(u32),
) {
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) if last < MOST_PROCESSORS => (first..=last).for_each(&mut take),
            _ => faults.value(file, 1, range, "not a range of processors"),
        }
    }
}

/// Adds which processors are switched on. Where the first one cannot be switched off, as on most
/// machines with x86 processors, node_exporter tells it of none.
fn observe_online(
    cpu_numbers: &[&str],
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    for (at, cpu) in cpu_numbers.iter().enumerate() {
        let path = format!("{CPU_FOLDER}/cpu{cpu}/online");
        let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &path)).flatten() else {
            if at == 0 {
                break;
            }
            continue;
        };
        let value = match text.trim() {
            "0" => 0.0,
            "1" => 1.0,
            other => {
                faults.value(&path, 1, "online", format!("{other:?} is neither 0 nor 1"));
                continue;
            }
        };
        let help = "1 for a processor that is switched on.";
        out.gauge("node_cpu_online", help, &[("cpu", cpu)], value);
    }
    faults.into_result()
}

fn observe_throttles(
    cpu_numbers: &[&str],
    host: &Host,
    out: &mut Observation,
) -> Result<(), ProbeError> {
    let (mut cores, mut packages) = (BTreeSet::new(), BTreeSet::new());
    let mut faults = Faults::default();
    for number in cpu_numbers {
        let mut device = Device::new(host, format!("{CPU_FOLDER}/cpu{number}"));
        let package = device.number("topology/physical_package_id", &mut faults);
        let Some(package) = package else { continue };
        let Some(core) = device.number("topology/core_id", &mut faults) else { continue };
        let (package, core) = (package.to_string(), core.to_string());
        if !cores.contains(&(package.clone(), core.clone()))
            && let Some(count) = device.number("thermal_throttle/core_throttle_count", &mut faults)
        {
            out.counter(
                "node_cpu_core_throttles_total",
                "How often a core was slowed down for its heat.",
                &[("package", &package), ("core", &core)],
                count,
            );
            cores.insert((package.clone(), core));
        }
        if !packages.contains(&package)
            && let Some(count) =
                device.number("thermal_throttle/package_throttle_count", &mut faults)
        {
            out.counter(
                "node_cpu_package_throttles_total",
                "How often a package of cores was slowed down for its heat.",
                &[("package", &package)],
                count,
            );
            packages.insert(package);
        }
    }
    faults.into_result()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    fn times(values: &[f64]) -> Times {
        let mut times = Times::default();
        for (time, value) in times.iter_mut().zip(values) {
            *time = Some(*value);
        }
        times
    }

    #[test]
    fn processors_are_read() {
        let check = |text: &str, expect: &[(u32, Times)], fault: &str| {
            let (mut faults, mut seen) = (Faults::default(), Vec::new());
            parse(text, &mut faults, |number, times| seen.push((number, times)));
            assert_eq!(seen, expect, "{text:?}");
            let said =
                faults.into_result().map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(said, fault);
        };
        let whole = times(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        check("cpu  1 1\ncpu7 100 200 300 400 500 600 700 800 900 1000\nintr 5", &[(7, whole)], "");
        let mut gap = times(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        gap[1] = None;
        check(
            "cpu0 100 x 300 400 500 600 700 800 900",
            &[(0, gap)],
            "stat, line 1, cpu0 nice: \"x\" is not a number; stat, line 1, cpu0 nice: missing",
        );
        check("cpux 1", &[], "stat, line 1, cpux: not the number of a processor");
    }

    #[test]
    fn no_counter_falls_unless_the_processor_was_replaced() {
        let check = |before: &[f64], now: &[f64], expect: &[f64]| {
            let mut known = times(before);
            advance(&mut known, times(now));
            assert_eq!(known, times(expect), "{before:?} {now:?}");
        };
        check(
            &[10.0, 0.0, 0.0, 50.0, 9.0],
            &[11.0, 1.0, 1.0, 49.0, 8.0],
            &[11.0, 1.0, 1.0, 50.0, 9.0],
        );
        check(&[10.0, 0.0, 0.0, 50.0, 9.0], &[1.0, 0.0, 0.0, 2.0, 0.5], &[1.0, 0.0, 0.0, 2.0, 0.5]);
    }

    #[test]
    fn lists_of_processors_are_read() {
        let check = |text: &str, expect: &[u32], fault: &str| {
            let (mut faults, mut seen) = (Faults::default(), Vec::new());
            for_each_number(text, "list", &mut faults, |number| seen.push(number));
            assert_eq!(seen, expect, "{text:?}");
            let said =
                faults.into_result().map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(said, fault);
        };
        check("0-2,8\n", &[0, 1, 2, 8], "");
        check("\n", &[], "");
        check("3-1", &[], "");
        check(
            "1,x,4-",
            &[1],
            "list, line 1, x: not a range of processors; \
             list, line 1, 4-: not a range of processors",
        );
        check("0-4294967295", &[], "list, line 1, 0-4294967295: not a range of processors");
    }

    #[test]
    fn processors_that_are_switched_off_are_told_where_the_first_one_can_be() {
        let check = |files: &[(&str, &[u8])], expect: &[&str]| {
            let (_folder, host) = host_with(files);
            let mut out = Observation::at(0);
            let _no_stat = CpuProbe::default().observe(&host, &mut out);
            assert_eq!(page_of(&out), expect);
        };
        check(
            &[
                ("sys/devices/system/cpu/cpu0/online", b"1\n"),
                ("sys/devices/system/cpu/cpu1/online", b"0\n"),
                ("sys/devices/system/cpu/cpu3/online", b"?\n"),
                ("sys/devices/system/cpu/cpu2/topology/core_id", b"0\n"),
                ("sys/devices/system/cpu/cpuidle/current_driver", b"none\n"),
            ],
            &["node_cpu_online{cpu=\"0\"} 1", "node_cpu_online{cpu=\"1\"} 0"],
        );
        check(
            &[
                ("sys/devices/system/cpu/cpu0/topology/core_id", b"0\n"),
                ("sys/devices/system/cpu/cpu1/online", b"1\n"),
            ],
            &[],
        );
    }
}
