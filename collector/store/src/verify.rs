//! Verification: reads everything sealed and reports what is damaged.
//!
//! A query sees damage only where it reads. A chunk whose key is damaged is not even found; that it
//! is missing is seen here, since the state says how many chunks there are.

use crate::StoreError;
use crate::binary::{Malformed, checked};
use crate::chunk::Chunk;
use crate::core::Core;
use crate::damage::Affected;
use crate::index::SeriesRef;

const PLACE: &str = "samples.redb, table chunks";

impl Core {
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        // Keeps sealing and retention from changing what is being counted.
        let state = self.state();
        let snapshot = self.reported(Affected::default(), self.database.snapshot())?;
        let mut found = 0;
        let mut last = None;
        let read = snapshot.every_chunk(|key, is_found, bytes| {
            if is_found && last < Some(*key) {
                found += 1;
            }
            last = Some(*key);
            match verify_chunk(key, bytes) {
                Ok(series) => self.report_unknown(&series),
                Err(error) => self.report_chunk(key, bytes, error),
            }
        });
        self.reported(Affected::default(), read)?;
        if found != state.chunks {
            self.damage.report(
                PLACE,
                format!("{} of {} chunks", state.chunks - found.min(state.chunks), state.chunks),
            );
        }
        Ok(())
    }

    fn report_unknown(&self, series: &[SeriesRef]) {
        let index = self.index();
        for number in series.iter().filter(|number| index.get(**number).is_none()) {
            self.damage.report(PLACE, format!("the labels of series {number}"));
        }
    }
}

/// Reads all of a chunk and returns which series are in it.
fn verify_chunk(key: &[u8; 32], bytes: &[u8]) -> Result<Vec<SeriesRef>, Malformed> {
    let chunk = Chunk::open(checked(key, bytes)?)?;
    for number in chunk.series() {
        chunk.samples(number)?;
    }
    Ok(chunk.series().collect())
}
