//! Advisories of RPM repositories: what an update is for, and how much it matters.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use upkeep_model::PackageUpdate;

use super::rpm;

/// The words for severities, the worst last. Makers of distributions use some of them each.
const SEVERITIES: [&str; 6] = ["negligible", "low", "moderate", "medium", "important", "critical"];

/// What an advisory says of one version of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advisory {
    /// Its name, such as `RHSA-2024:1234`.
    pub(super) id: String,
    /// Whether it is about security.
    pub(super) is_security: bool,
    /// How severe, in its own word; empty if it does not say.
    pub(super) severity: String,
    /// The package that it is about.
    pub(super) package: String,
    /// Its architecture.
    pub(super) architecture: String,
    /// The version that it came with.
    pub(super) version: String,
}

/// All that is known of packages that may be updated, by package.
#[derive(Debug, Default)]
pub(super) struct Advisories(HashMap<String, Vec<Advisory>>);

/// Updates with what they are for.
#[derive(Clone, Debug, Default)]
pub(super) struct Explained {
    /// The updates.
    pub(super) updates: Vec<PackageUpdate>,
    /// Whether advisories could be asked for.
    pub(super) are_advisories_known: bool,
}

impl FromIterator<Advisory> for Advisories {
    fn from_iter<T: IntoIterator<Item = Advisory>>(advisories: T) -> Self {
        let mut by_package: HashMap<String, Vec<Advisory>> = HashMap::new();
        for advisory in advisories {
            by_package.entry(advisory.package.clone()).or_default().push(advisory);
        }
        Self(by_package)
    }
}

impl Advisories {
    /// Writes into an update what it is for. An update brings what came in between as well: it is
    /// for security too if a version before the offered one was.
    pub(super) fn explain(&self, update: &mut PackageUpdate) {
        let Some(advisories) = self.0.get(&update.package) else { return };
        for advisory in advisories {
            if advisory.architecture != update.architecture
                || rpm::compare(&advisory.version, &update.offered).is_gt()
            {
                continue;
            }
            update.security |= advisory.is_security;
            if advisory.is_security && rank(&advisory.severity) > rank(&update.severity) {
                update.severity.clone_from(&advisory.severity);
            }
            update.advisories.push(advisory.id.clone());
        }
        update.advisories.sort();
        update.advisories.dedup();
    }
}

/// The origins of updates that publish no advisories, sorted: neither do their updates have any,
/// nor does `publishes` know of some. Where it could not be asked for advisories, that is all.
pub(super) fn missing_origins(
    updates: &[PackageUpdate],
    are_known: bool,
    publishes: impl Fn(&str) -> bool,
) -> Vec<String> {
    let origins: BTreeSet<&str> = updates.iter().map(|update| update.origin.as_str()).collect();
    let has_any = |origin: &str| {
        let of_origin = |one: &PackageUpdate| one.origin == origin && !one.advisories.is_empty();
        are_known && (publishes(origin) || updates.iter().any(of_origin))
    };
    origins.into_iter().filter(|origin| !has_any(origin)).map(str::to_owned).collect()
}

fn rank(severity: &str) -> Option<usize> {
    SEVERITIES.iter().position(|word| severity.eq_ignore_ascii_case(word))
}

/// Reads the list of dnf 4 and yum, whose rows are such as
/// `RHSA-2024:1234 Important/Sec. bash-4.4.20-5.el8.x86_64` or `RHBA-2024:1 bugfix acl-…`.
pub(super) fn parse_list(text: &str) -> impl Iterator<Item = Advisory> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (id, kind, full_name) = (words.next()?, words.next()?, words.next()?);
        let (package, version, architecture) = rpm::split_full_name(full_name)?;
        let severity = kind.strip_suffix("/Sec.");
        let is_other =
            ["bugfix", "enhancement", "newpackage", "recommended", "optional", "unknown"];
        if words.next().is_some() || (severity.is_none() && !is_other.contains(&kind)) {
            return None;
        }
        Some(Advisory {
            id: id.to_owned(),
            is_security: severity.is_some(),
            severity: severity.filter(|word| rank(word).is_some()).unwrap_or_default().to_owned(),
            package: package.to_owned(),
            architecture: architecture.to_owned(),
            version: version.to_owned(),
        })
    })
}

/// One entry of the list of dnf 5, whose keys have another name where vulnerabilities are asked for.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "advisory_name")]
    name: String,
    #[serde(alias = "advisory_type", rename = "type")]
    kind: String,
    #[serde(alias = "advisory_severity", default)]
    severity: String,
    nevra: String,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(alias = "reference_id")]
    id: String,
}

