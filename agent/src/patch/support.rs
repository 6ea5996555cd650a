//! Until when a distribution is looked after: what os-release says itself, and a table that ships
//! with the agent. `/etc/upkeep/support.toml` has the same form and is asked first, so that a table
//! can be newer than the agent.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use toml::value::Datetime;
use upkeep_model::{InstalledPackage, Knowledge, Support};

use crate::host::{Host, OsRelease, Tree};
use crate::package::dpkg;

/// The table that ships with the agent.
const SHIPPED: &str = include_str!("support.toml");

/// Where a table of the administrator lies, relative to the root.
const FILE: &str = "etc/upkeep/support.toml";

/// The package that makes Debian a Proxmox VE, which has ends of its own.
const PROXMOX_PACKAGE: &str = "pve-manager";

/// Finds out until when the host's distribution is looked after.
pub(super) fn report(host: &Host) -> Knowledge<Support> {
    match find(host) {
        Ok(support) => Knowledge::Known(support),
        Err(reason) => Knowledge::Unknown(reason),
    }
}

fn find(host: &Host) -> Result<Support, String> {
    let release = host.os_release().map_err(|error| error.to_string())?;
    let release = release.ok_or("the host has no os-release")?;
    let (id, version) = identify(&release, &dpkg::installed(host).unwrap_or_default());
    let own = host.read_if_present(Tree::Root, FILE).map_err(|error| error.to_string())?;
    let own = own.map(|text| Table::parse(FILE, &text)).transpose()?;
    let shipped = Table::parse("the table of this agent", SHIPPED)?;
    let listed = own.iter().chain([&shipped]).find_map(|table| table.find(&id, &version));
    let told = told_end(&release)?;
    match listed {
        Some((distribution, listed)) => {
            let mut support = distribution.support(listed, host);
            // Its maker knows best, and may have moved the date since the table was made.
            if let Some(told) = told {
                support.standard_until_ms = Some(milliseconds(told)?);
            }
            Ok(support)
        }
        None => match told {
            Some(told) => Ok(Support {
                release: release.get("PRETTY_NAME").to_owned(),
                standard_until_ms: Some(milliseconds(told)?),
                ..Support::default()
            }),
            None => Err(format!(
                "neither os-release nor the table of {} tells until when {} is looked after; \
                 it can be told in /{FILE}",
                shipped.as_of,
                [id.as_str(), &version].join(" ").trim_end()
            )),
        },
    }
}

/// The identity and version under which a host stands in the table.
fn identify(release: &OsRelease, packages: &[InstalledPackage]) -> (String, String) {
    if let Some(proxmox) = packages.iter().find(|package| package.name == PROXMOX_PACKAGE) {
        return ("proxmox-ve".to_owned(), proxmox.version.clone());
    }
    let (id, version) = (release.get("ID"), release.get("VERSION_ID"));
    let is_stream = id == "centos" && release.get("NAME").contains("Stream");
    let id = if is_stream { "centos-stream" } else { id };
    (id.to_owned(), version.to_owned())
}

/// The end that the distribution itself tells.
fn told_end(release: &OsRelease) -> Result<Option<Date>, String> {
    let text = release.get("SUPPORT_END");
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        let (file, line) = (release.file(), release.line("SUPPORT_END"));
        format!("{file}, line {line}, SUPPORT_END: {error}")
    })
}

fn milliseconds(date: Date) -> Result<i64, String> {
    let moment = date.to_zoned(TimeZone::UTC).map_err(|error| format!("{date}: {error}"))?;
    Ok(moment.timestamp().as_millisecond())
}

/// A table of distributions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The day of which its announcements are.
    #[serde(deserialize_with = "date")]
    as_of: Date,
    #[serde(rename = "distribution")]
    distributions: Vec<Distribution>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Distribution {
    id: String,
    name: String,
    #[serde(default)]
    rolling: bool,
    extended_if: Option<Vec<String>>,
    #[serde(default)]
    releases: Vec<Release>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    version: String,
    name: Option<String>,
    #[serde(default, deserialize_with = "optional_date")]
    standard: Option<Date>,
    #[serde(default, deserialize_with = "optional_date")]
    extended: Option<Date>,
}

