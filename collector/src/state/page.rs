//! Which events a page of the listing has: the same question to each table that has some.

use rusqlite::ToSql;
use upkeep_model::HostId;

/// Where a page begins: behind this event, which the page before ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventCursor {
    /// When it was seen.
    pub at_ms: i64,
    /// Its place among all events.
    pub id: i64,
}

/// Which events are asked for, of kinds that one table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter<K> {
    /// Of one host only.
    pub host: Option<HostId>,
    /// Of these kinds only; none given means all.
    pub kinds: Vec<K>,
    /// Not before this time.
    pub from_ms: Option<i64>,
    /// Not after this time.
    pub to_ms: Option<i64>,
    /// Only what comes after this one in the answer's order.
    pub after: Option<EventCursor>,
}

impl<K> Default for EventFilter<K> {
    fn default() -> Self {
        Self { host: None, kinds: Vec::new(), from_ms: None, to_ms: None, after: None }
    }
}

impl<K: Copy> EventFilter<K> {
    /// The statement for a table with the columns `id`, `host`, `at_ms` and `kind`, and its values;
    /// the newest first. Rows come with the host's name where there is a host.
    pub(super) fn select(
        &self,
        table: &'static str,
        word: fn(K) -> &'static str,
        limit: u32,
    ) -> (String, Vec<Box<dyn ToSql>>) {
        let mut sql = format!(
            "SELECT {table}.*, hosts.instance FROM {table}
            LEFT JOIN hosts ON hosts.id = {table}.host WHERE 1 = 1"
        );
        let mut values: Vec<Box<dyn ToSql>> = Vec::new();
        let mut narrow = |condition: String, value: Box<dyn ToSql>| {
            sql.push_str(&condition);
            values.push(value);
        };
        if let Some(host) = self.host {
            narrow(format!(" AND {table}.host = ?"), Box::new(host.to_string()));
        }
        if let Some(from_ms) = self.from_ms {
            narrow(format!(" AND {table}.at_ms >= ?"), Box::new(from_ms));
        }
        if let Some(to_ms) = self.to_ms {
            narrow(format!(" AND {table}.at_ms <= ?"), Box::new(to_ms));
        }
        if let Some(EventCursor { at_ms, id }) = self.after {
            narrow(format!(" AND ({table}.at_ms < ?"), Box::new(at_ms));
            narrow(format!(" OR ({table}.at_ms = ?"), Box::new(at_ms));
            narrow(format!(" AND {table}.id < ?))"), Box::new(id));
        }
        for (at, kind) in self.kinds.iter().enumerate() {
            let begin = if at == 0 { " AND kind IN (?" } else { ", ?" };
            narrow(begin.to_owned(), Box::new(word(*kind)));
        }
        if !self.kinds.is_empty() {
            sql.push(')');
        }
        sql.push_str(&format!(" ORDER BY {table}.at_ms DESC, {table}.id DESC LIMIT ?"));
        values.push(Box::new(limit));
        (sql, values)
    }
}
