//! What is done to a file system, as far as it matters after a power cut.

use std::ffi::OsString;

/// A file or a folder, for as long as the recording lives; numbers are not used twice.
pub type Inode = u64;

/// A name within a folder.
pub type Name = OsString;

/// One thing that was done, in the order in which it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Something about names, or about a file's length.
    Names(NameChange),
    /// Bytes were written.
    Write {
        /// The file.
        inode: Inode,
        /// The place of the first byte.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// `fsync` or `fdatasync` of a file returned.
    Sync {
        /// The file.
        inode: Inode,
        /// Whether it was `fdatasync`, which owes nothing to names.
        only_data: bool,
    },
    /// `fsync` or `fdatasync` of a file failed. As on Linux, what was written to it is then taken for
    /// clean: programs read it, and no later sync brings it to the disk.
    SyncFailed {
        /// The file.
        inode: Inode,
    },
    /// `fsync` of a folder returned.
    SyncFolder {
        /// The folder.
        inode: Inode,
    },
    /// The program that is watched said something: from here on it relies on it.
    Mark(u64),
}

/// A change that file systems keep in their journal of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameChange {
    /// A new file or folder.
    Make {
        /// The folder it is in.
        parent: Inode,
        /// Its name there.
        name: Name,
        /// The new file or folder.
        inode: Inode,
        /// Whether it is a folder.
        is_folder: bool,
    },
    /// A file or an empty folder lost its name.
    Remove {
        /// The folder it was in.
        parent: Inode,
        /// Its name there.
        name: Name,
    },
    /// A name became another one, in place of what had that name.
    Rename {
        /// The file or folder.
        inode: Inode,
        /// The folder it was in.
        from: Inode,
        /// Its name there.
        name: Name,
        /// The folder it is in now.
        to: Inode,
        /// Its name there.
        new_name: Name,
    },
    /// A file was cut off or lengthened by zeros.
    Resize {
        /// The file.
        inode: Inode,
        /// Its length now.
        length: u64,
    },
}

impl NameChange {
    /// The folders whose content it changes; for a length, the file.
    #[must_use]
    pub fn touches(&self) -> [Inode; 2] {
        match self {
            Self::Make { parent, .. } | Self::Remove { parent, .. } => [*parent, *parent],
            Self::Rename { from, to, .. } => [*from, *to],
            Self::Resize { inode, .. } => [*inode, *inode],
        }
    }
}
