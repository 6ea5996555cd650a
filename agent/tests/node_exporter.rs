//! Holds the probes against a captured machine and what node_exporter says about it: the same page,
//! line by line, but for the help.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use upkeep_agent::exposition;
use upkeep_agent::host::{Host, HostPaths, Tree};
use upkeep_agent::probe::{
    ArpProbe, BondingProbe, ConntrackProbe, CpuFrequencyProbe, CpuProbe, CpuSettings,
    CpuVulnerabilitiesProbe, DiskProbe, DmiProbe, EdacProbe, EntropyProbe, FileFdProbe, HwmonProbe,
    LoadProbe, MdadmProbe, MemoryProbe, NetClassProbe, NetClassSettings, NetworkProbe, NvmeProbe,
    PowerSupplyProbe, PressureProbe, Probe, ProcessesProbe, RaplProbe, SockstatProbe, StatProbe,
    TextfileProbe, ThermalProbe, VmstatProbe, WatchdogProbe,
};
use upkeep_model::Observation;

/// The captured machine, unpacked, with what is expected of it; `None` where the data is absent.
struct Captured {
    host: Host,
    expected: PathBuf,
    folder: tempfile::TempDir,
}

impl Captured {
    fn unpack() -> Option<Self> {
        let data = std::env::var_os("UPKEEP_CONFORMANCE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance"),
            PathBuf::from,
        );
        let data = data.join("node_exporter");
        if !data.is_dir() {
            eprintln!("SKIPPED: {} is not there", data.display());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let archive = data.join("fixtures.tar.gz");
        let status =
            Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status();
        assert!(status.unwrap().success(), "{} cannot be unpacked", archive.display());
        let root = folder.path().join("fixtures");
        let host = Host::new(HostPaths {
            procfs: root.join("proc"),
            sysfs: root.join("sys"),
            udev_data: root.join("udev/data"),
            rootfs: root,
        });
        Some(Self { host, expected: data.join("expected"), folder })
    }

    /// What node_exporter prints, of one collector or more; `None` where it is not known of one. The
    /// loopback device is left out, since it is that of the machine on which node_exporter ran.
    fn expected(&self, collectors: &[&str]) -> Option<Vec<String>> {
        let mut all = String::new();
        for collector in collectors {
            let path = self.expected.join(format!("{collector}.prom"));
            if !path.exists() {
                eprintln!("SKIPPED: {} is not there", path.display());
                return None;
            }
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
        Some(lines_of(&all, |line| line.contains("device=\"lo\"")))
    }

    /// What the agent prints of what probes give.
    fn seen(&self, probes: &[Box<dyn Probe>]) -> Vec<String> {
        let mut out = Observation::at(0);
        for probe in probes {
            if let Err(error) = probe.observe(&self.host, &mut out) {
                panic!("{}: {error}", probe.name());
            }
        }
        let mut page = Vec::new();
        exposition::write(&out, &mut page).unwrap();
        // Where node_exporter tells a path, it looked into a folder of another name.
        let root = self.host.path(Tree::Root, "");
        let page = String::from_utf8(page).unwrap().replace(root.to_str().unwrap(), "fixtures/");
        lines_of(&page, |_| false)
    }
}

/// The lines of a page as they stand there, family by family, without help, which everybody words in
/// their own way, and without those that are to be left out.
fn lines_of(page: &str, is_left_out: impl Fn(&str) -> bool) -> Vec<String> {
    let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut family = "";
    for line in page.lines().filter(|line| !line.starts_with("# HELP ") && !is_left_out(line)) {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            family = of.split(' ').next().unwrap();
            assert!(!families.contains_key(family), "{family} comes twice");
        }
        families.entry(family).or_default().push(line);
    }
    let told = families.into_values().filter(|lines| lines.len() > 1);
    told.flatten().map(str::to_owned).collect()
}

/// Collectors, and the probes that stand for them.
type Case = (&'static [&'static str], Vec<Box<dyn Probe>>);

