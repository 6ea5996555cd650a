//! Files of the kernel that are kept open, since reading one again costs a fraction of opening it.
//!
//! Only files of procfs and sysfs are kept: their content is made when it is read, from the start
//! of the file on. A file elsewhere may be replaced by another of its name, and then the one that
//! was opened tells old news; so may one of a process.
//!
//! The kernel answers with an error of its own where a kept file's device is gone, and the file is
//! opened anew. Network devices, however, can change their names and leave them to others, so what
//! is kept of them is dropped when their folder is not as it was last seen.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Tree, files};

/// No more files are kept open. Each holds up to a page of the kernel's memory.
const MAX_FILES: usize = 256;

/// Of the files that the process may have open, one in so many may be kept open here.
const SHARE_OF_LIMIT: u64 = 4;

/// A file is closed when it was not read while so many others were: a few ticks' worth, so that
/// what is read every minute stays open and what is gone does not.
const READS_TO_FORGET: u64 = 16 * MAX_FILES as u64;

/// The folder of devices that can be renamed while they are in use.
const RENAMED: &str = "class/net";

/// A read of sysfs that gives less than this, the smallest page, is the last: an attribute's text
/// comes as a whole and is no longer than a page.
const PAGE_BYTES: usize = 4096;

/// How much room there is for a read at least; most files fit.
const ROOM_BYTES: usize = 2 * PAGE_BYTES;

/// The files that are kept open.
#[derive(Debug)]
pub(super) struct KeptFiles {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    proc: HashMap<Box<str>, Kept>,
    sys: HashMap<Box<str>, Kept>,
    /// How many reads there were.
    reads: u64,
    /// When that count was last gone through for files to close.
    swept: u64,
    renamed: Look,
}

/// What [`RENAMED`] looked like, once it was listed.
type Look = Option<u64>;

#[derive(Debug)]
struct Kept {
    /// `None` while it is being read, so that a reader that hangs hinders no other.
    file: Option<File>,
    /// The count of reads when it was opened, which tells it from one that was opened later.
    opened: u64,
    last_read: u64,
}

/// An answer to who wants to read a file.
#[derive(Debug)]
pub(super) enum Reading {
    /// The file was kept open, and this became of reading it.
    Done(io::Result<()>),
    /// The file has to be opened.
    Open(Opening),
}

/// A file that is about to be opened.
#[derive(Debug)]
pub(super) struct Opening(Look);

impl Default for KeptFiles {
    fn default() -> Self {
        let share =
            files::open_files_limit().map_or(MAX_FILES as u64, |most| most / SHARE_OF_LIMIT);
        let limit = usize::try_from(share).unwrap_or(MAX_FILES).min(MAX_FILES);
        Self { limit, state: Mutex::default() }
    }
}

impl KeptFiles {
    /// Appends the content of a file to a buffer, if it is kept open.
    pub(super) fn read(
        &self,
        tree: Tree,
        relative: &str,
        limit: u64,
        buffer: &mut Vec<u8>,
    ) -> Reading {
        let mut state = self.lock();
        let Some((file, opened)) = state.lend(tree, relative) else {
            return Reading::Open(Opening(state.renamed));
        };
        drop(state);
        let outcome = read_again(&file, tree, limit, buffer);
        let mut state = self.lock();
        if outcome.as_ref().err().is_some_and(|error| !is_answer(error)) {
            state.forget(tree, relative, opened);
            buffer.clear();
            return Reading::Open(Opening(state.renamed));
        }
        state.give_back(tree, relative, opened, file);
        Reading::Done(outcome)
    }

    /// Keeps a file that was opened, if it is one of the kernel's and there is room.
    pub(super) fn keep(&self, opening: &Opening, tree: Tree, relative: &str, file: File) {
        let mut state = self.lock();
        state.sweep();
        let has_room = state.proc.len() + state.sys.len() < self.limit;
        if !has_room
            || !state.may_keep(opening, tree, relative)
            || !files::is_of_kernel(&file, tree)
        {
            return;
        }
        let now = state.reads;
        if let Some(kept) = state.of(tree) {
            let file = Kept { file: Some(file), opened: now, last_read: now };
            kept.insert(relative.into(), file);
        }
    }

    /// Whether it matters what a folder looks like.
    pub(super) fn watches(tree: Tree, relative: &str) -> bool {
        tree == Tree::Sys && relative == RENAMED
    }

