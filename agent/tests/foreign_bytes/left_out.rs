//! One value among good ones that cannot be read, probe by probe: its series are gone, all others are
//! there with their values, and the fault is told with its file and counted.

use std::collections::BTreeSet;
use std::fs;

use upkeep_agent::probe::{Settings, chosen};

use crate::{host_of, put, told};

/// A good file, what becomes of it, and what that costs.
struct Case {
    probe: &'static str,
    /// The files that the probe reads, the one that is spoilt first.
    files: &'static [(&'static str, &'static str)],
    /// What of the first file is replaced, and by what.
    from: &'static str,
    to: &'static str,
    /// The names, up to the value, of the series that are then missing.
    lost: &'static [&'static str],
}

/// Short for what most cases are.
const fn case(
    probe: &'static str,
    files: &'static [(&'static str, &'static str)],
    [from, to]: [&'static str; 2],
    lost: &'static [&'static str],
) -> Case {
    Case { probe, files, from, to, lost }
}

const NET_DEV: &str = "Inter-|   Receive\n face |bytes\n\
    eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";

const MOUNTS: &str =
    "20 1 8:1 / /elsewhere rw - ext4 /dev/sda1 rw\n30 20 8:2 / /nowhere rw - ext4 /dev/sda2 rw\n";

const CASES: [Case; 41] = [
    case(
        "arp",
        &[("proc/net/arp", "head\n10.0.0.1 0x1 0x2 aa * eth0\n10.0.0.2 0x1 0x2 bb * wg0\n")],
        [" * wg0", ""],
        // It may be of any device, so that no count is known.
        &["node_arp_entries{device=\"eth0\"}", "node_arp_entries{device=\"wg0\"}"],
    ),
    case(
        "bonding",
        &[
            ("sys/class/net/bond0/lower_eth0/bonding_slave/mii_status", "up\n"),
            ("sys/class/net/bond0/bonding/slaves", "eth0\n"),
            ("sys/class/net/bonding_masters", "bond0\n"),
        ],
        ["up", "u"],
        &["node_bonding_active{master=\"bond0\"}"],
    ),
    case(
        "conntrack",
        &[("proc/net/stat/nf_conntrack", "found invalid\n1 2\n3 4\n")],
        ["3", "z"],
        &["node_nf_conntrack_stat_found"],
    ),
    case(
        "cpu",
        &[("proc/stat", "cpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\n")],
        ["cpu0 1 2 3", "cpu0 1 2 ?"],
        &["node_cpu_seconds_total{cpu=\"0\",mode=\"system\"}"],
    ),
    case(
        "cpu",
        &[
            ("sys/devices/system/cpu/cpu1/online", "0\n"),
            ("sys/devices/system/cpu/cpu0/online", "1\n"),
            ("proc/stat", ""),
        ],
        ["0", "no"],
        &["node_cpu_online{cpu=\"1\"}"],
    ),
    case(
        "cpufreq",
        &[
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_available_governors", "powersave\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1\n"),
        ],
        ["powersave", "pow"],
        &["node_cpu_scaling_governor{cpu=\"0\",governor=\"powersave\"}"],
    ),
    case(
        "diskstats",
        &[(
            "proc/diskstats",
            " 8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n 8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
        )],
        ["sda 1 2 3 4", "sda 1 2 3 ?"],
        &["node_disk_read_time_seconds_total{device=\"sda\"}"],
    ),
    case(
        "edac",
        &[
            ("sys/devices/system/edac/mc/mc0/ce_count", "1\n"),
            ("sys/devices/system/edac/mc/mc0/ue_count", "2\n"),
        ],
        ["1", "one"],
        &["node_edac_correctable_errors_total{controller=\"0\"}"],
    ),
    case(
        "entropy",
        &[
            ("proc/sys/kernel/random/entropy_avail", "256\n"),
            ("proc/sys/kernel/random/poolsize", "256\n"),
        ],
        ["256", ""],
        &["node_entropy_available_bits"],
    ),
    case(
        "filefd",
        &[("proc/sys/fs/file-nr", "1024 0 1631329\n")],
        ["1024", "x"],
        &["node_filefd_allocated"],
    ),
    case(
        "filesystem",
        &[("proc/1/mountinfo", MOUNTS)],
        ["30 20 8:2 /", "30"],
        &[
            "node_filesystem_device_error{device=\"/dev/sda2\",device_error=\"no such file or \
             directory\",fstype=\"ext4\",mountpoint=\"/nowhere\"}",
            "node_filesystem_readonly{device=\"/dev/sda2\",device_error=\"no such file or \
             directory\",fstype=\"ext4\",mountpoint=\"/nowhere\"}",
        ],
    ),
    case(
        "hwmon",
        &[
            ("sys/class/hwmon/hwmon0/temp1_input", "41000\n"),
            ("sys/class/hwmon/hwmon0/temp1_max", "90000\n"),
            ("sys/class/hwmon/hwmon0/name", "k10temp\n"),
        ],
        ["41000", "nan"],
        &["node_hwmon_temp_celsius{chip=\"k10temp\",sensor=\"temp1\"}"],
    ),
    case(
        "interrupts",
        &[("proc/interrupts", "  CPU0 CPU1\n 1: 5 6 IO-APIC 1-edge i8042\n")],
        ["6", "-"],
        &["node_interrupts_total{cpu=\"1\",devices=\"1-edge i8042\",info=\"IO-APIC\",type=\"1\"}"],
    ),
    case("loadavg", &[("proc/loadavg", "0.1 0.2 0.3 1/2 3\n")], ["0.2", "0,2"], &["node_load5"]),
    case(
        "mdadm",
        &[("proc/mdstat", "md0 : active raid1 sdb[1] sda[0]\n      99 blocks [2/2] [UU]\n")],
        ["99", "9x"],
        &["node_md_blocks{device=\"md0\"}", "node_md_blocks_synced{device=\"md0\"}"],
    ),
    case(
        "mdadm",
        &[
            ("sys/block/md0/md/degraded", "1\n"),
            ("sys/block/md0/md/raid_disks", "2\n"),
            ("proc/mdstat", "md0 : active raid1 sda[0]\n      99 blocks [2/1] [U_]\n"),
        ],
        ["1", "x"],
        &["node_md_degraded{device=\"md0\"}"],
    ),
    case(
        "meminfo",
        &[("proc/meminfo", "MemTotal: 16 kB\nMemFree: 4 kB\n")],
        ["4", "lots"],
        &["node_memory_MemFree_bytes"],
    ),
    case(
        "meminfo_numa",
        &[(
            "sys/devices/system/node/node0/meminfo",
            "Node 0 MemTotal: 16 kB\nNode 0 MemFree: 4 kB\n",
        )],
        ["16 kB", "16 MB"],
        &["node_memory_numa_MemTotal_bytes{node=\"0\"}"],
    ),
    case(
        "netclass",
        &[("sys/class/net/eth0/mtu", "1500\n"), ("sys/class/net/eth0/operstate", "up\n")],
        ["1500", "big"],
        &["node_network_mtu_bytes{device=\"eth0\"}"],
    ),
    case(
        "netdev",
        &[("proc/net/dev", NET_DEV)],
        ["eth0: 1 2", "eth0: nan 2"],
        &["node_network_receive_bytes_total{device=\"eth0\"}"],
    ),
    case(
        "netstat",
        &[("proc/net/snmp", "Ip: Forwarding InErrors\nIp: 1 2\nUdp: InErrors\nUdp: 3\n")],
        ["Ip: 1 2", "Ip: 2"],
        &["node_netstat_Ip_Forwarding", "node_netstat_Ip_InErrors"],
    ),
    case(
        "nvme",
        &[
            ("sys/class/nvme/nvme0/nvme0n1/nuse", "7\n"),
            ("sys/class/nvme/nvme0/nvme0n1/size", "9\n"),
            ("sys/class/nvme/nvme0/nvme0n1/queue/logical_block_size", "512\n"),
        ],
        ["7", "many"],
        &["node_nvme_namespace_used_bytes{device=\"nvme0\",nsid=\"1\"}"],
    ),
    case(
        "os",
        &[("etc/os-release", "ID=debian\nVERSION_ID=12\nSUPPORT_END=2028-06-30\n")],
        ["2028-06-30", "2028-13-30"],
        &["node_os_support_end_timestamp_seconds"],
    ),
    case(
        "powersupplyclass",
        &[
            ("sys/class/power_supply/BAT0/capacity", "81\n"),
            ("sys/class/power_supply/BAT0/cycle_count", "9\n"),
        ],
        ["81", "81 %"],
        &["node_power_supply_capacity{power_supply=\"BAT0\"}"],
    ),
    case(
        "pressure",
        &[("proc/pressure/io", "some avg10=0.0 total=5\nfull avg10=0.0 total=6\n")],
        ["full avg10=0.0 total=6\n", ""],
        &["node_pressure_io_stalled_seconds_total"],
    ),
    case(
        "processes",
        &[
            ("proc/7/stat", "7 (a) S 1 7 7 0 -1 0 0 0 0 0 1 3 0 0 20 0 1 0 9 0 7\n"),
            ("proc/sys/kernel/threads-max", "9\n"),
            ("proc/sys/kernel/pid_max", "9\n"),
        ],
        [") S", " S"],
        // How many there are is not known where one cannot be read.
        &["node_processes_pids", "node_processes_state{state=\"S\"}", "node_processes_threads"],
    ),
    case(
        "rapl",
        &[
            ("sys/class/powercap/intel-rapl:0/energy_uj", "5\n"),
            ("sys/class/powercap/intel-rapl:0/name", "dram\n"),
            ("sys/class/powercap/intel-rapl:1/energy_uj", "5\n"),
            ("sys/class/powercap/intel-rapl:1/name", "core\n"),
        ],
        ["5", "?"],
        &["node_rapl_dram_joules_total{index=\"0\",path=\"ROOT/sys/class/powercap/intel-rapl:0\"}"],
    ),
    case(
        "schedstat",
        &[("proc/schedstat", "version 15\ncpu0 0 0 0 0 0 0 5 6 7\n")],
        ["5 6", "5 ?"],
        &["node_schedstat_waiting_seconds_total{cpu=\"0\"}"],
    ),
    case(
        "sockstat",
        &[("proc/net/sockstat", "sockets: used 2\nFRAG: inuse 3 memory 4\n")],
        ["used 2", "used two"],
        &["node_sockstat_sockets_used"],
    ),
    case(
        "softirqs",
        &[("proc/softirqs", "  CPU0 CPU1\n HI: 1 2\n RCU: 3 4\n")],
        ["2", "2x"],
        &["node_softirqs_functions_total{cpu=\"1\",type=\"HI\"}"],
    ),
    case(
        "softnet",
        &[("proc/net/softnet_stat", "01 02 03 00 00 00 00 00 00 00\n")],
        ["02", "0g"],
        &["node_softnet_dropped_total{cpu=\"0\"}"],
    ),
    case(
        "stat",
        &[(
            "proc/stat",
            "intr 1\nctxt 2\nbtime 3\nprocesses 4\nprocs_running 5\nprocs_blocked 6\n\
            softirq 9 1 1 1 1 1 1 1 1 1 1\n",
        )],
        ["processes 4\n", ""],
        &["node_forks_total"],
    ),
    case(
        "tcpstat",
        &[("proc/net/tcp", "head\n0: a b 0A 0:0\n1: a b 01 0:0\n")],
        ["01 0:0", "0? 0:0"],
        &[
            "node_tcp_connection_states{state=\"established\"}",
            "node_tcp_connection_states{state=\"listen\"}",
            "node_tcp_connection_states{state=\"rx_queued_bytes\"}",
            "node_tcp_connection_states{state=\"tx_queued_bytes\"}",
        ],
    ),
    case(
        "thermal_zone",
        &[
            ("sys/class/thermal/thermal_zone0/temp", "41000\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu\n"),
            ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
            ("sys/class/thermal/cooling_device0/type", "fan\n"),
        ],
        ["41000", "hot"],
        &["node_thermal_zone_temp{type=\"cpu\",zone=\"0\"}"],
    ),
    case(
        "udp_queues",
        &[
            ("proc/net/udp", "head\n0: a b 07 15:1\n1: a b 07 1:f\n"),
            ("proc/net/udp6", "head\n0: a b 07 0:0\n"),
        ],
        ["15:1", "15;1"],
        &["node_udp_queues{ip=\"v4\",queue=\"rx\"}", "node_udp_queues{ip=\"v4\",queue=\"tx\"}"],
    ),
    case(
        "vmstat",
        &[("proc/vmstat", "oom_kill 0\npgpgin 5\npgpgout 6\n")],
        ["oom_kill 0", "oom_kill"],
        &["node_vmstat_oom_kill"],
    ),
    case(
        "watchdog",
        &[
            ("sys/class/watchdog/watchdog0/timeout", "60\n"),
            ("sys/class/watchdog/watchdog0/timeleft", "30\n"),
        ],
        ["60", "soon"],
        &["node_watchdog_timeout_seconds{name=\"watchdog0\"}"],
    ),
    case(
        "xfs",
        &[("sys/fs/xfs/sda1/stats/stats", "rw 1 2\nvnodes 1 2 3 4 5 6 7\n")],
        ["rw 1 2", "rw 1 ?"],
        &["node_xfs_read_calls_total{device=\"sda1\"}"],
    ),
    case(
        "zfs",
        &[
            ("proc/spl/kstat/zfs/tank/io", "12 3\nnread nwritten\n5 6\n"),
            ("proc/spl/kstat/zfs/fm", "0 1\nname type data\nerpt-dropped 4 18\n"),
        ],
        ["5 6", "5 6 7"],
        &["node_zfs_zpool_nread{zpool=\"tank\"}", "node_zfs_zpool_nwritten{zpool=\"tank\"}"],
    ),
    case(
        "zfs",
        &[("proc/spl/kstat/zfs/fm", "0 1\nname type data\nerpt-dropped 4 18\nerpt-set 4 2\n")],
        ["18", "many"],
        &["node_zfs_fm_erpt_dropped"],
    ),
    case(
        "textfile",
        &[("textfiles/a.prom", "good 1\n"), ("textfiles/b.prom", "other 2\n")],
        ["1", "one"],
        &["good", "node_textfile_mtime_seconds{file=\"ROOT/textfiles/a.prom\"}"],
    ),
];

