//! Actions that were run for alerts, or were not, and what came of it.

use rusqlite::{Row, Transaction, params};

use super::audit::{self, Action, By, Outcome};
use super::{State, StateError, column};

pub(super) const SCHEMA: &str = "
CREATE TABLE action_runs (
    id          BIGINT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    action      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    asked_at    BIGINT NOT NULL,
    began_at    BIGINT,
    ended_at    BIGINT,
    outcome     TEXT NOT NULL,
    status      BIGINT,
    answer      TEXT NOT NULL
);
CREATE INDEX action_runs_of_alert ON action_runs (fingerprint, id);
CREATE INDEX action_runs_asked ON action_runs (asked_at);
";

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// It is to begin as soon as there is room.
    Waiting,
    /// It has begun.
    Running,
    /// It ended as it should.
    Done,
    /// It ended otherwise.
    Failed,
    /// Its time was up.
    TimedOut,
    /// It was not begun.
    Refused,
    /// The collector ended before it did, or before it began.
    Interrupted,
}

impl RunOutcome {
    const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::TimedOut,
        Self::Refused,
        Self::Interrupted,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A run that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The alert's fingerprint.
    pub fingerprint: String,
    /// The action's name, as the rule gives it.
    pub action: String,
    /// What the action is, `command` or `webhook`; empty if there is none of that name.
    pub kind: &'static str,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_at_ms: i64,
    /// Why it is not begun, if it is not.
    pub refusal: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// Its number.
    pub id: i64,
    /// The action's name.
    pub action: String,
    /// How.
    pub outcome: RunOutcome,
    /// The code of a command that ended by itself, or the status of an answer.
    pub status: Option<i64>,
    /// The beginning of what it said, or what was wrong.
    pub answer: String,
}

/// A run, as it is told of its alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRun {
    /// Its number; later ones have greater ones.
    pub id: i64,
    /// The action's name.
    pub action: String,
    /// What the action is; empty if there is none of that name.
    pub kind: String,
    /// When it was asked for, in milliseconds since 1970.
    pub asked_at_ms: i64,
    /// When it began, in milliseconds since 1970; `None` if it did not.
    pub began_at_ms: Option<i64>,
    /// When it ended, in milliseconds since 1970; `None` if it did not.
    pub ended_at_ms: Option<i64>,
    /// How far it has come.
    pub outcome: RunOutcome,
    /// The code of a command that ended by itself, or the status of an answer.
    pub status: Option<i64>,
    /// The beginning of what it said, or why it was not run.
    pub answer: String,
}

/// What the audit log says of runs that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAudit {
    /// Who asks.
    pub actor: String,
    /// The action's name.
    pub action: String,
    /// Whether it is run.
    pub outcome: Outcome,
    /// For which alert and how, or why not.
    pub detail: String,
}

