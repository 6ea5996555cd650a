//! Threads whose time-outs may come late.
//!
//! The database keeps seven threads for its writes, and each that has none looks up once a second,
//! by a constant of its own: half of what an idle agent costs. The kernel has a remedy: each thread
//! has a timer slack, by which its time-outs may be late so that they fall together with others, and
//! hands it on to the threads that it starts. What a thread is woken for by others is not delayed.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;

/// How late a time-out may be: longer than the usual time between writes, after each of which the
/// threads begin to wait anew, and short beside what the database does once a minute.
const SLACK: Duration = Duration::from_secs(30);

/// Runs something whose threads, those that it starts, may be late with their time-outs. So may be
/// this one until it returns, so nothing should wait for a time meanwhile. Where the kernel does not
/// take it, it is done all the same and only costs more.
pub(super) fn with_slack<T>(work: impl FnOnce() -> T) -> T {
    let _usual = UsualSlack;
    let _refused = set_current_timer_slack(NonZeroU64::new(SLACK.as_nanos() as u64));
    work()
}

/// Gives this thread the slack that it began with when this is dropped, be it by a panic.
struct UsualSlack;

impl Drop for UsualSlack {
    fn drop(&mut self) {
        let _refused = set_current_timer_slack(None);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// The slack of the calling thread in nanoseconds.
    fn own() -> u128 {
        let path = format!("/proc/{}/timerslack_ns", rustix::thread::gettid());
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn threads_that_are_started_meanwhile_have_it_and_later_ones_do_not() {
        let started = || thread::spawn(own).join().unwrap();
        let usual = started();
        assert_eq!(with_slack(started), SLACK.as_nanos());
        assert_eq!((started(), own()), (usual, usual));
        std::panic::catch_unwind(|| with_slack(|| panic!("as the test wants it"))).unwrap_err();
        assert_eq!(started(), usual);
    }
}
