//! The expressions of the dashboard and of the rules that most fleets use, on what a real agent sees of
//! this machine: every one is evaluated without an error, and has a result where there is data for it.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, conformance, until};

const SOON: Duration = Duration::from_secs(60);

/// What dashboards ask for that is off by default, as in node_exporter.
const SETTINGS: &str = "[probes]\nenable = [\"interrupts\", \"processes\", \"tcpstat\"]\n";

/// A counter has a rate once so many observations of it are there.
const OBSERVATIONS: f64 = 3.0;

/// What every machine with Linux has, a virtual one too: expressions that ask for nothing else must have
/// a result.
const EVERYWHERE: &[&str] = &[
    "node_boot_time_seconds",
    "node_context_switches_total",
    "node_cpu_seconds_total",
    "node_entropy_available_bits",
    "node_filefd_allocated",
    "node_filefd_maximum",
    "node_forks_total",
    "node_intr_total",
    "node_load1",
    "node_load15",
    "node_load5",
    "node_memory_Active_bytes",
    "node_memory_Buffers_bytes",
    "node_memory_Cached_bytes",
    "node_memory_Committed_AS_bytes",
    "node_memory_Dirty_bytes",
    "node_memory_Inactive_bytes",
    "node_memory_Mapped_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_MemTotal_bytes",
    "node_memory_PageTables_bytes",
    "node_memory_SReclaimable_bytes",
    "node_memory_SUnreclaim_bytes",
    "node_memory_Shmem_bytes",
    "node_memory_Slab_bytes",
    "node_memory_SwapFree_bytes",
    "node_memory_SwapTotal_bytes",
    "node_memory_VmallocTotal_bytes",
    "node_memory_Writeback_bytes",
    "node_netstat_Tcp_CurrEstab",
    "node_netstat_Tcp_InSegs",
    "node_netstat_Tcp_OutSegs",
    "node_netstat_Udp_InDatagrams",
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_procs_blocked",
    "node_procs_running",
    "node_sockstat_TCP_alloc",
    "node_sockstat_TCP_inuse",
    "node_sockstat_UDP_inuse",
    "node_sockstat_sockets_used",
    "node_softnet_processed_total",
    "node_time_seconds",
    "node_uname_info",
    "node_vmstat_pgfault",
    "node_vmstat_pgpgin",
    "node_vmstat_pgpgout",
    "up",
];

/// At least so many expressions of the dashboard ask for nothing but these.
const LEAST_WITH_RESULTS: usize = 70;

/// Beginnings of expressions that may have no result although there is data for all that they ask for, each
/// with the reason.
const MAY_BE_EMPTY: &[(&str, &str)] = &[(
    "sum by(instance) (rate(node_cpu_guest_seconds_total",
    "it keeps what is more than 0, and not every machine has guests",
)];

#[tokio::test]
async fn dashboards_and_rules_of_others_find_what_a_real_agent_sees() -> Result<()> {
    let (Some(dashboards), Some(rules)) = (conformance("dashboards"), conformance("rules")) else {
        return Ok(());
    };
    let collector = Collector::start(&CollectorOptions::default()).await?;
    let options = AgentOptions { settings: SETTINGS.to_owned(), ..AgentOptions::default() };
    let _agent = Agent::start(&collector, &options)?;
    until("some observations", SOON, || async {
        let counted = collector.query("count_over_time(node_context_switches_total[1m])").await?;
        let counted = counted.first().and_then(|one| one["value"][1].as_str()?.parse::<f64>().ok());
        Ok(counted.filter(|counted| *counted >= OBSERVATIONS))
    })
    .await?;
    let host = collector.query("node_uname_info").await?;
    let label = |name: &str| host[0]["metric"][name].as_str().map(str::to_owned);
    let (instance, nodename) = label("instance").zip(label("nodename")).context("no host")?;

    let panels = expressions(&dashboards.join("node-exporter-full.exprs.jsonl"))?;
    ensure!(panels.len() == 289, "{} expressions", panels.len());
    let panels: Vec<String> =
        panels.iter().map(|panel| filled(panel, &instance, &nodename)).collect();
    let asked = ask_all(&collector, &panels).await?;
    let wrong = judge(&asked);
    ensure!(wrong.is_empty(), "there is data, and no result:\n{}", wrong.join("\n"));
    let everywhere: BTreeSet<&str> = EVERYWHERE.iter().copied().collect();
    let plain = asked.iter().filter(|one| one.asks_only_for(&everywhere));
    let (plain, without): (Vec<_>, Vec<_>) = plain.partition(|one| one.has_result);
    let without: Vec<&str> =
        without.iter().filter(|one| !one.may_be_empty()).map(|one| one.text.as_str()).collect();
    ensure!(without.is_empty(), "every machine has data for:\n{}", without.join("\n"));
    ensure!(plain.len() >= LEAST_WITH_RESULTS, "only {} have results", plain.len());

    // Alerts are silent as long as all is well, and what some rules record others ask for.
    let rules = rule_expressions(&rules)?;
    ensure!(rules.len() >= 70, "{} rules", rules.len());
    ask_all(&collector, &rules).await?;
    let all = asked.iter().filter(|one| one.has_result).count();
    println!("{all} of 289 expressions have results, {} rules are evaluated", rules.len());
    Ok(())
}

