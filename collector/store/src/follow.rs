//! Following the journal: everything that is committed, in the order in which it was.
//!
//! A segment of a journal that is followed tells all descriptions before their first use, also those
//! that the database has; so it can be read by itself, long after it was sealed. Until everybody has read
//! it, it is kept in the folder `followed/`.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use upkeep_codec::{Frame, KeyFrame, decode};
use upkeep_model::{Labels, StreamKey};

use crate::StoreError;
use crate::core::Core;
use crate::journal::{Entry, HEADER_BYTES, JournalFolder, seed_in, walk};

/// So many bytes are read at a time; more where an entry is longer.
const PART_BYTES: u64 = 256 * 1024;

/// A place in the journal: what stands before it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The segment.
    pub segment: u64,
    /// How many of its bytes.
    pub bytes: u64,
}

/// Samples in the order in which they were committed.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Label sets, milliseconds since 1970, values.
    pub samples: Vec<(Labels, i64, f64)>,
    /// Where the next batch begins.
    pub next: Place,
    /// How many bytes of the journal could not be read, and records and samples not understood.
    pub lost: u64,
}

/// How far the journal reaches, and what of it is kept.
#[derive(Debug)]
pub(crate) struct Followed(Mutex<Reach>);

#[derive(Clone, Copy, Debug)]
struct Reach {
    end: Place,
    /// The first segment that somebody needs.
    from: Option<u64>,
}

impl Followed {
    pub(crate) fn new(next_segment: u64, from: Option<u64>) -> Self {
        Self(Mutex::new(Reach { end: Place { segment: next_segment, bytes: 0 }, from }))
    }

    fn reach(&self) -> MutexGuard<'_, Reach> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_end(&self, (segment, bytes): (u64, u64)) {
        self.reach().end = Place { segment, bytes };
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.reach().from.is_some()
    }

    /// Whether somebody is yet to read a segment.
    pub(crate) fn needs(&self, segment: u64) -> bool {
        self.reach().from.is_some_and(|from| segment >= from)
    }
}

impl Core {
    pub(crate) fn keep_from(&self, segment: Option<u64>) -> Result<(), StoreError> {
        self.followed.reach().from = segment;
        let kept = self.folder.followed();
        for number in JournalFolder::kept(&kept)? {
            if segment.is_none_or(|from| number < from) {
                JournalFolder::remove_kept(number, &kept)?;
            }
        }
        Ok(())
    }
}

/// Reads the journal behind the committer.
#[derive(Debug)]
pub struct Follower {
    core: Arc<Core>,
    kept: PathBuf,
    at: Place,
    open: Option<Open>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    seed: u32,
    known: Known,
}

/// What a segment told so far.
#[derive(Debug, Default)]
struct Known {
    streams: HashMap<StreamKey, KnownStream>,
    series: HashMap<u32, Labels>,
}

#[derive(Debug, Default)]
struct KnownStream {
    dictionaries: HashMap<u32, Vec<Labels>>,
    keys: HashMap<u64, KeyFrame>,
}

impl Follower {
    pub(crate) fn new(core: Arc<Core>, from: Option<Place>) -> Self {
        let end = core.followed.reach().end;
        let at = from.filter(|place| *place <= end).unwrap_or(end);
        let kept = core.folder.followed();
        Self { core, kept, at, open: None }
    }

    /// Where the next batch begins.
    pub fn place(&self) -> Place {
        self.at
    }

    /// How many bytes of the journal are still to be read.
    ///
    /// # Errors
    /// When the journal cannot be listed.
    pub fn behind(&self) -> Result<u64, StoreError> {
        let end = self.core.followed.reach().end;
        let mut bytes = 0;
        for number in self.segments(self.at.segment)? {
            let length = match self.core.journal.find(number, &self.kept)? {
                _ if number == end.segment => end.bytes,
                Some(file) => length_of(&file),
                None => 0,
            };
            let read = if number == self.at.segment { self.at.bytes } else { 0 };
            bytes += length.saturating_sub(read);
        }
        Ok(bytes)
    }

