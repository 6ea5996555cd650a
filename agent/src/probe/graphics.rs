//! Graphics cards that NVIDIA's driver knows, under the names of NVIDIA's own exporter (DCGM): they
//! are what dashboards and rules for such cards are written for. Of its labels `Hostname` is left
//! out, since who a host is comes from its certificate.
//!
//! Where the driver is not loaded, a tick costs a look at one file.

use std::sync::{Mutex, PoisonError};

use upkeep_model::{MetricKind, Observation};

use super::{Faults, Probe, ProbeError};
use crate::host::{Graphics, GraphicsCard, Host, HostError};

/// After how many ticks a library that failed is tried again: ten minutes at the usual interval.
const TICKS_BEFORE_RETRY: u32 = 60;

/// The exporter counts memory in these units, rounded down.
const BYTES_PER_MEBIBYTE: f64 = (1 << 20) as f64;

/// What a card measures.
const METRICS: [Metric; 16] = [
    gauge("DCGM_FI_DEV_SM_CLOCK", "Clock of the processors in MHz.", |card| card.core_megahertz),
    gauge("DCGM_FI_DEV_MEM_CLOCK", "Clock of the memory in MHz.", |card| card.memory_megahertz),
    gauge("DCGM_FI_DEV_GPU_TEMP", "Temperature of the processors in degrees Celsius.", |card| {
        card.core_celsius
    }),
    gauge("DCGM_FI_DEV_MEMORY_TEMP", "Temperature of the memory in degrees Celsius.", |card| {
        card.memory_celsius
    }),
    gauge("DCGM_FI_DEV_POWER_USAGE", "Power drawn in watts.", |card| card.watts),
    counter(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "Energy taken in thousandths of joules.",
        |card| card.millijoules,
    ),
    counter(
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
        "Transfers over the bus that were repeated.",
        |card| card.bus_replays,
    ),
    gauge("DCGM_FI_DEV_GPU_UTIL", "Time in which the processors were busy in percent.", |card| {
        card.core_busy_percent
    }),
    gauge("DCGM_FI_DEV_MEM_COPY_UTIL", "Time in which the memory was busy in percent.", |card| {
        card.memory_busy_percent
    }),
    gauge("DCGM_FI_DEV_ENC_UTIL", "Time in which the encoder was busy in percent.", |card| {
        card.encoder_busy_percent
    }),
    gauge("DCGM_FI_DEV_DEC_UTIL", "Time in which the decoder was busy in percent.", |card| {
        card.decoder_busy_percent
    }),
    gauge("DCGM_FI_DEV_FB_FREE", "Free memory in MiB.", |card| mebibytes(card.free_bytes)),
    gauge("DCGM_FI_DEV_FB_USED", "Memory in use in MiB.", |card| mebibytes(card.used_bytes)),
    gauge("DCGM_FI_DEV_FB_RESERVED", "Memory that the driver keeps for itself in MiB.", |card| {
        mebibytes(card.reserved_bytes)
    }),
    counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Memory errors that were corrected.", |card| {
        card.corrected_errors
    }),
    counter(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Memory errors that could not be corrected.",
        |card| card.uncorrected_errors,
    ),
];

struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    value: fn(&GraphicsCard) -> Option<f64>,
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    value: fn(&GraphicsCard) -> Option<f64>,
) -> Metric {
    Metric { name, help, kind: MetricKind::Gauge, value }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&GraphicsCard) -> Option<f64>,
) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, value }
}

/// Clocks, temperatures, power, load, memory and errors of graphics cards.
#[derive(Default)]
pub struct GraphicsProbe {
    library: Mutex<Library>,
}

/// Whether the driver's library is there.
#[derive(Default)]
enum Library {
    #[default]
    NotLoaded,
    Loaded(Box<Graphics>),
    /// It was not there, or failed with this reason, so many ticks ago.
    Failed(Option<String>, u32),
}

impl Probe for GraphicsProbe {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        if let Library::Failed(reason, passed) = &mut *library
            && *passed < TICKS_BEFORE_RETRY
        {
            *passed += 1;
            return reason.clone().map_or(Ok(()), |reason| Err(ProbeError::System(reason)));
        }
        let answer = ask(&mut library, host);
        match answer {
            Ok(cards) => observe_cards(&cards, out),
            Err(error) => {
                let reason = (!error.is_absent()).then(|| error.to_string());
                *library = Library::Failed(reason.clone(), 0);
                reason.map_or(Ok(()), |_| Err(error.into()))
            }
        }
    }
}

