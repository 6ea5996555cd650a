//! Which probes run: node_exporter's choice, changed by the configuration and the command line.

#[cfg(target_os = "linux")]
use super::{
    ArpProbe, BondingProbe, ConntrackProbe, CpuFrequencyProbe, CpuProbe, CpuSettings,
    CpuVulnerabilitiesProbe, DiskProbe, DmiProbe, EdacProbe, EntropyProbe, FileFdProbe,
    FilesystemProbe, GraphicsProbe, HwmonProbe, InterruptsProbe, LoadProbe, MdadmProbe,
    MemoryNumaProbe, MemoryProbe, NetClassProbe, NetstatProbe, NetworkProbe, NvmeProbe, OsProbe,
    PowerSupplyProbe, PressureProbe, ProcessCountProbe, ProcessesProbe, RaplProbe, SchedstatProbe,
    SmartProbe, SockstatProbe, SoftirqsProbe, SoftnetProbe, StatProbe, SysctlProbe, SystemdDetail,
    SystemdProbe, TcpstatProbe, TextfileProbe, ThermalProbe, TimeProbe, TimexProbe, UdpQueuesProbe,
    UnameProbe, VmstatProbe, WatchdogProbe, XfsProbe, ZfsProbe,
};
#[cfg(not(target_os = "linux"))]
use super::{PortableDiskProbe, PortableProbe, TextfileProbe, TimeProbe};
use super::{Probe, Sysctl, UnitChoice, smart};

/// What the configuration and the command line say about the probes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether those that are off by default run as well.
    pub all: bool,
    /// The names of those that run although they are off by default.
    pub enable: Vec<String>,
    /// The names of those that do not run.
    pub disable: Vec<String>,
    /// The folders of files of metrics that other programs wrote.
    pub textfile_folders: Vec<String>,
    /// Metrics that the agent measures beside the probes.
    pub own_metrics: Vec<&'static str>,
    /// Whether the probe `stat` shows deferred work by its kind.
    pub stat_softirq: bool,
    /// The kernel settings whose numbers the probe `sysctl` shows.
    pub sysctl_numbers: Vec<Sysctl>,
    /// The kernel settings whose words the probe `sysctl` shows.
    pub sysctl_words: Vec<Sysctl>,
    /// The units that the probe `systemd` tells of.
    pub units: UnitChoice,
    /// When disks are asked for their health.
    pub disks: smart::Settings,
}

/// The probes that run under these settings, in the order in which they are asked.
pub fn chosen(settings: &Settings) -> Vec<Box<dyn Probe>> {
    let is_in = |names: &[String], probe: &dyn Probe| names.iter().any(|name| name == probe.name());
    // The usual ones come last, since the last of them may wait for a file system.
    let mut probes = optional(settings);
    probes.retain(|probe| settings.all || is_in(&settings.enable, &**probe));
    probes.extend(usual(settings));
    probes.retain(|probe| !is_in(&settings.disable, &**probe));
    probes
}

/// The names of all probes of this system, sorted.
pub fn names() -> Vec<&'static str> {
    let settings = Settings::default();
    let mut names: Vec<_> =
        usual(&settings).iter().chain(&optional(&settings)).map(|probe| probe.name()).collect();
    names.sort_unstable();
    names
}

