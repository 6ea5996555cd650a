//! The routing file: Alertmanager's configuration, the part of it that this program serves.
//!
//! Served are the receivers' settings of `global`, the tree of `route`, `inhibit_rules`, `time_intervals`,
//! and `receivers` of the kinds that `receiver` lists; and escalation, which Alertmanager does not know.
//! What Alertmanager knows and this program does not is named in a warning, since a file that came from
//! elsewhere should load; a key that nobody knows is a fault. A receiver of another kind loads, and
//! telling it fails visibly.

mod escalation;
mod mute;
mod receiver;
mod shown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use upkeep_model::{MatchOperator, Matcher};

pub(super) use self::mute::time_intervals;
use self::receiver::{Defaults, read_receiver};
use self::shown::shown;
use super::inhibit::InhibitRule;
use super::interval::{Hours, NamedInterval};
use super::matcher;
use super::route::{Grouping, Route, Timing, key_part};
use crate::notify::ChannelSettings;
use crate::yaml::{self, Entry, Fault, FaultList, Faults, Fields, Node, Tree};

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// For how long an alert counts as firing that nobody speaks of any more.
const DEFAULT_RESOLVE_TIMEOUT: Duration = Duration::from_mins(5);

/// A section that Alertmanager has and this program does not serve.
const UNSERVED_SECTION: &str = "templates";

/// Who is told of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// For how long an alert counts as firing that nobody speaks of any more.
    pub resolve_timeout: Duration,
    /// The route that every alert takes first.
    pub root: Route,
    /// Which alerts keep which others from being told.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Who can be told.
    pub receivers: Vec<ReceiverSettings>,
    /// What the file says and this program does not do.
    pub warnings: Vec<Fault>,
    /// The file as it can be shown, without secrets.
    pub shown: String,
}

impl Routing {
    /// What holds without a routing file: alerts are shown, and nobody is told.
    pub fn nobody() -> Self {
        Self {
            resolve_timeout: DEFAULT_RESOLVE_TIMEOUT,
            root: everything(),
            inhibit_rules: Vec::new(),
            receivers: Vec::new(),
            warnings: Vec::new(),
            shown: String::new(),
        }
    }
}

/// Somebody who can be told, by some ways.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverSettings {
    /// The name that routes call it by.
    pub name: String,
    /// The ways, in the order of the file's sections.
    pub channels: Vec<ChannelSettings>,
}

/// What a routing file may not decide by itself, since whoever writes it may be somebody else.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Networks that requests may be sent to though they are not of the world.
    pub networks: Vec<IpNet>,
    /// Programs that may be run.
    pub commands: Vec<PathBuf>,
}

/// Reads a routing file.
///
/// # Errors
/// With everything that is wrong with it.
pub(super) fn read(file: &Path, allowed: &Allowed) -> Result<Routing, Faults> {
    let text = fs::metadata(file).and_then(|metadata| {
        if metadata.len() > MAX_FILE_BYTES {
            return Err(std::io::Error::other(format!(
                "has {} bytes, the limit is {MAX_FILE_BYTES}",
                metadata.len()
            )));
        }
        fs::read_to_string(file)
    });
    match text {
        Ok(text) => parse(file, &text, allowed),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(Faults(vec![Fault { file: file.to_owned(), place: None, message }]))
        }
    }
}

/// Parses a routing file's text.
///
/// # Errors
/// With everything that is wrong with it.
pub(super) fn parse(file: &Path, text: &str, allowed: &Allowed) -> Result<Routing, Faults> {
    let mut reader = Reader {
        faults: FaultList::new(file),
        warnings: FaultList::new(file),
        allowed: allowed.clone(),
        intervals: Vec::new(),
    };
    let Some(tree) = yaml::parse(text, &mut reader.faults) else {
        return reader.faults.into_result(()).and(Err(Faults::default()));
    };
    let mut fields = Fields::of(&tree, "a routing file", &mut reader.faults);
    let (resolve_timeout, defaults) = reader.global(fields.take("global"));
    let receivers = reader.receivers(fields.take("receivers"), &defaults);
    reader.intervals = reader.intervals(&mut fields);
    let root = reader.root(fields.take("route"), &tree);
    let inhibit_rules = reader.inhibit_rules(fields.take("inhibit_rules"));
    if let Some(entry) = fields.entry(UNSERVED_SECTION) {
        reader.unserved(entry);
    }
    fields.refuse_rest(&mut reader.faults);
    reader.know_receivers(fields_of_route(&tree), &receivers);
    let warnings = reader.warnings.into_result(()).err().map(|faults| faults.0).unwrap_or_default();
    let Some(root) = root else {
        return reader.faults.into_result(()).and(Err(Faults::default()));
    };
    let shown = shown(&tree);
    let routing = Routing { resolve_timeout, root, inhibit_rules, receivers, warnings, shown };
    reader.faults.into_result(routing)
}

