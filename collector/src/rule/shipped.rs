//! Every shipped rule is tried on hosts made for it: one that it must see, one that it must not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use upkeep_model::{Labels, METRIC_NAME, MatchOperator, Matcher};
use upkeep_promql::{Limits, Value};

use super::file::{Group, Kind};
use super::memory::Memory;
use super::record::Recorder;
use super::template::{Ask, Context, Site};
use super::{RequireOutcome, check, load};

mod cases;
mod patch_cases;

use cases::Course::{self, Line, Step};

/// When the expressions are evaluated: a moment in 2027, in seconds since 1970.
const NOW: i64 = 1_800_000_000;

/// What links in messages begin with.
const EXTERNAL_URL: &str = "https://upkeep.example.org";

/// Names that probes put together from what the kernel calls things; their own tests have them.
const COMPOSED: [&str; 8] = [
    "node_hwmon_temp_crit_celsius",
    "node_timex_maxerror_seconds",
    "node_timex_offset_seconds",
    "node_timex_sync_status",
    "node_vmstat_oom_kill",
    "node_vmstat_pgmajfault",
    "node_vmstat_pswpin",
    "node_vmstat_pswpout",
];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn packaging() -> PathBuf {
    workspace("packaging")
}

/// The text of the programs below a folder, without their tests.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("shipped") || path.ends_with("tests") {
            continue;
        } else if path.is_dir() {
            text += &sources(&path);
        } else if !path.ends_with("shipped.rs") && !path.ends_with("tests.rs") {
            let source = fs::read_to_string(&path).unwrap_or_default();
            text += source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        }
    }
    text
}

/// The labels that a series' name and braces say.
fn series_labels(text: &str) -> Labels {
    let selectors = upkeep_promql::parse(text).unwrap().selectors();
    let is_equal = |matcher: &&Matcher| matcher.operator() == MatchOperator::Equal;
    let equal = selectors[0].iter().filter(is_equal);
    Labels::new(equal.map(|matcher| (matcher.name(), matcher.value())))
}

fn remember(series: &[(String, Course)]) -> Arc<Memory> {
    let memory = Memory::default();
    for (name, course) in series {
        let labels = series_labels(name);
        let points = (0..=360).map(|minute: i64| {
            let value = match course {
                Line(from, to) => from + (to - from) * minute as f64 / 360.0,
                Step(before, after) => *if minute <= 357 { before } else { after },
            };
            (labels.clone(), (NOW - (360 - minute) * 60) * 1000, value)
        });
        memory.record(points.collect()).unwrap();
    }
    Arc::new(memory)
}

/// How many alerts a rule raises; their texts must be filled in.
fn raised(groups: &[Group], alert: &str, memory: &Arc<Memory>) -> usize {
    let rules = groups.iter().flat_map(|group| &group.rules);
    let rule = rules.clone().find(|rule| rule.name() == alert).unwrap_or_else(|| panic!("{alert}"));
    let Kind::Alert(kind) = &rule.kind else { panic!("{alert}") };
    let instant = |query: &upkeep_promql::Query| match query
        .instant(&**memory, NOW * 1000, &Limits::default())
        .unwrap()
        .value
    {
        Value::Vector(points) => points,
        other => panic!("{alert}: {other:?}"),
    };
    let points = instant(&rule.query);
    let memory_to_ask = Arc::clone(memory);
    let ask: Ask = Arc::new(move |text| {
        let query = upkeep_promql::parse(text).map_err(|error| error.to_string())?;
        let answer = query.instant(&*memory_to_ask, NOW * 1000, &Limits::default());
        match answer.map_err(|error| error.to_string())?.value {
            Value::Vector(points) => Ok(points),
            other => Err(format!("{other:?}")),
        }
    });
    let site = Site {
        external_url: EXTERNAL_URL,
        external_labels: &Labels::default(),
        ask: &ask,
        now_ms: NOW * 1000,
    };
    for point in &points {
        let context = Context::new(&point.labels, point.value, &site);
        for text in &kind.annotations {
            let filled = text.render(&context).unwrap_or_else(|error| panic!("{alert}: {error}"));
            let what = format!("{alert}, {}: {filled}", text.name());
            assert!(!filled.is_empty() && !filled.contains("{{"), "{what}");
            assert!(!filled.contains("  ") && !filled.contains("of  "), "{what}");
        }
        let link = kind.annotations.iter().find(|text| text.name() == "runbook_url").unwrap();
        let page = format!("{EXTERNAL_URL}/runbooks/");
        assert!(link.render(&context).unwrap().starts_with(&page), "{alert}");
        assert_eq!(point.labels.get("instance"), Some("web1"), "{alert} names no host");
    }
    points.len()
}

#[test]
fn every_shipped_rule_fires_when_it_must_and_only_then() {
    let groups = load(&[packaging().join("rules")], Some(&BTreeSet::new()))
        .unwrap_or_else(|faults| panic!("{faults}"));
    let (mut fired, mut rested) = (BTreeSet::new(), BTreeSet::new());
    let cases = cases::all().into_iter().chain(patch_cases::all());
    for (alert, fires, series) in cases {
        let count = raised(&groups, alert, &remember(&series));
        let shown: Vec<_> = series.iter().map(|(name, _)| name).collect();
        assert_eq!(count, usize::from(fires), "{alert} on {shown:?}");
        if fires {
            fired.insert(alert)
        } else {
            rested.insert(alert)
        };
    }
    let shipped: BTreeSet<_> =
        groups.iter().flat_map(|group| &group.rules).map(|rule| rule.name()).collect();
    assert!(shipped.len() >= 63, "{} rules", shipped.len());
    assert_eq!(fired, shipped, "every rule is seen to fire");
    assert_eq!(rested, shipped, "every rule is seen to rest");
}

#[test]
fn every_shipped_rule_says_what_it_is_about() {
    let report = check(&[packaging().join("rules")], &RequireOutcome::default(), None);
    assert!(report.is_good() && report.advice.is_empty(), "{report:?}");
    let groups = load(&[packaging().join("rules")], Some(&BTreeSet::new())).unwrap();
    for rule in groups.iter().flat_map(|group| &group.rules) {
        let Kind::Alert(alert) = &rule.kind else { panic!("{rule:?}") };
        let severity = rule.labels.iter().find(|label| label.name() == "severity").unwrap().text();
        assert!(["critical", "warning", "info"].contains(&severity), "{}", alert.name);
        let names: Vec<_> = alert.annotations.iter().map(|text| text.name()).collect();
        let expect = ["summary", "description", "action", "outcome", "runbook_url"];
        assert_eq!(names, expect, "{}", alert.name);
    }
}

#[test]
fn every_metric_of_a_shipped_rule_is_one_that_agents_or_the_collector_tell() {
    let programs = sources(&workspace("agent/src")) + &sources(&workspace("collector/src"));
    let groups = load(&[packaging().join("rules")], None).unwrap();
    let rules = groups.iter().flat_map(|group| &group.rules);
    let mut composed = BTreeSet::new();
    for rule in rules {
        for selector in rule.query.selectors() {
            let of_name = selector.iter().find(|matcher| matcher.name() == METRIC_NAME);
            let metric = of_name.unwrap().value();
            if COMPOSED.contains(&metric) {
                composed.insert(metric.to_owned());
                continue;
            }
            let written = programs.contains(&format!("\"{metric}\""));
            assert!(written, "{} looks at {metric}, which nobody tells", rule.name());
        }
    }
    assert_eq!(composed.len(), COMPOSED.len(), "a name that no rule looks at: {composed:?}");
}
