//! Everything that an agent brought to its buffer, by its log, held against everything that the
//! collector serves: sample by sample and change by change.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{Agent, Collector, until};

/// How far back the collector is asked; no story lasts so long.
const RANGE: &str = "1d";

/// What the collector adds to the labels of every series.
const ADDED_LABELS: [&str; 2] = ["instance", "job"];

/// The series that the collector makes itself about each host.
const OWN_SERIES: &str = "up";

/// So many differences of a kind are told.
const TOLD: usize = 5;

/// A series: its labels, without those that the collector adds.
type Series = BTreeMap<String, String>;

/// Values by series and time.
type Samples = BTreeMap<Series, BTreeMap<i64, f64>>;

/// A change as people read it: kind, subject, before, after. Each counts once.
type Change = String;

/// What an agent's log says of all that it brought to its buffer, over all its lives. The log must have
/// been asked for it: [`crate::AgentOptions::ledger`].
#[derive(Debug, Default)]
pub struct Ledger {
    /// How much of the log was read.
    read: u64,
    /// What was told last and not yet called durable.
    last: Vec<Record>,
    /// Everything that was ever to be written. Some of it was perhaps cut off.
    samples: Samples,
    changes: BTreeSet<Change>,
    durable: Durable,
}

/// What was on the disk: what the collector is owed.
#[derive(Clone, Debug, Default)]
struct Durable {
    /// The times of observations.
    observations: BTreeSet<i64>,
    /// When each change was.
    changes: BTreeMap<Change, i64>,
}

/// A record as the log tells it.
#[derive(Debug, Deserialize)]
struct Record {
    at_ms: i64,
    /// Of an observation.
    samples: Option<Vec<(Series, String)>>,
    #[serde(default)]
    change: Value,
}

impl Ledger {
    /// Reads what an agent's log has told since it was last read.
    ///
    /// # Errors
    /// When the log calls something durable of which it does not tell what it was.
    pub fn follow(&mut self, agent: &Agent) -> Result<()> {
        self.take(&agent.log_since(self.read)?)
    }

    /// Reads what follows in a log, through its last whole line.
    fn take(&mut self, log: &str) -> Result<()> {
        for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            self.read += line.len() as u64;
            let told = line.trim_end().split_once("upkeep_agent::buffer::history: ");
            match told.map(|(_, told)| (told.strip_prefix("brought "), told)) {
                // A line that a kill cut off was followed by nothing that needs it.
                Some((Some(records), _)) => {
                    self.last = serde_json::from_str(records).unwrap_or_default();
                    self.note_brought()?;
                }
                Some((None, "durable")) => self.note_durable()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn note_brought(&mut self) -> Result<()> {
        for record in &mut self.last {
            for (series, value) in record.samples.iter_mut().flat_map(|samples| samples.drain(..)) {
                self.samples.entry(series).or_default().insert(record.at_ms, value.parse()?);
            }
            if record.change.is_object() {
                self.changes.insert(change(&record.change));
            }
        }
        Ok(())
    }

    fn note_durable(&mut self) -> Result<()> {
        ensure!(!self.last.is_empty(), "durable, and nothing was brought");
        for record in self.last.drain(..) {
            if record.change.is_object() {
                self.durable.changes.insert(change(&record.change), record.at_ms);
            } else if record.samples.is_some() {
                self.durable.observations.insert(record.at_ms);
            }
        }
        Ok(())
    }
}

fn change(change: &Value) -> Change {
    let [kind, subject, before, after] =
        ["kind", "subject", "before", "after"].map(|key| change[key].as_str().unwrap_or_default());
    format!("{kind} {subject}: {before} -> {after}")
}

/// What became of everything that an agent brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Samples that were on the agent's disk.
    pub samples: usize,
    /// Changes that were.
    pub changes: usize,
    /// Of both, those that the collector does not have.
    pub lost: usize,
    /// Of those, the ones that no gap declares.
    pub undeclared: usize,
    /// What the collector has more than once.
    pub doubled: usize,
    /// Samples with another value than was observed.
    pub altered: usize,
    /// What the collector has and the agent never brought.
    pub invented: usize,
    /// The first few of each kind.
    differences: BTreeMap<&'static str, Vec<String>>,
}

impl fmt::Display for Audit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, changes, lost, undeclared, doubled, altered, invented, .. } = self;
        write!(
            formatter,
            "{samples} samples, {changes} changes; lost {lost}, doubled {doubled}, altered \
             {altered}, invented {invented}, undeclared {undeclared}"
        )
    }
}

