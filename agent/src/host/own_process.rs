//! What this very process takes of the host, whichever host is observed.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::files;

/// Our own row of the kernel's table of processes.
const ROW: &str = "/proc/self/stat";

/// Where our open files are listed.
const OPEN_FILES: &str = "/proc/self/fd";

/// Where the kernel tells when it was booted.
const KERNEL: &str = "/proc/stat";

/// The row fits many times.
const ROW_BYTES: usize = 4096;

/// This process, with its row kept open.
#[derive(Debug)]
pub struct OwnProcess {
    row: File,
    buffer: Vec<u8>,
    /// Seconds since 1970; found out once, since it does not change.
    started: Option<f64>,
}

/// What the process takes at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnUsage {
    /// The processor's time since the start, of user and system.
    pub cpu: Duration,
    /// Memory that is in use, in bytes.
    pub resident_bytes: u64,
    /// Addresses that are in use, in bytes.
    pub virtual_bytes: u64,
    /// How many threads there are.
    pub threads: u64,
    /// How many files are open; `None` where the kernel does not tell.
    pub open_files: Option<u64>,
    /// How many may be; `None` if there is no limit.
    pub max_open_files: Option<u64>,
    /// How many addresses may be in use, in bytes; `None` if there is no limit.
    pub max_virtual_bytes: Option<u64>,
    /// When it was started, in seconds since 1970; `None` where that cannot be read.
    pub started: Option<f64>,
}

impl OwnProcess {
    /// Opens what has to be opened once.
    ///
    /// # Errors
    /// When procfs is not there.
    pub fn open() -> io::Result<Self> {
        let row = File::open(ROW)?;
        Ok(Self { row, buffer: Vec::with_capacity(ROW_BYTES), started: None })
    }

    /// What it takes now.
    ///
    /// # Errors
    /// When our own row cannot be read.
    pub fn usage(&mut self) -> io::Result<OwnUsage> {
        self.buffer.clear();
        files::read_at(&self.row, 0, &mut self.buffer)?;
        let row = Row::parse(&String::from_utf8_lossy(&self.buffer))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, ROW))?;
        if self.started.is_none() {
            self.started = started(row.started_ticks);
        }
        let page_bytes = rustix::param::page_size() as u64;
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Ok(OwnUsage {
            cpu: Duration::try_from(cpu).unwrap_or_default(),
            resident_bytes: row.resident_pages * page_bytes,
            virtual_bytes: row.virtual_bytes,
            threads: row.threads,
            open_files: open_files(),
            max_open_files: files::open_files_limit(),
            max_virtual_bytes: getrlimit(Resource::As).current,
            started: self.started,
        })
    }
}

/// What counts of a row.
#[derive(Debug, PartialEq)]
struct Row {
    threads: u64,
    started_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Row {
    /// Reads `1 (name) S 2 …`; a name may hold blanks and brackets.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        // The state, which is the third of all fields, comes first here.
        let mut fields = rest.split_ascii_whitespace().skip(17);
        let threads = fields.next()?.parse().ok()?;
        let started_ticks = fields.nth(1)?.parse().ok()?;
        let virtual_bytes = fields.next()?.parse().ok()?;
        let resident_pages = fields.next()?.parse().ok()?;
        Some(Self { threads, started_ticks, virtual_bytes, resident_pages })
    }
}

/// When a process was started that began so many ticks after the boot.
fn started(ticks: u64) -> Option<f64> {
    let kernel = std::fs::read_to_string(KERNEL).ok()?;
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: f64 = boot.trim().parse().ok()?;
    Some(boot + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The kernel gives the number as the folder's size since 6.2; before, they have to be counted.
fn open_files() -> Option<u64> {
    match std::fs::metadata(OPEN_FILES).ok()?.len() {
        // The one through which they are counted is none of them.
        0 => Some((std::fs::read_dir(OPEN_FILES).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_whatever_its_name() {
        let row = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 15 0 900 1000 25 99 0 0\n";
        let expect =
            Row { threads: 15, started_ticks: 900, virtual_bytes: 1000, resident_pages: 25 };
        assert_eq!(Row::parse(row), Some(expect));
        assert_eq!(Row::parse("7 (a) S 1 7"), None);
        assert_eq!(Row::parse(""), None);
    }

    /// So often files are counted until nobody disturbs it.
    const LOOKS: usize = 100;

    #[test]
    fn what_this_process_takes_is_what_it_does() {
        let mut process = OwnProcess::open().unwrap();
        // Other tests open and close files meanwhile where they are threads of this process.
        let mut looks = (0..LOOKS).map(|_| {
            let before = process.usage().unwrap().open_files.unwrap();
            let files: Vec<File> = (0..7).map(|_| File::open(ROW).unwrap()).collect();
            process.usage().unwrap().open_files.unwrap() == before + files.len() as u64
        });
        assert!(looks.any(|is_seen| is_seen), "7 files were opened");
        let before = process.usage().unwrap();
        let room = vec![1_u8; 64 << 20];
        let after = process.usage().unwrap();
        let grown = after.resident_bytes - before.resident_bytes;
        assert!((32 << 20..128 << 20).contains(&grown), "{grown} bytes, and {}", room.len());
        assert!(after.virtual_bytes > after.resident_bytes);
        assert!(after.cpu > before.cpu && after.threads >= 1);
        assert!(after.max_open_files.is_none_or(|most| most > after.open_files.unwrap()));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - after.started.unwrap();
        assert!((-2.0..600.0).contains(&age), "started {age} s ago");
    }
}
