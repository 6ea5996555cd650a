//! The only door to the host: its files, folders, file systems and commands.
//!
//! Everything that is said about a host is read through [`Host`], so that a host can be another
//! root (a container that looks at the machine around it), a captured tree of files, or a
//! recording that was sent in with a report of a problem (`docs/replay.md`).

pub mod bus;
mod clock;
mod command;
mod error;
mod files;
#[cfg(target_os = "linux")]
mod graphics;
mod kept;
mod os_release;
#[cfg(target_os = "linux")]
mod own_process;
mod replay;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod users;
mod virtualization;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use upkeep_model::Virtualization;

pub use self::clock::ClockState;
pub use self::command::Output;
pub use self::error::HostError;
pub use self::files::{FilesystemUsage, Stamp};
#[cfg(target_os = "linux")]
pub use self::graphics::{Graphics, GraphicsCard};
use self::kept::{KeptFiles, Reading};
pub use self::os_release::OsRelease;
#[cfg(target_os = "linux")]
pub use self::own_process::{OwnProcess, OwnUsage};
use self::replay::Recording;
pub use self::text::Text;
pub use self::users::User;

/// The most that is read of a file, in bytes. The longest honest ones, the mount table and the
/// package database of a crowded server, stay under a quarter of it.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// What differs with each boot of each machine, in the kernel's process file system.
const BOOT_ID: &str = "sys/kernel/random/boot_id";

/// How many read buffers are kept for the next reader; there are never more readers at a time than
/// probes that run at once.
const KEPT_BUFFERS: usize = 4;

/// A file that NVIDIA's driver makes as it is loaded.
#[cfg(target_os = "linux")]
const GRAPHICS_DRIVER: &str = "driver/nvidia/version";

/// Where the system's message bus listens, relative to the root.
const BUS_SOCKET: &str = "run/dbus/system_bus_socket";

/// How long a program may take that only prints a constant of the system.
const QUICK_DEADLINE: Duration = Duration::from_secs(5);

/// A read buffer that grew beyond this many bytes is given back instead of kept.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// Where the parts of the host's file system are found, as node_exporter's `--path.*` options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPaths {
    /// The root file system.
    pub rootfs: PathBuf,
    /// The kernel's process file system.
    pub procfs: PathBuf,
    /// The kernel's device file system.
    pub sysfs: PathBuf,
    /// What udev knows about devices.
    pub udev_data: PathBuf,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self {
            rootfs: "/".into(),
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            udev_data: "/run/udev/data".into(),
        }
    }
}

/// The parts of the host's file system; paths are given relative to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The root file system.
    Root,
    /// The kernel's process file system.
    Proc,
    /// The kernel's device file system.
    Sys,
    /// What udev knows about devices.
    UdevData,
    /// What this process sees under a path, for files that the configuration names. A recording
    /// has them in its root.
    Own,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name within the folder.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A file, or something that is opened like one.
    File,
    /// A folder.
    Folder,
    /// A symbolic link to either.
    Link,
}

/// A host: this machine, another root, or a recording. Clones share what they keep open.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    paths: HostPaths,
    recording: Option<Recording>,
    files: KeptFiles,
    buffers: Mutex<Vec<Vec<u8>>>,
    bus: Mutex<Option<bus::Connection>>,
}

impl Host {
    /// The host whose file systems are at the given places.
    pub fn new(paths: HostPaths) -> Self {
        Self::of(paths, None)
    }

    /// A host that was recorded into a folder; `docs/replay.md` describes what is in it.
    ///
    /// # Errors
    /// When the folder is not a recording; the file and line are named.
    pub fn replay(folder: &Path) -> Result<Self, HostError> {
        let root = folder.join("root");
        let paths = HostPaths {
            procfs: root.join("proc"),
            sysfs: root.join("sys"),
            udev_data: root.join("run/udev/data"),
            rootfs: root,
        };
        Ok(Self::of(paths, Some(Recording::load(folder)?)))
    }

