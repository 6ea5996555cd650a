//! Files, folders and file systems of this process' own view.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;

use super::{Entry, EntryKind, HostError, Tree};

/// How many links are followed on the way to one file, as the kernel has it.
const MAX_LINKS: usize = 40;

/// What is read at once of a file that is taken line by line.
const LINES_BUFFER_BYTES: usize = 32 << 10;

/// How much of a file system is used. A recording holds one as a line of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesystemUsage {
    /// The unit of the three numbers of blocks, in bytes.
    pub block_bytes: u64,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks that a user without privileges may take.
    pub blocks_available: u64,
    /// All inodes.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// What tells one state of a file or folder from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the content last changed.
    pub modified: SystemTime,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Whether it is a file, or a link to one, as opposed to a folder, a pipe or a device.
    pub is_file: bool,
    /// The file's number, which is another after a file was put in its place.
    inode: u64,
}

/// The place of `relative` beneath `root`, with links followed as if `root` were the root of the
/// file system: an absolute link in another host's tree must not lead into this one's.
pub(super) fn beneath(root: &Path, relative: &str) -> PathBuf {
    if root == Path::new("/") {
        return Path::new("/").join(relative);
    }
    let mut inside = PathBuf::new();
    let mut ahead: VecDeque<OsString> = names(Path::new(relative));
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            inside.pop();
            continue;
        }
        inside.push(&name);
        let Ok(target) = std::fs::read_link(root.join(&inside)) else { continue };
        links += 1;
        if links > MAX_LINKS {
            break;
        }
        inside.pop();
        if target.is_absolute() {
            inside.clear();
        }
        let mut first = names(&target);
        first.append(&mut ahead);
        ahead = first;
    }
    root.join(inside)
}

/// Appends a file's content to a buffer. Gives the file, too.
pub(super) fn read(path: &Path, limit: u64, buffer: &mut Vec<u8>) -> Result<File, HostError> {
    let failed = |source| HostError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.by_ref().take(limit + 1).read_to_end(buffer).map_err(failed)?;
    if length as u64 > limit {
        return Err(HostError::TooLong { path: path.to_owned(), limit });
    }
    Ok(file)
}

/// Appends what one read of a file gives, from a place on, to the room that a buffer has.
#[cfg(unix)]
pub(super) fn read_at(file: &File, from: u64, buffer: &mut Vec<u8>) -> io::Result<usize> {
    Ok(rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), from)?)
}

/// Appends what one read of a file gives, from a place on, to the room that a buffer has.
#[cfg(not(unix))]
pub(super) fn read_at(_file: &File, _from: u64, _buffer: &mut Vec<u8>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a file is in procfs or sysfs, whichever the tree stands for, and not in a copy of it.
#[cfg(target_os = "linux")]
pub(super) fn is_of_kernel(file: &File, tree: Tree) -> bool {
    /// As `linux/magic.h` has it.
    const SYSFS_MAGIC: rustix::fs::FsWord = 0x6265_6572;
    let expect = match tree {
        Tree::Proc => rustix::fs::PROC_SUPER_MAGIC,
        Tree::Sys => SYSFS_MAGIC,
        Tree::Root | Tree::UdevData | Tree::Own => return false,
    };
    rustix::fs::fstatfs(file).is_ok_and(|status| status.f_type == expect)
}

/// Whether a file is in procfs or sysfs, which only Linux has.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_of_kernel(_file: &File, _tree: Tree) -> bool {
    false
}

/// How many files this process may have open; `None` where there is no such limit.
#[cfg(unix)]
pub(super) fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// How many files this process may have open; `None` where there is no such limit.
#[cfg(not(unix))]
pub(super) fn open_files_limit() -> Option<u64> {
    None
}

/// Gives the lines of a file, one after another.
pub(super) fn each_line(
    path: &Path,
    limit: u64,
    mut each: impl FnMut(&str),
) -> Result<(), HostError> {
    let failed = |source| HostError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut reader = BufReader::with_capacity(LINES_BUFFER_BYTES, file.take(limit + 1));
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        length += read as u64;
        if length > limit {
            return Err(HostError::TooLong { path: path.to_owned(), limit });
        }
        each(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).as_ref());
    }
}

/// Whether a file can be read and is just that text.
pub(super) fn is_content(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|content| content == text)
}

/// The entries of a folder, sorted by name; `each` sees the name and the number of every one.
pub(super) fn list(
    path: &Path,
    mut each: impl FnMut(&OsStr, u64),
) -> Result<Vec<Entry>, HostError> {
    let failed = |source| HostError::Read { path: path.to_owned(), source };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        each(&entry.file_name(), number(&entry));
        let kind = match entry.file_type().map_err(failed)? {
            kind if kind.is_symlink() => EntryKind::Link,
            kind if kind.is_dir() => EntryKind::Folder,
            _ => EntryKind::File,
        };
        entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind });
    }
    entries.sort();
    Ok(entries)
}

/// The number that an entry of a folder has in its file system.
#[cfg(unix)]
fn number(entry: &DirEntry) -> u64 {
    std::os::unix::fs::DirEntryExt::ino(entry)
}

/// The number that an entry of a folder has in its file system.
#[cfg(not(unix))]
fn number(_entry: &DirEntry) -> u64 {
    0
}

/// Where a symbolic link points to.
pub(super) fn link(path: &Path) -> Result<PathBuf, HostError> {
    std::fs::read_link(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

/// The place of something with every link on the way followed.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, HostError> {
    std::fs::canonicalize(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

/// When a file's content last changed.
pub(super) fn modified(path: &Path) -> Result<SystemTime, HostError> {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(|source| HostError::Read { path: path.to_owned(), source })
}

/// What tells one state of a file from another.
pub(super) fn stamp(path: &Path) -> Result<Stamp, HostError> {
    let failed = |source| HostError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let modified = metadata.modified().map_err(failed)?;
    Ok(Stamp {
        modified,
        bytes: metadata.len(),
        is_file: metadata.is_file(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &std::fs::Metadata) -> u64 {
    0
}

/// Asks a file system for its size.
#[cfg(unix)]
pub(super) fn usage(path: &Path) -> Result<FilesystemUsage, HostError> {
    let status = rustix::fs::statvfs(path).map_err(|errno| HostError::Read {
        path: path.to_owned(),
        source: io::Error::from(errno),
    })?;
    Ok(FilesystemUsage {
        block_bytes: status.f_frsize,
        blocks: status.f_blocks,
        blocks_free: status.f_bfree,
        blocks_available: status.f_bavail,
        inodes: status.f_files,
        inodes_free: status.f_ffree,
    })
}

/// Asks a file system for its size.
#[cfg(not(unix))]
pub(super) fn usage(path: &Path) -> Result<FilesystemUsage, HostError> {
    let source = io::Error::from(io::ErrorKind::Unsupported);
    Err(HostError::Read { path: path.to_owned(), source })
}

/// The architecture of the machine that this process runs on.
#[cfg(unix)]
pub(super) fn architecture() -> Option<String> {
    Some(rustix::system::uname().machine().to_string_lossy().into_owned())
}

/// The architecture of the machine that this process runs on.
#[cfg(not(unix))]
pub(super) fn architecture() -> Option<String> {
    None
}

/// The size of a page of memory in bytes.
#[cfg(unix)]
pub(super) fn page_bytes() -> Option<f64> {
    u32::try_from(rustix::param::page_size()).ok().map(f64::from)
}

/// The size of a page of memory in bytes.
#[cfg(not(unix))]
pub(super) fn page_bytes() -> Option<f64> {
    None
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
        })
        .collect()
}
