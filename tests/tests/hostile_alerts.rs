//! Alerts whose texts want to be more than texts, and receivers that misbehave: no message changes its
//! form, nothing fills the log, and whoever behaves hears of everything.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use upkeep_tests::{
    Collector, CollectorOptions, RemoteWriter, SmtpServer, TimeSeries, WebhookServer, WriteRequest,
    until,
};

const SOON: Duration = Duration::from_secs(60);

/// Texts that mean something to somebody: to templates, HTML, JSON, shells, mail, terminals.
const TEXTS: [&str; 7] = [
    "{{ query \"up\" | first | value }}{{ .Labels }}{% raw %}",
    "<script>alert(1)</script><img src=x onerror=alert(1)></b></a>",
    "\"}], \"receiver\": \"x\", \"a\": [{\"b\": \"",
    "$(touch /tmp/x) `id` ; rm -rf / && '\"",
    "x\r\nBcc: victim@example.org\r\n\r\n.\r\nQUIT",
    "\u{1b}[2J\u{7}\u{8}\u{7f}\u{85}\u{9b}31m",
    "\u{202e}gpj.exe\u{202c}\u{2066}\u{200b}\u{feff}\u{2028}\u{2029}",
];

const RULES: &str = "
groups:
  - name: hostile
    interval: 200ms
    rules:
      - alert: Written
        expr: hostile_metric > 0
        annotations:
          summary: 'It is {{ $labels.what }}.'
          action: '{{ $labels.what }}'
          outcome: '{{ $labels.what }}'
";

/// A server that answers each connection with these bytes, or, without any, never; its address.
async fn misbehaving(answer: Option<String>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                let _ = stream.read(&mut request).await;
                match answer {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => tokio::time::sleep(Duration::from_secs(600)).await,
                }
            });
        }
    });
    Ok(url)
}

fn routing(well: &WebhookServer, post: &SmtpServer, ill: &[(&str, String)]) -> String {
    let routes = ill.iter().map(|(name, _)| format!("{{ receiver: {name}, continue: true }}, "));
    let routes: String = routes.collect();
    let receivers = ill.iter().map(|(name, url)| {
        format!("  - name: {name}\n    webhook_configs: [{{ url: '{url}', timeout: 1s }}]\n")
    });
    let receivers: String = receivers.collect();
    format!(
        "global: {{ smtp_smarthost: '{}', smtp_from: 'upkeep@example.org' }}\n\
         route: {{ receiver: well, group_by: [alertname, what], group_wait: 0s, group_interval: 300ms, \
         routes: [{routes}{{ receiver: well }}] }}\n\
         receivers:\n  - name: well\n    webhook_configs: [{{ url: '{}' }}]\n    email_configs:\n      \
         - to: 'ops@example.org'\n        tls_config: {{ ca_file: {:?} }}\n{receivers}",
        post.address(),
        well.url(),
        post.ca_file(),
    )
}

/// What somebody sends: each text wherever one can stand.
fn posted() -> Vec<Value> {
    let alert = |(number, text): (usize, &&str)| {
        json!({
            "labels": { "alertname": format!("Posted{number}"), "instance": text, "what": text },
            "annotations": { "summary": text, "action": text, "runbook_url": text, *text: text },
            "generatorURL": "javascript:alert(1)",
        })
    };
    TEXTS.iter().enumerate().map(alert).collect()
}

async fn write_series(collector: &Collector) -> Result<()> {
    let root = std::fs::read(collector.data_dir().join("ca/root.pem"))?;
    let writer =
        RemoteWriter::trusting(&collector.url("/api/v1/write"), &root, collector.api_token())?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let series = TEXTS.iter().map(|text| {
        TimeSeries::new(&[("__name__", "hostile_metric"), ("what", text)], &[(now_ms, 1.0)])
    });
    writer.send(&WriteRequest::of(series.collect())).await
}

/// Every alert that was told, each with the message that it stood in.
fn told(server: &WebhookServer) -> Vec<(Value, Value)> {
    let received = server.received();
    let alerts = received.into_iter().flat_map(|(_, body)| {
        let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().map(move |alert| (alert, body.clone()))
    });
    alerts.collect()
}

