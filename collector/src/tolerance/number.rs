//! Medians.

/// The median; nothing of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    median_in_place(&mut values.collect::<Vec<_>>())
}

/// The same, of values that may be put in order.
pub(super) fn median_in_place(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}
