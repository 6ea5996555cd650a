//! What the sender of remote write sends, the peers understand.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::json;
use upkeep_tests::{Peer, PeerKind, TimeSeries, WriteRequest, until};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn prometheus_takes_what_is_sent() -> Result<()> {
    check(PeerKind::Prometheus).await
}

#[tokio::test]
async fn victoria_metrics_takes_what_is_sent() -> Result<()> {
    check(PeerKind::VictoriaMetrics).await
}

async fn check(kind: PeerKind) -> Result<()> {
    let Some(program) = kind.program()? else { return Ok(()) };
    let peer = Peer::start(kind, &program, "", &[]).await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64 - 60;
    let labels = [("job", "node"), ("__name__", "x_total"), ("instance", "café \"a\"")];
    let samples = [(now * 1000, 1.5), ((now + 10) * 1000, 2.25)];
    let request = WriteRequest::of(vec![TimeSeries::new(&labels, &samples)]);
    assert_eq!(WriteRequest::unpacked(&request.packed()?)?, request);
    peer.writer()?.send(&request).await?;
    peer.flush().await?;

    let expected = json!([[now, "1.5"], [now + 10, "2.25"]]);
    let time = (now + 20).to_string();
    let parameters =
        [("query", "x_total{instance=\"café \\\"a\\\"\"}[1m]"), ("time", time.as_str())];
    let found = until("the samples sent", SOON, || {
        let answer = peer.json("/api/v1/query", &parameters);
        async move {
            let result = answer.await?["data"]["result"].clone();
            Ok(result.as_array().is_some_and(|rows| !rows.is_empty()).then_some(result))
        }
    });
    assert_eq!(found.await?[0]["values"], expected, "{}", kind.name());
    let (status, _) = peer.writer()?.post("nonsense").await?;
    assert!(status.is_client_error(), "{} answers nonsense by {status}", kind.name());
    Ok(())
}
