//! Repositories of RPM packages as dnf, yum and zypper keep them: which are in force, and what is
//! cached of them.

use super::freshness::{self, List};
use crate::host::{EntryKind, Host, HostError, Tree};

const SECOND_MS: i64 = 1000;

/// A repository that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// Its name among the repositories of the host.
    pub(super) id: String,
    /// How long its metadata may be used, in milliseconds; `None` if for ever.
    pub(super) fresh_for_ms: Option<i64>,
}

/// What is cached of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cached {
    /// When it was last found to be up to date, in milliseconds since 1970.
    pub(super) refreshed_at_ms: i64,
    /// Whether it publishes advisories.
    pub(super) has_advisories: bool,
}

/// The repositories in the `*.repo` files of some folders that are switched on. A file that cannot
/// be read is an error: managers pass over it and then know nothing of its packages.
pub(super) fn enabled(
    host: &Host,
    folders: &[&str],
    fresh_for_ms: Option<i64>,
) -> Result<Vec<Repository>, HostError> {
    let mut repositories = Vec::new();
    for folder in folders {
        for entry in host.list_if_present(Tree::Root, folder)? {
            if entry.name.ends_with(".repo") && entry.kind != EntryKind::Folder {
                let path = format!("{folder}/{}", entry.name);
                repositories.extend(parse(&host.read(Tree::Root, &path)?, fresh_for_ms));
            }
        }
    }
    Ok(repositories)
}

/// Reads sections such as `[baseos]` with lines `key=value`.
fn parse(text: &str, fresh_for_ms: Option<i64>) -> Vec<Repository> {
    let mut repositories: Vec<(Repository, bool)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(id) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let repository = Repository { id: id.to_owned(), fresh_for_ms };
            repositories.push((repository, id != "main"));
            continue;
        }
        let (Some((repository, is_enabled)), Some((key, value))) =
            (repositories.last_mut(), line.split_once('='))
        else {
            continue;
        };
        match key.trim() {
            "enabled" => *is_enabled &= is_true(value.trim()),
            "metadata_expire" => {
                if let Some(expire) = expiry_ms(value.trim()) {
                    repository.fresh_for_ms = expire;
                }
            }
            _ => {}
        }
    }
    repositories.into_iter().filter_map(|(one, is_enabled)| is_enabled.then_some(one)).collect()
}

fn is_true(value: &str) -> bool {
    ["1", "yes", "true", "on", "enabled", "always"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// Reads a time such as `6h`, `never` or a number of seconds; `None` if it is none of these.
pub(super) fn expiry_ms(value: &str) -> Option<Option<i64>> {
    if value == "-1" || value.eq_ignore_ascii_case("never") {
        return Some(None);
    }
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_seconds = match value.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return None,
    };
    let seconds: f64 = digits.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a cast of floats saturates")]
    let seconds = (seconds * unit_seconds) as i64;
    (seconds >= 0).then(|| Some(seconds.saturating_mul(SECOND_MS)))
}

/// The value of a key of the section `[main]` in a manager's own file.
pub(super) fn main_value(text: &str, key: &str) -> Option<String> {
    let mut is_main = true;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_main = line == "[main]";
        } else if let Some((name, value)) = line.split_once('=')
            && is_main
            && name.trim() == key
        {
            found = Some(value.trim().to_owned());
        }
    }
    found
}

/// Looks into the folder that holds a repository's `repomd.xml`. The manager touches that file or
/// another beside it when it finds that nothing has changed.
pub(super) fn cached(host: &Host, folder: &str) -> Option<Cached> {
    let index = host.read(Tree::Root, &format!("{folder}/repomd.xml")).ok()?;
    let has_advisories = ["\"updateinfo\"", "'updateinfo'"].iter().any(|word| index.contains(word));
    let entries = host.list(Tree::Root, folder).ok()?.into_iter();
    let changed = entries
        .filter_map(|entry| freshness::modified_ms(host, &format!("{folder}/{}", entry.name)));
    Some(Cached { refreshed_at_ms: changed.max()?, has_advisories })
}

/// The list of a repository, for what judges its age.
pub(super) fn list(repository: &Repository, cached: Cached) -> List {
    List {
        name: repository.id.clone(),
        refreshed_at_ms: cached.refreshed_at_ms,
        fresh_for_ms: repository.fresh_for_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_are_switched_on_are_repositories() {
        let text = "# [no]\n[main]\nenabled=1\n[a]\nname=A=1\n\n[b]\nenabled = 0\n\
            [c]\nenabled=True\nmetadata_expire = 6h\n[d]\nmetadata_expire=never\n[e]\nenabled=no\n\
            [f]\nmetadata_expire=soon\n";
        let seen = parse(text, Some(7));
        let seen: Vec<_> = seen.iter().map(|one| (one.id.as_str(), one.fresh_for_ms)).collect();
        assert_eq!(seen, [("a", Some(7)), ("c", Some(21_600_000)), ("d", None), ("f", Some(7))]);
    }

    #[test]
    fn times_are_read() {
        let check = |text: &str, expect: Option<Option<i64>>| assert_eq!(expiry_ms(text), expect);
        check("172800", Some(Some(172_800_000)));
        check("1d", Some(Some(86_400_000)));
        check("1.5M", Some(Some(90_000)));
        check("-1", Some(None));
        check("Never", Some(None));
        check("-5", None);
        check("h", None);
        check("3 fortnights", None);
        check("", None);
    }

    #[test]
    fn a_managers_own_settings_are_read() {
        let text = "[main]\nexclude = a b\n# x=1\n[repo]\nmetadata_expire=1\n";
        assert_eq!(main_value(text, "exclude").as_deref(), Some("a b"));
        assert_eq!(main_value(text, "metadata_expire"), None);
        assert_eq!(main_value("[main]\nx=1\nx = 2\n", "x").as_deref(), Some("2"));
    }
}
