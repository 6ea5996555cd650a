//! Reading: finds series by their labels and puts together what head and database have of them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use hashbrown::HashMap;
use upkeep_model::{HostId, Labels, SeriesSamples};

use crate::StoreError;
use crate::binary::{Malformed, checked};
use crate::chunk::{Chunk, SummaryChunk};
use crate::core::Core;
use crate::damage::Affected;
use crate::database::{ChunkKey, Snapshot};
use crate::gathering::{Gathered, Gathering, SampleSource};
use crate::head_part::{HeadPart, Reader};
use crate::index::SeriesRef;
use crate::reading::{Bounds, Found, Reading, Stretch, Summaries};
use crate::reconstruct::Reconstruction;
use crate::summary::Shape;

/// No reading takes more threads than this.
const READERS: usize = 4;

/// How many threads a reading may take here. To find that out reads files of the system.
static THREADS: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get).min(READERS));

/// Fewer series than this are read by one thread: to start another costs as much as some hundred.
const SERIES_A_READER: usize = 512;

/// The series that are wanted of one home, ascending, each with its place among the results.
pub(crate) type Wanted = Vec<(SeriesRef, usize)>;

/// The series to be read.
#[derive(Debug, Default)]
struct Sought {
    homes: BTreeMap<HostId, Wanted>,
    labels: Vec<Labels>,
    /// Which places each reading wants, ascending.
    lists: Vec<Vec<usize>>,
}

/// What readings that are done in one pass found.
struct Passed {
    /// One entry a reading.
    lists: Vec<Vec<SeriesSamples>>,
    summaries: Option<Summaries>,
}

/// One home to be read.
#[derive(Debug)]
struct Job {
    home: HostId,
    wanted: Wanted,
    head: HeadPart,
}

/// What those who read at the same time share.
struct Work<'a> {
    core: &'a Core,
    snapshot: Snapshot<'a>,
    stretch: Stretch,
    shape: Shape,
    only_last: bool,
    bounds: Bounds,
    jobs: Vec<Job>,
    next: AtomicUsize,
    /// The summaries that were met.
    met: &'a Mutex<Option<Summaries>>,
    /// What was read, by job and place.
    done: Mutex<BTreeMap<usize, Vec<(usize, Gathered)>>>,
}

impl Core {
    pub(crate) fn read(&self, reading: &Reading<'_>) -> Result<Found, StoreError> {
        let Passed { lists, summaries } = self.pass(reading, &[reading])?;
        Ok(Found { series: lists.into_iter().next().unwrap_or_default(), summaries })
    }

