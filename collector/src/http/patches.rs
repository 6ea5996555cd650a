//! `/api/v1/hosts/{host}/patches`: pending updates and whether a restart is due, each with its
//! reason. What a package manager could not tell is unknown, never "up to date".

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use upkeep_model::{
    HostId, Knowledge, ManagerReport, Refresh, RestartReason, StaleService, Stay, Support,
};

use super::error::ApiError;
use super::{Services, hosts, prometheus, time};
use crate::state::{HostUpdates, PendingUpdate};

const NEVER_REPORTED: &str = "the host has not reported its updates yet";
const NO_MANAGER: &str = "the host has no package manager that its agent knows";

/// Whether something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Known,
    Unknown,
}

/// How many updates are pending; null, with the reason, where any manager could not tell.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct UpdatesSummary {
    status: Status,
    reason: Option<String>,
    checked_at: Option<String>,
    /// Updates that would be installed now.
    pending: Option<usize>,
    /// Security updates, those held back included; null also where some may be and some not.
    security: Option<usize>,
    security_unknown_reason: Option<String>,
    /// Updates that the manager would not install now.
    held: Option<usize>,
}

impl UpdatesSummary {
    /// The summary of what a host last said, if it ever did.
    pub(super) fn of(updates: Option<&HostUpdates>) -> Self {
        let Some(updates) = updates else {
            return Self::unknown(NEVER_REPORTED.to_owned(), None);
        };
        let checked_at = Some(time::text(updates.report.checked_at_ms));
        if let Some(reason) = unknown_reason(&updates.report.managers) {
            return Self::unknown(reason, checked_at);
        }
        let count = |counted: fn(&PendingUpdate) -> bool| {
            Some(updates.pending.iter().filter(|pending| counted(pending)).count())
        };
        let undecided = undecided_reason(updates);
        Self {
            status: Status::Known,
            reason: None,
            checked_at,
            pending: count(|pending| pending.update.stays.is_none()),
            security: count(|pending| pending.update.security).filter(|_| undecided.is_none()),
            security_unknown_reason: undecided,
            held: count(|pending| pending.update.stays.is_some()),
        }
    }

    fn unknown(reason: String, checked_at: Option<String>) -> Self {
        Self {
            status: Status::Unknown,
            reason: Some(reason),
            checked_at,
            pending: None,
            security: None,
            security_unknown_reason: None,
            held: None,
        }
    }
}

/// Why it is not known how many updates are for security, or `None` if it is.
fn undecided_reason(updates: &HostUpdates) -> Option<String> {
    let undecided = |pending: &&PendingUpdate| security_of(updates, pending).is_none();
    let origin = &updates.pending.iter().find(undecided)?.update.origin;
    Some(format!("{origin} publishes no advisories"))
}

/// Whether an update is for security; `None` where its origin does not tell.
fn security_of(updates: &HostUpdates, pending: &PendingUpdate) -> Option<bool> {
    let mut managers = updates.report.managers.iter();
    let report = managers.find(|report| report.manager == pending.manager);
    report.map_or(Some(pending.update.security), |report| report.is_security(&pending.update))
}

/// Why the updates of a host are not known, or `None` if every manager could tell.
fn unknown_reason(managers: &[ManagerReport]) -> Option<String> {
    if managers.is_empty() {
        return Some(NO_MANAGER.to_owned());
    }
    let reasons: Vec<String> = managers
        .iter()
        .filter_map(|manager| match &manager.updates {
            Knowledge::Known(_) => None,
            Knowledge::Unknown(reason) => Some(format!("{}: {reason}", manager.manager)),
        })
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Whether a restart is due and why; `required` is null, with the reason, where it is not known.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct RebootView {
    required: Option<bool>,
    unknown_reason: Option<String>,
    reasons: Vec<RestartReason>,
}

impl RebootView {
    /// What a host last said, if it ever did.
    pub(super) fn of(updates: Option<&HostUpdates>) -> Self {
        let unknown = |reason: &str| Self {
            required: None,
            unknown_reason: Some(reason.to_owned()),
            reasons: Vec::new(),
        };
        match updates.map(|updates| &updates.report.reboot) {
            None => unknown(NEVER_REPORTED),
            Some(Knowledge::Unknown(reason)) => unknown(reason),
            Some(Knowledge::Known(report)) => Self {
                required: Some(report.required()),
                unknown_reason: None,
                reasons: report.reasons.clone(),
            },
        }
    }
}

#[derive(Serialize)]
struct Patches<'a> {
    id: HostId,
    instance: &'a str,
    received_at: Option<String>,
    summary: UpdatesSummary,
    reboot: RebootView,
    services: ServicesView<'a>,
    support: SupportView<'a>,
    managers: Vec<ManagerView<'a>>,
    updates: Vec<UpdateView<'a>>,
}