/// What reading needs beside the file's content.
struct Reader {
    faults: FaultList,
    warnings: FaultList,
    allowed: Allowed,
    /// What routes may refer to.
    intervals: Vec<NamedInterval>,
}

impl Reader {
    /// A key of Alertmanager's that this program does not serve.
    fn unserved(&mut self, entry: &Entry) {
        if entry.value.node != Node::Null {
            self.warnings.at(entry.place, format!("`{}` is not served and left out", entry.key));
        }
    }

    fn global(&mut self, tree: Option<&Tree>) -> (Duration, Defaults) {
        let Some(tree) = tree else {
            return (DEFAULT_RESOLVE_TIMEOUT, Defaults::default());
        };
        let mut fields = Fields::of(tree, "global", &mut self.faults);
        let resolve_timeout = self.duration(&mut fields, "resolve_timeout");
        let defaults = self.defaults(&mut fields);
        // The rest of this section are defaults of receivers that are not served.
        for entry in fields.rest() {
            self.unserved(entry);
        }
        (resolve_timeout.unwrap_or(DEFAULT_RESOLVE_TIMEOUT), defaults)
    }

    fn receivers(&mut self, tree: Option<&Tree>, defaults: &Defaults) -> Vec<ReceiverSettings> {
        let trees = tree.map_or(&[][..], |tree| tree.list(&mut self.faults));
        let mut receivers: Vec<ReceiverSettings> = Vec::new();
        for tree in trees {
            let receiver = read_receiver(self, tree, defaults);
            if receivers.iter().any(|known| known.name == receiver.name) {
                let message = format!("receiver `{}` is repeated", receiver.name);
                self.faults.at(tree.place, message);
            }
            receivers.push(receiver);
        }
        receivers
    }

    fn root(&mut self, tree: Option<&Tree>, document: &Tree) -> Option<Route> {
        let Some(tree) = tree else {
            self.faults.at(document.place, "there is no `route`");
            return None;
        };
        let route = self.route(tree, &everything());
        if route.receiver.is_empty() {
            self.faults.at(tree.place, "the first route must name a receiver");
        }
        if !route.matchers.is_empty() {
            self.faults.at(tree.place, "the first route takes every alert and has no matchers");
        }
        if route.goes_on {
            self.faults.at(tree.place, "the first route has nothing to continue to");
        }
        if route.hours != Hours::default() {
            self.faults.at(tree.place, "the first route takes every alert at any time");
        }
        Some(route)
    }

    fn route(&mut self, tree: &Tree, above: &Route) -> Route {
        let mut fields = Fields::of(tree, "a route", &mut self.faults);
        let receiver = fields.take("receiver").and_then(|tree| tree.text(&mut self.faults));
        let matchers = self.matchers(&mut fields, "");
        let grouping = fields.take("group_by").map(|tree| self.grouping(tree));
        let timing = Timing {
            group_wait: self.duration(&mut fields, "group_wait").unwrap_or(above.timing.group_wait),
            group_interval: self
                .positive(&mut fields, "group_interval")
                .unwrap_or(above.timing.group_interval),
            repeat_interval: self
                .positive(&mut fields, "repeat_interval")
                .unwrap_or(above.timing.repeat_interval),
        };
        let goes_on = fields.take("continue").and_then(|tree| self.boolean(tree));
        let trees = fields.take("routes").map_or(&[][..], |tree| tree.list(&mut self.faults));
        let hours = self.hours(&mut fields);
        let receiver = receiver.unwrap_or(&above.receiver).to_owned();
        let escalation = self.escalation(&mut fields, above, &receiver);
        fields.refuse_rest(&mut self.faults);
        let separator = if above.key.is_empty() { "" } else { "/" };
        let mut route = Route {
            key: format!("{}{separator}{}", above.key, key_part(&matchers)),
            matchers,
            receiver,
            grouping: grouping.unwrap_or_else(|| above.grouping.clone()),
            timing,
            hours,
            escalation,
            goes_on: goes_on.unwrap_or(false),
            routes: Vec::new(),
        };
        route.routes = trees.iter().map(|tree| self.route(tree, &route)).collect();
        route
    }

