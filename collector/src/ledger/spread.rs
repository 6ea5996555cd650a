//! How long something took, counted within bounds: small, and two of them can be added.

/// The bounds in seconds; what takes longer than the last counts behind it.
const BOUNDS_S: [u64; 16] = [
    5, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 86_400, 259_200,
    604_800,
];

/// Counts something that took so long.
pub(super) fn count(spread: &mut Vec<u64>, took_ms: i64) {
    let took_ms = u64::try_from(took_ms).unwrap_or(0);
    let place = BOUNDS_S.iter().position(|bound| took_ms <= bound * 1000);
    let place = place.unwrap_or(BOUNDS_S.len());
    if spread.len() <= place {
        spread.resize(place + 1, 0);
    }
    if let Some(count) = spread.get_mut(place) {
        *count += 1;
    }
}

/// Adds what another one counted.
pub(super) fn add(spread: &mut Vec<u64>, other: &[u64]) {
    if spread.len() < other.len() {
        spread.resize(other.len(), 0);
    }
    for (count, more) in spread.iter_mut().zip(other) {
        *count += more;
    }
}

/// How long a share of what was counted took at most, in milliseconds, within the two bounds that it
/// lies between; `None` if nothing was counted. What is beyond the last bound counts as that.
#[expect(clippy::cast_precision_loss, reason = "counts and bounds are small")]
#[expect(clippy::cast_possible_truncation, reason = "the bounds are small")]
pub fn quantile_ms(spread: &[u64], share: f64) -> Option<i64> {
    let total: u64 = spread.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = total as f64 * share.clamp(0.0, 1.0);
    let (mut below, mut lower) = (0_u64, 0_u64);
    for (count, upper) in spread.iter().zip(BOUNDS_S) {
        let through = below + count;
        if *count > 0 && through as f64 >= rank {
            let part = ((rank - below as f64) / *count as f64).clamp(0.0, 1.0);
            let seconds = lower as f64 + part * (upper - lower) as f64;
            return Some((seconds * 1000.0) as i64);
        }
        (below, lower) = (through, upper);
    }
    Some(lower as i64 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_the_bounds() {
        let check = |took_s: &[i64], share, expect: Option<i64>| {
            let mut spread = Vec::new();
            took_s.iter().for_each(|seconds| count(&mut spread, seconds * 1000));
            assert_eq!(quantile_ms(&spread, share), expect, "{took_s:?} {share}");
        };
        check(&[], 0.5, None);
        check(&[-7], 1.0, Some(5_000));
        check(&[5], 0.5, Some(2_500));
        check(&[6, 6], 0.5, Some(10_000));
        check(&[40, 50, 3_000, 3_000], 0.5, Some(60_000));
        check(&[40, 50, 3_000, 3_000], 0.9, Some(3_240_000));
        check(&[40, 90_000_000], 0.9, Some(604_800_000));
    }

    #[test]
    fn spreads_are_added() {
        let mut sum = vec![1, 2];
        add(&mut sum, &[0, 1, 5]);
        assert_eq!(sum, [1, 3, 5]);
        add(&mut sum, &[1]);
        assert_eq!(sum, [2, 3, 5]);
    }
}
