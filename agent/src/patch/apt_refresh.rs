//! Whether something refreshes apt's package lists, and with which success.
//!
//! A refresh that fails for want of a network counts as success to `apt-get`, and touches the same
//! folders as one that works. So three things are looked at: whether anything is set up to refresh
//! the lists, the stamps of the last time, and the dates until which the lists themselves say that
//! they are valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use upkeep_model::{Knowledge, Refresh};

use crate::host::{Host, Tree};

/// The folder of package lists.
pub(super) const LISTS: &str = "var/lib/apt/lists";

/// The settings that are in force, of files and defaults.
const SETTINGS: [&str; 2] = ["apt-config", "dump"];

const SETTINGS_DEADLINE: Duration = Duration::from_secs(30);

/// Touched after a refresh that succeeded, on systems whose settings say so.
const SUCCESS_STAMP: &str = "var/lib/apt/periodic/update-success-stamp";

/// Touched after a refresh that ended without error: by apt's own timer, and the folder through
/// which new lists come by any refresh.
const ATTEMPT_STAMPS: [&str; 2] =
    ["var/lib/apt/periodic/update-stamp", "var/lib/apt/lists/partial"];

/// The timer that refreshes the lists by apt's settings, and the job where there is no systemd.
const TIMER: &str = "etc/systemd/system/timers.target.wants/apt-daily.timer";
const MASKED_TIMER: &str = "etc/systemd/system/apt-daily.timer";
const CRON_JOB: &str = "etc/cron.daily/apt-compat";
const SYSTEMD: &str = "run/systemd/system";

/// What refreshes the lists without apt's settings: our own timer, and programs of the distribution.
const OTHERS: [&str; 4] = [
    "etc/systemd/system/timers.target.wants/upkeep-agent-refresh.timer",
    "etc/systemd/system/timers.target.wants/apticron.timer",
    "etc/cron.d/apticron",
    "etc/cron.d/cron-apt",
];

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How often those others refresh.
const OTHERS_EVERY_MS: i64 = DAY_MS;

/// What was found out.
#[derive(Debug, PartialEq)]
pub(super) struct ListState {
    /// When the lists were last refreshed, in milliseconds since 1970, where known.
    pub(super) refreshed_at_ms: Option<i64>,
    /// Whether something refreshes them, and with which success.
    pub(super) knowledge: Knowledge<Refresh>,
}

/// Looks at settings, stamps and lists.
pub(super) fn look(host: &Host, now_ms: i64) -> ListState {
    let settings = settings(host);
    let stamps_success = settings.as_ref().is_ok_and(|settings| settings.stamps_success());
    let stamp = |path: &str| host.modified(Tree::Root, path).ok().and_then(milliseconds);
    let succeeded = stamp(SUCCESS_STAMP);
    let attempted = ATTEMPT_STAMPS.iter().filter_map(|path| stamp(path)).max();
    let refreshed_at_ms =
        if stamps_success && succeeded.is_some() { succeeded } else { succeeded.max(attempted) };
    let knowledge = match settings {
        Err(reason) => Knowledge::Unknown(reason),
        Ok(settings) => decide(&Evidence {
            every_ms: every_ms(host, &settings),
            refreshed_at_ms,
            attempted_at_ms: attempted,
            expired: if settings.checks_validity { expired(host, now_ms) } else { None },
            up_ms: up_ms(host),
            now_ms,
        }),
    };
    ListState { refreshed_at_ms, knowledge }
}

/// What a decision is made by.
#[derive(Clone, Debug, Default)]
struct Evidence {
    /// How often the lists are to be refreshed; `None` if nothing does it.
    every_ms: Option<i64>,
    refreshed_at_ms: Option<i64>,
    attempted_at_ms: Option<i64>,
    /// A list that is no longer valid, and since when.
    expired: Option<(String, i64)>,
    /// How long the host has been up, where known.
    up_ms: Option<i64>,
    now_ms: i64,
}

fn decide(evidence: &Evidence) -> Knowledge<Refresh> {
    let is_automatic = evidence.every_ms.is_some();
    if let Some((list, until_ms)) = &evidence.expired {
        let was_tried = evidence.attempted_at_ms.is_some_and(|attempted| attempted > *until_ms);
        // A host that was off for a month has such lists too until its timer comes round.
        let had_time = evidence.up_ms.is_none_or(|up| up >= DAY_MS);
        if was_tried || (is_automatic && had_time) {
            return Knowledge::Known(Refresh::Fails(format!(
                "{list} was valid until {} only",
                day(*until_ms)
            )));
        }
    }
    let Some(every_ms) = evidence.every_ms else { return Knowledge::Known(Refresh::Off) };
    let Some(refreshed) = evidence.refreshed_at_ms else {
        return Knowledge::Unknown("nothing tells when the lists were last refreshed".to_owned());
    };
    let age_ms = evidence.now_ms.saturating_sub(refreshed);
    // The timer of one day fires at random, so that two may pass between refreshes.
    if age_ms <= every_ms.saturating_mul(2).saturating_add(DAY_MS) {
        return Knowledge::Known(Refresh::Works);
    }
    let said = format!("the last refresh that succeeded was {} days ago", age_ms / DAY_MS);
    match evidence.up_ms {
        Some(up) if up < DAY_MS => {
            Knowledge::Unknown(format!("{said}, but the host was started less than a day ago"))
        }
        _ => Knowledge::Known(Refresh::Fails(said)),
    }
}

