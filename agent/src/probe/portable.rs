//! The base metrics of systems that are not Linux, from the `sysinfo` crate.
//!
//! It is compiled and tested everywhere, so that it does not rot, and asked only where nothing
//! better is: it tells less than the kernel of Linux does, and only of the system it runs on.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sysinfo::{Component, Components, Disk, Disks, Networks, System};
use upkeep_model::Observation;

use super::{Probe, ProbeError};
use crate::host::Host;

/// Processors, memory, load, network and temperatures of whatever system this is.
#[derive(Debug, Default)]
pub struct PortableProbe {
    processors: Mutex<Option<Processors>>,
}

impl Probe for PortableProbe {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn observe(&self, _host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut known = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        let processors = match known.take() {
            Some(processors) => known.insert(processors.advance()),
            None => known.insert(Processors::start()?),
        };
        processors.observe(out);
        observe_memory(&mut processors.system, out);
        observe_load(out);
        if let Ok(boot) = System::boot_time() {
            let help = "When the host booted, in seconds since 1970.";
            out.gauge("node_boot_time_seconds", help, &[], number(boot));
        }
        observe_networks(&Networks::new_with_refreshed_list().map_err(told)?, out);
        // Systems without sensors say that they cannot tell.
        for component in Components::new_with_refreshed_list().iter().flatten() {
            observe_temperature(component, out);
        }
        Ok(())
    }
}

/// File systems and disks of whatever system this is. They are a probe of their own, since a network
/// file system whose server is away may take for ever to answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortableDiskProbe;

impl Probe for PortableDiskProbe {
    fn name(&self) -> &'static str {
        "portable_disk"
    }

    fn observe(&self, _host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let disks = Disks::new_with_refreshed_list().map_err(told)?;
        let (mut places, mut devices) = (HashSet::new(), HashSet::new());
        for disk in &disks {
            if places.insert((disk.name(), disk.mount_point())) {
                observe_filesystem(disk, out);
            }
            if devices.insert(disk.name()) {
                observe_disk(disk, out);
            }
        }
        Ok(())
    }
}

/// What `sysinfo` tells of processors is how busy they were since it last looked. Counters as the
/// dashboards want them are the sum of that over time, from the agent's start on.
#[derive(Debug)]
struct Processors {
    system: System,
    at: Instant,
    /// Idle and busy seconds of each processor.
    spent: Vec<[f64; 2]>,
}

impl Processors {
    fn start() -> Result<Self, ProbeError> {
        let mut system = System::new().map_err(told)?;
        system.refresh_cpu_usage();
        let spent = vec![[0.0; 2]; system.cpus().len()];
        Ok(Self { system, at: Instant::now(), spent })
    }

    fn advance(mut self) -> Self {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at);
        if passed < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL {
            return self;
        }
        self.system.refresh_cpu_usage();
        self.at = now;
        self.spent.resize(self.system.cpus().len(), [0.0; 2]);
        for (spent, processor) in self.spent.iter_mut().zip(self.system.cpus()) {
            let busy = f64::from(processor.usage() / 100.0).clamp(0.0, 1.0);
            let [idle_seconds, busy_seconds] = spent;
            *idle_seconds += (1.0 - busy) * passed.as_secs_f64();
            *busy_seconds += busy * passed.as_secs_f64();
        }
        self
    }

    fn observe(&self, out: &mut Observation) {
        for (index, spent) in self.spent.iter().enumerate() {
            let cpu = index.to_string();
            for (mode, seconds) in ["idle", "busy"].into_iter().zip(spent) {
                let help = "Time that a processor spent in a mode since the agent started.";
                let labels = [("cpu", cpu.as_str()), ("mode", mode)];
                out.counter("node_cpu_seconds_total", help, &labels, *seconds);
            }
        }
    }
}