    fn of(paths: HostPaths, recording: Option<Recording>) -> Self {
        let (files, buffers, bus) = Default::default();
        Self { inner: Arc::new(Inner { paths, recording, files, buffers, bus }) }
    }

    /// Whether what is asked is answered about the very system that this process runs on, so that
    /// system calls and commands describe it too.
    pub fn is_this_system(&self) -> bool {
        let ours = HostPaths::default();
        self.inner.recording.is_none()
            && self.inner.paths.rootfs == ours.rootfs
            && self.inner.paths.procfs == ours.procfs
    }

    /// The moment at which a recording was made, in milliseconds since 1970: what is now to whoever
    /// looks at it. `None` for hosts that are there, and where a recording does not tell.
    pub fn recorded_at_ms(&self) -> Option<i64> {
        self.inner.recording.as_ref()?.recorded_at().map(jiff::Timestamp::as_millisecond)
    }

    /// Where a file of the host lies in the file system of this process.
    pub fn path(&self, tree: Tree, relative: &str) -> PathBuf {
        let paths = &self.inner.paths;
        let base = match tree {
            Tree::Own if self.inner.recording.is_none() => return PathBuf::from(relative),
            Tree::Root | Tree::Own => return files::beneath(&paths.rootfs, relative),
            Tree::Proc => &paths.procfs,
            Tree::Sys => &paths.sysfs,
            Tree::UdevData => &paths.udev_data,
        };
        base.join(relative.trim_start_matches('/'))
    }

