//! What keeps alerts from being told: inhibition rules and time intervals.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Allowed, Reader};
use crate::alert::inhibit::InhibitRule;
use crate::alert::interval::{
    Hours, NamedInterval, TimeInterval, days_of_month, location, months, times, weekdays, years,
};
use crate::yaml::{self, FaultList, Faults, Fields, Tree};

/// Reads a list of time intervals that stands by itself, in JSON.
///
/// # Errors
/// With everything that is wrong with it.
pub(in crate::alert) fn time_intervals(json: &str) -> Result<Vec<TimeInterval>, Faults> {
    let file = Path::new("");
    let mut reader = Reader {
        faults: FaultList::new(file),
        warnings: FaultList::new(file),
        allowed: Allowed::default(),
        intervals: Vec::new(),
    };
    let tree = yaml::parse(json, &mut reader.faults);
    let trees = tree.as_ref().map_or(&[][..], |tree| tree.list(&mut reader.faults));
    let intervals = trees.iter().map(|tree| reader.interval(tree)).collect();
    reader.faults.into_result(intervals)
}

impl Reader {
    pub(super) fn inhibit_rules(&mut self, tree: Option<&Tree>) -> Vec<InhibitRule> {
        let trees = tree.map_or(&[][..], |tree| tree.list(&mut self.faults));
        trees.iter().map(|tree| self.inhibit_rule(tree)).collect()
    }

    fn inhibit_rule(&mut self, tree: &Tree) -> InhibitRule {
        let mut fields = Fields::of(tree, "an inhibition rule", &mut self.faults);
        let source = self.matchers(&mut fields, "source_");
        let target = self.matchers(&mut fields, "target_");
        let names = fields.take("equal").map_or(&[][..], |tree| tree.list(&mut self.faults));
        let mut equal = Vec::new();
        for tree in names {
            let Some(name) = tree.text(&mut self.faults) else { continue };
            if name.is_empty() {
                self.faults.at(tree.place, "a label's name must not be empty");
            }
            equal.push(name.to_owned());
        }
        fields.refuse_rest(&mut self.faults);
        InhibitRule { source, target, equal }
    }

    /// The intervals of `time_intervals` and of the older `mute_time_intervals`.
    pub(super) fn intervals(&mut self, document: &mut Fields<'_>) -> Vec<NamedInterval> {
        let mut intervals: Vec<NamedInterval> = Vec::new();
        for key in ["mute_time_intervals", "time_intervals"] {
            let trees = document.take(key).map_or(&[][..], |tree| tree.list(&mut self.faults));
            for tree in trees {
                let named = self.named_interval(tree);
                if intervals.iter().any(|known| known.name == named.name) {
                    let message = format!("time interval `{}` is repeated", named.name);
                    self.faults.at(tree.place, message);
                }
                intervals.push(named);
            }
        }
        intervals
    }

    /// What a route says about its hours.
    pub(super) fn hours(&mut self, fields: &mut Fields<'_>) -> Hours {
        let mute = self.named(fields, "mute_time_intervals");
        Hours { mute, active: self.named(fields, "active_time_intervals") }
    }

    fn named(&mut self, fields: &mut Fields<'_>, key: &str) -> Vec<NamedInterval> {
        let trees = fields.take(key).map_or(&[][..], |tree| tree.list(&mut self.faults));
        let mut named = Vec::new();
        for tree in trees {
            let Some(name) = tree.text(&mut self.faults) else { continue };
            match self.intervals.iter().find(|interval| interval.name == name) {
                Some(interval) => named.push(interval.clone()),
                None => self.faults.at(tree.place, format!("there is no time interval `{name}`")),
            }
        }
        named
    }

    fn named_interval(&mut self, tree: &Tree) -> NamedInterval {
        let mut fields = Fields::of(tree, "a time interval", &mut self.faults);
        let name = fields.take("name").and_then(|tree| tree.text(&mut self.faults));
        let name = name.unwrap_or_default().to_owned();
        if name.is_empty() {
            self.faults.at(tree.place, "this time interval has no name");
        }
        let trees =
            fields.take("time_intervals").map_or(&[][..], |tree| tree.list(&mut self.faults));
        let intervals: Arc<[_]> = trees.iter().map(|tree| self.interval(tree)).collect();
        fields.refuse_rest(&mut self.faults);
        NamedInterval { name, intervals }
    }

    fn interval(&mut self, tree: &Tree) -> TimeInterval {
        let mut fields = Fields::of(tree, "a time interval", &mut self.faults);
        let zone = fields
            .take("location")
            .and_then(|tree| tree.parsed(&mut self.faults, location))
            .unwrap_or(TimeZone::UTC);
        let interval = TimeInterval {
            times: fields.take("times").map(|tree| self.times(tree)),
            weekdays: self.ranges(&mut fields, "weekdays", weekdays),
            days_of_month: self.ranges(&mut fields, "days_of_month", days_of_month),
            months: self.ranges(&mut fields, "months", months),
            years: self.ranges(&mut fields, "years", years),
            zone,
        };
        fields.refuse_rest(&mut self.faults);
        interval
    }

    fn ranges<E: Display>(
        &mut self,
        fields: &mut Fields<'_>,
        key: &str,
        parse: impl Fn(&str) -> Result<RangeInclusive<i32>, E>,
    ) -> Option<Vec<RangeInclusive<i32>>> {
        let trees = fields.take(key)?.list(&mut self.faults);
        Some(trees.iter().filter_map(|tree| tree.parsed(&mut self.faults, &parse)).collect())
    }

    fn times(&mut self, tree: &Tree) -> Vec<RangeInclusive<i32>> {
        let mut ranges = Vec::new();
        for tree in tree.list(&mut self.faults) {
            let mut fields = Fields::of(tree, "a time range", &mut self.faults);
            let start = fields.take("start_time").and_then(|tree| tree.text(&mut self.faults));
            let end = fields.take("end_time").and_then(|tree| tree.text(&mut self.faults));
            fields.refuse_rest(&mut self.faults);
            let (Some(start), Some(end)) = (start, end) else {
                self.faults.at(tree.place, "both `start_time` and `end_time` must be set");
                continue;
            };
            match times(start, end) {
                Ok(range) => ranges.push(range),
                Err(error) => self.faults.at(tree.place, error.to_string()),
            }
        }
        ranges
    }
}
