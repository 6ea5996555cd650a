//! The control charts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use upkeep_model::{INSTANCE, JOB, Labels};

use super::{Parts, Stages};
use crate::alert::{Desk, Silence, SilenceState};
use crate::config::Config;
use crate::fleet::{Fleet, HOST_JOB};
use crate::http::StateGaps;
use crate::query::Engine;
use crate::tolerance::{self, ChartBoard, Covers, Hosts, Maintenance};

/// Starts charting, unless there is nothing to chart, and gives what shows the charts.
pub(super) fn start_tolerance(
    stages: &mut Stages,
    parts: &Parts,
    config: &Config,
    desk: Desk,
) -> Result<Arc<ChartBoard>> {
    let board = Arc::new(ChartBoard::default());
    let signals = config.tolerance.chosen().map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        anyhow!("tolerance: {}", faults.join("; "))
    })?;
    if signals.is_empty() {
        return Ok(board);
    }
    // An engine of its own: charts do not wait for people's queries, and take none of their places.
    let settings = config.query.settings();
    let engine = Engine::new(Arc::clone(&parts.store), settings)
        .with_gaps(Arc::new(StateGaps::new(parts.state.clone())));
    let fleet = Arc::clone(&parts.fleet);
    let hosts: Hosts = Arc::new(move || {
        fleet.members().into_iter().map(|member| member.instance.clone()).collect()
    });
    let fleet = Arc::clone(&parts.fleet);
    let maintenance: Maintenance = Arc::new(move || {
        let (desk, fleet) = (desk.clone(), Arc::clone(&fleet));
        Box::pin(async move {
            // Whoever cannot be asked while everything stops says nothing of maintenance.
            let silences = desk.silences().await.unwrap_or_default();
            covers(silences.into_iter().map(|(silence, _)| silence).collect(), tags_of(&fleet))
        })
    });
    let watched = tolerance::Parts {
        engine,
        store: Arc::clone(&parts.store),
        state: parts.state.clone(),
        clock: parts.clock.clone(),
        maintenance,
        hosts,
        board: Arc::clone(&board),
    };
    stages.start("the control charts", |stop| async move {
        Ok(tolerance::watch(signals, watched, stop).await?)
    });
    Ok(board)
}

/// The tags of hosts, by name.
type TagsByHost = HashMap<String, BTreeMap<String, String>>;

/// A host is in maintenance when a silence would match whatever is told of it: by its name and its tags
/// alone. One of a single alert says nothing about the host.
fn covers(silences: Vec<Silence>, tags: TagsByHost) -> Covers {
    Box::new(move |instance, at_ms| {
        if silences.is_empty() {
            return false;
        }
        let of_host = tags.get(instance).into_iter().flatten();
        let of_host = of_host.map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = Labels::new(of_host.chain([(INSTANCE, instance), (JOB, HOST_JOB)]));
        let holds = |silence: &&Silence| silence.state(at_ms) == SilenceState::Active;
        let is_about = |silence: &Silence| {
            silence.record.matchers.iter().all(|matcher| matcher.matches(&labels))
        };
        silences.iter().filter(holds).any(is_about)
    })
}

fn tags_of(fleet: &Fleet) -> TagsByHost {
    let members = fleet.members().into_iter();
    members.map(|member| (member.instance.clone(), member.tags.clone())).collect()
}

#[cfg(test)]
mod tests {
    use upkeep_model::Matcher;
    use uuid::Uuid;

    use super::*;
    use crate::state::SilenceRecord;

    /// A Monday, 0:00 UTC.
    const MONDAY_MS: i64 = 1_799_625_600_000;
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn hosts_are_in_maintenance_by_silences_of_all_that_is_told_of_them() {
        let check = |matchers: &[(&str, &str)], recurrence: Option<&str>, expect: [bool; 4]| {
            let matchers = matchers.iter().map(|(name, value)| Matcher::equal(*name, *value));
            let record = SilenceRecord {
                id: Uuid::nil(),
                matchers: matchers.collect(),
                starts_at_ms: MONDAY_MS + HOUR_MS,
                ends_at_ms: MONDAY_MS + 100 * HOUR_MS,
                updated_at_ms: MONDAY_MS,
                created_by: "me".to_owned(),
                comment: "new disks".to_owned(),
                annotations: BTreeMap::new(),
                recurrence: recurrence.map(str::to_owned),
            };
            let site = BTreeMap::from([("site".to_owned(), "berlin".to_owned())]);
            let tags = TagsByHost::from([("web1".to_owned(), site)]);
            let covers = covers(vec![Silence::of(record).unwrap()], tags);
            let at = |hour: i64| MONDAY_MS + hour * HOUR_MS;
            let found = [("web1", 0), ("web1", 2), ("web1", 26), ("web2", 2)];
            assert_eq!(found.map(|(host, hour)| covers(host, at(hour))), expect);
        };
        check(&[("instance", "web1")], None, [false, true, true, false]);
        check(&[("site", "berlin")], None, [false, true, true, false]);
        check(&[("job", HOST_JOB)], None, [false, true, true, true]);
        check(&[("instance", "web1"), ("alertname", "DiskFull")], None, [false; 4]);
        let mondays = r#"[{"weekdays":["monday"]}]"#;
        check(&[("instance", "web1")], Some(mondays), [false, true, false, false]);
    }
}
