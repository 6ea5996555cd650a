//! Every route in one table, each with the scope that it needs. The router is built from nothing
//! but the table, so a route without a scope cannot exist.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::error::{ApiError, ErrorType};
use super::{
    Services, acknowledgements, actions, alertmanagers, alerts, audit, availability, bounds,
    build_info, charts, damage, deliveries, digest, events, expressions, gaps, health, hosts,
    inventory, labels, metadata, own_metrics, patches, processes, query, reload, rules, runbooks,
    series, targets, usefulness, v2, write,
};
use crate::auth::{self, Scope};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody: what tells that the process lives, and pages that are the same everywhere.
    Open,
    /// Whoever has a token of a scope that covers this one.
    Needs(Scope),
}

/// The methods that routes are declared under; GET answers HEAD too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads.
    Get,
    /// Changes something, or reads with the parameters in a form.
    Post,
    /// Ends something.
    Delete,
}

impl Verb {
    /// The method as requests have it.
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// One line of the table.
pub struct Route {
    /// The method.
    pub verb: Verb,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    handler: MethodRouter<Services>,
    /// Whether the handler itself holds bodies against their bounds.
    judges_bodies: bool,
}

impl Route {
    fn new<T: 'static>(
        verb: Verb,
        path: &'static str,
        access: Access,
        handler: impl Handler<T, Services>,
    ) -> Self {
        let handler = on(verb.filter(), handler);
        Self { verb, path, access, handler, judges_bodies: false }
    }

    fn judging_bodies(self) -> Self {
        Self { judges_bodies: true, ..self }
    }
}

/// The table.
pub fn routes() -> Vec<Route> {
    use Access::{Needs, Open};
    use Scope::{Admin, Operate, Read, Write};
    use Verb::{Delete, Get, Post};
    vec![
        Route::new(Get, "/-/healthy", Open, health::healthy),
        Route::new(Get, "/-/ready", Open, health::ready),
        Route::new(Post, "/-/reload", Needs(Operate), reload::reload),
        Route::new(Get, "/runbooks", Open, runbooks::index),
        Route::new(Get, "/runbooks/{page}", Open, runbooks::show),
        Route::new(Get, "/metrics", Needs(Read), own_metrics::show),
        Route::new(Get, "/api/v1/query", Needs(Read), query::instant),
        Route::new(Post, "/api/v1/query", Needs(Read), query::instant),
        Route::new(Get, "/api/v1/query_range", Needs(Read), query::range),
        Route::new(Post, "/api/v1/query_range", Needs(Read), query::range),
        Route::new(Get, "/api/v1/series", Needs(Read), series::list),
        Route::new(Post, "/api/v1/series", Needs(Read), series::list),
        Route::new(Get, "/api/v1/labels", Needs(Read), labels::names),
        Route::new(Post, "/api/v1/labels", Needs(Read), labels::names),
        Route::new(Get, "/api/v1/label/{name}/values", Needs(Read), labels::values),
        Route::new(Get, "/api/v1/metadata", Needs(Read), metadata::list),
        Route::new(Get, "/api/v1/format_query", Needs(Read), expressions::format),
        Route::new(Post, "/api/v1/format_query", Needs(Read), expressions::format),
        Route::new(Get, "/api/v1/parse_query", Needs(Read), expressions::parse),
        Route::new(Post, "/api/v1/parse_query", Needs(Read), expressions::parse),
        Route::new(Get, "/api/v1/targets", Needs(Read), targets::list),
        Route::new(Post, "/api/v1/write", Needs(Write), write::take).judging_bodies(),
        Route::new(Get, "/api/v1/status/buildinfo", Needs(Read), build_info::show),
        Route::new(Get, "/api/v1/rules", Needs(Read), rules::list),
        Route::new(Get, "/api/v1/rules/usefulness", Needs(Read), usefulness::list),
        Route::new(Get, "/api/v1/digest", Needs(Read), digest::show),
        Route::new(Post, "/api/v1/digest", Needs(Operate), digest::send),
        Route::new(Get, "/api/v1/alerts", Needs(Read), alerts::list),
        Route::new(Get, "/api/v1/alertmanagers", Needs(Read), alertmanagers::list),
        Route::new(
            Post,
            "/api/v1/alerts/{fingerprint}/acknowledgement",
            Needs(Operate),
            acknowledgements::make,
        ),
        Route::new(
            Delete,
            "/api/v1/alerts/{fingerprint}/acknowledgement",
            Needs(Operate),
            acknowledgements::withdraw,
        ),
        Route::new(Get, "/api/v1/alerts/{fingerprint}/deliveries", Needs(Read), deliveries::list),
        Route::new(Get, "/api/v1/alerts/{fingerprint}/actions", Needs(Read), actions::list),
        Route::new(Get, "/api/v1/hosts", Needs(Read), hosts::list),
        Route::new(Get, "/api/v1/hosts/{host}", Needs(Read), hosts::show),
        Route::new(Get, "/api/v1/hosts/{host}/patches", Needs(Read), patches::show),
        Route::new(Get, "/api/v1/hosts/{host}/gaps", Needs(Read), gaps::list),
        Route::new(Get, "/api/v1/hosts/{host}/availability", Needs(Read), availability::show),
        Route::new(Get, "/api/v1/hosts/{host}/inventory", Needs(Read), inventory::show),
        Route::new(Get, "/api/v1/hosts/{host}/processes", Needs(Read), processes::show),
        Route::new(Get, "/api/v1/inventory", Needs(Read), inventory::list),
        Route::new(Get, "/api/v1/events", Needs(Read), events::list),
        Route::new(Get, "/api/v1/charts", Needs(Read), charts::list),
        Route::new(Get, "/api/v1/charts/{host}/{signal}", Needs(Read), charts::show),
        Route::new(Get, "/api/v1/damage", Needs(Read), damage::list),
        Route::new(Get, "/api/v1/audit", Needs(Admin), audit::list),
        Route::new(Get, "/api/v2/status", Needs(Read), v2::status::show),
        Route::new(Get, "/api/v2/receivers", Needs(Read), v2::status::receivers),
        Route::new(Get, "/api/v2/alerts", Needs(Read), v2::alerts::list),
        Route::new(Post, "/api/v2/alerts", Needs(Write), v2::alerts::take),
        Route::new(Get, "/api/v2/alerts/groups", Needs(Read), v2::groups::list),
        Route::new(Get, "/api/v2/silences", Needs(Read), v2::silences::list),
        Route::new(Post, "/api/v2/silences", Needs(Operate), v2::silences::put),
        Route::new(Get, "/api/v2/silence/{id}", Needs(Read), v2::silences::show),
        Route::new(Delete, "/api/v2/silence/{id}", Needs(Operate), v2::silences::expire),
    ]
}

