use super::*;

fn any() -> TimeInterval {
    TimeInterval {
        times: None,
        weekdays: None,
        days_of_month: None,
        months: None,
        years: None,
        zone: TimeZone::UTC,
    }
}

fn is_within(interval: &TimeInterval, at: &str) -> bool {
    interval.contains(at.parse().unwrap())
}

#[test]
fn a_moment_is_within_what_is_said() {
    let check = |interval: &TimeInterval, at: &str, expect: bool| {
        assert_eq!(is_within(interval, at), expect, "{interval:?} {at}");
    };
    check(&any(), "2026-11-23T00:00:00Z", true);

    let day = TimeInterval { times: Some(vec![times("09:00", "17:00").unwrap()]), ..any() };
    check(&day, "2026-11-23T08:59:59Z", false);
    check(&day, "2026-11-23T09:00:00Z", true);
    check(&day, "2026-11-23T16:59:59Z", true);
    check(&day, "2026-11-23T17:00:00Z", false);
    let evening = TimeInterval { times: Some(vec![times("23:00", "24:00").unwrap()]), ..any() };
    check(&evening, "2026-11-23T23:59:59.999Z", true);

    // 2026-11-22 is a Sunday.
    let weekdays =
        TimeInterval { weekdays: Some(vec![weekdays("Monday:Friday").unwrap()]), ..any() };
    check(&weekdays, "2026-11-22T12:00:00Z", false);
    check(&weekdays, "2026-11-23T12:00:00Z", true);
    check(&weekdays, "2026-11-28T12:00:00Z", false);

    let late = TimeInterval { months: Some(vec![months("11:december").unwrap()]), ..any() };
    check(&late, "2026-10-31T23:59:59Z", false);
    check(&late, "2026-11-01T00:00:00Z", true);
    let years = TimeInterval { years: Some(vec![years("2024:2025").unwrap()]), ..any() };
    check(&years, "2025-12-31T23:59:59Z", true);
    check(&years, "2026-01-01T00:00:00Z", false);
    check(&TimeInterval { times: Some(Vec::new()), ..any() }, "2026-11-23T00:00:00Z", false);

    // All of it must hold, and any range of one kind.
    let both = TimeInterval {
        times: Some(vec![times("00:00", "01:00").unwrap(), times("12:00", "13:00").unwrap()]),
        ..weekdays
    };
    check(&both, "2026-11-23T12:30:00Z", true);
    check(&both, "2026-11-22T12:30:00Z", false);
    check(&both, "2026-11-23T11:30:00Z", false);
}

#[test]
fn days_count_from_both_ends_of_a_month() {
    let check = |text: &str, inside: &[&str], outside: &[&str]| {
        let days =
            TimeInterval { days_of_month: Some(vec![days_of_month(text).unwrap()]), ..any() };
        let within = |day: &&str| is_within(&days, &format!("{day}T12:00:00Z"));
        assert!(inside.iter().all(within), "{text} {inside:?}");
        assert!(!outside.iter().any(within), "{text} {outside:?}");
    };
    check("1", &["2026-02-01"], &["2026-02-02"]);
    check("1:3", &["2026-02-01", "2026-02-03"], &["2026-02-04"]);
    check("-1", &["2026-02-28", "2028-02-29", "2026-11-30"], &["2028-02-28", "2026-11-29"]);
    check("-3:-1", &["2026-11-28", "2026-11-30"], &["2026-11-27"]);
    check("20:-1", &["2026-11-20", "2026-11-30"], &["2026-11-19"]);
    check("30:31", &["2026-10-31"], &["2026-02-28", "2026-03-01"]);
    check("-31:-29", &["2026-10-01", "2026-10-03"], &["2026-02-01"]);
}

#[test]
fn times_are_those_of_the_zone() {
    let zone = location("Europe/Berlin").unwrap();
    let day = TimeInterval { times: Some(vec![times("09:00", "17:00").unwrap()]), zone, ..any() };
    for (at, expect) in [
        ("2026-01-15T08:00:00Z", true),
        ("2026-01-15T07:59:00Z", false),
        // In summer the zone is two hours ahead.
        ("2026-07-15T07:00:00Z", true),
        ("2026-07-15T15:00:00Z", false),
    ] {
        assert_eq!(is_within(&day, at), expect, "{at}");
    }
}

#[test]
fn hours_are_muted_or_active() {
    let noon = 12 * 3_600_000;
    let named = |start: &str, end: &str| NamedInterval {
        name: String::new(),
        intervals: Arc::new([TimeInterval {
            times: Some(vec![times(start, end).unwrap()]),
            ..any()
        }]),
    };
    let (within, without) = (named("11:00", "13:00"), named("13:00", "14:00"));
    let check = |mute: &[&NamedInterval], active: &[&NamedInterval], expect: bool| {
        let all = |named: &[&NamedInterval]| named.iter().copied().cloned().collect();
        let hours = Hours { mute: all(mute), active: all(active) };
        assert_eq!(hours.allow(noon), expect, "{hours:?}");
    };
    check(&[], &[], true);
    check(&[&within], &[], false);
    check(&[&without], &[], true);
    check(&[&without, &within], &[], false);
    check(&[], &[&within], true);
    check(&[], &[&without], false);
    check(&[], &[&without, &within], true);
    check(&[&within], &[&within], false);
}

#[test]
fn anything_else_is_refused_with_the_reason() {
    let check = |result: Result<RangeInclusive<i32>, IntervalError>, reason: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    for text in ["9:00", "09:0", "24:01", "25:00", "12:60", "0900", "+9:00", "aa:bb", ""] {
        check(times(text, "24:00"), "is not a time of day");
    }
    check(times("17:00", "09:00"), "17:00 is not before 09:00");
    check(times("09:00", "09:00"), "09:00 is not before 09:00");
    check(weekdays("mon"), "`mon` is not a day of the week");
    check(weekdays("1"), "`1` is not a day of the week");
    check(weekdays("friday:monday"), "the last comes before the first");
    check(weekdays("monday:friday:sunday"), "has more than one colon");
    for text in ["0", "32", "-32", "x", ""] {
        check(days_of_month(text), "is not a day of a month");
    }
    check(days_of_month("-3:3"), "must count from the month's end");
    check(days_of_month("5:1"), "the last comes before the first");
    check(days_of_month("20:-10"), "the last comes before the first");
    check(days_of_month("-1:-3"), "the last comes before the first");
    check(months("13"), "`13` is not a month");
    check(months("may:april"), "the last comes before the first");
    check(years("soon"), "`soon` is not a year");
    check(years("2030:2029"), "the last comes before the first");
    let error = location("Europe/Atlantis").unwrap_err().to_string();
    assert!(error.contains("`Europe/Atlantis` is not a time zone"), "{error}");
}
