//! One look at the machine: every series of a page with its value.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use upkeep_agent::exposition::{self, FamilyKind};

use super::page::{Difference, Row};

/// A series' metric and labels, those without a value included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub metric: String,
    pub labels: Vec<(String, String)>,
}

/// What a series is, and its value.
pub type Value = (FamilyKind, f64);

/// The series of a page by their names.
pub type Look = BTreeMap<Name, Value>;

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels.iter().map(|(label, value)| format!("{label}={value:?}"));
        write!(formatter, "{}{{{}}}", self.metric, labels.collect::<Vec<_>>().join(","))
    }
}

/// Reads a page in Prometheus' text format. Labels and ends of names by which rows of the page of
/// differences tell series apart are taken off.
pub fn read(page: &str, rows: &[Row]) -> Result<Look> {
    let mut look = Look::new();
    for family in exposition::parse(page)? {
        for sample in family.samples {
            let mut name = Name { metric: sample.name, labels: sample.labels };
            alike(&mut name, rows);
            look.insert(name, (family.kind, sample.value));
        }
    }
    Ok(look)
}

fn alike(name: &mut Name, rows: &[Row]) {
    for row in rows.iter().filter(|row| row.is_about(name)).collect::<Vec<_>>() {
        match &row.difference {
            Difference::Label(label) => name.labels.retain(|(one, _)| one != label),
            Difference::End(end) => {
                let kept = name.metric.strip_suffix(end.as_str()).unwrap_or(&name.metric);
                name.metric = kept.to_owned();
            }
            _ => {}
        }
    }
}
