//! Pending updates of Fedora and what follows it: dnf 5, which answers in JSON.
//!
//! For an ordinary user dnf 5 copies the system's cache once into one of the user's own, and from
//! then on answers from that copy, however old it grows. So it is told to use the system's, which
//! every user may read, and from which it then downloads nothing.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use upkeep_model::ManagerReport;

use super::Memory;
use super::advisory::{self, Advisories, Explained};
use super::answer::{ask, shortened};
use super::dnf_metadata::{DNF5, Metadata};
use super::dnf_report::{self, Answers, ENDS};
use super::rpm::{Offer, Replaced};
use crate::host::{Host, Tree};

/// What every question starts with.
const FROM_CACHE: [&str; 3] = ["dnf5", "-C", "--setopt=cachedir=/var/cache/libdnf5"];

/// Takes no notice of what an administrator has locked or excluded.
const UNLOCKED: &str = "--setopt=disable_excludes=*";

/// The versions to which packages are locked.
const LOCKS: &str = "etc/dnf/versionlock.toml";

/// The advisories of newer versions, by their own names and by those of vulnerabilities.
const ADVISORIES: [&[&str]; 2] = [
    &[UNLOCKED, "advisory", "list", "--updates", "--json"],
    &[UNLOCKED, "advisory", "list", "--updates", "--with-cve", "--json"],
];

/// Asks dnf 5; `None` if the host does not have it.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    (is_there(host) && dnf_report::is_in_use(host)).then(|| {
        dnf_report::report(host, "dnf", &DNF5, now_ms, &mut memory.dnf, |metadata| {
            updates(host, metadata)
        })
    })
}

/// Whether `dnf` means dnf 5: Fedora had both for a while.
pub(super) fn is_there(host: &Host) -> bool {
    let link = host.link(Tree::Root, "usr/bin/dnf");
    host.has_program("dnf5") && !link.is_ok_and(|target| target.ends_with("dnf-3"))
}

fn updates(host: &Host, metadata: &Metadata) -> Result<Explained, String> {
    let mut pending = upgrades(host, &["check-upgrade", "--json"])?;
    if pending.is_empty() {
        // An empty answer is also what it gives where nothing was ever downloaded.
        check_repositories(host, metadata)?;
    }
    replace(&mut pending, replacements(host));
    // Without an answer it is not known what is locked; what is pending still is.
    let unlocked = upgrades(host, &[UNLOCKED, "check-upgrade", "--json"]).unwrap_or_default();
    let locks = host.read_if_present(Tree::Root, LOCKS).ok().flatten();
    let is_locked = |name: &str| locks.as_ref().is_some_and(|locks| is_locked(name, locks));
    dnf_report::updates(host, Answers { pending, unlocked }, is_locked, || advisories(host))
}

fn check_repositories(host: &Host, metadata: &Metadata) -> Result<(), String> {
    let text = answer(host, &["repo", "list", "--enabled", "--json"])?;
    let repositories: Vec<Repository> = parse(&text)?;
    if repositories.is_empty() {
        return Err("no repository is switched on".to_owned());
    }
    let missing: Vec<&str> = repositories
        .iter()
        .map(|one| one.id.as_str())
        .filter(|id| !metadata.has_cached(id))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "nothing is cached of {}, or it may not be read; run `dnf makecache`",
        missing.join(", ")
    ))
}

#[derive(Deserialize)]
struct Repository {
    id: String,
}

/// A package as dnf 5 describes it.
#[derive(Deserialize)]
struct Package {
    name: String,
    arch: String,
    evr: String,
    repository: String,
    /// What it would replace.
    #[serde(default)]
    obsoletes: Vec<Package>,
}

impl From<Package> for Offer {
    fn from(package: Package) -> Self {
        let Package { name, arch, evr, repository, obsoletes } = package;
        let old = obsoletes.into_iter().find(|old| old.name != name);
        let replaces = old.map(|old| Replaced { name: old.name, version: old.evr });
        Self { name, architecture: arch, version: evr, origin: repository, replaces }
    }
}

