//! Which orders are carried out, decided from the actions, their limits and the time alone.

use std::collections::BTreeMap;

use thiserror::Error;

use super::argument::ArgumentRefusal;
use super::limit::{Limit, Window};
use super::order::Order;
use super::settings::{Deed, Settings};

/// Why an order is not carried out.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The configuration changed since the rule was read.
    #[error("there is no action of this name in the configuration")]
    Unknown,
    /// A label cannot be passed on.
    #[error(transparent)]
    Argument(#[from] ArgumentRefusal),
    /// Too many wait.
    #[error("too many actions wait already")]
    Full,
    /// It was run too often.
    #[error("the limit of {0} is reached")]
    Limit(Limit),
}

/// What is known of the actions.
pub(super) struct Triage(BTreeMap<String, Known>);

struct Known {
    settings: Settings,
    window: Window,
}

impl Triage {
    /// With the runs of before: the name of each action, and how long ago it was asked for.
    pub(super) fn new(settings: &[Settings], past: &[(String, i64)], now_ms: i64) -> Self {
        let known = |one: &Settings| {
            let ages = past.iter().filter(|(name, _)| *name == one.name).map(|(_, age_ms)| *age_ms);
            let window = Window::new(one.limit, ages, now_ms);
            (one.name.clone(), Known { settings: one.clone(), window })
        };
        Self(settings.iter().map(known).collect())
    }

    /// What the action of an order is called; nothing if there is none.
    pub(super) fn deed(&self, order: &Order) -> Option<&Deed> {
        self.0.get(&order.action).map(|known| &known.settings.deed)
    }

    /// The arguments for an order, which counts against its action's limit then; `now_ms` is of a clock
    /// that nobody sets.
    ///
    /// # Errors
    /// When it is not to be carried out.
    pub(super) fn admit(
        &mut self,
        order: &Order,
        has_room: bool,
        now_ms: i64,
    ) -> Result<Vec<String>, Refusal> {
        let known = self.0.get_mut(&order.action).ok_or(Refusal::Unknown)?;
        let arguments = match &known.settings.deed {
            Deed::Command { arguments, .. } => {
                let filled = arguments.iter().map(|argument| argument.fill(&order.alert.labels));
                filled.collect::<Result<_, _>>()?
            }
            Deed::Webhook { .. } => Vec::new(),
        };
        if !has_room {
            return Err(Refusal::Full);
        }
        known.window.admit(now_ms).map_err(|_| Refusal::Limit(known.settings.limit))?;
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use upkeep_model::Labels;

    use super::*;
    use crate::notify::{Alert, Annotations, Origin};

    fn order(action: &str, instance: &str) -> Order {
        let alert = Alert {
            labels: Labels::new([("alertname", "Down"), ("instance", instance)]),
            annotations: Annotations::new(),
            starts_at_ms: 0,
            ends_at_ms: None,
            holds_for: None,
            generator_url: "".into(),
            origin: Origin::Rule,
        };
        Order { action: action.to_owned(), fingerprint: alert.fingerprint(), alert }
    }

    #[test]
    fn an_order_is_carried_out_unless_something_speaks_against_it() {
        let settings = |name: &str| Settings {
            name: name.to_owned(),
            deed: Deed::Command {
                program: PathBuf::from("/bin/restart"),
                arguments: ["{{ $labels.instance }}", "now"]
                    .map(|text| text.parse().unwrap())
                    .into(),
            },
            limit: "2 in 10s".parse().unwrap(),
            timeout: Duration::from_secs(1),
        };
        let past = [("used".to_owned(), 4_000), ("used".to_owned(), 1_000)];
        let mut triage = Triage::new(&[settings("new"), settings("used")], &past, 0);
        let limit = || Refusal::Limit("2 in 10s".parse().unwrap());
        let mut check = |action: &str, instance: &str, has_room, at_ms, expect| {
            let admitted = triage.admit(&order(action, instance), has_room, at_ms);
            let admitted = admitted.map(|arguments| arguments.join(" "));
            assert_eq!(admitted, expect, "{action} {instance} {at_ms}");
        };
        check("absent", "web1", true, 0, Err(Refusal::Unknown));
        check("used", "web1", true, 0, Err(limit()));
        check("used", "web1", true, 6_000, Ok("web1 now".to_owned()));
        let option = ArgumentRefusal::Option("instance".to_owned());
        check("new", "-rf", true, 0, Err(Refusal::Argument(option)));
        check("new", "web1", false, 0, Err(Refusal::Full));
        // What was not carried out did not count.
        check("new", "web1", true, 0, Ok("web1 now".to_owned()));
        check("new", "web2", true, 1, Ok("web2 now".to_owned()));
        check("new", "web3", true, 2, Err(limit()));
        check("new", "web3", true, 10_000, Ok("web3 now".to_owned()));
    }
}
