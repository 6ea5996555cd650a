//! Rule files: Prometheus' format, read strictly. Unknown keys are refused, and everything that is
//! wrong with a file is said at once.

mod content;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use upkeep_model::METRIC_NAME;
use upkeep_promql::Query;

use super::snapshot::Muted;
use super::template::Template;
use crate::notify::{ACTION, ALERT_NAME, OUTCOME, PREDEFINED_ACTION};
use crate::yaml::{self, Entry, FaultList, Faults, Fields, Node, Place, Tree};

pub use content::{Content, Identity};

/// The label that says how urgent an alert is, and its value for what belongs on the dashboard.
pub(super) const SEVERITY: &str = "severity";
pub(super) const INFORMATIONAL: &str = "info";

/// The largest file that is read; more is a mistake, not a rule file.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// A group of rules that are evaluated together, in order.
#[derive(Debug)]
pub struct Group {
    /// The file that it stands in.
    pub file: PathBuf,
    /// Its name, unique within the file.
    pub name: String,
    /// How often it is evaluated; `None` means as often as the settings say.
    pub interval: Option<Duration>,
    /// The most alerts or series that one rule may produce; 0 means any number.
    pub limit: usize,
    /// How far in the past it is evaluated, for data that comes late.
    pub query_offset: Duration,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Where it stands in its file.
    pub place: Place,
    /// The expression.
    pub query: Query,
    /// Labels that it adds, those of the group among them.
    pub labels: Vec<Template>,
    /// What is done with the result.
    pub kind: Kind,
}

/// What is done with a rule's result.
#[derive(Debug)]
pub enum Kind {
    /// It is written as a series of this name.
    Record {
        /// The metric name.
        name: String,
    },
    /// Each of its series raises an alert.
    Alert(AlertKind),
}

/// What an alerting rule says beside its expression and labels.
#[derive(Debug)]
pub struct AlertKind {
    /// The alert's name.
    pub name: String,
    /// How long the condition must hold before the alert fires.
    pub hold: Duration,
    /// How long the alert goes on firing once the condition is gone.
    pub keep_firing: Duration,
    /// Texts for people.
    pub annotations: Vec<Template>,
}

impl Group {
    /// What it is called among the groups of all files.
    pub fn key(&self) -> String {
        format!("{}:{}", self.file.display(), self.name)
    }
}

impl Rule {
    /// The alert's name or that of the recorded series.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Record { name } | Kind::Alert(AlertKind { name, .. }) => name,
        }
    }

    /// The action of the configuration that the rule asks for.
    pub fn predefined_action(&self) -> Option<&str> {
        let Kind::Alert(alert) = &self.kind else { return None };
        let named = alert.annotations.iter().find(|text| text.name() == PREDEFINED_ACTION);
        named.map(|text| text.text().trim()).filter(|name| !name.is_empty())
    }

    /// Whether a template of the rule may ask PromQL.
    pub fn asks(&self) -> bool {
        let annotations = match &self.kind {
            Kind::Record { .. } => &[][..],
            Kind::Alert(alert) => &alert.annotations,
        };
        self.labels.iter().chain(annotations).any(Template::asks)
    }

    /// Why the rule notifies nobody, if it does not: it must say what to do and what for, and be
    /// of more than informational severity. Without `require_outcome` every alerting rule notifies.
    pub fn muted(&self, require_outcome: bool) -> Option<Muted> {
        let Kind::Alert(alert) = &self.kind else {
            return None;
        };
        if !require_outcome {
            return None;
        }
        let severity = self.labels.iter().find(|label| label.name() == SEVERITY);
        if severity.is_some_and(|label| label.text() == INFORMATIONAL) {
            return Some(Muted::Informational);
        }
        let says = |name: &str| {
            let mut texts = alert.annotations.iter();
            texts.any(|text| text.name() == name && !text.text().trim().is_empty())
        };
        match (says(ACTION) || says(PREDEFINED_ACTION), says(OUTCOME)) {
            (true, true) if severity.is_some_and(Template::is_filled_in) => {
                Some(Muted::WhenInformational)
            }
            (true, true) => None,
            (false, true) => Some(Muted::WithoutAction),
            (true, false) => Some(Muted::WithoutOutcome),
            (false, false) => Some(Muted::WithoutActionAndOutcome),
        }
    }
}

