//! Pending updates of Debian and its kin.

use upkeep_model::{InstalledPackage, Knowledge, ManagerReport, PackageUpdate, Stay};

use super::Memory;
use super::answer::{self, shortened};
use super::apt_plan::{Plan, Staying};
use super::apt_policy::{self, Offer, SourcePolicy};
use super::apt_refresh;
use super::dpkg_state::DpkgState;
use super::remembered::{self, Input};
use crate::host::{Host, HostError, Tree};
use crate::package::dpkg;

const NAME: &str = "apt";

/// The simulation that is read. Without the lock it works for any user and disturbs nobody.
const SIMULATE: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade"];

/// What would go if everything went that nothing needs any more.
const SIMULATE_REMOVAL: [&str; 5] = ["apt-get", "-s", "-o", "Debug::NoLocking=1", "autoremove"];

/// Where administrators prefer versions of packages to others.
const PREFERENCES: [&str; 2] = ["etc/apt/preferences", "etc/apt/preferences.d"];

/// What apt's answer depends on.
const INPUTS: [Input; 7] = [
    Input::file(dpkg::STATUS),
    Input::folder("var/lib/dpkg/updates", 1),
    Input::file("var/lib/dpkg/arch"),
    Input::folder(apt_refresh::LISTS, 1),
    Input::file("var/lib/apt/extended_states"),
    Input::folder("etc/apt", 2),
    // By it apt decides whether a phased update is for this host.
    Input::file("etc/machine-id"),
];

/// What apt says of a source list, a preference or a package list that it may not read. It goes on
/// without it, and what it finds then is not what the administrator's command would do.
const UNREADABLE: &str = "W: Unable to read ";

/// What apt says.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    updates: Vec<PackageUpdate>,
    removable: Option<u32>,
}

/// Asks apt; `None` if the host does not have it.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    if !host.has_program("apt-get") {
        return None;
    }
    let refresh = apt_refresh::look(host, now_ms);
    let state = remembered::look(host, INPUTS);
    let (updates, removable) = match memory.apt.or_ask(now_ms, state, || ask(host)) {
        Ok(Answer { updates, removable }) => (Knowledge::Known(updates), removable),
        Err(reason) => (Knowledge::Unknown(reason), None),
    };
    Some(ManagerReport {
        manager: NAME.to_owned(),
        lists_refreshed_at_ms: refresh.refreshed_at_ms,
        refresh: refresh.knowledge,
        updates,
        removable,
        ..ManagerReport::default()
    })
}

fn ask(host: &Host) -> Result<Answer, String> {
    Ok(Answer { updates: updates(host)?, removable: removable(host) })
}

/// How many packages nothing needs any more, if apt tells it.
fn removable(host: &Host) -> Option<u32> {
    let output = answer::ask(host, &SIMULATE_REMOVAL, &[0]).ok()?;
    let removals = output.stdout.lines().filter(|line| line.starts_with("Remv "));
    u32::try_from(removals.count()).ok()
}

fn updates(host: &Host) -> Result<Vec<PackageUpdate>, String> {
    let state = DpkgState::read(host).map_err(|error| error.to_string())?;
    if let Some(trouble) = state.trouble() {
        return Err(trouble);
    }
    let output = answer::ask(host, &SIMULATE, &[0])?;
    if let Some(warning) = output.stderr.lines().find(|line| line.starts_with(UNREADABLE)) {
        return Err(shortened(warning.trim_start_matches("W: ")));
    }
    let plan = Plan::parse(&output.stdout);
    if plan.updates.is_empty() && !plan.is_complete {
        return Err("apt-get ended without saying what it would do".to_owned());
    }
    if plan.updates.is_empty() && has_no_lists(host).map_err(|error| error.to_string())? {
        return Err("the package lists were never downloaded; run `apt-get update`".to_owned());
    }
    Ok(explain(host, plan, &state))
}

/// The planned updates and those that stay, with what the simulation does not tell of them.
fn explain(host: &Host, plan: Plan, state: &DpkgState) -> Vec<PackageUpdate> {
    let Plan { mut updates, names, staying, .. } = plan;
    let has_preferences = PREFERENCES.iter().any(|path| {
        let entries = host.list(Tree::Root, path);
        entries.map_or_else(|_| host.exists(Tree::Root, path), |entries| !entries.is_empty())
    });
    if names.is_empty() && staying.is_empty() && !has_preferences {
        return updates;
    }
    let sources = SourcePolicy::ask(host);
    let installed = dpkg::installed(host).unwrap_or_default();
    mark_security(host, &names, &sources, &mut updates);
    updates.extend(staying_updates(host, &staying, &sources, &installed, state));
    let is_known = |name: &String| updates.iter().any(|update| update.package == *name);
    let pinned: Vec<&str> = sources
        .pinned
        .iter()
        .filter(|name| !is_known(name) && installed.iter().any(|one| dpkg::is_called(one, name)))
        .map(String::as_str)
        .collect();
    let pinned = pinned_updates(host, &pinned, &sources, &installed);
    updates.extend(pinned);
    updates
}

