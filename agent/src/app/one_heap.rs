//! One heap for all threads.
//!
//! GNU's C library gives each thread a heap of its own, so that programs which allocate much need
//! not wait for one another. The agent's threads are sixteen that allocate little, one after another,
//! and their heaps would be a tenth of all its memory. The library reads its settings only as a
//! program starts, from the environment, so the program starts anew in its own place: the process
//! stays the same. Another library passes the settings over.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the library reads.
const VARIABLE: &str = "GLIBC_TUNABLES";

/// One heap; what is large, as the database's buffers of half a megabyte are, lies outside and is
/// given back at once, which the library would otherwise stop to do after a while; and no thread
/// keeps small pieces that it no longer needs for itself, since those of sixteen threads lie so
/// scattered that the heap grows for hours.
const SETTINGS: &str = concat!(
    "glibc.malloc.arena_max=1",
    ":glibc.malloc.mmap_threshold=131072",
    ":glibc.malloc.tcache_count=0",
);

/// Starts this program anew if it has no settings, be it those of an operator. Where that is not
/// possible, it goes on and takes more memory.
pub(super) fn ensure() {
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    command.arg0(arguments.next().unwrap_or_else(|| "upkeep-agent".into()));
    let _failure = command.args(arguments).env(VARIABLE, SETTINGS).exec();
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use std::sync::mpsc::channel;
    use std::{fs, thread};

    use super::*;

    /// What one thread of a program with these settings frees, another takes again.
    #[test]
    fn threads_share_what_they_free_and_what_is_large_lies_outside() {
        if env::var(VARIABLE).as_deref() != Ok(SETTINGS) {
            let name = "app::one_heap::tests::\
                        threads_share_what_they_free_and_what_is_large_lies_outside";
            let mut again = Command::new(env::current_exe().unwrap());
            let again = again.args(["--exact", name]).env(VARIABLE, SETTINGS).output().unwrap();
            let said = String::from_utf8_lossy(&again.stdout);
            assert!(again.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let before = heap_bytes();
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (end, ended) = channel::<()>();
                let (done, is_done) = channel();
                let thread = thread::spawn(move || {
                    drop(small_pieces());
                    done.send(()).unwrap();
                    ended.recv().unwrap_err();
                });
                is_done.recv().unwrap();
                (thread, end)
            })
            .collect();
        let once = small_pieces();
        let grown = heap_bytes() - before;
        let taken = once.iter().map(|piece| piece.capacity() as u64).sum::<u64>();
        assert!(grown < 2 * taken, "{grown} bytes of heap for {taken} at a time");
        for (thread, end) in threads {
            drop(end);
            thread.join().unwrap();
        }
        let before = heap_bytes();
        // The library would learn from the first that is freed that such a size comes and goes.
        for _ in 0..3 {
            drop(vec![1_u8; 512 << 10]);
        }
        assert_eq!(heap_bytes(), before);
    }

    /// As many pieces of each small size as the library's threads would keep.
    fn small_pieces() -> Vec<Vec<u8>> {
        (16..1024).step_by(16).flat_map(|size| (0..7).map(move |_| vec![1; size])).collect()
    }

    /// How long the heaps are: the first thread's, and the others', which begin at multiples of
    /// this many bytes.
    fn heap_bytes() -> u64 {
        const APART_BYTES: u64 = 64 << 20;
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let bytes = |line: &str| {
            let (range, rest) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
            let is_heap = rest.ends_with("[heap]")
                || start.is_multiple_of(APART_BYTES) && rest.starts_with("rw-p");
            if is_heap { end - start } else { 0 }
        };
        maps.lines().map(bytes).sum()
    }
}
