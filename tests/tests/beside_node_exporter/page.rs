//! The differences that docs/node-exporter.md tells of, as its tables have them.

use std::path::Path;

use glob::Pattern;

use super::look::Name;

const PAGE: &str = "docs/node-exporter.md";

/// The heading of a table of differences.
const HEADING: &str = "| series | difference | reason |";

/// A row of a table.
#[derive(Debug)]
pub struct Row {
    /// The line of the page.
    pub line: usize,
    /// Which series it is about.
    pub selectors: Vec<Selector>,
    /// In what they differ.
    pub difference: Difference,
}

/// In what series differ.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// node_exporter does not have them.
    OnlyAgent,
    /// The agent does not have them.
    OnlyNodeExporter,
    /// Each has some that the other has not.
    OtherSeries,
    /// They are the same with other values.
    OtherValue,
    /// They are the same but for this label of the agent's.
    Label(String),
    /// They are the same but for this end of their names at the agent.
    End(String),
}

/// Series by their metric and some of their labels, in which `*` stands for anything.
#[derive(Debug)]
pub struct Selector {
    metric: Pattern,
    labels: Vec<(String, Pattern)>,
}

impl Selector {
    /// Whether it selects a series.
    pub fn matches(&self, name: &Name) -> bool {
        let has = |(label, pattern): &(String, Pattern)| {
            name.labels.iter().any(|(one, value)| one == label && pattern.matches(value))
        };
        self.metric.matches(&name.metric) && self.labels.iter().all(has)
    }

    fn parse(text: &str) -> Self {
        let (metric, labels) = text.trim_end_matches('}').split_once('{').unwrap_or((text, ""));
        let label = |pair: &str| {
            let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{text}: {pair}"));
            (name.to_owned(), pattern(value.trim_end_matches('"')))
        };
        let labels = labels.split(',').filter(|pair| !pair.is_empty()).map(label).collect();
        Self { metric: pattern(metric), labels }
    }
}

impl Row {
    /// Whether it is about a series.
    pub fn is_about(&self, name: &Name) -> bool {
        self.selectors.iter().any(|selector| selector.matches(name))
    }
}

/// The rows of the page in the project.
pub fn read() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{PAGE}: {error}"));
    let rows = rows(&text);
    assert!(!rows.is_empty(), "{PAGE} has no table with the heading {HEADING}");
    rows
}

/// The rows of every table of differences in a page.
pub fn rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut is_inside = false;
    for (line, content) in (1..).zip(text.lines()) {
        is_inside = content == HEADING || (is_inside && content.starts_with('|'));
        if is_inside && content != HEADING && !content.starts_with("|---") {
            rows.push(row(line, content));
        }
    }
    rows
}

fn row(line: usize, content: &str) -> Row {
    let mut cells = content.trim_matches('|').split(" | ").map(str::trim);
    let (series, difference) = (cells.next().unwrap_or(""), cells.next().unwrap_or(""));
    let selectors: Vec<Selector> = quoted(series).map(Selector::parse).collect();
    assert!(!selectors.is_empty(), "{PAGE}:{line}: no series in backticks");
    let word = quoted(difference).next().unwrap_or_default().to_owned();
    let difference = match difference {
        "only the agent has them" => Difference::OnlyAgent,
        "only node_exporter has them" => Difference::OnlyNodeExporter,
        "other series" => Difference::OtherSeries,
        "other value" => Difference::OtherValue,
        text if text.starts_with("label `") => Difference::Label(word),
        text if text.starts_with("end `") => Difference::End(word),
        other => panic!("{PAGE}:{line}: {other:?} is no difference that the test knows"),
    };
    Row { line, selectors, difference }
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