#[tokio::test]
async fn hostile_texts_stay_texts_and_receivers_that_misbehave_harm_no_other() -> Result<()> {
    let (well, post) = (WebhookServer::start().await?, SmtpServer::start().await?);
    let forbidden = WebhookServer::start().await?;
    let elsewhere =
        format!("HTTP/1.1 307 See\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", forbidden.url());
    let garbage = "\0\x1b[2Jgarbage\r\nHTTP/9 200\r\n\r\n".repeat(10_000);
    let ill = [
        ("hanging", misbehaving(None).await?),
        ("redirecting", misbehaving(Some(elsewhere)).await?),
        ("babbling", misbehaving(Some(garbage)).await?),
    ];
    let options = CollectorOptions {
        rules: vec![("hostile.yml".to_owned(), RULES.to_owned())],
        routing: Some(routing(&well, &post, &ill)),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    };
    let collector = Collector::start(&options).await?;
    write_series(&collector).await?;
    let send = async |alerts: Value| -> Result<(u16, String)> {
        let answer = collector.post("/api/v2/alerts").json(&alerts).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    assert_eq!(send(posted().into()).await?.0, 200);
    let long = "x".repeat(900_000);
    let labels = json!({ "alertname": "Long", "what": long });
    let (status, why) = send(json!([{ "labels": labels }])).await?;
    assert!(status == 400 && why.contains("alert 0: the value of a label has more than"), "{why}");
    let wordy = json!([{ "labels": { "alertname": "Wordy" }, "annotations": { "summary": long } }]);
    assert_eq!(send(wordy).await?.0, 200);

    let count = 2 * TEXTS.len() + 1;
    until("every alert", SOON, || {
        let names: BTreeSet<_> =
            told(&well).iter().map(|(alert, _)| alert["labels"].to_string()).collect();
        async move { Ok((names.len() == count).then_some(())) }
    })
    .await?;
    webhooks_have_their_form(&well)?;
    let mail = until("every mail", SOON, || {
        let mails = post.mails();
        async move { Ok((mails.len() >= count).then_some(mails)) }
    });
    for mail in mail.await? {
        mail_has_its_form(&mail.to, &mail.data)?;
    }
    failures_are_kept(&collector).await?;
    assert!(forbidden.received().is_empty(), "a redirect was followed");

    let log = collector.log()?;
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    for (name, _) in &ill {
        let said = lines(&format!("receiver=\"{name}\""));
        assert!((1..=2).contains(&said), "{said} lines of {name}: {log}");
    }
    let is_strange = |character: char| character.is_control() && character != '\n';
    assert!(!log.contains(is_strange), "{log}");
    assert!(log.len() < 100_000, "{} bytes", log.len());
    Ok(())
}

/// The texts are those that were sent, and beside them everything is as in any message.
fn webhooks_have_their_form(well: &WebhookServer) -> Result<()> {
    let keys = |value: &Value| -> Option<Vec<String>> {
        Some(value.as_object()?.keys().cloned().collect())
    };
    let mut of_message = [
        "receiver",
        "status",
        "alerts",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
        "version",
        "groupKey",
        "truncatedAlerts",
    ];
    of_message.sort_unstable();
    for (alert, message) in told(well) {
        assert_eq!(keys(&message).context("no message")?, of_message);
        assert_eq!((&message["receiver"], &message["version"]), (&"well".into(), &"4".into()));
        let name = alert["labels"]["alertname"].as_str().context("no name")?;
        if name == "Wordy" {
            let length = alert["annotations"]["summary"].as_str().map(str::len);
            assert_eq!(length, Some(16 * 1024 + "…".len()));
            continue;
        }
        let what = alert["labels"]["what"].as_str().context("no text")?;
        assert!(TEXTS.contains(&what), "{what:?}");
        match name.strip_prefix("Posted") {
            Some(number) => {
                assert_eq!(what, TEXTS[number.parse::<usize>()?]);
                assert_eq!(alert["annotations"][what], what);
                assert_eq!(alert["generatorURL"], "", "nobody is to click on it");
            }
            None => assert_eq!(alert["annotations"]["summary"], format!("It is {what}.")),
        }
    }
    Ok(())
}

/// A mail has the headers that mails have, once each, goes to whom it is for, and has no markup of others.
fn mail_has_its_form(to: &[String], data: &str) -> Result<()> {
    assert_eq!(to, ["ops@example.org"]);
    let (head, body) =
        data.split_once("\r\n\r\n").or_else(|| data.split_once("\n\n")).context("no body")?;
    let begins = |line: &&str| !line.starts_with([' ', '\t']);
    let mut names: Vec<_> = head
        .lines()
        .filter(begins)
        .map(|line| line.split(':').next().unwrap_or_default().to_lowercase())
        .collect();
    names.sort();
    let unique: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(names.len(), unique.len(), "{head}");
    let known = [
        "content-type",
        "date",
        "from",
        "in-reply-to",
        "message-id",
        "mime-version",
        "references",
        "subject",
        "to",
        "auto-submitted",
        "x-auto-response-suppress",
        "precedence",
        "content-transfer-encoding",
    ];
    for name in &names {
        assert!(known.contains(&name.as_str()), "{name} in {head}");
    }
    // The other part is plain text, where such words are but words.
    let (_, html) = body.split_once("Content-Type: text/html").context("no HTML")?;
    let html = html.replace("=\r\n", "").replace("=\n", "");
    assert!(html.contains("</html>"), "{body}");
    assert!(!html.contains("<script") && !html.contains("<img"), "{body}");
    Ok(())
}

/// What became of the messages to those that misbehave is shown on the alert.
async fn failures_are_kept(collector: &Collector) -> Result<()> {
    let alerts = collector.json("/api/v2/alerts").await?;
    let alerts = alerts.as_array().context("no list")?;
    let fingerprint = alerts[0]["fingerprint"].as_str().context("no fingerprint")?;
    let path = format!("/api/v1/alerts/{fingerprint}/deliveries");
    let shown = until("every failure", SOON, || async {
        let deliveries = collector.json(&path).await?["data"]["deliveries"].clone();
        let of = |name: &str| {
            let mut all = deliveries.as_array()?.iter();
            all.find(|one| one["receiver"] == name).cloned()
        };
        let found = ["hanging", "redirecting", "babbling"].into_iter().filter_map(of);
        Ok(<[Value; 3]>::try_from(found.collect::<Vec<_>>()).ok())
    })
    .await?;
    let outcomes = shown.map(|one| one["outcome"].as_str().unwrap_or_default().to_owned());
    assert_eq!(outcomes, ["failed", "refused", "failed"]);
    Ok(())
}
