//! What apt would choose for packages that it keeps back: `apt-cache policy`.

use std::collections::HashMap;
use std::time::Duration;

use crate::host::Host;

const DEADLINE: Duration = Duration::from_secs(60);

/// A version that apt would choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The version.
    pub(super) version: String,
    /// The suites and components that offer it, such as `bookworm-security/main`.
    pub(super) origins: Vec<String>,
}

impl Candidate {
    /// Whether one of its suites is for security updates.
    pub(super) fn is_security(&self) -> bool {
        self.origins.iter().any(|origin| {
            let suite = origin.split('/').next().unwrap_or_default();
            suite.ends_with("-security")
        })
    }
}

/// Asks for the candidates of packages; what cannot be told is missing.
pub(super) fn candidates(host: &Host, names: &[String]) -> HashMap<String, Candidate> {
    let mut arguments = vec!["apt-cache", "policy"];
    arguments.extend(names.iter().map(String::as_str));
    match host.run(&arguments, DEADLINE) {
        Ok(output) if output.exit == Some(0) => parse(&output.stdout),
        _ => HashMap::new(),
    }
}

/// Reads one block a package: its name at the margin, its candidate, and a table of versions, each
/// followed by deeper lines that say where it comes from.
fn parse(text: &str) -> HashMap<String, Candidate> {
    let mut found: HashMap<String, Candidate> = HashMap::new();
    let mut package = String::new();
    let mut in_candidate = false;
    for line in text.lines() {
        let depth = line.len() - line.trim_start_matches([' ', '*']).len();
        let words: Vec<&str> =
            line.split_ascii_whitespace().filter(|word| *word != "***").collect();
        match (depth, words.as_slice()) {
            (0, [name]) => {
                package = name.trim_end_matches(':').to_owned();
                in_candidate = false;
            }
            (2, ["Candidate:", version]) if *version != "(none)" => {
                let candidate = Candidate { version: (*version).to_owned(), origins: Vec::new() };
                found.insert(package.clone(), candidate);
            }
            (5, [version, ..]) => {
                in_candidate = found.get(&package).is_some_and(|found| found.version == *version);
            }
            (8.., [_, _, origin, ..]) if in_candidate => {
                if let Some(candidate) = found.get_mut(&package) {
                    candidate.origins.push((*origin).to_owned());
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

    #[test]
    fn candidates_and_where_they_come_from_are_read() {
        let text = "bash:\n  Installed: 5.2-2\n  Candidate: 5.2-3\n  Version table:\n     5.2-3 500\n\
            \x20       500 http://deb.example.org/debian-security bookworm-security/main amd64 Packages\n\
            \x20       500 http://deb.example.org/debian bookworm/main amd64 Packages\n\
            \x20*** 5.2-2 100\n        100 /var/lib/dpkg/status\n\
            gone:\n  Installed: 1\n  Candidate: (none)\n  Version table:\n\
            pinned:\n  Installed: 1\n  Candidate: 1\n  Version table:\n\
            \x20    2 500\n        500 http://deb.example.org bookworm-security/main amd64 Packages\n\
            \x20*** 1 990\n        990 http://deb.example.org bookworm/main amd64 Packages\n\
            mine:\n  Installed: 1\n  Candidate: 1\n  Version table:\n *** 1 100\n\
            \x20       100 /var/lib/dpkg/status\n";
        let found = parse(text);
        let bash = &found["bash"];
        assert_eq!(bash.version, "5.2-3");
        assert_eq!(bash.origins, ["bookworm-security/main", "bookworm/main"]);
        assert!(bash.is_security() && !found["mine"].is_security());
        assert_eq!(found["pinned"].origins, ["bookworm/main"]);
        assert!(!found.contains_key("gone"));
    }
}
