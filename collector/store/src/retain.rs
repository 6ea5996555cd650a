//! Retention: drops whole spans that are too old, or the oldest if there is too much, then series
//! and dictionaries nobody needs.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;

use upkeep_model::{HostId, StreamKey};

use crate::StoreError;
use crate::binary::stream_bytes;
use crate::core::{Core, milliseconds};
use crate::coverage::{DAY_MS, span_of};
use crate::damage::Affected;
use crate::database::{
    ChunkTable, DICTIONARIES, STATE, STATE_KEY, STREAMS, State, block_of, bytes_beside_chunks,
    spans, write_blocks,
};
use crate::index::{Series, SeriesRef};
use crate::rows::Rows;
use crate::seal::{blocks_of, day_of, remove_generation, stream_record};
use crate::stream::Saved;
use crate::usage::Size;

/// What retention takes out of the database.
#[derive(Debug)]
struct Expired {
    /// Spans that began at or before this are over and too old.
    last_span: i64,
    homes: Vec<HostId>,
    series: Vec<SeriesRef>,
    streams: Vec<(StreamKey, Saved, Saved)>,
}

impl Core {
    /// What samples take. It waits for nobody who writes.
    pub(crate) fn size(&self) -> Size {
        let state = self.database.read(|transaction| {
            let table = transaction.open_table(STATE)?;
            let record = table.get(STATE_KEY)?;
            Ok(record.and_then(|record| State::from_bytes(STATE_KEY, record.value()).ok()))
        });
        // Before anything was sealed there is no state; that it cannot be read is told by who must.
        let state = state.ok().flatten().unwrap_or_default();
        Size {
            chunks: state.chunks,
            chunk_bytes: state.chunk_bytes,
            database_bytes: self.database.bytes_on_disk(),
            journal_bytes: self.journal.bytes(),
            dropped_bytes: self.dropped_bytes.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn retain(&self, now_ms: i64) -> Result<(), StoreError> {
        self.believed_ms.fetch_max(now_ms, Ordering::Relaxed);
        // Keeps sealing from adding to what is being looked at.
        let mut state = self.state();
        self.apply_deletions(&mut state)?;
        let cutoff_ms = now_ms.saturating_sub(milliseconds(self.options.retention));
        let too_much = self.too_much(&state)?;
        // What is in a span that goes is not before it, so no series of later samples goes with it.
        let cutoff_ms = too_much.map_or(cutoff_ms, |span| cutoff_ms.max(span));
        let mut expired = self.expire(cutoff_ms);
        expired.last_span = expired.last_span.max(too_much.unwrap_or(i64::MIN));
        let kept = self.database.write("drop old samples from", |transaction| {
            let mut kept = *state;
            let mut chunks = ChunkTable::open(transaction)?;
            for &host in &expired.homes {
                chunks.remove_through(&mut kept, host, expired.last_span)?;
            }
            chunks.finish(transaction)?;
            let record = kept.to_bytes(STATE_KEY);
            transaction.open_table(STATE)?.insert(STATE_KEY, record.as_slice())?;
            let blocks: BTreeSet<u32> = expired.series.iter().copied().map(block_of).collect();
            let blocks = blocks_of(&self.index(), blocks, |_, series| series.days);
            write_blocks(transaction, blocks)?;
            let mut streams = transaction.open_table(STREAMS)?;
            let mut dictionaries = transaction.open_table(DICTIONARIES)?;
            for (key, before, saved) in &expired.streams {
                for &generation in before.numbers.keys() {
                    remove_generation(&mut dictionaries, *key, generation)?;
                }
                let bytes = stream_bytes(*key);
                streams.insert(&bytes, stream_record(*key, saved, Vec::new()).as_slice())?;
            }
            Ok(kept)
        });
        let kept = self.reported(Affected::default(), kept)?;
        if let Some(span) = too_much {
            let bytes = state.chunk_bytes.saturating_sub(kept.chunk_bytes);
            self.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
            tracing::warn!(
                bytes,
                through_ms = span,
                "samples take too much: the oldest are dropped"
            );
        }
        *state = kept;
        let mut intake = self.intake();
        for (key, _, saved) in expired.streams {
            if let Some(stream) = intake.streams.get_mut(&key) {
                stream.saved = saved;
            }
        }
        Ok(())
    }

    /// The last of the oldest spans that must go, of all hosts, so that the rest takes no more than it
    /// may; `None` if it does not.
    fn too_much(&self, state: &State) -> Result<Option<i64>, StoreError> {
        let Some(limit) = self.options.retention_bytes else { return Ok(None) };
        let read = self
            .database
            .read(|transaction| Ok((bytes_beside_chunks(transaction)?, spans(transaction)?)));
        let read = read.map_err(|failure| failure.told("read", &self.folder));
        let (beside, spans) = self.reported(Affected::default(), read)?;
        let all = state.chunk_bytes.saturating_add(beside).saturating_add(self.journal.bytes());
        let mut excess = all.saturating_sub(limit);
        let mut last = None;
        for (span, bytes) in spans {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(bytes);
            last = Some(span);
        }
        Ok(last)
    }

    /// Takes out of memory what is too old, and says what the database is to lose.
    fn expire(&self, cutoff_ms: i64) -> Expired {
        let mut intake = self.intake();
        let mut index = self.index_mut();
        let head = self.head();
        let mut streams = Vec::new();
        let mut needed: HashSet<SeriesRef> = HashSet::new();
        for (&key, stream) in &mut intake.streams {
            let rows = head.streams.get(&key).map(|stream| &stream.rows);
            let is_silent = stream.last_ms.is_some_and(|last| last < cutoff_ms)
                && rows.is_none_or(Rows::is_empty)
                && stream.saved.committed == stream.accepted;
            if is_silent && !stream.dictionary().is_empty() {
                let before = stream.saved.clone();
                stream.forget_dictionary();
                let saved = Saved {
                    committed: before.committed.clone(),
                    generation: stream.generation,
                    last_ms: before.last_ms,
                    ..Saved::default()
                };
                streams.push((key, before, saved));
            }
            needed.extend(stream.dictionary());
            let layouts = rows.into_iter().flat_map(Rows::layouts);
            needed.extend(layouts.flat_map(|layout| layout.series.iter().copied()));
        }
        needed.extend(head.points.series().map(|(_, number)| number));
        let homes = index.homes().into_iter().collect();
        let first_day = day_of(cutoff_ms);
        // A series that was only described, and is in no dictionary any more, has no days at all.
        let is_old = |series: &Series| match series.days {
            Some((_, last)) => last < first_day,
            None => series.saved == Some(None),
        };
        let series: Vec<SeriesRef> = index
            .iter()
            .filter(|(number, series)| is_old(series) && !needed.contains(number))
            .map(|(number, _)| number)
            .collect();
        index.remove(&series);
        // A day that is summarised goes when all of it is too old.
        let mut last_span = cutoff_ms.saturating_sub(self.longest_span_ms);
        if cutoff_ms < self.summarised_ms.load(Ordering::Acquire) {
            last_span = last_span.min(span_of(cutoff_ms, DAY_MS).saturating_sub(1));
        }
        Expired { last_span, homes, series, streams }
    }
}