impl Audit {
    /// Checks that everything arrived as it was.
    ///
    /// # Errors
    /// Which tell what did not.
    pub fn whole(self) -> Result<Self> {
        ensure!(self.lost == 0, "{self}\n{:#?}", self.differences);
        self.honest()
    }

    /// Checks that everything arrived as it was or is declared lost.
    ///
    /// # Errors
    /// Which tell what did not.
    pub fn honest(self) -> Result<Self> {
        let wrong = self.undeclared + self.doubled + self.altered + self.invented;
        ensure!(wrong == 0, "{self}\n{:#?}", self.differences);
        Ok(self)
    }

    /// Adds that of another agent.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.changes += other.changes;
        self.lost += other.lost;
        self.undeclared += other.undeclared;
        self.doubled += other.doubled;
        self.altered += other.altered;
        self.invented += other.invented;
        for (kind, differences) in &other.differences {
            self.differences.entry(kind).or_default().extend(differences.iter().cloned());
        }
    }

    fn note(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        let told = self.differences.entry(kind).or_default();
        if told.len() < TOLD {
            told.push(what());
        }
    }
}

/// Waits until the collector has everything that was durable, or declares it lost, and gives what
/// became of it: what is missing longer than that is counted.
///
/// # Errors
/// When the log or the collector cannot be read.
pub async fn audit(
    collector: &Collector,
    host: &str,
    agent: &Agent,
    within: Duration,
) -> Result<Audit> {
    let mut ledger = Ledger::default();
    ledger.follow(agent)?;
    let owed = ledger.durable.clone();
    ensure!(!owed.observations.is_empty(), "the agent's log tells of nothing durable");
    let looks = Cell::new(0);
    let complete = until("everything durable", within, || async {
        looks.set(looks.get() + 1);
        let stored = Stored::ask(collector, host).await?;
        let mut audit = Audit::default();
        audit.hold(&ledger, &owed, &stored);
        ensure!(audit.undeclared == 0, "{audit}");
        Ok(Some(()))
    })
    .await;
    // Asked for anew, since an error of the last look must not pass for what is missing.
    let stored = Stored::ask(collector, host).await?;
    // What came meanwhile was brought before it was sent, so it is in the log by now.
    ledger.follow(agent)?;
    let mut audit = Audit::default();
    audit.hold(&ledger, &owed, &stored);
    audit.hold_stored(&ledger, &stored);
    match complete {
        Err(error) if audit.undeclared == 0 => {
            Err(error.context(format!("{host}: it came late; {} looks", looks.get())))
        }
        _ => Ok(audit),
    }
}

impl Audit {
    /// Whether all that is owed is there, or declared lost.
    fn hold(&mut self, ledger: &Ledger, owed: &Durable, stored: &Stored) {
        for (series, samples) in &ledger.samples {
            let there = stored.samples.get(series);
            for at_ms in samples.keys().filter(|at_ms| owed.observations.contains(at_ms)) {
                self.samples += 1;
                if !there.is_some_and(|there| there.contains_key(at_ms)) {
                    let is_declared = stored.is_declared("samples", *at_ms);
                    self.miss(is_declared, || format!("{series:?} {at_ms}"));
                }
            }
        }
        for (change, at_ms) in &owed.changes {
            self.changes += 1;
            if !stored.changes.contains(change) {
                self.miss(stored.is_declared("events", *at_ms), || format!("{change} {at_ms}"));
            }
        }
    }

    fn miss(&mut self, is_declared: bool, what: impl FnOnce() -> String) {
        self.lost += 1;
        if is_declared {
            self.note("lost and declared", what);
        } else {
            self.undeclared += 1;
            self.note("undeclared", what);
        }
    }

