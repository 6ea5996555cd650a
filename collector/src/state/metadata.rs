//! What metrics are, by their names: kind, help and unit as those who report them say.
//!
//! All of it is held in memory too, since every host describes itself anew at each connection: what
//! is known is found there, and only what is new is written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{PoisonError, RwLock};

use rusqlite::{Row, Transaction, params};
use upkeep_model::MetricKind;

use super::{State, StateError};

pub(super) const SCHEMA: &str = "
CREATE TABLE metrics (
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    help TEXT NOT NULL,
    unit TEXT NOT NULL,
    PRIMARY KEY (name, kind, help, unit)
);
";

/// So many metrics are known at most, far more than a fleet has; and of each so many descriptions,
/// since hosts of different versions may word them differently.
const MAX_METRICS: usize = 20_000;
const MAX_DESCRIPTIONS: usize = 8;

/// A help text longer than this is cut.
const MAX_HELP_BYTES: usize = 1024;

/// How a metric behaves, in the words of the exposition formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricType {
    /// Grows until its source restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
    /// The same of what can leave them again.
    GaugeHistogram,
    /// Quantiles, computed where it was observed.
    Summary,
    /// Says something by its labels.
    Info,
    /// Which of several states holds.
    StateSet,
    /// Nobody says.
    Unknown,
}

impl MetricType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
        Self::Unknown,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|one| one.as_str() == word).unwrap_or(Self::Unknown)
    }
}

impl From<MetricKind> for MetricType {
    fn from(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Gauge => Self::Gauge,
            MetricKind::Untyped => Self::Unknown,
        }
    }
}

/// What one source says of a metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricMetadata {
    /// How it behaves.
    pub kind: MetricType,
    /// One line for people; may be empty.
    pub help: String,
    /// The unit of its values; mostly empty, since names end in it.
    pub unit: String,
}

/// Descriptions by the names of their metrics.
pub type MetadataByName = BTreeMap<String, Vec<MetricMetadata>>;

/// What is known, once it was read.
#[derive(Debug, Default)]
pub(super) struct Known(RwLock<Option<MetadataByName>>);

impl State {
    /// Keeps those of the descriptions that are new, as long as there is room. Where none is, nothing
    /// is written, and nobody waits for the disk.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn keep_metadata(
        &self,
        described: Vec<(String, MetricMetadata)>,
    ) -> Result<(), StateError> {
        self.load_metadata()?;
        let fresh = self.new_metadata(described);
        if fresh.is_empty() {
            return Ok(());
        }
        self.write("keeping what metrics are", |transaction| insert(transaction, &fresh))?;
        let known = &self.connections.metadata.0;
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        for (name, metadata) in fresh {
            add(known, name, metadata);
        }
        Ok(())
    }

    /// Those of the descriptions that [`State::keep_metadata`] would write. It never waits for the
    /// disk; before anything was read, everything is new.
    pub fn new_metadata(
        &self,
        described: Vec<(String, MetricMetadata)>,
    ) -> Vec<(String, MetricMetadata)> {
        let known = self.connections.metadata.0.read().unwrap_or_else(PoisonError::into_inner);
        let empty = MetadataByName::new();
        let known = known.as_ref().unwrap_or(&empty);
        let mut room = MAX_METRICS.saturating_sub(known.len());
        let mut fresh = MetadataByName::new();
        for (name, metadata) in described {
            let metadata = MetricMetadata { help: cut(metadata.help), ..metadata };
            let before = known.get(&name).map_or(&[][..], Vec::as_slice);
            let beside = fresh.get(&name).map_or(0, Vec::len);
            if before.contains(&metadata) || before.len() + beside >= MAX_DESCRIPTIONS {
                continue;
            }
            if before.is_empty() && beside == 0 {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            add(&mut fresh, name, metadata);
        }
        let pairs = fresh
            .into_iter()
            .flat_map(|(name, all)| all.into_iter().map(move |metadata| (name.clone(), metadata)));
        pairs.collect()
    }

    /// What is known of all metrics, or of the one of that name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn metadata(&self, name: Option<&str>) -> Result<MetadataByName, StateError> {
        self.load_metadata()?;
        let known = self.connections.metadata.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_ref() else { return Ok(MetadataByName::new()) };
        Ok(match name {
            None => known.clone(),
            Some(name) => known
                .get_key_value(name)
                .map(|(name, all)| (name.clone(), all.clone()))
                .into_iter()
                .collect(),
        })
    }

    fn load_metadata(&self) -> Result<(), StateError> {
        let known = &self.connections.metadata.0;
        if known.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let read = self.read("reading what metrics are", |transaction| {
            let mut statement =
                transaction.prepare("SELECT name, kind, help, unit FROM metrics")?;
            let mut read = MetadataByName::new();
            for pair in statement.query_map([], described)? {
                let (name, metadata) = pair?;
                add(&mut read, name, metadata);
            }
            Ok(read)
        })?;
        // Another thread may have been first, and may know more by now.
        known.write().unwrap_or_else(PoisonError::into_inner).get_or_insert(read);
        Ok(())
    }
}