#[derive(Serialize)]
struct ManagerView<'a> {
    manager: &'a str,
    status: Status,
    reason: Option<&'a str>,
    lists_refreshed_at: Option<String>,
    /// Whether something refreshes the lists; null, with the reason, where it is not known.
    refresh: Option<&'a Refresh>,
    refresh_unknown_reason: Option<&'a str>,
}

/// Which services still run code that was replaced; null, with the reason, where it is not known.
#[derive(Serialize)]
struct ServicesView<'a> {
    stale: Option<&'a [StaleService]>,
    unknown_reason: Option<&'a str>,
}

/// Until when the distribution is looked after.
#[derive(Serialize)]
struct SupportView<'a> {
    release: Option<&'a str>,
    standard_until: Option<String>,
    extended_until: Option<String>,
    /// Whether the host has the longer support.
    has_extended: Option<bool>,
    unknown_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct UpdateView<'a> {
    manager: &'a str,
    package: &'a str,
    architecture: &'a str,
    installed: &'a str,
    offered: &'a str,
    origin: &'a str,
    /// Null where the origin publishes no advisories.
    security: Option<bool>,
    severity: &'a str,
    advisories: &'a [String],
    held: bool,
    /// Why it would not be installed now; null if it would.
    stays: Option<Stay>,
    pending_since: String,
    /// False where this is of an earlier report, since the newest could not tell.
    confirmed: bool,
}

impl<'a> ManagerView<'a> {
    fn of(report: &'a ManagerReport) -> Self {
        let (status, reason) = match &report.updates {
            Knowledge::Known(_) => (Status::Known, None),
            Knowledge::Unknown(reason) => (Status::Unknown, Some(reason.as_str())),
        };
        let lists_refreshed_at = report.lists_refreshed_at_ms.map(time::text);
        let (refresh, refresh_unknown_reason) = told(&report.refresh);
        let manager = &report.manager;
        Self { manager, status, reason, lists_refreshed_at, refresh, refresh_unknown_reason }
    }
}

impl<'a> ServicesView<'a> {
    fn of(updates: Option<&'a HostUpdates>) -> Self {
        let (stale, unknown_reason) = match updates {
            Some(updates) => told(&updates.report.services),
            None => (None, Some(NEVER_REPORTED)),
        };
        Self { stale: stale.map(Vec::as_slice), unknown_reason }
    }
}

impl<'a> SupportView<'a> {
    fn of(updates: Option<&'a HostUpdates>) -> Self {
        let (support, unknown_reason) = match updates {
            Some(updates) => told(&updates.report.support),
            None => (None, Some(NEVER_REPORTED)),
        };
        let until = |end: fn(&Support) -> Option<i64>| support.and_then(end).map(time::text);
        Self {
            release: support.map(|support| support.release.as_str()),
            standard_until: until(|support| support.standard_until_ms),
            extended_until: until(|support| support.extended_until_ms),
            has_extended: support.map(|support| support.has_extended),
            unknown_reason,
        }
    }
}

/// The thing if it is known, and the reason if it is not.
fn told<T>(knowledge: &Knowledge<T>) -> (Option<&T>, Option<&str>) {
    match knowledge {
        Knowledge::Known(thing) => (Some(thing), None),
        Knowledge::Unknown(reason) => (None, Some(reason)),
    }
}

impl<'a> UpdateView<'a> {
    fn of(pending: &'a PendingUpdate, security: Option<bool>, confirmed: bool) -> Self {
        let PendingUpdate { manager, update, first_seen_ms } = pending;
        Self {
            manager,
            package: &update.package,
            architecture: &update.architecture,
            installed: &update.installed,
            offered: &update.offered,
            origin: &update.origin,
            security,
            severity: &update.severity,
            advisories: &update.advisories,
            held: update.stays.is_some(),
            stays: update.stays,
            pending_since: time::text(*first_seen_ms),
            confirmed,
        }
    }
}

/// `GET /api/v1/hosts/{host}/patches`.
pub(super) async fn show(
    State(services): State<Services>,
    Path(host): Path<String>,
) -> Result<Response, ApiError> {
    let found = hosts::find(&services, host).await?;
    let updates = found.updates.as_ref();
    Ok(prometheus::success(Patches {
        id: found.record.id,
        instance: &found.record.instance,
        received_at: updates.map(|updates| time::text(updates.received_at_ms)),
        summary: UpdatesSummary::of(updates),
        reboot: RebootView::of(updates),
        services: ServicesView::of(updates),
        support: SupportView::of(updates),
        managers: updates.map(managers).unwrap_or_default(),
        updates: updates.map(pending).unwrap_or_default(),
    }))
}

fn managers(updates: &HostUpdates) -> Vec<ManagerView<'_>> {
    updates.report.managers.iter().map(ManagerView::of).collect()
}

