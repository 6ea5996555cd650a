//! Kernel settings of the administrator's choice: `/proc/sys`.

use std::str::FromStr;

use thiserror::Error;
use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const INFO: (&str, &str) = ("node_sysctl_info", "A word of a kernel setting.");

/// A kernel setting whose numbers are shown, such as `kernel.threads-max`, or
/// `fs.file-nr:total,current,max` with a name for each number. Dots divide the name as slashes do;
/// where it has slashes, a dot is a dot: `net/ipv4/conf/eth0.7/forwarding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    name: String,
    fields: Vec<String>,
}

/// Why something does not name a kernel setting.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SysctlError {
    /// The name is not one of a file beneath `/proc/sys`.
    #[error("{0:?} does not name a kernel setting such as \"kernel.threads-max\"")]
    Name(String),
    /// The name of a number cannot be part of a metric's name.
    #[error("{0:?} cannot be part of a metric's name")]
    Field(String),
}

impl FromStr for Sysctl {
    type Err = SysctlError;

    fn from_str(text: &str) -> Result<Self, SysctlError> {
        let (name, fields) = match text.split_once(':') {
            Some((name, fields)) => (name, fields.split(',').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        if file_of(name).split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return Err(SysctlError::Name(name.to_owned()));
        }
        let is_part = |field: &&String| {
            !field.is_empty()
                && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match fields.iter().find(|field| !is_part(field)) {
            Some(field) => Err(SysctlError::Field(field.clone())),
            None => Ok(Self { name: name.to_owned(), fields }),
        }
    }
}

/// Kernel settings as `node_sysctl_<name>`, and words of kernel settings as `node_sysctl_info`.
#[derive(Clone, Debug, Default)]
pub struct SysctlProbe {
    numbers: Vec<Sysctl>,
    words: Vec<Sysctl>,
}

impl SysctlProbe {
    /// A probe of settings with numbers and of settings with words.
    pub fn new(numbers: Vec<Sysctl>, words: Vec<Sysctl>) -> Self {
        Self { numbers, words }
    }
}

impl Probe for SysctlProbe {
    fn name(&self) -> &'static str {
        "sysctl"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for sysctl in &self.numbers {
            let file = format!("sys/{}", file_of(&sysctl.name));
            if let Some(text) = faults.keep(host.read(Tree::Proc, &file)) {
                observe_numbers(sysctl, &file, &text, &mut faults, out);
            }
        }
        for sysctl in &self.words {
            let file = format!("sys/{}", file_of(&sysctl.name));
            if let Some(text) = faults.keep(host.read(Tree::Proc, &file)) {
                observe_words(sysctl, &text, out);
            }
        }
        faults.into_result()
    }
}

fn observe_numbers(
    sysctl: &Sysctl,
    file: &str,
    text: &str,
    faults: &mut Faults,
    out: &mut Observation,
) {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() {
        faults.value(file, 1, &sysctl.name, "missing");
        return;
    }
    if !sysctl.fields.is_empty() && sysctl.fields.len() != words.len() {
        let fault = format!("{} numbers, but {} names", words.len(), sysctl.fields.len());
        faults.value(file, 1, &sysctl.name, fault);
        return;
    }
    let metric = format!("node_sysctl_{}", metric_part(&sysctl.name));
    let help = format!("The kernel setting {}.", sysctl.name);
    for (at, word) in words.iter().enumerate() {
        let Some(value) = faults.number(file, 1, &sysctl.name, Some(word)) else { continue };
        match sysctl.fields.get(at) {
            Some(field) => out.untyped(&format!("{metric}_{field}"), &help, &[], value),
            None if words.len() == 1 => out.untyped(&metric, &help, &[], value),
            None => out.untyped(&metric, &help, &[("index", &at.to_string())], value),
        }
    }
}

fn observe_words(sysctl: &Sysctl, text: &str, out: &mut Observation) {
    let (metric, help) = INFO;
    for (at, word) in text.split_ascii_whitespace().enumerate() {
        let index = at.to_string();
        let labels = [("index", index.as_str()), ("name", &sysctl.name), ("value", word)];
        out.gauge(metric, help, &labels, 1.0);
    }
}

/// The file of a setting beneath `/proc/sys`.
fn file_of(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { name.replace('.', "/") }
}

fn metric_part(name: &str) -> String {
    let keep = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    name.chars().map(|letter| if keep(letter) { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn only_names_of_settings_are_taken() {
        let check = |text: &str, expect: Result<(&str, usize), SysctlError>| {
            let read = text.parse::<Sysctl>();
            let seen = read.as_ref().map(|sysctl| (file_of(&sysctl.name), sysctl.fields.len()));
            let expect = expect.map(|(file, fields)| (file.to_owned(), fields));
            assert_eq!(seen, expect.as_ref().map(|(file, fields)| (file.clone(), *fields)));
        };
        check("kernel.threads-max", Ok(("kernel/threads-max", 0)));
        check("fs.file-nr:total,current,max", Ok(("fs/file-nr", 3)));
        check("net/ipv4/conf/eth0.7/forwarding", Ok(("net/ipv4/conf/eth0.7/forwarding", 0)));
        for name in ["", "a..b", "../../etc/passwd", "/etc/passwd", "net/./x", "a/.."] {
            check(name, Err(SysctlError::Name(name.to_owned())));
        }
        check("fs.file-nr:a,,b", Err(SysctlError::Field(String::new())));
        check("fs.file-nr:a-b", Err(SysctlError::Field("a-b".to_owned())));
    }

    #[test]
    fn settings_are_shown_whole_by_index_or_by_name() {
        let (_folder, host) = host_with(&[
            ("proc/sys/kernel/threads-max", b"7801\n"),
            ("proc/sys/fs/file-nr", b"1024\t0\t99\n"),
            ("proc/sys/kernel/empty", b"\n"),
            ("proc/sys/kernel/odd", b"5 x\n"),
            ("proc/sys/kernel/seccomp/actions_avail", b"trap errno\n"),
        ]);
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let numbers = [
            "kernel.threads-max",
            "fs.file-nr",
            "fs.file-nr:total,current,max",
            "fs.file-nr:one,two",
            "kernel.empty",
            "kernel.odd",
        ];
        let probe = SysctlProbe::new(parse(&numbers), parse(&["kernel.seccomp.actions_avail"]));
        let mut out = Observation::at(0);
        assert_eq!(
            probe.observe(&host, &mut out).unwrap_err().to_string(),
            "sys/fs/file-nr, line 1, fs.file-nr: 3 numbers, but 2 names; \
             sys/kernel/empty, line 1, kernel.empty: missing; \
             sys/kernel/odd, line 1, kernel.odd: \"x\" is not a number"
        );
        let name = "kernel.seccomp.actions_avail";
        assert_eq!(
            page_of(&out),
            [
                "node_sysctl_fs_file_nr_current 0".to_owned(),
                "node_sysctl_fs_file_nr_max 99".to_owned(),
                "node_sysctl_fs_file_nr_total 1024".to_owned(),
                "node_sysctl_fs_file_nr{index=\"0\"} 1024".to_owned(),
                "node_sysctl_fs_file_nr{index=\"1\"} 0".to_owned(),
                "node_sysctl_fs_file_nr{index=\"2\"} 99".to_owned(),
                format!("node_sysctl_info{{index=\"0\",name=\"{name}\",value=\"trap\"}} 1"),
                format!("node_sysctl_info{{index=\"1\",name=\"{name}\",value=\"errno\"}} 1"),
                "node_sysctl_kernel_odd{index=\"0\"} 5".to_owned(),
                "node_sysctl_kernel_threads_max 7801".to_owned(),
            ]
        );
    }

    #[test]
    fn a_setting_that_is_not_there_is_told() {
        let (_folder, host) = host_with(&[]);
        let probe = SysctlProbe::new(vec!["kernel.none".parse().unwrap()], Vec::new());
        let error = probe.observe(&host, &mut Observation::at(0)).unwrap_err().to_string();
        assert!(error.contains("sys/kernel/none"), "{error}");
    }
}
