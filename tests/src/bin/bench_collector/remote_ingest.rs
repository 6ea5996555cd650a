//! How much the way in costs: remote write, the same bodies to each.

use anyhow::{Result, bail};
use reqwest::StatusCode;
use tokio::task::JoinSet;
use upkeep_tests::PeerKind;

use super::data::{Bodies, Size};
use super::figures::{Aim, Figure, VICTORIA, table};
use super::subject::Subject;
use super::{RUNS, now_ms};

/// Enough that a sync serves many requests: ours answers none before.
const CONNECTIONS: usize = 64;

/// Sends all samples, so many steps a request: seconds of processor that the receiver took; `None`, with a
/// word about it, where it takes no remote write.
pub(super) async fn ingest(
    subject: &Subject,
    size: Size,
    steps_a_body: usize,
) -> Result<Option<f64>> {
    let (status, _) = subject.writer()?.post(Vec::new()).await?;
    if [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
        println!("{} takes no remote write: {status}", subject.name());
        return Ok(None);
    }
    let before = subject.cpu()?;
    let mut sending = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let writer = subject.writer()?;
        sending.spawn(async move {
            let mine = (connection..size.hosts).step_by(CONNECTIONS);
            let mut hosts: Vec<Bodies> =
                mine.map(|host| Bodies::new(host, size, steps_a_body)).collect();
            for _ in 0..size.steps.div_ceil(steps_a_body) {
                for host in &mut hosts {
                    let Some(body) = host.next()? else { continue };
                    let (status, text) = writer.post(body).await?;
                    if !status.is_success() {
                        bail!("remote write was answered by {status}: {}", text.trim());
                    }
                }
            }
            Ok(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(Some(subject.cpu()? - before))
}

/// Everybody that can be had, fresh. Prometheus takes many minutes of a step a request, and is asked once.
async fn everybody(with_prometheus: bool) -> Result<Vec<Subject>> {
    let mut all = vec![Subject::collector().await?];
    all.extend(Subject::peer(PeerKind::VictoriaMetrics).await?);
    if with_prometheus {
        all.extend(Subject::peer(PeerKind::Prometheus).await?);
    }
    Ok(all)
}

/// Both shapes, in turn.
pub(super) async fn bulk() -> Result<String> {
    let size = Size::ending(now_ms()?, 200, 360);
    let aim = Some(Aim::Times(1.0, VICTORIA));
    let unit = "samples a CPU second";
    let mut figures = Vec::new();
    for steps in [1, 6] {
        let mut rate = Figure::new(format!("{steps} step(s) of a host a request"), unit, aim);
        let mut memory = Figure::new(
            format!("peak memory, 60 k series, {steps} step(s)"),
            "MiB",
            Some(Aim::Share(0.5, VICTORIA)),
        );
        for run in 0..RUNS {
            for subject in everybody(run == 0 && steps > 1).await? {
                let Some(seconds) = ingest(&subject, size, steps).await? else { continue };
                rate.note(subject.name(), size.samples() as f64 / seconds);
                memory.note(subject.name(), subject.peak()?);
            }
        }
        figures.extend([rate, memory]);
    }
    let notes = "The same 21.6 M samples over 64 connections, ours over TLS and synced before it is answered, the peers over \
                 plain HTTP without a sync.";
    table("Way in: remote write", notes, &figures)
}
