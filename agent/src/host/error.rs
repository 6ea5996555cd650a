//! What can go wrong at the door to the host.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::bus::BusError;

/// Something of the host could not be read, listed or run.
#[derive(Debug, Error)]
pub enum HostError {
    /// A file, folder or file system could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is longer than any that is expected of a healthy system.
    #[error("{}: longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// A program is in none of the folders where programs are looked for.
    #[error("{program}: not found in {searched}")]
    NoProgram {
        /// The program's name.
        program: String,
        /// The folders, separated by colons.
        searched: &'static str,
    },
    /// Programs describe the system they run on, so they are not run for another root.
    #[error("{program}: not run, since the root of the host is {}", root.display())]
    OtherRoot {
        /// The program's name.
        program: String,
        /// The root file system in force.
        root: PathBuf,
    },
    /// The program could not be started or waited for.
    #[error("{program}: {source}")]
    Run {
        /// The program's name.
        program: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The program was ended because it took too long.
    #[error("{program}: ended after {} seconds without an answer", after.as_secs_f64())]
    Deadline {
        /// The program's name.
        program: String,
        /// How long it was given.
        after: Duration,
    },
    /// The program was ended because it printed too much.
    #[error("{program}: ended after printing more than {limit} bytes")]
    TooMuchOutput {
        /// The program's name.
        program: String,
        /// The most that is taken, in bytes of each of its two streams.
        limit: usize,
    },
    /// A library that is loaded where it is wanted is not there.
    #[error("{name}: {fault}")]
    NoLibrary {
        /// The library's name.
        name: &'static str,
        /// What the loader said.
        fault: String,
    },
    /// A library that was loaded refuses to work.
    #[error("{name}: {fault}")]
    Library {
        /// The library's name.
        name: &'static str,
        /// What it said.
        fault: String,
    },
    /// The kernel did not answer.
    #[error("{call}: {source}")]
    Call {
        /// The system call.
        call: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The system's message bus did not answer.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A replay has no answer to what was asked.
    #[error("{what}: not in the recording {}", recording.display())]
    NotRecorded {
        /// The command or file system that was asked for.
        what: String,
        /// The file that would have to hold it.
        recording: PathBuf,
    },
    /// A recording cannot be read.
    #[error("{}, line {line}: {fault}", path.display())]
    Recording {
        /// The file of the recording.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: String,
    },
}

impl HostError {
    /// Whether the thing is simply not there: a feature the kernel was built without, a device that
    /// was unplugged meanwhile, an attribute that its driver does not offer.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Read { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::Unsupported
                ) || source.raw_os_error().is_some_and(names_absence)
            }
            Self::NoProgram { .. } | Self::NoLibrary { .. } => true,
            Self::Bus(BusError::Io(source)) => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// Whether the thing is there, and not for this user.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Call { source, .. } => {
                source.kind() == io::ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }
}

/// Whether an error number is one by which drivers say that an attribute has no value.
#[cfg(target_os = "linux")]
fn names_absence(number: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NODEV, Errno::NXIO, Errno::OPNOTSUPP, Errno::NODATA, Errno::INVAL]
        .iter()
        .any(|errno| errno.raw_os_error() == number)
}

/// Whether an error number is one by which drivers say that an attribute has no value.
#[cfg(not(target_os = "linux"))]
fn names_absence(_number: i32) -> bool {
    false
}
