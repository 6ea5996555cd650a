use super::kept::MAX_SILENCES;
use super::*;
use crate::alert::matcher;
use crate::state::SilenceChange;

const HOUR_MS: i64 = 3_600_000;

fn draft(matchers: &str, starts_at_ms: i64, ends_at_ms: i64) -> SilenceDraft {
    SilenceDraft {
        id: None,
        matchers: matcher::parse(matchers).unwrap(),
        starts_at_ms,
        ends_at_ms,
        created_by: "me".to_owned(),
        comment: "new disks".to_owned(),
        annotations: BTreeMap::new(),
        recurrence: None,
    }
}

/// Silences in which one with the identity 1 is, made at the moment 0.
fn one(starts_at_ms: i64, ends_at_ms: i64) -> Silences {
    let mut silences = Silences::default();
    let draft = draft("a=1", starts_at_ms, ends_at_ms);
    for (silence, _) in silences.put(&draft, Uuid::from_u128(1), 0).unwrap() {
        silences.insert(silence);
    }
    silences
}

#[test]
fn a_silence_holds_from_its_start_to_its_end() {
    let silences = one(100, 200);
    let silence = silences.iter().next().unwrap();
    let check = |now_ms, expect: SilenceState| {
        assert_eq!(silence.state(now_ms), expect, "{now_ms}");
        let is_active = silences.is_active(&Uuid::from_u128(1), now_ms);
        assert_eq!(is_active, expect == SilenceState::Active, "{now_ms}");
    };
    check(99, SilenceState::Pending);
    check(100, SilenceState::Active);
    check(199, SilenceState::Active);
    check(200, SilenceState::Expired);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let check = |draft: &SilenceDraft, expect: &str| {
        let made = Silences::default().put(draft, Uuid::from_u128(1), 1_000);
        let said = made.map_or_else(|error| error.to_string(), |_| "made".to_owned());
        assert!(said.starts_with(expect), "{draft:?}: {said}");
    };
    check(&draft("a=1", 0, 2_000), "made");
    check(&draft("a=1", 2_000, 2_000), "start time must be before end time");
    check(&draft("a=1", 0, 999), "end time can't be in the past");
    check(&draft("a=", 0, 2_000), "at least one matcher");
    check(&draft("a=~'.*'".replace('\'', "\"").as_str(), 0, 2_000), "at least one matcher");
    check(&draft("a!=1,b=\"\"", 0, 2_000), "at least one matcher");
    check(&draft("a=\"\",b=~\".+\"", 0, 2_000), "made");
    check(&SilenceDraft { matchers: Vec::new(), ..draft("a=1", 0, 2_000) }, "at least one matcher");
    let long = SilenceDraft { comment: "x".repeat(MAX_BYTES), ..draft("a=1", 0, 2_000) };
    check(&long, "its matchers and texts have 65540 bytes, the limit is 65536");
    let unknown = SilenceDraft { id: Some(Uuid::from_u128(7)), ..draft("a=1", 0, 2_000) };
    check(&unknown, "there is no silence 00000000-0000-0000-0000-000000000007");
    let recurring =
        |json: &str| SilenceDraft { recurrence: Some(json.to_owned()), ..draft("a=1", 0, 2_000) };
    check(&recurring("[{\"weekdays\": [\"sunday\"]}]"), "made");
    check(&recurring("[]"), "recurrence: a list of at least one time interval is needed");
    check(&recurring("[{\"weekdays\": [\"someday\"]}]"), "recurrence: `someday` is not a day");
    check(&recurring("[{\"location\": \"Mars/Base\"}]"), "recurrence: `Mars/Base` is not a time");
    check(&recurring("[{\"weekday\": [\"sunday\"]}]"), "recurrence: ");
    check(&recurring("7"), "recurrence: ");
}