/// An update brings what came in between as well: it is for security too if the version that it
/// offers was preceded by one from a source for security updates, which is not installed either.
fn mark_security(
    host: &Host,
    names: &[String],
    sources: &SourcePolicy,
    updates: &mut [PackageUpdate],
) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let policies = apt_policy::packages(host, &names);
    let upgrades = updates.iter_mut().filter(|update| !update.installed.is_empty());
    for (update, name) in upgrades.zip(names) {
        let Some(policy) = policies.get(name).filter(|policy| policy.candidate == update.offered)
        else {
            continue;
        };
        update.security |= policy.on_the_way().any(|offer| sources.is_security(offer));
    }
}

/// What is known of packages that stay: the simulation gives no more than their names.
fn staying_updates(
    host: &Host,
    staying: &[Staying],
    sources: &SourcePolicy,
    installed: &[InstalledPackage],
    state: &DpkgState,
) -> Vec<PackageUpdate> {
    let names: Vec<&str> = staying.iter().map(|one| one.name.as_str()).collect();
    let policies = apt_policy::packages(host, &names);
    let update_of = |one: &Staying| {
        let policy = policies.get(&one.name);
        let chosen = policy.and_then(|policy| policy.chosen());
        let is_phased = one.is_phased || chosen.is_some_and(|offer| offer.is_phased);
        let stay = match () {
            () if state.is_held(&one.name) => Stay::Held,
            () if is_phased => Stay::Phased,
            () => Stay::KeptBack,
        };
        let security = policy
            .is_some_and(|policy| policy.on_the_way().any(|offer| sources.is_security(offer)));
        PackageUpdate { security, ..left_alone(&one.name, chosen, stay, sources, installed) }
    };
    staying.iter().map(update_of).collect()
}

/// Packages of which preferences want another version than the newest. The simulation does not
/// mention them at all.
fn pinned_updates(
    host: &Host,
    names: &[&str],
    sources: &SourcePolicy,
    installed: &[InstalledPackage],
) -> Vec<PackageUpdate> {
    let policies = apt_policy::packages(host, names);
    let update_of = |name: &&str| {
        let newest = policies.get(*name)?.newest()?;
        let security = sources.is_security(newest);
        let update = left_alone(name, Some(newest), Stay::Pinned, sources, installed);
        Some(PackageUpdate { security, ..update })
    };
    names.iter().filter_map(update_of).collect()
}

fn left_alone(
    name: &str,
    offer: Option<&Offer>,
    stay: Stay,
    sources: &SourcePolicy,
    installed: &[InstalledPackage],
) -> PackageUpdate {
    let package = installed_package(name, installed);
    PackageUpdate {
        package: name.split(':').next().unwrap_or_default().to_owned(),
        architecture: package.map(|found| found.architecture.clone()).unwrap_or_default(),
        installed: package.map(|found| found.version.clone()).unwrap_or_default(),
        offered: offer.map(|offer| offer.version.clone()).unwrap_or_default(),
        origin: offer.map(|offer| sources.origin_of(offer)).unwrap_or_default(),
        stays: Some(stay),
        ..PackageUpdate::default()
    }
}

/// The installed package that apt calls so: without an architecture it means that of the host.
fn installed_package<'list>(
    name: &str,
    installed: &'list [InstalledPackage],
) -> Option<&'list InstalledPackage> {
    let own = installed.iter().find(|package| package.name == "dpkg");
    let is_own = |package: &InstalledPackage| {
        own.is_some_and(|own| package.architecture == own.architecture)
    };
    let called = installed.iter().filter(|package| dpkg::is_called(package, name));
    called.max_by_key(|package| is_own(package))
}

/// Whether the folder of package lists is there and holds none. Then apt finds nothing to do, which
/// does not mean that there is nothing.
fn has_no_lists(host: &Host) -> Result<bool, HostError> {
    match host.list(Tree::Root, apt_refresh::LISTS) {
        Ok(entries) => Ok(!entries.iter().any(|entry| entry.name.contains("_Packages"))),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_architecture_is_of_the_hosts_own() {
        let package = |name: &str, architecture: &str| InstalledPackage {
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            version: String::new(),
        };
        let installed = [
            package("libc6", "i386"),
            package("libc6", "amd64"),
            package("dpkg", "amd64"),
            package("wine32", "i386"),
            package("tzdata", "all"),
        ];
        let check = |name: &str, expect: Option<&str>| {
            let found = installed_package(name, &installed);
            assert_eq!(found.map(|package| package.architecture.as_str()), expect, "{name}");
        };
        check("libc6", Some("amd64"));
        check("libc6:i386", Some("i386"));
        check("wine32", Some("i386"));
        check("tzdata", Some("all"));
        check("bash", None);
    }
}
