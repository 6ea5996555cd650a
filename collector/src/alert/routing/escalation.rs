//! Whom a route tells when nobody acknowledges: keys of ours in the routing file.

use std::time::Duration;

use super::Reader;
use crate::alert::route::{Escalation, Route};
use crate::yaml::Fields;

impl Reader {
    /// What a route says about escalation, and what it has from the one above it: whoever is told
    /// anyway is not told again.
    pub(super) fn escalation(
        &mut self,
        fields: &mut Fields<'_>,
        above: &Route,
        receiver: &str,
    ) -> Option<Escalation> {
        let place = fields.place();
        let after = self.positive(fields, "escalate_after");
        let to = fields.take("escalate_to").and_then(|tree| tree.text(&mut self.faults));
        match (after, to) {
            (None, None) => above.escalation.clone().filter(|above| above.to != receiver),
            (Some(after), Some(to)) if to != receiver => Some(escalation(after, to)),
            (Some(_), Some(_)) => {
                self.faults.at(place, "a route does not escalate to its own receiver");
                None
            }
            _ => {
                self.faults.at(place, "`escalate_after` and `escalate_to` stand together");
                None
            }
        }
    }
}

fn escalation(after: Duration, to: &str) -> Escalation {
    Escalation { after, to: to.to_owned() }
}