#[test]
fn a_silence_is_changed_in_place_where_nothing_of_it_is_lost() {
    let first = Uuid::from_u128(1);
    // What is wanted of a silence of `span`, at a moment; whether it is the same silence afterwards,
    // and how many are to be stored.
    let check = |span: (i64, i64), wanted: &str, wanted_span: (i64, i64), now_ms, expect| {
        let draft = SilenceDraft { id: Some(first), ..draft(wanted, wanted_span.0, wanted_span.1) };
        let changes = one(span.0, span.1).put(&draft, Uuid::from_u128(2), now_ms).unwrap();
        let (last, change) = changes.last().unwrap();
        assert_eq!(*change, SilenceChange::Set);
        assert_eq!((last.record.id == first, changes.len()), expect, "{span:?} {wanted_span:?}");
        if changes.len() == 2 {
            let (ended, change) = &changes[0];
            assert_eq!((ended.record.id, *change), (first, SilenceChange::Expired));
            assert_eq!(ended.state(now_ms), SilenceState::Expired);
        }
        assert!(last.record.starts_at_ms >= now_ms || last.record.id == first, "{last:?}");
    };
    // Active: its end may move, by its start it is the same to the second.
    check((5_000, 90_000), "a=1", (5_000, 60_000), 50_000, (true, 1));
    check((5_000, 90_000), "a=1", (5_999, 95_000), 50_000, (true, 1));
    check((5_000, 90_000), "a=1", (6_000, 95_000), 50_000, (false, 2));
    check((5_000, 90_000), "a=2", (5_000, 90_000), 50_000, (false, 2));
    // Pending: its start may move, but not into the past.
    check((5_000, 90_000), "a=1", (3_000, 60_000), 2_000, (true, 1));
    check((5_000, 90_000), "a=1", (1_000, 60_000), 2_000, (false, 2));
    // Over: it stays over.
    check((5_000, 90_000), "a=1", (5_000, 99_000), 90_000, (false, 1));
}

#[test]
fn a_silence_is_ended_once() {
    let first = Uuid::from_u128(1);
    let mut silences = one(100, 200);
    let ended = silences.expire(first, 150).unwrap();
    assert_eq!((ended.record.starts_at_ms, ended.record.ends_at_ms), (100, 150));
    let unborn = silences.expire(first, 50).unwrap();
    assert_eq!((unborn.record.starts_at_ms, unborn.record.ends_at_ms), (50, 50));
    silences.insert(ended);
    assert_eq!(silences.expire(first, 160), Err(SilenceError::AlreadyExpired(first)));
    let second = Uuid::from_u128(2);
    assert_eq!(silences.expire(second, 160), Err(SilenceError::NotFound(second)));
    assert!(silences.long_over(1_000, 1_149).is_empty());
    assert_eq!(silences.long_over(1_000, 1_150), [first]);
}

#[test]
fn a_silence_recurs_by_the_clock_of_its_zone() {
    let sundays = "[{\"weekdays\": [\"sunday\"], \"location\": \"Europe/Berlin\",
        \"times\": [{\"start_time\": \"02:00\", \"end_time\": \"04:00\"}]}]";
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let draft = SilenceDraft {
        recurrence: Some(sundays.to_owned()),
        ..draft("a=1", at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))
    };
    let made = Silences::default().put(&draft, Uuid::from_u128(1), 0).unwrap().remove(0).0;
    let check = |text: &str, expect| assert_eq!(made.state(at(text)), expect, "{text}");
    // Winter: an hour ahead of UTC.
    check("2026-01-04T00:59:59Z", SilenceState::Pending);
    check("2026-01-04T01:00:00Z", SilenceState::Active);
    check("2026-01-04T02:59:59Z", SilenceState::Active);
    check("2026-01-04T03:00:00Z", SilenceState::Pending);
    check("2026-01-05T01:00:00Z", SilenceState::Pending);
    // Summer: two.
    check("2026-07-05T00:00:00Z", SilenceState::Active);
    check("2026-07-05T02:00:00Z", SilenceState::Pending);
    // Before the start, and after the end.
    check("2025-12-28T01:00:00Z", SilenceState::Pending);
    check("2027-01-03T01:00:00Z", SilenceState::Expired);
}

#[test]
fn there_is_a_bound_on_silences() {
    let mut silences = Silences::default();
    for number in 0..MAX_SILENCES {
        let id = Uuid::from_u128(number as u128);
        for (silence, _) in silences.put(&draft("a=1", 0, HOUR_MS), id, 0).unwrap() {
            silences.insert(silence);
        }
    }
    let more = silences.put(&draft("a=1", 0, HOUR_MS), Uuid::from_u128(7_777), 1);
    assert!(matches!(more, Err(SilenceError::TooMany { .. })));
    let change = SilenceDraft { id: Some(Uuid::from_u128(1)), ..draft("a=2", 0, HOUR_MS) };
    assert!(silences.put(&change, Uuid::from_u128(7_777), 1).is_ok(), "one goes, one comes");
    let later = draft("a=1", 0, 3 * HOUR_MS);
    assert!(silences.put(&later, Uuid::from_u128(7_777), 2 * HOUR_MS).is_ok(), "they are over");
}
