//! Reads rule files, and tells what is wrong with them and what would serve better.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::file::{self, Group};
use super::require::RequireOutcome;
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
    /// What would serve better: rules that notify nobody since they do not say what to do or what for.
    pub advice: Vec<Fault>,
    /// Rules that are meant to notify nobody, or not of everything.
    pub notes: Vec<Fault>,
}

impl Report {
    /// Whether the files can be used.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Takes the rules of a group that notify nobody, or not of everything.
    fn name_muted(&mut self, group: &Group, require: &RequireOutcome) {
        for rule in &group.rules {
            let Some(muted) = rule.muted(require.of(&group.file)) else { continue };
            let what = if muted.is_whole() { "notifies nobody" } else { "does not always notify" };
            let message = format!("`{}` {what}: {}", rule.name(), muted.reason());
            let (file, place) = (group.file.clone(), Some(rule.place));
            let list = if muted.is_meant() { &mut self.notes } else { &mut self.advice };
            list.push(Fault { file, place, message });
        }
    }
}

/// Reads every rule file of the given paths; a folder stands for its `*.yml` and `*.yaml` files. Where
/// actions are given, rules may ask for no others.
///
/// # Errors
/// With everything that is wrong with any of them.
pub fn load(paths: &[PathBuf], actions: Option<&BTreeSet<String>>) -> Result<Vec<Group>, Faults> {
    let mut groups = Vec::new();
    let mut faults = Vec::new();
    for result in read_all(paths) {
        match result {
            Ok(read) => groups.extend(read),
            Err(found) => faults.extend(found.0),
        }
    }
    faults.extend(actions.map(|actions| without_action(&groups, actions)).into_iter().flatten());
    if faults.is_empty() { Ok(groups) } else { Err(Faults(faults)) }
}

/// Checks every rule file of the given paths, and names the rules that notify nobody where it is required
/// that they say what to do and what for. Where actions are given, rules may ask for no others.
pub fn check(
    paths: &[PathBuf],
    require: &RequireOutcome,
    actions: Option<&BTreeSet<String>>,
) -> Report {
    let mut report = Report::default();
    for result in read_all(paths) {
        report.files += 1;
        match result {
            Ok(groups) => {
                report.groups += groups.len();
                report.rules += groups.iter().map(|group| group.rules.len()).sum::<usize>();
                groups.iter().for_each(|group| report.name_muted(group, require));
                let faults = actions.map(|actions| without_action(&groups, actions));
                report.faults.extend(faults.into_iter().flatten());
            }
            Err(faults) => report.faults.extend(faults.0),
        }
    }
    report
}

/// The rules that ask for an action that there is not.
fn without_action(groups: &[Group], actions: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for group in groups {
        for rule in &group.rules {
            let wanted = rule.predefined_action();
            let Some(wanted) = wanted.filter(|name| !actions.contains(*name)) else { continue };
            let name = rule.name();
            let message = format!(
                "`{name}` asks for the action `{wanted}`, which the configuration does not have"
            );
            faults.push(Fault { file: group.file.clone(), place: Some(rule.place), message });
        }
    }
    faults
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
        let report = check(&paths, &RequireOutcome::default(), None);
        assert_eq!((report.files, report.groups, report.rules), (3, 1, 1));
        let faults: Vec<_> = report.faults.iter().map(Fault::to_string).collect();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("b.yaml:1:46: "), "{faults:?}");
        assert!(faults[1].contains("absent.yml: cannot be read"), "{faults:?}");
        let advice = report.advice[0].to_string();
        assert!(advice.contains("a.yml:1:28: `A` notifies nobody"), "{advice}");
        assert!(!report.is_good() && load(&paths, None).is_err());
        assert_eq!(load(&[folder.path().join("a.yml")], None).unwrap().len(), 1);
    }

    #[test]
    fn every_rule_that_notifies_nobody_is_named_unless_its_file_is_excused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yml");
        let text = "groups:
- name: g
  rules:
  - {alert: Silent, expr: up}
  - {alert: Small, expr: up, labels: {severity: info}}
  - {alert: Varied, expr: up, labels: {severity: '{{ $labels.a }}'}, annotations: {action: a, outcome: b}}
  - {alert: Loud, expr: up, annotations: {action: a, outcome: b}}
";
        fs::write(&file, text).unwrap();
        let names = |of_all: bool, except: &[&str], advice: &[&str], notes: &[&str]| {
            let except = except.iter().map(|name| (*name).to_owned()).collect();
            let report =
                check(std::slice::from_ref(&file), &RequireOutcome { of_all, except }, None);
            let named = |faults: &[Fault]| -> Vec<String> {
                let messages = faults.iter().map(|fault| fault.message.clone());
                messages.map(|text| text.split('`').nth(1).unwrap().to_owned()).collect()
            };
            assert_eq!(
                (named(&report.advice), named(&report.notes)),
                (
                    advice.iter().map(|name| (*name).to_owned()).collect(),
                    notes.iter().map(|name| (*name).to_owned()).collect(),
                )
            );
        };
        names(true, &[], &["Silent"], &["Small", "Varied"]);
        names(true, &["b.yml"], &["Silent"], &["Small", "Varied"]);
        names(true, &["a.yml"], &[], &[]);
        names(false, &[], &[], &[]);
    }

    #[test]
    fn a_rule_that_asks_for_an_action_that_there_is_not_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yml");
        let check = |name: &str, actions: Option<&[&str]>, expect: Option<&str>| {
            let rule = format!("{{alert: A, expr: up, annotations: {{upkeep_action: '{name}'}}}}");
            fs::write(&file, format!("groups: [{{name: g, rules: [{rule}]}}]")).unwrap();
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let actions: Option<BTreeSet<String>> = actions.map(names);
            let paths = std::slice::from_ref(&file);
            let report = check(paths, &RequireOutcome::default(), actions.as_ref());
            let faults: Vec<_> = report.faults.iter().map(Fault::to_string).collect();
            assert_eq!(faults.len(), usize::from(expect.is_some()), "{name}: {faults:?}");
            let is_named = expect.is_none_or(|text| faults[0].contains(text));
            assert!(is_named, "{name}: {faults:?}");
            if let Some(actions) = actions {
                assert_eq!(load(paths, Some(&actions)).is_err(), expect.is_some(), "{name}");
            }
        };
        check("restart", Some(&["restart"]), None);
        check(" restart ", Some(&["restart"]), None);
        check("", Some(&[]), None);
        check("restart", None, None);
        check("restart", Some(&[]), Some("a.yml:1:28: `A` asks for the action `restart`"));
        check("Restart", Some(&["restart"]), Some("`Restart`"));
        check("re{{ $labels.a }}", None, Some("a.yml:1:"));
        check("re{{ $labels.a }}", Some(&["restart"]), Some("must name one action"));
    }
}
