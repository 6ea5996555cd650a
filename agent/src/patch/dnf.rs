//! Pending updates of Red Hat Enterprise Linux and its kin: dnf 4, and the yum that came before it.
//!
//! Both are asked from the system's cache only (`-C`), which every user may read. They take no lock
//! for an ordinary user and download nothing.

use upkeep_model::ManagerReport;

use super::Memory;
use super::advisory::{self, Advisories, Advisory, Explained};
use super::answer::{DEADLINE, ask, failure, shortened};
use super::dnf_metadata::{self, Metadata, Place};
use super::dnf_report::{self, Answers, ENDS};
use super::dnf5;
use super::rpm::Offer;
use super::rpm_table::{self, Listing};
use crate::host::{Host, HostError, Output, Tree};

/// How a program of this family is asked.
struct Program {
    /// What it is called.
    name: &'static str,
    /// What would be updated; it ends with 100 if there is anything.
    check: &'static [&'static str],
    /// What would be updated if nothing were locked or excluded.
    unlocked: &'static [&'static str],
    /// How the latter is read.
    read_unlocked: fn(&str) -> Vec<Offer>,
    /// The advisories of newer versions, by their own names and by those of vulnerabilities.
    advisories: [&'static [&'static str]; 2],
    /// The versions to which packages are locked.
    locks: &'static str,
    /// Where it caches.
    place: Place,
}

/// The fields of `repoquery`, with tabulators between them.
const FIELDS: &str = "%{name}\t%{arch}\t%{evr}\t%{repoid}";

const DNF: Program = Program {
    name: "dnf",
    check: &["dnf", "-C", "check-update"],
    unlocked: &[
        "dnf",
        "-C",
        "--disableexcludes=all",
        "repoquery",
        "--upgrades",
        "--latest-limit=1",
        "--qf",
        FIELDS,
    ],
    read_unlocked: parse_fields,
    advisories: [
        &["dnf", "-C", "--disableexcludes=all", "updateinfo", "list", "--updates"],
        &["dnf", "-C", "--disableexcludes=all", "updateinfo", "list", "--updates", "--with-cve"],
    ],
    locks: "etc/dnf/plugins/versionlock.list",
    place: dnf_metadata::DNF,
};

const YUM: Program = Program {
    name: "yum",
    check: &["yum", "-C", "check-update"],
    unlocked: &[
        "yum",
        "-C",
        "--disableexcludes=all",
        "--disableplugin=versionlock",
        "check-update",
    ],
    read_unlocked: |text| Listing::parse(text).into_offers(),
    advisories: [
        &["yum", "-C", "--disableexcludes=all", "updateinfo", "list", "updates"],
        &["yum", "-C", "--disableexcludes=all", "updateinfo", "list", "updates", "cves"],
    ],
    locks: "etc/yum/pluginconf.d/versionlock.list",
    place: dnf_metadata::YUM,
};

/// What an administrator would get; a recording may hold it in place of `check-update`. It is never
/// asked of a host, since it takes the lock.
const TRANSACTION: [&str; 3] = ["yum", "--assumeno", "update"];

/// Asks dnf 4, or the yum of a host that has no dnf; `None` if there is neither.
pub(super) fn report(host: &Host, now_ms: i64, memory: &mut Memory) -> Option<ManagerReport> {
    let program = match () {
        () if dnf5::is_there(host) => return None,
        () if host.has_program(DNF.name) => &DNF,
        () if host.has_program(YUM.name) => &YUM,
        () => return None,
    };
    dnf_report::is_in_use(host).then(|| {
        let (place, memory) = (&program.place, &mut memory.dnf);
        dnf_report::report(host, program.name, place, now_ms, memory, |metadata| {
            updates(host, program, metadata)
        })
    })
}

fn updates(host: &Host, program: &Program, metadata: &Metadata) -> Result<Explained, String> {
    let pending = pending(host, program, metadata)?;
    // Without an answer it is not known what is locked; what is pending still is.
    let unlocked = ask(host, program.unlocked, &ENDS)
        .map(|output| (program.read_unlocked)(&output.stdout))
        .unwrap_or_default();
    let locks = host.read_if_present(Tree::Root, program.locks).ok().flatten();
    let is_locked = |name: &str| locks.as_ref().is_some_and(|locks| is_locked(name, locks));
    let answers = Answers { pending, unlocked };
    dnf_report::updates(host, answers, is_locked, || advisories(host, program))
}

