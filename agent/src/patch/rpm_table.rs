//! The tables of yum and dnf: `check-update`, and what `update` would do. They are made for people:
//! long words push the rest of their row onto the next line, and adverts, progress and advice stand
//! between. A row counts only if its words are what its columns must hold.

use super::rpm::{self, Offer, Replaced};

/// The heading above packages that would replace others.
const OBSOLETING: &str = "obsoleting packages";

/// What `check-update` lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// The newest version that is offered of each installed package.
    updates: Vec<Offer>,
    /// Packages that replace an installed one, each with what it replaces.
    replacements: Vec<(Offer, Offer)>,
}

impl Listing {
    /// Reads the table.
    pub(super) fn parse(text: &str) -> Self {
        let mut listing = Self::default();
        let mut is_obsoleting = false;
        let mut replacing: Option<Offer> = None;
        for (is_indented, words) in rows(text, 3) {
            if words.join(" ").to_ascii_lowercase() == OBSOLETING {
                is_obsoleting = true;
                continue;
            }
            let Some(offer) = listed(&words) else { continue };
            match (is_obsoleting, is_indented, &replacing) {
                (false, ..) => listing.updates.push(offer),
                (true, false, _) => replacing = Some(offer),
                (true, true, Some(by)) => listing.replacements.push((by.clone(), offer)),
                (true, true, None) => {}
            }
        }
        listing
    }

    /// What would be installed: a package that another one replaces is not updated any more.
    pub(super) fn into_offers(self) -> Vec<Offer> {
        let Self { mut updates, replacements } = self;
        // A package may replace files of its own older versions: that is an update like any other.
        let stays = |offer: &Offer| {
            let of = |one: &Offer| one.is_of(&offer.name, &offer.architecture);
            let mut replaced = replacements.iter().filter(|(_, old)| of(old)).peekable();
            replaced.peek().is_none() || replaced.any(|(by, _)| of(by))
        };
        updates.retain(stays);
        let mut newest: Vec<Offer> = Vec::new();
        for (by, old) in replacements {
            if by.name == old.name
                || updates.iter().any(|one| one.is_of(&by.name, &by.architecture))
            {
                continue;
            }
            let replaces = Some(Replaced { name: old.name, version: old.version });
            let offer = Offer { replaces, ..by };
            match newest.iter_mut().find(|one| one.is_of(&offer.name, &offer.architecture)) {
                Some(one) if rpm::compare(&one.version, &offer.version).is_lt() => *one = offer,
                Some(_) => {}
                None => newest.push(offer),
            }
        }
        updates.extend(newest);
        updates
    }
}

/// A package that `update` would install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// The package.
    pub(super) offer: Offer,
    /// Whether it comes only because others need it.
    pub(super) is_dependency: bool,
}

/// Reads the table of a transaction: headings such as `Upgrading:` at the margin with rows of name,
/// architecture, version, repository and size below.
pub(super) fn transaction(text: &str) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    let mut section = None;
    for (is_indented, words) in rows(text, 4) {
        match words.as_slice() {
            ["replacing", old, version, ..] if section.is_some() => {
                let Some((name, _)) = old.rsplit_once('.') else { continue };
                if let Some(last) = planned.last_mut() {
                    let (name, version) = (name.to_owned(), (*version).to_owned());
                    last.offer.replaces = Some(Replaced { name, version });
                }
            }
            [name, architecture, version, origin, ..]
                if is_indented && rpm::is_architecture(architecture) && version.contains('-') =>
            {
                let Some(is_dependency) = section else { continue };
                let offer = Offer {
                    name: (*name).to_owned(),
                    architecture: (*architecture).to_owned(),
                    version: (*version).to_owned(),
                    origin: (*origin).to_owned(),
                    replaces: None,
                };
                planned.push(Planned { offer, is_dependency });
            }
            _ if !is_indented => section = heading(&words),
            _ => {}
        }
    }
    planned
}

/// Whether a heading is above packages that would be installed, and if so whether these come only
/// because others need them.
fn heading(words: &[&str]) -> Option<bool> {
    match words {
        ["Installing:" | "Upgrading:" | "Updating:"] => Some(false),
        ["Installing" | "Upgrading" | "Updating", .., "dependencies:"] => Some(true),
        _ => None,
    }
}

