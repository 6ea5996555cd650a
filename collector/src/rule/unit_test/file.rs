//! The files of unit tests, read strictly: unknown keys are refused, and everything that is wrong with
//! a file is said at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use upkeep_model::Labels;
use upkeep_promql::{Query, Step, parse_labels, parse_steps};

use crate::notify::{ALERT_NAME, Annotations};
use crate::rule::file::read_text;
use crate::yaml::{self, FaultList, Faults, Fields, Place, Tree};

/// How often rules are evaluated if the file does not say.
const INTERVAL: Duration = Duration::from_mins(1);

/// A file of unit tests.
pub(super) struct TestFile {
    /// The files with the rules, their patterns resolved.
    pub(super) rule_files: Vec<PathBuf>,
    /// How often all groups are evaluated, whatever they say.
    pub(super) interval_ms: i64,
    /// Groups that are evaluated in this order, after the others.
    pub(super) group_order: Vec<String>,
    /// Whether values may be off by the last bit.
    pub(super) fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

/// One test: series, and what they make.
pub(super) struct Test {
    pub(super) place: Place,
    /// What it is called in messages.
    pub(super) name: String,
    /// The time from one step of the series to the next.
    pub(super) step_ms: i64,
    pub(super) series: Vec<(Labels, Vec<Step>)>,
    pub(super) alerts: Vec<AlertCase>,
    pub(super) expressions: Vec<ExpressionCase>,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
}

/// Which alerts of a name fire at a time.
pub(super) struct AlertCase {
    pub(super) place: Place,
    pub(super) at_ms: i64,
    pub(super) name: String,
    pub(super) expected: Vec<ExpectedAlert>,
}

/// One alert that must fire.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExpectedAlert {
    /// All labels, `alertname` among them.
    pub(super) labels: Labels,
    pub(super) annotations: Annotations,
}

/// What an expression gives at a time.
pub(super) struct ExpressionCase {
    pub(super) place: Place,
    pub(super) query: Query,
    pub(super) at_ms: i64,
    pub(super) expected: Vec<(Labels, f64)>,
}

