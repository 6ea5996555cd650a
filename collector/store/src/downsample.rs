//! Downsampling: whole days (by UTC) that are old enough become summaries.
//!
//! It goes from day to day, and each day from host to host in steps, as compaction does. What is done is
//! told in the state, which is written with the last host of a day; so a day that was broken off is gone
//! through again, and what of it is summarised already is passed over. The coarse resolution comes
//! first: days that are old enough for it when downsampling is set for the first time are summarised
//! once.

use std::iter::Peekable;
use std::sync::atomic::Ordering;

use upkeep_model::HostId;

use crate::StoreError;
use crate::core::{Core, milliseconds};
use crate::coverage::{DAY_MS, span_of};
use crate::damage::Affected;
use crate::database::{ChunkTable, Progress, STATE, STATE_KEY, spans};
use crate::fold::Folded;
use crate::pace::{Pace, STEP_BYTES, Step};
use crate::summary::Resolution;

/// A day that is being summarised.
#[derive(Clone, Copy, Debug)]
struct Day {
    begin_ms: i64,
    resolution: Resolution,
}

impl Day {
    fn end_ms(self) -> i64 {
        self.begin_ms.saturating_add(DAY_MS)
    }
}

impl Core {
    /// Summarises what is old enough.
    pub(crate) fn downsample(&self, now_ms: i64, pace: &Pace<'_>) -> Result<(), StoreError> {
        let mut is_any = false;
        for resolution in Resolution::ALL.into_iter().rev() {
            for day in self.days(resolution, now_ms)? {
                is_any = true;
                let homes = self.index().homes();
                let mut homes = homes.into_iter().peekable();
                if !pace.keep(|| self.downsample_some(day, &mut homes, pace.is_stopped))? {
                    return Ok(());
                }
            }
        }
        if is_any { self.shrink() } else { Ok(()) }
    }

    /// The days with samples that are old enough and were not done yet, the oldest first.
    fn days(&self, resolution: Resolution, now_ms: i64) -> Result<Vec<Day>, StoreError> {
        let Some(after) = self.options.downsampling.after(resolution) else {
            return Ok(Vec::new());
        };
        let through_ms = span_of(now_ms.saturating_sub(milliseconds(after)), DAY_MS);
        let done_ms = {
            let state = self.state();
            let coarser = Resolution::ALL.into_iter().filter(|one| *one >= resolution);
            let done = coarser.map(|one| state.summarised.of(one).done_ms);
            done.max().unwrap_or(i64::MIN)
        };
        let spans = self.database.read(spans).map_err(|failure| failure.told("read", &self.folder));
        let spans = self.reported(Affected::default(), spans)?;
        let days = spans.into_iter().map(|(span, _)| span_of(span, DAY_MS));
        let mut days: Vec<i64> = days
            .filter(|day| *day >= done_ms && day.saturating_add(DAY_MS) <= through_ms)
            .collect();
        days.dedup();
        Ok(days.into_iter().map(|begin_ms| Day { begin_ms, resolution }).collect())
    }

    /// Summarises a day of as many hosts as one transaction takes.
    fn downsample_some(
        &self,
        day: Day,
        homes: &mut Peekable<impl Iterator<Item = HostId>>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Step, StoreError> {
        // Keeps sealing from adding to what is being folded.
        let mut state = self.state();
        let (mut packed, mut bytes) = (Vec::new(), 0);
        while bytes < STEP_BYTES
            && let Some(home) = homes.next()
        {
            match self.fold(home, day.begin_ms, day.resolution, is_stopped)? {
                Folded::Stays => {}
                Folded::Stopped => return Ok(Step::Stopped),
                Folded::Done(one, of_day) => {
                    bytes += of_day;
                    packed.push(one);
                }
            }
        }
        let mut next = *state;
        let step = if homes.peek().is_some() { Step::More } else { Step::Last };
        let done_ms = if step == Step::Last { day.end_ms() } else { i64::MIN };
        next.summarised.note(day.resolution, Progress { begun_ms: day.end_ms(), done_ms });
        // Whoever finds a summary in the database must have known where to look.
        self.summarised_ms.fetch_max(next.summarised.begun_ms(), Ordering::AcqRel);
        let written = self.database.write("summarise", |transaction| {
            let mut chunks = ChunkTable::open(transaction)?;
            for one in packed {
                one.write(&mut chunks, &mut next)?;
            }
            chunks.finish(transaction)?;
            next.longest_span_ms = self.longest_span_ms;
            let record = next.to_bytes(STATE_KEY);
            transaction.open_table(STATE)?.insert(STATE_KEY, record.as_slice())?;
            Ok(())
        });
        self.reported(Affected::default(), written)?;
        *state = next;
        Ok(step)
    }
}
