//! When a host counts as silent. Pure: the clock is handed in.

/// A host that missed so many of its own intervals is silent.
pub(super) const MISSED_INTERVALS: i64 = 3;

/// The shortest and the longest interval that a host is believed, so that none can claim one by
/// which it would never be missed.
const BELIEVED_INTERVAL_MS: (u32, u32) = (1_000, 3_600_000);

/// What is to be said of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was shut out, so nobody waits for it.
    NotExpected,
    /// It was heard of within its intervals.
    Heard,
    /// Nothing came from it.
    Silent {
        /// For how long, in milliseconds.
        for_ms: i64,
    },
}

/// Judges a host by when it was last heard of, or since when it is listened for.
pub fn judge(heard_ms: i64, interval_ms: u32, revoked: bool, now_ms: i64) -> Verdict {
    if revoked {
        return Verdict::NotExpected;
    }
    let for_ms = now_ms.saturating_sub(heard_ms);
    if for_ms > MISSED_INTERVALS * i64::from(listening_interval_ms(interval_ms)) {
        return Verdict::Silent { for_ms };
    }
    Verdict::Heard
}

/// The interval by which a host is judged that claims another.
pub fn listening_interval_ms(claimed_ms: u32) -> u32 {
    claimed_ms.clamp(BELIEVED_INTERVAL_MS.0, BELIEVED_INTERVAL_MS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_silent_after_three_intervals() {
        let check = |heard_ms, interval_ms, revoked, now_ms, expect| {
            let verdict = judge(heard_ms, interval_ms, revoked, now_ms);
            assert_eq!(verdict, expect, "{heard_ms} {interval_ms} {revoked} {now_ms}");
        };
        check(0, 10_000, false, 0, Verdict::Heard);
        check(0, 10_000, false, 30_000, Verdict::Heard);
        check(0, 10_000, false, 30_001, Verdict::Silent { for_ms: 30_001 });
        check(0, 10_000, true, 90_000, Verdict::NotExpected);
        check(0, 1_000, false, 3_001, Verdict::Silent { for_ms: 3_001 });
        check(0, 1, false, 3_000, Verdict::Heard);
        check(0, u32::MAX, false, 4 * 3_600_000, Verdict::Silent { for_ms: 14_400_000 });
        check(50_000, 10_000, false, 0, Verdict::Heard);
    }
}
