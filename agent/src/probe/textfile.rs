//! What other programs measured and left in files: `*.prom` in the folders of the configuration.
//!
//! A program writes the whole file under another name and renames it into place. A file that is
//! wrong anywhere is left out as a whole, and told; it does not spoil the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use glob::Pattern;
use upkeep_model::{Compound, MAX_LABELS, Observation};

use super::{Faults, Probe, ProbeError};
use crate::exposition::{self, Family, FamilyKind, ParsedSample};
use crate::host::{Host, Tree};

/// The ending of the files' names.
const SUFFIX: &str = ".prom";

/// The most series that all files give together, several times what a host's own probes give. A
/// script that has gone wild must not drive out the host's health.
const MAX_SERIES: usize = 10_000;

/// What makes a part of a path a pattern.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Files of metrics, and when they were last written.
#[derive(Clone, Debug, Default)]
pub struct TextfileProbe {
    folders: Vec<String>,
    own_metrics: Vec<&'static str>,
}

impl TextfileProbe {
    /// A probe of folders, or patterns of folders, as this process sees them. Metrics that the
    /// agent measures itself are not taken from files, where they would count twice.
    pub fn new(folders: Vec<String>, own_metrics: Vec<&'static str>) -> Self {
        Self { folders, own_metrics }
    }
}

impl Probe for TextfileProbe {
    fn name(&self) -> &'static str {
        "textfile"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mut gathered = Gathered::default();
        for folder in self.folders.iter().flat_map(|pattern| expand(host, pattern)) {
            let entries = faults.keep(host.list(Tree::Own, &folder)).unwrap_or_default();
            for entry in entries.iter().filter(|entry| entry.name.ends_with(SUFFIX)) {
                let path = format!("{}/{}", folder.trim_end_matches('/'), entry.name);
                gathered.take(host, &path, &self.own_metrics, &mut faults);
            }
        }
        gathered.observe(out);
        let failed = faults.into_result();
        let help = "Whether something in the files could not be read or was left out.";
        let value = if failed.is_err() { 1.0 } else { 0.0 };
        out.gauge("node_textfile_scrape_error", help, &[], value);
        failed
    }
}

/// The folders that a pattern matches; a pattern that matches none is taken for a folder's name, so
/// that what is missing is told.
fn expand(host: &Host, pattern: &str) -> Vec<String> {
    if !pattern.contains(WILDCARDS) {
        return vec![pattern.to_owned()];
    }
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![root.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let at = |base: &str, name: &str| match base {
            "" | "/" => format!("{base}{name}"),
            _ => format!("{base}/{name}"),
        };
        let matching = |base: String| -> Vec<String> {
            if !part.contains(WILDCARDS) {
                return vec![at(&base, part)];
            }
            let Ok(pattern) = Pattern::new(part) else { return Vec::new() };
            let folder = if base.is_empty() { "." } else { &base };
            let entries = host.list(Tree::Own, folder).unwrap_or_default();
            let names = entries.into_iter().filter(|entry| pattern.matches(&entry.name));
            names.map(|entry| at(&base, &entry.name)).collect()
        };
        found = found.into_iter().flat_map(matching).collect();
    }
    found.retain(|folder| host.exists(Tree::Own, folder));
    if found.is_empty() { vec![pattern.to_owned()] } else { found }
}

/// Labels with their values, sorted.
type Labels = Vec<(String, String)>;

/// What all files gave.
#[derive(Default)]
struct Gathered {
    families: Vec<Gatherable>,
    places: HashMap<String, usize>,
    seen: HashSet<(String, Labels)>,
    /// The files that were read, and when they were written, in seconds since 1970.
    written: Vec<(String, u64)>,
}

/// A family with the files that it is from.
struct Gatherable {
    family: Family,
    files: Vec<String>,
}

impl Gathered {
    fn take(&mut self, host: &Host, path: &str, own_metrics: &[&str], faults: &mut Faults) {
        let Some(bytes) = faults.keep(host.read_bytes(Tree::Own, path)) else { return };
        let families = match read(&bytes) {
            Ok(families) => families,
            Err((line, item, fault)) => return faults.value(path, line, &item, fault),
        };
        let Some(written) = faults.keep(host.modified(Tree::Own, path)) else { return };
        let since = written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.written.push((path.to_owned(), since.as_secs()));
        for mut family in families {
            fill(&mut family);
            let name = &family.name;
            let line = family.samples.first().map_or(0, |sample| sample.line);
            if own_metrics.contains(&name.as_str()) {
                faults.value(path, line, name, "left out, since the agent measures it itself");
            } else if self.seen.len() + family.samples.len() > MAX_SERIES {
                let fault = format!("left out, since there are more than {MAX_SERIES} series");
                faults.value(path, line, name, fault);
            } else {
                self.merge(path, family, faults);
            }
        }
    }

