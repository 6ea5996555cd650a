//! The files that configure a host: which there are, and a fingerprint of each. What they contain
//! never leaves the host.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use glob::Pattern;
use sha2::{Digest, Sha256};

use super::memory::hexadecimal;
use crate::host::{Host, Stamp, Tree};

/// The files that are watched unless the configuration names others: what decides who may log in,
/// what runs, how the network and the disks are set up, where packages come from, and what the most
/// common servers do.
pub const DEFAULT_FILES: [&str; 76] = [
    "/etc/aliases",
    "/etc/anacrontab",
    "/etc/apache2/*.conf",
    "/etc/apache2/sites-enabled/*",
    "/etc/apk/repositories",
    "/etc/apk/world",
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d/*",
    "/etc/apt/preferences",
    "/etc/apt/preferences.d/*",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*",
    "/etc/chrony.conf",
    "/etc/chrony/chrony.conf",
    "/etc/containerd/config.toml",
    "/etc/cron.d/*",
    "/etc/crontab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/dnf/dnf.conf",
    "/etc/docker/daemon.json",
    "/etc/exports",
    "/etc/fstab",
    "/etc/group",
    "/etc/haproxy/haproxy.cfg",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/httpd/conf.d/*.conf",
    "/etc/httpd/conf/httpd.conf",
    "/etc/iptables/*",
    "/etc/kernel/cmdline",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d/*",
    "/etc/locale.conf",
    "/etc/modprobe.d/*",
    "/etc/modules",
    "/etc/modules-load.d/*",
    "/etc/mysql/*.cnf",
    "/etc/mysql/*.conf.d/*.cnf",
    "/etc/netplan/*",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/nftables.conf",
    "/etc/nginx/*.conf",
    "/etc/nginx/conf.d/*",
    "/etc/nginx/sites-enabled/*",
    "/etc/nsswitch.conf",
    "/etc/pacman.conf",
    "/etc/pam.d/*",
    "/etc/passwd",
    "/etc/postfix/*.cf",
    "/etc/postgresql/*/*/*.conf",
    "/etc/resolv.conf",
    "/etc/rsyslog.conf",
    "/etc/rsyslog.d/*",
    "/etc/security/*.conf",
    "/etc/security/limits.d/*",
    "/etc/selinux/config",
    "/etc/ssh/ssh*_config",
    "/etc/ssh/sshd_config.d/*",
    "/etc/sudoers",
    "/etc/sudoers.d/*",
    "/etc/sysctl.conf",
    "/etc/sysctl.d/*",
    "/etc/systemd/*.conf",
    "/etc/systemd/*.conf.d/*",
    "/etc/systemd/network/*",
    "/etc/systemd/system/*",
    "/etc/systemd/system/*.d/*",
    "/etc/timezone",
    "/etc/udev/rules.d/*",
    "/etc/upkeep/*.toml",
    "/etc/upkeep/conf.d/*",
    "/etc/yum.repos.d/*",
];

/// The most files that are watched: many times what the default names on a crowded server.
const MOST_FILES: usize = 2000;

/// A longer file is told from another by its length and time alone, in bytes.
const LONGEST_READ_BYTES: u64 = 1 << 20;

/// How a fingerprint of a file's content begins; the rest is its SHA-256.
const OF_CONTENT: &str = "sha256:";

/// Looks for changed files, and reads only those whose stamp is another.
#[derive(Debug, Default)]
pub(super) struct ConfigurationWatch {
    seen: HashMap<String, (Stamp, String)>,
}

impl ConfigurationWatch {
    /// The fingerprint of each file that a pattern matches, by its path.
    pub(super) fn look(&mut self, host: &Host, patterns: &[String]) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for path in patterns.iter().flat_map(|pattern| expand(host, pattern)) {
            if files.len() >= MOST_FILES {
                break;
            }
            let Ok(stamp) = host.stamp(Tree::Root, &path) else { continue };
            if !stamp.is_file {
                continue;
            }
            let known = self.seen.get(&path).filter(|(seen, _)| *seen == stamp);
            let fingerprint = match known {
                Some((_, fingerprint)) => fingerprint.clone(),
                None => {
                    let fingerprint = fingerprint(host, &path, &stamp);
                    self.seen.insert(path.clone(), (stamp, fingerprint.clone()));
                    fingerprint
                }
            };
            files.insert(path, fingerprint);
        }
        self.seen.retain(|path, _| files.contains_key(path));
        files
    }

    /// When a file that was seen last changed, in milliseconds since 1970.
    pub(super) fn modified_ms(&self, path: &str) -> Option<i64> {
        self.seen.get(path).and_then(|(stamp, _)| milliseconds(stamp.modified))
    }
}

/// A moment in milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// Whether two fingerprints are of the same making, so that they tell whether a file changed. One
/// by content and one by time differ for a file that became readable, and say nothing else.
pub(super) fn are_comparable(one: &str, other: &str) -> bool {
    one.starts_with(OF_CONTENT) == other.starts_with(OF_CONTENT)
}

/// The hash of a file's content, or of a file that may not be read its length and time, so that it
/// shows at least that it was changed.
fn fingerprint(host: &Host, path: &str, stamp: &Stamp) -> String {
    if stamp.bytes <= LONGEST_READ_BYTES
        && let Ok(content) = host.read_bytes(Tree::Root, path)
    {
        return format!("{OF_CONTENT}{}", hexadecimal(&Sha256::digest(content)));
    }
    let modified = milliseconds(stamp.modified).unwrap_or_default();
    format!("unread:{}:{modified}", stamp.bytes)
}

/// The paths that a pattern matches. Each part of it is matched by itself, so that `*` does not
/// reach across folders; as in a shell, it does not match what begins with a dot either.
fn expand(host: &Host, pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[']) {
            found.iter_mut().for_each(|path| *path = format!("{path}/{part}"));
            continue;
        }
        let Ok(part) = Pattern::new(part) else { return Vec::new() };
        let matches_of = |folder: String| {
            let entries = host.list(Tree::Root, &folder).unwrap_or_default();
            let names = entries.into_iter().filter(|entry| {
                part.matches(&entry.name)
                    && (!entry.name.starts_with('.') || part.as_str().starts_with('.'))
            });
            names.map(|entry| format!("{folder}/{}", entry.name)).collect::<Vec<_>>()
        };
        found = found.into_iter().flat_map(matches_of).take(MOST_FILES).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::host_with;
    use super::*;

    #[test]
    fn patterns_find_files_and_nothing_else() {
        let (folder, host) = host_with(&[
            ("etc/fstab", ""),
            ("etc/cron.d/one", ""),
            ("etc/cron.d/.placeholder", ""),
            ("etc/cron.d/folder/two", ""),
            ("etc/systemd/system/a.service.d/x.conf", ""),
            ("etc/systemd/system/b.service", ""),
        ]);
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            folder.path().join("etc/cron.d/pipe"),
            rustix::fs::Mode::RWXU,
        )
        .unwrap();
        let patterns = [
            "/etc/fstab",
            "/etc/none",
            "/etc/cron.d/*",
            "/etc/systemd/system/*.d/*",
            "/etc/c[r]*/o?e",
        ];
        let patterns = patterns.map(str::to_owned);
        let files = ConfigurationWatch::default().look(&host, &patterns);
        let paths: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            ["/etc/cron.d/one", "/etc/fstab", "/etc/systemd/system/a.service.d/x.conf"]
        );
    }

    #[test]
    fn a_fingerprint_is_of_the_content() {
        let (folder, host) = host_with(&[("etc/hosts", "127.0.0.1 localhost\n")]);
        let mut watch = ConfigurationWatch::default();
        let patterns = ["/etc/hosts".to_owned()];
        let mut look = || watch.look(&host, &patterns).remove("/etc/hosts");
        // As `printf '127.0.0.1 localhost\n' | sha256sum` has it.
        let seen = look().unwrap();
        assert_eq!(seen, "sha256:081ef9d5367595d16e30b4b4549d9f43537320508b4ce0788963e10e4f808857");
        fs::write(folder.path().join("etc/hosts"), "127.0.0.1 other\n").unwrap();
        assert_ne!(look().unwrap(), seen);
        fs::write(folder.path().join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        assert_eq!(look().unwrap(), seen);
        fs::write(folder.path().join("etc/hosts"), vec![b'#'; 2 << 20]).unwrap();
        let long = look().unwrap();
        assert!(long.starts_with("unread:2097152:"), "{long}");
        assert!(!are_comparable(&seen, &long));
        fs::remove_file(folder.path().join("etc/hosts")).unwrap();
        assert_eq!(look(), None);
    }

    #[test]
    fn the_default_is_sorted_and_each_is_a_pattern_of_an_absolute_path() {
        assert!(DEFAULT_FILES.is_sorted());
        for pattern in DEFAULT_FILES {
            assert!(pattern.starts_with('/'), "{pattern}");
            assert!(Pattern::new(pattern).is_ok(), "{pattern}");
        }
    }
}