/// An expression that was evaluated.
struct Asked {
    text: String,
    /// The metrics of its selectors.
    metrics: BTreeSet<String>,
    /// Whether each of its selectors finds something.
    has_data: bool,
    has_result: bool,
}

impl Asked {
    fn asks_only_for(&self, metrics: &BTreeSet<&str>) -> bool {
        !self.metrics.is_empty() && self.metrics.iter().all(|name| metrics.contains(name.as_str()))
    }

    fn may_be_empty(&self) -> bool {
        MAY_BE_EMPTY.iter().any(|(beginning, _)| self.text.starts_with(beginning))
    }
}

/// Those that have no result, with all data there.
fn judge(asked: &[Asked]) -> Vec<String> {
    let wrong = asked.iter().filter(|one| one.has_data && !one.has_result && !one.may_be_empty());
    wrong.map(|one| one.text.clone()).collect()
}

/// Evaluates expressions, each at this moment and over the last minute; an error ends it.
async fn ask_all(collector: &Collector, texts: &[String]) -> Result<Vec<Asked>> {
    let now = jiff::Timestamp::now().as_second();
    let (start, end) = ((now - 60).to_string(), now.to_string());
    let mut asked = Vec::new();
    for text in texts {
        let parsed = get(collector, "/api/v1/parse_query", &[("query", text)]).await?;
        let mut selectors = Vec::new();
        collect_selectors(&parsed["data"], &mut selectors);
        let mut has_data = true;
        for selector in &selectors {
            has_data &=
                !collector.query(&format!("last_over_time({selector}[1m])")).await?.is_empty();
        }
        let range = [("query", text.as_str()), ("start", &start), ("end", &end), ("step", "15")];
        get(collector, "/api/v1/query_range", &range).await?;
        let answer = get(collector, "/api/v1/query", &[("query", text)]).await?;
        let result = answer["data"]["result"].as_array().context("no result")?;
        let metrics = selectors.iter().filter_map(|selector| Some(selector.split_once('{')?.0));
        let metrics = metrics.map(str::to_owned).collect();
        asked.push(Asked { text: text.clone(), metrics, has_data, has_result: !result.is_empty() });
    }
    Ok(asked)
}

async fn get(collector: &Collector, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
    let answer = collector.get(path).query(parameters).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{path} {parameters:?}: {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}

/// The selectors in a tree, each as `name{matchers}` without its times.
fn collect_selectors(node: &Value, found: &mut Vec<String>) {
    if node.is_null() {
        return;
    }
    if let Some(matchers) = node["matchers"].as_array() {
        let name = node["name"].as_str().unwrap_or_default();
        let named = |matcher: &&Value| name.is_empty() || matcher["name"] != "__name__";
        let matcher = |matcher: &Value| {
            let label = matcher["name"].as_str().unwrap_or_default();
            format!("{label}{}{}", matcher["type"].as_str().unwrap_or_default(), matcher["value"])
        };
        let matchers: Vec<String> = matchers.iter().filter(named).map(matcher).collect();
        found.push(format!("{name}{{{}}}", matchers.join(",")));
    }
    for part in ["expr", "param", "lhs", "rhs"] {
        collect_selectors(&node[part], found);
    }
    for argument in node["args"].as_array().into_iter().flatten() {
        collect_selectors(argument, found);
    }
}

/// One JSON object a line, with `expr`.
fn expressions(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let expression = |line: &str| {
        let line: Value = serde_json::from_str(line)?;
        line["expr"].as_str().map(str::to_owned).context("an expression")
    };
    text.lines().map(expression).collect()
}

/// An expression with Grafana's variables filled in; two label_values(…) are what it fills them from.
fn filled(text: &str, instance: &str, nodename: &str) -> String {
    let text = text
        .replace("$nodename", nodename)
        .replace("$node", instance)
        .replace("$job", "node")
        .replace("$__rate_interval", "1m")
        .replace("$__interval", "15s");
    match text.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(',')) {
        Some((selector, label)) => {
            format!("group by ({}) ({selector})", label.trim().trim_end_matches(')'))
        }
        None => text,
    }
}

/// The expressions of all rule files of a folder.
fn rule_expressions(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            let file: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)
                .with_context(|| path.display().to_string())?;
            let groups = file["groups"].as_array().context("groups")?;
            let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
            found.extend(rules.filter_map(|rule| rule["expr"].as_str().map(str::to_owned)));
        }
    }
    Ok(found)
}