impl State {
    /// Notes runs that are asked for, with what the audit log says of them; their numbers come back in
    /// the same order.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn note_runs(
        &self,
        runs: &[NewRun],
        audits: &[RunAudit],
        at_ms: i64,
    ) -> Result<Vec<i64>, StateError> {
        self.write("noting actions", |transaction| {
            for RunAudit { actor, action, outcome, detail } in audits {
                let by = By { actor: actor.clone(), at_ms };
                audit::write(transaction, &by, Action::ActionRun, action, *outcome, detail)?;
            }
            runs.iter().map(|run| insert(transaction, run)).collect()
        })
    }

    /// Notes that a run began.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn begin_run_of_action(&self, id: i64, at_ms: i64) -> Result<(), StateError> {
        self.write("noting that an action began", |transaction| {
            let sql = "UPDATE action_runs SET outcome = ?2, began_at = ?3 WHERE id = ?1";
            let outcome = RunOutcome::Running.name();
            transaction.prepare_cached(sql)?.execute(params![id, outcome, at_ms]).map(drop)
        })
    }

    /// Notes how a run ended.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end_run_of_action(&self, ended: &EndedRun, by: &By) -> Result<(), StateError> {
        self.write("noting how an action ended", |transaction| end(transaction, ended, by))
    }

    /// Notes of all runs that have not ended that they never will.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn interrupt_runs(&self, by: &By) -> Result<(), StateError> {
        self.write("noting actions that were interrupted", |transaction| {
            let sql = "SELECT id, action, began_at FROM action_runs
                WHERE outcome IN ('waiting', 'running') ORDER BY id";
            let open: Vec<EndedRun> = transaction
                .prepare_cached(sql)?
                .query_map([], interrupted)?
                .collect::<Result<_, _>>()?;
            open.iter().try_for_each(|one| end(transaction, one, by))
        })
    }

    /// When the actions were run that were asked for since a moment, with their names, the oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs_since(&self, since_ms: i64) -> Result<Vec<(String, i64)>, StateError> {
        self.read("reading actions", |transaction| {
            let sql = "SELECT action, asked_at FROM action_runs
                WHERE asked_at >= ?1 AND outcome <> 'refused' ORDER BY id";
            let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            transaction.prepare_cached(sql)?.query_map([since_ms], pair)?.collect()
        })
    }

    /// The runs for an alert, the newest first, those before the run `before` where it is given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn runs_for_alert(
        &self,
        fingerprint: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<SeenRun>, StateError> {
        self.read("reading actions", |transaction| {
            let sql = "SELECT * FROM action_runs WHERE fingerprint = ?1 AND id < ?2
                ORDER BY id DESC LIMIT ?3";
            transaction
                .prepare_cached(sql)?
                .query_map(params![fingerprint, before.unwrap_or(i64::MAX), limit], seen)?
                .collect()
        })
    }

    /// The last run for each of the alerts, in their order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_runs(&self, fingerprints: &[String]) -> Result<Vec<Option<SeenRun>>, StateError> {
        self.read("reading actions", |transaction| {
            let sql = "SELECT * FROM action_runs WHERE fingerprint = ?1 ORDER BY id DESC LIMIT 1";
            let mut last = transaction.prepare_cached(sql)?;
            let mut of =
                |fingerprint: &String| last.query_map([fingerprint], seen)?.next().transpose();
            fingerprints.iter().map(&mut of).collect()
        })
    }

    /// Forgets runs that were asked for before a moment, and the oldest beyond so many.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_runs(&self, before_ms: i64, most: u32) -> Result<(), StateError> {
        self.write("forgetting actions", |transaction| {
            let sql = "DELETE FROM action_runs WHERE asked_at < ?1
                OR id <= (SELECT COALESCE(MAX(id), 0) FROM action_runs) - ?2";
            transaction.execute(sql, params![before_ms, most]).map(drop)
        })
    }
}

fn insert(transaction: &Transaction<'_>, run: &NewRun) -> rusqlite::Result<i64> {
    let sql = "SELECT COALESCE(MAX(id), 0) + 1 FROM action_runs";
    let id: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    let sql = "INSERT INTO action_runs (id, fingerprint, action, kind, asked_at, outcome, answer)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let outcome = if run.refusal.is_some() { RunOutcome::Refused } else { RunOutcome::Waiting };
    transaction.prepare_cached(sql)?.execute(params![
        id,
        run.fingerprint,
        run.action,
        run.kind,
        run.asked_at_ms,
        outcome.name(),
        run.refusal.as_deref().unwrap_or_default(),
    ])?;
    Ok(id)
}

fn end(transaction: &Transaction<'_>, ended: &EndedRun, by: &By) -> rusqlite::Result<()> {
    let EndedRun { id, action, outcome, status, answer } = ended;
    let sql = "UPDATE action_runs SET outcome = ?2, ended_at = ?3, status = ?4, answer = ?5
        WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        id,
        outcome.name(),
        by.at_ms,
        status,
        answer
    ])?;
    let status = status.map(|status| format!(" with {status}")).unwrap_or_default();
    let said = if answer.is_empty() { String::new() } else { format!(": {answer}") };
    let detail = format!("run {id} {}{status}{said}", outcome.name());
    audit::write(transaction, by, Action::ActionEnd, action, Outcome::Done, &detail)
}

fn interrupted(row: &Row<'_>) -> rusqlite::Result<EndedRun> {
    let began_at: Option<i64> = row.get("began_at")?;
    let answer = match began_at {
        Some(_) => "the collector ended before it did",
        None => "the collector ended before it began",
    };
    Ok(EndedRun {
        id: row.get("id")?,
        action: row.get("action")?,
        outcome: RunOutcome::Interrupted,
        status: None,
        answer: answer.to_owned(),
    })
}

fn seen(row: &Row<'_>) -> rusqlite::Result<SeenRun> {
    let outcome: String = row.get("outcome")?;
    Ok(SeenRun {
        id: row.get("id")?,
        action: row.get("action")?,
        kind: row.get("kind")?,
        asked_at_ms: row.get("asked_at")?,
        began_at_ms: row.get("began_at")?,
        ended_at_ms: row.get("ended_at")?,
        outcome: RunOutcome::ALL
            .into_iter()
            .find(|known| known.name() == outcome)
            .ok_or_else(|| column::broken("outcome", rusqlite::types::FromSqlError::InvalidType))?,
        status: row.get("status")?,
        answer: row.get("answer")?,
    })
}

#[cfg(test)]
mod tests;