/// One package of a list: `name.architecture`, version and repository.
fn listed(words: &[&str]) -> Option<Offer> {
    let [package, version, origin] = words else { return None };
    let (name, architecture) = package.rsplit_once('.')?;
    let is_package = !name.is_empty() && rpm::is_architecture(architecture) && is_version(version);
    is_package.then(|| Offer {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: (*version).to_owned(),
        origin: (*origin).to_owned(),
        replaces: None,
    })
}

/// Whether a word may be version and release, with or without an epoch.
fn is_version(word: &str) -> bool {
    word.split_once('-').is_some_and(|(version, release)| {
        !version.is_empty() && !release.is_empty() && !release.contains('-')
    })
}

/// The rows of a table, each with whether it starts with a blank. A row that holds fewer words than
/// the table has columns, and starts with a package's name, goes on in the indented lines below.
fn rows(text: &str, columns: usize) -> impl Iterator<Item = (bool, Vec<&str>)> {
    let mut lines = text.lines().peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let is_indented = line.starts_with(' ');
        let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
        while is_cut_off(&words, columns)
            && let Some(next) = lines.next_if(|next| continues(line, next))
        {
            words.extend(next.split_ascii_whitespace());
        }
        Some((is_indented, words))
    })
}

/// Whether more words must follow.
fn is_cut_off(words: &[&str], columns: usize) -> bool {
    let Some(first) = words.first() else { return false };
    let is_name = !first.ends_with(':') && *first != "replacing";
    is_name && words.len() < columns
}

/// Whether a line goes on with the row of the one before: it stands deeper.
fn continues(line: &str, next: &str) -> bool {
    let depth = |line: &str| line.len() - line.trim_start().len();
    !next.trim().is_empty() && depth(next) > depth(line).max(DEEPEST_MARGIN)
}

