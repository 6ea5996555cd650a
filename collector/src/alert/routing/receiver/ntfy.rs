//! ntfy, which Alertmanager lacks: what a receiver's section says.

use super::Reader;
use crate::notify::{NTFY_URL, NtfySettings};
use crate::yaml::{Fields, Tree};

impl Reader {
    pub(super) fn ntfy(&mut self, tree: &Tree) -> Option<NtfySettings> {
        let mut fields = Fields::of(tree, "a topic of ntfy", &mut self.faults);
        let url = self.url(&mut fields, "url");
        let topic = self.needed_secret(&mut fields, "topic", "a topic of ntfy");
        let priority = fields.take("priority").and_then(|tree| {
            tree.parsed(&mut self.faults, |text| match text.parse() {
                Ok(number @ 1..=5) => Ok(number),
                _ => Err(format!("`{text}` is not a priority, 1 to 5")),
            })
        });
        let mut tags = Vec::new();
        for tree in self.list(&mut fields, "tags") {
            tags.extend(tree.text(&mut self.faults).map(str::to_owned));
        }
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(true);
        let http = self.http(&mut fields);
        fields.refuse_rest(&mut self.faults);
        Some(NtfySettings {
            url: url.unwrap_or_else(|| NTFY_URL.to_owned()),
            topic: topic?,
            priority,
            tags,
            send_resolved,
            http,
        })
    }
}
