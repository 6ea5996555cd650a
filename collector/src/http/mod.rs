//! The HTTP API: Prometheus' own and ours beside it, over TLS, every route behind a token's scope
//! but those that hold nothing of a fleet.
//!
//! A resource is one file with its handlers and one line in the table of [`routes`]. Handlers parse
//! parameters, ask one of the [`Services`], and shape the answer; SQL, samples and judgement are
//! elsewhere. Errors are Prometheus' error object everywhere but under `/api/v2/`, see [`error`] and `v2`.

mod acknowledgements;
mod actions;
mod alertmanagers;
mod alerts;
mod audit;
mod availability;
mod body;
mod bounds;
mod buffered;
mod build_info;
mod charts;
mod damage;
mod deliveries;
mod digest;
pub mod error;
mod events;
mod expressions;
mod gaps;
mod health;
mod hosts;
mod inventory;
mod known_gaps;
mod labels;
mod listen;
mod metadata;
mod meters;
mod own_metrics;
mod parameters;
mod patches;
mod pieces;
mod processes;
mod prometheus;
mod query;
mod reload;
mod route;
mod rules;
mod runbooks;
mod series;
mod story;
mod targets;
#[cfg(test)]
mod tests;
mod time;
mod usefulness;
mod v2;
mod write;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::task;

use crate::alert::Desk;
use crate::auth::Caller;
use crate::clock::Clock;
use crate::digest::Digester;
use crate::fleet::Fleet;
use crate::forward::Forwarding;
use crate::ledger::Ledger;
use crate::query::Engine;
use crate::reload::Reloader;
use crate::remote::WriteIn;
use crate::rule::Board;
use crate::state::{By, State, StateError};
use crate::tolerance::ChartBoard;

pub use bounds::{BODY_TIMEOUT, MAX_BODY_BYTES};
pub use health::Readiness;
pub use known_gaps::StateGaps;
pub use listen::{
    HANDSHAKE_TIMEOUT, HEADER_TIMEOUT, PlainRefused, ServeError, WRITE_TIMEOUT, check_plain, serve,
};
pub use meters::Meters;
pub use pieces::SEND_TIMEOUT;
pub use route::{Access, Route, Verb, routes};

use error::{ApiError, ErrorType};

/// What the handlers ask. Clones share everything.
#[derive(Clone)]
pub struct Services {
    /// What time it is.
    pub clock: Clock,
    /// Hosts, patches, tokens, the audit log.
    pub state: State,
    /// Which hosts are heard of.
    pub fleet: Arc<Fleet>,
    /// Samples by PromQL.
    pub engine: Engine,
    /// What others write.
    pub write_in: Arc<WriteIn>,
    /// What the rules last said.
    pub rules: Arc<Board>,
    /// Has rules and routing read again.
    pub reloader: Reloader,
    /// What became of alerts.
    pub ledger: Ledger,
    /// Makes and sends digests.
    pub digester: Digester,
    /// Where alerts and silences are asked about and changed.
    pub alerts: Desk,
    /// Whom alerts are sent on to.
    pub alertmanagers: Forwarding,
    /// How the control charts stand.
    pub charts: Arc<ChartBoard>,
    /// What is not ready yet.
    pub readiness: Arc<Readiness>,
    /// What the collector counts about itself.
    pub registry: Arc<Registry>,
    /// What this server counts, within the registry.
    pub meters: Meters,
}

impl Services {
    /// A change by whoever calls, now.
    fn by(&self, caller: &Caller) -> By {
        By { actor: format!("api-token:{}", caller.token), at_ms: self.clock.now_ms() }
    }

    /// Asks the state on a thread that may block.
    async fn ask_state<T: Send + 'static>(
        &self,
        question: impl FnOnce(&State) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.state.clone();
        match task::spawn_blocking(move || question(&state)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::new(ErrorType::Internal, "the look-up was broken off")),
        }
    }
}
