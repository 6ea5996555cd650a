//! Files and folders in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::DiskError;
use crate::operation::{Inode, Name, NameChange};

/// A file system's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: HashMap<Inode, Node>,
}

/// A file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file with its bytes.
    File(Vec<u8>),
    /// A folder with what is in it.
    Folder(BTreeMap<Name, Inode>),
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: HashMap::from([(Self::ROOT, Node::Folder(BTreeMap::new()))]) }
    }
}

impl Tree {
    /// The topmost folder.
    pub const ROOT: Inode = 1;

    /// A file or folder, if it is there.
    #[must_use]
    pub fn node(&self, inode: Inode) -> Option<&Node> {
        self.nodes.get(&inode)
    }

    /// What has a name in a folder.
    #[must_use]
    pub fn child(&self, parent: Inode, name: &Name) -> Option<Inode> {
        match self.nodes.get(&parent)? {
            Node::Folder(names) => names.get(name).copied(),
            Node::File(_) => None,
        }
    }

    /// A name of a file or folder, if it has one.
    #[must_use]
    pub fn name(&self, inode: Inode) -> Option<Name> {
        let folders = self.nodes.values().filter_map(|node| match node {
            Node::Folder(names) => Some(names),
            Node::File(_) => None,
        });
        let mut names = folders.flatten();
        names.find(|(_, child)| **child == inode).map(|(name, _)| name.clone())
    }

    /// The largest number in use.
    #[must_use]
    pub fn last_inode(&self) -> Inode {
        self.nodes.keys().copied().max().unwrap_or(Self::ROOT)
    }

    /// The bytes of a file, to be changed. A file that has no name yet is made.
    pub fn bytes(&mut self, inode: Inode) -> Option<&mut Vec<u8>> {
        match self.nodes.entry(inode).or_insert_with(|| Node::File(Vec::new())) {
            Node::File(bytes) => Some(bytes),
            Node::Folder(_) => None,
        }
    }

    /// All files with their paths, in the order of these.
    pub fn files(&mut self) -> Vec<(PathBuf, &mut Vec<u8>)> {
        let mut paths = BTreeMap::new();
        self.walk(Self::ROOT, Path::new(""), &mut paths);
        let mut files: Vec<_> = self
            .nodes
            .iter_mut()
            .filter_map(|(inode, node)| match node {
                Node::File(bytes) => Some((paths.remove(inode)?, bytes)),
                Node::Folder(_) => None,
            })
            .collect();
        files.sort_by(|(one, _), (other, _)| one.cmp(other));
        files
    }

    /// Writes into a file, which grows if need be.
    pub fn put(&mut self, inode: Inode, offset: u64, data: &[u8]) {
        let Some(bytes) = self.bytes(inode) else { return };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(data.len());
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        if let Some(place) = bytes.get_mut(from..to) {
            place.copy_from_slice(data);
        }
    }

    /// Applies a change of names. One that does not fit what is there changes nothing.
    pub fn change(&mut self, change: &NameChange) {
        match change {
            NameChange::Make { parent, name, inode, is_folder } => {
                self.allocate(*inode, *is_folder);
                self.link(*parent, name.clone(), *inode);
            }
            NameChange::Remove { parent, name } => {
                self.unlink(*parent, name);
            }
            NameChange::Rename { inode, from, name, to, new_name } => {
                if self.child(*from, name) == Some(*inode) {
                    self.unlink(*from, name);
                }
                self.link(*to, new_name.clone(), *inode);
            }
            NameChange::Resize { inode, length } => {
                if let Some(bytes) = self.bytes(*inode) {
                    bytes.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0);
                }
            }
        }
    }

    /// Makes a file or folder that has no name yet.
    pub fn allocate(&mut self, inode: Inode, is_folder: bool) {
        if is_folder {
            let empty = || Node::Folder(BTreeMap::new());
            self.nodes.entry(inode).or_insert_with(empty);
        } else {
            self.bytes(inode);
        }
    }

    /// Writes all files and folders below a folder that is there.
    ///
    /// # Errors
    /// When one cannot be written; it is named.
    pub fn write(&self, folder: &Path) -> Result<(), DiskError> {
        self.write_folder(Self::ROOT, folder)
    }

    /// Reads all files and folders below a folder.
    ///
    /// # Errors
    /// When one cannot be read; it is named.
    pub fn read(folder: &Path) -> Result<Self, DiskError> {
        let mut tree = Self::default();
        tree.read_folder(Self::ROOT, folder)?;
        Ok(tree)
    }

    fn walk(&self, folder: Inode, path: &Path, paths: &mut BTreeMap<Inode, PathBuf>) {
        let Some(Node::Folder(names)) = self.nodes.get(&folder) else { return };
        for (name, inode) in names {
            let path = path.join(name);
            self.walk(*inode, &path, paths);
            paths.insert(*inode, path);
        }
    }

    /// A folder that is not there yet has no name that is durable; what is in it may be durable.
    fn link(&mut self, parent: Inode, name: Name, inode: Inode) {
        self.nodes.entry(parent).or_insert_with(|| Node::Folder(BTreeMap::new()));
        if let Some(Node::Folder(names)) = self.nodes.get_mut(&parent) {
            names.insert(name, inode);
        }
    }

    fn unlink(&mut self, parent: Inode, name: &Name) -> Option<Inode> {
        match self.nodes.get_mut(&parent)? {
            Node::Folder(names) => names.remove(name),
            Node::File(_) => None,
        }
    }

    fn write_folder(&self, inode: Inode, path: &Path) -> Result<(), DiskError> {
        let Some(Node::Folder(names)) = self.nodes.get(&inode) else { return Ok(()) };
        for (name, child) in names {
            let path = path.join(name);
            let at = |source: io::Error| DiskError::File { path: path.clone(), source };
            match self.nodes.get(child) {
                Some(Node::Folder(_)) => {
                    fs::create_dir(&path).map_err(at)?;
                    self.write_folder(*child, &path)?;
                }
                Some(Node::File(bytes)) => fs::write(&path, bytes).map_err(at)?,
                None => fs::write(&path, []).map_err(at)?,
            }
        }
        Ok(())
    }

    fn read_folder(&mut self, inode: Inode, folder: &Path) -> Result<(), DiskError> {
        let at = |source: io::Error| DiskError::File { path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(at)? {
            let entry = entry.map_err(at)?;
            let is_folder = entry.file_type().map_err(at)?.is_dir();
            let child = self.last_inode() + 1;
            let (parent, name) = (inode, entry.file_name());
            self.change(&NameChange::Make { parent, name, inode: child, is_folder });
            if is_folder {
                self.read_folder(child, &entry.path())?;
            } else {
                let path = entry.path();
                let bytes = fs::read(&path).map_err(|source| DiskError::File { path, source })?;
                self.nodes.insert(child, Node::File(bytes));
            }
        }
        Ok(())
    }
}
