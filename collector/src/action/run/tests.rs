use std::path::PathBuf;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use upkeep_model::Labels;

use super::super::order::{Queue, queue};
use super::*;
use crate::ledger;
use crate::notify::{Alert, Annotations, HttpSettings, Origin, Secret};
use crate::state::{self, SeenRun};

fn command(name: &str, script: &str, limit: &str) -> Settings {
    let arguments = ["-c", script, "name", "{{ $labels.instance }}"];
    Settings {
        name: name.to_owned(),
        deed: Deed::Command {
            program: PathBuf::from("/bin/sh"),
            arguments: arguments.map(|text| text.parse().unwrap()).into(),
        },
        limit: limit.parse().unwrap(),
        timeout: Duration::from_secs(20),
    }
}

fn order(action: &str, instance: &str) -> Order {
    let alert = Alert {
        labels: Labels::new([("alertname", "Down"), ("instance", instance)]),
        annotations: Annotations::new(),
        starts_at_ms: 0,
        ends_at_ms: None,
        holds_for: None,
        generator_url: "".into(),
        origin: Origin::Rule,
    };
    Order { action: action.to_owned(), fingerprint: alert.fingerprint(), alert }
}

struct Running {
    queue: Queue,
    state: State,
    told: mpsc::Receiver<Vec<News>>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ActionError>>,
}

fn start(settings: Vec<Settings>, state: &State) -> Running {
    let (queue, orders) = queue();
    let stop = CancellationToken::new();
    let (reporter, told) = ledger::channel();
    let kept = (state.clone(), Clock::system(), reporter);
    let task = tokio::spawn(run(settings, String::new(), orders, kept, stop.clone()));
    Running { queue, state: state.clone(), told, stop, task }
}

