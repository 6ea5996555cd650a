use super::*;

const AGAIN: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_secs(10);

fn candidate(name: &str, value: f64) -> Candidate {
    Candidate {
        labels: Labels::new([("alertname", "A"), ("instance", name)]),
        annotations: Annotations::from([("action".to_owned(), format!("look at {name}"))]),
        value,
    }
}

fn rule(hold_seconds: u64, keep_seconds: u64) -> AlertRule {
    AlertRule::new(Duration::from_secs(hold_seconds), Duration::from_secs(keep_seconds))
}

/// Evaluates at each second given; `true` means that the condition holds. Gives the reasons.
fn live(rule: &mut AlertRule, steps: &[(i64, bool)]) -> Vec<(i64, Reason)> {
    let mut reasons = Vec::new();
    for (second, holds) in steps {
        let vector = if *holds { vec![candidate("web1", 1.0)] } else { Vec::new() };
        let transitions = rule.transition(vector, second * 1000);
        reasons.extend(transitions.iter().map(|transition| (*second, transition.reason)));
    }
    reasons
}

#[test]
fn an_alert_lives_as_its_rule_says() {
    use Reason::*;
    let check = |hold, keep, steps: &[(i64, bool)], expect: &[(i64, Reason)]| {
        assert_eq!(
            live(&mut rule(hold, keep), steps),
            expect,
            "for {hold}, keep {keep}: {steps:?}"
        );
    };
    check(0, 0, &[(0, true), (10, true)], &[(0, ConditionHoldsWithoutWait)]);
    check(0, 0, &[(0, true), (10, false)], &[(0, ConditionHoldsWithoutWait), (10, ConditionGone)]);
    check(20, 0, &[(0, true), (10, true), (19, true)], &[(0, ConditionHolds)]);
    check(20, 0, &[(0, true), (20, true)], &[(0, ConditionHolds), (20, HeldLongEnough)]);
    check(20, 0, &[(0, true), (10, false)], &[(0, ConditionHolds), (10, GoneTooSoon)]);
    check(
        20,
        0,
        &[(0, true), (10, false), (15, true), (30, true), (35, true)],
        &[(0, ConditionHolds), (10, GoneTooSoon), (15, ConditionHolds), (35, HeldLongEnough)],
    );
    check(
        0,
        30,
        &[(0, true), (10, false), (39, false), (40, false)],
        &[(0, ConditionHoldsWithoutWait), (10, KeptFiring), (40, KeptFiringLongEnough)],
    );
    check(
        0,
        30,
        &[(0, true), (10, false), (20, true), (30, false), (59, false)],
        &[(0, ConditionHoldsWithoutWait), (10, KeptFiring), (20, ConditionBack), (30, KeptFiring)],
    );
    check(
        0,
        0,
        &[(0, true), (10, false), (20, true)],
        &[(0, ConditionHoldsWithoutWait), (10, ConditionGone), (20, ConditionHoldsWithoutWait)],
    );
    check(
        0,
        0,
        &[(0, true), (10, false), (910, false), (911, false)],
        &[(0, ConditionHoldsWithoutWait), (10, ConditionGone), (911, Forgotten)],
    );
}

#[test]
fn each_label_set_lives_by_itself() {
    let mut rule = rule(10, 0);
    rule.transition(vec![candidate("web1", 1.0)], 0);
    rule.transition(vec![candidate("web1", 1.0), candidate("web2", 2.0)], 5_000);
    let transitions = rule.transition(vec![candidate("web2", 3.0), candidate("web1", 1.0)], 10_000);
    assert_eq!(transitions.len(), 1);
    assert_eq!(transitions[0].labels.get("instance"), Some("web1"));
    let mut phases: Vec<_> =
        rule.statuses().iter().map(|status| (status.value, status.phase)).collect();
    phases.sort_by(|left, right| left.0.total_cmp(&right.0));
    assert_eq!(phases, [(1.0, Phase::Firing), (3.0, Phase::Pending)]);
}

#[test]
fn what_is_due_is_told_once_and_again_after_a_while() {
    let mut rule = rule(10, 0);
    let due = |rule: &mut AlertRule, second: i64, holds: bool| {
        live(rule, &[(second, holds)]);
        rule.take_due(second * 1000, AGAIN, INTERVAL, &"url".into())
            .iter()
            .map(|alert| (alert.starts_at_ms / 1000, alert.ends_at_ms.map(|end| end / 1000)))
            .collect::<Vec<_>>()
    };
    assert_eq!(due(&mut rule, 0, true), [], "pending alerts are not told");
    assert_eq!(due(&mut rule, 10, true), [(10, None)], "firing begins when it fires");
    assert_eq!(due(&mut rule, 20, true), []);
    assert_eq!(due(&mut rule, 70, true), [(10, None)], "told again");
    assert_eq!(due(&mut rule, 80, false), [(10, Some(80))], "an end is told at once");
    assert_eq!(due(&mut rule, 90, false), []);
    assert_eq!(due(&mut rule, 140, false), [(10, Some(80))]);
}

