//! The fleet in memory: who belongs to it, under which labels, and who has fallen silent.
//!
//! Batches are held against this and not against the database. What another process changes (a
//! host that is revoked or renamed on the command line) arrives here within [`REFRESH`].

mod availability;
mod liveness;
mod membership;
mod presence;
mod watch;

pub use availability::{
    Evidence, HostState, Interval, LostStretch, Sighting, Stop, Why, decide as decide_availability,
};
pub use liveness::{Verdict, judge, listening_interval_ms};
pub use membership::{Fleet, Member, Standing};
pub use watch::{FleetError, REFRESH, SILENCE_MARK, watch};

use thiserror::Error;
use upkeep_model::{is_label_name, is_reserved};

/// The value of the label that names what a host's series come from.
pub const HOST_JOB: &str = "node";

/// The longest name of a host, as in DNS.
const MAX_NAME_CHARS: usize = 253;

/// The longest value of a tag.
const MAX_TAG_CHARS: usize = 128;

/// Why a name or a tag cannot be given to a host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameFault {
    /// The name is empty, too long, or contains what no name may.
    #[error("{0:?} cannot be a host's name: 1 to 253 letters, digits, '.', '-', '_' or '~'")]
    Name(String),
    /// The tag's name is no label name.
    #[error("{0:?} cannot be a tag's name: letters, digits and '_', not a digit first")]
    TagName(String),
    /// The tag's name is one that the collector itself sets.
    #[error("{0:?} cannot be a tag's name: the collector sets this label itself")]
    Reserved(String),
    /// The tag's value is too long or contains control characters.
    #[error("the value of tag {0:?} must have at most 128 characters, none of them control")]
    TagValue(String),
}

/// Checks a name that an operator gives to a host.
///
/// # Errors
/// When it cannot be one.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    let allowed = |char: char| char.is_ascii_alphanumeric() || ".-_~".contains(char);
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(allowed) {
        return Err(NameFault::Name(name.to_owned()));
    }
    Ok(())
}

/// Checks a tag that an operator gives to a host.
///
/// # Errors
/// When it cannot be one.
pub fn check_tag(name: &str, value: &str) -> Result<(), NameFault> {
    if !is_label_name(name) {
        return Err(NameFault::TagName(name.to_owned()));
    }
    if is_reserved(name) {
        return Err(NameFault::Reserved(name.to_owned()));
    }
    if value.chars().count() > MAX_TAG_CHARS || value.chars().any(char::is_control) {
        return Err(NameFault::TagValue(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_checked() {
        let check = |fault: Result<(), NameFault>, good: bool| {
            assert_eq!(fault.is_ok(), good, "{fault:?}");
        };
        check(check_name("web1~1a2b.example"), true);
        check(check_name(""), false);
        check(check_name("two words"), false);
        check(check_name(&"x".repeat(254)), false);
        check(check_tag("site", "berlin 2"), true);
        check(check_tag("site", ""), true);
        check(check_tag("1site", "x"), false);
        check(check_tag("si-te", "x"), false);
        check(check_tag("instance", "x"), false);
        check(check_tag("job", "x"), false);
        check(check_tag("__name__", "x"), false);
        check(check_tag("site", "a\nb"), false);
        check(check_tag("site", &"x".repeat(129)), false);
    }
}