    /// Does those in one pass that can be.
    pub(crate) fn read_all(
        &self,
        readings: &[Reading<'_>],
    ) -> Result<Vec<Vec<SeriesSamples>>, StoreError> {
        let mut found = vec![Vec::new(); readings.len()];
        let mut left: Vec<usize> = (0..readings.len()).collect();
        while let Some(first) = left.first().and_then(|number| readings.get(*number)) {
            let goes_along = |number: &mut usize| {
                readings.get(*number).is_some_and(|reading| reading.goes_along_with(first))
            };
            let along: Vec<usize> = left.extract_if(.., goes_along).collect();
            let together: Vec<_> = along.iter().filter_map(|one| readings.get(*one)).collect();
            let passed = self.pass(first, &together)?;
            for (number, series) in along.into_iter().zip(passed.lists) {
                if let Some(slot) = found.get_mut(number) {
                    *slot = series;
                }
            }
        }
        Ok(found)
    }

    /// Does readings that differ in their matchers only, by the bounds of the first.
    fn pass(&self, first: &Reading<'_>, readings: &[&Reading<'_>]) -> Result<Passed, StoreError> {
        let stretch = Stretch { after_ms: first.after_ms, through_ms: first.through_ms };
        if stretch.is_empty() {
            return Ok(Passed { lists: vec![Vec::new(); readings.len()], summaries: None });
        }
        let bounds = Bounds::of(first);
        let Sought { homes, labels, lists } = self.find(readings, &bounds)?;
        // Sealing commits before it empties the head; so what is taken from the head first and
        // then from the database, under the head's lock, misses nothing.
        let (jobs, snapshot) = {
            let head = self.head();
            let jobs = homes.into_iter().map(|(home, wanted)| {
                let head = HeadPart::take(&head, home, &wanted, stretch);
                Job { home, wanted, head }
            });
            (jobs.collect(), self.reported(Affected::default(), self.database.snapshot())?)
        };
        let next = AtomicUsize::default();
        let (done, met) = (Mutex::default(), Mutex::default());
        let Reading { shape, only_last, .. } = *first;
        let work = Work {
            core: self,
            snapshot,
            stretch,
            shape,
            only_last,
            bounds,
            jobs,
            next,
            met: &met,
            done,
        };
        let lists = in_lists(lists, in_places(labels, work.finish()?));
        Ok(Passed { lists, summaries: met.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    fn find(&self, readings: &[&Reading<'_>], bounds: &Bounds) -> Result<Sought, StoreError> {
        let index = self.index();
        let mut found = Sought::default();
        let mut places: HashMap<_, usize> = HashMap::new();
        for reading in readings {
            let selected = index.select(reading.matchers);
            let mut list = Vec::with_capacity(selected.len());
            places.reserve(selected.len());
            for number in selected {
                bounds.look()?;
                let Some(series) = index.get(number) else { continue };
                if reading.home.is_some_and(|home| home != series.home) {
                    continue;
                }
                let place = *places.entry(Arc::clone(&series.labels)).or_insert_with(|| {
                    found.labels.push(index.labels(series));
                    found.labels.len() - 1
                });
                found.homes.entry(series.home).or_default().push((number, place));
                list.push(place);
            }
            // Two homes may have the same label set.
            list.sort_unstable();
            list.dedup();
            found.lists.push(list);
        }
        if readings.len() > 1 {
            for wanted in found.homes.values_mut() {
                wanted.sort_unstable();
                wanted.dedup();
            }
        }
        Ok(found)
    }

    /// Reports pages of the database that turned out damaged, and hands the error on.
    pub(crate) fn reported<T>(
        &self,
        affected: Affected,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Err(StoreError::Damaged { path, reason, .. }) = &result {
            let lost = format!("pages that cannot be read: {reason}");
            self.damage.report_of(affected, path.display().to_string(), lost);
        }
        result
    }

    /// Tells that a chunk is damaged.
    pub(crate) fn report_chunk(&self, key: &[u8; 32], bytes: &[u8], error: Malformed) {
        let (affected, lost) = match ChunkKey::from_bytes(key) {
            Ok(ChunkKey { host, span, number }) => {
                let lost = format!("chunk {number} of host {host} from {span} ms on");
                // Only what was damaged behind its first bytes still tells which times it had.
                let (from_ms, through_ms) = match Chunk::glance(bytes) {
                    Ok(glance) if *glance.times.start() > i64::MIN => glance.times.into_inner(),
                    _ => (span, self.end_of_span(span)),
                };
                (Affected::host(host).within(from_ms, through_ms), lost)
            }
            Err(error) => (Affected::default(), error.to_string()),
        };
        let place = "samples.redb, table chunks";
        self.damage.report_of(affected, place, format!("{lost}: {error}"));
    }
}

impl Work<'_> {
    /// Does all jobs, several at a time where it pays. Gives what was read in the order of the homes.
    fn finish(self) -> Result<impl Iterator<Item = (usize, Gathered)>, StoreError> {
        let series: usize = self.jobs.iter().map(|job| job.wanted.len()).sum();
        let readers = (series / SERIES_A_READER).clamp(1, *THREADS);
        thread::scope(|scope| {
            // Where no thread is to be had, this one does it all.
            let spawn = || thread::Builder::new().spawn_scoped(scope, || self.do_jobs());
            let others: Vec<_> = (1..readers).map_while(|_| spawn().ok()).collect();
            let mut result = self.do_jobs();
            for other in others {
                let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
                result = result.and(other);
            }
            result
        })?;
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(done.into_values().flatten())
    }

    fn do_jobs(&self) -> Result<(), StoreError> {
        let mut done = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(number) else { break };
            let read = self.read(job);
            if read.is_err() {
                // The others need not begin another one.
                self.next.store(self.jobs.len(), Ordering::Relaxed);
            }
            done.push((number, read?));
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
        Ok(())
    }

    /// What chunks and head have of a home, by the place among the results.
    fn read(&self, job: &Job) -> Result<Vec<(usize, Gathered)>, StoreError> {
        let mut gathering = Gathering::of(job.wanted.len());
        let mut result = Ok(());
        let span = self.core.first_span(self.stretch.after_ms);
        let first = ChunkKey { host: job.home, span, number: 0 };
        let last = ChunkKey { span: self.stretch.through_ms, number: u64::MAX, ..first };
        let read = self.snapshot.chunks_until(first, last, |key, bytes| {
            match self.read_chunk(key, bytes, &job.wanted, &mut gathering) {
                Ok(()) => ControlFlow::Continue(()),
                Err(Unread::Malformed(error)) => {
                    self.core.report_chunk(key, bytes, error);
                    ControlFlow::Continue(())
                }
                Err(Unread::Bounded(error)) => {
                    result = Err(error);
                    ControlFlow::Break(())
                }
            }
        });
        self.core.reported(Affected::host(job.home), read)?;
        result?;
        let reader = Reader::new(self.stretch, self.only_last, &self.bounds);
        job.head.read(&job.wanted, reader, &mut gathering)?;
        let found = gathering.finish();
        Ok(found.filter_map(|(run, one)| Some((job.wanted.get(run)?.1, one))).collect())
    }

    fn read_chunk(
        &self,
        key: &[u8; 32],
        bytes: &[u8],
        wanted: &Wanted,
        gathering: &mut Gathering,
    ) -> Result<(), Unread> {
        let glance = Chunk::glance(bytes)?;
        let begin = wanted.partition_point(|(number, _)| number < glance.series.start());
        let end = wanted.partition_point(|(number, _)| number <= glance.series.end());
        if begin >= end || !self.stretch.overlaps(*glance.times.start(), *glance.times.end()) {
            return Ok(());
        }
        let bytes = checked(key, bytes)?;
        let sought = wanted.iter().enumerate().take(end).skip(begin);
        if SummaryChunk::is_one(bytes) {
            return self.read_summaries(bytes, sought, gathering);
        }
        let chunk = Chunk::open(bytes)?;
        let mut cut: Option<Cut> = None;
        for (run, (number, _)) in sought {
            let Some((timestamps, values)) = chunk.samples(*number)? else { continue };
            let cut = match cut.as_ref().filter(|cut| Arc::ptr_eq(&cut.whole, &timestamps)) {
                Some(cut) => cut,
                None => cut.insert(Cut::of(timestamps, self.stretch)),
            };
            let values = values.get(cut.range.clone()).unwrap_or_default();
            self.bounds.charge(values.len())?;
            gathering.extend(run, SampleSource::Samples, &cut.timestamps, values);
        }
        Ok(())
    }

    fn read_summaries<'w>(
        &self,
        bytes: &[u8],
        sought: impl Iterator<Item = (usize, &'w (SeriesRef, usize))>,
        gathering: &mut Gathering,
    ) -> Result<(), Unread> {
        let chunk = SummaryChunk::open(bytes)?;
        let mut reconstruction = Reconstruction::new(self.shape, self.stretch, &self.bounds);
        let mut through_ms = None;
        for (run, (number, _)) in sought {
            let Gathered { timestamps, values } = reconstruction.of(&chunk.windows(*number)?)?;
            through_ms = through_ms.max(timestamps.last().copied());
            gathering.extend(run, SampleSource::Summaries, &timestamps, &values);
        }
        if let Some(through_ms) = through_ms {
            let here = Summaries { resolution: chunk.resolution, through_ms };
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            *met = Some(met.map_or(here, |before| before.with(here)));
        }
        Ok(())
    }
}

/// The part of a list of timestamps that lies in the stretch.
struct Cut {
    whole: Arc<[i64]>,
    range: std::ops::Range<usize>,
    timestamps: Arc<[i64]>,
}

impl Cut {
    fn of(whole: Arc<[i64]>, stretch: Stretch) -> Self {
        let range = stretch.range_of(&whole);
        let timestamps = match whole.get(range.clone()) {
            Some(part) if part.len() < whole.len() => part.into(),
            _ => Arc::clone(&whole),
        };
        Self { whole, range, timestamps }
    }
}

/// Why a chunk was not read to its end.
enum Unread {
    Malformed(Malformed),
    Bounded(StoreError),
}

impl From<Malformed> for Unread {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        Self::Bounded(error)
    }
}

/// Brings samples to their labels; of two homes with the same label set, the first one's come first.
fn in_places(
    labels: Vec<Labels>,
    found: impl Iterator<Item = (usize, Gathered)>,
) -> Vec<Option<SeriesSamples>> {
    let mut places: Vec<Option<Gathered>> = Vec::new();
    places.resize_with(labels.len(), || None);
    for (place, gathered) in found {
        let Some(slot) = places.get_mut(place) else { continue };
        *slot = Some(match slot.take() {
            None => gathered,
            Some(before) => before.with(&gathered),
        });
    }
    let samples = labels.into_iter().zip(places).map(|(labels, gathered)| {
        let Gathered { timestamps, values } = gathered.filter(|found| !found.values.is_empty())?;
        Some(SeriesSamples { labels, timestamps, values })
    });
    samples.collect()
}

/// Gives each reading the series that it wants.
fn in_lists(
    lists: Vec<Vec<usize>>,
    mut places: Vec<Option<SeriesSamples>>,
) -> Vec<Vec<SeriesSamples>> {
    if lists.len() == 1 {
        return vec![places.into_iter().flatten().collect()];
    }
    let mut left = vec![0_usize; places.len()];
    for place in lists.iter().flatten() {
        if let Some(left) = left.get_mut(*place) {
            *left += 1;
        }
    }
    let mut take = |place: usize| {
        let left = left.get_mut(place)?;
        *left -= 1;
        let series = places.get_mut(place)?;
        if *left == 0 { series.take() } else { series.clone() }
    };
    lists.into_iter().map(|list| list.into_iter().filter_map(&mut take).collect()).collect()
}
