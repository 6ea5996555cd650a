//! What an ATA disk's attributes say about its health.

use super::disk::{Attribute, Failed};
use super::verdict::{Finding, Health, MANY_DEFECTS};

/// The finding that an attribute is at or below the threshold that its maker set.
pub(super) const BELOW_THRESHOLD: &str = "attribute_below_threshold";

/// The finding that an attribute was.
pub(super) const WAS_BELOW_THRESHOLD: &str = "attribute_was_below_threshold";

/// Command timeouts below this many come from cables and resets as often as from the disk.
const MANY_TIMEOUTS: f64 = 100.0;

/// Above this, a count of timeouts is three counts of 16 bits in one number, as Seagate has it.
const PACKED_ABOVE: f64 = 65_535.0;

/// Percent of a solid-state disk's life that is left: what is old, and what is worn out. The value
/// of the wear attributes never falls to 0 on some.
const OLD_LIFE_LEFT: f64 = 20.0;
const WORN_OUT_LIFE_LEFT: f64 = 1.0;

/// The attributes whose value is the percentage of life that is left.
const LIFE_LEFT: [&str; 4] =
    ["Media_Wearout_Indicator", "SSD_Life_Left", "Percent_Lifetime_Remain", "Wear_Leveling_Count"];

/// A count that tells of failures.
struct Count {
    /// The attribute's number.
    id: u8,
    /// Parts of its name, one of which must be there: makers use some numbers for other things.
    called: &'static [&'static str],
    finding: &'static str,
    /// From how many on it foretells a failure.
    from: f64,
    /// What fewer mean.
    fewer: Health,
    /// What is counted.
    words: &'static str,
}

const COUNTS: [Count; 6] = [
    Count {
        id: 5,
        called: &["realloc", "retired", "bad_block"],
        finding: "reallocated_sectors",
        from: MANY_DEFECTS,
        fewer: Health::OldAge,
        words: "sectors that became defective and were replaced",
    },
    Count {
        id: 10,
        called: &["spin_retry"],
        finding: "spin_retries",
        from: 1.0,
        fewer: Health::Fine,
        words: "attempts to bring it up to speed that failed",
    },
    Count {
        id: 187,
        called: &["uncorrect"],
        finding: "reported_uncorrectable_errors",
        from: 1.0,
        fewer: Health::Fine,
        words: "errors that it could not correct and reported",
    },
    Count {
        id: 188,
        called: &["timeout"],
        finding: "command_timeouts",
        from: MANY_TIMEOUTS,
        fewer: Health::Fine,
        words: "commands that took too long, be it by the disk or its cable",
    },
    Count {
        id: 197,
        called: &["pending"],
        finding: "pending_sectors",
        from: 1.0,
        fewer: Health::Fine,
        words: "sectors that cannot be read and wait to be replaced",
    },
    Count {
        id: 198,
        called: &["uncorrect"],
        finding: "uncorrectable_sectors",
        from: 1.0,
        fewer: Health::Fine,
        words: "sectors that could not be read when it tested itself",
    },
];

/// What the attributes say, those that say the same taken together.
pub(super) fn findings(attributes: &[Attribute]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = thresholds(attributes).collect();
    findings.extend(attributes.iter().filter_map(counted));
    findings.extend(attributes.iter().filter_map(worn));
    findings
}

/// The attributes at or below their thresholds. Of those that foretell failure that is failing, by
/// their maker's word; the others tell of age, but for errors on the way to the platters, which no
/// age excuses.
fn thresholds(attributes: &[Attribute]) -> impl Iterator<Item = Finding> {
    let groups = [
        (Failed::Now, true, Health::Failing, BELOW_THRESHOLD, "is below its threshold"),
        (Failed::Now, false, Health::OldAge, BELOW_THRESHOLD, "is below its threshold"),
        (Failed::Past, true, Health::PreFailing, WAS_BELOW_THRESHOLD, "was below its threshold"),
        (Failed::Past, false, Health::OldAge, WAS_BELOW_THRESHOLD, "was below its threshold"),
    ];
    groups.into_iter().filter_map(|(failed, is_grave, health, finding, words)| {
        let of_group = attributes
            .iter()
            .filter(|attribute| attribute.failed == failed && is_prefailure(attribute) == is_grave);
        let names: Vec<&str> = of_group.map(|attribute| attribute.name.as_str()).collect();
        let words = format!("{} {words}", names.join(", "));
        let count = names.len() as f64;
        (count > 0.0).then(|| Finding::new(finding, health, count, words))
    })
}

fn is_prefailure(attribute: &Attribute) -> bool {
    attribute.is_prefailure || attribute.name.starts_with("End-to-End")
}

fn counted(attribute: &Attribute) -> Option<Finding> {
    let name = attribute.name.to_ascii_lowercase();
    let count = COUNTS.iter().find(|count| {
        count.id == attribute.id && count.called.iter().any(|called| name.contains(called))
    })?;
    let number = number(attribute).filter(|&number| number > 0.0)?;
    let health = if number >= count.from { Health::PreFailing } else { count.fewer };
    Some(Finding::new(count.finding, health, number, format!("{}: {number}", count.words)))
}

/// The count in an attribute's raw value. Some disks pack more than one number into it, which
/// smartctl's database takes apart: the first number of its text is the count.
fn number(attribute: &Attribute) -> Option<f64> {
    let first = attribute.raw_text.split_ascii_whitespace().next();
    let number = first.and_then(|first| first.parse::<u64>().ok()).map(|number| number as f64);
    let number = number.or(attribute.raw)?;
    if attribute.id == 188 && number > PACKED_ABOVE {
        // The lowest 16 bits count all timeouts, the others those that took longest.
        return Some(number % (PACKED_ABOVE + 1.0));
    }
    Some(number)
}

fn worn(attribute: &Attribute) -> Option<Finding> {
    if !LIFE_LEFT.contains(&attribute.name.as_str()) {
        return None;
    }
    let left = attribute.value.filter(|&left| left <= OLD_LIFE_LEFT)?;
    let health = if left <= WORN_OUT_LIFE_LEFT { Health::PreFailing } else { Health::OldAge };
    let words = format!("{left} % of its rated life is left");
    Some(Finding::new("life_left", health, left, words))
}
