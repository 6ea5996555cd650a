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

/// One heap; and what is large, as the database's buffers of half a megabyte are, lies outside and
/// is given back at once. Unless that is set, the library takes it into the heap after a while.
const SETTINGS: &str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072";

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
