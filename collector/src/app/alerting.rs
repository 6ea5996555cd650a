//! Rules, the telling of alerts, and the heartbeat that stops when these do.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use upkeep_promql::Limits;

use super::{Parts, Stages};
use crate::action;
use crate::alert::{self, Courier, Desk, Dispatcher, Routing};
use crate::config::Config;
use crate::digest::{self, Digester};
use crate::forward::Forwarding;
use crate::heartbeat;
use crate::ledger::{self, Ledger, Reporter};
use crate::notify::Alert;
use crate::query::StoreSource;
use crate::reload::{self, Reloader};
use crate::rule::schedule::{self, ALERT_QUEUE};
use crate::rule::{self, ArrivalMeters, Board, ReloadMeters, RequireOutcome};

/// Starts the ledger of usefulness, and gives whom to tell and where to look.
pub(super) fn start_ledger(
    stages: &mut Stages,
    parts: &Parts,
    registry: &mut Registry,
) -> Result<(Reporter, Ledger)> {
    let (state, clock) = (parts.state.clone(), parts.clock.clone());
    let (reporter, ledger, keeper) = ledger::open(state, clock, registry)?;
    stages.start("the ledger of usefulness", |stop| async move {
        keeper.run(stop).await;
        Ok(())
    });
    Ok((reporter, ledger))
}

/// What is left of the telling of alerts for others.
pub(super) struct Alerting {
    /// What rules put their alerts into.
    pub(super) queue: mpsc::Sender<Vec<Alert>>,
    /// Where everybody else asks and acts.
    pub(super) desk: Desk,
    /// Who gets digests.
    pub(super) courier: Option<Courier>,
}

/// Starts telling people.
pub(super) fn start_alerts(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    external_url: &str,
    reporter: Reporter,
) -> Result<Alerting> {
    let (queue, alerts) = mpsc::channel(ALERT_QUEUE);
    let file = config.alerts.routing_file();
    let settings = alert_settings(config, external_url);
    let routing = if file.is_some() {
        alert::load(&settings)?
    } else {
        tracing::warn!("there is no routing file: alerts are shown, and nobody is told");
        Routing::nobody()
    };
    let (state, clock) = (parts.state.clone(), parts.clock.clone());
    // Whoever orders actions ends before whoever runs them.
    let actions = start_actions(stages, parts, config, external_url, reporter.clone());
    let (dispatcher, desk) = Dispatcher::new(routing, &settings, state, clock)?;
    let dispatcher = dispatcher.ordering_at(actions);
    let dispatcher = dispatcher.reporting_to(reporter);
    let courier = config.digest.receiver.as_ref().map(|receiver| {
        let found = dispatcher.courier(receiver);
        found.with_context(|| {
            format!("digest.receiver: the routing file has no receiver `{receiver}`")
        })
    });
    let courier = courier.transpose()?;
    stages.start("the telling of alerts", |stop| async move {
        dispatcher.run(alerts, stop).await;
        Ok(())
    });
    Ok(Alerting { queue, desk, courier })
}

/// Sends digests when they are due, if anybody is to read them.
pub(super) fn start_digests(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    digester: Digester,
) {
    if digester.courier().is_none() {
        return;
    }
    let (schedule, state, clock) =
        (config.digest.schedule(), parts.state.clone(), parts.clock.clone());
    stages.start("the digests", |stop| async move {
        digest::run(digester, schedule, state, clock, stop).await;
        Ok(())
    });
}

fn alert_settings(config: &Config, external_url: &str) -> alert::Settings {
    alert::Settings {
        routing: config.alerts.routing_file().unwrap_or_default(),
        external_url: external_url.to_owned(),
        allowed: config.alerts.allowed(),
        keep_silences: config.alerts.keep_silences.0,
        flapping: config.alerts.flapping.settings(),
    }
}

/// What has rules and routing read again.
pub(super) fn reloader(
    config: &Config,
    external_url: &str,
    (rules, desk): (rule::Reloader, Desk),
    meters: ReloadMeters,
) -> Reloader {
    let (of_rules, of_alerts) = (config.rules.clone(), config.alerts.clone());
    let sources = reload::Sources {
        rules: Arc::new(move || of_rules.folder_if_any()),
        actions: config.action_names(),
        routing: Arc::new(move || of_alerts.routing_file()),
        settings: alert_settings(config, external_url),
        digests_to: config.digest.receiver.clone(),
    };
    Reloader::new(rules, desk, sources, meters)
}