/// What would be installed now.
fn pending(host: &Host, program: &Program, metadata: &Metadata) -> Result<Vec<Offer>, String> {
    let output = match host.run(program.check, DEADLINE) {
        Err(HostError::NotRecorded { .. }) if host.has_program(program.name) => {
            let output = ask(host, &TRANSACTION, &[0, 1])?;
            let planned = rpm_table::transaction(&output.stdout).into_iter();
            return Ok(planned.map(|planned| planned.offer).collect());
        }
        Err(error) => return Err(error.to_string()),
        Ok(output) => output,
    };
    if !output.exit.is_some_and(|exit| ENDS.contains(&exit)) {
        return Err(failure(program.name, &output));
    }
    if let Some(passed_over) = passed_over(&output) {
        return Err(format!(
            "nothing is cached of {passed_over}, or it may not be read; run `{} makecache`",
            program.name
        ));
    }
    let offers = Listing::parse(&output.stdout).into_offers();
    match (output.exit, offers.is_empty()) {
        (Some(0), true) if metadata.repositories.is_empty() => {
            Err("no repository is switched on".to_owned())
        }
        (Some(100), true) => Err(format!(
            "{} has updates and its list could not be read: {}",
            program.name,
            shortened(&output.stdout)
        )),
        _ => Ok(offers),
    }
}

/// The repositories that were passed over for want of a cache. One that a plugin keeps for packages
/// of this very host is none from which updates come.
fn passed_over(output: &Output) -> Option<String> {
    const OWN: &str = "_dnf_local";
    let lines = output.stderr.lines().chain(output.stdout.lines());
    let names = lines.filter_map(|line| line.strip_prefix("Ignoring repositories: "));
    let names: Vec<&str> = names
        .flat_map(|names| names.split(", "))
        .map(str::trim)
        .filter(|name| *name != OWN)
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Whether the list of locks has a line for a package, such as `bash-0:4.4.20-5.el8.*` or, for a
/// version that is shut out, `!bash-0:4.4.20-5.el8.*`.
fn is_locked(name: &str, locks: &str) -> bool {
    locks.lines().map(|line| line.trim().trim_start_matches('!')).any(|line| {
        // In yum's list the epoch comes first: `0:bash-4.4.20-5.el8.*`.
        let line = match line.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => line,
        };
        let is_end = |rest: &str| {
            let mut letters = rest.chars();
            rest.is_empty()
                || (letters.next() == Some('-')
                    && letters
                        .next()
                        .is_some_and(|letter| letter.is_ascii_digit() || letter == '*'))
        };
        line.strip_prefix(name).is_some_and(is_end)
    })
}

/// What is known of newer versions; `None` if it could not be asked for.
fn advisories(host: &Host, program: &Program) -> Option<Advisories> {
    let [by_name, by_vulnerability] = program.advisories;
    let mut found: Vec<Advisory> =
        advisory::parse_list(&ask(host, by_name, &[0]).ok()?.stdout).collect();
    // Where nothing is about security, nothing has a vulnerability.
    if found.iter().any(|advisory| advisory.is_security)
        && let Ok(output) = ask(host, by_vulnerability, &[0])
    {
        found.extend(advisory::parse_list(&output.stdout));
    }
    Some(found.into_iter().collect())
}

/// Reads lines of fields with tabulators between them.
fn parse_fields(text: &str) -> Vec<Offer> {
    let offers = text.lines().filter_map(|line| {
        let mut fields = line.split('\t').map(str::to_owned);
        let offer = Offer {
            name: fields.next()?,
            architecture: fields.next()?,
            version: fields.next()?,
            origin: fields.next()?,
            replaces: None,
        };
        (fields.next().is_none() && !offer.name.is_empty()).then_some(offer)
    });
    offers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_found_by_name() {
        let locks = "# Added lock\nfrozen-0:1.0-1.*\n!engine-2:1.5-1.*\n0:web-server-1.0-1.el7.*\n\
            lamp*\nplain\n";
        let check = |name: &str, expect: bool| assert_eq!(is_locked(name, locks), expect, "{name}");
        check("frozen", true);
        check("engine", true);
        check("web-server", true);
        check("plain", true);
        check("web", false);
        check("froz", false);
    }

    #[test]
    fn repositories_without_a_cache_are_told() {
        let check = |stderr: &str, expect: Option<&str>| {
            let output = Output { exit: Some(0), stdout: String::new(), stderr: stderr.to_owned() };
            assert_eq!(passed_over(&output).as_deref(), expect);
        };
        check("Ignoring repositories: _dnf_local, base, vendor\n", Some("base, vendor"));
        check("Ignoring repositories: _dnf_local\n", None);
        check("Unable to detect release version\n", None);
    }
}
