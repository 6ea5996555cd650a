//! Versions in Debian's order, without their epochs. There is a library for it, which brings big
//! numbers, dates and patterns along; this is all that is needed of it.

use std::cmp::Ordering;

/// Compares two versions without epoch: runs of digits by value, everything else letter by letter,
/// where `~` comes before the end, the end before letters, and letters before the rest.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let order =
            compare_text(&mut one, &mut other).then_with(|| compare_number(&mut one, &mut other));
        if order != Ordering::Equal || (one.is_empty() && other.is_empty()) {
            return order;
        }
    }
}

/// Compares up to the next digit and goes past it.
fn compare_text(one: &mut &[u8], other: &mut &[u8]) -> Ordering {
    loop {
        let (left, right) = (weight(one.first()), weight(other.first()));
        if left != right || left == END {
            return left.cmp(&right);
        }
        *one = one.get(1..).unwrap_or_default();
        *other = other.get(1..).unwrap_or_default();
    }
}

/// What the end of a text and a digit weigh: both end a run of text.
const END: i32 = 0;

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => END,
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_digit() => END,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    }
}

/// Compares the digits at the start by value, however many they are, and goes past them.
fn compare_number(one: &mut &[u8], other: &mut &[u8]) -> Ordering {
    let (left, right) = (take_digits(one), take_digits(other));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// The digits at the start without leading zeros.
fn take_digits<'bytes>(bytes: &mut &'bytes [u8]) -> &'bytes [u8] {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at_checked(length).unwrap_or_default();
    *bytes = rest;
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_debians_order() {
        let check = |one: &str, other: &str, expect: Ordering| {
            assert_eq!(compare(one, other), expect, "{one} {other}");
            assert_eq!(compare(other, one), expect.reverse(), "{other} {one}");
        };
        check("6.1.0-9", "6.1.0-28", Ordering::Less);
        check("6.1.0-28", "6.1.0-28", Ordering::Equal);
        check("6.1.0", "6.1.0-1", Ordering::Less);
        check("5.15.0-100", "5.15.0-91", Ordering::Greater);
        check("6.12.43+deb13", "6.12.48+deb13", Ordering::Less);
        check("1.0~rc1", "1.0", Ordering::Less);
        check("1.0a", "1.0+", Ordering::Less);
        check("1.002", "1.2", Ordering::Equal);
        check("99999999999999999999999", "100000000000000000000000", Ordering::Less);
        check("", "~", Ordering::Greater);
    }
}
