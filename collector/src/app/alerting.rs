//! Rules, the telling of alerts, and the heartbeat that stops when these do.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::mpsc;
use upkeep_promql::Limits;

use super::{Parts, Stages};
use crate::action;
use crate::alert::{self, Desk, Dispatcher, Routing};
use crate::config::Config;
use crate::forward::Forwarding;
use crate::heartbeat;
use crate::notify::Alert;
use crate::query::StoreSource;
use crate::reload::{self, Reloader};
use crate::rule::schedule::{self, ALERT_QUEUE};
use crate::rule::{self, ArrivalMeters, Board, ReloadMeters, RequireOutcome};

/// Starts telling people, and gives the queue that rules put their alerts into, and the desk where
/// everybody else asks and acts.
pub(super) fn start_alerts(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    external_url: &str,
) -> Result<(mpsc::Sender<Vec<Alert>>, Desk)> {
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
    let actions = start_actions(stages, parts, config, external_url);
    let (dispatcher, desk) = Dispatcher::new(routing, &settings, state, clock)?;
    let dispatcher = dispatcher.ordering_at(actions);
    stages.start("the telling of alerts", |stop| async move {
        dispatcher.run(alerts, stop).await;
        Ok(())
    });
    Ok((queue, desk))
}

fn alert_settings(config: &Config, external_url: &str) -> alert::Settings {
    alert::Settings {
        routing: config.alerts.routing_file().unwrap_or_default(),
        external_url: external_url.to_owned(),
        allowed: config.alerts.allowed(),
        keep_silences: config.alerts.keep_silences.0,
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
    };
    Reloader::new(rules, desk, sources, meters)
}

/// Starts running the actions that rules ask for, and gives the queue where they are ordered.
fn start_actions(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    external_url: &str,
) -> action::Queue {
    let (queue, orders) = action::queue();
    // That nothing is wrong with them was seen when the configuration was read.
    let settings = config.actions().unwrap_or_default();
    let kept = (parts.state.clone(), parts.clock.clone());
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
    (alerts, board, meters): (mpsc::Sender<Vec<Alert>>, Arc<Board>, (ReloadMeters, ArrivalMeters)),
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
