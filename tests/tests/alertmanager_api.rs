//! Those who speak to Alertmanager speak to the collector: Debian's `amtool` and `prometheus`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use upkeep_tests::{
    Collector, CollectorOptions, Peer, PeerKind, WebhookServer, peer_program, until,
};

const SOON: Duration = Duration::from_secs(60);

fn options(hook: &WebhookServer) -> CollectorOptions {
    let routing = format!(
        "route:\n  receiver: hook\n  group_by: [alertname]\n  group_wait: 0s\n  group_interval: 300ms\n  \
         routes:\n    - matchers: [team=db]\n      receiver: databases\n\
         receivers:\n  - name: hook\n    webhook_configs: [{{ url: '{}' }}]\n  - name: databases\n",
        hook.url()
    );
    CollectorOptions {
        routing: Some(routing),
        settings: "[alerts]\nallow_networks = [\"127.0.0.0/8\"]\n".to_owned(),
        ..CollectorOptions::default()
    }
}

/// `amtool`, with what it needs to reach a collector.
struct Amtool {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Amtool {
    fn new(program: PathBuf, collector: &Collector) -> Result<Self> {
        let file = collector.configuration_dir().join("amtool-http.yml");
        std::fs::write(&file, format!("{}\n", client_settings(collector, 0)))?;
        let url = format!("--alertmanager.url={}", collector.url(""));
        Ok(Self { program, arguments: vec![url, format!("--http.config.file={}", file.display())] })
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program).args(arguments).args(&self.arguments).output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("amtool {arguments:?}: {told}");
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn json(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let arguments = [arguments, &["--output=json"]].concat();
        Ok(serde_json::from_str(&self.run(&arguments)?)?)
    }
}

/// The token and whom to trust, as Prometheus' programs take them.
fn client_settings(collector: &Collector, indent: usize) -> String {
    let root = collector.data_dir().join("ca/root.pem");
    let lines = [
        "authorization:".to_owned(),
        format!("  credentials: {}", collector.api_token()),
        "tls_config:".to_owned(),
        format!("  ca_file: {}", root.display()),
    ];
    lines.map(|line| format!("{}{line}", " ".repeat(indent))).join("\n")
}

fn names(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str()).collect()
}

#[tokio::test]
async fn amtool_adds_alerts_and_silences_lists_and_expires_them() -> Result<()> {
    let Some(program) = peer_program("amtool")? else { return Ok(()) };
    let hook = WebhookServer::start().await?;
    let mut collector = Collector::start(&options(&hook)).await?;
    let amtool = Amtool::new(program, &collector)?;
    let add = ["alert", "add", "Full", "instance=web1", "--annotation=summary=no room is left"];
    amtool.run(&add)?;
    // It says nothing of what to do, nor what for, and is told all the same.
    let (_, firing) = hook.await_alert("Full", "firing", SOON).await?;
    assert_eq!(firing["annotations"]["summary"], "no room is left");

    let alerts = amtool.json(&["alert", "query", "instance=~web.*"])?;
    assert_eq!(names(&alerts), ["Full"]);
    assert_eq!(alerts[0]["receivers"][0]["name"], "hook");
    assert!(amtool.json(&["alert", "query", "instance=web2"])?.is_empty());

    let silence = ["silence", "add", "--author=me", "--comment=new disks", "--duration=1h"];
    let id = amtool.run(&[&silence[..], &["alertname=Full", "instance!=web9"]].concat())?;
    let id = id.trim();
    let silences = amtool.json(&["silence", "query"])?;
    let [one] = silences.as_slice() else { bail!("{silences:?}") };
    assert_eq!((&one["id"], &one["status"]["state"]), (&id.into(), &"active".into()));
    assert_eq!((&one["createdBy"], &one["comment"]), (&"me".into(), &"new disks".into()));
    assert!(amtool.json(&["alert", "query"])?.is_empty(), "it is silenced");
    let silenced = amtool.json(&["alert", "query", "--silenced"])?;
    assert_eq!(
        (names(&silenced), &silenced[0]["status"]["silencedBy"][0]),
        (vec!["Full"], &id.into())
    );

    // Silences outlive a restart, and what is silenced is not told.
    collector.stop().await?;
    collector.launch().await?;
    let amtool = Amtool::new(amtool.program, &collector)?;
    amtool.run(&["alert", "add", "Full", "instance=web3"])?;
    amtool.run(&["alert", "add", "Other"])?;
    hook.await_alert("Other", "firing", SOON).await?;
    assert_eq!(amtool.json(&["silence", "query", "alertname=Full"])?.len(), 1);
    let told = format!("{:?}", hook.received());
    assert!(!told.contains("web3"), "{told}");

    amtool.run(&["silence", "update", "--duration=2h", "--comment=more disks", id])?;
    assert_eq!(amtool.json(&["silence", "query"])?[0]["comment"], "more disks");
    amtool.run(&["silence", "expire", id])?;
    assert!(amtool.json(&["silence", "query"])?.is_empty());
    assert_eq!(amtool.json(&["silence", "query", "--expired"])?.len(), 1);
    until("the alert of before the silence", SOON, || async {
        Ok(format!("{:?}", hook.received()).contains("web3").then_some(()))
    })
    .await?;
    let twice = amtool.run(&["silence", "expire", id]).unwrap_err().to_string();
    assert!(twice.contains("already expired"), "{twice}");

    // It reads the routes from what is shown of the configuration.
    assert_eq!(amtool.run(&["config", "routes", "test", "team=db"])?.trim(), "databases");
    assert_eq!(amtool.run(&["config", "routes", "test", "team=web"])?.trim(), "hook");
    assert!(!amtool.run(&["config", "show"])?.contains("127.0.0.1"), "addresses are secret");
    Ok(())
}