/// Reads a rule file.
///
/// # Errors
/// With everything that is wrong with it.
pub fn read(file: &Path) -> Result<Vec<Group>, Faults> {
    let mut faults = FaultList::new(file);
    match read_text(file) {
        Ok(text) => parse(file, &text),
        Err(message) => {
            faults.whole(message);
            faults.into_result(Vec::new())
        }
    }
}

/// A file's text, unless it is too large for what people write.
pub(super) fn read_text(file: &Path) -> Result<String, String> {
    let size = fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("has {size} bytes, the limit is {MAX_FILE_BYTES}"));
    }
    fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))
}

/// Parses a rule file's text.
///
/// # Errors
/// With everything that is wrong with it.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Group>, Faults> {
    let mut faults = FaultList::new(file);
    let Some(tree) = yaml::parse(text, &mut faults) else {
        return faults.into_result(Vec::new());
    };
    let mut fields = Fields::of(&tree, "a rule file", &mut faults);
    let mut names = BTreeSet::new();
    let mut groups = Vec::new();
    if let Some(list) = fields.take("groups") {
        for tree in list.list(&mut faults) {
            let group = group(file, tree, &mut faults);
            if !group.name.is_empty() && !names.insert(group.name.clone()) {
                faults.at(tree.place, format!("group `{}` is repeated in this file", group.name));
            }
            groups.push(group);
        }
    }
    fields.refuse_rest(&mut faults);
    faults.into_result(groups)
}

fn group(file: &Path, tree: &Tree, faults: &mut FaultList) -> Group {
    let mut fields = Fields::of(tree, "a group", faults);
    let name = fields.take("name").and_then(|name| name.text(faults)).unwrap_or_default();
    if name.is_empty() {
        faults.at(tree.place, "this group has no name");
    }
    let interval = duration(&mut fields, "interval", faults).filter(|interval| !interval.is_zero());
    let query_offset = duration(&mut fields, "query_offset", faults).unwrap_or_default();
    let limit = fields.take("limit").and_then(|limit| {
        limit.parsed(faults, |text| {
            text.parse().map_err(|_| format!("`{text}` is not a number of alerts or series"))
        })
    });
    let labels = fields.take("labels").map(|tree| labels(tree, faults)).unwrap_or_default();
    let rules = fields.take("rules").map_or(&[][..], |rules| rules.list(faults));
    let rules = rules.iter().filter_map(|rule| self::rule(rule, &labels, faults)).collect();
    fields.refuse_rest(faults);
    Group {
        file: file.to_owned(),
        name: name.to_owned(),
        interval,
        limit: limit.unwrap_or(0),
        query_offset,
        rules,
    }
}

