//! Reads the journal again when the store opens.
//!
//! What the database already has is passed over. Everything else was confirmed once, so it is taken
//! even where damage left a hole before it; what damage took is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use upkeep_model::{HostId, Labels, Ranges, StreamKey};

use crate::StoreError;
use crate::damage::{Affected, DamageLog};
use crate::index::{Index, SeriesRef, UNKNOWN};
use crate::journal::{Entry, JournalFolder};
use crate::points::NumberedPoint;
use crate::recover::Contents;
use crate::rows::Row;
use crate::stream::Stream;

/// Reads all segments, cuts the torn tail of the last one, and returns which are damaged.
pub(crate) fn replay(
    journal: &JournalFolder,
    numbers: &[u64],
    contents: &mut Contents,
    damage: &DamageLog,
) -> Result<BTreeSet<u64>, StoreError> {
    let mut replay = Replay { contents, damage, seen: HashMap::new() };
    let mut damaged = BTreeSet::new();
    for &number in numbers {
        let is_last = numbers.last() == Some(&number);
        if replay.segment(journal, number, is_last)? {
            damaged.insert(number);
        }
    }
    for (key, stream) in &mut contents.intake.streams {
        settle(stream);
        let head = contents.head.streams.entry(*key).or_default();
        head.committed.extend(&stream.accepted);
    }
    Ok(damaged)
}

/// Leaves a stream in its latest generation, with the keys that frames to come may lean on.
fn settle(stream: &mut Stream) {
    if let Some(&latest) = stream.dictionaries.keys().next_back() {
        stream.enter(latest.max(stream.saved.generation));
    }
    stream.trim_keys();
    let latest = stream.generation;
    stream.dictionaries.retain(|generation, _| *generation == latest);
}

/// Which samples are lost, and why.
type Loss = (Affected, String);

struct Replay<'a> {
    contents: &'a mut Contents,
    damage: &'a DamageLog,
    /// The records of each stream that the journal had so far.
    seen: HashMap<StreamKey, Ranges>,
}

impl Replay<'_> {
    /// Reads a segment and tells whether it is damaged.
    fn segment(
        &mut self,
        journal: &JournalFolder,
        number: u64,
        is_last: bool,
    ) -> Result<bool, StoreError> {
        let segment = journal.read(number, is_last)?;
        let place = segment.path.display().to_string();
        if segment.scan.end < segment.bytes.len() {
            let torn = segment.bytes.len() - segment.scan.end;
            tracing::warn!(place, torn, "cutting a group that was not written to its end");
        }
        if is_last {
            journal.settle(number, &segment)?;
        }
        for stretch in &segment.scan.damage {
            let lost = format!("what bytes {} to {} said", stretch.start, stretch.end);
            self.damage.report(place.as_str(), lost);
        }
        let mut is_damaged = !segment.scan.damage.is_empty();
        let mut series = HashMap::new();
        for body in segment.scan.bodies {
            let entry = Entry::parse(segment.bytes.get(body.clone()).unwrap_or_default());
            let taken = match entry {
                Ok(entry) => self.entry(number, entry, &mut series),
                Err(error) => Err((Affected::default(), format!("an entry: {error}"))),
            };
            if let Err((affected, lost)) = taken {
                let place = format!("{place}, byte {}", body.start);
                self.damage.report_of(affected, place, lost);
                is_damaged = true;
            }
        }
        Ok(is_damaged)
    }

    /// Takes an entry, or tells what is lost because it cannot be taken.
    fn entry(
        &mut self,
        segment: u64,
        entry: Entry,
        series: &mut HashMap<u32, (HostId, SeriesRef)>,
    ) -> Result<(), Loss> {
        if let Some(home) = entry.home().filter(|home| self.is_deleted(segment, *home)) {
            if let Entry::Series { number, .. } = entry {
                series.insert(number, (home, UNKNOWN));
            }
            return Ok(());
        }
        let Contents { index, intake, .. } = &mut *self.contents;
        match entry {
            Entry::Describe { stream, generation, first_number, series } => {
                let numbers = intern(index, stream.host, &series);
                let stream = intake.streams.entry(stream).or_default();
                stream.put_numbers(generation, first_number, &numbers);
                stream.enter(generation);
                Ok(())
            }
            Entry::Reference { stream: key, generation, sequence, frame } => {
                let stream = intake.streams.entry(key).or_default();
                stream.enter(generation);
                // If a frame that is still needed leans on it, that frame's loss is told.
                let _ = stream.put_key(key, sequence, &frame);
                Ok(())
            }
            Entry::Frame { stream, generation, sequence, body } => {
                self.frame(segment, stream, generation, sequence, body)
            }
            Entry::Skip { stream, first, last } => {
                // The bound on ranges was kept when it was written.
                let stream = intake.streams.entry(stream).or_default();
                stream.skipped.insert(first..=last);
                stream.accepted.insert(first..=last);
                Ok(())
            }
            Entry::Series { number, home, labels } => {
                series.insert(number, (home, index.intern(home, &labels)));
                Ok(())
            }
            Entry::Points { points } => self.points(segment, &points, series),
        }
    }

    /// Whether what a segment has of a host was deleted.
    fn is_deleted(&self, segment: u64, home: HostId) -> bool {
        self.contents.deleted.get(&home).is_some_and(|below| segment < *below)
    }

    fn frame(
        &mut self,
        segment: u64,
        key: StreamKey,
        generation: u32,
        sequence: u64,
        body: Bytes,
    ) -> Result<(), Loss> {
        let seen = self.seen.entry(key).or_default();
        if seen.contains(sequence) {
            return Ok(());
        }
        seen.insert(sequence..=sequence);
        let stream = self.contents.intake.streams.entry(key).or_default();
        stream.enter(generation);
        stream.accepted.insert(sequence..=sequence);
        let coverage = self.contents.state.coverage;
        let at_ms = upkeep_codec::peek(&body).map(|head| head.timestamp_ms);
        let covered = at_ms.as_ref().is_ok_and(|at_ms| coverage.covers(segment, *at_ms));
        let accepted = match stream.recall(key, sequence, &body) {
            Ok(accepted) => accepted,
            Err(_) if covered => return Ok(()),
            Err(error) => {
                let of_host = Affected::host(key.host);
                let affected = at_ms.map_or(of_host, |at_ms| of_host.within(at_ms, at_ms));
                return Err((affected, error.to_string()));
            }
        };
        stream.last_ms = stream.last_ms.max(Some(accepted.timestamp_ms));
        if !covered {
            let (timestamp_ms, layout) = (accepted.timestamp_ms, &accepted.layout);
            let row = Row { sequence, timestamp_ms, segment, layout, body: &body };
            self.contents.head.streams.entry(key).or_default().rows.push(row);
        }
        Ok(())
    }

    fn points(
        &mut self,
        segment: u64,
        points: &[NumberedPoint],
        series: &HashMap<u32, (HostId, SeriesRef)>,
    ) -> Result<(), Loss> {
        let coverage = self.contents.state.coverage;
        let mut homes: BTreeMap<HostId, Vec<NumberedPoint>> = BTreeMap::new();
        let mut lost = Vec::new();
        for &(number, at_ms, value) in points {
            match series.get(&number) {
                _ if coverage.covers(segment, at_ms) => {}
                Some(&(_, UNKNOWN)) => {}
                Some(&(home, number)) => {
                    homes.entry(home).or_default().push((number, at_ms, value));
                }
                None => lost.push(at_ms),
            }
        }
        for (home, points) in homes {
            // What conflicts was counted when it came.
            self.contents.head.points.add(home, segment, points);
        }
        let (Some(first), Some(last)) = (lost.iter().min(), lost.iter().max()) else {
            return Ok(());
        };
        let affected = Affected::default().within(*first, *last);
        Err((affected, format!("{} samples of unknown series", lost.len())))
    }
}

