//! When a channel that failed is tried again.

/// How long the first try after a failure waits, and how long any may.
const FIRST_RETRY_MS: i64 = 1_000;
const LONGEST_RETRY_MS: i64 = 60_000;

/// How long to wait after so many failures: twice as long each time, up to a bound, and up to half
/// of it less by chance, so that many groups do not all come back at one moment.
pub(super) fn pause_ms(failures: u32, random: f64) -> i64 {
    let doubled = FIRST_RETRY_MS.saturating_mul(1_i64 << failures.saturating_sub(1).min(16));
    let longest = doubled.min(LONGEST_RETRY_MS);
    #[expect(clippy::cast_possible_truncation, reason = "the product is below the bound")]
    #[expect(clippy::cast_precision_loss, reason = "the bound is small")]
    let less = (longest as f64 * 0.5 * random.clamp(0.0, 1.0)) as i64;
    longest - less
}
