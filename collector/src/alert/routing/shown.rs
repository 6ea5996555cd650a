//! The routing file as it can be shown: whom alerts go to, and not how. How it is done takes
//! addresses, and addresses carry secrets.

use crate::yaml::{Entry, Node, Tree};

/// Sections that hold no secrets.
const OPEN_SECTIONS: [&str; 4] =
    ["route", "inhibit_rules", "time_intervals", "mute_time_intervals"];

/// Keys of routes that Alertmanager does not know.
const OUR_KEYS: [&str; 2] = ["escalate_after", "escalate_to"];

/// The file's open sections, and the names of its receivers, as YAML that Alertmanager's own tools
/// read.
pub(super) fn shown(document: &Tree) -> String {
    let Node::Map(entries) = &document.node else { return String::new() };
    let mut text = String::new();
    for entry in entries {
        match entry.key.as_str() {
            "global" => section(&mut text, entry, |entry| entry.key == "resolve_timeout"),
            "receivers" => receivers(&mut text, &entry.value),
            key if OPEN_SECTIONS.contains(&key) => section(&mut text, entry, |_| true),
            _ => {}
        }
    }
    text
}

/// A section; of its own keys those that may be shown.
fn section(text: &mut String, entry: &Entry, may_show: impl Fn(&&Entry) -> bool) {
    text.extend([&entry.key, ":"]);
    match &entry.value.node {
        Node::Map(entries) if entries.iter().any(|entry| may_show(&entry)) => {
            map(text, entries.iter().filter(may_show), 1);
        }
        Node::Map(_) => text.push_str(" {}"),
        _ => value(text, &entry.value, 0),
    }
    text.push('\n');
}

fn receivers(text: &mut String, tree: &Tree) {
    let Node::List(receivers) = &tree.node else { return };
    text.push_str("receivers:\n");
    for receiver in receivers {
        let Node::Map(entries) = &receiver.node else { continue };
        let Some(name) = entries.iter().find(|entry| entry.key == "name") else { continue };
        text.push_str("- name:");
        value(text, &name.value, 1);
        text.push('\n');
    }
}

/// What follows a colon or a dash: a word on the same line, or lines below it.
fn value(text: &mut String, tree: &Tree, depth: usize) {
    match &tree.node {
        Node::Null => text.push_str(" null"),
        Node::Scalar(word) => text.extend([" ", &quoted(word)]),
        Node::List(items) if items.is_empty() => text.push_str(" []"),
        Node::Map(entries) if entries.is_empty() => text.push_str(" {}"),
        Node::List(items) => items.iter().for_each(|item| {
            text.extend(["\n", &"  ".repeat(depth), "-"]);
            value(text, item, depth + 1);
        }),
        Node::Map(entries) => map(text, entries.iter(), depth),
    }
}

/// Alertmanager's tools refuse keys that are ours.
fn map<'a>(text: &mut String, entries: impl Iterator<Item = &'a Entry>, depth: usize) {
    for entry in entries.filter(|entry| !OUR_KEYS.contains(&entry.key.as_str())) {
        text.extend(["\n", &"  ".repeat(depth), &quoted(&entry.key), ":"]);
        value(text, &entry.value, depth + 1);
    }
}

/// A word as it is where YAML takes it for nothing but itself, and in quotes everywhere else.
fn quoted(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.'));
    let is_word = is_plain && !text.eq_ignore_ascii_case("null");
    if is_word { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
