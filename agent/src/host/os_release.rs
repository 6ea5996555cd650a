//! What a distribution says about itself: the shell assignments of os-release.

use std::collections::HashMap;

/// Where the file is looked for, in this order.
pub(super) const FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// The content of os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    file: &'static str,
    values: HashMap<String, (usize, String)>,
}

impl OsRelease {
    /// Reads the assignments; lines that are none are passed over, as a shell's user would.
    pub(super) fn parse(file: &'static str, text: &str) -> Self {
        let numbered = text.lines().enumerate();
        let values = numbered
            .filter_map(|(at, line)| {
                let (key, value) = line.trim().split_once('=')?;
                let is_comment = key.starts_with('#');
                (!is_comment).then(|| (key.to_owned(), (at + 1, unquote(value))))
            })
            .collect();
        Self { file, values }
    }

    /// The value of a key; empty if it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |(_, value)| value)
    }

    /// The line of a key, counted from 1; 0 if it is not there.
    pub fn line(&self, key: &str) -> usize {
        self.values.get(key).map_or(0, |&(line, _)| line)
    }

    /// The file it was read from, relative to the root.
    pub fn file(&self) -> &'static str {
        self.file
    }
}

/// Takes a shell's quotes off: within double quotes and outside of any, a backslash keeps the
/// character after it.
fn unquote(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None | Some('"'), '\\') => plain.extend(letters.next()),
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_a_shell_would() {
        let text =
            "# A=comment\nNAME=\"a \\\"b\\\" \\$c\"\n\nID=debian\nLIKE='x\\y z'\nbroken\nEMPTY=\n";
        let release = OsRelease::parse("etc/os-release", text);
        let check = |key: &str, expect: &str| assert_eq!(release.get(key), expect, "{key}");
        check("NAME", "a \"b\" $c");
        check("ID", "debian");
        check("LIKE", "x\\y z");
        check("EMPTY", "");
        check("# A", "");
        assert_eq!((release.line("ID"), release.line("none")), (4, 0));
    }
}