    /// Adds a family to that of the same name, if they agree about what they are.
    fn merge(&mut self, path: &str, mut family: Family, faults: &mut Faults) {
        let place = *self.places.entry(family.name.clone()).or_insert_with(|| {
            let empty = Family { samples: Vec::new(), ..family.clone() };
            self.families.push(Gatherable { family: empty, files: Vec::new() });
            self.families.len() - 1
        });
        let Some(known) = self.families.get_mut(place) else { return };
        let line = family.samples.first().map_or(0, |sample| sample.line);
        let says_otherwise = family.help.is_some() && family.help != known.family.help;
        if says_otherwise || family.kind != known.family.kind {
            let fault = "left out, since an earlier file has another help or type";
            return faults.value(path, line, &family.name, fault);
        }
        family.samples.retain(|sample| {
            let is_new = self.seen.insert((sample.name.clone(), meant(&sample.labels)));
            if !is_new {
                let fault = "left out, since an earlier file has the same series";
                faults.value(path, sample.line, &sample.name, fault);
            }
            is_new
        });
        known.files.push(path.to_owned());
        known.family.samples.append(&mut family.samples);
    }

    fn observe(mut self, out: &mut Observation) {
        for Gatherable { family, files } in &mut self.families {
            complete(family);
            let read_from = || format!("Metric read from {}", files.join(", "));
            observe_family(family, &family.help.clone().unwrap_or_else(read_from), out);
        }
        let help = "When a file that could be read was written, in seconds since 1970.";
        for (path, written) in &self.written {
            let labels = [("file", path.as_str())];
            out.gauge("node_textfile_mtime_seconds", help, &labels, *written as f64);
        }
    }
}

/// Reads a file's text; or says the line, the item and the fault for which it is left out.
fn read(bytes: &[u8]) -> Result<Vec<Family>, (usize, String, String)> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, "text".to_owned(), "not UTF-8".to_owned())
    })?;
    let families =
        exposition::parse(text).map_err(|error| (error.line, "text".to_owned(), error.fault))?;
    let mut seen = HashSet::new();
    for sample in families.iter().flat_map(|family| &family.samples) {
        let fault = if sample.timestamp_ms.is_some() {
            "it has a time of its own, which nothing can be done with"
        } else if !seen.insert((&sample.name, meant(&sample.labels))) {
            "the series comes twice"
        } else {
            continue;
        };
        return Err((sample.line, sample.name.clone(), fault.to_owned()));
    }
    Ok(families)
}

/// The labels that mean something: one without a value is as good as none.
fn meant(labels: &[(String, String)]) -> Labels {
    labels.iter().filter(|(_, value)| !value.is_empty()).cloned().collect()
}

/// What a family is the whole of, with the label of its quantiles or buckets.
fn whole(kind: FamilyKind) -> Option<(Compound, &'static str)> {
    match kind {
        FamilyKind::Histogram => Some((Compound::Histogram, "le")),
        FamilyKind::Summary => Some((Compound::Summary, "quantile")),
        FamilyKind::Counter | FamilyKind::Gauge | FamilyKind::Untyped => None,
    }
}

/// Gives every sample the labels that others of its file's family have, without a value, as
/// node_exporter does. It is left undone where there are more than one series may have: a script
/// that has gone wild must not make labels without end.
fn fill(family: &mut Family) {
    let bound = whole(family.kind).map(|(_, label)| label);
    let all = family.samples.iter().flat_map(|sample| &sample.labels).map(|(name, _)| name);
    let names: BTreeSet<String> =
        all.filter(|name| Some(name.as_str()) != bound).cloned().collect();
    if names.len() >= MAX_LABELS {
        return;
    }
    for ParsedSample { labels, .. } in &mut family.samples {
        let lacks = |name: &&String| labels.iter().all(|(has, _)| has != *name);
        let lacking: Labels =
            names.iter().filter(lacks).map(|name| (name.clone(), String::new())).collect();
        labels.extend(lacking);
        labels.sort();
    }
}

/// The parts that a summary or histogram has under one set of labels.
#[derive(Default)]
struct Parts {
    /// The labels with those that have no value.
    labels: Labels,
    sum: bool,
    count: Option<f64>,
    buckets: bool,
    infinite: bool,
    line: usize,
}

