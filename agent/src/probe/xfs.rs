//! XFS file systems: `/sys/fs/xfs/*/stats/stats`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FOLDER: &str = "fs/xfs";

/// Groups of counters: the line's first word, the metrics' common part, and the metrics of its
/// numbers in their order. Numbers beyond them are not shown.
const GROUPS: [(&str, &str, &[&str]); 8] = [
    (
        "extent_alloc",
        "extent_allocation",
        &["extents_allocated", "blocks_allocated", "extents_freed", "blocks_freed"],
    ),
    ("abt", "allocation_btree", &["lookups", "compares", "records_inserted", "records_deleted"]),
    (
        "blk_map",
        "block_mapping",
        &[
            "reads",
            "writes",
            "unmaps",
            "extent_list_insertions",
            "extent_list_deletions",
            "extent_list_lookups",
            "extent_list_compares",
        ],
    ),
    ("bmbt", "block_map_btree", &["lookups", "compares", "records_inserted", "records_deleted"]),
    ("dir", "directory_operation", &["lookup", "create", "remove", "getdents"]),
    (
        "ig",
        "inode_operation",
        &["attempts", "found", "recycled", "missed", "duplicates", "reclaims", "attribute_changes"],
    ),
    // The writes come first.
    ("rw", "", &["write_calls", "read_calls"]),
    ("vnodes", "vnode", &["active", "allocate", "get", "hold", "release", "reclaim", "remove"]),
];

/// What XFS file systems did since they were mounted, as `node_xfs_<group>_<counter>_total`.
#[derive(Clone, Copy, Debug, Default)]
pub struct XfsProbe;

impl Probe for XfsProbe {
    fn name(&self) -> &'static str {
        "xfs"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mut metric = String::new();
        for device in host.list_if_present(Tree::Sys, FOLDER)? {
            let file = format!("{FOLDER}/{}/stats/stats", device.name);
            let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &file)).flatten() else {
                continue;
            };
            parse(&file, &text, &mut faults, |group, counter, value| {
                metric.clear();
                metric.push_str("node_xfs_");
                metric.push_str(group);
                metric.push_str(if group.is_empty() { "" } else { "_" });
                metric.extend([counter, "_total"]);
                let help = "What an XFS file system did since it was mounted.";
                out.counter(&metric, help, &[("device", &device.name)], value);
            });
        }
        faults.into_result()
    }
}

/// Reads lines such as `rw 28 0`.
fn parse(file: &str, text: &str, faults: &mut Faults, mut take: impl FnMut(&str, &str, f64)) {
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        let Some(key) = words.next() else { continue };
        let Some((_, group, counters)) = GROUPS.iter().find(|(of, _, _)| *of == key) else {
            continue;
        };
        for counter in *counters {
            if let Some(value) = faults.number(file, at + 1, counter, words.next()) {
                take(group, counter, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    #[test]
    fn counters_are_read_by_their_place() {
        let (_folder, host) = host_with(&[
            ("sys/fs/xfs/sda1/stats/stats", b"rw 28 1\nvnodes 4 x 1\nbuf 1\ndir 3 2 1 52\n"),
            ("sys/fs/xfs/stats/stats", b"rw 1 1\n"),
        ]);
        let mut out = Observation::at(0);
        let error = XfsProbe.observe(&host, &mut out).unwrap_err().to_string();
        let at = "fs/xfs/sda1/stats/stats, line 2";
        assert!(error.starts_with(&format!("{at}, allocate: \"x\" is not a number; ")), "{error}");
        assert!(error.contains(&format!("{at}, hold: missing")), "{error}");
        assert_eq!(
            page_of(&out),
            [
                "node_xfs_directory_operation_create_total{device=\"sda1\"} 2",
                "node_xfs_directory_operation_getdents_total{device=\"sda1\"} 52",
                "node_xfs_directory_operation_lookup_total{device=\"sda1\"} 3",
                "node_xfs_directory_operation_remove_total{device=\"sda1\"} 1",
                "node_xfs_read_calls_total{device=\"sda1\"} 1",
                "node_xfs_vnode_active_total{device=\"sda1\"} 4",
                "node_xfs_vnode_get_total{device=\"sda1\"} 1",
                "node_xfs_write_calls_total{device=\"sda1\"} 28",
            ]
        );
    }
}