/// A series without its value.
fn name_of(line: &str) -> &str {
    line.rsplit_once(' ').unwrap().0
}

fn check(case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for (path, content) in case.files {
        put(&folder.path().join(path), content.as_bytes());
    }
    let host = host_of(folder.path());
    let observe = || {
        let textfiles = vec![format!("{root}/textfiles")];
        let settings = Settings { all: true, textfile_folders: textfiles, ..Settings::default() };
        // A new one each time, since some remember.
        let probes = chosen(&settings);
        let probe = probes.iter().find(|probe| probe.name() == case.probe);
        let (series, outcome) = told(&**probe.expect("a probe of this name"), &host);
        let series: BTreeSet<String> =
            series.iter().map(|line| line.replace(root, "ROOT")).collect();
        (series, outcome)
    };
    let (good, before) = observe();
    let (path, content) = case.files[0];
    assert_eq!(content.matches(case.from).count(), 1, "{}: {:?}", case.probe, case.from);
    fs::write(folder.path().join(path), content.replace(case.from, case.to)).unwrap();
    let (now, after) = observe();
    let lost: BTreeSet<&str> = good.difference(&now).map(|line| name_of(line)).collect();
    // Of the probe of textfiles, a series says itself that something was left out.
    let own = |line: &&&str| **line != "node_textfile_scrape_error";
    let lost: BTreeSet<&str> = lost.iter().filter(own).copied().collect();
    assert_eq!(lost, case.lost.iter().copied().collect(), "{} of {}", case.probe, path);
    let news: Vec<&String> =
        now.difference(&good).filter(|line| !line.contains("_error")).collect();
    assert!(news.is_empty(), "{} of {path}: invented {news:?}", case.probe);
    // Each is counted by `upkeep_agent_unreadable_values_total`.
    let counted = |outcome: &Result<_, upkeep_agent::probe::ProbeError>| {
        outcome.as_ref().map_or_else(upkeep_agent::probe::ProbeError::count, |()| 0)
    };
    let (earlier, error) = (counted(&before), after.as_ref().unwrap_err().to_string());
    assert!(counted(&after) > earlier || case.probe == "filesystem", "{}: {error}", case.probe);
    let (_, file) = path.split_once('/').unwrap();
    let folder = file.rsplit_once('/').map_or(file, |(folder, _)| folder);
    assert!(error.contains(file) || error.contains(folder), "{}: {error}", case.probe);
}

#[test]
fn one_value_that_cannot_be_read_costs_its_own_series_only() {
    CASES.iter().for_each(check);
}
