//! What dnf 4, yum and dnf 5 have in common: what is pending and what is locked become a report.

use upkeep_model::{Knowledge, ManagerReport, PackageUpdate, Stay};

use super::advisory::{self, Advisories, Explained};
use super::dnf_metadata::{self, Metadata, Place};
use super::freshness;
use super::remembered::{self, Input, Remembered};
use super::rpm::{Installed, Offer};
use crate::host::{Host, Tree};
use crate::package::rpm;

/// What `check-update` and its kin end with if there is something to update, and if not.
pub(super) const ENDS: [i32; 2] = [100, 0];

/// What the answers of each of them depend on, beside the installed packages.
const INPUTS: [Input; 3] = [
    Input::folder("etc/yum.repos.d", 1),
    Input::folder("etc/yum", 2),
    Input::folder("etc/distro.repos.d", 1),
];

/// What shows that another manager looks after the packages of the host.
const OTHERS: [&str; 2] = ["var/lib/dpkg/status", "etc/zypp/repos.d"];

/// What a program answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What would be installed now.
    pub(super) pending: Vec<Offer>,
    /// What would be if nothing were locked or excluded.
    pub(super) unlocked: Vec<Offer>,
}

/// Whether dnf or yum looks after the host: on other distributions it is there for making images or
/// packages, and has no repositories.
pub(super) fn is_in_use(host: &Host) -> bool {
    let has_other = OTHERS.iter().any(|path| host.exists(Tree::Root, path));
    !has_other || dnf_metadata::has_repositories(host)
}

/// Asks for what is pending, and reports it with the state of the metadata.
pub(super) fn report(
    host: &Host,
    manager: &str,
    place: &Place,
    now_ms: i64,
    memory: &mut Remembered<Explained>,
    updates: impl FnOnce(&Metadata) -> Result<Explained, String>,
) -> ManagerReport {
    let mut report = ManagerReport { manager: manager.to_owned(), ..ManagerReport::default() };
    let metadata = match Metadata::read(host, place) {
        Ok(metadata) => metadata,
        Err(reason) => {
            report.refresh = Knowledge::Unknown(reason.clone());
            report.updates = Knowledge::Unknown(reason);
            return report;
        }
    };
    let installed = rpm::FILES.map(Input::file);
    let lists = metadata.lists();
    report.lists_refreshed_at_ms = freshness::oldest_ms(&lists);
    report.refresh = freshness::judge(host, place.refreshers, &lists, now_ms);
    let inputs = INPUTS.iter().chain(place.inputs).chain(&installed).copied();
    let state = remembered::look(host, inputs);
    report.updates = match memory.or_ask(now_ms, state, || updates(&metadata)) {
        Ok(Explained { updates, are_advisories_known }) => {
            let publishes = |origin: &str| metadata.has_advisories(origin);
            report.without_advisories =
                advisory::missing_origins(&updates, are_advisories_known, publishes);
            Knowledge::Known(updates)
        }
        Err(reason) => Knowledge::Unknown(reason),
    };
    report
}

/// Makes updates of the answers: what would be there without locks and is not pending is held.
/// `is_locked` tells whether an administrator has locked the versions of a package, rather than
/// excluded it; `advisories` are `None` if it could not be asked for them.
pub(super) fn updates(
    host: &Host,
    answers: Answers,
    is_locked: impl Fn(&str) -> bool,
    advisories: impl FnOnce() -> Option<Advisories>,
) -> Result<Explained, String> {
    let Answers { pending, unlocked } = answers;
    let held: Vec<Offer> =
        unlocked.into_iter().filter(|offer| !is_among(offer, &pending)).collect();
    if pending.is_empty() && held.is_empty() {
        return Ok(Explained::default());
    }
    let installed = Installed::on(host)?;
    let advisories = advisories();
    let are_advisories_known = advisories.is_some();
    let advisories = advisories.unwrap_or_default();
    let pending = pending.into_iter().map(|offer| (None, offer));
    let held = held.into_iter().map(|offer| {
        let stay = if is_locked(&offer.name) { Stay::Pinned } else { Stay::Held };
        (Some(stay), offer)
    });
    let explained = pending.chain(held).map(|(stays, offer)| {
        let mut update = PackageUpdate { stays, ..offer.into_update(&installed) };
        advisories.explain(&mut update);
        update
    });
    Ok(Explained { updates: explained.collect(), are_advisories_known })
}

/// Whether an offer would be installed, or another package in its place.
fn is_among(offer: &Offer, pending: &[Offer]) -> bool {
    pending.iter().any(|one| {
        let is_same = one.is_of(&offer.name, &offer.architecture) && one.version == offer.version;
        is_same || one.replaces(&offer.name)
    })
}
