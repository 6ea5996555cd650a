//! Which units are told of.

use std::str::FromStr;

use regex_lite::Regex;
use thiserror::Error;

/// The types of unit that node_exporter leaves out by default: there are many, and what they are for
/// has probes of its own.
const EXCLUDED: [&str; 5] = [".automount", ".device", ".mount", ".scope", ".slice"];

/// A regular expression that a unit's whole name must match, as node_exporter's `--collector.systemd.*`
/// have it.
#[derive(Clone, Debug)]
pub struct UnitPattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Error)]
#[error("{text:?} is not a regular expression: {source}")]
pub struct UnitPatternError {
    text: String,
    source: regex_lite::Error,
}

impl FromStr for UnitPattern {
    type Err = UnitPatternError;

    fn from_str(text: &str) -> Result<Self, UnitPatternError> {
        let error = |source| UnitPatternError { text: text.to_owned(), source };
        // By itself, so that what is wrong is told of the text as it was written.
        Regex::new(text).map_err(error)?;
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(error)?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

impl PartialEq for UnitPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The units of which something is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnitChoice {
    /// Only those that match one of these; every unit where there is none.
    pub include: Vec<UnitPattern>,
    /// None of those that match one of these. Where it is not given, the types that node_exporter
    /// leaves out are told of only when they failed.
    pub exclude: Option<Vec<UnitPattern>>,
}

impl UnitChoice {
    /// Whether what a unit does is told.
    pub(super) fn tells_of(&self, unit: &str) -> bool {
        let is_of_excluded_type = || EXCLUDED.iter().any(|ending| unit.ends_with(ending));
        self.tells_of_failure(unit) && (self.exclude.is_some() || !is_of_excluded_type())
    }

    /// Whether it is told that a unit failed.
    pub(super) fn tells_of_failure(&self, unit: &str) -> bool {
        let is_in = |patterns: &[UnitPattern]| patterns.iter().any(|one| one.regex.is_match(unit));
        let is_included = self.include.is_empty() || is_in(&self.include);
        is_included && !self.exclude.as_deref().is_some_and(is_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<UnitPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn units_are_told_of_by_their_whole_names() {
        let check = |include: &[&str], exclude: Option<&[&str]>, unit: &str, expect| {
            let choice = UnitChoice { include: patterns(include), exclude: exclude.map(patterns) };
            let told = (choice.tells_of(unit), choice.tells_of_failure(unit));
            assert_eq!(told, expect, "{include:?} {exclude:?} {unit}");
        };
        check(&[], None, "ssh.service", (true, true));
        check(&[], None, "srv.mount", (false, true));
        check(&[], Some(&[]), "srv.mount", (true, true));
        check(&[], Some(&[r".+\.(mount|device)"]), "srv.mount", (false, false));
        check(&[], Some(&[r"mount"]), "srv.mount", (true, true));
        check(&[r"ssh|cron"], None, "ssh.service", (false, false));
        check(&[r"(ssh|cron)\.service"], None, "cron.service", (true, true));
        check(&["a", r"(?i:SSH).*"], None, "ssh@1.service", (true, true));
        check(&[r"ssh.*"], Some(&[r".*@.*"]), "ssh@1.service", (false, false));
    }

    #[test]
    fn what_is_no_pattern_is_told_as_it_was_written() {
        for text in ["ssh(", "[a", "a)(b", r"\p{Greek}"] {
            let error = text.parse::<UnitPattern>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is not a regular expression: ")), "{error}");
        }
    }
}