fn observe_memory(system: &mut System, out: &mut Observation) {
    system.refresh_memory();
    let values = [
        ("node_memory_MemTotal_bytes", "Memory of the host.", system.total_memory()),
        ("node_memory_MemFree_bytes", "Memory that nothing uses.", system.free_memory()),
        (
            "node_memory_MemAvailable_bytes",
            "Memory that programs could still get.",
            system.available_memory(),
        ),
        ("node_memory_SwapTotal_bytes", "Swap space of the host.", system.total_swap()),
        ("node_memory_SwapFree_bytes", "Swap space that nothing uses.", system.free_swap()),
    ];
    for (metric, help, value) in values {
        out.gauge(metric, help, &[], number(value));
    }
}

/// Load averages; systems without them say nothing.
fn observe_load(out: &mut Observation) {
    let Ok(load) = System::load_average() else { return };
    let help = "Processes that run or wait, on average.";
    out.gauge("node_load1", help, &[], load.one);
    out.gauge("node_load5", help, &[], load.five);
    out.gauge("node_load15", help, &[], load.fifteen);
}

/// What a disk was asked to do; a disk that holds several file systems is asked once.
fn observe_disk(disk: &Disk, out: &mut Observation) {
    let name = disk.name().to_string_lossy();
    let usage = disk.usage();
    let labels = [("device", name.strip_prefix("/dev/").unwrap_or(&name))];
    let read = number(usage.total_read_bytes);
    out.counter("node_disk_read_bytes_total", "Bytes read.", &labels, read);
    let written = number(usage.total_written_bytes);
    out.counter("node_disk_written_bytes_total", "Bytes written.", &labels, written);
}

/// A sensor is a chip of its own, since systems tell of no chips.
fn observe_temperature(component: &Component, out: &mut Observation) {
    let Some(celsius) = component.temperature().filter(|celsius| celsius.is_finite()) else {
        return;
    };
    let labels = [("chip", component.label()), ("sensor", "temp1")];
    let help = "What a sensor of the host's chips measures.";
    out.gauge("node_hwmon_temp_celsius", help, &labels, f64::from(celsius));
}

fn observe_filesystem(disk: &Disk, out: &mut Observation) {
    let device = disk.name().to_string_lossy();
    let mount_point = disk.mount_point().to_string_lossy();
    let kind = disk.file_system().to_string_lossy();
    let labels = [("device", &*device), ("mountpoint", &*mount_point), ("fstype", &*kind)];
    let free = number(disk.available_space());
    let help = "Size of a file system.";
    out.gauge("node_filesystem_size_bytes", help, &labels, number(disk.total_space()));
    let help = "Space of a file system that users without privileges may take.";
    out.gauge("node_filesystem_avail_bytes", help, &labels, free);
    let help = "1 for a file system that refuses writes.";
    let read_only = f64::from(u8::from(disk.is_read_only()));
    out.gauge("node_filesystem_readonly", help, &labels, read_only);
}

fn observe_networks(networks: &Networks, out: &mut Observation) {
    for (name, data) in networks.iter() {
        let device = name.to_string_lossy();
        let labels = [("device", &*device)];
        let values = [
            ("node_network_receive_bytes_total", "Bytes received.", data.total_received()),
            (
                "node_network_receive_packets_total",
                "Packets received.",
                data.total_packets_received(),
            ),
            (
                "node_network_receive_errs_total",
                "Packets received with errors.",
                data.total_errors_on_received(),
            ),
            ("node_network_transmit_bytes_total", "Bytes sent.", data.total_transmitted()),
            (
                "node_network_transmit_packets_total",
                "Packets sent.",
                data.total_packets_transmitted(),
            ),
            (
                "node_network_transmit_errs_total",
                "Packets that could not be sent for errors.",
                data.total_errors_on_transmitted(),
            ),
        ];
        for (metric, help, value) in values {
            out.counter(metric, help, &labels, number(value));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

fn told(error: sysinfo::Error) -> ProbeError {
    ProbeError::System(error.to_string())
}