impl TestFile {
    /// Reads a file of unit tests.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(super) fn read(path: &Path) -> Result<Self, Faults> {
        let mut faults = FaultList::new(path);
        match read_text(path) {
            Ok(text) => Self::parse(path, &text),
            Err(message) => {
                faults.whole(message);
                Err(faults.into_result(()).err().unwrap_or_default())
            }
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Faults> {
        let mut faults = FaultList::new(path);
        let tree = yaml::parse(text, &mut faults);
        let null = Tree { place: Place { line: 1, column: 1 }, node: yaml::Node::Null };
        let tree = tree.as_ref().unwrap_or(&null);
        let mut fields = Fields::of(tree, "a file of unit tests", &mut faults);
        let interval = duration(&mut fields, "evaluation_interval", &mut faults);
        let interval = interval.filter(|interval| !interval.is_zero()).unwrap_or(INTERVAL);
        let rule_files = rule_files(&mut fields, path, &mut faults);
        let group_order = group_order(&mut fields, &mut faults);
        let fuzzy = fields.take("fuzzy_compare").and_then(|tree| flag(tree, &mut faults));
        let tests = fields.take("tests").map_or(&[][..], |tests| tests.list(&mut faults));
        let tests = tests.iter().enumerate();
        let tests = tests.map(|(at, tree)| test(tree, at + 1, interval, &mut faults)).collect();
        fields.refuse_rest(&mut faults);
        let fuzzy = fuzzy.unwrap_or(false);
        faults.into_result(Self {
            rule_files,
            interval_ms: milliseconds(interval),
            group_order,
            fuzzy,
            tests,
        })
    }
}

impl Test {
    /// Until when there is something to see.
    pub(super) fn end_ms(&self) -> i64 {
        let alerts = self.alerts.iter().map(|case| case.at_ms);
        alerts.chain(self.expressions.iter().map(|case| case.at_ms)).max().unwrap_or(0)
    }
}

/// The rule files, which may be patterns, and stand relative to the file with the tests.
fn rule_files(fields: &mut Fields<'_>, path: &Path, faults: &mut FaultList) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    let list = fields.take("rule_files").map_or(&[][..], |list| list.list(faults));
    for tree in list {
        let Some(pattern) = tree.text(faults) else { continue };
        let whole = folder.join(pattern);
        let found = glob::glob(&whole.to_string_lossy()).map(|paths| paths.flatten().collect());
        match found {
            Ok(found) => {
                let found: Vec<PathBuf> = found;
                if found.is_empty() {
                    faults.at(tree.place, format!("there is no file {}", whole.display()));
                }
                files.extend(found);
            }
            Err(error) => faults.at(tree.place, format!("`{pattern}`: {error}")),
        }
    }
    files
}

fn group_order(fields: &mut Fields<'_>, faults: &mut FaultList) -> Vec<String> {
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    let list = fields.take("group_eval_order").map_or(&[][..], |list| list.list(faults));
    for tree in list {
        let Some(name) = tree.text(faults) else { continue };
        if seen.insert(name.to_owned()) {
            order.push(name.to_owned());
        } else {
            faults.at(tree.place, format!("group `{name}` stands twice in the order"));
        }
    }
    order
}

fn test(tree: &Tree, number: usize, interval: Duration, faults: &mut FaultList) -> Test {
    let mut fields = Fields::of(tree, "a test", faults);
    let name = fields.take("name").and_then(|name| name.text(faults)).map(str::to_owned);
    let step = duration(&mut fields, "interval", faults).filter(|step| !step.is_zero());
    let series = fields.take("input_series").map_or(&[][..], |list| list.list(faults));
    let series = series.iter().filter_map(|tree| input_series(tree, faults)).collect();
    let alerts = fields.take("alert_rule_test").map_or(&[][..], |list| list.list(faults));
    let alerts = alerts.iter().filter_map(|tree| alert_case(tree, faults)).collect();
    let expressions = fields.take("promql_expr_test").map_or(&[][..], |list| list.list(faults));
    let expressions = expressions.iter().filter_map(|tree| expression_case(tree, faults)).collect();
    let external_labels = texts(&mut fields, "external_labels", faults);
    let external_url = fields.take("external_url").and_then(|url| url.text(faults));
    let external_url = external_url.unwrap_or_default().to_owned();
    fields.refuse_rest(faults);
    Test {
        place: tree.place,
        name: name.map_or_else(|| format!("test {number}"), |name| format!("test `{name}`")),
        step_ms: milliseconds(step.unwrap_or(interval)),
        series,
        alerts,
        expressions,
        external_labels: Labels::new(external_labels),
        external_url,
    }
}

fn input_series(tree: &Tree, faults: &mut FaultList) -> Option<(Labels, Vec<Step>)> {
    let mut fields = Fields::of(tree, "a series", faults);
    let labels = required(&mut fields, "series", faults)
        .and_then(|series| series.parsed(faults, parse_labels));
    let values = required(&mut fields, "values", faults);
    let steps = values.and_then(|values| values.parsed(faults, parse_steps));
    if let (Some(values), Some(steps)) = (values, &steps)
        && steps.contains(&Step::Native)
    {
        faults.at(values.place, "native histograms are not kept here");
    }
    fields.refuse_rest(faults);
    Some((labels?, steps?))
}

fn alert_case(tree: &Tree, faults: &mut FaultList) -> Option<AlertCase> {
    let mut fields = Fields::of(tree, "an item of alert_rule_test", faults);
    let at = duration(&mut fields, "eval_time", faults).unwrap_or_default();
    let name = required(&mut fields, "alertname", faults).and_then(|name| name.text(faults));
    let expected = fields.take("exp_alerts").map_or(&[][..], |list| list.list(faults));
    let expected = expected.iter().map(|tree| {
        let mut fields = Fields::of(tree, "an expected alert", faults);
        let labels = Labels::new(texts(&mut fields, "exp_labels", faults));
        let annotations = texts(&mut fields, "exp_annotations", faults);
        fields.refuse_rest(faults);
        ExpectedAlert {
            labels: labels.with(ALERT_NAME, name.unwrap_or_default()),
            annotations: annotations.into_iter().collect(),
        }
    });
    let expected = expected.collect();
    fields.refuse_rest(faults);
    let (place, at_ms) = (tree.place, milliseconds(at));
    Some(AlertCase { place, at_ms, name: name?.to_owned(), expected })
}

fn expression_case(tree: &Tree, faults: &mut FaultList) -> Option<ExpressionCase> {
    let mut fields = Fields::of(tree, "an item of promql_expr_test", faults);
    let query = required(&mut fields, "expr", faults)
        .and_then(|tree| tree.parsed(faults, upkeep_promql::parse));
    let at = duration(&mut fields, "eval_time", faults).unwrap_or_default();
    let expected = fields.take("exp_samples").map_or(&[][..], |list| list.list(faults));
    let expected = expected.iter().filter_map(|tree| sample(tree, faults)).collect();
    fields.refuse_rest(faults);
    Some(ExpressionCase { place: tree.place, query: query?, at_ms: milliseconds(at), expected })
}

fn sample(tree: &Tree, faults: &mut FaultList) -> Option<(Labels, f64)> {
    let mut fields = Fields::of(tree, "an expected sample", faults);
    let labels = match fields.take("labels") {
        Some(labels) => labels.parsed(faults, parse_labels),
        None => Some(Labels::default()),
    };
    if let Some(histogram) = fields.entry("histogram") {
        faults.at(histogram.place, "native histograms are not kept here");
    }
    let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a number"));
    let value = match fields.take("value") {
        Some(value) => value.parsed(faults, number),
        None => Some(0.0),
    };
    fields.refuse_rest(faults);
    Some((labels?, value?))
}

fn required<'a>(fields: &mut Fields<'a>, key: &str, faults: &mut FaultList) -> Option<&'a Tree> {
    let tree = fields.take(key);
    if tree.is_none() {
        faults.at(fields.place(), format!("`{key}` is missing"));
    }
    tree
}

fn texts(fields: &mut Fields<'_>, key: &str, faults: &mut FaultList) -> BTreeMap<String, String> {
    let entries = fields.take(key).map_or(&[][..], |tree| tree.map(faults));
    let pair =
        |entry: &yaml::Entry| Some((entry.key.clone(), entry.value.text(faults)?.to_owned()));
    entries.iter().filter_map(pair).collect()
}

fn duration(fields: &mut Fields<'_>, key: &str, faults: &mut FaultList) -> Option<Duration> {
    fields.take(key)?.parsed(faults, yaml::duration)
}

fn flag(tree: &Tree, faults: &mut FaultList) -> Option<bool> {
    tree.parsed(faults, |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("`{other}` is neither true nor false")),
    })
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
