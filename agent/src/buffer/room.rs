//! How much the records may take, given what is free on the disk.

use std::path::Path;

use super::Options;

/// However short the disk is, so much may always be buffered: the database reuses what it frees, so
/// a buffer of this size does not make the disk fuller.
const SMALLEST_LIMIT_BYTES: u64 = 1024 * 1024;

/// What is to be left free of the disk: the larger of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFree {
    /// A part of the disk in percent.
    pub percent: u8,
    /// Bytes.
    pub bytes: u64,
}

impl Default for KeepFree {
    /// 5 % or 500 MB, whichever is more.
    fn default() -> Self {
        Self { percent: 5, bytes: 500_000_000 }
    }
}

impl KeepFree {
    /// Whether a disk of `size` bytes with `free` bytes left is short of room.
    fn is_short(self, size: u64, free: u64) -> bool {
        free < self.of(size)
    }

    /// What is to be left free of a disk of `size` bytes.
    fn of(self, size: u64) -> u64 {
        let part = size / 100 * u64::from(self.percent);
        part.max(self.bytes)
    }
}

/// The limit in force.
#[derive(Debug)]
pub(super) struct Room {
    options: Options,
    /// What the records took when the disk became short of room; they may not take more until it
    /// no longer is.
    frozen: Option<u64>,
    /// What was left on the disk at the last look, beyond what is to be left free.
    left_on_disk: Option<u64>,
}

impl Room {
    pub(super) fn new(options: Options) -> Self {
        Self { options, frozen: None, left_on_disk: None }
    }

    /// The limit in force, as of the last look at the disk.
    pub(super) fn limit_bytes(&self) -> u64 {
        let frozen = self.frozen.unwrap_or(u64::MAX).max(SMALLEST_LIMIT_BYTES);
        self.options.limit_bytes.min(frozen)
    }

    /// What may still be written to the disk until it is short, as of the last look.
    pub(super) fn left_on_disk(&self) -> Option<u64> {
        self.left_on_disk
    }

    /// Looks at the disk and gives the limit for records that take `used` bytes at the moment.
    pub(super) fn limit(&mut self, used: u64, folder: &Path) -> u64 {
        // A disk that cannot be looked at is taken for one with room; a full one shows by itself.
        let disk = size_and_free(folder);
        let keep_free = self.options.keep_free;
        let is_short = disk.is_some_and(|(size, free)| keep_free.is_short(size, free));
        self.left_on_disk = disk.map(|(size, free)| free.saturating_sub(keep_free.of(size)));
        self.note(is_short, used);
        self.limit_bytes()
    }

    fn note(&mut self, is_short: bool, used: u64) {
        self.frozen = match self.frozen {
            _ if !is_short => None,
            Some(frozen) => Some(frozen),
            None => Some(used),
        };
    }
}

/// The size and the free space of the disk that a folder is on, in bytes.
#[cfg(unix)]
fn size_and_free(folder: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some((disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize))
}

/// The size and the free space of the disk that a folder is on, in bytes.
#[cfg(not(unix))]
fn size_and_free(folder: &Path) -> Option<(u64, u64)> {
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let holding = disks.iter().filter(|disk| folder.starts_with(disk.mount_point()));
    let disk = holding.max_by_key(|disk| disk.mount_point().as_os_str().len())?;
    Some((disk.total_space(), disk.available_space()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_by_part_or_by_bytes() {
        let check = |size: u64, free: u64, expect: bool| {
            assert_eq!(KeepFree::default().is_short(size, free), expect, "{free} of {size}");
        };
        check(100_000_000_000, 5_000_000_000, false);
        check(100_000_000_000, 4_999_999_999, true);
        check(1_000_000_000, 500_000_000, false);
        check(1_000_000_000, 499_999_999, true);
        assert!(!KeepFree { percent: 0, bytes: 0 }.is_short(1000, 0));
    }

    #[test]
    fn while_the_disk_is_short_the_records_may_not_take_more() {
        let options = Options { limit_bytes: 50 << 20, ..Options::default() };
        let mut room = Room::new(options);
        let mut check = |is_short: bool, used: u64, expect: u64| {
            room.note(is_short, used);
            assert_eq!(room.limit_bytes(), expect, "short {is_short}, used {used}");
        };
        check(false, 9 << 20, 50 << 20);
        check(true, 10 << 20, 10 << 20);
        check(true, 8 << 20, 10 << 20);
        check(false, 9 << 20, 50 << 20);
        check(true, 12, SMALLEST_LIMIT_BYTES);
    }
}