fn described(row: &Row<'_>) -> rusqlite::Result<(String, MetricMetadata)> {
    let kind: String = row.get("kind")?;
    let (help, unit) = (row.get("help")?, row.get("unit")?);
    Ok((row.get("name")?, MetricMetadata { kind: MetricType::from_word(&kind), help, unit }))
}

fn insert(
    transaction: &Transaction<'_>,
    fresh: &[(String, MetricMetadata)],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO metrics (name, kind, help, unit) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (name, kind, help, unit) DO NOTHING";
    let mut statement = transaction.prepare_cached(sql)?;
    for (name, MetricMetadata { kind, help, unit }) in fresh {
        statement.execute(params![name, kind.as_str(), help, unit])?;
    }
    Ok(())
}

/// Adds a description unless it is there.
fn add(known: &mut MetadataByName, name: String, metadata: MetricMetadata) {
    match known.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(vec![metadata]);
        }
        Entry::Occupied(mut occupied) => {
            if let Err(place) = occupied.get().binary_search(&metadata) {
                occupied.get_mut().insert(place, metadata);
            }
        }
    }
}

fn cut(mut help: String) -> String {
    let end = help.floor_char_boundary(MAX_HELP_BYTES);
    help.truncate(end);
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{FILE_NAME, temporary};

    fn one(name: &str, kind: MetricType, help: &str) -> (String, MetricMetadata) {
        (name.to_owned(), MetricMetadata { kind, help: help.to_owned(), unit: String::new() })
    }

    #[test]
    fn what_metrics_are_outlives_a_restart_and_is_written_once() {
        let (folder, state) = temporary();
        let described = vec![
            one("node_load1", MetricType::Gauge, "1m load average."),
            one("node_load1", MetricType::Gauge, "1m load average."),
            one("node_load1", MetricType::Unknown, "Load."),
            one("node_intr_total", MetricType::Counter, "Interrupts."),
        ];
        assert_eq!(state.new_metadata(described.clone()).len(), 3);
        state.keep_metadata(described.clone()).unwrap();
        assert_eq!(state.new_metadata(described.clone()), []);
        let known = state.metadata(None).unwrap();
        assert_eq!(known["node_load1"].len(), 2);
        drop(state);
        let state = State::open(&folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(state.metadata(None).unwrap(), known);
        assert_eq!(state.new_metadata(described), []);
        let of_one = state.metadata(Some("node_intr_total")).unwrap();
        assert_eq!(of_one.keys().collect::<Vec<_>>(), ["node_intr_total"]);
        assert_eq!(state.metadata(Some("node")).unwrap(), MetadataByName::new());
    }

    #[test]
    fn what_is_kept_of_metrics_is_bounded() {
        let (_folder, state) = temporary();
        let long = "é".repeat(MAX_HELP_BYTES);
        let worded = (0..20).map(|number| one("odd", MetricType::Gauge, &format!("{number:02}")));
        state
            .keep_metadata(worded.chain([one("long", MetricType::Info, &long)]).collect())
            .unwrap();
        let known = state.metadata(None).unwrap();
        assert_eq!(known["odd"].len(), MAX_DESCRIPTIONS);
        assert_eq!(known["long"].first().unwrap().help.len(), MAX_HELP_BYTES);
        let many =
            (0..MAX_METRICS + 5).map(|number| one(&number.to_string(), MetricType::Gauge, ""));
        state.keep_metadata(many.collect()).unwrap();
        assert_eq!(state.metadata(None).unwrap().len(), MAX_METRICS);
        state.keep_metadata(vec![one("one more", MetricType::Gauge, "")]).unwrap();
        assert_eq!(state.metadata(Some("one more")).unwrap().len(), 0);
    }

    #[test]
    fn every_type_comes_back_from_its_word() {
        for kind in MetricType::ALL {
            assert_eq!(MetricType::from_word(kind.as_str()), kind);
        }
    }
}