/// Starts running the actions that rules ask for, and gives the queue where they are ordered.
fn start_actions(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    external_url: &str,
    reporter: Reporter,
) -> action::Queue {
    let (queue, orders) = action::queue();
    // That nothing is wrong with them was seen when the configuration was read.
    let settings = config.actions().unwrap_or_default();
    let kept = (parts.state.clone(), parts.clock.clone(), reporter);
    let external_url = external_url.to_owned();
    stages.start("the running of actions", |stop| async move {
        Ok(action::run(settings, external_url, orders, kept, stop).await?)
    });
    queue
}

/// Starts sending alerts on to Alertmanagers, if there are any: then whatever rules put into the queue that
/// comes back passes there first.
pub(super) fn start_forwarding(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    next: mpsc::Sender<Vec<Alert>>,
) -> Result<(mpsc::Sender<Vec<Alert>>, Forwarding)> {
    // That nothing is wrong with them was seen when the configuration was read.
    let forwarding = Forwarding::new(config.alertmanagers().unwrap_or_default())?;
    if !forwarding.is_needed() {
        return Ok((next, forwarding));
    }
    let (queue, alerts) = mpsc::channel(ALERT_QUEUE);
    let (running, clock) = (forwarding.clone(), parts.clock.clone());
    stages.start("the sending on of alerts", |stop| async move {
        running.run(alerts, next, clock, stop).await;
        Ok(())
    });
    Ok((queue, forwarding))
}

pub(super) fn start_rules(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    external_url: String,
    (alerts, reporter): (mpsc::Sender<Vec<Alert>>, Reporter),
    (board, meters): (Arc<Board>, (ReloadMeters, ArrivalMeters)),
    arrived: mpsc::Receiver<String>,
) -> Result<rule::Reloader> {
    let rules = config.rules.clone();
    let files = rules.folder_if_any();
    if files.is_empty() {
        tracing::warn!("{} does not exist: no rules", config.rules.folder.display());
    }
    let actions = config.action_names();
    let groups = rule::load(&files, Some(&actions))?;
    let settings = rule::Settings {
        interval: config.rules.interval.0,
        require_outcome: RequireOutcome::new(rules.require_outcome, &rules.require_outcome_except),
        external_url,
        actions,
        timeout: config.query.timeout.0,
        limits: Limits { max_samples: config.query.max_samples, ..Limits::default() },
        ..rule::Settings::default()
    };
    let Parts { clock, state, store, .. } = parts.clone();
    let source = Arc::new(StoreSource::new(Arc::clone(&store)));
    let files = Arc::new(move || rules.folder_if_any());
    let (recorder, (meters, arrival_meters)) = (store, meters);
    let parts = schedule::Parts {
        source,
        recorder,
        state,
        clock,
        alerts,
        reporter,
        board,
        meters,
        arrival_meters,
        files,
    };
    let (reloader, requests) = rule::reloading();
    stages.start("the rules", |stop| async move {
        Ok(schedule::run(groups, &settings, parts, (requests, arrived), stop).await?)
    });
    Ok(reloader)
}

pub(super) fn start_heartbeat(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    alerts: mpsc::Sender<Vec<Alert>>,
    board: Arc<Board>,
) {
    let Some(settings) = config.heartbeat.settings(&config.alerts) else { return };
    let Parts { fleet, state, clock, .. } = parts.clone();
    let parts = heartbeat::Parts { fleet, board, state, alerts, clock };
    stages.start("the heartbeat", |stop| async move {
        Ok(heartbeat::run(settings, parts, stop).await?)
    });
}

/// What links in notifications begin with.
pub(super) fn external_url(config: &Config, parts: &Parts, http: SocketAddr) -> Result<String> {
    if let Some(url) = &config.alerts.external_url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let scheme = if config.http.tls { "https" } else { "http" };
    let names = parts.authority.server_names()?;
    let name = names.first().map_or("localhost", String::as_str);
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    Ok(format!("{scheme}://{name}:{}", http.port()))
}
