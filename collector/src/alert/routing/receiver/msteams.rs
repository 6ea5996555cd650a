//! Microsoft Teams: what a receiver's section says.

use super::Reader;
use crate::notify::TeamsSettings;
use crate::yaml::{Fields, Tree};

/// Keys that Alertmanager has and this program does not serve.
const UNSERVED: [&str; 2] = ["text", "title"];

impl Reader {
    pub(super) fn teams(&mut self, tree: &Tree) -> Option<TeamsSettings> {
        let mut fields = Fields::of(tree, "a channel of Teams", &mut self.faults);
        let url = self.needed_secret(&mut fields, "webhook_url", "a channel of Teams");
        self.check_url(tree.place, url.as_ref());
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(true);
        let http = self.http(&mut fields);
        self.leave_out(&mut fields, &UNSERVED);
        fields.refuse_rest(&mut self.faults);
        Some(TeamsSettings { url: url?, send_resolved, http })
    }
}