/// An answer without anything to tell is an empty object.
#[derive(Deserialize)]
struct Packages {
    #[serde(default)]
    upgrades: Vec<Package>,
    #[serde(default)]
    obsoleting_packages: Vec<Package>,
}

fn upgrades(host: &Host, question: &[&str]) -> Result<Vec<Offer>, String> {
    let packages: Packages = parse(&answer(host, question)?)?;
    Ok(packages.upgrades.into_iter().map(Offer::from).collect())
}

/// Packages that would replace an installed one of another name. Older versions of dnf 5 do not
/// tell them.
fn replacements(host: &Host) -> Vec<Offer> {
    let Ok(text) = answer(host, &["list", "--obsoletes", "--json"]) else { return Vec::new() };
    let packages = parse(&text).map(|packages: Packages| packages.obsoleting_packages);
    let offers = packages.unwrap_or_default().into_iter().map(Offer::from);
    offers.filter(|offer| offer.replaces.is_some()).collect()
}

/// Adds replacements to what is pending, in the place of what they replace.
fn replace(pending: &mut Vec<Offer>, replacements: Vec<Offer>) {
    for offer in replacements {
        if pending.iter().any(|one| one.is_of(&offer.name, &offer.architecture)) {
            continue;
        }
        pending.retain(|one| !offer.replaces(&one.name));
        pending.push(offer);
    }
}

/// What is known of newer versions; `None` if it could not be asked for.
fn advisories(host: &Host) -> Option<Advisories> {
    let [by_name, by_vulnerability] = ADVISORIES;
    let mut found = advisory::parse_json(&answer(host, by_name).ok()?).ok()?;
    // Where nothing is about security, nothing has a vulnerability.
    if found.iter().any(|advisory| advisory.is_security)
        && let Ok(text) = answer(host, by_vulnerability)
    {
        found.extend(advisory::parse_json(&text).unwrap_or_default());
    }
    Some(found.into_iter().collect())
}

/// Whether a package has an entry in the list of locks.
fn is_locked(name: &str, locks: &str) -> bool {
    locks.lines().any(|line| {
        let value = line.split_once('=').filter(|(key, _)| key.trim() == "name");
        value.is_some_and(|(_, value)| value.trim().trim_matches(['"', '\'']) == name)
    })
}

fn answer(host: &Host, question: &[&str]) -> Result<String, String> {
    let output = ask(host, &[&FROM_CACHE, question].concat(), &ENDS)?;
    Ok(output.stdout)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("dnf5's answer could not be read: {error}: {}", shortened(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let packages: Packages = parse("{}\n").unwrap();
        assert!(packages.upgrades.is_empty());
        let text = r#"{"upgrades":[{"name":"a","arch":"noarch","evr":"1:2-3","repository":"base","x":1}]}"#;
        let packages: Packages = parse(text).unwrap();
        let offer = Offer::from(packages.upgrades.into_iter().next().unwrap());
        let expect = Offer {
            name: "a".to_owned(),
            architecture: "noarch".to_owned(),
            version: "1:2-3".to_owned(),
            origin: "base".to_owned(),
            replaces: None,
        };
        assert_eq!(offer, expect);
        let error = parse::<Packages>("Repositories loaded.").err().unwrap();
        assert!(error.starts_with("dnf5's answer could not be read: "), "{error}");
    }

    #[test]
    fn what_replaces_takes_the_place_of_what_is_replaced() {
        let offer = |name: &str, replaces: Option<&str>| Offer {
            name: name.to_owned(),
            replaces: replaces
                .map(|old| Replaced { name: old.to_owned(), version: "1-1".to_owned() }),
            ..Offer::default()
        };
        let mut pending = vec![offer("old", None), offer("old-too", None), offer("kept", None)];
        replace(&mut pending, vec![offer("new", Some("old")), offer("kept", Some("x"))]);
        let names: Vec<&str> = pending.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["old-too", "kept", "new"]);
    }

    #[test]
    fn locks_are_found_by_name() {
        let locks = "version = \"1.0\"\n[[packages]]\nname = \"frozen\"\ncomment = \"name = x\"\n";
        assert!(is_locked("frozen", locks));
        assert!(!is_locked("froz", locks) && !is_locked("x", locks));
    }
}
