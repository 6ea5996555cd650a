//! `/api/v1/events`: what changed on the hosts, and what happened to the delivery of what they observe;
//! for markers on graphs, for "what changed before this", and for the story of an outage.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use upkeep_model::{Change, ChangeKind, HostId};

use super::error::ApiError;
use super::parameters::{self, PageLengths, Parameters};
use super::{Services, hosts, prometheus, story, time};
use crate::state::{
    ChangeFilter, EventCursor, EventFilter, OccurrenceFilter, OccurrenceKind, SeenChange,
    SeenOccurrence,
};

const LENGTHS: PageLengths = PageLengths { usual: 100, most: 1000 };

#[derive(Serialize)]
struct Page {
    events: Vec<EventView>,
    /// What to give as `cursor` for older events; null on the last page.
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct EventView {
    id: i64,
    /// Null where it is about the collector itself.
    host: Option<HostId>,
    instance: Option<String>,
    at: String,
    received_at: String,
    kind: &'static str,
    subject: String,
    before: String,
    after: String,
    /// The event in a sentence.
    text: String,
    /// What there is beside that, by kind; null for changes of a host.
    details: Value,
    /// How many more of this kind came soon afterwards.
    repeated: u64,
    #[serde(skip)]
    cursor: EventCursor,
}

/// `GET /api/v1/events`: parameters `host` (id or instance), any number of `kind`, `start`, `end`,
/// `limit` and `cursor`; the newest events first.
pub(super) async fn list(
    State(services): State<Services>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let limit = parameters.page(LENGTHS)?;
    let kinds = Kinds::of(parameters.all("kind"))?;
    let host = hosts::chosen(&services, &parameters).await?;
    let (from_ms, to_ms) = (parameters.time("start")?, parameters.time("end")?);
    let after = parameters.get("cursor").map(cursor).transpose()?;
    let changes: Option<ChangeFilter> =
        kinds.changes.map(|kinds| EventFilter { host, kinds, from_ms, to_ms, after });
    let occurrences: Option<OccurrenceFilter> =
        kinds.occurrences.map(|kinds| EventFilter { host, kinds, from_ms, to_ms, after });
    // One more than a page tells whether there is another.
    let most = limit.saturating_add(1);
    let found = services.ask_state(move |state| {
        let changes = changes.map(|filter| state.changes(&filter, most)).transpose()?;
        let occurrences = occurrences.map(|filter| state.occurrences(&filter, most)).transpose()?;
        Ok((changes.unwrap_or_default(), occurrences.unwrap_or_default()))
    });
    let (changes, occurrences) = found.await?;
    let mut events: Vec<EventView> = changes.into_iter().map(view_of_change).collect();
    events.extend(occurrences.into_iter().map(view_of_occurrence));
    events.sort_by_key(|event| std::cmp::Reverse((event.cursor.at_ms, event.cursor.id)));
    let next_cursor = parameters::cut(&mut events, limit).map(|last| cursor_text(last.cursor));
    Ok(prometheus::success(Page { events, next_cursor }))
}

/// The kinds that are asked for; `None` where none of a table's kinds is.
#[derive(Debug, PartialEq)]
struct Kinds {
    changes: Option<Vec<ChangeKind>>,
    occurrences: Option<Vec<OccurrenceKind>>,
}

impl Kinds {
    fn of<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, ApiError> {
        let (mut changes, mut occurrences) = (Vec::new(), Vec::new());
        for word in words {
            let change = ChangeKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            let occurrence = OccurrenceKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            if change.is_none() && occurrence.is_none() {
                let known = ChangeKind::ALL.map(ChangeKind::as_str).join(", ");
                let more = OccurrenceKind::ALL.map(OccurrenceKind::as_str).join(", ");
                let why = format!("{word:?} is none of {known}, {more}");
                return Err(ApiError::parameter("kind", why));
            }
            changes.extend(change);
            occurrences.extend(occurrence);
        }
        let is_all = changes.is_empty() && occurrences.is_empty();
        Ok(Self {
            changes: (is_all || !changes.is_empty()).then_some(changes),
            occurrences: (is_all || !occurrences.is_empty()).then_some(occurrences),
        })
    }
}

fn cursor_text(last: EventCursor) -> String {
    format!("{}.{}", last.at_ms, last.id)
}

fn cursor(text: &str) -> Result<EventCursor, ApiError> {
    let parts = text.split_once('.');
    let numbers = parts.and_then(|(at_ms, id)| Some((at_ms.parse().ok()?, id.parse().ok()?)));
    numbers.map(|(at_ms, id)| EventCursor { at_ms, id }).ok_or_else(ApiError::cursor)
}

fn view_of_change(seen: SeenChange) -> EventView {
    let SeenChange { id, host, instance, at_ms, received_at_ms, change } = seen;
    let text = story::of_change(&change);
    let Change { id: _, kind, subject, before, after } = change;
    EventView {
        id,
        host: Some(host),
        instance: Some(instance),
        at: time::text(at_ms),
        received_at: time::text(received_at_ms),
        kind: kind.as_str(),
        subject,
        before,
        after,
        text,
        details: Value::Null,
        repeated: 0,
        cursor: EventCursor { at_ms, id },
    }
}

fn view_of_occurrence(seen: SeenOccurrence) -> EventView {
    let SeenOccurrence { id, host, at_ms, occurrence, repeated, last_ms } = seen;
    let (host, instance) = host.unzip();
    let mut text = story::of_occurrence(&occurrence, at_ms);
    if repeated > 0 {
        text.push_str(&format!("; {repeated} more such events until {}", time::text(last_ms)));
    }
    EventView {
        id,
        host,
        instance,
        at: time::text(at_ms),
        received_at: time::text(at_ms),
        kind: occurrence.kind().as_str(),
        subject: String::new(),
        before: String::new(),
        after: String::new(),
        text,
        details: story::details(&occurrence),
        repeated,
        cursor: EventCursor { at_ms, id },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_to_the_tables_that_have_them() {
        let check = |words: &[&str], changes: Option<usize>, occurrences: Option<usize>| {
            let kinds = Kinds::of(words.iter().copied()).unwrap();
            let found =
                (kinds.changes.map(|all| all.len()), kinds.occurrences.map(|all| all.len()));
            assert_eq!(found, (changes, occurrences), "{words:?}");
        };
        check(&[], Some(0), Some(0));
        check(&["boot"], Some(1), None);
        check(&["host_lost", "host_back"], None, Some(2));
        check(&["boot", "host_lost"], Some(1), Some(1));
        assert!(Kinds::of(["boot", "host"].into_iter()).is_err());
    }
}
