//! Which versions apt knows of a package, and which of them it would choose: `apt-cache policy`.

use std::collections::HashMap;
use std::time::Duration;

use super::apt_plan;
use crate::host::Host;

const DEADLINE: Duration = Duration::from_secs(60);

/// What `apt-cache policy` says of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PackagePolicy {
    /// The version that apt would choose.
    pub(super) candidate: String,
    /// What is known, the newest first.
    offers: Vec<Offer>,
}

/// A version of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// The version.
    pub(super) version: String,
    /// Whether it is the installed one.
    is_installed: bool,
    /// Whether it is offered to a part of all hosts only.
    pub(super) is_phased: bool,
    /// The sources that offer it, as apt writes them: `http://… bookworm/main amd64 Packages`.
    sources: Vec<String>,
}

impl PackagePolicy {
    /// The version that apt would choose, with what is known about it.
    pub(super) fn chosen(&self) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.version == self.candidate)
    }

    /// The newest version, if it is newer than the installed one.
    pub(super) fn newest(&self) -> Option<&Offer> {
        self.offers.first().filter(|offer| !offer.is_installed)
    }

    /// What is newer than the installed version, up to the one that apt would choose.
    pub(super) fn on_the_way(&self) -> impl Iterator<Item = &Offer> {
        let from_chosen = self.offers.iter().skip_while(|offer| offer.version != self.candidate);
        from_chosen.take_while(|offer| !offer.is_installed)
    }
}

/// What `apt-cache policy` says of the sources, when it is asked for no package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourcePolicy {
    /// What the sources are, as in the simulation: `Debian-Security:12/stable-security`.
    origins: HashMap<String, String>,
    /// The packages that preferences name.
    pub(super) pinned: Vec<String>,
}

impl SourcePolicy {
    /// Asks apt; what it cannot tell is missing.
    pub(super) fn ask(host: &Host) -> Self {
        answer(host, &[]).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// Reads one line a source with its priority, followed by deeper ones that describe it, and then
    /// the packages for which there are preferences.
    fn parse(text: &str) -> Self {
        let mut policy = Self::default();
        let mut source = String::new();
        let mut among_pinned = false;
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                [_, "packages:"] => among_pinned = words.first() == Some(&"Pinned"),
                [name, "->", ..] if among_pinned => {
                    let is_again = policy.pinned.last().is_some_and(|last| last == name);
                    if !is_again {
                        policy.pinned.push((*name).to_owned());
                    }
                }
                ["release", fields @ ..] => {
                    let origin = origin(&fields.join(" "));
                    policy.origins.insert(source.clone(), origin);
                }
                ["origin", site] => {
                    let described = policy.origins.get_mut(&source);
                    // A source without a suite is told by its site.
                    if let Some(origin) = described.filter(|origin| origin.ends_with(':')) {
                        origin.push_str(site);
                    }
                }
                [priority, rest @ ..] if priority.parse::<i32>().is_ok() => source = rest.join(" "),
                _ => {}
            }
        }
        policy
    }

    /// Where an offer comes from: as in the simulation, or the suite and component of a source of
    /// which no more is known.
    pub(super) fn origin_of(&self, offer: &Offer) -> String {
        let mut origins: Vec<&str> = Vec::new();
        for source in &offer.sources {
            let known = self.origins.get(source).map(String::as_str);
            let origin = known.or_else(|| source.split(' ').nth(1));
            origins.extend(origin.filter(|origin| !origins.contains(origin)));
        }
        origins.join(", ")
    }

    /// Whether one of an offer's sources is for security updates.
    pub(super) fn is_security(&self, offer: &Offer) -> bool {
        offer.sources.iter().any(|source| match self.origins.get(source) {
            Some(origin) => apt_plan::is_security(origin),
            None => source.split(' ').nth(1).is_some_and(is_security_suite),
        })
    }
}

/// `Label:1.2/archive` of a line such as `v=1.2,o=Origin,a=archive,n=name,l=Label,c=main,b=amd64`.
fn origin(fields: &str) -> String {
    let field = |key: &str| {
        let value = fields.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        value.filter(|value| !value.is_empty())
    };
    let label = field("l").map(|label| format!("{label}:")).unwrap_or_default();
    let version = field("v").map(|version| format!("{version}/")).unwrap_or_default();
    match field("a") {
        Some(archive) => format!("{label}{version}{archive}"),
        None => label,
    }
}

/// Whether a suite such as `bookworm-security/main` is for security updates. Until Debian 10 its
/// name was of the form `buster/updates/main`.
fn is_security_suite(suite: &str) -> bool {
    let mut parts = suite.split('/');
    let name = parts.next().unwrap_or_default();
    let is_old_form = parts.next() == Some("updates") && parts.next().is_some();
    is_old_form || name.ends_with("-security")
}

/// Asks what apt knows of packages; what it cannot tell is missing.
pub(super) fn packages(host: &Host, names: &[&str]) -> HashMap<String, PackagePolicy> {
    if names.is_empty() {
        return HashMap::new();
    }
    answer(host, names).map(|text| parse(&text)).unwrap_or_default()
}

fn answer(host: &Host, names: &[&str]) -> Option<String> {
    let arguments = [&["apt-cache", "policy"], names].concat();
    let output = host.run(&arguments, DEADLINE).ok()?;
    (output.exit == Some(0)).then_some(output.stdout)
}

