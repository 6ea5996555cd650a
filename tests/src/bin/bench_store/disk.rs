//! How many bytes a sample takes on the disk, and what sealing and merging take of the processor.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep_until};
use upkeep_tests::PeerKind;

use super::data::Size;
use super::figures::{Aim, Figure, OURS, VICTORIA, table};
use super::native_ingest::{WINDOW, all_frames, ingest, ingest_series};
use super::now_ms;
use super::recording::{HOSTS, Recording};
use super::remote_ingest;
use super::subject::{Subject, disk_usage};

/// When the disk is looked at after the last sample: spans that are over are sealed every five minutes,
/// and packed again two minutes after that, with much rest between.
const LOOKS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

const HOUR_MS: i64 = 60 * 60 * 1000;

/// How long a forced merge may take.
const MERGE: Duration = Duration::from_secs(20);

/// The same samples in each of some subjects.
struct Filled {
    what: &'static str,
    samples: f64,
    /// With the seconds of processor that each had taken when all samples were in.
    subjects: Vec<(Subject, f64)>,
}

/// Both data sets: after ingest, some minutes later, and after VictoriaMetrics merged all it has.
pub(super) async fn bytes() -> Result<String> {
    let recording = Recording::of_this_machine().await?;
    let mut sets = [made().await?, recorded(&recording).await?];
    for set in &mut sets {
        for (subject, cpu) in &mut set.subjects {
            *cpu = subject.cpu()?;
        }
    }
    let end = Instant::now();
    let mut figures = Vec::new();
    for look in LOOKS {
        sleep_until(end + look).await;
        let aim = (look == LOOKS[1]).then_some(Aim::Share(0.5, VICTORIA));
        for set in &sets {
            let what = format!("{}, {} s after ingest", set.what, look.as_secs());
            let mut figure = Figure::new(what, "bytes a sample", aim);
            for (subject, _) in &set.subjects {
                figure.note(subject.name(), disk_usage(&subject.data())? as f64 / set.samples);
            }
            figures.push(figure);
        }
    }
    for set in &sets {
        let mut after =
            Figure::new(format!("{}, sealing and merging", set.what), "ns of CPU a sample", None);
        for (subject, before) in &set.subjects {
            after.note(subject.name(), 1e9 * (subject.cpu()? - before) / set.samples);
        }
        figures.push(after);
    }
    for set in &sets {
        figures.extend(merged(set).await?);
    }
    let notes = "21.6 M samples of the last full hour that are made, and a recording of this machine (as 60 hosts); blocks of the folder of samples, \
                 everything in it: index, journal, caches.";
    table("Bytes on the disk", notes, &figures)
}

async fn made() -> Result<Filled> {
    let size = Size::ending(last_full_hour_ms()?, 200, 360);
    let collector = Subject::collector().await?;
    ingest(&collector, &all_frames(size).await?, WINDOW).await?;
    let mut subjects = vec![(collector, 0.0)];
    for kind in [PeerKind::VictoriaMetrics, PeerKind::Prometheus] {
        let Some(peer) = Subject::peer(kind).await? else { continue };
        if remote_ingest::ingest(&peer, size, 6).await?.is_some() {
            subjects.push((peer, 0.0));
        }
    }
    Ok(Filled { what: "made", samples: size.samples() as f64, subjects })
}

async fn recorded(recording: &Recording) -> Result<Filled> {
    let end_ms = last_full_hour_ms()? - 1;
    let frames = Arc::new(recording.frames(end_ms));
    let frames: Vec<_> = (0..HOSTS).map(|_| Arc::clone(&frames)).collect();
    let collector = Subject::collector().await?;
    ingest_series(&collector, recording.series(), &frames, WINDOW).await?;
    let mut subjects = vec![(collector, 0.0)];
    if let Some(peer) = Subject::peer(PeerKind::VictoriaMetrics).await? {
        recording.send(&peer.writer()?, end_ms).await?;
        subjects.push((peer, 0.0));
    }
    Ok(Filled { what: "recorded", samples: recording.samples() as f64, subjects })
}

/// When the last hour ended: a sample of the hour that is not over lies in the journal.
fn last_full_hour_ms() -> Result<i64> {
    Ok(now_ms()?.div_euclid(HOUR_MS) * HOUR_MS)
}

async fn merged(set: &Filled) -> Result<[Figure; 2]> {
    let unit = "bytes a sample";
    let aim = Some(Aim::Share(0.8, VICTORIA));
    let mut merged =
        Figure::new(format!("{}, the peer's after a forced merge", set.what), unit, aim);
    let mut values =
        Figure::new(format!("{}, of these the peer's without its index", set.what), unit, None);
    for (subject, _) in &set.subjects {
        if subject.name() == VICTORIA {
            subject.merge().await?;
            tokio::time::sleep(MERGE).await;
            let data = disk_usage(&subject.data().join("data"))? as f64;
            let index = disk_usage(&subject.data().join("indexdb"))? as f64;
            merged.note(VICTORIA, (data + index) / set.samples);
            values.note(VICTORIA, data / set.samples);
        }
        if subject.name() == OURS {
            merged.note(OURS, disk_usage(&subject.data())? as f64 / set.samples);
        }
    }
    Ok([merged, values])
}
