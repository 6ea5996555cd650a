//! Patches of SUSE: what an update is for. `list-patches` tells what each patch is about and
//! `info` which versions of packages it needs.

use std::collections::HashMap;

use roxmltree::Node;
use upkeep_model::PackageUpdate;

use super::advisory::{Advisories, Advisory};
use super::answer;
use super::rpm;
use super::zypper::{ENDS, PLAIN, ask, parse};
use super::zypper_table;
use crate::host::Host;

const LIST: &[&str] = &["list-patches"];

/// What is asked with the names of patches behind it.
const DESCRIBE: [&str; 3] = ["info", "-t", "patch"];

/// How many patches are asked for at most: a host that was never updated has some hundreds.
const MAX_PATCHES: usize = 1000;

/// A patch that is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patch {
    /// Its name, such as `SUSE-SLE-SERVER-12-SP5-2023-4653`.
    pub(super) name: String,
    /// What it is: `security`, `recommended`, `optional`, …
    pub(super) category: String,
    /// How severe it is, in the maker's word.
    pub(super) severity: String,
    /// The vulnerabilities that it is for.
    pub(super) issues: Vec<String>,
}

/// What the needed patches are for.
#[derive(Debug, Default)]
pub(super) struct Patches(Advisories);

impl Patches {
    /// Asks for them; `None` where they cannot be told.
    pub(super) fn of(host: &Host) -> Option<Self> {
        let patches = needed(host)?;
        let mut names: Vec<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_PATCHES);
        if names.is_empty() {
            return Some(Self::default());
        }
        let in_xml = ask(host, &[DESCRIBE.as_slice(), &names].concat());
        let needs = match in_xml.and_then(|text| parse_needs_in_xml(&text)) {
            Ok(needs) => needs,
            Err(_) => {
                let question = [PLAIN.as_slice(), &DESCRIBE, &names].concat();
                parse_needs(&answer::ask(host, &question, &ENDS).ok()?.stdout)
            }
        };
        Some(Self(advisories(&patches, &needs).collect()))
    }

    /// Writes into updates what they are for.
    pub(super) fn explain(&self, updates: &mut [PackageUpdate]) {
        updates.iter_mut().for_each(|update| self.0.explain(update));
    }
}

/// The patches that the host needs, from the table if the answer in XML cannot be read.
fn needed(host: &Host) -> Option<Vec<Patch>> {
    if let Ok(patches) = ask(host, LIST).and_then(|text| parse_patches(&text)) {
        return Some(patches);
    }
    let table = answer::ask(host, &[PLAIN.as_slice(), LIST].concat(), &ENDS).ok()?;
    zypper_table::patches(&table.stdout)
}

fn advisories(
    patches: &[Patch],
    needs: &HashMap<String, Vec<Need>>,
) -> impl Iterator<Item = Advisory> {
    patches.iter().flat_map(|patch| {
        needs.get(&patch.name).into_iter().flatten().flat_map(move |need| {
            let ids = std::iter::once(&patch.name).chain(&patch.issues);
            ids.map(move |id| Advisory {
                id: id.clone(),
                is_security: patch.category == "security",
                severity: patch.severity.clone(),
                package: need.package.clone(),
                architecture: need.architecture.clone(),
                version: need.version.clone(),
            })
        })
    })
}

/// Reads the answer to `list-patches`; those that concern zypper itself stand first, and block the
/// rest, which then stand in a list of their own.
fn parse_patches(text: &str) -> Result<Vec<Patch>, String> {
    let document = parse(text)?;
    let patches = document
        .descendants()
        .filter(|node| node.has_tag_name("update") && node.attribute("kind") == Some("patch"));
    Ok(patches.map(parse_patch).collect())
}

fn parse_patch(node: Node<'_, '_>) -> Patch {
    let of = |name: &str| node.attribute(name).unwrap_or_default().to_owned();
    let issues = node.descendants().filter(|child| child.has_tag_name("issue"));
    let is_vulnerability = |issue: &Node<'_, '_>| issue.attribute("type") == Some("cve");
    Patch {
        name: of("name"),
        category: of("category"),
        severity: of("severity"),
        issues: issues
            .filter(is_vulnerability)
            .filter_map(|issue| issue.attribute("id").map(str::to_owned))
            .collect(),
    }
}

/// A version of a package that a patch needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    package: String,
    architecture: String,
    version: String,
}

/// Reads the answer to `info -t patch` as XML, in which the text stands as one message.
fn parse_needs_in_xml(text: &str) -> Result<HashMap<String, Vec<Need>>, String> {
    let document = parse(text)?;
    let messages = document.descendants().filter(|node| node.has_tag_name("message"));
    let texts: Vec<&str> = messages.filter_map(|node| node.text()).collect();
    Ok(parse_needs(&texts.join("\n")))
}

/// Reads blocks of `Name : value`, in which a patch conflicts with every version that it wants
/// replaced.
fn parse_needs(text: &str) -> HashMap<String, Vec<Need>> {
    let mut needs: HashMap<String, Vec<Need>> = HashMap::new();
    let mut patch = None;
    let mut in_conflicts = false;
    for line in text.lines() {
        let mut need = line.trim();
        if !line.starts_with(' ') {
            let Some((field, value)) = line.split_once(':') else { continue };
            in_conflicts = field.trim() == "Conflicts";
            if field.trim() == "Name" {
                patch = Some(value.trim().to_owned());
            }
            need = value.trim();
        }
        if let (true, Some(patch), Some(need)) = (in_conflicts, &patch, parse_need(need)) {
            needs.entry(patch.clone()).or_default().push(need);
        }
    }
    needs
}

/// Reads a conflict such as `libcurl4.x86_64 < 8.0.1-11.80.1`; without an architecture it is of
/// none.
fn parse_need(text: &str) -> Option<Need> {
    let (package, version) = text.split_once(" < ")?;
    let parted = package.rsplit_once('.').filter(|(_, end)| rpm::is_architecture(end));
    let (name, architecture) = parted.unwrap_or((package, "noarch"));
    // Source packages are named as `srcpackage:curl`.
    (!name.contains(':')).then(|| Need {
        package: name.to_owned(),
        architecture: architecture.to_owned(),
        version: version.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_patches_need_is_read() {
        let text = "Loading repository data...\n\n\
            Information for patch LAB-1:\n----------------------------\n\
            Repository  : Lab: base\nName        : LAB-1\nSummary     : Security update for a < b\n\
            Description : \n    Conflicts : a < 3\n    * x < 1\nProvides    : patch:LAB-1 = 1\n\
            Conflicts   : lamp < 1.1-1.el9\n\
            Name        : LAB-3\nConflicts   : [4]\n    engine.x86_64 < 2:1.5-1\n\
            \x20   srcpackage:engine < 2:1.5-1\n    kernel-default.noarch < 5.14.0-2\n    odd\n";
        let needs = parse_needs(text);
        let seen = |patch: &str| {
            let of = needs.get(patch).into_iter().flatten();
            let shown =
                of.map(|need| format!("{} {} {}", need.package, need.architecture, need.version));
            shown.collect::<Vec<_>>()
        };
        assert_eq!(seen("LAB-1"), ["lamp noarch 1.1-1.el9"]);
        assert_eq!(seen("LAB-3"), ["engine x86_64 2:1.5-1", "kernel-default noarch 5.14.0-2"]);
    }
}