    /// The matchers of a route, or of a side of an inhibition rule, whose keys have a prefix:
    /// `matchers`, and the older `match` and `match_re`.
    fn matchers(&mut self, fields: &mut Fields<'_>, prefix: &str) -> Vec<Matcher> {
        let mut matchers = Vec::new();
        let older = [("match", MatchOperator::Equal), ("match_re", MatchOperator::Matches)];
        for (key, operator) in older {
            let entries = fields
                .take(&format!("{prefix}{key}"))
                .map_or(&[][..], |tree| tree.map(&mut self.faults));
            for entry in entries {
                let matcher = entry.value.parsed(&mut self.faults, |value| {
                    Matcher::new(entry.key.as_str(), operator, value)
                });
                matchers.extend(matcher);
            }
        }
        let texts = match fields.take(&format!("{prefix}matchers")) {
            None => &[][..],
            Some(tree) if matches!(tree.node, Node::Scalar(_)) => std::slice::from_ref(tree),
            Some(tree) => tree.list(&mut self.faults),
        };
        for tree in texts {
            matchers.extend(tree.parsed(&mut self.faults, matcher::parse).unwrap_or_default());
        }
        matchers
            .sort_by(|left, right| (left.name(), left.value()).cmp(&(right.name(), right.value())));
        matchers
    }

    fn grouping(&mut self, tree: &Tree) -> Grouping {
        let mut names: Vec<String> = Vec::new();
        for tree in tree.list(&mut self.faults) {
            let Some(name) = tree.text(&mut self.faults) else { continue };
            if name.is_empty() || names.iter().any(|known| known == name) {
                self.faults.at(tree.place, format!("label `{name}` is empty or repeated"));
            }
            names.push(name.to_owned());
        }
        if !names.iter().any(|name| name == "...") {
            return Grouping::By(names);
        }
        if names.len() > 1 {
            self.faults.at(tree.place, "`...` means all labels and stands alone");
        }
        Grouping::ByAll
    }

    fn know_receivers(&mut self, routes: Vec<&Tree>, receivers: &[ReceiverSettings]) {
        for tree in routes {
            let Node::Scalar(name) = &tree.node else { continue };
            if !receivers.iter().any(|receiver| receiver.name == *name) {
                self.faults.at(tree.place, format!("there is no receiver `{name}`"));
            }
        }
    }

    fn duration(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<Duration> {
        fields.take(key)?.parsed(&mut self.faults, yaml::duration)
    }

    fn positive(&mut self, fields: &mut Fields<'_>, key: &str) -> Option<Duration> {
        let tree = fields.take(key)?;
        let duration = tree.parsed(&mut self.faults, yaml::duration)?;
        if duration.is_zero() {
            self.faults.at(tree.place, format!("`{key}` must not be zero"));
        }
        Some(duration)
    }

    fn boolean(&mut self, tree: &Tree) -> Option<bool> {
        tree.parsed(&mut self.faults, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("`{other}` is neither true nor false")),
        })
    }
}

/// A route that takes every alert and tells nobody.
fn everything() -> Route {
    Route {
        key: String::new(),
        matchers: Vec::new(),
        receiver: String::new(),
        grouping: Grouping::By(Vec::new()),
        timing: Timing::default(),
        hours: Hours::default(),
        escalation: None,
        goes_on: false,
        routes: Vec::new(),
    }
}

/// Where the routes of a document name their receivers.
fn fields_of_route(document: &Tree) -> Vec<&Tree> {
    fn value<'a>(tree: &'a Tree, key: &str) -> Option<&'a Tree> {
        let Node::Map(entries) = &tree.node else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
    fn collect<'a>(route: &'a Tree, found: &mut Vec<&'a Tree>) {
        found.extend(value(route, "receiver"));
        found.extend(value(route, "escalate_to"));
        if let Some(Node::List(routes)) = value(route, "routes").map(|tree| &tree.node) {
            routes.iter().for_each(|route| collect(route, found));
        }
    }
    let mut found = Vec::new();
    if let Some(root) = value(document, "route") {
        collect(root, &mut found);
    }
    found
}

#[cfg(test)]
mod tests;
