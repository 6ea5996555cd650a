//! ZFS: `/proc/spl/kstat/zfs`.

use upkeep_model::Observation;

use super::device::is_number;
use super::{Faults, Probe, ProbeError};
use crate::host::{EntryKind, Host, Tree};

const FOLDER: &str = "spl/kstat/zfs";

/// The files of the whole system, and the metrics' common part.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "node_zfs_abd_"),
    ("arcstats", "node_zfs_arc_"),
    ("dbufstats", "node_zfs_dbuf_"),
    ("dmu_tx", "node_zfs_dmu_tx_"),
    ("dnodestats", "node_zfs_dnode_"),
    ("fm", "node_zfs_fm_"),
    ("vdev_cache_stats", "node_zfs_vdev_cache_"),
    ("vdev_mirror_stats", "node_zfs_vdev_mirror_"),
    ("xuio_stats", "node_zfs_xuio_"),
    ("zfetchstats", "node_zfs_zfetch_"),
    ("zil", "node_zfs_zil_"),
];

/// The states that a pool can be in.
const STATES: [&str; 7] =
    ["online", "degraded", "faulted", "offline", "removed", "unavail", "suspended"];

const HELP: &str = "A number of ZFS under its own name.";

/// What ZFS counts, and the state of its pools; hosts without ZFS say nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZfsProbe;

impl Probe for ZfsProbe {
    fn name(&self) -> &'static str {
        "zfs"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let entries = host.list_if_present(Tree::Proc, FOLDER)?;
        for entry in &entries {
            let path = format!("{FOLDER}/{}", entry.name);
            if entry.kind == EntryKind::Folder {
                observe_pool(host, &entry.name, &path, &mut faults, out);
            } else if let Some((_, prefix)) = FILES.iter().find(|(file, _)| *file == entry.name)
                && let Some(text) = faults.keep(host.read_if_present(Tree::Proc, &path)).flatten()
            {
                let mut metric = String::new();
                parse_table(&path, &text, &mut faults, |name, value| {
                    set_name(&mut metric, prefix, name);
                    out.untyped(&metric, HELP, &[], value);
                });
            }
        }
        faults.into_result()
    }
}

fn observe_pool(host: &Host, pool: &str, path: &str, faults: &mut Faults, out: &mut Observation) {
    // A pool that is exported meanwhile has no files any more.
    for entry in faults.keep(host.list_if_present(Tree::Proc, path)).unwrap_or_default() {
        let file = format!("{path}/{}", entry.name);
        let is_dataset = entry.name.starts_with("objset-");
        if !is_dataset && !["io", "state"].contains(&entry.name.as_str()) {
            continue;
        }
        let read = host.read_if_present(Tree::Proc, &file);
        let Some(text) = faults.keep(read).flatten() else { continue };
        match entry.name.as_str() {
            "io" => observe_transfers(pool, &file, &text, faults, out),
            "state" => observe_state(pool, &file, &text, faults, out),
            _ => observe_dataset(pool, &file, &text, faults, out),
        }
    }
}

fn observe_transfers(
    pool: &str,
    file: &str,
    text: &str,
    faults: &mut Faults,
    out: &mut Observation,
) {
    let mut metric = String::new();
    parse_columns(file, text, faults, |name, value| {
        set_name(&mut metric, "node_zfs_zpool_", name);
        out.untyped(&metric, HELP, &[("zpool", pool)], value);
    });
}

fn observe_dataset(pool: &str, file: &str, text: &str, faults: &mut Faults, out: &mut Observation) {
    let Some(dataset) = dataset_of(text) else {
        faults.value(file, 1, "dataset_name", "missing");
        return;
    };
    let labels = [("dataset", dataset), ("zpool", pool)];
    let mut metric = String::new();
    parse_table(file, text, faults, |name, value| {
        set_name(&mut metric, "node_zfs_zpool_dataset_", name);
        out.untyped(&metric, HELP, &labels, value);
    });
}

fn observe_state(pool: &str, file: &str, text: &str, faults: &mut Faults, out: &mut Observation) {
    let now = text.trim();
    if !STATES.iter().any(|state| now.eq_ignore_ascii_case(state)) {
        faults.value(file, 1, "state", format!("{now:?} is not a pool's state"));
        return;
    }
    for state in STATES {
        let value = if now.eq_ignore_ascii_case(state) { 1.0 } else { 0.0 };
        let labels = [("state", state), ("zpool", pool)];
        out.gauge("node_zfs_zpool_state", "Whether a pool is in a state.", &labels, value);
    }
}

fn set_name(metric: &mut String, prefix: &str, name: &str) {
    metric.clear();
    metric.push_str(prefix);
    metric.extend(name.chars().map(|letter| if letter == '-' { '_' } else { letter }));
}

/// The rows of a table below `name type data`: a name, the number of a type and a value. Names of
/// data sets may contain blanks.
fn rows(text: &str) -> impl Iterator<Item = (usize, &str, &str, &str)> {
    let lines = text.lines().enumerate();
    let below = lines.skip_while(|(_, line)| !line.split_ascii_whitespace().eq(HEADING)).skip(1);
    below.filter(|(_, line)| !line.trim().is_empty()).map(|(at, line)| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (kind, value) = rest.trim_start().split_once(' ').unwrap_or_default();
        (at + 1, name, kind, value.trim())
    })
}