/// How far in the rows of these tables begin at most; what continues them stands deeper still.
const DEEPEST_MARGIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn check_listing(text: &str, expect: &[&str]) {
        let offers = Listing::parse(text).into_offers();
        let seen: Vec<String> = offers.iter().map(shown).collect();
        assert_eq!(seen, expect);
    }

    fn shown(offer: &Offer) -> String {
        let Offer { name, architecture, version, origin, replaces } = offer;
        let replaces = replaces.as_ref().map(|old| format!(" for {}-{}", old.name, old.version));
        let replaces = replaces.unwrap_or_default();
        format!("{name} {architecture} {version} {origin}{replaces}")
    }

    #[test]
    fn rows_are_read_and_noise_is_not() {
        check_listing(
            "Loaded plugins: fastestmirror, product-id, search-disabled-repos, subscription-\n\
             \x20             : manager\n\
             This system is not registered with an entitlement server. You can use subscription-manager to register.\n\
             Updating Subscription Management repositories.\n\
             Loading mirror speeds from cached hostfile\n * base: mirror.example.org\n\
             Last metadata expiration check: 0:05:17 ago on Mon 28 Apr 2025 04:01:03 PM UTC.\n\
             updates                                         | 2.9 kB     00:00     \n\n\
             Available Upgrades\n\
             bash.x86_64             4.4.20-5.el8             baseos\n\
             a-long-package-name-that-does-not-fit.noarch\n\
             \x20                       1:1.0.20250202-1.el9_4.100 base   \n\
             short.x86_64            1.0.20250202.20250202.20250202-1.el9_4.100\n\
             \x20                                                base   \n\
             python3.11-libs.i686    3.11.2-2.el9             updates\n\
             \n Security: kernel-core-4.18.0-553.40.1.el8_10.x86_64 is an installed security update\n\
             Security: kernel-core-4.18.0-513.9.1.x86_64 is the currently running version\n",
            &[
                "bash x86_64 4.4.20-5.el8 baseos",
                "a-long-package-name-that-does-not-fit noarch 1:1.0.20250202-1.el9_4.100 base",
                "short x86_64 1.0.20250202.20250202.20250202-1.el9_4.100 base",
                "python3.11-libs i686 3.11.2-2.el9 updates",
            ],
        );
    }

    #[test]
    fn banners_of_distributions_are_no_packages() {
        check_listing(
            "Updating Subscription Management repositories.\n\
             Unable to read consumer identity\n\n\
             This system is registered with an entitlement server, but is not receiving updates. You can use subscription-manager to assign subscriptions.\n\n\
             amzn2-core                                               | 3.6 kB  00:00:00     \n\
             49 packages excluded due to repository priority protections\n\
             WARNING:\n  A newer release of \"Amazon Linux\" is available.\n\n\
             \x20 Available Versions:\n\n  Version 2023.6.20241010:\n\
             \x20   Run the following command to upgrade to 2023.6.20241010:\n\n\
             \x20     dnf upgrade --releasever=2023.6.20241010\n\n\
             \x20   Release notes:\n     https://docs.aws.amazon.com/linux/al2023/release-notes/relnotes.html\n\n\
             =========================================================================\n\n\
             kernel-uek.x86_64            5.15.0-302.167.6.el8uek          ol8_UEKR7\n\
             oraclelinux-release.x86_64   8:8.10-1.0.5.el8                 ol8_baseos_latest\n\
             libstdc++.i686               8.5.0-22.0.1.el8_10              ol8_baseos_latest\n\
             java-11-openjdk.x86_64       1:11.0.25.0.9-2.el8              @commandline\n\
             python3.12-pip-wheel.noarch  23.2.1-4.amzn2023.0.2            amazonlinux\n",
            &[
                "kernel-uek x86_64 5.15.0-302.167.6.el8uek ol8_UEKR7",
                "oraclelinux-release x86_64 8:8.10-1.0.5.el8 ol8_baseos_latest",
                "libstdc++ i686 8.5.0-22.0.1.el8_10 ol8_baseos_latest",
                "java-11-openjdk x86_64 1:11.0.25.0.9-2.el8 @commandline",
                "python3.12-pip-wheel noarch 23.2.1-4.amzn2023.0.2 amazonlinux",
            ],
        );
    }

    #[test]
    fn what_is_replaced_is_not_updated() {
        check_listing(
            "sdk.x86_64        468.0.0-1  cloud\ngrub.x86_64       1:2-5.el8  base\n\
             Obsoleting Packages\n\
             cli.x86_64        519.0.0-1  cloud\n    sdk.x86_64    455.0.0-1  @cloud\n\
             grub.x86_64       1:2-4.el8  base\n    grub.x86_64   1:2-3.el8  @base\n\
             grub-efi.x86_64   1:2-4.el8  base\n    grub.x86_64   1:2-3.el8  @base\n\
             grub-efi.x86_64   1:2-5.el8  base\n    grub.x86_64   1:2-3.el8  @base\n\
             Security: kernel-core-1-1.x86_64 is an installed security update\n",
            &[
                "grub x86_64 1:2-5.el8 base",
                "cli x86_64 519.0.0-1 cloud for sdk-455.0.0-1",
                "grub-efi x86_64 1:2-5.el8 base for grub-1:2-3.el8",
            ],
        );
    }

    #[test]
    fn a_transaction_tells_what_comes_for_what() {
        let text = "Last metadata expiration check: 0:05:19 ago.\nDependencies resolved.\n\
            ==========\n Package   Architecture  Version  Repository  Size\n==========\n\
            Installing:\n kernel      x86_64  4.18.0-553.el8  baseos  10 M\n\
            \x20cli         x86_64  519.0.0-1       cloud   98 M\n     replacing  sdk.x86_64 455.0.0-1\n\
            Upgrading:\n a-long-package-name-that-does-not-fit\n\
            \x20             noarch  1-2.el8         base    1 k\n\
            Installing dependencies:\n jq          x86_64  1.6-9.el8       base    2 k\n\
            Installing weak dependencies:\n weak        x86_64  1-1             base    2 k\n\
            Updating for dependencies:\n old-yum     noarch  3-1             base    2 k\n\
            Enabling module streams:\n nodejs              10\n\
            Removing:\n kernel      x86_64  4.18.0-513.el8  @baseos  0  \n\
            Skipping packages with broken dependencies:\n no          x86_64  1-1   base  1 k\n\n\
            Transaction Summary\n==========\nInstall  2 Packages\n";
        let seen: Vec<(String, bool)> =
            transaction(text).iter().map(|one| (shown(&one.offer), one.is_dependency)).collect();
        let expect = [
            ("kernel x86_64 4.18.0-553.el8 baseos", false),
            ("cli x86_64 519.0.0-1 cloud for sdk-455.0.0-1", false),
            ("a-long-package-name-that-does-not-fit noarch 1-2.el8 base", false),
            ("jq x86_64 1.6-9.el8 base", true),
            ("weak x86_64 1-1 base", true),
            ("old-yum noarch 3-1 base", true),
        ];
        assert_eq!(seen, expect.map(|(text, is)| (text.to_owned(), is)));
    }
}