/// How often the lists are to be refreshed.
fn every_ms(host: &Host, settings: &Settings) -> Option<i64> {
    let is_there = |path: &str| {
        // The target of a link need not be part of a recording.
        host.exists(Tree::Root, path) || host.link(Tree::Root, path).is_ok()
    };
    let is_masked =
        || host.link(Tree::Root, MASKED_TIMER).is_ok_and(|target| target.ends_with("dev/null"));
    let is_run = if host.exists(Tree::Root, SYSTEMD) {
        is_there(TIMER) && !is_masked()
    } else {
        is_there(CRON_JOB)
    };
    let by_settings = settings.every_ms.filter(|_| is_run);
    let by_others = OTHERS.iter().any(|path| is_there(path)).then_some(OTHERS_EVERY_MS);
    by_settings.into_iter().chain(by_others).min()
}

/// The settings that matter.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    /// How often apt's own timer is to refresh; `None` if it is not to.
    every_ms: Option<i64>,
    /// Whether lists that are no longer valid are refused.
    checks_validity: bool,
    /// Whether a refresh that succeeds leaves a stamp.
    has_success_hook: bool,
}

fn settings(host: &Host) -> Result<Settings, String> {
    let output = host.run(&SETTINGS, SETTINGS_DEADLINE).map_err(|error| error.to_string())?;
    if output.exit == Some(0) {
        Ok(Settings::parse(&output.stdout))
    } else {
        Err(format!("apt-config failed: {}", output.stderr.trim()))
    }
}

impl Settings {
    /// Reads lines such as `APT::Periodic::Update-Package-Lists "1";`. Of a setting that comes
    /// twice the last holds.
    fn parse(text: &str) -> Self {
        let mut settings = Self { every_ms: None, checks_validity: true, has_success_hook: false };
        let mut is_enabled = true;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(' ') else { continue };
            let value = value.trim_end_matches(';').trim_matches('"');
            match key {
                "APT::Periodic::Update-Package-Lists" => settings.every_ms = period_ms(value),
                "APT::Periodic::Enable" => is_enabled = value != "0",
                "Acquire::Check-Valid-Until" => settings.checks_validity = !is_no(value),
                "APT::Update::Post-Invoke-Success::" => {
                    settings.has_success_hook |= value.contains("update-success-stamp");
                }
                _ => {}
            }
        }
        settings.every_ms = settings.every_ms.filter(|_| is_enabled);
        settings
    }

    fn stamps_success(&self) -> bool {
        self.has_success_hook
    }
}

/// Days, or a number with the letter of its unit; `None` for never.
fn period_ms(value: &str) -> Option<i64> {
    if value == "always" {
        return Some(DAY_MS);
    }
    let digits = value.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds = match value.strip_prefix(digits)? {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "" | "d" => 24 * 3600,
        _ => return None,
    };
    let number: i64 = digits.parse().ok()?;
    (number > 0).then(|| number.saturating_mul(seconds * 1000))
}

fn is_no(value: &str) -> bool {
    ["0", "false", "no", "without", "off", "disable"].contains(&value)
}

/// The list that has been invalid the longest.
fn expired(host: &Host, now_ms: i64) -> Option<(String, i64)> {
    let entries = host.list(Tree::Root, LISTS).ok()?;
    let releases = entries
        .iter()
        .filter(|entry| entry.name.ends_with("_InRelease") || entry.name.ends_with("_Release"));
    let ends = releases.filter_map(|entry| {
        let text = host.read(Tree::Root, &format!("{LISTS}/{}", entry.name)).ok()?;
        Some((entry.name.clone(), valid_until_ms(&text)?))
    });
    ends.filter(|(_, until_ms)| *until_ms < now_ms).min_by_key(|(_, until_ms)| *until_ms)
}

