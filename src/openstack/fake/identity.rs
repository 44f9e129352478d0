//! Keystone: tokens.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    APPLICATION_CREDENTIAL, PASSWORD, Service,
    server::{Asked, Reply},
    state::{PROJECT, State, text},
};

pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let (method, path) = asked.parts();
    let ("POST", ["auth", "tokens"]) = (method, path.as_slice()) else {
        return Reply::json(
            404,
            &json!({ "error": { "code": 404, "title": "Not Found", "message": "Not found." } }),
        );
    };
    let identity = &asked.body["auth"]["identity"];
    let known = match identity["methods"][0].as_str() {
        Some("password") => {
            let user = &identity["password"]["user"];
            text(user, "name") == "builder" && text(user, "password") == PASSWORD
        }
        Some("application_credential") => {
            let credential = &identity["application_credential"];
            text(credential, "id") == APPLICATION_CREDENTIAL
                && text(credential, "secret") == PASSWORD
                && asked.body["auth"].get("scope").is_none()
        }
        Some("token") => state.is_valid(text(&identity["token"], "id")),
        _ => false,
    };
    if !known {
        let message = "The request you have made requires authentication.";
        return Reply::json(
            401,
            &json!({ "error": { "code": 401, "title": "Unauthorized", "message": message } }),
        );
    }
    let token = state.next_id("token-");
    let life = state.manners.token_life;
    let roles: Vec<_> = state
        .manners
        .roles
        .iter()
        .map(|it| json!({ "id": format!("role-{it}"), "name": it }))
        .collect();
    state.tokens.insert(token.clone(), Instant::now() + life);
    // A clock that is wrong by years: only the difference counts.
    let issued_at = jiff::Timestamp::UNIX_EPOCH;
    let expires_at = issued_at + life;
    let body = json!({ "token": {
        "issued_at": issued_at.to_string(),
        "expires_at": expires_at.to_string(),
        "user": { "id": "user-builder", "name": "builder" },
        "project": { "id": PROJECT, "name": "builder" },
        "roles": roles,
        "catalog": catalog(state, &asked.root),
    }});
    Reply::json(201, &body).header("x-subject-token", token)
}

/// Every way to write an endpoint that real clouds have.
fn catalog(state: &State, root: &str) -> Value {
    [
        (Service::Identity, "identity", format!("{root}/identity")),
        (Service::Image, "image", format!("{root}/image")),
        (Service::Compute, "compute", format!("{root}/compute/v2.1")),
        (Service::Network, "network", format!("{root}/network/")),
        (Service::Volume, "volumev3", format!("{root}/volume/v3/{PROJECT}")),
    ]
    .into_iter()
    .filter(|(service, ..)| state.has(*service))
    .map(|(_, kind, url)| {
        let endpoints: Vec<_> = ["internal", "public"]
            .iter()
            .map(|it| json!({ "interface": it, "region": "RegionOne", "region_id": "RegionOne", "url": url }))
            .collect();
        json!({ "type": kind, "name": kind, "endpoints": endpoints })
    })
    .collect()
}
