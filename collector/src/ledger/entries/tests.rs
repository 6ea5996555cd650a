use super::*;
use crate::ledger::quantile_ms;
use crate::state;

const WEEK_MS: i64 = 7 * DAY_MS;

fn rule(name: &str) -> Arc<Origin> {
    let (file, group) = ("/r/a.yml".to_owned(), "g".to_owned());
    Arc::new(Origin::Rule { file, group, name: name.to_owned() })
}

fn outside(name: &str) -> Arc<Origin> {
    Arc::new(Origin::Outside { name: name.to_owned() })
}

fn fired(origin: &Arc<Origin>, alert: u64, at_ms: i64) -> News {
    News::Fired { origin: Arc::clone(origin), alert: Fingerprint(alert), at_ms }
}

fn resolved(origin: &Arc<Origin>, alert: u64, at_ms: i64) -> News {
    News::Resolved { origin: Arc::clone(origin), alert: Fingerprint(alert), at_ms }
}

fn notified(alerts: &[u64]) -> News {
    News::Notified { alerts: alerts.iter().copied().map(Fingerprint).collect() }
}

fn silenced(alerts: &[u64]) -> News {
    News::Silenced { alerts: alerts.iter().copied().map(Fingerprint).collect() }
}

fn acknowledged(alert: u64, at_ms: i64) -> News {
    News::Acknowledged { alert: Fingerprint(alert), at_ms }
}

fn acted(alert: u64) -> News {
    News::Acted { alert: Fingerprint(alert) }
}

fn flapped(alert: u64) -> News {
    News::Flapped { alert: Fingerprint(alert) }
}

fn entered(news: impl IntoIterator<Item = News>) -> Entries {
    let mut entries = Entries::default();
    news.into_iter().for_each(|news| entries.enter(news));
    entries
}

/// A line of numbers of one origin.
fn line(entries: &Entries, origin: &Arc<Origin>, first: i64) -> String {
    let sums = entries.since(first);
    let Some(tally) = sums.get(origin) else { return "none".to_owned() };
    let Tally { fired, told, notified, acknowledged, acted, cared_for, .. } = tally;
    let Tally { silenced, flapped, resolved, by_itself, .. } = tally;
    format!(
        "fired {fired} told {told} in {notified} ack {acknowledged} act {acted} care {cared_for} \
         silenced {silenced} flapped {flapped} over {resolved} by itself {by_itself}"
    )
}

#[test]
fn what_becomes_of_an_alert_is_counted_once() {
    let check = |news: Vec<News>, expect: &str| {
        let shown = format!("{news:?}");
        assert_eq!(line(&entered(news), &rule("A"), 0), expect, "{shown}");
    };
    let a = rule("A");
    let none = "ack 0 act 0 care 0 silenced 0 flapped 0";
    check(vec![fired(&a, 1, 0)], &format!("fired 1 told 0 in 0 {none} over 0 by itself 0"));
    check(
        vec![fired(&a, 1, 0), notified(&[1]), notified(&[1]), resolved(&a, 1, 9)],
        &format!("fired 1 told 1 in 2 {none} over 1 by itself 1"),
    );
    // One message about two alerts of the rule is one message.
    check(
        vec![fired(&a, 1, 0), fired(&a, 2, 0), notified(&[1, 2, 3])],
        &format!("fired 2 told 2 in 1 {none} over 0 by itself 0"),
    );
    check(
        vec![fired(&a, 1, 0), acknowledged(1, 5), acknowledged(1, 7), resolved(&a, 1, 9)],
        "fired 1 told 0 in 0 ack 1 act 0 care 1 silenced 0 flapped 0 over 1 by itself 0",
    );
    check(
        vec![fired(&a, 1, 0), acted(1), acknowledged(1, 5), resolved(&a, 1, 9)],
        "fired 1 told 0 in 0 ack 1 act 1 care 1 silenced 0 flapped 0 over 1 by itself 0",
    );
    check(
        vec![fired(&a, 1, 0), silenced(&[1, 2]), silenced(&[1]), resolved(&a, 1, 9)],
        "fired 1 told 0 in 0 ack 0 act 0 care 0 silenced 1 flapped 0 over 1 by itself 0",
    );
    check(
        vec![fired(&a, 1, 0), flapped(1)],
        "fired 1 told 0 in 0 ack 0 act 0 care 0 silenced 0 flapped 1 over 0 by itself 0",
    );
    // What is said of an alert that is over, or was never heard of, counts for nothing.
    check(
        vec![fired(&a, 1, 0), resolved(&a, 1, 9), acknowledged(1, 9), resolved(&a, 1, 10)],
        &format!("fired 1 told 0 in 0 {none} over 1 by itself 1"),
    );
    // It fires anew: what was done about it before is not done about this.
    check(
        vec![fired(&a, 1, 0), acknowledged(1, 1), fired(&a, 1, 5), resolved(&a, 1, 9)],
        "fired 2 told 0 in 0 ack 1 act 0 care 1 silenced 0 flapped 0 over 1 by itself 1",
    );
}

