//! How far dpkg got, and which packages the administrator put on hold.

use crate::host::{Host, HostError, Tree};
use crate::package::dpkg;

/// Where dpkg notes what it is about to do; it empties the folder when it is done.
const JOURNAL: &str = "var/lib/dpkg/updates";

/// The states of packages that are neither in nor out. Triggers that wait are not among them: they
/// keep nothing from working.
const UNFINISHED: [&str; 3] = ["half-installed", "half-configured", "unpacked"];

/// So many packages are named in a reason.
const NAMED: usize = 5;

/// What dpkg's files say beside the versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DpkgState {
    /// The packages on hold: name and architecture.
    held: Vec<(String, String)>,
    /// The packages that are not fully installed, with their state.
    unfinished: Vec<(String, String)>,
    /// Whether dpkg works at this moment or was interrupted.
    is_under_way: bool,
}

/// One paragraph of dpkg's database, as far as it matters.
#[derive(Default)]
struct Paragraph {
    name: String,
    architecture: String,
    /// What is wanted, a flag, and what is there: `hold ok installed`.
    status: String,
}

impl DpkgState {
    /// Reads the state; nothing is the matter where the host has no such files.
    pub(super) fn read(host: &Host) -> Result<Self, HostError> {
        let mut state = Self::default();
        let mut paragraph = Paragraph::default();
        let read =
            host.each_line(Tree::Root, dpkg::STATUS, |line| state.line(&mut paragraph, line));
        match read {
            Err(error) if !error.is_absent() => return Err(error),
            _ => state.end(paragraph),
        }
        let journal = host.list_if_present(Tree::Root, JOURNAL)?;
        let is_note =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        state.is_under_way = journal.iter().any(|entry| is_note(&entry.name));
        Ok(state)
    }

    fn line(&mut self, paragraph: &mut Paragraph, line: &str) {
        if line.is_empty() {
            return self.end(std::mem::take(paragraph));
        }
        let field = match line.split_once(": ") {
            Some(("Package", value)) => (&mut paragraph.name, value),
            Some(("Architecture", value)) => (&mut paragraph.architecture, value),
            Some(("Status", value)) => (&mut paragraph.status, value),
            _ => return,
        };
        field.1.clone_into(field.0);
    }

    fn end(&mut self, paragraph: Paragraph) {
        let Paragraph { name, architecture, status } = paragraph;
        let mut words = status.split(' ');
        let (wanted, there) = (words.next(), words.next_back());
        if name.is_empty() {
            return;
        }
        if let Some(there) = there.filter(|there| UNFINISHED.contains(there)) {
            self.unfinished.push((name.clone(), there.to_owned()));
        }
        if wanted == Some("hold") {
            self.held.push((name, architecture));
        }
    }

    /// Why apt would refuse to install anything.
    pub(super) fn trouble(&self) -> Option<String> {
        if !self.unfinished.is_empty() {
            let named: Vec<_> = self.unfinished.iter().take(NAMED).collect();
            let named: Vec<_> =
                named.iter().map(|(name, status)| format!("{name} ({status})")).collect();
            let more = match self.unfinished.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = named.join(", ");
            return Some(format!("not fully installed: {named}{more}; run `dpkg --configure -a`"));
        }
        self.is_under_way.then(|| {
            "dpkg is at work or was interrupted; if it does not run, run `dpkg --configure -a`"
                .to_owned()
        })
    }

    /// Whether a package is on hold; its name may have an architecture after a colon.
    pub(super) fn is_held(&self, name: &str) -> bool {
        let (name, wanted) = name.split_once(':').unwrap_or((name, ""));
        self.held.iter().any(|(held, architecture)| {
            held == name && (wanted.is_empty() || wanted == architecture)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DpkgState {
        let mut state = DpkgState::default();
        let mut paragraph = Paragraph::default();
        text.lines().for_each(|line| state.line(&mut paragraph, line));
        state.end(paragraph);
        state
    }

    #[test]
    fn holds_and_unfinished_packages_are_found() {
        let text = "Package: a\nStatus: hold ok installed\nArchitecture: amd64\n\n\
            Package: a\nStatus: install ok installed\nArchitecture: i386\n\n\
            Package: b\nStatus: install ok installed\nConffiles:\n /etc/x 0123 obsolete\n\n\
            Package: c\nStatus: deinstall ok config-files\n\n\
            Package: d\nStatus: install ok triggers-pending\n";
        let state = parse(text);
        assert_eq!(state.trouble(), None);
        let held = ["a", "a:amd64", "a:i386", "b"].map(|name| state.is_held(name));
        assert_eq!(held, [true, true, false, false]);
    }

    #[test]
    fn what_keeps_apt_from_working_is_told() {
        let check = |statuses: &[&str], is_under_way: bool, expect: Option<&str>| {
            let paragraphs = statuses.iter().enumerate();
            let text: String = paragraphs
                .map(|(at, status)| format!("Package: p{at}\nStatus: {status}\n\n"))
                .collect();
            let state = DpkgState { is_under_way, ..parse(&text) };
            assert_eq!(state.trouble().as_deref(), expect);
        };
        check(&["install ok installed"], false, None);
        check(
            &["install ok half-configured", "install reinstreq half-installed"],
            true,
            Some(
                "not fully installed: p0 (half-configured), p1 (half-installed); \
                 run `dpkg --configure -a`",
            ),
        );
        check(
            &["install ok unpacked"; 7],
            false,
            Some(
                "not fully installed: p0 (unpacked), p1 (unpacked), p2 (unpacked), p3 (unpacked), \
                 p4 (unpacked) and 2 more; run `dpkg --configure -a`",
            ),
        );
        check(
            &[],
            true,
            Some(
                "dpkg is at work or was interrupted; if it does not run, run `dpkg --configure -a`",
            ),
        );
    }
}