/// Reads `Valid-Until: Sat, 28 Nov 2026 20:25:00 UTC`; most lists have none.
fn valid_until_ms(text: &str) -> Option<i64> {
    let value = text.lines().find_map(|line| line.strip_prefix("Valid-Until: "))?;
    let value = value.trim().replace("UTC", "+0000");
    let moment = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    moment.parse_timestamp(value).ok().map(Timestamp::as_millisecond)
}

fn up_ms(host: &Host) -> Option<i64> {
    let text = host.read(Tree::Proc, "uptime").ok()?;
    let seconds: i64 = text.split(['.', ' ']).next()?.parse().ok()?;
    seconds.checked_mul(1000)
}

fn day(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(
        |_| "an unknown day".to_owned(),
        |moment| moment.strftime("%Y-%m-%d").to_string(),
    )
}

fn milliseconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let check = |text: &str, expect: (Option<i64>, bool, bool)| {
            let settings = Settings::parse(text);
            let seen = (settings.every_ms, settings.checks_validity, settings.stamps_success());
            assert_eq!(seen, expect, "{text}");
        };
        let periodic = |value: &str| format!("APT::Periodic::Update-Package-Lists \"{value}\";\n");
        check("APT \"\";\nAPT::Architecture \"amd64\";\n", (None, true, false));
        check(&periodic("1"), (Some(DAY_MS), true, false));
        check(&periodic("0"), (None, true, false));
        check(&periodic("always"), (Some(DAY_MS), true, false));
        check(&periodic("6h"), (Some(DAY_MS / 4), true, false));
        check(&periodic("often"), (None, true, false));
        check(&(periodic("1") + &periodic("7")), (Some(7 * DAY_MS), true, false));
        check(&(periodic("1") + "APT::Periodic::Enable \"0\";\n"), (None, true, false));
        check(
            "APT::Update::Post-Invoke-Success:: \"touch /var/lib/apt/periodic/update-success-stamp\";\n\
             Acquire::Check-Valid-Until \"false\";\n",
            (None, false, true),
        );
    }

    #[test]
    fn whether_refreshing_works_is_decided_by_all_signs() {
        let now_ms = 100 * DAY_MS;
        let fresh = Evidence {
            every_ms: Some(DAY_MS),
            refreshed_at_ms: Some(now_ms - DAY_MS),
            attempted_at_ms: Some(now_ms - DAY_MS),
            up_ms: Some(10 * DAY_MS),
            now_ms,
            ..Evidence::default()
        };
        let check = |evidence: Evidence, expect: Result<Refresh, &str>| {
            let expect = match expect {
                Ok(refresh) => Knowledge::Known(refresh),
                Err(reason) => Knowledge::Unknown(reason.to_owned()),
            };
            assert_eq!(decide(&evidence), expect, "{evidence:?}");
        };
        let fails = |reason: &str| Ok(Refresh::Fails(reason.to_owned()));
        let old = Evidence { refreshed_at_ms: Some(now_ms - 5 * DAY_MS), ..fresh.clone() };
        let expired = Some(("x_InRelease".to_owned(), now_ms - 2 * DAY_MS));
        let invalid = Evidence { expired, ..fresh.clone() };
        check(fresh.clone(), Ok(Refresh::Works));
        check(Evidence { every_ms: None, ..fresh.clone() }, Ok(Refresh::Off));
        check(old.clone(), fails("the last refresh that succeeded was 5 days ago"));
        check(Evidence { every_ms: Some(7 * DAY_MS), ..old.clone() }, Ok(Refresh::Works));
        check(
            Evidence { up_ms: Some(1000), ..old.clone() },
            Err("the last refresh that succeeded was 5 days ago, \
                 but the host was started less than a day ago"),
        );
        check(Evidence { every_ms: None, ..old }, Ok(Refresh::Off));
        check(
            Evidence { refreshed_at_ms: None, ..fresh },
            Err("nothing tells when the lists were last refreshed"),
        );
        check(invalid.clone(), fails("x_InRelease was valid until 1970-04-09 only"));
        // Somebody refreshes by hand, in vain.
        check(
            Evidence { every_ms: None, ..invalid.clone() },
            fails("x_InRelease was valid until 1970-04-09 only"),
        );
        let untried = Evidence { attempted_at_ms: Some(now_ms - 3 * DAY_MS), ..invalid };
        check(Evidence { every_ms: None, ..untried.clone() }, Ok(Refresh::Off));
        check(Evidence { up_ms: Some(1000), ..untried }, Ok(Refresh::Works));
    }

    #[test]
    fn the_end_of_validity_is_read() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(valid_until_ms(text), expect);
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nDate: Sat, 21 Nov 2026 20:25:00 UTC\n";
        check(text, None);
        check(&format!("{text}Valid-Until: Thu, 01 Jan 1970 00:00:05 UTC\n"), Some(5000));
        check("Valid-Until: soon\n", None);
    }
}
