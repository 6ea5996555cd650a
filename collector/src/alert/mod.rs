//! From alerts to messages: routes, groups, what was told to whom, retries.
//!
//! [`load`] reads the routing file, or says everything that is wrong with it; a [`Dispatcher`] takes
//! alerts from a bounded channel and tells receivers of them, each until it has heard.

mod book;
mod dispatcher;
mod group;
mod inhibit;
mod interval;
mod matcher;
mod route;
mod routing;

use std::path::PathBuf;

pub use dispatcher::{Dispatcher, DispatcherError};
pub use inhibit::InhibitRule;
pub use interval::{Hours, NamedInterval, TimeInterval};
pub use route::{Grouping, Route, Timing};
pub use routing::{Allowed, ReceiverSettings, Routing};

use crate::yaml::Faults;

/// What can be set about telling people.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The routing file.
    pub routing: PathBuf,
    /// The address under which people reach this server; messages carry it.
    pub external_url: String,
    /// What the file may not decide by itself.
    pub allowed: Allowed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            routing: PathBuf::from("/etc/upkeep/routing.yml"),
            external_url: String::new(),
            allowed: Allowed::default(),
        }
    }
}

/// Reads the routing file.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load(settings: &Settings) -> Result<Routing, Faults> {
    routing::read(&settings.routing, &settings.allowed)
}
