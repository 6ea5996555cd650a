//! The agent beside Debian's node_exporter on this machine: the same series with the same values,
//! but for what docs/node-exporter.md tells. The page's tables are read here, so that a difference
//! which is not documented fails, and so does one that is documented and gone.

mod judge;
mod look;
mod page;

use anyhow::{Context, Result, ensure};
use upkeep_tests::{Agent, AgentOptions, NodeExporter};

/// The version that the page is about, of Debian 12.
const VERSION: &str = "1.5.";

/// So many looks are taken until one agrees: what stands still by day may move just then.
const LOOKS: usize = 4;

/// Less than every machine has.
const LEAST_SERIES: usize = 300;

/// The collectors that the agent has probes for, by the names that version 1.5 knows.
const COLLECTORS: &str = "arp bonding conntrack cpu cpufreq diskstats dmi edac entropy filefd \
    filesystem hwmon interrupts loadavg mdadm meminfo meminfo_numa netclass netdev netstat nvme os \
    powersupplyclass pressure processes rapl schedstat sockstat softnet stat sysctl systemd tcpstat \
    textfile thermal_zone time timex udp_queues uname vmstat xfs zfs";

/// What `metrics --all` shows, where node_exporter wants to be told.
const SHOWN: [&str; 7] = [
    "--collector.disable-defaults",
    "--collector.cpu.info",
    "--collector.cpu.info.flags-include=.*",
    "--collector.cpu.info.bugs-include=.*",
    "--collector.stat.softirq",
    "--collector.sysctl.include=net.ipv4.tcp_rmem:min,default,max",
    "--collector.sysctl.include-info=kernel.seccomp.actions_avail",
];

/// The same kernel settings.
const SETTINGS: &str = r#"
[probes.sysctl]
include = ["net.ipv4.tcp_rmem:min,default,max"]
include_info = ["kernel.seccomp.actions_avail"]
"#;

#[tokio::test]
async fn the_agent_sees_what_node_exporter_sees_but_for_what_the_page_tells() -> Result<()> {
    let Some(program) = NodeExporter::program()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.prom"), "# TYPE backup gauge\nbackup{of=\"all\"} 1.5\n")?;
    let directory = folder.path().to_str().context("the folder's name")?;
    let mut arguments: Vec<String> = SHOWN.map(str::to_owned).into();
    arguments.extend(COLLECTORS.split(' ').map(|name| format!("--collector.{name}")));
    arguments.push(format!("--collector.textfile.directory={directory}"));
    let exporter = NodeExporter::start(&program, &arguments).await?;
    let agent = Agent::new(&AgentOptions { settings: SETTINGS.into(), ..Default::default() })?;
    let rows = page::read();
    let mut faults = Vec::new();
    for _ in 0..LOOKS {
        let before = exporter.page().await?;
        let metrics = ["metrics", "--all", "--textfile.directory", directory];
        let seen = agent.command(&metrics)?.success()?;
        let after = exporter.page().await?;
        if !before.contains(&format!("version=\"{VERSION}")) {
            eprintln!("SKIPPED: this node_exporter is not {VERSION}x, of which the page tells");
            return Ok(());
        }
        let [before, seen, after] = [before, seen, after].map(|page| look::read(&page, &rows));
        let (before, seen, after) = (before?, seen?, after?);
        let shared = seen.keys().filter(|name| before.contains_key(name)).count();
        ensure!(shared > LEAST_SERIES, "only {shared} series are shared");
        faults = judge::faults(&rows, &before, &seen, &after);
        if faults.is_empty() {
            return Ok(());
        }
    }
    ensure!(faults.is_empty(), "not in docs/node-exporter.md:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn differences_are_seen_unless_the_page_tells_of_them() {
    let check = |rows: &str, agent: &str, expect: &[&str]| {
        let heading = "| series | difference | reason |\n|---|---|---|\n";
        let rows = page::rows(&format!("{heading}{rows}"));
        let kinds = ["a_total counter", "b gauge", "b_bytes gauge", "node_load1 gauge"]
            .map(|kind| format!("# TYPE {kind}\n"))
            .concat();
        let read = |page: &str| look::read(&format!("{kinds}{page}\n"), &rows).unwrap();
        let (first, second) = (
            read("a_total{x=\"1\"} 5\nb{x=\"1\"} 3\nnode_load1 1"),
            read("a_total{x=\"1\"} 7\nb{x=\"1\"} 3\nnode_load1 1"),
        );
        assert_eq!(judge::faults(&rows, &first, &read(agent), &second), expect, "{rows:?}");
    };
    let same = "a_total{x=\"1\"} 6\nb{x=\"1\"} 3\nnode_load1 1.2";
    check("", same, &[]);
    let after = same.replace("} 6", "} 8");
    check("", &after, &["a_total{x=\"1\"} is 8, at node_exporter 5 and then 7"]);
    check("| `a_*{x=\"1\"}` | other value | |", &after, &[]);
    check("", &same.replace("} 3", "} 4"), &["b{x=\"1\"} is 4, at node_exporter 3 and then 3"]);
    check("", &same.replace("1.2", "9"), &["node_load1{} is 9, at node_exporter 1 and then 1"]);
    let empty = same.replace("b{", "b{y=\"\",");
    let expect = ["only node_exporter has b{x=\"1\"}", "only the agent has b{x=\"1\",y=\"\"}"];
    check("", &empty, &expect);
    let labelled = same.replace("b{", "b{z=\"new\",");
    let expect = ["only node_exporter has b{x=\"1\"}", "only the agent has b{x=\"1\",z=\"new\"}"];
    check("", &labelled, &expect);
    check("| `b` | label `z` only at the agent | |", &labelled, &[]);
    check("| `b*` | other series | |", &labelled, &[]);
    check("| `b{z=\"n*\"}` | only the agent has them | |", &labelled, &expect[..1]);
    check("| `b{x=\"1\"}` | only node_exporter has them | |", &labelled, &expect[1..]);
    let ended = same.replace("b{", "b_bytes{");
    check("| `b_bytes` | end `_bytes` only at the agent | |", &ended, &[]);
    let expect = "line 3 of the page, but both have b{x=\"1\"}";
    check("| `b` | only the agent has them | |", same, &[expect]);
}
