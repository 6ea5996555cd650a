//! Whether samples may be dropped for their age. What is dropped is gone, and how old it is only the
//! clock says: one that is far ahead, be it for a moment, must not cost all that is kept.
//!
//! What the clock showed is noted with every look, beside the samples. If it is more than a day ahead
//! of that, beside the time that passed, nothing is dropped until it was so for a day: after a long
//! time off, or when a clock that was behind was set right, samples stay a day longer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// The file in the data folder.
const FILE_NAME: &str = "retention.json";

/// A clock that is further ahead of what it showed before is doubted.
const MAX_AHEAD_MS: i64 = 24 * HOUR_MS;

/// A clock that was doubted for so long, while the collector ran, is believed.
const DOUBTED_MS: i64 = 24 * HOUR_MS;

const HOUR_MS: i64 = 3_600_000;

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    /// What it showed when it was last believed, and the time since, as far as the collector ran.
    believed_ms: i64,
    /// For how long it has been doubted.
    doubted_ms: i64,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Believed,
    Doubted { ahead_ms: i64 },
}

/// Keeps the clock in mind.
pub(super) struct Retention {
    file: PathBuf,
    /// What was noted last, and the steady clock at the last look.
    noted: Mutex<(Option<Noted>, Option<i64>)>,
}

impl Retention {
    /// Reads what an earlier run noted. What cannot be read is as if nothing had been.
    pub(super) fn load(data_folder: &Path) -> Self {
        let file = data_folder.join(FILE_NAME);
        let noted = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, noted: Mutex::new((noted, None)) }
    }

    /// Looks at the clock, and says whether samples may be dropped by what it shows.
    pub(super) fn may_drop(&self, clock: &Clock) -> bool {
        let mut state = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, looked_ms) = *state;
        let steady_ms = clock.steady_ms();
        let passed_ms = looked_ms.map_or(0, |looked_ms| steady_ms.saturating_sub(looked_ms));
        let (noted, verdict) = judge(before, clock.now_ms(), passed_ms);
        *state = (Some(noted), Some(steady_ms));
        // Where it cannot be noted, as on a full disk, dropping samples may be what helps.
        if let Err(error) = self.write(noted) {
            tracing::warn!(path = %self.file.display(), %error, "the clock cannot be noted");
        }
        match verdict {
            Verdict::Believed => {
                if before.is_some_and(|before| before.doubted_ms > 0) {
                    tracing::info!("old samples are dropped again");
                }
                true
            }
            Verdict::Doubted { ahead_ms } => {
                tracing::warn!(
                    ahead_hours = ahead_ms / HOUR_MS,
                    "the clock is far ahead of what it showed before: old samples are not dropped \
                     before it was so for a day"
                );
                false
            }
        }
    }

    fn write(&self, noted: Noted) -> io::Result<()> {
        let mut file = atomic_write_file::AtomicWriteFile::open(&self.file)?;
        serde_json::to_writer(&mut file, &noted)?;
        file.commit()
    }
}

fn judge(before: Option<Noted>, now_ms: i64, passed_ms: i64) -> (Noted, Verdict) {
    let believed = (Noted { believed_ms: now_ms, doubted_ms: 0 }, Verdict::Believed);
    let Some(before) = before else { return believed };
    let expected_ms = before.believed_ms.saturating_add(passed_ms);
    let ahead_ms = now_ms.saturating_sub(expected_ms);
    // The first look at a clock begins to doubt it; the time before it does not count.
    let doubted_ms = match before.doubted_ms {
        0 => 1,
        doubted_ms => doubted_ms.saturating_add(passed_ms),
    };
    if ahead_ms <= MAX_AHEAD_MS || doubted_ms > DOUBTED_MS {
        return believed;
    }
    (Noted { believed_ms: expected_ms, doubted_ms }, Verdict::Doubted { ahead_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

    /// Looks hour by hour at a clock that is so far from the right one, and gives at which looks
    /// samples may be dropped.
    fn dropped(offsets_ms: &[i64]) -> Vec<usize> {
        let (mut noted, mut may) = (None, Vec::new());
        for (look, offset_ms) in offsets_ms.iter().enumerate() {
            let now_ms = NOW + i64::try_from(look).unwrap() * HOUR_MS + offset_ms;
            let passed_ms = if look == 0 { 0 } else { HOUR_MS };
            let (next, verdict) = judge(noted, now_ms, passed_ms);
            noted = Some(next);
            if verdict == Verdict::Believed {
                may.push(look);
            }
        }
        may
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_doubted_for_a_day_or_until_it_is_back() {
        assert_eq!(dropped(&[0, 0, 0]), [0, 1, 2]);
        assert_eq!(dropped(&[0, YEAR_MS, 0, 0]), [0, 2, 3]);
        assert_eq!(dropped(&[0, YEAR_MS, YEAR_MS, 0, YEAR_MS, 0]), [0, 3, 5]);
        assert_eq!(dropped(&[0, MAX_AHEAD_MS]), [0, 1]);
        assert_eq!(dropped(&[0, MAX_AHEAD_MS + 1]), [0]);
        let lasting: Vec<i64> =
            std::iter::once(0).chain(std::iter::repeat_n(YEAR_MS, 27)).collect();
        assert_eq!(dropped(&lasting), [0, 25, 26, 27]);
        // One that goes back costs nothing, and is waited for when it returns.
        assert_eq!(dropped(&[0, -YEAR_MS, 0, 0]), [0, 1]);
    }

    #[test]
    fn what_was_noted_outlives_the_process_and_starts_do_not_end_a_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let look = |now_ms: i64| {
            let clock = Clock::new(move || now_ms);
            Retention::load(folder.path()).may_drop(&clock)
        };
        assert!(look(NOW));
        for _ in 0..50 {
            assert!(!look(NOW + YEAR_MS));
        }
        assert!(look(NOW + HOUR_MS));
        std::fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        assert!(look(NOW));
    }
}