/// Reads one block a package: its name at the margin, its candidate, and a table of versions, each
/// followed by deeper lines that say where it comes from.
fn parse(text: &str) -> HashMap<String, PackagePolicy> {
    let mut found: HashMap<String, PackagePolicy> = HashMap::new();
    let mut package = String::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start_matches([' ', '*']).len();
        let is_installed = line.starts_with(" ***");
        let words: Vec<&str> =
            line.split_ascii_whitespace().filter(|word| *word != "***").collect();
        if let (0, [name]) = (depth, words.as_slice()) {
            name.trim_end_matches(':').clone_into(&mut package);
            continue;
        }
        let policy = found.entry(package.clone()).or_default();
        match (depth, words.as_slice()) {
            (2, ["Candidate:", version]) => (*version).clone_into(&mut policy.candidate),
            (5, [version, rest @ ..]) => policy.offers.push(Offer {
                version: (*version).to_owned(),
                is_installed,
                is_phased: rest.contains(&"(phased"),
                sources: Vec::new(),
            }),
            // The package database, which knows what is installed, is no source of anything.
            (8.., [_priority, source @ ..]) if source.len() > 1 => {
                if let Some(offer) = policy.offers.last_mut() {
                    offer.sources.push(source.join(" "));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: &str = "Package files:\n 100 /var/lib/dpkg/status\n     release a=now\n\
        \x20500 http://deb.example.org/debian bookworm/main amd64 Packages\n\
        \x20    release v=12.8,o=Debian,a=stable,n=bookworm,l=Debian,c=main,b=amd64\n\
        \x20    origin deb.example.org\n\
        \x20500 http://deb.example.org/security stable-x/main amd64 Packages\n\
        \x20    release v=12,o=Debian,a=stable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64\n\
        \x20500 file:/srv/deb ./ Packages\n     release o=My Own,n=my-security,l=My Own,c=\n\
        Pinned packages:\n     docker-ce -> 5:20.10 with priority 1001\n\
        \x20    docker-ce -> 5:20.09 with priority 1001\n     nginx -> (not found)\n";

    /// The chosen version of each package, where it comes from, and what lies on the way to it.
    fn seen(text: &str, sources: &SourcePolicy, name: &str) -> String {
        let packages = parse(text);
        let Some(policy) = packages.get(name) else { return "nothing".to_owned() };
        let tell = |offer: &Offer| {
            let marks = [(offer.is_phased, " phased"), (sources.is_security(offer), " security")];
            let marks = marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| *mark);
            format!("{} ({}){}", offer.version, sources.origin_of(offer), marks.collect::<String>())
        };
        let chosen = policy.chosen().map_or("none".to_owned(), tell);
        let way: Vec<_> = policy.on_the_way().map(|offer| offer.version.as_str()).collect();
        let newest = policy.newest().map_or("none", |offer| &offer.version);
        format!("{chosen}; on the way {}; newest {newest}", way.join(" "))
    }

    #[test]
    fn candidates_and_where_they_come_from_are_read() {
        let text = "bash:\n  Installed: 5.2-2\n  Candidate: 5.2-4\n  Version table:\n     5.2-4 500\n\
            \x20       500 http://deb.example.org/debian bookworm/main amd64 Packages\n\
            \x20    5.2-3 500\n\
            \x20       500 http://deb.example.org/security stable-x/main amd64 Packages\n\
            \x20       500 http://deb.example.org/debian bookworm/main amd64 Packages\n\
            \x20*** 5.2-2 100\n        100 /var/lib/dpkg/status\n\
            gone:\n  Installed: 1\n  Candidate: (none)\n  Version table:\n\
            pinned:\n  Installed: 1\n  Candidate: 1\n  Version table:\n\
            \x20    2 500\n        500 http://deb.example.org bookworm-security/main amd64 Packages\n\
            \x20*** 1 990\n        990 http://deb.example.org bookworm/main amd64 Packages\n\
            mine:i386:\n  Installed: 1\n  Candidate: 2\n  Version table:\n     2 500 (phased 40%)\n\
            \x20       500 file:/srv/deb ./ Packages\n *** 1 100\n        100 /var/lib/dpkg/status\n\
            old:\n  Installed: 1\n  Candidate: 2\n  Version table:\n     2 500\n\
            \x20       500 http://x.example.org buster/updates/main amd64 Packages\n *** 1 100\n";
        let sources = SourcePolicy::parse(SOURCES);
        let check = |name: &str, expect: &str| assert_eq!(seen(text, &sources, name), expect);
        check("bash", "5.2-4 (Debian:12.8/stable); on the way 5.2-4 5.2-3; newest 5.2-4");
        check("gone", "none; on the way ; newest none");
        check("pinned", "1 (bookworm/main); on the way ; newest 2");
        check("mine:i386", "2 (My Own:) phased; on the way 2; newest 2");
        check("old", "2 (buster/updates/main) security; on the way 2; newest 2");
        check("other", "nothing");
        let bash = &parse(text)["bash"];
        let way: Vec<_> = bash.on_the_way().map(|offer| sources.is_security(offer)).collect();
        assert_eq!(way, [false, true]);
        let newest = parse(text)["pinned"].newest().unwrap().clone();
        assert!(SourcePolicy::default().is_security(&newest));
    }

    #[test]
    fn sources_and_pins_are_read() {
        let policy = SourcePolicy::parse(SOURCES);
        assert_eq!(policy.pinned, ["docker-ce", "nginx"]);
        let origin =
            policy.origins.get("http://deb.example.org/security stable-x/main amd64 Packages");
        assert_eq!(origin.unwrap(), "Debian-Security:12/stable-security");
    }
}
