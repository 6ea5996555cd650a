//! Retention: drops whole spans that are too old, then series and dictionaries nobody needs.

use std::collections::{BTreeSet, HashSet};

use upkeep_model::{HostId, StreamKey};

use crate::StoreError;
use crate::binary::stream_bytes;
use crate::core::{Core, milliseconds};
use crate::damage::Affected;
use crate::database::{
    CHUNKS, ChunkKey, DICTIONARIES, STATE, STATE_KEY, STREAMS, block_of, stored_bytes, write_blocks,
};
use crate::index::{Series, SeriesRef};
use crate::rows::Rows;
use crate::seal::{blocks_of, day_of, remove_generation, stream_record};
use crate::stream::Saved;

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
    pub(crate) fn retain(&self, now_ms: i64) -> Result<(), StoreError> {
        // Keeps sealing from adding to what is being looked at.
        let mut state = self.state();
        self.apply_deletions(&mut state)?;
        let cutoff_ms = now_ms.saturating_sub(milliseconds(self.options.retention));
        let expired = self.expire(cutoff_ms);
        let kept = self.database.write("drop old samples from", |transaction| {
            let mut kept = *state;
            let mut chunks = transaction.open_table(CHUNKS)?;
            for &host in &expired.homes {
                let first = ChunkKey { host, span: i64::MIN, number: 0 }.to_bytes();
                let last = ChunkKey { host, span: expired.last_span, number: u64::MAX }.to_bytes();
                chunks.retain_in::<&[u8; 32], _>(&first..=&last, |_, value| {
                    kept.chunks = kept.chunks.saturating_sub(1);
                    kept.chunk_bytes = kept.chunk_bytes.saturating_sub(stored_bytes(value));
                    false
                })?;
            }
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
        *state = kept;
        let mut intake = self.intake();
        for (key, _, saved) in expired.streams {
            if let Some(stream) = intake.streams.get_mut(&key) {
                stream.saved = saved;
            }
        }
        Ok(())
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
        let last_span = cutoff_ms.saturating_sub(self.longest_span_ms);
        Expired { last_span, homes, series, streams }
    }
}