/// Asks the cards, by a library that is loaded first where its driver is.
fn ask(library: &mut Library, host: &Host) -> Result<Vec<GraphicsCard>, HostError> {
    if !matches!(library, Library::Loaded(_)) {
        let loaded = host.graphics()?.map(Box::new);
        *library = loaded.map_or(Library::NotLoaded, Library::Loaded);
    }
    match library {
        Library::Loaded(graphics) => graphics.cards(),
        _ => Ok(Vec::new()),
    }
}

fn observe_cards(cards: &[GraphicsCard], out: &mut Observation) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    for card in cards {
        let index = card.index.to_string();
        if let Some(fault) = &card.fault {
            faults.note(ProbeError::System(format!("graphics card {index}: {fault}")));
        }
        let device = card.minor.map(|minor| format!("nvidia{minor}")).unwrap_or_default();
        let labels = [
            ("gpu", index.as_str()),
            ("UUID", &card.uuid),
            ("pci_bus_id", &card.bus),
            ("device", &device),
            ("modelName", &card.model),
            ("DCGM_FI_DRIVER_VERSION", &card.driver),
        ];
        for Metric { name, help, kind, value } in METRICS {
            let Some(value) = value(card) else { continue };
            match kind {
                MetricKind::Counter => out.counter(name, help, &labels, value),
                _ => out.gauge(name, help, &labels, value),
            }
        }
    }
    faults.into_result()
}

fn mebibytes(bytes: Option<f64>) -> Option<f64> {
    bytes.map(|bytes| (bytes / BYTES_PER_MEBIBYTE).floor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostPaths;
    use crate::probe::tests::{host_with, page_of};

    #[test]
    fn cards_are_told_as_far_as_they_measure() {
        let card = GraphicsCard {
            index: 1,
            uuid: "GPU-1".to_owned(),
            model: "NVIDIA A2".to_owned(),
            bus: "00000000:3B:00.0".to_owned(),
            minor: Some(1),
            driver: "550.54.15".to_owned(),
            core_megahertz: Some(1440.0),
            core_celsius: Some(41.0),
            watts: Some(18.523),
            millijoules: Some(123_456.0),
            core_busy_percent: Some(0.0),
            used_bytes: Some(f64::from(3 << 20) + 5.0),
            ..GraphicsCard::default()
        };
        let lost = GraphicsCard {
            index: 2,
            fault: Some("the GPU has fallen off the bus".to_owned()),
            ..GraphicsCard::default()
        };
        let mut out = Observation::at(0);
        let error = observe_cards(&[card, lost], &mut out).unwrap_err().to_string();
        let labels = "{DCGM_FI_DRIVER_VERSION=\"550.54.15\",UUID=\"GPU-1\",device=\"nvidia1\",\
            gpu=\"1\",modelName=\"NVIDIA A2\",pci_bus_id=\"00000000:3B:00.0\"}";
        assert_eq!(
            page_of(&out),
            [
                format!("DCGM_FI_DEV_FB_USED{labels} 3"),
                format!("DCGM_FI_DEV_GPU_TEMP{labels} 41"),
                format!("DCGM_FI_DEV_GPU_UTIL{labels} 0"),
                format!("DCGM_FI_DEV_POWER_USAGE{labels} 18.523"),
                format!("DCGM_FI_DEV_SM_CLOCK{labels} 1440"),
                format!("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{labels} 123456"),
            ]
        );
        assert_eq!(error, "graphics card 2: the GPU has fallen off the bus");
    }

    #[test]
    fn without_a_driver_nothing_is_loaded_or_said() {
        let driver = ("proc/driver/nvidia/version", b"NVRM version: x\n".as_slice());
        let (_folder, other) = host_with(&[driver]);
        for host in [Host::new(HostPaths::default()), other] {
            let probe = GraphicsProbe::default();
            if host.is_this_system() && host.exists(crate::host::Tree::Proc, driver.0) {
                eprintln!("SKIPPED: this machine has such a driver");
                continue;
            }
            let mut out = Observation::at(0);
            probe.observe(&host, &mut out).unwrap();
            assert_eq!(page_of(&out), [""; 0]);
            assert!(matches!(*probe.library.lock().unwrap(), Library::NotLoaded));
        }
    }

    #[test]
    fn a_library_that_failed_is_tried_again_later() {
        let failed = Library::Failed(Some("the driver is not loaded".to_owned()), 0);
        let probe = GraphicsProbe { library: Mutex::new(failed) };
        let (_folder, host) = host_with(&[]);
        for _ in 0..TICKS_BEFORE_RETRY {
            let error = probe.observe(&host, &mut Observation::at(0)).unwrap_err().to_string();
            assert_eq!(error, "the driver is not loaded");
        }
        probe.observe(&host, &mut Observation::at(0)).unwrap();
    }
}
