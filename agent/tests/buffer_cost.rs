//! What the buffer takes of the machine while it does little.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use upkeep_agent::buffer::{Buffer, Draft, Options, SharedBuffer};
use upkeep_model::{Event, EventKind, HostFacts, Lane};

/// Set in a process of its own, in which nothing but the buffer takes memory: the buffer's folder.
const CHILD: &str = "UPKEEP_TEST_BUFFER_COST";

/// Seven for its writes, and one that flushes.
const DATABASES_THREADS: usize = 8;

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn open(folder: &Path) -> Buffer {
    Buffer::open(folder, Options::default(), 0).unwrap()
}

fn facts(length: usize) -> Draft {
    let facts = HostFacts { kernel: "k".repeat(length), ..HostFacts::default() };
    Draft::Event(Event { at_ms: 0, kind: EventKind::Facts(Box::new(facts)) })
}

/// The numbers of this process' threads that are the database's, by their names.
fn databases_threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap());
    let is_databases = |task: &fs::DirEntry| {
        // One that has ended since it was listed has no name.
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.starts_with("sled-io") || name.starts_with("log flusher")
    };
    tasks.filter(is_databases).map(|task| task.file_name().into_string().unwrap()).collect()
}

/// The database's idle threads would else look up once a second each.
#[test]
fn the_databases_threads_may_be_late_and_no_others() {
    let slack_ns = |thread: &str| -> u64 {
        let path = format!("/proc/{thread}/timerslack_ns");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    };
    let own = || slack_ns(&rustix::thread::gettid().to_string());
    let usual = own();
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let mut buffer = open(folder.path());
        buffer.append(&[facts(10)]).unwrap();
        // A thread gives itself its name as it starts, and has that of another until then.
        let begun = Instant::now();
        let threads = loop {
            let threads = databases_threads();
            if threads.len() >= DATABASES_THREADS || begun.elapsed() > PATIENCE {
                break threads;
            }
            thread::sleep(LOOK_EVERY);
        };
        assert!(threads.len() >= DATABASES_THREADS, "{threads:?} in round {round}");
        for thread in threads {
            assert_eq!(slack_ns(&thread), 30_000_000_000, "in round {round}");
        }
        assert_eq!(own(), usual);
    }
}

/// Each thread that used the buffer would else keep what it replaced for as long as it lives and
/// writes little: here some 20 MB, of which the file has 4.
#[test]
fn what_the_database_replaced_is_given_back_by_threads_that_live_on() {
    const THREADS: usize = 60;
    const MOST_KB: u64 = 10_000;
    let Ok(folder) = std::env::var(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        let name = "what_the_database_replaced_is_given_back_by_threads_that_live_on";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", name]).env(CHILD, folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        return;
    };
    let taken_kb = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let buffer = SharedBuffer::new(open(Path::new(&folder)));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (begin, begun) = channel::<()>();
            let (done, is_done) = channel();
            let buffer = buffer.clone();
            thread::spawn(move || {
                while begun.recv().is_ok() {
                    buffer.append(&[facts(60_000)]).unwrap();
                    let mut buffer = buffer.lock();
                    let last = buffer.lane(Lane::Events).next_sequence - 1;
                    buffer.forget_through(Lane::Events, last).unwrap();
                    done.send(()).unwrap();
                }
            });
            (begin, is_done)
        })
        .collect();
    let before = taken_kb();
    for (begin, is_done) in &threads {
        begin.send(()).unwrap();
        is_done.recv().unwrap();
    }
    let more = taken_kb() - before;
    assert!(more < MOST_KB, "{more} kB more after {THREADS} appends, each by a thread of its own");
}
