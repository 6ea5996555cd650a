//! `rules usefulness`: what became of the alerts of each rule.

use std::path::Path;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, Server};
use super::{CommandError, print_json, print_table};

/// Over which time to look back.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many weeks, the present one included.
    #[arg(long, default_value_t = 4)]
    pub weeks: u32,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub server: Server,
}

/// A rule, as far as it is printed.
#[derive(Deserialize)]
struct Rule {
    group: Option<String>,
    rule: String,
    fired: u64,
    told: u64,
    acknowledged: u64,
    acted_on: u64,
    silenced: u64,
    flapped: u64,
    resolved_by_itself: u64,
    verdict: String,
    reason: String,
}

/// Asks and prints.
pub(super) fn run(config_file: &Path, arguments: &Arguments) -> Result<(), CommandError> {
    let api = Api::of(config_file, &arguments.server)?;
    let weeks = [("weeks", arguments.weeks)];
    let path = "/api/v1/rules/usefulness";
    let mut answer: Value = api.json(Method::GET, path, |request| request.query(&weeks))?;
    let rules = answer.pointer_mut("/data/rules").map(Value::take).unwrap_or_default();
    if arguments.json {
        return print_json(&rules);
    }
    let rules: Vec<Rule> = serde_json::from_value(rules)?;
    let headings = [
        "VERDICT",
        "GROUP",
        "RULE",
        "FIRED",
        "TOLD",
        "ACKED",
        "ACTED",
        "SILENCED",
        "FLAPPED",
        "BY ITSELF",
        "WHY",
    ];
    print_table(&headings, &rules.into_iter().map(Rule::row).collect::<Vec<_>>())
}

impl Rule {
    fn row(self) -> Vec<String> {
        let numbers = [
            self.fired,
            self.told,
            self.acknowledged,
            self.acted_on,
            self.silenced,
            self.flapped,
            self.resolved_by_itself,
        ];
        let group = self.group.unwrap_or_else(|| "(of others)".to_owned());
        let mut row = vec![self.verdict, group, self.rule];
        row.extend(numbers.map(|number| number.to_string()));
        row.push(self.reason);
        row
    }
}