    /// Reads a text file whole. The text lends its buffer from the host and gives it back, so that
    /// a file that is read again and again costs no allocation. Bytes that are not UTF-8 become
    /// replacement characters.
    ///
    /// # Errors
    /// When the file cannot be read; [`HostError::is_absent`] tells whether it is missing.
    pub fn read(&self, tree: Tree, relative: &str) -> Result<Text, HostError> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        buffer.clear();
        match self.read_into(tree, relative, &mut buffer) {
            Ok(()) => Ok(Text::new(self, buffer)),
            Err(error) => {
                self.keep(buffer);
                Err(error)
            }
        }
    }

    fn read_into(&self, tree: Tree, relative: &str, buffer: &mut Vec<u8>) -> Result<(), HostError> {
        let files = &self.inner.files;
        let opening = match files.read(tree, relative, MAX_FILE_BYTES, buffer) {
            Reading::Done(Ok(())) => return Ok(()),
            Reading::Done(Err(source)) => {
                return Err(HostError::Read { path: self.path(tree, relative), source });
            }
            Reading::Open(opening) => opening,
        };
        let file = files::read(&self.path(tree, relative), MAX_FILE_BYTES, buffer)?;
        files.keep(&opening, tree, relative, file);
        Ok(())
    }

    /// Reads a text file that need not be there: `None` if it is absent.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read_if_present(&self, tree: Tree, relative: &str) -> Result<Option<Text>, HostError> {
        match self.read(tree, relative) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a file of bytes whole.
    ///
    /// # Errors
    /// As [`Host::read`].
    pub fn read_bytes(&self, tree: Tree, relative: &str) -> Result<Vec<u8>, HostError> {
        let mut bytes = Vec::new();
        files::read(&self.path(tree, relative), MAX_FILE_BYTES, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives the lines of a text file that is too long to be held whole, one after another, without
    /// their ends. Bytes that are not UTF-8 become replacement characters.
    ///
    /// # Errors
    /// As [`Host::read`]; the lines before the failure were given.
    pub fn each_line(
        &self,
        tree: Tree,
        relative: &str,
        each: impl FnMut(&str),
    ) -> Result<(), HostError> {
        files::each_line(&self.path(tree, relative), MAX_FILE_BYTES, each)
    }

    /// The entries of a folder, sorted by name.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(&self, tree: Tree, relative: &str) -> Result<Vec<Entry>, HostError> {
        let path = self.path(tree, relative);
        if !KeptFiles::watches(tree, relative) {
            return files::list(&path, |_, _| ());
        }
        let mut look = DefaultHasher::new();
        let entries = files::list(&path, |name, number| (name, number).hash(&mut look))?;
        self.inner.files.looked(look.finish());
        Ok(entries)
    }

    /// The entries of a folder that need not be there: none if it is absent.
    ///
    /// # Errors
    /// When the folder is there and cannot be listed.
    pub fn list_if_present(&self, tree: Tree, relative: &str) -> Result<Vec<Entry>, HostError> {
        match self.list(tree, relative) {
            Err(error) if error.is_absent() => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// Whether something is at a path, and can be seen.
    pub fn exists(&self, tree: Tree, relative: &str) -> bool {
        self.path(tree, relative).exists()
    }

    /// Where a symbolic link points to, as it is written there.
    ///
    /// # Errors
    /// When it is not a link or cannot be read.
    pub fn link(&self, tree: Tree, relative: &str) -> Result<PathBuf, HostError> {
        files::link(&self.path(tree, relative))
    }

    /// The place of a file or folder with every link on the way followed.
    ///
    /// # Errors
    /// When something on the way is missing or cannot be looked at.
    pub fn resolve(&self, tree: Tree, relative: &str) -> Result<PathBuf, HostError> {
        files::resolve(&self.path(tree, relative))
    }

    /// When a file's content last changed.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn modified(&self, tree: Tree, relative: &str) -> Result<SystemTime, HostError> {
        files::modified(&self.path(tree, relative))
    }

    /// What tells one state of a file or folder from another without reading it.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn stamp(&self, tree: Tree, relative: &str) -> Result<Stamp, HostError> {
        files::stamp(&self.path(tree, relative))
    }

    /// The machine's architecture, as `uname -m` prints it.
    ///
    /// # Errors
    /// When neither the kernel's files nor a recording of `uname -m` tell it.
    pub fn architecture(&self) -> Result<String, HostError> {
        // The file exists since Linux 6.1.
        if let Some(text) = self.read_if_present(Tree::Proc, "sys/kernel/arch")? {
            return Ok(text.trim().to_owned());
        }
        if self.is_this_system()
            && let Some(machine) = files::architecture()
        {
            return Ok(machine);
        }
        Ok(self.run(&["uname", "-m"], QUICK_DEADLINE)?.stdout.trim().to_owned())
    }

    /// The size of a page of memory in bytes; `None` where a recording does not tell it. Another
    /// root shares the kernel with this process, and so its pages.
    pub fn page_bytes(&self) -> Option<f64> {
        if self.inner.recording.is_none() {
            return files::page_bytes();
        }
        let output = self.run(&["getconf", "PAGESIZE"], QUICK_DEADLINE).ok()?;
        output.stdout.trim().parse().ok()
    }

    /// The state of the kernel's clock; `None` where the files are not those of the kernel that
    /// this process runs on.
    ///
    /// # Errors
    /// When the kernel does not answer, or a sandbox does not let it be asked.
    pub fn clock_state(&self) -> Result<Option<ClockState>, HostError> {
        let is_ours = self.inner.recording.is_none()
            && match self.read_if_present(Tree::Proc, BOOT_ID)? {
                Some(boot) => files::is_content(&Path::new("/proc").join(BOOT_ID), &boot),
                None => false,
            };
        if !is_ours {
            return Ok(None);
        }
        clock::state().map(Some).map_err(|source| HostError::Call { call: "adjtimex", source })
    }

    /// What the distribution says about itself; `None` if it says nothing.
    ///
    /// # Errors
    /// When its file is there and cannot be read.
    pub fn os_release(&self) -> Result<Option<OsRelease>, HostError> {
        for file in os_release::FILES {
            if let Some(text) = self.read_if_present(Tree::Root, file)? {
                return Ok(Some(OsRelease::parse(file, &text)));
            }
        }
        Ok(None)
    }

    /// A user of the host by name; `None` if there is none.
    ///
    /// # Errors
    /// When the list of users is there and cannot be read.
    pub fn user(&self, name: &str) -> Result<Option<User>, HostError> {
        let text = self.read_if_present(Tree::Root, users::FILE)?;
        Ok(text.and_then(|text| users::find(&text, name)))
    }

    /// What lies between the host and the machine.
    pub fn virtualization(&self) -> Virtualization {
        virtualization::detect(self)
    }

    /// The library that tells of graphics cards; `None` where its driver is not loaded, or on
    /// another system than this one.
    ///
    /// # Errors
    /// When the driver is there and the library is not, or does not work with it.
    #[cfg(target_os = "linux")]
    pub fn graphics(&self) -> Result<Option<Graphics>, HostError> {
        if !self.is_this_system() || !self.exists(Tree::Proc, GRAPHICS_DRIVER) {
            return Ok(None);
        }
        Graphics::open().map(Some)
    }

    /// The place of a mount as the host itself sees it, given as this process sees it.
    pub fn inside<'path>(&self, path: &'path str) -> &'path str {
        match self.inner.paths.rootfs.to_str() {
            None | Some("/") => path,
            Some(root) => match path.strip_prefix(root) {
                Some("") => "/",
                Some(rest) if rest.starts_with('/') => rest,
                _ => path,
            },
        }
    }

    /// The size of the file system that is mounted at a place of the host. This may block for as
    /// long as a network file system's server is away.
    ///
    /// # Errors
    /// When the file system does not answer, or a recording does not hold it.
    pub fn filesystem(&self, mount_point: &str) -> Result<FilesystemUsage, HostError> {
        match &self.inner.recording {
            Some(recording) => recording.filesystem(mount_point),
            None => files::usage(&self.path(Tree::Root, mount_point)),
        }
    }

    /// Runs a program and waits for its end. It is looked for in the system's folders only, gets a
    /// cleared environment with `LC_ALL=C`, and no input.
    ///
    /// # Errors
    /// When it cannot be run, takes longer than `deadline`, prints too much, or a recording does
    /// not hold it. A failure that the program itself reports is no error here.
    pub fn run(&self, arguments: &[&str], deadline: Duration) -> Result<Output, HostError> {
        if let Some(recording) = &self.inner.recording {
            return recording.run(arguments);
        }
        if !self.is_this_system() {
            let program = arguments.first().copied().unwrap_or_default().to_owned();
            return Err(HostError::OtherRoot { program, root: self.inner.paths.rootfs.clone() });
        }
        command::run(arguments, deadline)
    }

    /// Calls methods over the system's message bus, all at once, and gives their answers in the
    /// same order. The connection is kept for the next calls.
    ///
    /// # Errors
    /// When there is no bus, it does not answer in time, or this is a recording, which has none.
    /// That a single call is refused is no error here.
    pub fn call_bus(
        &self,
        calls: &[bus::Call<'_>],
    ) -> Result<Vec<Result<bus::Reply, bus::Refusal>>, HostError> {
        if let Some(recording) = &self.inner.recording {
            return Err(recording.lacks("the system bus"));
        }
        let mut kept = self.inner.bus.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(bus::call_all(&mut kept, &self.path(Tree::Root, BUS_SOCKET), calls)?)
    }

    /// Whether the host has a program of this name in one of the system's folders.
    pub fn has_program(&self, name: &str) -> bool {
        let recorded =
            self.inner.recording.as_ref().is_some_and(|recording| recording.has_program(name));
        recorded
            || command::FOLDERS.iter().any(|at| self.exists(Tree::Root, &format!("{at}/{name}")))
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.inner.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers();
        if buffers.len() < KEPT_BUFFERS && buffer.capacity() <= KEPT_BUFFER_BYTES {
            buffers.push(buffer);
        }
    }
}