fn pending<'a>(updates: &'a HostUpdates) -> Vec<UpdateView<'a>> {
    let confirmed = |manager: &str| {
        let mut reports = updates.report.managers.iter();
        let report = reports.find(|report| report.manager == manager);
        report.is_some_and(|report| report.updates.known().is_some())
    };
    let view = |one: &'a PendingUpdate| {
        UpdateView::of(one, security_of(updates, one), confirmed(&one.manager))
    };
    updates.pending.iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use upkeep_model::{PackageUpdate, RebootReport, Stay, UpdateReport};

    use super::*;

    fn manager(name: &str, updates: Knowledge<Vec<PackageUpdate>>) -> ManagerReport {
        ManagerReport { manager: name.into(), updates, ..ManagerReport::default() }
    }

    fn said(managers: Vec<ManagerReport>, reboot: Knowledge<RebootReport>) -> HostUpdates {
        let offers = managers.iter().filter_map(|report| report.updates.known()).flatten();
        let pending = offers.map(|update| PendingUpdate {
            manager: "apt".into(),
            update: update.clone(),
            first_seen_ms: 0,
        });
        let pending = pending.collect();
        let report = UpdateReport { managers, reboot, ..UpdateReport::default() };
        HostUpdates { received_at_ms: 0, report, pending }
    }

    fn offer(security: bool, held: bool) -> PackageUpdate {
        PackageUpdate {
            security,
            stays: held.then_some(Stay::KeptBack),
            ..PackageUpdate::default()
        }
    }

    #[test]
    fn updates_are_counted_only_if_every_manager_could_tell() {
        let check = |managers: Option<Vec<ManagerReport>>, expect: Result<[usize; 3], &str>| {
            let reboot = Knowledge::Known(RebootReport::default());
            let updates = managers.map(|managers| said(managers, reboot));
            let summary = UpdatesSummary::of(updates.as_ref());
            match expect {
                Ok([pending, security, held]) => {
                    assert_eq!(summary.status, Status::Known);
                    let counts = (summary.pending, summary.security, summary.held);
                    assert_eq!(counts, (Some(pending), Some(security), Some(held)));
                }
                Err(reason) => {
                    assert_eq!(summary.status, Status::Unknown);
                    assert_eq!(summary.reason.as_deref(), Some(reason));
                    let counts = (summary.pending, summary.security, summary.held);
                    assert_eq!(counts, (None, None, None));
                }
            }
        };
        let three = vec![offer(true, false), offer(false, false), offer(true, true)];
        let known = manager("apt", Knowledge::Known(three));
        let locked = manager("snap", Knowledge::Unknown("it is locked".into()));
        check(None, Err(NEVER_REPORTED));
        check(Some(vec![]), Err(NO_MANAGER));
        check(Some(vec![manager("apt", Knowledge::Known(vec![]))]), Ok([0, 0, 0]));
        check(Some(vec![known.clone()]), Ok([2, 2, 1]));
        check(Some(vec![known, locked]), Err("snap: it is locked"));
    }

    #[test]
    fn a_restart_is_due_not_due_or_unknown() {
        let check = |reboot: Option<Knowledge<RebootReport>>, required, unknown: Option<&str>| {
            let view = RebootView::of(reboot.map(|reboot| said(vec![], reboot)).as_ref());
            assert_eq!((view.required, view.unknown_reason.as_deref()), (required, unknown));
        };
        let reason = RestartReason { reason: "new kernel".into(), packages: vec![] };
        check(None, None, Some(NEVER_REPORTED));
        check(Some(Knowledge::Unknown("no permission".into())), None, Some("no permission"));
        check(Some(Knowledge::Known(RebootReport::default())), Some(false), None);
        check(Some(Knowledge::Known(RebootReport { reasons: vec![reason] })), Some(true), None);
    }

    #[test]
    fn updates_of_an_origin_without_advisories_are_not_counted_for_or_against() {
        let offer = |origin: &str, security| PackageUpdate {
            origin: origin.to_owned(),
            security,
            ..PackageUpdate::default()
        };
        let check = |offers: Vec<PackageUpdate>, expect: Option<usize>, reason: Option<&str>| {
            let mut apt = manager("apt", Knowledge::Known(offers));
            apt.without_advisories = vec!["vendor".to_owned()];
            let said = said(vec![apt], Knowledge::default());
            let summary = UpdatesSummary::of(Some(&said));
            let seen = (summary.security, summary.security_unknown_reason.as_deref());
            assert_eq!(seen, (expect, reason));
        };
        check(vec![offer("debian", true), offer("debian", false)], Some(1), None);
        check(vec![offer("vendor", true)], Some(1), None);
        let reason = Some("vendor publishes no advisories");
        check(vec![offer("debian", true), offer("vendor", false)], None, reason);
    }
}
