//! The answers of a real collector with a real agent, held against the OpenAPI description of Prometheus'
//! HTTP API: every path of it that is served here, with what is there, with nothing, and refused.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use upkeep_tests::{Agent, AgentOptions, Collector, CollectorOptions, conformance, until};

const SOON: Duration = Duration::from_secs(60);

const RULES: &str = "
groups:
- name: story
  interval: 1s
  rules:
  - record: story:up:sum
    expr: sum(up)
  - alert: StoryHostUp
    expr: up == 1
    labels: {severity: info}
    annotations: {summary: it is up}
";

/// What is asked, and the schema that the description has for the answer.
const ANSWERED: &[(&str, &str)] = &[
    ("query?query=1%2B1&time=4", "QueryOutputBody"),
    ("query?query=up", "QueryOutputBody"),
    ("query?query=up[1m]", "QueryOutputBody"),
    ("query?query=nothing", "QueryOutputBody"),
    ("query?query=node_load1%2Brate(node_load1[1m])", "QueryOutputBody"),
    ("query?query=node_load1&limit=0", "QueryOutputBody"),
    ("query?query=node_cpu_seconds_total&limit=1", "QueryOutputBody"),
    ("query_range?query=up&start=START&end=END&step=1s", "QueryRangeOutputBody"),
    ("query_range?query=1&start=START&end=END&step=15", "QueryRangeOutputBody"),
    ("query_range?query=nothing&start=START&end=END&step=1m", "QueryRangeOutputBody"),
    ("format_query?query=sum(up)by(job)", "FormatQueryOutputBody"),
    ("parse_query?query=sum(up)by(job)", "ParseQueryOutputBody"),
    ("labels", "LabelsOutputBody"),
    ("labels?limit=1", "LabelsOutputBody"),
    ("labels?match[]=nothing", "LabelsOutputBody"),
    ("label/job/values", "LabelValuesOutputBody"),
    ("label/nothing/values", "LabelValuesOutputBody"),
    ("series?match[]=up", "SeriesOutputBody"),
    ("series?match[]=node_cpu_seconds_total&limit=1", "SeriesOutputBody"),
    ("metadata", "MetadataOutputBody"),
    ("metadata?metric=node_load1&limit_per_metric=1", "MetadataOutputBody"),
    ("metadata?metric=nothing", "MetadataOutputBody"),
    ("targets", "TargetsOutputBody"),
    ("targets?state=active", "TargetsOutputBody"),
    ("targets?state=dropped", "TargetsOutputBody"),
    ("rules", "RulesOutputBody"),
    ("rules?type=alert&group_limit=1", "RulesOutputBody"),
    ("rules?match[]={severity=\"none\"}", "RulesOutputBody"),
    ("alerts", "AlertsOutputBody"),
    ("status/buildinfo", "StatusBuildInfoOutputBody"),
];

/// What is refused.
const REFUSED: &[&str] = &[
    "query?query=sum(",
    "query?query=up&time=x",
    "query_range?query=up&start=2&end=1&step=1",
    "query_range?query=up&start=0&end=1000000&step=1",
    "query?query=up%2Bon(job)node_cpu_seconds_total",
    "query?query=up&timeout=0",
    "format_query?query=sum(",
    "parse_query",
    "labels?start=x",
    "label/job/values?match[]=1",
    "series",
    "metadata?limit=x",
    "rules?type=x",
    "rules?group_next_token=x",
    "no/such/page",
];

#[tokio::test]
async fn answers_are_as_prometheus_describes_them() -> Result<()> {
    let Some(folder) = conformance("prometheus/openapi") else { return Ok(()) };
    let description = fs::read_to_string(folder.join("openapi_3.1_golden.yaml"))?;
    let description: Value = serde_saphyr::from_str(&description)?;
    let rules = vec![("story.yml".to_owned(), RULES.to_owned())];
    let options = CollectorOptions { rules, ..CollectorOptions::default() };
    let mut collector = Collector::start(&options).await?;
    let _agent = Agent::start(&collector, &AgentOptions::default())?;
    until("a firing alert and what the metrics are", SOON, || async {
        let alerts = collector.json("/api/v1/alerts").await?;
        let metadata = collector.json("/api/v1/metadata?metric=node_load1").await?;
        let is_there =
            alerts["data"]["alerts"][0].is_object() && !metadata["data"]["node_load1"].is_null();
        Ok(is_there.then_some(()))
    })
    .await?;
    let now = jiff::Timestamp::now().as_second();
    for (path, schema) in ANSWERED {
        let path = path.replace("START", &(now - 60).to_string()).replace("END", &now.to_string());
        let answer = collector.json(&format!("/api/v1/{path}")).await?;
        check(&description, schema, &path, &answer)?;
    }
    for path in REFUSED {
        let answer = collector.get(&format!("/api/v1/{path}")).send().await?;
        ensure!(!answer.status().is_success(), "{path} is answered");
        check(&description, "Error", path, &answer.json().await?)?;
    }
    // A check that cannot fail says nothing.
    let odd = json!({"status": "success", "data": [{"metric": 1}]});
    ensure!(check(&description, "QueryOutputBody", "an odd answer", &odd).is_err());

    let described = collector.json("/api/v1/metadata").await?;
    collector.stop().await?;
    collector.launch().await?;
    let after = collector.json("/api/v1/metadata?metric=node_load1").await?;
    ensure!(after["data"]["node_load1"] == described["data"]["node_load1"], "{after}");
    let load = &after["data"]["node_load1"][0];
    let has_help = load["help"].as_str().is_some_and(|help| !help.is_empty());
    ensure!(load["type"] == "gauge" && has_help, "{load}");
    Ok(())
}

/// Holds an answer against a schema of the description.
fn check(description: &Value, schema: &str, path: &str, answer: &Value) -> Result<()> {
    let schemas = description["components"]["schemas"].clone();
    ensure!(schemas[schema].is_object(), "the description has no schema {schema}");
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{schema}"),
        "components": {"schemas": schemas},
    });
    let validator = jsonschema::validator_for(&whole).context("the description is no schema")?;
    let faults: Vec<String> = validator
        .iter_errors(answer)
        .map(|fault| format!("{} at {:?}", fault, fault.instance_path().to_string()))
        .collect();
    ensure!(faults.is_empty(), "{path}: {}\n{answer:.2000}", faults.join("; "));
    Ok(())
}