fn intern(index: &mut Index, home: HostId, series: &[Labels]) -> Vec<SeriesRef> {
    let of = |labels: &Labels| {
        if labels.is_empty() { UNKNOWN } else { index.intern(home, labels) }
    };
    series.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::{Coverage, Extent};
    use crate::journal::Journal;
    use upkeep_codec::Encoder;
    use upkeep_model::Epoch;
    use uuid::Uuid;

    const HOST: HostId = HostId(Uuid::nil());
    const STREAM: StreamKey = StreamKey { host: HOST, epoch: Epoch([0; 16]) };

    /// A journal of one segment: frames and points at 10, 110 and 120 ms.
    fn journal(folder: &std::path::Path) -> JournalFolder {
        let journal = JournalFolder::open(folder.join("journal")).unwrap();
        let mut writer = Journal::new(journal.clone(), u64::MAX, 1);
        let (_, mut group) = writer.begin().unwrap();
        let labels = Labels::new([("__name__", "x")]);
        group.push(&Entry::Series { number: 4, home: HOST, labels: labels.clone() });
        let series = vec![labels];
        group.push(&Entry::Describe { stream: STREAM, generation: 0, first_number: 0, series });
        let mut encoder = Encoder::default();
        for (sequence, at_ms) in (1..).zip([10, 110, 120]) {
            let body = encoder.encode(sequence, at_ms, vec![(0, at_ms as f64)]).bytes.into();
            group.push(&Entry::Frame { stream: STREAM, generation: 0, sequence, body });
            group.push(&Entry::Points { points: vec![(4, at_ms, 1.0)] });
        }
        writer.write(&group.finish(), 0).unwrap();
        journal
    }

    fn check(coverage: Coverage, expect: &[i64]) {
        let folder = tempfile::tempdir().unwrap();
        let (journal, damage) = (journal(folder.path()), DamageLog::default());
        let mut contents = Contents::default();
        contents.state.coverage = coverage;
        let damaged = replay(&journal, &[1], &mut contents, &damage).unwrap();
        let rows = contents.head.streams.values().flat_map(|stream| stream.rows.iter());
        let points = contents.head.points.series();
        let points = points.flat_map(|(home, number)| contents.head.points.of(home, number));
        let found = rows.map(|row| row.timestamp_ms).chain(points.map(|point| point.at_ms));
        assert_eq!(found.collect::<Vec<_>>(), expect);
        let committed = contents.head.streams.get(&STREAM).map(|stream| &stream.committed);
        assert_eq!(committed, Some(&Ranges::through(3)));
        assert!(damaged.is_empty() && damage.findings().is_empty());
    }

    #[test]
    fn what_the_database_has_is_passed_over() {
        let none = Coverage::default();
        check(none, &[10, 110, 120, 10, 110, 120]);
        check(none.after(2, Extent::Due, 150, 100), &[110, 120, 110, 120]);
        check(none.after(1, Extent::Due, 150, 100), &[10, 110, 120, 10, 110, 120]);
        check(none.after(2, Extent::All, 150, 100), &[]);
    }
}
