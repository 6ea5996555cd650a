//! Who may do what: every route of the table against every kind of token.

use std::sync::atomic::Ordering;

use reqwest::{Method, StatusCode, header};

use super::world::{START_MS, World, answer, by, keep_token};
use crate::auth::covers;
use crate::http::{Access, routes};
use crate::state::Scope;

/// A path of the table with its parameters filled in.
fn filled(path: &str) -> String {
    path.replace("{name}", "job")
        .replace("{host}", "web1")
        .replace("{signal}", "swap_in")
        .replace("{page}", "HostSilent")
        .replace("{fingerprint}", "00000000000000ff")
        .replace("{id}", "00000000-0000-0000-0000-000000000001")
}

#[tokio::test]
async fn every_route_wants_a_token_of_its_scope() {
    let world = World::plain().await;
    let mut open = Vec::new();
    for route in routes() {
        let path = filled(route.path);
        let request = |token: Option<&str>| world.request(route.verb.method(), &path, token);
        let Access::Needs(needed) = route.access else {
            assert_eq!(request(None).send().await.unwrap().status(), StatusCode::OK, "{path}");
            open.push(route.path);
            continue;
        };
        let refused = request(None).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(refused.headers()[header::WWW_AUTHENTICATE], "Bearer", "{path}");
        let (status, body) = answer(request(Some("nobody's"))).await;
        let told = if path.starts_with("/api/v2/") { &body } else { &body["error"] };
        let expect = (401, &"the API token is not known".into());
        assert_eq!((status.as_u16(), told), expect, "{path}");
        for held in Scope::ALL {
            let token = held.to_string();
            let status = request(Some(&token)).send().await.unwrap().status();
            let is_refused = status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED;
            assert_eq!(is_refused, !covers(held, needed), "{path} with {held}: {status}");
        }
    }
    assert_eq!(open, ["/-/healthy", "/-/ready", "/runbooks", "/runbooks/{page}"]);
}

#[tokio::test]
async fn a_token_that_expired_or_was_revoked_is_refused() {
    let world = World::plain().await;
    keep_token(&world.state, "old", &[Scope::Read], Some(START_MS));
    keep_token(&world.state, "young", &[Scope::Read], Some(START_MS + 1));
    keep_token(&world.state, "revoked", &[Scope::Read], None);
    assert!(world.state.revoke_api_token("revoked", &by()).unwrap());
    let check = async |token: &str, status: u16, error: &str| {
        let request = world.request(Method::GET, "/api/v1/hosts", Some(token));
        let (code, body) = answer(request).await;
        assert_eq!((code.as_u16(), &body["error"]), (status, &error.into()));
    };
    check("old", 401, "the API token old has expired").await;
    check("revoked", 401, "the API token revoked was revoked").await;
    check("write", 403, "the API token write lacks the scope read").await;
    let young = world.request(Method::GET, "/api/v1/hosts", Some("young"));
    assert_eq!(answer(young).await.0, StatusCode::OK);
    let basic = world.request(Method::GET, "/api/v1/hosts", None).basic_auth("read", Some("read"));
    assert_eq!(answer(basic).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_use_of_a_token_is_noted() {
    let world = World::plain().await;
    let last_used = || {
        let tokens = world.state.api_tokens().unwrap();
        tokens.into_iter().find(|token| token.id == "read").unwrap().last_used_ms
    };
    assert_eq!(last_used(), None);
    world.get("/api/v1/hosts").await;
    let first = last_used();
    assert_eq!(first, Some(START_MS));
    world.time_ms.store(START_MS + 599_999, Ordering::Relaxed);
    world.get("/api/v1/hosts").await;
    assert_eq!(last_used(), first);
    world.time_ms.store(START_MS + 600_000, Ordering::Relaxed);
    world.get("/api/v1/hosts").await;
    assert_eq!(last_used(), Some(START_MS + 600_000));
}

#[tokio::test]
async fn tls_is_served_and_plain_text_to_it_is_not() {
    let world = World::secure().await;
    assert_eq!(world.get("/api/v1/hosts").await.0, StatusCode::OK);
    let plain = format!("http://{}/-/healthy", world.address);
    assert!(world.client.get(plain).send().await.is_err());
    world.stop().await.unwrap();
}