#[test]
fn alerts_hold_until_they_are_told_again_and_longer() {
    let check = |interval_seconds: u64, expect_seconds: u64| {
        let mut rule = rule(0, 0);
        live(&mut rule, &[(0, true)]);
        let due = rule.take_due(0, AGAIN, Duration::from_secs(interval_seconds), &"url".into());
        assert_eq!(due[0].holds_for, Some(Duration::from_secs(expect_seconds)));
    };
    check(1, 240);
    check(60, 240);
    check(3600, 4 * 3600);
}

#[test]
fn series_say_what_is_active() {
    let mut rule = rule(10, 0);
    let series = |rule: &AlertRule| {
        rule.series().iter().map(|(labels, value)| format!("{labels} {value}")).collect::<Vec<_>>()
    };
    live(&mut rule, &[(1_700_000_000, true)]);
    assert_eq!(
        series(&rule),
        [
            "ALERTS{alertname=\"A\", alertstate=\"pending\", instance=\"web1\"} 1",
            "ALERTS_FOR_STATE{alertname=\"A\", instance=\"web1\"} 1700000000",
        ]
    );
    live(&mut rule, &[(1_700_000_010, true)]);
    assert!(series(&rule)[0].contains("alertstate=\"firing\""));
    assert!(series(&rule)[1].ends_with(" 1700000000"), "since the condition holds");
    live(&mut rule, &[(1_700_000_020, false)]);
    assert!(series(&rule).is_empty());
}

#[test]
fn a_restart_loses_neither_the_wait_nor_the_firing() {
    use Reason::*;
    let restart = |before: &[(i64, bool)], settle: i64, after: &[(i64, bool)]| {
        let mut first = rule(60, 0);
        live(&mut first, before);
        let fingerprint = Fingerprint::of(&candidate("web1", 1.0).labels);
        let stored = first.stored("r", fingerprint).into_iter().collect();
        let mut second = rule(60, 0);
        second.restore(stored, settle * 1000);
        live(&mut second, after)
    };
    assert_eq!(restart(&[(0, true)], 0, &[(40, true), (60, true)]), [(60, HeldLongEnough)]);
    assert_eq!(restart(&[(0, true), (60, true)], 0, &[(90, true)]), []);
    assert_eq!(restart(&[(0, true), (60, true)], 0, &[(90, false)]), [(90, ConditionGone)]);
    let firing = [(0, true), (60, true)];
    assert_eq!(
        restart(&firing, 400, &[(390, false), (410, false)]),
        [(410, ConditionGone)],
        "hosts have time to come back"
    );
    assert_eq!(
        restart(&firing, 400, &[(380, true), (390, false)]),
        [(390, ConditionGone)],
        "a host that came back is believed"
    );
}

#[test]
fn a_repeated_label_set_is_found() {
    assert_eq!(repeated(&[candidate("a", 1.0), candidate("b", 1.0)]), None);
    let twice = [candidate("a", 1.0), candidate("b", 1.0), candidate("a", 2.0)];
    assert_eq!(repeated(&twice), Some(&candidate("a", 0.0).labels));
}

#[test]
fn a_clock_that_is_set_lets_nothing_fire_early_nor_end() {
    const YEAR_S: i64 = 365 * 24 * 3600;
    use Reason::*;
    for year in [YEAR_S, -YEAR_S] {
        let mut pending = rule(60, 0);
        assert_eq!(live(&mut pending, &[(0, true), (40, true)]), [(0, ConditionHolds)]);
        pending.clock_was_set(year * 1000, (year + 340) * 1000);
        assert_eq!(live(&mut pending, &[(year + 50, true)]), []);
        pending.clock_was_set(-year * 1000, 400_000);
        assert_eq!(live(&mut pending, &[(59, true), (60, true)]), [(60, HeldLongEnough)]);

        let mut firing = rule(0, 0);
        assert_eq!(live(&mut firing, &[(0, true)]), [(0, ConditionHoldsWithoutWait)]);
        assert_eq!(firing.take_due(0, AGAIN, INTERVAL, &"".into()).len(), 1);
        firing.clock_was_set(year * 1000, (year + 300) * 1000);
        assert_eq!(live(&mut firing, &[(year + 10, false), (year + 20, true)]), []);
        assert_eq!(firing.take_due((year + 20) * 1000, AGAIN, INTERVAL, &"".into()).len(), 0);
        firing.clock_was_set(-year * 1000, 330_000);
        assert_eq!(live(&mut firing, &[(40, false), (329, false)]), []);
        assert_eq!(live(&mut firing, &[(330, false)]), [(330, ConditionGone)]);
    }
}
