//! From alerts to messages: routes, groups, what was told to whom, retries.
//!
//! [`load`] reads the routing file, or says everything that is wrong with it; a [`Dispatcher`] takes
//! alerts from a bounded channel and tells receivers of them, each until it has heard. Everybody else
//! asks and acts at its [`Desk`].

mod book;
mod courier;
mod desk;
mod dispatcher;
mod explain;
mod flap;
mod group;
mod inhibit;
mod interval;
mod matcher;
mod route;
mod routing;
mod silence;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use upkeep_model::Matcher;

pub use courier::Courier;
pub use desk::{Desk, DeskError, Facts, SeenSilence};
pub use dispatcher::{Dispatcher, DispatcherError, Ready};
pub use explain::{Escalates, Explanation, Inhibitor, Way};
pub use flap::FlapSettings;
pub use inhibit::InhibitRule;
pub use interval::{Hours, NamedInterval, TimeInterval};
pub use matcher::MatcherSyntaxError;
pub use route::{Escalation, Grouping, Route, Timing};
pub use routing::{Allowed, ReceiverSettings, Routing};
pub use silence::{Recurrence, RecurrenceError, Silence, SilenceDraft, SilenceError, SilenceState};
pub use view::{AlertFilter, AlertView, GroupView, LeftOut};

use crate::yaml::Faults;

/// For how long silences are kept that are over, unless that is set otherwise.
pub const DEFAULT_KEEP_SILENCES: Duration = Duration::from_hours(120);

/// What can be set about telling people.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The routing file.
    pub routing: PathBuf,
    /// The address under which people reach this server; messages carry it.
    pub external_url: String,
    /// What the file may not decide by itself.
    pub allowed: Allowed,
    /// For how long silences are kept that are over.
    pub keep_silences: Duration,
    /// When alerts flap.
    pub flapping: FlapSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            routing: PathBuf::from("/etc/upkeep/routing.yml"),
            external_url: String::new(),
            allowed: Allowed::default(),
            keep_silences: DEFAULT_KEEP_SILENCES,
            flapping: FlapSettings::default(),
        }
    }
}

/// Reads matchers such as `severity="critical"`, separated by commas, with or without braces.
///
/// # Errors
/// When the text is anything else.
pub fn matchers(text: &str) -> Result<Vec<Matcher>, MatcherSyntaxError> {
    matcher::parse(text)
}

/// Reads the routing file.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load(settings: &Settings) -> Result<Routing, Faults> {
    routing::read(&settings.routing, &settings.allowed)
}