/// A rule, or `None` if something that it cannot do without is missing or wrong.
fn rule(tree: &Tree, group_labels: &[Text<'_>], faults: &mut FaultList) -> Option<Rule> {
    let mut fields = Fields::of(tree, "a rule", faults);
    let record = fields.entry("record").filter(|entry| entry.value.node != Node::Null);
    let alert = fields.entry("alert").filter(|entry| entry.value.node != Node::Null);
    let query = query(&mut fields, tree.place, faults);
    let own_labels = fields.take("labels").map(|tree| labels(tree, faults)).unwrap_or_default();
    let texts = merged(group_labels, own_labels);
    let kind = match (record, alert) {
        (Some(record), None) => record_kind(record, &mut fields, faults),
        (None, Some(alert)) => alert_kind(alert, &mut fields, faults),
        (Some(_), Some(alert)) => {
            faults.at(alert.place, "only one of `record` and `alert` may be set");
            return None;
        }
        (None, None) => {
            faults.at(tree.place, "one of `record` and `alert` must be set");
            return None;
        }
    };
    fields.refuse_rest(faults);
    let kind = kind?;
    let is_alert = matches!(kind, Kind::Alert(_));
    let labels = texts.into_iter().filter_map(|text| text.compile(is_alert, faults)).collect();
    Some(Rule { place: tree.place, query: query?, labels, kind })
}

fn query(fields: &mut Fields<'_>, place: Place, faults: &mut FaultList) -> Option<Query> {
    match fields.take("expr") {
        Some(tree) => tree.parsed(faults, upkeep_promql::parse),
        None => {
            faults.at(place, "field `expr` must be set in a rule");
            None
        }
    }
}

fn record_kind(entry: &Entry, fields: &mut Fields<'_>, faults: &mut FaultList) -> Option<Kind> {
    for key in ["for", "keep_firing_for", "annotations"] {
        if let Some(entry) = fields.entry(key) {
            faults.at(entry.place, format!("`{key}` has no place in a recording rule"));
        }
    }
    let name = entry.value.text(faults)?;
    if name.is_empty() || name.contains(['{', '}']) {
        let message = format!("`{name}` is not a metric name; conditions belong into `expr`");
        faults.at(entry.value.place, message);
        return None;
    }
    Some(Kind::Record { name: name.to_owned() })
}

fn alert_kind(entry: &Entry, fields: &mut Fields<'_>, faults: &mut FaultList) -> Option<Kind> {
    let name = entry.value.text(faults)?;
    let hold = duration(fields, "for", faults).unwrap_or_default();
    let keep_firing = duration(fields, "keep_firing_for", faults).unwrap_or_default();
    let annotations = fields.take("annotations").map_or_else(Vec::new, |tree| {
        let entries = tree.map(faults).iter();
        let texts: Vec<_> = entries.filter_map(|entry| Text::of(entry, faults)).collect();
        texts.into_iter().filter_map(|text| text.compile(true, faults)).collect()
    });
    if name.is_empty() {
        faults.at(entry.place, "this alert has no name");
        return None;
    }
    Some(Kind::Alert(AlertKind { name: name.to_owned(), hold, keep_firing, annotations }))
}

/// A label or annotation as written.
#[derive(Clone, Copy)]
struct Text<'a> {
    place: Place,
    name: &'a str,
    text: &'a str,
}

impl<'a> Text<'a> {
    fn of(entry: &'a Entry, faults: &mut FaultList) -> Option<Self> {
        if entry.key.is_empty() {
            faults.at(entry.place, "a name must not be empty");
            return None;
        }
        let text = entry.value.text(faults)?;
        Some(Self { place: entry.value.place, name: &entry.key, text })
    }

    /// Recording rules take their labels as they are; in alerting rules they are templates.
    fn compile(self, is_template: bool, faults: &mut FaultList) -> Option<Template> {
        if !is_template {
            return Some(Template::verbatim(self.name, self.text));
        }
        match Template::compile(self.name, self.text) {
            // Labels come from hosts, which must not choose what is run.
            Ok(template) if self.name == PREDEFINED_ACTION && template.is_filled_in() => {
                let message = format!("`{PREDEFINED_ACTION}` must name one action, without braces");
                faults.at(self.place, message);
                None
            }
            Ok(template) => Some(template),
            Err(error) => {
                faults.at(self.place, error.to_string());
                None
            }
        }
    }
}

fn labels<'a>(tree: &'a Tree, faults: &mut FaultList) -> Vec<Text<'a>> {
    let mut texts = Vec::new();
    for entry in tree.map(faults) {
        if [METRIC_NAME, ALERT_NAME].contains(&entry.key.as_str()) {
            faults.at(entry.place, format!("the label `{}` is set by the rule's name", entry.key));
        } else {
            texts.extend(Text::of(entry, faults));
        }
    }
    texts
}

/// The labels of the group and of the rule; of a name given twice the rule's holds.
fn merged<'a>(group: &[Text<'a>], mut rule: Vec<Text<'a>>) -> Vec<Text<'a>> {
    for text in group {
        if rule.iter().all(|own| own.name != text.name) {
            rule.push(*text);
        }
    }
    rule
}

fn duration(fields: &mut Fields<'_>, key: &str, faults: &mut FaultList) -> Option<Duration> {
    fields.take(key)?.parsed(faults, yaml::duration)
}

#[cfg(test)]
mod tests;
