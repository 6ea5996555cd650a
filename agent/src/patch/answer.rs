//! What package managers answer, and how they say that they cannot.

use std::time::Duration;

use crate::host::{Host, Output};

/// How long one question may take: a small device with a slow disk needs most of it.
pub(super) const DEADLINE: Duration = Duration::from_secs(180);

/// The longest reason that is shown.
const REASON_CHARACTERS: usize = 300;

/// How complaints start; the rest of what a failing manager prints is progress and advice.
const COMPLAINTS: [&str; 4] = ["error: ", "ERROR: ", "Error: ", "E: "];

/// Asks a manager, and takes its answer if it ended with one of the given statuses.
pub(super) fn ask(host: &Host, question: &[&str], statuses: &[i32]) -> Result<Output, String> {
    let output = host.run(question, DEADLINE).map_err(|error| error.to_string())?;
    if output.exit.is_some_and(|exit| statuses.contains(&exit)) {
        return Ok(output);
    }
    Err(failure(question.first().copied().unwrap_or_default(), &output))
}

/// Why a manager could not answer, in its own words.
pub(super) fn failure(program: &str, output: &Output) -> String {
    let end = output.exit.map_or("a signal".to_owned(), |exit| format!("status {exit}"));
    let complaints: Vec<&str> = output
        .stderr
        .lines()
        .chain(output.stdout.lines())
        .filter_map(|line| COMPLAINTS.iter().find_map(|start| line.trim().strip_prefix(start)))
        .map(|complaint| complaint.trim_end_matches('.'))
        .collect();
    let said = if complaints.is_empty() { output.stderr.trim() } else { &complaints.join("; ") };
    format!("{program} ended with {end}: {}", shortened(said))
}

/// A text of several lines as one, not too long to be shown.
pub(super) fn shortened(text: &str) -> String {
    let line = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(REASON_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_the_managers_words() {
        let check = |exit: Option<i32>, stdout: &str, stderr: &str, expect: &str| {
            let output = Output { exit, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
            assert_eq!(failure("dnf", &output), expect);
        };
        check(
            Some(1),
            "progress\n",
            "Unable to detect release version\nError: Error: rpmdb open failed\n",
            "dnf ended with status 1: Error: rpmdb open failed",
        );
        check(Some(2), "error: a\n", "error: b\n", "dnf ended with status 2: b; a");
        check(
            Some(100),
            "",
            "W: odd\nE: Unmet.\nE: Broken.\n",
            "dnf ended with status 100: Unmet; Broken",
        );
        check(
            None,
            "",
            "Failed to open\n  a lock\n",
            "dnf ended with a signal: Failed to open a lock",
        );
    }
}
