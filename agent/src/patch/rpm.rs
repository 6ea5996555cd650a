//! What dnf, yum and zypper have in common: packages of RPM.

use std::collections::HashMap;

use upkeep_model::PackageUpdate;

use crate::host::Host;
use crate::package;

/// Compares two versions as rpm does: their epochs, a missing one being 0, then the rest.
pub(super) use rpm_version::rpm_evr_compare as compare;

/// A version of a package that a repository offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// The package's name.
    pub(super) name: String,
    /// Its architecture.
    pub(super) architecture: String,
    /// Its version with epoch, where it has one, and release.
    pub(super) version: String,
    /// The repository.
    pub(super) origin: String,
    /// The package of another name that it would replace.
    pub(super) replaces: Option<Replaced>,
}

/// An installed package that another one replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replaced {
    /// Its name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
}

impl Offer {
    /// Whether it would replace a package of that name.
    pub(super) fn replaces(&self, name: &str) -> bool {
        self.replaces.as_ref().is_some_and(|old| old.name == name)
    }

    /// Whether both are of the same package.
    pub(super) fn is_of(&self, name: &str, architecture: &str) -> bool {
        self.name == name && self.architecture == architecture
    }

    /// The offer as an update of what is installed.
    pub(super) fn into_update(self, installed: &Installed) -> PackageUpdate {
        let before = installed.version(&self.name, &self.architecture).map(str::to_owned);
        let replaced = self.replaces.map(|old| format!("{}-{}", old.name, old.version));
        PackageUpdate {
            installed: before.or(replaced).unwrap_or_default(),
            package: self.name,
            architecture: self.architecture,
            offered: self.version,
            origin: self.origin,
            ..PackageUpdate::default()
        }
    }
}

/// The installed packages by name, each with architecture and version.
#[derive(Debug, Default)]
pub(super) struct Installed(HashMap<String, Vec<(String, String)>>);

impl Installed {
    /// Asks for them.
    pub(super) fn on(host: &Host) -> Result<Self, String> {
        let packages = package::rpm::installed(host).map_err(|error| error.to_string())?;
        let mut by_name: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for package in packages {
            by_name.entry(package.name).or_default().push((package.architecture, package.version));
        }
        Ok(Self(by_name))
    }

    /// The newest installed version, of that architecture if there is one: several kernels are
    /// installed beside each other, and a package may change its architecture.
    fn version(&self, name: &str, architecture: &str) -> Option<&str> {
        let versions = self.0.get(name)?;
        let newest = versions.iter().max_by(|(one_of, one), (other_of, other)| {
            let by_architecture = (one_of == architecture).cmp(&(other_of == architecture));
            by_architecture.then_with(|| compare(one, other))
        });
        newest.map(|(_, version)| version.as_str())
    }
}

/// Parts `bash-completion-1:2.7-5.el8.noarch` into name, version and architecture.
pub(super) fn split_full_name(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, architecture) = text.rsplit_once('.')?;
    let (before_release, _) = rest.rsplit_once('-')?;
    let (name, _) = before_release.rsplit_once('-')?;
    let version = rest.get(name.len() + 1..)?;
    (!name.is_empty() && is_architecture(architecture)).then_some((name, version, architecture))
}

/// Whether a word may be an architecture: `noarch`, `x86_64`, `armv7hl`.
pub(super) fn is_architecture(word: &str) -> bool {
    const WITHOUT_DIGIT: [&str; 4] = ["noarch", "athlon", "alpha", "sparc"];
    const STARTS: [&str; 15] = [
        "x86_64",
        "i3",
        "i4",
        "i5",
        "i6",
        "aarch64",
        "arm",
        "ppc",
        "s390",
        "riscv",
        "loongarch",
        "mips",
        "ia",
        "sparcv",
        "amd64",
    ];
    WITHOUT_DIGIT.contains(&word)
        || (STARTS.iter().any(|start| word.starts_with(start))
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn full_names_are_parted() {
        let check = |text: &str, expect: Option<(&str, &str, &str)>| {
            assert_eq!(split_full_name(text), expect, "{text}");
        };
        check("engine-2:1.5-1.x86_64", Some(("engine", "2:1.5-1", "x86_64")));
        check("bash-completion-2.7-5.el8.noarch", Some(("bash-completion", "2.7-5.el8", "noarch")));
        check("kernel-4.18.0-553.40.1.el8_10.src", None);
        check("1-2-3", None);
        check("a-b.noarch", None);
        check("", None);
    }

    #[test]
    fn the_newest_installed_version_counts() {
        let of = |architecture: &str, version: &str| (architecture.to_owned(), version.to_owned());
        let installed = Installed(HashMap::from([
            ("kernel".to_owned(), vec![of("x86_64", "5.14.0-9"), of("x86_64", "5.14.0-70")]),
            ("both".to_owned(), vec![of("x86_64", "1-1"), of("i686", "2-1")]),
            ("moved".to_owned(), vec![of("noarch", "1-1")]),
        ]));
        let check = |name: &str, architecture: &str, expect: &str| {
            let offer = Offer {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                replaces: Some(Replaced { name: "old".to_owned(), version: "1".to_owned() }),
                ..Offer::default()
            };
            assert_eq!(offer.into_update(&installed).installed, expect);
        };
        check("kernel", "x86_64", "5.14.0-70");
        check("both", "x86_64", "1-1");
        check("moved", "x86_64", "1-1");
        check("new", "x86_64", "old-1");
    }

    #[test]
    fn versions_are_in_rpms_order() {
        let check = |one: &str, other: &str, expect: Ordering| {
            assert_eq!(compare(one, other), expect, "{one} {other}");
            assert_eq!(compare(other, one), expect.reverse(), "{other} {one}");
        };
        check("1:1.0-1", "2.0-1", Ordering::Greater);
        check("0:1.0-1", "1.0-1", Ordering::Equal);
        check("1.0-1.el9_4.99", "1.0-1.el9_4.100", Ordering::Less);
        check("10:1-1", "9:9-1", Ordering::Greater);
        // The next build of a release, which other orders put before it.
        check("5.14.0-427.el9", "5.14.0-427.13.1.el9", Ordering::Less);
        check("1.0~rc1-1", "1.0-1", Ordering::Less);
        check("1.0^git1-1", "1.0-1", Ordering::Greater);
        check("1.0-1.el9", "1.0-1.el9_4", Ordering::Less);
    }
}