/// The router that the table describes, within the bounds that hold for every request.
pub(super) fn router(services: Services) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let mut handler = route.handler;
        if let Access::Needs(scope) = route.access {
            let guard = (services.clone(), scope);
            handler = handler.route_layer(middleware::from_fn_with_state(guard, authorize));
        }
        if !route.judges_bodies {
            handler = handler.layer(middleware::from_fn(bounds::refuse_large_body));
        }
        if route.path.starts_with(v2::PREFIX) {
            handler = handler.layer(middleware::map_response(v2::bare));
        }
        router = router.route(route.path, handler);
    }
    router
        .fallback(async |uri: Uri| ApiError::not_found(format!("no such page: {}", uri.path())))
        .method_not_allowed_fallback(wrong_method)
        .layer(bounds::body_limit())
        .layer(bounds::catch_panic())
        .layer(bounds::compression())
        .layer(middleware::from_fn_with_state(services.clone(), count))
        .with_state(services)
}

/// Lets a request through if its token's scopes cover the route's.
async fn authorize(
    State((services, scope)): State<(Services, Scope)>,
    mut request: Request,
    next: Next,
) -> Response {
    match auth::authorize(&services.state, request.headers(), scope, services.clock.now_ms()).await
    {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => ApiError::from(refusal).into_response(),
    }
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not a method of {}", uri.path());
    ApiError::new(ErrorType::MethodNotAllowed, message)
}

/// Counts and times every request by its route, never by its path: paths are the client's to make up.
async fn count(State(services): State<Services>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let timer = services.meters.request(route.as_ref().map_or("none", MatchedPath::as_str));
    let response = next.run(request).await;
    timer.answered(response.status());
    response
}
