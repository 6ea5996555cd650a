//! What dnf and yum have downloaded: of which repositories, when, and whether advisories are part
//! of it.

use std::collections::HashMap;

use super::freshness::{List, OWN_TIMER, Refreshers};
use super::remembered::Input;
use super::repository::{self, Cached, Repository};
use crate::host::{Host, HostError, Tree};

const HOUR_MS: i64 = 3600 * 1000;

/// Where repositories are configured.
const REPOSITORIES: [&str; 4] =
    ["etc/yum.repos.d", "etc/yum/repos.d", "etc/distro.repos.d", "usr/share/dnf5/repos.d"];

/// Where one of the programs keeps what it needs.
#[derive(Debug)]
pub(super) struct Place {
    /// Its own settings.
    settings: &'static str,
    /// How long metadata is used where no setting says so.
    fresh_for_ms: i64,
    /// Finds what is cached.
    find: fn(&Host) -> Result<Vec<Folder>, HostError>,
    /// What its answers depend on, beside what they all depend on.
    pub(super) inputs: &'static [Input],
    /// What refreshes it.
    pub(super) refreshers: Refreshers,
}

/// A folder with the cached `repomd.xml` of a repository.
struct Folder {
    repository: String,
    path: String,
}

/// The place of dnf 4.
pub(super) const DNF: Place = Place {
    settings: "etc/dnf/dnf.conf",
    fresh_for_ms: 48 * HOUR_MS,
    find: |host| find_hashed(host, "var/cache/dnf"),
    inputs: &[Input::folder("etc/dnf", 3), Input::folder("var/cache/dnf", 3)],
    refreshers: Refreshers {
        timers: &[
            OWN_TIMER,
            "dnf-makecache.timer",
            "dnf-automatic.timer",
            "dnf-automatic-install.timer",
            "dnf-automatic-download.timer",
            "dnf-automatic-notifyonly.timer",
        ],
        jobs: &[],
    },
};

/// The place of dnf 5.
pub(super) const DNF5: Place = Place {
    settings: "etc/dnf/dnf.conf",
    fresh_for_ms: 48 * HOUR_MS,
    find: |host| find_hashed(host, "var/cache/libdnf5"),
    inputs: &[
        Input::folder("etc/dnf", 3),
        Input::folder("usr/share/dnf5", 2),
        Input::folder("var/cache/libdnf5", 3),
    ],
    refreshers: Refreshers {
        timers: &[
            OWN_TIMER,
            "dnf5-makecache.timer",
            "dnf-makecache.timer",
            "dnf5-automatic.timer",
            "dnf-automatic.timer",
        ],
        jobs: &[],
    },
};

/// The place of yum.
pub(super) const YUM: Place = Place {
    settings: "etc/yum.conf",
    fresh_for_ms: 6 * HOUR_MS,
    find: find_by_release,
    inputs: &[Input::file("etc/yum.conf"), Input::folder("var/cache/yum", 4)],
    refreshers: Refreshers {
        timers: &[OWN_TIMER],
        jobs: &[
            "etc/systemd/system/multi-user.target.wants/yum-cron.service",
            "etc/cron.daily/yum-autoupdate",
            "etc/cron.d/yum-cron",
        ],
    },
};

/// What is known of the repositories.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The repositories in force.
    pub(super) repositories: Vec<Repository>,
    /// What is cached, by repository.
    cached: HashMap<String, Cached>,
}

impl Metadata {
    /// Reads settings and cache; the reason if the settings cannot be read.
    pub(super) fn read(host: &Host, place: &Place) -> Result<Self, String> {
        let settings = host.read_if_present(Tree::Root, place.settings);
        let settings = settings.map_err(|error| error.to_string())?;
        let expire = settings
            .and_then(|text| repository::main_value(&text, "metadata_expire"))
            .and_then(|value| repository::expiry_ms(&value))
            .unwrap_or(Some(place.fresh_for_ms));
        let repositories = repository::enabled(host, &REPOSITORIES, expire)
            .map_err(|error| format!("the repositories are not known: {error}"))?;
        let mut cached: HashMap<String, Cached> = HashMap::new();
        // A cache that may not be read is told of by the program itself.
        for Folder { repository: id, path } in (place.find)(host).unwrap_or_default() {
            let Some(found) = repository::cached(host, &path) else { continue };
            // A repository whose address has changed leaves the older cache behind.
            let newest = cached.entry(id).or_insert(found);
            if newest.refreshed_at_ms < found.refreshed_at_ms {
                *newest = found;
            }
        }
        Ok(Self { repositories, cached })
    }

    /// Whether anything is cached of a repository.
    pub(super) fn has_cached(&self, id: &str) -> bool {
        self.cached.contains_key(id)
    }

    /// The cached lists of the repositories in force.
    pub(super) fn lists(&self) -> Vec<List> {
        let listed = |one: &Repository| Some(repository::list(one, *self.cached.get(&one.id)?));
        self.repositories.iter().filter_map(listed).collect()
    }

    /// Whether a repository publishes advisories, as far as the cache shows.
    pub(super) fn has_advisories(&self, id: &str) -> bool {
        self.cached.get(id).is_some_and(|cached| cached.has_advisories)
    }
}

/// Whether the host has any file of repositories.
pub(super) fn has_repositories(host: &Host) -> bool {
    REPOSITORIES.iter().any(|folder| {
        let entries = host.list(Tree::Root, folder).unwrap_or_default();
        entries.iter().any(|entry| entry.name.ends_with(".repo"))
    })
}

/// Finds folders such as `baseos-0b35d9b7133aa761/repodata`: the repository, and a hash of where it
/// is.
fn find_hashed(host: &Host, cache: &str) -> Result<Vec<Folder>, HostError> {
    const HASH_DIGITS: usize = 16;
    let entries = host.list_if_present(Tree::Root, cache)?;
    let hashed = entries.into_iter().filter_map(|entry| {
        let (id, hash) = entry.name.rsplit_once('-')?;
        let is_hash =
            hash.len() == HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| Folder {
            repository: id.to_owned(),
            path: format!("{cache}/{}/repodata", entry.name),
        })
    });
    Ok(hashed.collect())
}

/// Finds folders such as `x86_64/7Server/rhel-7-server-rpms`.
fn find_by_release(host: &Host) -> Result<Vec<Folder>, HostError> {
    const CACHE: &str = "var/cache/yum";
    let mut found = Vec::new();
    for architecture in host.list_if_present(Tree::Root, CACHE)? {
        let folder = format!("{CACHE}/{}", architecture.name);
        for release in host.list(Tree::Root, &folder).unwrap_or_default() {
            let folder = format!("{folder}/{}", release.name);
            for one in host.list(Tree::Root, &folder).unwrap_or_default() {
                let path = format!("{folder}/{}", one.name);
                found.push(Folder { repository: one.name, path });
            }
        }
    }
    Ok(found)
}