/// The probes that are on by default, as in node_exporter.
#[cfg(target_os = "linux")]
fn usual(settings: &Settings) -> Vec<Box<dyn Probe>> {
    let (folders, own) = (settings.textfile_folders.clone(), settings.own_metrics.clone());
    vec![
        Box::new(CpuProbe::new(cpu_settings(settings.all))),
        Box::new(MemoryProbe),
        Box::new(LoadProbe),
        Box::new(PressureProbe),
        Box::new(ProcessCountProbe),
        Box::new(StatProbe { softirq: settings.stat_softirq || settings.all }),
        Box::new(VmstatProbe),
        Box::new(SchedstatProbe),
        Box::new(DiskProbe),
        Box::new(MdadmProbe),
        Box::new(NetworkProbe),
        Box::new(NetClassProbe::default()),
        Box::new(BondingProbe),
        Box::new(SockstatProbe),
        Box::new(NetstatProbe),
        Box::new(SoftnetProbe),
        Box::new(UdpQueuesProbe),
        Box::new(ArpProbe::default()),
        Box::new(ConntrackProbe),
        Box::new(FileFdProbe),
        Box::new(EntropyProbe),
        Box::new(ThermalProbe),
        Box::new(EdacProbe),
        Box::new(NvmeProbe),
        Box::new(PowerSupplyProbe),
        Box::new(WatchdogProbe),
        Box::new(RaplProbe::default()),
        Box::new(DmiProbe::default()),
        Box::new(HwmonProbe::default()),
        Box::new(TimeProbe::default()),
        Box::new(TimexProbe::default()),
        Box::new(UnameProbe),
        Box::new(OsProbe),
        Box::new(TextfileProbe::new(folders, own)),
        Box::new(XfsProbe),
        Box::new(ZfsProbe),
        Box::new(SmartProbe::new(settings.disks)),
        // Late, since the driver of a broken card may take for ever.
        Box::new(GraphicsProbe::default()),
        // Late, since old kernels take their time to answer it.
        Box::new(CpuFrequencyProbe),
        Box::new(SystemdProbe::new(systemd_detail(settings), settings.units.clone())),
        // Last, since it may wait for a file system that does not answer.
        Box::new(FilesystemProbe::default()),
    ]
}

/// systemd's sums and failures are always told; every unit, as node_exporter's collector has it,
/// only where that is asked for.
#[cfg(target_os = "linux")]
fn systemd_detail(settings: &Settings) -> SystemdDetail {
    if settings.all || settings.enable.iter().any(|name| name == "systemd") {
        SystemdDetail::Units
    } else {
        SystemdDetail::Events
    }
}

/// The probes that are off by default, as in node_exporter: they cost more than the others, or give
/// many series.
#[cfg(target_os = "linux")]
fn optional(settings: &Settings) -> Vec<Box<dyn Probe>> {
    let (numbers, words) = (settings.sysctl_numbers.clone(), settings.sysctl_words.clone());
    vec![
        Box::new(CpuVulnerabilitiesProbe),
        Box::new(InterruptsProbe),
        Box::new(SoftirqsProbe),
        Box::new(MemoryNumaProbe),
        Box::new(ProcessesProbe),
        Box::new(TcpstatProbe),
        Box::new(SysctlProbe::new(numbers, words)),
    ]
}

/// The probes that are on by default.
#[cfg(not(target_os = "linux"))]
fn usual(settings: &Settings) -> Vec<Box<dyn Probe>> {
    let (folders, own) = (settings.textfile_folders.clone(), settings.own_metrics.clone());
    vec![
        Box::new(PortableProbe::default()),
        Box::new(TimeProbe::default()),
        Box::new(TextfileProbe::new(folders, own)),
        // Last, since it may wait for a file system that does not answer.
        Box::new(PortableDiskProbe),
    ]
}

/// The probes that are off by default.
#[cfg(not(target_os = "linux"))]
fn optional(_settings: &Settings) -> Vec<Box<dyn Probe>> {
    Vec::new()
}

/// By default, what a processor is made of is left out: it does not change, and is among the facts.
#[cfg(target_os = "linux")]
fn cpu_settings(all: bool) -> CpuSettings {
    if !all {
        return CpuSettings::default();
    }
    CpuSettings { info: true, shows_flag: |_| true, shows_bug: |_| true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(settings: &Settings) -> Vec<&'static str> {
        chosen(settings).iter().map(|probe| probe.name()).collect()
    }

    #[test]
    fn every_probe_has_a_name_of_its_own() {
        let mut once = names();
        once.dedup();
        assert_eq!(once, names());
    }

    #[test]
    fn what_is_disabled_does_not_run_even_where_all_do() {
        let usual = names_of(&Settings::default());
        let settings = Settings { all: true, ..Settings::default() };
        assert_eq!(names_of(&settings).len(), names().len());
        let settings = Settings { all: true, disable: vec!["time".into()], ..settings };
        assert_eq!(names_of(&settings).len(), names().len() - 1);
        let settings = Settings { disable: vec!["time".into()], ..Settings::default() };
        let rest: Vec<_> = usual.into_iter().filter(|name| *name != "time").collect();
        assert_eq!(names_of(&settings), rest);
    }
}