    /// Whether all that is there was brought, once and with these values.
    fn hold_stored(&mut self, ledger: &Ledger, stored: &Stored) {
        for (series, samples) in &stored.samples {
            for (at_ms, value) in samples {
                match ledger.samples.get(series).and_then(|brought| brought.get(at_ms)) {
                    None => {
                        self.invented += 1;
                        self.note("invented", || format!("{series:?} {at_ms}: {value}"));
                    }
                    Some(observed) if !is_same(*observed, *value) => {
                        self.altered += 1;
                        self.note("altered", || {
                            format!("{series:?} {at_ms}: {value}, and not {observed}")
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        for change in stored.changes.difference(&ledger.changes) {
            self.invented += 1;
            self.note("invented", || change.clone());
        }
        for what in &stored.twice {
            self.doubled += 1;
            self.note("doubled", || what.clone());
        }
    }
}

fn is_same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan()
}

/// Everything that the collector serves of a host.
#[derive(Debug, Default)]
struct Stored {
    samples: Samples,
    changes: BTreeSet<Change>,
    /// What came more than once.
    twice: Vec<String>,
    /// Lane, from and through, in milliseconds.
    gaps: Vec<(String, i64, i64)>,
}

impl Stored {
    async fn ask(collector: &Collector, host: &str) -> Result<Self> {
        let mut stored = Self::default();
        // Gaps first: what they declare may come all the same, but not the other way round.
        stored.ask_gaps(collector, host).await?;
        let names = collector.json("/api/v1/label/__name__/values").await?;
        for name in names["data"].as_array().context("names")? {
            let name = name.as_str().context("a name")?;
            if name != OWN_SERIES {
                let selector = format!("{{__name__={name:?},instance={host:?}}}[{RANGE}]");
                for row in collector.query(&selector).await? {
                    stored.note_series(&row)?;
                }
            }
        }
        stored.ask_changes(collector, host).await?;
        Ok(stored)
    }

    fn note_series(&mut self, row: &Value) -> Result<()> {
        let mut series = Series::deserialize(&row["metric"])?;
        ADDED_LABELS.iter().for_each(|label| drop(series.remove(*label)));
        let samples = self.samples.entry(series.clone()).or_default();
        for point in row["values"].as_array().context("values")? {
            let at_ms = (point[0].as_f64().context("a time")? * 1000.0).round() as i64;
            let value = point[1].as_str().context("a value")?.parse()?;
            if samples.insert(at_ms, value).is_some() {
                self.twice.push(format!("{series:?} {at_ms}"));
            }
        }
        Ok(())
    }

    async fn ask_changes(&mut self, collector: &Collector, host: &str) -> Result<()> {
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/events?host={host}&limit=1000{cursor}");
            let page = collector.json(&path).await?;
            let events = page["data"]["events"].as_array().context("events")?;
            // What the collector itself saw of the host is no change that the host told.
            for event in events.iter().filter(|event| event["details"].is_null()) {
                let change = change(event);
                if !self.changes.insert(change.clone()) {
                    self.twice.push(change);
                }
            }
            match page["data"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(()),
            }
        }
    }

    async fn ask_gaps(&mut self, collector: &Collector, host: &str) -> Result<()> {
        for gap in collector.gaps(host).await? {
            let lane = gap["lane"].as_str().context("a lane")?.to_owned();
            let bound = |key: &str, unknown: i64| match &gap[key] {
                Value::Null => Ok(unknown),
                Value::String(text) => Ok(text.parse::<Timestamp>()?.as_millisecond()),
                other => bail!("{key} of a gap: {other}"),
            };
            self.gaps.push((lane, bound("from", i64::MIN)?, bound("to", i64::MAX)?));
        }
        Ok(())
    }

    fn is_declared(&self, lane: &str, at_ms: i64) -> bool {
        self.gaps
            .iter()
            .any(|(of, from_ms, to_ms)| of == lane && (*from_ms..=*to_ms).contains(&at_ms))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(told: &str) -> String {
        format!("2026-01-01T00:00:00Z TRACE upkeep_agent::buffer::history: {told}\n")
    }

    fn brought(at_ms: i64, value: f64) -> String {
        let sample = json!([{"__name__": "load", "a": "b"}, value.to_string()]);
        line(&format!("brought {}", json!([{"at_ms": at_ms, "samples": [sample]}])))
    }

    fn changed(at_ms: i64, after: i64) -> String {
        let change =
            json!({"kind": "kernel", "subject": "", "before": "0", "after": after.to_string()});
        line(&format!("brought {}", json!([{"at_ms": at_ms, "change": change}])))
    }

    fn stored(points: &[(f64, &str)], changes: &[&str]) -> Stored {
        let mut stored = Stored::default();
        let metric = json!({"__name__": "load", "a": "b", "instance": "web1", "job": "node"});
        stored.note_series(&json!({"metric": metric, "values": points})).unwrap();
        stored.changes.extend(changes.iter().map(|change| (*change).to_owned()));
        stored
    }

    /// What is counted: lost, undeclared, doubled, altered, invented.
    fn counts(ledger: &Ledger, stored: &Stored) -> [usize; 5] {
        let mut audit = Audit::default();
        audit.hold(ledger, &ledger.durable, stored);
        audit.hold_stored(ledger, stored);
        [audit.lost, audit.undeclared, audit.doubled, audit.altered, audit.invented]
    }

    #[test]
    fn every_difference_is_counted_as_what_it_is() {
        let mut ledger = Ledger::default();
        for (at_ms, value) in [(1000, 1.0), (2000, f64::NAN), (3000, 0.1)] {
            ledger.take(&(brought(at_ms, value) + &line("durable"))).unwrap();
        }
        ledger.take(&(changed(3000, 1) + &line("durable"))).unwrap();
        // Cut off before it was durable, and in the middle of a line.
        ledger.take(&brought(4000, 4.0)).unwrap();
        ledger.take(&format!("{}\n", &brought(5000, 5.0)[..90])).unwrap();
        ledger.take(&brought(6000, 6.0)[..90]).unwrap();

        let good = [(1.0, "1"), (2.0, "NaN"), (3.0, "0.1"), (4.0, "4")];
        let change = ["kernel : 0 -> 1"];
        assert_eq!(counts(&ledger, &stored(&good, &change)), [0; 5]);
        assert_eq!(counts(&ledger, &stored(&good[..3], &change)), [0; 5]);
        assert_eq!(counts(&ledger, &stored(&good[1..], &change)), [1, 1, 0, 0, 0]);
        assert_eq!(counts(&ledger, &stored(&good, &[])), [1, 1, 0, 0, 0]);
        for (point, expect) in [
            ((1.0, "1"), [0, 0, 1, 0, 0]),
            ((1.0, "1.1"), [0, 0, 1, 1, 0]),
            ((4.0, "NaN"), [0, 0, 0, 1, 0]),
            ((5.0, "5"), [0, 0, 0, 0, 1]),
        ] {
            let points = [&good[..3], &[point]].concat();
            assert_eq!(counts(&ledger, &stored(&points, &change)), expect, "{point:?}");
        }
        let other = [change[0], "kernel : 1 -> 2"];
        assert_eq!(counts(&ledger, &stored(&good, &other)), [0, 0, 0, 0, 1]);

        let mut declared = stored(&good[2..], &change);
        declared.gaps.push(("samples".to_owned(), i64::MIN, 1999));
        assert_eq!(counts(&ledger, &declared), [2, 1, 0, 0, 0]);
        declared.gaps.push(("events".to_owned(), 2000, 2000));
        assert_eq!(counts(&ledger, &declared), [2, 1, 0, 0, 0]);
        declared.gaps.push(("samples".to_owned(), 2000, 2000));
        assert_eq!(counts(&ledger, &declared), [2, 0, 0, 0, 0]);
    }

    #[test]
    fn durable_without_a_word_of_what_is_an_error() {
        Ledger::default().take(&line("durable")).unwrap_err();
        let torn = format!("{}\n{}", &brought(5000, 5.0)[..90], line("durable"));
        Ledger::default().take(&torn).unwrap_err();
    }
}