impl Running {
    /// Waits until the last run for an alert came to something, and gives it.
    async fn until(&self, instance: &str, is_there: impl Fn(&SeenRun) -> bool) -> SeenRun {
        let fingerprint = order("", instance).fingerprint.to_string();
        let begun = Instant::now();
        loop {
            let last = self.state.runs_for_alert(&fingerprint, None, 1).unwrap().pop();
            match last {
                Some(run) if is_there(&run) => return run,
                last => assert!(begun.elapsed() < Duration::from_secs(30), "{instance}: {last:?}"),
            }
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end_of(&self, instance: &str) -> SeenRun {
        self.until(instance, |run| run.ended_at_ms.is_some() || run.outcome == RunOutcome::Refused)
            .await
    }

    /// Ends it, and gives what the ledger was told.
    async fn end(mut self) -> Vec<News> {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        std::iter::from_fn(|| self.told.try_recv().ok()).flatten().collect()
    }
}

#[tokio::test]
async fn a_command_gets_its_arguments_and_its_end_is_kept() {
    let (_folder, state) = state::temporary();
    let mut slow = command("slow", "sleep 60", "9 in 1h");
    slow.timeout = Duration::from_millis(200);
    let mut absent = command("absent", "", "9 in 1h");
    if let Deed::Command { program, .. } = &mut absent.deed {
        *program = PathBuf::from("/no/such/program");
    }
    let running = start(
        vec![
            command(
                "tell",
                "grep -o '\"instance\":\"[^\"]*\"' | head -n 1; echo \"$1;\"",
                "9 in 1h",
            ),
            command("fail", "printf 'a\\033[2J\\nb' >&2; exit 7", "9 in 1h"),
            command("die", "kill -KILL $$", "9 in 1h"),
            slow,
            absent,
        ],
        &state,
    );
    let check = async |action: &str, instance: &str, expect: (RunOutcome, Option<i64>, &str)| {
        running.queue.put(vec![order(action, instance)]).await;
        let run = running.end_of(instance).await;
        assert_eq!((run.outcome, run.status, run.answer.as_str()), expect, "{action}");
    };
    let said = "\"instance\":\"$(id) *\" $(id) *;";
    check("tell", "$(id) *", (RunOutcome::Done, Some(0), said)).await;
    check("fail", "web2", (RunOutcome::Failed, Some(7), "a [2J b")).await;
    check("die", "web3", (RunOutcome::Failed, None, "a signal ended it")).await;
    check("slow", "web4", (RunOutcome::TimedOut, None, "")).await;
    let missing = "cannot be run: No such file or directory (os error 2)";
    check("absent", "web5", (RunOutcome::Failed, None, missing)).await;
    let unknown = "there is no action of this name in the configuration";
    check("other", "web6", (RunOutcome::Refused, None, unknown)).await;
    let option = "the label `instance` begins with a character that could make it an option";
    check("tell", "-rf", (RunOutcome::Refused, None, option)).await;
    let acted = News::Acted { alert: order("", "$(id) *").fingerprint };
    assert_eq!(running.end().await, [acted], "only what went well counts as acted on");
}

#[tokio::test]
async fn a_webhook_gets_the_alert_and_its_answer_is_kept() {
    let (_folder, state) = state::temporary();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |body: Bytes| async move {
        let payload: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let instance = payload["alerts"][0]["labels"]["instance"].as_str().unwrap().to_owned();
        let status = if instance == "web1" { StatusCode::ACCEPTED } else { StatusCode::CONFLICT };
        (status, format!("{} of {instance}", payload["receiver"]))
    };
    let app = Router::new().route("/", post(answer));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let hook = |name: &str, allow: bool| Settings {
        name: name.to_owned(),
        deed: Deed::Webhook {
            url: Secret::Inline(format!("http://{address}/")),
            http: HttpSettings {
                allow_networks: allow.then(|| "127.0.0.0/8".parse().unwrap()).into_iter().collect(),
                ..HttpSettings::default()
            },
        },
        limit: "9 in 1h".parse().unwrap(),
        timeout: Duration::from_secs(20),
    };
    let running = start(vec![hook("page", true), hook("forbidden", false)], &state);
    running.queue.put(vec![order("page", "web1"), order("page", "web2")]).await;
    let done = running.end_of("web1").await;
    assert_eq!((done.outcome, done.status), (RunOutcome::Done, Some(202)));
    assert_eq!((done.kind.as_str(), done.answer.as_str()), ("webhook", "\"page\" of web1"));
    let failed = running.end_of("web2").await;
    assert_eq!((failed.outcome, failed.status), (RunOutcome::Failed, Some(409)));
    running.queue.put(vec![order("forbidden", "web3")]).await;
    let refused = running.end_of("web3").await;
    assert_eq!((refused.outcome, refused.status), (RunOutcome::Failed, None));
    assert!(refused.answer.contains("loopback"), "{}", refused.answer);
    running.end().await;
}

#[tokio::test]
async fn a_limit_holds_over_a_restart_and_what_is_refused_is_audited_together() {
    let (_folder, state) = state::temporary();
    let settings = || vec![command("tell", "true", "1 in 10m")];
    let running = start(settings(), &state);
    running.queue.put(["web1", "web2", "web3"].map(|one| order("tell", one)).into()).await;
    assert_eq!(running.end_of("web1").await.outcome, RunOutcome::Done);
    let refused = running.end_of("web3").await;
    assert_eq!(refused.answer, "the limit of 1 in 10m is reached");
    running.end().await;
    let running = start(settings(), &state);
    running.queue.put(vec![order("tell", "web4")]).await;
    assert_eq!(running.end_of("web4").await.outcome, RunOutcome::Refused);
    running.end().await;
    let log = state.audit(None, 9).unwrap().into_iter().rev();
    let log: Vec<_> =
        log.map(|entry| format!("{} {}: {}", entry.action, entry.outcome, entry.detail)).collect();
    let about = |instance: &str| format!("for {{alertname=\"Down\", instance=\"{instance}\"}}");
    let of_two = format!("{} and 1 others: the limit of 1 in 10m is reached", about("web2"));
    let of_one = format!("{}: the limit of 1 in 10m is reached", about("web4"));
    let run = format!("{}: /bin/sh [\"-c\", \"true\", \"name\", \"web1\"]", about("web1"));
    let expect = [
        format!("action-run done: {run}"),
        format!("action-run refused: {of_two}"),
        "action-end done: run 1 done with 0".to_owned(),
        format!("action-run refused: {of_one}"),
    ];
    assert_eq!(log, expect);
}

#[tokio::test]
async fn few_run_at_once_few_wait_and_all_end_with_the_collector() {
    let (_folder, state) = state::temporary();
    let hang = |name: &str| command(name, "sleep 60", "1000 in 1h");
    let running = start(vec![hang("hang"), hang("more")], &state);
    let hosts: Vec<_> = (0..1_010).map(|number| format!("web{number}")).collect();
    running.queue.put(hosts[..1_000].iter().map(|host| order("hang", host)).collect()).await;
    running.until("web3", |run| run.outcome == RunOutcome::Running).await;
    running.queue.put(hosts[1_000..].iter().map(|host| order("more", host)).collect()).await;
    assert_eq!(running.end_of("web1009").await.answer, "too many actions wait already");
    for waiting in ["web4", "web1003"] {
        let waits = running.until(waiting, |_| true).await;
        assert_eq!((waits.outcome, waits.began_at_ms), (RunOutcome::Waiting, None), "{waiting}");
    }
    let begun = Instant::now();
    running.end().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let outcome = |host: &str| {
        let fingerprint = order("", host).fingerprint.to_string();
        let run = state.runs_for_alert(&fingerprint, None, 1).unwrap().remove(0);
        (run.outcome, run.began_at_ms.is_some())
    };
    assert_eq!(outcome("web3"), (RunOutcome::Interrupted, true));
    assert_eq!(outcome("web4"), (RunOutcome::Interrupted, false));
}
