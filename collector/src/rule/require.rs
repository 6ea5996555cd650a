//! Which rules must say what to do and what for, so that they notify.

use std::path::Path;

/// Whether rules must have `action` and `outcome`, and be above the severity `info`, to notify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireOutcome {
    /// Whether it is so at all.
    pub of_all: bool,
    /// The files, by name, of which it is not.
    pub except: Vec<String>,
}

impl Default for RequireOutcome {
    fn default() -> Self {
        Self { of_all: true, except: Vec::new() }
    }
}

impl RequireOutcome {
    /// As the configuration has it.
    pub fn new(of_all: bool, except: &[String]) -> Self {
        Self { of_all, except: except.to_vec() }
    }

    /// Whether it is so of the rules of a file.
    pub fn of(&self, file: &Path) -> bool {
        self.of_all && !self.except.iter().any(|name| file.file_name() == Some(name.as_ref()))
    }

    /// The names that no file has: they excuse nobody, which is a mistake.
    pub fn without_file<'a>(
        &'a self,
        files: impl Iterator<Item = &'a Path> + Clone,
    ) -> impl Iterator<Item = &'a str> {
        let is_there =
            move |name: &str| files.clone().any(|file| file.file_name() == Some(name.as_ref()));
        self.except.iter().map(String::as_str).filter(move |name| !is_there(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_excused_by_its_name() {
        let check = |of_all: bool, except: &[&str], expect: bool| {
            let except = except.iter().map(|name| (*name).to_owned()).collect();
            let require = RequireOutcome { of_all, except };
            let is_required = require.of(Path::new("/etc/upkeep/rules.d/node.yml"));
            assert_eq!(is_required, expect, "{require:?}");
        };
        check(true, &[], true);
        check(true, &["other.yml", "node"], true);
        check(true, &["other.yml", "node.yml"], false);
        check(false, &[], false);

        let except = vec!["a.yml".to_owned(), "b.yml".to_owned()];
        let require = RequireOutcome { of_all: true, except };
        let files = [Path::new("/r/b.yml"), Path::new("/r/c.yml")];
        let unused: Vec<_> = require.without_file(files.into_iter()).collect();
        assert_eq!(unused, ["a.yml"]);
    }
}