#[test]
fn two_rules_with_the_same_alert_are_told_apart() {
    let (a, b) = (rule("A"), rule("B"));
    let news = [fired(&a, 1, 0), fired(&b, 1, 0), notified(&[1]), resolved(&a, 1, 5)];
    let entries = entered(news);
    let rest = "told 1 in 1 ack 0 act 0 care 0 silenced 0 flapped 0 over";
    assert_eq!(line(&entries, &a, 0), format!("fired 1 {rest} 1 by itself 1"));
    assert_eq!(line(&entries, &b, 0), format!("fired 1 {rest} 0 by itself 0"));
}

#[test]
fn numbers_belong_to_the_week_in_which_the_alert_fired() {
    assert_eq!(week_start_ms(week(0)), -3 * DAY_MS);
    let monday = week_start_ms(3000);
    assert_eq!((week(monday - 1), week(monday)), (2999, 3000));
    let a = rule("A");
    let entries = entered([
        fired(&a, 1, monday - 1000),
        notified(&[1]),
        acknowledged(1, monday + 59_000),
        resolved(&a, 1, monday + 3_599_000),
    ]);
    assert_eq!(line(&entries, &a, 3000), "none");
    let sums = entries.since(2999);
    let tally = &sums[&a];
    assert_eq!((tally.acknowledged, tally.resolved, tally.by_itself), (1, 1, 0));
    assert_eq!(quantile_ms(&tally.acknowledged_after, 1.0), Some(60_000));
    assert_eq!(quantile_ms(&tally.lasted, 1.0), Some(3_600_000));
    assert_eq!(quantile_ms(&tally.lasted_by_itself, 1.0), None);
}

#[test]
fn it_goes_on_after_a_restart() {
    let (_folder, state) = state::temporary();
    let a = rule("A");
    let mut entries = entered([fired(&a, 1, 0), fired(&a, 2, 0), acknowledged(1, 5)]);
    let restart = |entries: &mut Entries| {
        // Piece by piece, and a piece that failed once comes again.
        let failed = entries.take_changes(1);
        entries.keep_changes(failed);
        loop {
            let changes = entries.take_changes(1);
            if changes.is_empty() {
                break;
            }
            state.change_usefulness(&changes).unwrap();
        }
        let (tallies, unended) = state.usefulness().unwrap();
        *entries = Entries::restore(tallies, unended);
    };
    restart(&mut entries);
    [resolved(&a, 1, 9), resolved(&a, 2, 9)].into_iter().for_each(|news| entries.enter(news));
    restart(&mut entries);
    let expect = "fired 2 told 0 in 0 ack 1 act 0 care 1 silenced 0 flapped 0 over 2 by itself 1";
    assert_eq!(line(&entries, &a, 0), expect);
    assert_eq!(state.usefulness().unwrap().1, [], "what is over is not kept as open");
    assert!(entries.open.is_empty());
}

#[test]
fn what_is_old_is_forgotten_and_names_of_others_are_bounded() {
    let a = rule("A");
    let mut entries = entered([fired(&a, 1, 0), fired(&a, 2, WEEK_MS)]);
    entries.take_changes(9);
    entries.forget((KEPT_WEEKS - 1) * WEEK_MS);
    assert_eq!(entries.tallies.len(), 2);
    entries.forget(KEPT_WEEKS * WEEK_MS);
    assert_eq!((entries.tallies.len(), entries.open.len()), (1, 1));
    let changes = entries.take_changes(9);
    assert_eq!((changes.forgotten.len(), changes.ended.len()), (1, 1));

    let many = (0..MOST_OUTSIDE as u64 + 2).map(|number| outside(&format!("A{number}")));
    let mut entries = entered(many.zip(0..).map(|(origin, number)| fired(&origin, number, 0)));
    assert_eq!(entries.tallies.len(), MOST_OUTSIDE + 1);
    entries.enter(resolved(
        &outside(&format!("A{}", MOST_OUTSIDE + 1)),
        MOST_OUTSIDE as u64 + 1,
        5,
    ));
    assert!(line(&entries, &outside(""), 0).starts_with("fired 2 "));
    assert!(line(&entries, &outside(""), 0).ends_with(" over 1 by itself 1"));
}
