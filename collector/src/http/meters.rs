//! What the HTTP server counts about itself.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Requests by route and code, and how long they took by route.
#[derive(Clone, Debug)]
pub struct Meters {
    requests: Family<Answered, Counter<u64, AtomicU64>>,
    durations: Family<Routed, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    handler: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Routed {
    handler: String,
}

impl Meters {
    /// Meters that show in the registry.
    pub fn register(registry: &mut Registry) -> Self {
        let meters = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
        };
        registry.register(
            "upkeep_http_requests",
            "Requests that were answered",
            meters.requests.clone(),
        );
        registry.register(
            "upkeep_http_request_duration_seconds",
            "Time from a request's head to that of its answer",
            meters.durations.clone(),
        );
        meters
    }

    /// Begins to time a request of a route.
    pub(super) fn request(&self, route: &str) -> Timer {
        Timer { meters: self.clone(), handler: route.to_owned(), since: Instant::now() }
    }
}

/// Buckets from 1 ms to a little over the time that a query may take at most.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 10))
}

/// A request that is under way.
pub(super) struct Timer {
    meters: Meters,
    handler: String,
    since: Instant,
}

impl Timer {
    pub(super) fn answered(self, status: StatusCode) {
        let Self { meters, handler, since } = self;
        let routed = Routed { handler: handler.clone() };
        meters.durations.get_or_create(&routed).observe(since.elapsed().as_secs_f64());
        meters.requests.get_or_create(&Answered { handler, code: status.as_u16() }).inc();
    }
}