/// Adds what a summary or histogram must have and a file left out: a sum and a number of zero, and
/// the bucket of everything.
fn complete(family: &mut Family) {
    let Some((compound, label)) = whole(family.kind) else { return };
    let mut all: BTreeMap<Labels, Parts> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.retain(|(name, _)| name != label);
        let parts = all.entry(meant(&labels)).or_default();
        parts.labels = labels;
        parts.line = sample.line;
        match sample.name.strip_prefix(&family.name) {
            Some("_sum") => parts.sum = true,
            Some("_count") => parts.count = Some(sample.value),
            _ => {
                parts.buckets = true;
                parts.infinite |= sample.labels.iter().any(|(_, value)| value == "+Inf");
            }
        }
    }
    for parts in all.into_values() {
        let labels = &parts.labels;
        let mut add = |suffix: &str, labels: Labels, value: f64| {
            let name = format!("{}{suffix}", family.name);
            let sample = ParsedSample { name, labels, value, timestamp_ms: None, line: parts.line };
            family.samples.push(sample);
        };
        if !parts.sum {
            add("_sum", labels.clone(), 0.0);
        }
        if parts.count.is_none() {
            add("_count", labels.clone(), 0.0);
        }
        if compound == Compound::Histogram && !parts.infinite {
            let bucket = [&**labels, &[(label.to_owned(), "+Inf".to_owned())]].concat();
            add("_bucket", bucket, parts.count.unwrap_or_default());
        }
    }
}