/// Every collector that there is data and a probe for, under the filters that were in force when
/// the data was made.
fn cases() -> Vec<Case> {
    let cpu = CpuSettings {
        info: true,
        shows_flag: |flag| {
            ["aes", "constant_tsc"].contains(&flag)
                || flag.starts_with("avx") && flag.len() <= "avx2".len()
        },
        shows_bug: |bug| bug == "cpu_meltdown" || bug.starts_with("spectre_") || bug == "mds",
    };
    let netclass = NetClassSettings {
        leaves_out: |device| ["dmz", "int"].contains(&device),
        hides_unknown_speed: true,
    };
    let shows_chip = |chip: &str| {
        ["applesmc", "asus_nb_wmi", "coretemp", "hwmon4", "ieee80211", "nct6779"]
            .iter()
            .any(|part| chip.contains(part))
    };
    vec![
        (&["arp"], vec![Box::new(ArpProbe::new(|device| device == "nope"))]),
        (&["bonding"], vec![Box::new(BondingProbe)]),
        (&["conntrack"], vec![Box::new(ConntrackProbe)]),
        (&["cpu"], vec![Box::new(CpuProbe::new(cpu))]),
        (&["cpu_vulnerabilities"], vec![Box::new(CpuVulnerabilitiesProbe)]),
        (&["cpufreq"], vec![Box::new(CpuFrequencyProbe)]),
        (&["diskstats"], vec![Box::new(DiskProbe)]),
        (&["dmi"], vec![Box::new(DmiProbe::default())]),
        (&["edac"], vec![Box::new(EdacProbe)]),
        (&["entropy"], vec![Box::new(EntropyProbe)]),
        (&["filefd"], vec![Box::new(FileFdProbe)]),
        (&["hwmon"], vec![Box::new(HwmonProbe::new(shows_chip))]),
        (&["loadavg"], vec![Box::new(LoadProbe)]),
        (&["mdadm"], vec![Box::new(MdadmProbe)]),
        (&["meminfo"], vec![Box::new(MemoryProbe)]),
        (
            &["netclass", "netdev"],
            vec![Box::new(NetClassProbe::new(netclass)), Box::new(NetworkProbe)],
        ),
        (&["nvme"], vec![Box::new(NvmeProbe)]),
        (&["powersupplyclass"], vec![Box::new(PowerSupplyProbe)]),
        (&["pressure"], vec![Box::new(PressureProbe)]),
        (&["processes"], vec![Box::new(ProcessesProbe)]),
        (&["rapl"], vec![Box::new(RaplProbe::default())]),
        (&["sockstat"], vec![Box::new(SockstatProbe)]),
        (&["stat"], vec![Box::new(StatProbe::default())]),
        (&["thermal_zone"], vec![Box::new(ThermalProbe)]),
        (&["vmstat"], vec![Box::new(VmstatProbe)]),
        (&["watchdog"], vec![Box::new(WatchdogProbe)]),
    ]
}

#[test]
fn what_node_exporter_says_comes_out_and_nothing_else() {
    let Some(captured) = Captured::unpack() else { return };
    for (collectors, probes) in cases() {
        let Some(expected) = captured.expected(collectors) else { continue };
        assert!(!expected.is_empty(), "{collectors:?}: nothing is expected");
        let seen = captured.seen(&probes);
        let missing: Vec<_> = expected.iter().filter(|line| !seen.contains(line)).collect();
        let surplus: Vec<_> = seen.iter().filter(|line| !expected.contains(line)).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "{collectors:?}: missing {missing:#?}, surplus {surplus:#?}"
        );
        assert_eq!(seen, expected, "{collectors:?}: another order, or lines that come twice");
    }
}

/// The lines of a page; times at which files were written are all 1, as in the expected pages. Help
/// that files give is compared, too.
fn textfile_lines_of(page: &str) -> Vec<String> {
    let help = page.lines().filter(|line| line.starts_with("# HELP "));
    let help = help.filter(|line| !line.contains(" node_textfile_")).map(str::to_owned);
    let lines = lines_of(page, |_| false).into_iter().map(|line| match line.rsplit_once(' ') {
        Some((series, _)) if series.starts_with("node_textfile_mtime_seconds{") => {
            format!("{series} 1")
        }
        _ => line,
    });
    help.chain(lines).collect()
}

#[test]
fn files_of_metrics_are_read_as_node_exporter_reads_them() {
    let Some(captured) = Captured::unpack() else { return };
    let above = format!("{}/", captured.folder.path().display());
    let mut cases = 0;
    let mut check = |pattern: &str, expected: &str, fails: bool| {
        let probe = TextfileProbe::new(vec![format!("{above}fixtures/textfile/{pattern}")], vec![]);
        let mut out = Observation::at(0);
        let told = probe.observe(&captured.host, &mut out);
        assert_eq!(told.is_err(), fails, "{pattern}: {told:?}");
        let mut page = Vec::new();
        exposition::write(&out, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap().replace(&above, "");
        assert_eq!(textfile_lines_of(&page), textfile_lines_of(expected), "{pattern}");
        cases += 1;
    };
    let folder = captured.folder.path().join("fixtures/textfile");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(case) = name.strip_suffix(".out") else { continue };
        let expected = std::fs::read_to_string(folder.join(&name)).unwrap();
        let fails = expected.lines().any(|line| line == "node_textfile_scrape_error 1");
        let pattern = if case.starts_with("glob_") { "*_extra_dimension" } else { case };
        check(pattern, &expected, fails);
    }
    let page = std::fs::read_to_string(captured.expected.join("textfile.prom")).unwrap();
    let written = ["1", "2"].map(|number| {
        let file = format!("fixtures/textfile/two_metric_files/metrics{number}.prom");
        format!("node_textfile_mtime_seconds{{file=\"{file}\"}} 1\n")
    });
    let kind = "# TYPE node_textfile_mtime_seconds gauge\n".to_owned();
    let expected = page.replace("collector/fixtures", "fixtures");
    let expected = expected.replace(&kind, &(kind.clone() + &written.concat()));
    check("two_metric_files/", &expected, false);
    assert!(cases > 10, "only {cases} cases");
}
