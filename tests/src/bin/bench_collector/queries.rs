//! How long queries take, warm and after a cold start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use upkeep_tests::{PeerKind, until};

use super::data::Size;
use super::figures::{Aim, Figure, VICTORIA, table};
use super::native_ingest::{WINDOW, all_frames, ingest};
use super::now_ms;
use super::remote_ingest;
use super::subject::Subject;

/// In how many turns each query is asked of each, and how often in a turn: the first time of each turn is
/// not counted, since the others' turns have pushed everything out of the processor's caches.
const WARM_RUNS: usize = 6;
const IN_A_TURN: usize = 6;
const COLD_RUNS: usize = 4;

/// How long samples may take to be found.
const PATIENCE: Duration = Duration::from_secs(60);

/// A query, and how many series it must give.
struct Query {
    what: &'static str,
    expression: &'static str,
    /// Seconds between the steps of a range; an instant query has none.
    step: Option<&'static str>,
    series: usize,
}

const QUERIES: [Query; 5] = [
    Query {
        what: "one series, 1 h, step 10 s",
        expression: "node_load1{instance=\"bench7\"}",
        step: Some("10"),
        series: 1,
    },
    Query {
        what: "avg by (instance)(rate(…[5m])) of 200 hosts, instant",
        expression: "avg by (instance)(rate(node_cpu_seconds_total[5m]))",
        step: None,
        series: 200,
    },
    Query {
        what: "the same over 1 h, step 60 s",
        expression: "avg by (instance)(rate(node_cpu_seconds_total[5m]))",
        step: Some("60"),
        series: 200,
    },
    Query {
        what: "topk(10, sum by (instance)(rate(…[5m])))",
        expression: "topk(10, sum by (instance)(rate(node_cpu_seconds_total[5m])))",
        step: None,
        series: 10,
    },
    Query {
        what: "all 300 series of one host, now",
        expression: "{instance=\"bench7\",job=\"node\"}",
        step: None,
        series: 300,
    },
];

/// All who take part, with the same hour of samples in them.
async fn filled(size: Size) -> Result<Vec<Subject>> {
    let collector = Subject::collector().await?;
    ingest(&collector, &all_frames(size).await?, WINDOW).await?;
    let mut all = vec![collector];
    for kind in [PeerKind::VictoriaMetrics, PeerKind::Prometheus] {
        let Some(peer) = Subject::peer(kind).await? else { continue };
        if remote_ingest::ingest(&peer, size, 6).await?.is_some() {
            peer.flush().await?;
            all.push(peer);
        }
    }
    Ok(all)
}

/// Milliseconds until the answer is there, and how many series it has.
async fn ask(subject: &Subject, query: &Query, size: Size) -> Result<(f64, usize)> {
    // Off a boundary, so that ranges that begin open or closed are the same.
    let end = format!("{}.5", size.end_ms() / 1000 + 3);
    let begin = format!("{}.5", size.begin_ms / 1000 + 3);
    let mut parameters = vec![("query", query.expression), ("nocache", "1")];
    let path = match query.step {
        Some(step) => {
            parameters.extend([("start", begin.as_str()), ("end", end.as_str()), ("step", step)]);
            "/api/v1/query_range"
        }
        None => {
            parameters.push(("time", end.as_str()));
            "/api/v1/query"
        }
    };
    let asked = Instant::now();
    let answer = subject.text(path, &parameters).await?;
    let took = asked.elapsed().as_secs_f64() * 1000.0;
    let answer: Value = serde_json::from_str(&answer).with_context(|| format!("GET {path}"))?;
    let rows = answer["data"]["result"].as_array().context("a result")?;
    Ok((took, rows.len()))
}

/// Both, of the same data.
pub(super) async fn queries() -> Result<String> {
    let size = Size::ending(now_ms()?, 200, 360);
    let mut subjects = filled(size).await?;
    for subject in &subjects {
        for query in &QUERIES {
            until("all series", PATIENCE, || async {
                let (_, found) = ask(subject, query, size).await?;
                // The collector writes `up` beside what its hosts tell.
                let has_all = found == query.series || found == query.series + 1;
                ensure!(has_all, "{}: {} gives {found} series", subject.name(), query.expression);
                Ok(Some(()))
            })
            .await?;
        }
    }
    let mut figures = vec![nothing_asked(&subjects).await?];
    for query in &QUERIES {
        let mut figure = figure(query, "warm");
        for _ in 0..WARM_RUNS {
            for subject in &subjects {
                ask(subject, query, size).await?;
                for _ in 1..IN_A_TURN {
                    figure.note(subject.name(), ask(subject, query, size).await?.0);
                }
            }
        }
        figures.push(figure);
    }
    for query in &QUERIES {
        let mut figure = figure(query, "cold");
        for _ in 0..COLD_RUNS {
            for subject in &mut subjects {
                subject.stop().await?;
                drop_caches();
                subject.launch().await?;
                figure.note(subject.name(), ask(subject, query, size).await?.0);
            }
        }
        figures.push(figure);
    }
    let notes = "The hour of samples as it lies after ingest, asked by HTTP (ours over TLS) on a connection that is open, until the \
                 whole answer is there; the peers' caches of results are off. Cold: the first query after a start, the kernel's page cache \
                 dropped before.";
    table("Queries", notes, &figures)
}

/// What an answer takes for which nothing is looked up: client, connection and two turns of the kernel.
async fn nothing_asked(subjects: &[Subject]) -> Result<Figure> {
    let mut figure = Figure::new("nothing: whether it is healthy".to_owned(), "ms", None);
    for _ in 0..WARM_RUNS {
        for subject in subjects {
            for turn in 0..IN_A_TURN {
                let asked = Instant::now();
                subject.text(subject.health(), &[]).await?;
                if turn > 0 {
                    figure.note(subject.name(), asked.elapsed().as_secs_f64() * 1000.0);
                }
            }
        }
    }
    Ok(figure)
}

fn figure(query: &Query, state: &str) -> Figure {
    Figure::new(format!("{}, {state}", query.what), "ms", Some(Aim::Share(0.5, VICTORIA)))
}

/// Lets the kernel forget what it has read; only root may.
pub(super) fn drop_caches() {
    let dropped = std::process::Command::new("sync")
        .status()
        .and_then(|_| std::fs::write("/proc/sys/vm/drop_caches", "3"));
    if let Err(error) = dropped {
        println!("the page cache stays: {error}");
    }
}
