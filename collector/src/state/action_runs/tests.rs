use super::*;
use crate::state;

fn run(fingerprint: &str, action: &str, asked_at_ms: i64, refusal: Option<&str>) -> NewRun {
    NewRun {
        fingerprint: fingerprint.to_owned(),
        action: action.to_owned(),
        kind: "command",
        asked_at_ms,
        refusal: refusal.map(str::to_owned),
    }
}

fn by(at_ms: i64) -> By {
    By { actor: "collector".to_owned(), at_ms }
}

fn shown(state: &State, fingerprint: &str) -> Vec<String> {
    let line = |run: SeenRun| {
        let SeenRun { id, action, asked_at_ms, began_at_ms, ended_at_ms, status, answer, .. } = run;
        let outcome = run.outcome.name();
        format!(
            "{id} {action} {asked_at_ms} {began_at_ms:?} {ended_at_ms:?} {outcome} {status:?} {answer}"
        )
    };
    state.runs_for_alert(fingerprint, None, 9).unwrap().into_iter().map(line).collect()
}

#[test]
fn runs_are_told_of_their_alert_from_beginning_to_end() {
    let (_folder, state) = state::temporary();
    let audits = ["a", "b"].map(|action| RunAudit {
        actor: "alert:1f".to_owned(),
        action: action.to_owned(),
        outcome: if action == "a" { Outcome::Done } else { Outcome::Refused },
        detail: "for {}".to_owned(),
    });
    let runs = [run("1f", "a", 5, None), run("1f", "b", 6, Some("no")), run("2e", "a", 6, None)];
    assert_eq!(state.note_runs(&runs, &audits, 7).unwrap(), [1, 2, 3]);
    let waits = ["2 b 6 None None refused None no", "1 a 5 None None waiting None "];
    assert_eq!(shown(&state, "1f"), waits);
    state.begin_run_of_action(1, 8).unwrap();
    assert_eq!(shown(&state, "1f")[1], "1 a 5 Some(8) None running None ");
    let ended = EndedRun {
        id: 1,
        action: "a".to_owned(),
        outcome: RunOutcome::Failed,
        status: Some(3),
        answer: "no such host".to_owned(),
    };
    state.end_run_of_action(&ended, &by(9)).unwrap();
    assert_eq!(shown(&state, "1f")[1], "1 a 5 Some(8) Some(9) failed Some(3) no such host");
    assert_eq!(state.runs_for_alert("1f", Some(2), 9).unwrap().len(), 1);
    let last = state.last_runs(&["2e".to_owned(), "3d".to_owned(), "1f".to_owned()]).unwrap();
    let last: Vec<_> = last.into_iter().map(|run| run.map(|run| run.id)).collect();
    assert_eq!(last, [Some(3), None, Some(2)]);

    let log = state.audit(None, 9).unwrap().into_iter();
    let log: Vec<_> = log
        .map(|entry| {
            format!("{} {} {} {}", entry.action, entry.subject, entry.outcome, entry.detail)
        })
        .collect();
    let expect = [
        "action-end a done run 1 failed with 3: no such host",
        "action-run b refused for {}",
        "action-run a done for {}",
    ];
    assert_eq!(log, expect);
}

#[test]
fn what_did_not_end_is_interrupted_and_counts_and_what_is_old_is_forgotten() {
    let (_folder, state) = state::temporary();
    let runs = [run("1f", "a", 5, None), run("1f", "b", 6, Some("no")), run("1f", "b", 7, None)];
    state.note_runs(&runs, &[], 7).unwrap();
    state.begin_run_of_action(1, 8).unwrap();
    state.interrupt_runs(&by(9)).unwrap();
    state.interrupt_runs(&by(10)).unwrap();
    let expect = [
        "3 b 7 None Some(9) interrupted None the collector ended before it began",
        "2 b 6 None None refused None no",
        "1 a 5 Some(8) Some(9) interrupted None the collector ended before it did",
    ];
    assert_eq!(shown(&state, "1f"), expect);
    assert_eq!(state.audit(None, 9).unwrap().len(), 2, "once each");
    let since = |at_ms: i64| state.runs_since(at_ms).unwrap();
    assert_eq!(
        since(0),
        [("a".to_owned(), 5), ("b".to_owned(), 7)],
        "what was refused does not count"
    );
    assert_eq!(since(6), [("b".to_owned(), 7)]);
    state.forget_runs(6, 9).unwrap();
    assert_eq!(shown(&state, "1f").len(), 2);
    state.forget_runs(0, 1).unwrap();
    assert_eq!(shown(&state, "1f").len(), 1);
}