const HEADING: [&str; 3] = ["name", "type", "data"];

fn dataset_of(text: &str) -> Option<&str> {
    rows(text).find(|(_, name, _, _)| *name == "dataset_name").map(|(_, _, _, value)| value)
}

/// Reads rows such as `hits  4  8772612`: 3 is a signed, 4 an unsigned number of 64 bits. Others
/// are not shown.
fn parse_table(file: &str, text: &str, faults: &mut Faults, mut take: impl FnMut(&str, f64)) {
    if !text.lines().any(|line| line.split_ascii_whitespace().eq(HEADING)) {
        faults.value(file, 1, "heading", "missing");
    }
    for (line, name, kind, value) in rows(text) {
        if !is_number(kind) {
            faults.value(file, line, name, "its type or value is missing");
        }
        if ["3", "4"].contains(&kind)
            && is_name(name)
            && let Some(value) = faults.number(file, line, name, Some(value))
        {
            take(name, value);
        }
    }
}

/// Reads a line of names, the first of them `nread`, and the line of values below it.
fn parse_columns(file: &str, text: &str, faults: &mut Faults, mut take: impl FnMut(&str, f64)) {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| !line.starts_with("nread"));
    let (Some((_, names)), Some((at, values))) = (lines.next(), lines.next()) else {
        faults.value(file, 1, "nread", "missing");
        return;
    };
    let (names, values) = (names.split_ascii_whitespace(), values.split_ascii_whitespace());
    let counts = (names.clone().count(), values.clone().count());
    // With one too few or too many, it is not known which number is which.
    if counts.0 != counts.1 {
        faults.value(file, at + 1, "nread", format!("{} values for {} names", counts.1, counts.0));
        return;
    }
    for (name, value) in names.zip(values) {
        let value = faults.number(file, at + 1, name, Some(value));
        if let Some(value) = value.filter(|_| is_name(name)) {
            take(name, value);
        }
    }
}

/// Whether a name can be part of a metric's name.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn tables_pools_and_datasets_are_read() {
        let (_folder, host) = host_with(&[
            (
                "proc/spl/kstat/zfs/fm",
                b"0 1 0x01\nname  type data\nerpt-dropped 4 18\nfree 3 -5\nlabel 7 text\nodd 4 x\n",
            ),
            ("proc/spl/kstat/zfs/zil", b"garbage\n"),
            ("proc/spl/kstat/zfs/unknown", b"name type data\nx 4 1\n"),
            ("proc/spl/kstat/zfs/tank/io", b"12 3\nnread nwritten\n5 6\n"),
            ("proc/spl/kstat/zfs/tank/state", b"DEGRADED\n"),
            (
                "proc/spl/kstat/zfs/tank/objset-0x36",
                b"name type data\ndataset_name 7 tank/my data\nreads 4 3\n",
            ),
            ("proc/spl/kstat/zfs/tank/objset-0x37", b"name type data\nreads 4 3\n"),
            ("proc/spl/kstat/zfs/tank/txgs", b"1 2 3\n"),
            ("proc/spl/kstat/zfs/tape/io", b"nread nwritten\n"),
            ("proc/spl/kstat/zfs/wide/io", b"nread nwritten\n1\n"),
            ("proc/spl/kstat/zfs/wide/state", b"TORN\n"),
            ("proc/spl/kstat/zfs/xuio_stats", b"name type data\nshort 4\n"),
        ]);
        let mut out = Observation::at(0);
        let error = ZfsProbe.observe(&host, &mut out).unwrap_err().to_string();
        let at = "spl/kstat/zfs";
        assert_eq!(
            error,
            format!(
                "{at}/fm, line 6, odd: \"x\" is not a number; \
                 {at}/tank/objset-0x37, line 1, dataset_name: missing; \
                 {at}/tape/io, line 1, nread: missing; \
                 {at}/wide/io, line 2, nread: 1 values for 2 names; \
                 {at}/wide/state, line 1, state: \"TORN\" is not a pool's state; \
                 {at}/xuio_stats, line 2, short: its type or value is missing; {at}/zil, line 1, heading: missing"
            )
        );
        let page = page_of(&out);
        let (states, others): (Vec<_>, Vec<_>) =
            page.into_iter().partition(|line| line.starts_with("node_zfs_zpool_state"));
        assert_eq!(states.len(), STATES.len());
        assert_eq!(states.iter().filter(|line| line.ends_with(" 0")).count(), STATES.len() - 1);
        assert!(
            states
                .contains(&"node_zfs_zpool_state{state=\"degraded\",zpool=\"tank\"} 1".to_owned())
        );
        assert_eq!(
            others,
            [
                "node_zfs_fm_erpt_dropped 18",
                "node_zfs_fm_free -5",
                "node_zfs_zpool_dataset_reads{dataset=\"tank/my data\",zpool=\"tank\"} 3",
                "node_zfs_zpool_nread{zpool=\"tank\"} 5",
                "node_zfs_zpool_nwritten{zpool=\"tank\"} 6",
            ]
        );
    }
}