    /// The next samples, about as many as a part of the journal has; `None` where all were read.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, StoreError> {
        loop {
            let end = self.core.followed.reach().end;
            if self.at >= end {
                return Ok(None);
            }
            if !self.is_open()? {
                let Some(next) = self.segments(self.at.segment + 1)?.into_iter().next() else {
                    return Ok(None);
                };
                self.at = Place { segment: next, bytes: 0 };
                continue;
            }
            let is_last = self.at.segment == end.segment;
            let Some(open) = &mut self.open else { continue };
            let length = if is_last { end.bytes } else { length_of(&open.file) };
            if self.at.bytes >= length {
                if is_last {
                    return Ok(None);
                }
                // A segment that was ended after this look is longer than it was seen.
                self.open = None;
                self.at = Place { segment: self.at.segment + 1, bytes: 0 };
                continue;
            }
            let mut batch = Batch::default();
            let (read, lost) = open.read(self.at.bytes, length, &mut batch)?;
            self.at.bytes += read;
            (batch.next, batch.lost) = (self.at, lost);
            return Ok(Some(batch));
        }
    }

    /// Opens the segment of the place, unless it is open. Says whether it is there.
    fn is_open(&mut self) -> Result<bool, StoreError> {
        if self.open.is_some() {
            return Ok(true);
        }
        let Some(file) = self.core.journal.find(self.at.segment, &self.kept)? else {
            return Ok(false);
        };
        let Some(seed) = seed_in(&file, self.at.segment) else { return Ok(false) };
        let mut open = Open { file, seed, known: Known::default() };
        let header = HEADER_BYTES as u64;
        // What was read before tells what is named by numbers only in the rest.
        let mut at = header;
        while at < self.at.bytes {
            at += open.read(at, self.at.bytes, &mut Batch::default())?.0;
        }
        self.at.bytes = at;
        self.open = Some(open);
        Ok(true)
    }

    /// The segments from one on that are there, ascending.
    fn segments(&self, from: u64) -> Result<Vec<u64>, StoreError> {
        let mut numbers = JournalFolder::kept(&self.kept)?;
        numbers.extend(self.core.journal.numbers()?);
        numbers.retain(|number| *number >= from);
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

fn length_of(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

impl Open {
    /// Reads a part from a place on, which ends at a length. Returns how many bytes of it were read, and
    /// how much was lost.
    fn read(&mut self, at: u64, length: u64, batch: &mut Batch) -> Result<(u64, u64), StoreError> {
        let mut part = PART_BYTES;
        loop {
            let wanted = part.min(length - at);
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
            self.file.read_exact_at(&mut bytes, at).map_err(|source| {
                StoreError::io("read", std::path::Path::new("a segment of the journal"), source)
            })?;
            let walk = walk(&bytes, self.seed);
            let is_whole = wanted == length - at;
            if walk.end == 0 && !is_whole {
                part *= 2;
                continue;
            }
            let mut lost = walk.damaged as u64;
            for body in &walk.bodies {
                let body = bytes.get(body.clone()).unwrap_or_default();
                match Entry::parse(body) {
                    Ok(entry) => lost += self.known.take(entry, batch),
                    Err(_) => lost += body.len() as u64,
                }
            }
            // Behind the last whole entry of a part that nothing follows there is only damage.
            let read = if is_whole { wanted } else { walk.end as u64 };
            return Ok((read, lost + (read - walk.end as u64)));
        }
    }
}

impl Known {
    /// Takes an entry, and says how many records or samples of it are lost.
    fn take(&mut self, entry: Entry, batch: &mut Batch) -> u64 {
        match entry {
            Entry::Describe { stream, generation, first_number, series } => {
                let stream = self.streams.entry(stream).or_default();
                let dictionary = stream.dictionaries.entry(generation).or_default();
                dictionary.truncate(first_number as usize);
                dictionary.resize(first_number as usize, Labels::default());
                dictionary.extend(series);
                0
            }
            Entry::Reference { stream, sequence, frame, .. } => {
                let stream = self.streams.entry(stream).or_default();
                match decode(&frame, |_| None) {
                    Ok(frame) => {
                        stream.keys.insert(sequence, frame.to_key());
                        0
                    }
                    Err(_) => 1,
                }
            }
            Entry::Frame { stream, generation, sequence, body } => {
                let stream = self.streams.entry(stream).or_default();
                let keys = &stream.keys;
                let Ok(frame) = decode(&body, |key| keys.get(&key)) else { return 1 };
                if frame.is_key {
                    stream.keys.insert(sequence, frame.to_key());
                }
                stream.samples_of(generation, &frame, batch)
            }
            Entry::Skip { .. } => 0,
            Entry::Series { number, labels, .. } => {
                self.series.insert(number, labels);
                0
            }
            Entry::Points { points } => {
                let mut lost = 0;
                for (number, at_ms, value) in points {
                    match self.series.get(&number) {
                        Some(labels) => batch.samples.push((labels.clone(), at_ms, value)),
                        None => lost += 1,
                    }
                }
                lost
            }
        }
    }
}

impl KnownStream {
    fn samples_of(&self, generation: u32, frame: &Frame, batch: &mut Batch) -> u64 {
        let dictionary = self.dictionaries.get(&generation).map(Vec::as_slice).unwrap_or_default();
        let mut lost = 0;
        for (&number, &value) in frame.numbers.iter().zip(&frame.values) {
            match dictionary.get(number as usize).filter(|labels| !labels.is_empty()) {
                Some(labels) => batch.samples.push((labels.clone(), frame.timestamp_ms, value)),
                None => lost += 1,
            }
        }
        lost
    }
}