impl Table {
    fn parse(name: &str, text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            format!("{name}, line {line}: {}", error.message())
        })
    }

    /// The distribution, and its release unless it is a rolling one. Of several releases whose
    /// version begins the host's, the longest is meant.
    fn find(&self, id: &str, version: &str) -> Option<(&Distribution, Option<&Release>)> {
        let distribution = self.distributions.iter().find(|one| one.id == id)?;
        if distribution.rolling {
            return Some((distribution, None));
        }
        let matching = distribution.releases.iter().filter(|one| one.is_of(version));
        let release = matching.max_by_key(|one| one.version.len())?;
        Some((distribution, Some(release)))
    }
}

impl Release {
    fn is_of(&self, version: &str) -> bool {
        match version.strip_prefix(self.version.as_str()) {
            Some(rest) if self.version.is_empty() => rest.is_empty(),
            // Packages, of which some products are known, have `-` before their revision.
            Some(rest) => rest.is_empty() || rest.starts_with(['.', '-']),
            None => false,
        }
    }
}

impl Distribution {
    fn support(&self, release: Option<&Release>, host: &Host) -> Support {
        let Some(release) = release else {
            return Support { release: self.name.clone(), ..Support::default() };
        };
        let name = release.name.as_ref().unwrap_or(&release.version);
        let has_extended = self.extended_if.as_ref().is_none_or(|signs| {
            signs.iter().any(|sign| host.exists(Tree::Root, sign.trim_start_matches('/')))
        });
        let date = |date: Option<Date>| date.and_then(|date| milliseconds(date).ok());
        Support {
            release: format!("{} {name}", self.name),
            standard_until_ms: date(release.standard),
            extended_until_ms: date(release.extended),
            has_extended: has_extended && release.extended.is_some(),
        }
    }
}

fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let value = Datetime::deserialize(deserializer)?;
    let fault = || serde::de::Error::custom(format!("{value} is not a day such as 2026-06-10"));
    match value {
        Datetime { date: Some(day), time: None, offset: None } => {
            let part = |number: u8| i8::try_from(number).map_err(|_| fault());
            let year = i16::try_from(day.year).map_err(|_| fault())?;
            Date::new(year, part(day.month)?, part(day.day)?).map_err(|_| fault())
        }
        _ => Err(fault()),
    }
}

fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    date(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn day(ms: Option<i64>) -> String {
        ms.map_or("never".to_owned(), |ms| {
            let moment = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(TimeZone::UTC);
            moment.date().to_string()
        })
    }

    /// What is told of a host with these files.
    fn told(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join("root").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("root")).unwrap();
        match report(&Host::replay(folder.path()).unwrap()) {
            Knowledge::Unknown(reason) => format!("unknown: {reason}"),
            Knowledge::Known(support) => {
                let mut text = format!("{}: {}", support.release, day(support.standard_until_ms));
                if let Some(extended) = support.extended_until_ms {
                    let has = if support.has_extended { "has" } else { "could have" };
                    write!(text, ", {has} {}", day(Some(extended))).unwrap();
                }
                text
            }
        }
    }

    #[test]
    fn releases_are_found_by_what_they_call_themselves() {
        let check = |os_release: &str, expect: &str| {
            assert_eq!(told(&[("etc/os-release", os_release)]), expect, "{os_release}");
        };
        check("ID=debian\nVERSION_ID=\"12\"\n", "Debian 12 (bookworm): 2026-06-10, has 2028-06-30");
        check("ID=debian\nVERSION_CODENAME=sid\n", "Debian testing or unstable: never");
        check(
            "ID=ubuntu\nVERSION_ID=20.04\n",
            "Ubuntu 20.04 LTS: 2025-05-31, could have 2030-04-30",
        );
        check(
            "ID=rhel\nVERSION_ID=9.4\n",
            "Red Hat Enterprise Linux 9: 2032-05-31, could have 2035-05-31",
        );
        check("ID=rocky\nVERSION_ID=10.0\n", "Rocky Linux 10: 2035-05-31");
        check("ID=centos\nVERSION_ID=8\nNAME=\"CentOS Stream\"\n", "CentOS Stream 8: 2024-05-31");
        check("ID=centos\nVERSION_ID=8\nNAME=\"CentOS Linux\"\n", "CentOS Linux 8: 2021-12-31");
        check(
            "ID=sles\nVERSION_ID=15.6\n",
            "SUSE Linux Enterprise Server 15 SP6: 2025-12-31, could have 2028-12-31",
        );
        check(
            "ID=sles\nVERSION_ID=15\n",
            "SUSE Linux Enterprise Server 15: 2019-12-31, could have 2022-12-31",
        );
        check("ID=alpine\nVERSION_ID=3.20.3\n", "Alpine Linux 3.20: 2026-04-01");
        check("ID=amzn\nVERSION_ID=2\n", "Amazon Linux 2: 2026-06-30");
        check("ID=amzn\nVERSION_ID=2023\n", "Amazon Linux 2023: 2029-06-30");
        check("ID=arch\nBUILD_ID=rolling\n", "Arch Linux: never");
        check("ID=kali\nVERSION_ID=2024.2\n", "Kali Linux: never");
        check("ID=fedora\nVERSION_ID=43\nSUPPORT_END=2026-12-02\n", "Fedora Linux 43: 2026-12-02");
        check("ID=x\nPRETTY_NAME='X 1'\nSUPPORT_END=2030-01-01\n", "X 1: 2030-01-01");
        check(
            "ID=alpine\nVERSION_ID=3.99_alpha1\n",
            "unknown: neither os-release nor the table of 2026-06-01 tells until when \
             alpine 3.99_alpha1 is looked after; it can be told in /etc/upkeep/support.toml",
        );
        check(
            "ID=x\n",
            "unknown: neither os-release nor the table of 2026-06-01 tells until when \
             x is looked after; it can be told in /etc/upkeep/support.toml",
        );
        let fault = told(&[("etc/os-release", "ID=x\nSUPPORT_END=soon\n")]);
        assert!(fault.starts_with("unknown: etc/os-release, line 2, SUPPORT_END: "), "{fault}");
        assert_eq!(told(&[]), "unknown: the host has no os-release");
    }

    #[test]
    fn signs_on_the_host_count() {
        let ubuntu = ("etc/os-release", "ID=ubuntu\nVERSION_ID=20.04\n");
        let esm = ("etc/apt/sources.list.d/ubuntu-esm-infra.list", "deb x\n");
        assert_eq!(told(&[ubuntu, esm]), "Ubuntu 20.04 LTS: 2025-05-31, has 2030-04-30");
        let debian = ("etc/os-release", "ID=debian\nVERSION_ID=12\n");
        let status = "Package: pve-manager\nStatus: install ok installed\nVersion: 8.2.4-1\n";
        let seen = told(&[debian, ("var/lib/dpkg/status", status)]);
        assert_eq!(seen, "Proxmox VE 8: 2026-08-31");
    }

    #[test]
    fn a_table_of_the_administrator_is_asked_first() {
        let check = |table: &str, expect: &str| {
            let release = ("etc/os-release", "ID=debian\nVERSION_ID=12\n");
            assert_eq!(told(&[release, (FILE, table)]), expect, "{table}");
        };
        let shipped = "Debian 12 (bookworm): 2026-06-10, has 2028-06-30";
        let table = |releases: &str| {
            format!(
                "as_of = 2030-01-01\n[[distribution]]\nid = \"debian\"\nname = \"D\"\n{releases}"
            )
        };
        check(
            &table("releases = [{ version = \"12\", standard = 2031-01-01 }]"),
            "D 12: 2031-01-01",
        );
        check(&table("releases = [{ version = \"77\", standard = 2031-01-01 }]"), shipped);
        check(&table("rolling = true"), "D: never");
        check(
            &table("releases = [\n{ version = \"12\", standard = \"soon\" }]"),
            "unknown: etc/upkeep/support.toml, line 6: invalid type: string \"soon\", \
             expected a TOML datetime",
        );
    }

    #[test]
    fn the_shipped_table_is_sound() {
        let table = Table::parse("shipped", SHIPPED).unwrap();
        for distribution in &table.distributions {
            let id = &distribution.id;
            assert!(distribution.rolling == distribution.releases.is_empty(), "{id}");
            for release in &distribution.releases {
                let (from, to) = (release.standard, release.extended);
                assert!(to.is_none() || from < to, "{id} {}", release.version);
                let (_, found) = table.find(id, &release.version).unwrap();
                assert_eq!(found.unwrap().version, release.version, "{id}");
            }
            let same = table.distributions.iter().filter(|one| one.id == *id).count();
            assert_eq!(same, 1, "{id}");
        }
    }
}