    /// Notes what the folder that is watched looks like.
    pub(super) fn looked(&self, look: u64) {
        let mut state = self.lock();
        if state.renamed != Some(look) {
            state.renamed = Some(look);
            state.sys.retain(|relative, _| !is_renamed(relative));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&mut self, tree: Tree) -> Option<&mut HashMap<Box<str>, Kept>> {
        match tree {
            Tree::Proc => Some(&mut self.proc),
            Tree::Sys => Some(&mut self.sys),
            Tree::Root | Tree::UdevData | Tree::Own => None,
        }
    }

    fn lend(&mut self, tree: Tree, relative: &str) -> Option<(File, u64)> {
        self.reads += 1;
        let now = self.reads;
        let kept = self.of(tree)?.get_mut(relative)?;
        kept.last_read = now;
        Some((kept.file.take()?, kept.opened))
    }

    /// Takes a file back, unless it was dropped meanwhile.
    fn give_back(&mut self, tree: Tree, relative: &str, opened: u64, file: File) {
        let kept = self.of(tree).and_then(|kept| kept.get_mut(relative));
        if let Some(kept) = kept.filter(|kept| kept.opened == opened) {
            kept.file = Some(file);
        }
    }

    fn forget(&mut self, tree: Tree, relative: &str, opened: u64) {
        if let Some(kept) = self.of(tree)
            && kept.get(relative).is_some_and(|kept| kept.opened == opened)
        {
            kept.remove(relative);
        }
    }

    fn may_keep(&self, opening: &Opening, tree: Tree, relative: &str) -> bool {
        match tree {
            // Processes come and go, and their numbers are given again.
            Tree::Proc => !relative.starts_with(|first: char| first.is_ascii_digit()),
            // The device may have got its name between the opening and now.
            Tree::Sys if is_renamed(relative) => {
                self.renamed.is_some() && self.renamed == opening.0
            }
            Tree::Sys => true,
            Tree::Root | Tree::UdevData | Tree::Own => false,
        }
    }

    /// Closes what was not read for long.
    fn sweep(&mut self) {
        if self.reads - self.swept < READS_TO_FORGET {
            return;
        }
        let oldest = self.swept;
        self.swept = self.reads;
        self.proc.retain(|_, kept| kept.last_read > oldest);
        self.sys.retain(|_, kept| kept.last_read > oldest);
    }
}

fn is_renamed(relative: &str) -> bool {
    relative.strip_prefix(RENAMED).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether an error is what a driver says of an attribute at the moment, and not of the file.
fn is_answer(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput, Unsupported, WouldBlock};
    matches!(error.kind(), FileTooLarge | InvalidInput | Unsupported | WouldBlock)
}

fn read_again(file: &File, tree: Tree, limit: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut length: u64 = 0;
    loop {
        buffer.reserve(ROOM_BYTES);
        let read = match files::read_at(file, length, buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        };
        length += read as u64;
        if length > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if read == 0 || (tree == Tree::Sys && read < PAGE_BYTES) {
            return Ok(());
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn path(tree: Tree, relative: &str) -> String {
        format!("{}/{relative}", if tree == Tree::Sys { "/sys" } else { "/proc" })
    }

    /// Reads as a host does; tells whether the file was kept open.
    fn read(files: &KeptFiles, tree: Tree, relative: &str) -> (bool, String) {
        let mut buffer = Vec::new();
        let kept = match files.read(tree, relative, 1 << 20, &mut buffer) {
            Reading::Done(outcome) => {
                outcome.unwrap();
                true
            }
            Reading::Open(opening) => {
                let file = File::open(path(tree, relative)).unwrap();
                read_again(&file, tree, 1 << 20, &mut buffer).unwrap();
                files.keep(&opening, tree, relative, file);
                false
            }
        };
        (kept, String::from_utf8(buffer).unwrap())
    }

    #[test]
    fn what_a_kept_file_says_is_what_a_fresh_one_says() {
        let files = KeptFiles::default();
        let steady = ["cmdline", "devices", "filesystems", "version", "sys/kernel/osrelease"];
        for relative in steady {
            let fresh = std::fs::read_to_string(path(Tree::Proc, relative)).unwrap();
            assert_eq!(read(&files, Tree::Proc, relative), (false, fresh.clone()), "{relative}");
            for _ in 0..2 {
                assert_eq!(read(&files, Tree::Proc, relative), (true, fresh.clone()), "{relative}");
            }
        }
        // Of files whose content changes, one of them longer than one read gives, the lines.
        for relative in ["stat", "zoneinfo", "interrupts", "vmstat", "net/dev"] {
            assert!(!read(&files, Tree::Proc, relative).0);
            let (kept, text) = read(&files, Tree::Proc, relative);
            let fresh = std::fs::read_to_string(path(Tree::Proc, relative)).unwrap();
            let shape = |text: &str| text.lines().count();
            assert!(kept && shape(&text) == shape(&fresh), "{relative}: {text}\n{fresh}");
        }
        let before = read(&files, Tree::Proc, "uptime").1;
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_ne!(read(&files, Tree::Proc, "uptime").1, before);
    }

    #[test]
    fn only_what_the_kernel_makes_is_kept() {
        let files = KeptFiles::default();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("stat");
        std::fs::write(&copy, "cpu 1").unwrap();
        let check = |tree: Tree, relative: &str, path: &str, expect: bool| {
            let Reading::Open(opening) = files.read(tree, relative, 10, &mut Vec::new()) else {
                panic!("{relative} is kept already");
            };
            files.keep(&opening, tree, relative, File::open(path).unwrap());
            let is_kept = files.lock().of(tree).is_some_and(|kept| kept.contains_key(relative));
            assert_eq!(is_kept, expect, "{tree:?} {relative}");
        };
        check(Tree::Proc, "stat", copy.to_str().unwrap(), false);
        check(Tree::Proc, "1/stat", "/proc/1/stat", false);
        check(Tree::Root, "proc/stat", "/proc/stat", false);
        check(Tree::Sys, "stat", "/proc/stat", false);
        check(Tree::Sys, "class/net/lo/mtu", "/sys/class/net/lo/mtu", false);
        check(Tree::Proc, "stat", "/proc/stat", true);
        check(Tree::Sys, "kernel/profiling", "/sys/kernel/profiling", true);
    }

    #[test]
    fn a_device_that_got_another_name_is_opened_anew() {
        let files = KeptFiles::default();
        files.looked(1);
        for file in ["class/net/lo/mtu", "class/net/lo/flags"] {
            assert!(!read(&files, Tree::Sys, file).0);
            assert!(read(&files, Tree::Sys, file).0);
        }
        files.looked(1);
        assert!(read(&files, Tree::Sys, "class/net/lo/mtu").0);
        let lent = files.lock().lend(Tree::Sys, "class/net/lo/flags").unwrap();
        files.looked(2);
        assert!(!read(&files, Tree::Sys, "class/net/lo/mtu").0);
        assert!(!read(&files, Tree::Sys, "class/net/lo/flags").0);
        // One that was lent meanwhile does not come back in the place of the new one.
        drop(files.lock().lend(Tree::Sys, "class/net/lo/flags"));
        files.lock().give_back(Tree::Sys, "class/net/lo/flags", lent.1, lent.0);
        assert!(!read(&files, Tree::Sys, "class/net/lo/flags").0);
        // Nor is one kept whose device may have got its name while it was opened.
        let late = Opening(Some(1));
        files.keep(
            &late,
            Tree::Sys,
            "class/net/lo/type",
            File::open("/sys/class/net/lo/type").unwrap(),
        );
        assert!(!read(&files, Tree::Sys, "class/net/lo/type").0);
    }

    #[test]
    fn what_a_driver_refuses_to_say_is_asked_again() {
        let files = KeptFiles::default();
        files.looked(1);
        // The loopback device has no speed: its driver answers EINVAL.
        let speed = "class/net/lo/speed";
        let Reading::Open(opening) = files.read(Tree::Sys, speed, 10, &mut Vec::new()) else {
            panic!("it is kept already");
        };
        files.keep(&opening, Tree::Sys, speed, File::open("/sys/class/net/lo/speed").unwrap());
        for _ in 0..2 {
            match files.read(Tree::Sys, speed, 10, &mut Vec::new()) {
                Reading::Done(Err(error)) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
                other => panic!("{other:?}"),
            }
        }
        // An error that says something else of the file, such as that it is a folder, does not.
        files.keep(&Opening(None), Tree::Sys, "kernel", File::open("/sys/kernel").unwrap());
        assert!(matches!(files.read(Tree::Sys, "kernel", 10, &mut Vec::new()), Reading::Open(_)));
        assert!(!files.lock().sys.contains_key("kernel"));
    }

    #[test]
    fn what_is_no_longer_read_is_closed_and_there_are_never_too_many() {
        let files = KeptFiles { limit: 2, state: Mutex::default() };
        for relative in ["stat", "uptime", "loadavg"] {
            assert!(!read(&files, Tree::Proc, relative).0);
        }
        let kept = ["stat", "uptime", "loadavg"].map(|one| read(&files, Tree::Proc, one).0);
        assert_eq!(kept, [true, true, false]);
        // The first time that it is looked, both were read since the beginning.
        for has_room in [false, true] {
            for _ in 0..READS_TO_FORGET {
                assert!(read(&files, Tree::Proc, "stat").0);
            }
            assert!(!read(&files, Tree::Proc, "loadavg").0);
            assert_eq!(read(&files, Tree::Proc, "loadavg").0, has_room);
        }
        assert!(!files.lock().proc.contains_key("uptime"));
    }
}
