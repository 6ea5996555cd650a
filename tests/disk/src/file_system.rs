//! The kernel's questions, answered from memory, and written down where they change something.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::operation::{Inode, NameChange, Operation};
use crate::tree::{Node, Tree};

/// The kernel asks each time, since nothing here is slow.
const NOT_KEPT: Duration = Duration::ZERO;

/// Room that is told, in blocks of 4 KiB: much, and never less.
const BLOCKS: u64 = 64 << 20;

/// The content, and what was done to it.
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) operations: Vec<Operation>,
    /// What the names of files end with that are not synced, and how many times more.
    pub(crate) failing: Option<(String, u32)>,
    next: Inode,
}

impl State {
    pub(crate) fn new(tree: Tree) -> Self {
        let next = tree.last_inode() + 1;
        Self { tree, operations: Vec::new(), failing: None, next }
    }

    fn change(&mut self, change: NameChange) {
        self.tree.change(&change);
        self.operations.push(Operation::Names(change));
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, is_folder: bool) -> Result<FileAttr, Errno> {
        if self.tree.child(parent.0, &name.to_owned()).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = self.next;
        self.next += 1;
        self.change(NameChange::Make { parent: parent.0, name: name.to_owned(), inode, is_folder });
        self.attributes(inode)
    }

    fn attributes(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let (kind, perm, size) = match self.tree.node(inode).ok_or(Errno::ENOENT)? {
            Node::File(bytes) => (FileType::RegularFile, 0o600, bytes.len() as u64),
            Node::Folder(_) => (FileType::Directory, 0o700, 0),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn sync(&mut self, inode: Inode, only_data: bool) -> Result<(), Errno> {
        let Self { tree, operations, failing, .. } = self;
        if let Some((end, times)) = failing
            && *times > 0
            && tree.name(inode).is_some_and(|name| name.to_string_lossy().ends_with(&**end))
        {
            *times -= 1;
            operations.push(Operation::SyncFailed { inode });
            return Err(Errno::EIO);
        }
        operations.push(Operation::Sync { inode, only_data });
        Ok(())
    }

    fn remove(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let inode = self.tree.child(parent.0, &name.to_owned()).ok_or(Errno::ENOENT)?;
        if matches!(self.tree.node(inode), Some(Node::Folder(names)) if !names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(NameChange::Remove { parent: parent.0, name: name.to_owned() });
        Ok(())
    }
}

/// What the kernel talks to. It keeps no pages of ours: with them a file could be mapped, and a process
/// that serves itself a mapped page can stop for ever; so mapping is refused.
pub(crate) struct FileSystem(pub(crate) Arc<Mutex<State>>);

impl FileSystem {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for FileSystem {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        let found = state.tree.child(parent.0, &name.to_owned()).ok_or(Errno::ENOENT);
        match found.and_then(|inode| state.attributes(inode)) {
            Ok(attributes) => reply.entry(&NOT_KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attributes(inode.0) {
            Ok(attributes) => reply.attr(&NOT_KEPT, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _user: Option<u32>,
        _group: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        _modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _flagged: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let Some(length) = size {
            state.change(NameChange::Resize { inode: inode.0, length });
        }
        match state.attributes(inode.0) {
            Ok(attributes) => reply.attr(&NOT_KEPT, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.state().make(parent, name, true) {
            Ok(attributes) => reply.entry(&NOT_KEPT, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.state().make(parent, name, false) {
            Ok(attributes) => reply.created(
                &NOT_KEPT,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state().remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state().remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        let Some(inode) = state.tree.child(parent.0, &name.to_owned()) else {
            return reply.error(Errno::ENOENT);
        };
        if !flags.is_empty() && state.tree.child(new_parent.0, &new_name.to_owned()).is_some() {
            return reply.error(Errno::EEXIST);
        }
        state.change(NameChange::Rename {
            inode,
            from: parent.0,
            name: name.to_owned(),
            to: new_parent.0,
            new_name: new_name.to_owned(),
        });
        reply.ok();
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().tree.node(inode.0) {
            Some(Node::File(bytes)) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(size as usize).min(bytes.len());
                reply.data(bytes.get(from..to).unwrap_or_default());
            }
            Some(Node::Folder(_)) => reply.error(Errno::EISDIR),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        state.tree.put(inode.0, offset, data);
        let write = Operation::Write { inode: inode.0, offset, data: data.to_vec() };
        state.operations.push(write);
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        only_data: bool,
        reply: ReplyEmpty,
    ) {
        answer(self.state().sync(inode.0, only_data), reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state().operations.push(Operation::SyncFolder { inode: inode.0 });
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.state();
        let Some(Node::Folder(names)) = state.tree.node(inode.0) else {
            return reply.error(Errno::ENOTDIR);
        };
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        for (place, (name, child)) in names.iter().enumerate().skip(skipped) {
            let kind = match state.tree.node(*child) {
                Some(Node::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(*child), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}

fn answer(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
