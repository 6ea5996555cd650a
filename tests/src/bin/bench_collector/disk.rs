//! How many bytes a sample takes on the disk, and what sealing and merging take of the processor.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep_until};
use upkeep_tests::PeerKind;

use super::data::Size;
use super::figures::{Aim, Figure, VICTORIA, table};
use super::native_ingest::{WINDOW, all_frames, ingest, ingest_series};
use super::recording::{HOSTS, Recording};
use super::remote_ingest;
use super::subject::{Subject, disk_usage};
use super::{RUNS, now_ms};

/// When the disk is looked at after the last sample: spans that are over are sealed every five minutes,
/// and packed again two minutes after that, with much rest between.
const LOOKS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];

const HOUR_MS: i64 = 60 * 60 * 1000;

const A_SAMPLE: &str = "bytes a sample";

/// How long all forced merges may take.
const MERGE: Duration = Duration::from_secs(40);

/// The same samples in each of some subjects.
struct Filled {
    what: &'static str,
    samples: f64,
    /// With the seconds of processor that each had taken when all samples were in.
    subjects: Vec<(Subject, f64)>,
}

/// Both data sets: after ingest, some minutes later, and after VictoriaMetrics merged all it has. All
/// runs are filled first, in turn, and wait together.
pub(super) async fn bytes() -> Result<String> {
    let recording = Recording::of_this_machine().await?;
    let mut runs = Vec::with_capacity(RUNS);
    for run in 0..RUNS {
        runs.push([made(run == 0).await?, recorded(&recording).await?]);
    }
    for (subject, cpu) in runs.iter_mut().flatten().flat_map(|set| &mut set.subjects) {
        *cpu = subject.cpu()?;
    }
    let end = Instant::now();
    let mut figures = Vec::new();
    for look in LOOKS {
        sleep_until(end + look).await;
        let aim = (look == LOOKS[1]).then_some(Aim::Share(0.5, VICTORIA));
        let what = format!("{} s after ingest", look.as_secs());
        figures.extend(of_all(&runs, &what, A_SAMPLE, aim, |subject, _| {
            Ok(Some(disk_usage(&subject.data())? as f64))
        })?);
    }
    let what = "sealing and merging";
    figures.extend(of_all(&runs, what, "ns of CPU a sample", None, |subject, before| {
        Ok(Some(1e9 * (subject.cpu()? - before)))
    })?);
    figures.extend(merged(&runs).await?);
    let notes = "21.6 M samples of the last full hour that are made, and a recording of this machine (as 60 hosts); blocks of the folder of samples, \
                 everything in it: index, journal, caches.";
    table("Bytes on the disk", notes, &figures)
}

/// A figure for each data set, of all subjects in all runs that have one, divided by the samples.
fn of_all(
    runs: &[[Filled; 2]],
    what: &str,
    unit: &'static str,
    aim: Option<Aim>,
    look: impl Fn(&Subject, f64) -> Result<Option<f64>>,
) -> Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    for set in runs.iter().flatten() {
        let what = format!("{}, {what}", set.what);
        if !figures.iter().any(|figure| figure.what == what) {
            figures.push(Figure::new(what.clone(), unit, aim));
        }
        for figure in figures.iter_mut().filter(|figure| figure.what == what) {
            for (subject, before) in &set.subjects {
                if let Some(found) = look(subject, *before)? {
                    figure.note(subject.name(), found / set.samples);
                }
            }
        }
    }
    Ok(figures)
}

async fn made(with_prometheus: bool) -> Result<Filled> {
    let size = Size::ending(last_full_hour_ms()?, 200, 360);
    let collector = Subject::collector().await?;
    ingest(&collector, &all_frames(size).await?, WINDOW).await?;
    let mut subjects = vec![(collector, 0.0)];
    let prometheus = with_prometheus.then_some(PeerKind::Prometheus);
    for kind in [PeerKind::VictoriaMetrics].into_iter().chain(prometheus) {
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

async fn merged(runs: &[[Filled; 2]]) -> Result<Vec<Figure>> {
    for (subject, _) in runs.iter().flatten().flat_map(|set| &set.subjects) {
        if subject.name() == VICTORIA {
            subject.merge().await?;
        }
    }
    tokio::time::sleep(MERGE).await;
    let aim = Some(Aim::Share(0.8, VICTORIA));
    let what = "the peer's after a forced merge";
    let mut figures = of_all(runs, what, A_SAMPLE, aim, |subject, _| {
        let folders = match subject.name() {
            VICTORIA => vec![subject.data().join("data"), subject.data().join("indexdb")],
            _ => vec![subject.data()],
        };
        let bytes = folders.iter().map(|folder| disk_usage(folder));
        Ok(Some(bytes.sum::<Result<u64>>()? as f64))
    })?;
    let what = "of these the peer's without its index";
    figures.extend(of_all(runs, what, A_SAMPLE, None, |subject, _| match subject.name() {
        VICTORIA => Ok(Some(disk_usage(&subject.data().join("data"))? as f64)),
        _ => Ok(None),
    })?);
    Ok(figures)
}
