//! What the buffer takes of the machine while it does little.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::fs;
use std::path::Path;

use upkeep_agent::buffer::{Buffer, Draft, Options};
use upkeep_model::{Event, EventKind, HostFacts};

fn open(folder: &Path) -> Buffer {
    Buffer::open(folder, Options::default(), 0).unwrap()
}

fn facts(length: usize) -> Draft {
    let facts = HostFacts { kernel: "k".repeat(length), ..HostFacts::default() };
    Draft::Event(Event { at_ms: 0, kind: EventKind::Facts(Box::new(facts)) })
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
        let mut threads = 0;
        for task in fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path()) {
            let name = fs::read_to_string(task.join("comm")).unwrap();
            if name.starts_with("sled-io") || name.starts_with("log flusher") {
                assert_eq!(slack_ns(task.file_name().unwrap().to_str().unwrap()), 30_000_000_000);
                threads += 1;
            }
        }
        assert!(threads >= 8, "{threads} threads of the database, in round {round}");
        assert_eq!(own(), usual);
    }
}
