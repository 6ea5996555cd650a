//! Reads rule files, and tells what is wrong with them and what would serve better.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::{self, Group};
use super::snapshot::Muted;
use crate::yaml::{Fault, FaultList, Faults};

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many files were read.
    pub files: usize,
    /// How many groups the files without faults have.
    pub groups: usize,
    /// How many rules the files without faults have.
    pub rules: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What would serve better: rules that notify nobody.
    pub advice: Vec<Fault>,
}

impl Report {
    /// Whether the files can be used.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Reads every rule file of the given paths; a folder stands for its `*.yml` and `*.yaml` files.
///
/// # Errors
/// With everything that is wrong with any of them.
pub fn load(paths: &[PathBuf]) -> Result<Vec<Group>, Faults> {
    let mut groups = Vec::new();
    let mut faults = Vec::new();
    for result in read_all(paths) {
        match result {
            Ok(read) => groups.extend(read),
            Err(found) => faults.extend(found.0),
        }
    }
    if faults.is_empty() { Ok(groups) } else { Err(Faults(faults)) }
}

/// Checks every rule file of the given paths.
pub fn check(paths: &[PathBuf]) -> Report {
    let mut report = Report::default();
    for result in read_all(paths) {
        report.files += 1;
        match result {
            Ok(groups) => {
                report.groups += groups.len();
                report.rules += groups.iter().map(|group| group.rules.len()).sum::<usize>();
                report.advice.extend(groups.iter().flat_map(advice));
            }
            Err(faults) => report.faults.extend(faults.0),
        }
    }
    report
}

/// The rules of a group that would notify if they said what to do and what for.
fn advice(group: &Group) -> Vec<Fault> {
    let muted = group.rules.iter().filter_map(|rule| {
        let muted = rule.muted(true).filter(|muted| *muted != Muted::Informational)?;
        Some(Fault {
            file: group.file.clone(),
            place: Some(rule.place),
            message: format!("`{}` notifies nobody: {}", rule.name(), muted.reason()),
        })
    });
    muted.collect()
}

fn read_all(paths: &[PathBuf]) -> Vec<Result<Vec<Group>, Faults>> {
    let mut results = Vec::new();
    for path in paths {
        match rule_files(path) {
            Ok(files) => results.extend(files.iter().map(|file| file::read(file))),
            Err(faults) => results.push(Err(faults)),
        }
    }
    results
}

/// The rule files that a path stands for, in order of their names.
fn rule_files(path: &Path) -> Result<Vec<PathBuf>, Faults> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let mut faults = FaultList::new(path);
    let mut files: Vec<_> = match entries {
        Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
        Err(error) => {
            faults.whole(format!("cannot be read: {error}"));
            Vec::new()
        }
    };
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yml" | "yaml"))
    });
    files.sort();
    faults.into_result(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_checked_whole() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.yml", "groups: [{name: g, rules: [{alert: A, expr: up}]}]");
        write("b.yaml", "groups: [{name: g, rules: [{record: r, expr: 'up +'}]}]");
        write("notes.txt", "no rules");
        let paths = [folder.path().to_owned(), folder.path().join("absent.yml")];
        let report = check(&paths);
        assert_eq!((report.files, report.groups, report.rules), (3, 1, 1));
        let faults: Vec<_> = report.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("b.yaml:1:46: "), "{faults:?}");
        assert!(faults[1].contains("absent.yml: cannot be read"), "{faults:?}");
        let advice = report.advice[0].to_string();
        assert!(advice.contains("a.yml:1:28: `A` notifies nobody"), "{advice}");
        assert!(!report.is_good() && load(&paths).is_err());
        assert_eq!(load(&[folder.path().join("a.yml")]).unwrap().len(), 1);
    }
}
