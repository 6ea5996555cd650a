//! What the host tells about its health: one file a source, under node_exporter's metric names,
//! labels and units.
//!
//! A probe reads its files through [`Host`], hands their text to pure functions, and adds what they
//! found to the observation. A value that cannot be read is left out and named in the error; the
//! others of the same probe are kept. What a kernel does not offer is no error.

mod arp;
mod asked;
mod bonding;
mod choice;
mod conntrack;
mod cpu;
mod cpu_frequency;
mod cpu_info;
mod cpu_vulnerabilities;
mod device;
mod disk;
mod dmi;
mod edac;
mod entropy;
mod fault;
mod filefd;
mod filesystem;
#[cfg(target_os = "linux")]
mod graphics;
mod hwmon;
mod interrupts;
mod load;
mod mdadm;
mod memory;
mod memory_numa;
mod mounts;
mod netclass;
mod netstat;
mod network;
mod nvme;
mod os;
mod portable;
mod power_supply;
mod pressure;
mod process_count;
mod processes;
mod rapl;
mod schedstat;
mod slow;
pub mod smart;
mod sockets;
mod sockstat;
mod softirqs;
mod softnet;
mod stat;
mod sysctl;
mod systemd;
mod tcpstat;
mod textfile;
mod thermal;
mod time;
mod timex;
mod udp_queues;
mod uname;
mod vmstat;
mod watchdog;
mod xfs;
mod zfs;

use upkeep_model::Observation;

pub use self::arp::ArpProbe;
use self::asked::AskedOfHelper;
pub use self::bonding::BondingProbe;
pub use self::choice::{Settings, chosen, names};
pub use self::conntrack::ConntrackProbe;
pub use self::cpu::{CpuProbe, CpuSettings};
pub use self::cpu_frequency::CpuFrequencyProbe;
pub use self::cpu_vulnerabilities::CpuVulnerabilitiesProbe;
pub use self::disk::DiskProbe;
pub use self::dmi::DmiProbe;
pub use self::edac::EdacProbe;
pub use self::entropy::EntropyProbe;
use self::fault::Faults;
pub use self::fault::ProbeError;
pub use self::filefd::FileFdProbe;
pub use self::filesystem::{FilesystemProbe, FilesystemSettings};
#[cfg(target_os = "linux")]
pub use self::graphics::GraphicsProbe;
pub use self::hwmon::HwmonProbe;
pub use self::interrupts::InterruptsProbe;
pub use self::load::LoadProbe;
pub use self::mdadm::MdadmProbe;
pub use self::memory::MemoryProbe;
pub use self::memory_numa::MemoryNumaProbe;
pub use self::netclass::{NetClassProbe, NetClassSettings};
pub use self::netstat::NetstatProbe;
pub use self::network::NetworkProbe;
pub use self::nvme::NvmeProbe;
pub use self::os::OsProbe;
pub use self::portable::{PortableDiskProbe, PortableProbe};
pub use self::power_supply::PowerSupplyProbe;
pub use self::pressure::PressureProbe;
pub use self::process_count::ProcessCountProbe;
pub use self::processes::ProcessesProbe;
pub use self::rapl::RaplProbe;
pub use self::schedstat::SchedstatProbe;
pub use self::smart::SmartProbe;
pub use self::sockstat::SockstatProbe;
pub use self::softirqs::SoftirqsProbe;
pub use self::softnet::SoftnetProbe;
pub use self::stat::StatProbe;
pub use self::sysctl::{Sysctl, SysctlError, SysctlProbe};
pub use self::systemd::{SystemdDetail, SystemdProbe, UnitChoice, UnitPattern, UnitPatternError};
pub use self::tcpstat::TcpstatProbe;
pub use self::textfile::TextfileProbe;
pub use self::thermal::ThermalProbe;
pub use self::time::TimeProbe;
pub use self::timex::TimexProbe;
pub use self::udp_queues::UdpQueuesProbe;
pub use self::uname::UnameProbe;
pub use self::vmstat::VmstatProbe;
pub use self::watchdog::WatchdogProbe;
pub use self::xfs::XfsProbe;
pub use self::zfs::ZfsProbe;
use crate::host::Host;

/// One source of measurements.
pub trait Probe: Send + Sync {
    /// The source's name, as node_exporter names its collector.
    fn name(&self) -> &'static str;

    /// Adds what the source says now to `out`, whose timestamp is the tick's.
    ///
    /// # Errors
    /// What could not be read. Everything else has been added nevertheless.
    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError>;
}

#[cfg(test)]
mod tests {
    use upkeep_model::Observation;

    pub(super) use crate::host::tests::host_with;

    /// The series of an observation in exposition format, sorted.
    pub(super) fn page_of(observation: &Observation) -> Vec<String> {
        let mut page = Vec::new();
        crate::exposition::write(observation, &mut page).unwrap();
        let mut lines: Vec<String> = String::from_utf8(page)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}
