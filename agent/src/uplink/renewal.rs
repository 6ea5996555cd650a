//! When the certificate is renewed.

use std::time::Duration;

/// The longest wait after a renewal that failed.
const LONGEST_RETRY_MS: i64 = 10 * 60 * 1000;

/// The shortest wait after a renewal that failed.
const SHORTEST_RETRY_MS: i64 = 1000;

/// When to renew a certificate, in milliseconds since 1970: at half its life, give or take a tenth
/// of it. `random` is uniform between 0 and 1. Certificates are back-dated, so for one that came
/// just now life begins at `received_ms`; else a short one would be renewed again at once.
pub(super) fn due_ms(
    (not_before_ms, not_after_ms): (i64, i64),
    received_ms: Option<i64>,
    random: f64,
) -> i64 {
    let begin = received_ms.unwrap_or(not_before_ms).max(not_before_ms);
    let life = not_after_ms.saturating_sub(begin).max(0);
    begin.saturating_add((life as f64 * (0.4 + 0.2 * random)) as i64)
}

/// How long to wait after a renewal that failed: a tenth of the time that is left.
pub(super) fn retry_after(not_after_ms: i64, now_ms: i64) -> Duration {
    let left = not_after_ms.saturating_sub(now_ms);
    let wait = (left / 10).clamp(SHORTEST_RETRY_MS, LONGEST_RETRY_MS);
    Duration::from_millis(wait.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_half_life_give_or_take_a_tenth() {
        let check = |received: Option<i64>, random: f64, expect: i64| {
            assert_eq!(due_ms((1_000, 101_000), received, random), expect);
        };
        check(None, 0.0, 41_000);
        check(None, 0.5, 51_000);
        check(None, 1.0, 61_000);
        check(Some(500), 0.5, 51_000);
        check(Some(91_000), 0.5, 96_000);
        check(Some(200_000), 0.5, 200_000);
    }

    #[test]
    fn a_failed_renewal_is_tried_more_often_as_the_end_nears() {
        let check = |left_ms: i64, expect_ms: u64| {
            assert_eq!(retry_after(left_ms, 0), Duration::from_millis(expect_ms));
        };
        check(7 * 24 * 3600 * 1000, 600_000);
        check(120_000, 12_000);
        check(3_000, 1_000);
        check(-5, 1_000);
    }
}