/// Reads the JSON of `dnf5 advisory list`. An entry with references stands for these, as an
/// advisory of its own each.
pub(super) fn parse_json(text: &str) -> Result<Vec<Advisory>, serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_str(text)?;
    let mut advisories = Vec::new();
    for entry in entries {
        let Some((package, version, architecture)) = rpm::split_full_name(&entry.nevra) else {
            continue;
        };
        let advisory = Advisory {
            id: entry.name,
            is_security: entry.kind == "security",
            severity: Some(entry.severity).filter(|word| rank(word).is_some()).unwrap_or_default(),
            package: package.to_owned(),
            architecture: architecture.to_owned(),
            version: version.to_owned(),
        };
        for reference in entry.references {
            advisories.push(Advisory { id: reference.id, ..advisory.clone() });
        }
        advisories.push(advisory);
    }
    Ok(advisories)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(advisories: &Advisories, package: &str, offered: &str) -> (bool, String, String) {
        let mut update = PackageUpdate {
            package: package.to_owned(),
            architecture: "x86_64".to_owned(),
            offered: offered.to_owned(),
            ..PackageUpdate::default()
        };
        advisories.explain(&mut update);
        (update.security, update.severity, update.advisories.join(" "))
    }

    #[test]
    fn an_update_is_for_what_came_in_between_too() {
        let advisories: Advisories = parse_list(
            "Last metadata expiration check: 0:00:01 ago on Sat.\n\
             RHSA-2024:3 Low/Sec.       web-2:1.5-1.x86_64\n\
             RHSA-2024:1 Important/Sec. web-2:1.4-1.x86_64\n\
             RHSA-2024:9 Critical/Sec.  web-2:1.6-1.x86_64\n\
             RHSA-2024:8 Critical/Sec.  web-2:1.4-1.i686\n\
             CVE-2024-1  Important/Sec. web-2:1.4-1.x86_64\n\
             RHBA-2024:2 bugfix         web-2:1.5-1.x86_64\n\
             RHBA-2024:4 bugfix         app-security-1.5-1.x86_64\n\
             RHSA-2024:5 Unknown/Sec.   odd-1-1.x86_64\n\
             RHEA-2024:6 strange        odd-1-1.x86_64\n\
             updateinfo list done\n",
        )
        .collect();
        let check = |package: &str, offered: &str, expect: (bool, &str, &str)| {
            let (security, severity, ids) = explained(&advisories, package, offered);
            assert_eq!((security, severity.as_str(), ids.as_str()), expect);
        };
        check(
            "web",
            "2:1.5-1",
            (true, "Important", "CVE-2024-1 RHBA-2024:2 RHSA-2024:1 RHSA-2024:3"),
        );
        check("app-security", "1.5-1", (false, "", "RHBA-2024:4"));
        check("odd", "1-1", (true, "", "RHSA-2024:5"));
        check("other", "1-1", (false, "", ""));
    }

    #[test]
    fn dnf5_tells_them_in_json() {
        let text = r#"[
            {"name":"FEDORA-1","type":"security","severity":"Critical","nevra":"web-2:1.5-1.x86_64","buildtime":1},
            {"name":"FEDORA-2","type":"bugfix","severity":"None","nevra":"app-1-1.x86_64"},
            {"advisory_name":"FEDORA-1","advisory_type":"security","advisory_severity":"security",
             "nevra":"web-2:1.5-1.x86_64",
             "references":[{"reference_id":"CVE-2024-2","reference_type":"cve"}]}]"#;
        let advisories: Advisories = parse_json(text).unwrap().into_iter().collect();
        let expect = (true, "Critical".to_owned(), "CVE-2024-2 FEDORA-1".to_owned());
        assert_eq!(explained(&advisories, "web", "2:1.5-1"), expect);
        let expect = (false, String::new(), "FEDORA-2".to_owned());
        assert_eq!(explained(&advisories, "app", "1-1"), expect);
        assert!(parse_json("{}").is_err());
    }

    #[test]
    fn origins_without_advisories_are_told() {
        let update = |origin: &str, advisories: &[&str]| PackageUpdate {
            origin: origin.to_owned(),
            advisories: advisories.iter().map(|&id| id.to_owned()).collect(),
            ..PackageUpdate::default()
        };
        let updates =
            [update("z", &[]), update("base", &[]), update("epel", &["E-1"]), update("a", &[])];
        let check = |are_known: bool, expect: &[&str]| {
            assert_eq!(missing_origins(&updates, are_known, |origin| origin == "base"), expect);
        };
        check(true, &["a", "z"]);
        check(false, &["a", "base", "epel", "z"]);
    }
}