fn observe_family(family: &Family, help: &str, out: &mut Observation) {
    if let Some((compound, _)) = whole(family.kind) {
        out.compound(&family.name, compound);
    }
    for sample in &family.samples {
        let labels: Vec<(&str, &str)> =
            sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (name, value) = (sample.name.as_str(), sample.value);
        match family.kind {
            FamilyKind::Untyped => out.untyped(name, help, &labels, value),
            FamilyKind::Gauge => out.gauge(name, help, &labels, value),
            // Quantiles go up and down, while sums and numbers only grow.
            FamilyKind::Summary if name == family.name => out.gauge(name, help, &labels, value),
            FamilyKind::Counter | FamilyKind::Histogram | FamilyKind::Summary => {
                out.counter(name, help, &labels, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::page_of;
    use super::*;
    use crate::host::HostPaths;

    /// What files in a folder give, without the times at which they were written, and what is told
    /// of them; the folder is left out of both.
    fn seen(files: &[(&str, &[u8])], pattern: &str) -> (Vec<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = folder.path().to_str().unwrap();
        let probe = TextfileProbe::new(vec![format!("{root}/{pattern}")], vec!["node_own"]);
        let mut out = Observation::at(0);
        let told = probe.observe(&Host::new(HostPaths::default()), &mut out);
        let told = told.map_or_else(|error| error.to_string(), |()| String::new());
        let page = page_of(&out).into_iter().map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let is_time = series.starts_with("node_textfile_mtime_seconds");
            let value = if is_time { "WRITTEN" } else { value };
            format!("{} {value}", series.replace(root, ""))
        });
        (page.collect(), told.replace(root, ""))
    }

    fn check(files: &[(&str, &[u8])], pattern: &str, expect: &[&str], told: &str) {
        let (page, said) = seen(files, pattern);
        assert_eq!(
            (page.iter().map(String::as_str).collect(), said.as_str()),
            (expect.to_vec(), told)
        );
    }

    #[test]
    fn a_bad_file_does_not_spoil_the_others() {
        let files: [(&str, &[u8]); 6] = [
            ("a.prom", b"a 1\nb{x=\"1\"} 2\n"),
            ("binary.prom", b"a 1\nc{x=\"\xff\"} 2\n"),
            ("notes.txt", b"not read"),
            ("time.prom", b"d 1\ne 1 1441205977284\n"),
            ("torn.prom", b"f 1\nf"),
            ("twice.prom", b"g{a=\"1\",b=\"2\"} 1\ng{b=\"2\",a=\"1\",c=\"\"} 1\n"),
        ];
        let expect = [
            "a 1",
            "b{x=\"1\"} 2",
            "node_textfile_mtime_seconds{file=\"/a.prom\"} WRITTEN",
            "node_textfile_scrape_error 1",
        ];
        let told = "/binary.prom, line 2, text: not UTF-8; \
            /time.prom, line 2, e: it has a time of its own, which nothing can be done with; \
            /torn.prom, line 2, text: it ends within the line; \
            /twice.prom, line 2, g: the series comes twice";
        check(&files, "", &expect, told);
    }

    #[test]
    fn files_must_agree() {
        let files: [(&str, &[u8]); 3] = [
            ("1.prom", b"# HELP a one\n# TYPE a gauge\na{f=\"1\"} 1\nb 1\nnode_own 1\n"),
            ("2.prom", b"# HELP a two\n# TYPE a gauge\na{f=\"2\"} 1\nb{g=\"\"} 2\n"),
            ("3.prom", b"# TYPE a gauge\na{f=\"3\"} 1\n# TYPE b counter\nb{f=\"3\"} 1\n"),
        ];
        let expect = [
            "a{f=\"1\"} 1",
            "a{f=\"3\"} 1",
            "b 1",
            "node_textfile_mtime_seconds{file=\"/1.prom\"} WRITTEN",
            "node_textfile_mtime_seconds{file=\"/2.prom\"} WRITTEN",
            "node_textfile_mtime_seconds{file=\"/3.prom\"} WRITTEN",
            "node_textfile_scrape_error 1",
        ];
        let told = "/1.prom, line 5, node_own: left out, since the agent measures it itself; \
            /2.prom, line 3, a: left out, since an earlier file has another help or type; \
            /2.prom, line 4, b: left out, since an earlier file has the same series; \
            /3.prom, line 4, b: left out, since an earlier file has another help or type";
        check(&files, "", &expect, told);
    }

    #[test]
    fn folders_are_found_by_pattern_and_a_missing_one_is_told() {
        let files: [(&str, &[u8]); 3] =
            [("x/one/m.prom", b"a 1\n"), ("x/two/m.prom", b"b 1\n"), ("y/one/m.prom", b"c 1\n")];
        let expect = [
            "a 1",
            "c 1",
            "node_textfile_mtime_seconds{file=\"/x/one/m.prom\"} WRITTEN",
            "node_textfile_mtime_seconds{file=\"/y/one/m.prom\"} WRITTEN",
            "node_textfile_scrape_error 0",
        ];
        check(&files, "[xy]/o?*", &expect, "");
        let (page, told) = seen(&files, "z*/one");
        assert_eq!(page, ["node_textfile_scrape_error 1"]);
        assert!(told.starts_with("/z*/one: "), "{told}");
        check(&[("m.txt", b"")], "", &["node_textfile_scrape_error 0"], "");
    }

    #[test]
    fn a_series_has_the_labels_of_others_in_its_file_without_a_value() {
        let files: [(&str, &[u8]); 2] = [
            ("1.prom", b"a{x=\"1\"} 1\na{job=\"left out\"} 2\na 3\nb{y=\"1\"} 1\n"),
            ("2.prom", b"a{x=\"2\"} 1\nb 2\n"),
        ];
        let expect = [
            "a{job=\"\",x=\"\"} 3",
            "a{job=\"\",x=\"1\"} 1",
            "a{x=\"2\"} 1",
            "b 2",
            "b{y=\"1\"} 1",
            "node_textfile_mtime_seconds{file=\"/1.prom\"} WRITTEN",
            "node_textfile_mtime_seconds{file=\"/2.prom\"} WRITTEN",
            "node_textfile_scrape_error 0",
        ];
        check(&files, "", &expect, "");
        let names = 0..MAX_LABELS;
        let wild: String = names.map(|name| format!("w{{x{name}=\"1\"}} 1\n")).collect();
        let (page, _) = seen(&[("w.prom", wild.as_bytes())], "");
        assert_eq!(page.last().unwrap(), "w{x9=\"1\"} 1");
    }

    #[test]
    fn parts_that_a_file_left_out_are_added() {
        let text = b"# TYPE h histogram\nh_bucket{x=\"1\",le=\"5\"} 1\nh_count{x=\"1\"} 3\n\
            # TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 4\n";
        let expect = [
            "h_bucket{x=\"1\",le=\"+Inf\"} 3",
            "h_bucket{x=\"1\",le=\"5\"} 1",
            "h_count{x=\"1\"} 3",
            "h_sum{x=\"1\"} 0",
            "node_textfile_mtime_seconds{file=\"/m.prom\"} WRITTEN",
            "node_textfile_scrape_error 0",
            "s_count 0",
            "s_sum 4",
            "s{quantile=\"0.5\"} 1",
        ];
        check(&[("m.prom", text)], "", &expect, "");
    }

    #[test]
    fn a_script_gone_wild_is_bounded() {
        let mut text = String::new();
        for number in 0..=MAX_SERIES {
            text.push_str(&format!("wild{{x=\"{number}\"}} 1\n"));
        }
        let files: [(&str, &[u8]); 2] = [("a.prom", b"a 1\n"), ("wild.prom", text.as_bytes())];
        let (page, told) = seen(&files, "");
        assert_eq!((page[0].as_str(), page.len()), ("a 1", 4));
        assert!(
            told.contains("/wild.prom, line 1, wild: left out, since there are more"),
            "{told}"
        );
    }
}
