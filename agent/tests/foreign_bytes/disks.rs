//! What `smartctl` prints.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use upkeep_agent::host::Host;
use upkeep_agent::probe::{ProbeError, SmartProbe, smart};
use upkeep_tests::fuzz;

use crate::{conformance, is_poorer, told};

const MINUTE: Duration = Duration::from_secs(60);

/// What a number becomes.
const JUNK: &str = "?!";

/// What smartctl said of disks: the recorded ones, or one that is made up.
fn good() -> Vec<String> {
    let folder = fs::read_dir(conformance().join("smartctl"));
    let paths = folder.into_iter().flatten().map(|entry| entry.unwrap().path());
    let documents = paths.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
    let mut texts: Vec<String> = documents.map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.sort();
    if texts.is_empty() {
        let made_up = json!({
            "smartctl": {"version": [7, 4], "exit_status": 0},
            "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
            "smart_status": {"passed": true},
            "power_on_time": {"hours": 10, "minutes": 5},
            "temperature": {"current": 30},
            "ata_smart_attributes": {"table": [{"id": 5, "name": "Reallocated_Sector_Ct",
                "value": 100, "worst": 100, "thresh": 10, "flags": {"string": "PO--CK "},
                "raw": {"value": 3, "string": "3"}}]},
        });
        texts.push(made_up.to_string());
    }
    texts
}

/// The series that come of a disk, without the agent's own, and what could not be read.
fn series_of(document: &str, exit: u8) -> (BTreeSet<String>, Result<(), ProbeError>) {
    let folder = tempfile::tempdir().unwrap();
    let scan = json!({"devices": [{"name": "/dev/sda", "type": "sat", "protocol": "ATA"}]});
    let recorded = |argv: &[&str], exit: u8, stdout: String| {
        json!({"argv": argv, "exit": exit, "stdout": stdout}).to_string()
    };
    let ask = ["smartctl", "--json", "--all", "--nocheck=standby", "--device=sat", "/dev/sda"];
    let lines = [
        recorded(&["smartctl", "--scan-open", "--json"], 0, scan.to_string()),
        recorded(&ask, exit, document.to_owned()),
    ];
    fs::write(folder.path().join("commands.jsonl"), lines.join("\n")).unwrap();
    let host = Host::replay(folder.path()).unwrap();
    let settings = smart::Settings { interval: MINUTE, patience: MINUTE };
    let (mut series, outcome) = told(&SmartProbe::new(settings), &host);
    assert!(series.len() < 5_000, "{} series", series.len());
    series.retain(|line| line.starts_with("smartctl_"));
    (series, outcome)
}

#[test]
fn spoilt_answers_of_disks_are_survived() {
    let cases = (prop::sample::select(good()), fuzz::spoils());
    fuzz::survive("disks", 64, &cases, |(document, spoils)| {
        let spoilt = fuzz::spoilt(document.as_bytes(), &spoils);
        let (series, _) = series_of(&String::from_utf8_lossy(&spoilt), 0);
        assert!(series.iter().all(|line| !line.ends_with("NaN") && !line.ends_with("Inf")));
    });
}

/// The ways to every number of a document.
fn numbers(value: &Value, way: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(way.to_owned()),
        Value::Array(rows) => {
            rows.iter()
                .enumerate()
                .for_each(|(at, row)| numbers(row, &format!("{way}/{at}"), found));
        }
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !name.contains(['/', '~']))
            .for_each(|(name, member)| numbers(member, &format!("{way}/{name}"), found)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn one_number_of_a_disk_that_cannot_be_read_is_left_out_and_told() {
    let cases = (prop::sample::select(good()), any::<Index>());
    fuzz::survive("disks' values", 64, &cases, |(document, which)| {
        let mut value: Value = serde_json::from_str(&document).unwrap();
        let mut places = Vec::new();
        numbers(&value, "", &mut places);
        let place = &places[which.index(places.len())];
        let exit = value["smartctl"]["exit_status"].as_u64().unwrap_or_default() as u8;
        let (good, _) = series_of(&document, exit);
        *value.pointer_mut(place).unwrap() = JUNK.into();
        let (now, outcome) = series_of(&value.to_string(), exit);
        let news = now.difference(&good);
        let invented: Vec<_> = news.filter(|line| !is_poorer(line, &good)).collect();
        assert!(invented.is_empty(), "{place}: invented {invented:#?}");
        let lost: Vec<_> = good.difference(&now).collect();
        assert!(lost.is_empty() || outcome.is_err(), "{place}: {lost:?} went without a word");
    });
}
