//! How soon each is back after it was killed, with an hour of samples that only its journal has.

use std::time::Instant;

use anyhow::Result;
use upkeep_tests::PeerKind;

use super::data::Size;
use super::figures::{Aim, Figure, table};
use super::native_ingest::{WINDOW, all_frames, ingest};
use super::queries::drop_caches;
use super::remote_ingest;
use super::subject::Subject;
use super::{RUNS, now_ms};

/// From the start of the program until it says that it is ready, warm and with nothing in the page cache.
pub(super) async fn restart() -> Result<String> {
    let size = Size::ending(now_ms()?, 200, 360);
    let mut subjects = vec![Subject::collector().await?];
    for subject in &subjects {
        ingest(subject, &all_frames(size).await?, WINDOW).await?;
    }
    for kind in [PeerKind::VictoriaMetrics, PeerKind::Prometheus] {
        let Some(peer) = Subject::peer(kind).await? else { continue };
        if remote_ingest::ingest(&peer, size, 6).await?.is_some() {
            subjects.push(peer);
        }
    }
    let mut figures = Vec::new();
    for is_cold in [false, true] {
        let what = if is_cold { "cold" } else { "warm" };
        let mut figure =
            Figure::new(format!("from kill -9 to ready, {what}"), "s", Some(Aim::Most(1.0)));
        for _ in 0..RUNS {
            for subject in &mut subjects {
                subject.kill()?;
                if is_cold {
                    drop_caches();
                }
                let begin = Instant::now();
                subject.launch().await?;
                figure.note(subject.name(), begin.elapsed().as_secs_f64());
            }
        }
        figures.push(figure);
    }
    let notes = "200 hosts × 300 series × 360 steps. Readiness is looked at every 30 ms.";
    table("Start after kill -9", notes, &figures)
}
