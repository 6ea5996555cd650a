//! How long the committer waits for more appends, so that one sync serves them all. Pure.

use std::time::Duration;

use crate::Options;

/// Traffic is slow where a group of so many submissions or more has fewer bytes than this: then what
/// each costs is the waking of threads and the answers, and a longer hold makes fewer of them. Where
/// fewer append, nobody gains by waiting.
const SLOW: (usize, usize) = (8, 256 * 1024);

/// How long the group after one of so many submissions and bytes waits.
pub(crate) fn next_hold(
    options: &Options,
    hold: Duration,
    submissions: usize,
    bytes: usize,
) -> Duration {
    if submissions >= SLOW.0 && bytes < SLOW.1 {
        (hold * 2).min(options.longest_hold.max(options.hold))
    } else {
        options.hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hold_grows_where_many_append_little_and_nowhere_else() {
        let options = Options::default();
        let check = |hold: u64, submissions, bytes, expect: u64| {
            let next = next_hold(&options, Duration::from_millis(hold), submissions, bytes);
            assert_eq!(next, Duration::from_millis(expect), "{hold} {submissions} {bytes}");
        };
        check(20, 40, 12_000, 40);
        check(80, 40, 12_000, 100);
        check(100, 200, 56_000, 100);
        check(100, 1, 300, 20);
        check(100, 200, 900_000, 20);
        let eager = Options { hold: Duration::ZERO, ..options };
        assert_eq!(next_hold(&eager, Duration::ZERO, 100, 100), Duration::ZERO);
    }
}