/// A Prometheus with a rule that fires until a moment, and sends its alerts to a collector.
async fn prometheus(program: &Path, collector: &Collector, until_s: u64) -> Result<Peer> {
    let rules = collector.configuration_dir().join("prometheus-rules.yml");
    let text = format!(
        "groups:\n  - name: story\n    rules:\n      - alert: Brief\n        \
         expr: vector(time()) < {until_s}\n        labels: {{ severity: page }}\n        \
         annotations: {{ summary: 'It is brief.' }}\n"
    );
    std::fs::write(&rules, text)?;
    let address = collector.url("").replace("https://", "");
    let configuration = format!(
        "global: {{ evaluation_interval: 1s }}\nrule_files: ['{}']\nalerting:\n  alertmanagers:\n    \
         - scheme: https\n{}\n      static_configs: [{{ targets: ['{address}'] }}]\n",
        rules.display(),
        client_settings(collector, 6),
    );
    // It knows its Alertmanagers some seconds after it began to evaluate.
    let arguments = ["--rules.alert.resend-delay=1s".to_owned()];
    Peer::start(PeerKind::Prometheus, program, &configuration, &arguments).await
}

#[tokio::test]
async fn a_prometheus_sends_its_alerts_here_and_people_hear_of_them() -> Result<()> {
    let Some(program) = PeerKind::Prometheus.program()? else { return Ok(()) };
    let hook = WebhookServer::start().await?;
    let collector = Collector::start(&options(&hook)).await?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let prometheus = prometheus(&program, &collector, now_s + 25).await?;
    let heard = hook.await_alert("Brief", "firing", SOON).await;
    let (_, firing) = heard.with_context(|| prometheus.log().unwrap_or_default())?;
    assert_eq!(firing["labels"]["severity"], "page");
    assert_eq!(firing["annotations"]["summary"], "It is brief.");
    assert!(firing["generatorURL"].as_str().unwrap_or_default().starts_with("http"), "{firing}");
    let shown = collector.json("/api/v2/alerts").await?;
    assert_eq!((&shown[0]["status"]["state"], &shown[1]), (&"active".into(), &Value::Null));

    // Its end comes before that which Prometheus gave it while it fired.
    let (_, resolved) = hook.await_alert("Brief", "resolved", SOON).await?;
    assert_eq!(resolved["startsAt"], firing["startsAt"]);
    assert_eq!(collector.json("/api/v2/alerts").await?, Value::Array(Vec::new()));
    Ok(())
}

#[tokio::test]
async fn the_command_line_silences_acknowledges_and_shows_what_was_sent() -> Result<()> {
    let hook = WebhookServer::start().await?;
    let collector = Collector::start(&options(&hook)).await?;
    let token = collector.configuration_dir().join("token");
    std::fs::write(&token, collector.api_token())?;
    let token = token.to_string_lossy().into_owned();
    let run = |arguments: &[&str]| -> Result<String> {
        collector.command(&[arguments, &["--token-file", &token]].concat())?.success()
    };
    let json = |arguments: &[&str]| -> Result<Vec<Value>> {
        Ok(serde_json::from_str(&run(&[arguments, &["--json"]].concat())?)?)
    };
    let window = ["silence", "add", "--host", "web1", "--duration", "2h", "--comment", "new disks"];
    let id = run(&window)?.trim().to_owned();
    let silences = run(&["silence", "list"])?;
    assert!(silences.contains(&id) && silences.contains("instance=\"web1\""), "{silences}");

    let alert = |instance: &str| {
        format!("[{{\"labels\":{{\"alertname\":\"Full\",\"instance\":\"{instance}\"}}}}]")
    };
    for instance in ["web1", "web2"] {
        let posted = collector.post("/api/v2/alerts").body(alert(instance)).send().await?;
        assert!(posted.status().is_success(), "{posted:?}");
    }
    hook.await_alert("Full", "firing", SOON).await?;
    let told = format!("{:?}", hook.received());
    assert!(told.contains("web2") && !told.contains("web1"), "{told}");
    let shown = json(&["alert", "list", "instance=web2"])?;
    let fingerprint = shown[0]["fingerprint"].as_str().context("no fingerprint")?;
    run(&["alert", "acknowledge", fingerprint, "--note", "on my way", "--author", "me"])?;
    let list = run(&["alert", "list"])?;
    assert!(list.contains("me: on my way") && list.contains("suppressed"), "{list}");
    let sent = json(&["alert", "deliveries", fingerprint])?;
    assert_eq!((&sent[0]["outcome"], &sent[0]["receiver"]), (&"told".into(), &"hook".into()));
    assert_eq!(sent[0]["answer"], "200");
    run(&["alert", "unacknowledge", fingerprint])?;
    assert!(!run(&["alert", "list"])?.contains("on my way"));

    run(&["silence", "expire", &id])?;
    assert!(json(&["silence", "list"])?.is_empty());
    assert_eq!(json(&["silence", "list", "--expired"])?.len(), 1);
    until("the host whose window is over", SOON, || async {
        Ok(format!("{:?}", hook.received()).contains("web1").then_some(()))
    })
    .await?;
    let twice = collector.command(&["silence", "expire", &id, "--token-file", &token])?;
    assert!(twice.code == Some(1) && twice.stderr.contains("already expired"), "{twice:?}");

    let file = collector.configuration_dir().join("routing.yml");
    let routing = ["routing", "test", "--file"];
    let file = file.to_string_lossy();
    let ways =
        collector.command(&[&routing[..], &[&file, "--labels", "team=db", "a=b"]].concat())?;
    assert!(ways.success()?.starts_with("databases (names no way"), "nobody hears of it");
    Ok(())
}
