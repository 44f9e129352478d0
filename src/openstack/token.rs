//! Keystone's tokens.

use std::{sync::OnceLock, time::Duration};

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::{Answer, request_id},
    catalog,
    config::{Auth, Credential, Domain, Scope, Who},
};

/// A token and what it is good for.
#[derive(Debug)]
pub struct Token {
    pub(super) header: HeaderValue,
    text: OnceLock<SecretString>,
    /// When it was asked for.
    born_at: Instant,
    /// When it should be replaced.
    pub(super) renew_at: Instant,
    /// When it is of no use any more.
    expires_at: Instant,
    pub(super) catalog: Vec<catalog::Entry>,
    /// The project's ID, if it is for one.
    pub project: Option<String>,
    /// The user's ID.
    pub user: String,
    /// The names of the user's roles.
    pub roles: Vec<String>,
}

/// A token is renewed when this part of its life is left, but not before the
/// last ten minutes of a long one.
const RENEW_AT_LAST: f64 = 0.1;

impl Token {
    /// Whether it will outlive something long: it has half its life before it,
    /// or an hour.
    pub(super) fn is_young(&self) -> bool {
        let left = self.renew_at.saturating_duration_since(Instant::now());
        left > Duration::from_hours(1) || left > self.expires_at.duration_since(self.born_at) / 2
    }

    /// When it is of no use any more.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// The token itself, for programs that are handed it.
    pub fn text(&self) -> &SecretString {
        self.text.get_or_init(|| self.header.to_str().unwrap_or_default().into())
    }
}

/// The body of a request for a token (<https://docs.openstack.org/api-ref/identity/v3/>).
pub(super) fn identity(auth: &Auth, scope: &Scope) -> Value {
    let domain = |domain: &Domain| match domain {
        Domain::Id(id) => json!({ "id": id }),
        Domain::Name(name) => json!({ "name": name }),
    };
    let who = |who: &Who| match who {
        Who::Id(id) => json!({ "id": id }),
        Who::Name(name, within) => json!({ "name": name, "domain": domain(within) }),
    };
    let identity = match auth {
        Auth::Password { user, password } => {
            let mut user = who(user);
            user["password"] = password.expose_secret().into();
            json!({ "methods": ["password"], "password": { "user": user } })
        }
        Auth::ApplicationCredential { credential, secret } => {
            let secret = secret.expose_secret();
            let credential = match credential {
                Credential::Id(id) => json!({ "id": id, "secret": secret }),
                Credential::Name(name, user) => {
                    json!({ "name": name, "user": who(user), "secret": secret })
                }
            };
            json!({ "methods": ["application_credential"], "application_credential": credential })
        }
        Auth::Token(token) => {
            json!({ "methods": ["token"], "token": { "id": token.expose_secret() } })
        }
    };
    let mut auth = json!({ "identity": identity });
    match scope {
        Scope::Default => {}
        Scope::Project(project) => auth["scope"] = json!({ "project": who(project) }),
        Scope::Domain(within) => auth["scope"] = json!({ "domain": domain(within) }),
        Scope::Trust(id) => auth["scope"] = json!({ "OS-TRUST:trust": { "id": id } }),
        Scope::System => auth["scope"] = json!({ "system": { "all": true } }),
    }
    json!({ "auth": auth })
}

/// A token out of keystone's answer. Its life is counted by keystone's own
/// clock, from the moment we asked: ours may be wrong.
pub(super) fn token(answer: &Answer, begin: Instant) -> Result<Token, Error> {
    #[derive(Deserialize)]
    struct Body {
        issued_at: Option<jiff::Timestamp>,
        expires_at: jiff::Timestamp,
        #[serde(default)]
        catalog: Vec<catalog::Entry>,
        project: Option<Named>,
        user: Option<Named>,
        #[serde(default)]
        roles: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        id: Option<String>,
        name: Option<String>,
    }
    let body: Body = answer.read("token")?;
    let unreadable = |reason: &str| Error::Unreadable {
        service: Service::Identity,
        request: answer.request.clone(),
        reason: reason.to_owned(),
        request_id: request_id(&answer.headers),
    };
    let mut header = answer
        .headers
        .get("x-subject-token")
        .cloned()
        .ok_or_else(|| unreadable("there is no token in it"))?;
    header.set_sensitive(true);
    let issued_at = body.issued_at.unwrap_or_else(jiff::Timestamp::now);
    let life = Duration::try_from(body.expires_at.duration_since(issued_at)).unwrap_or_default();
    let margin = life.mul_f64(RENEW_AT_LAST).min(Duration::from_mins(10));
    Ok(Token {
        header,
        text: OnceLock::new(),
        born_at: begin,
        renew_at: begin + life.saturating_sub(margin),
        expires_at: begin + life,
        catalog: body.catalog,
        project: body.project.and_then(|it| it.id),
        user: body.user.and_then(|it| it.id).unwrap_or_default(),
        roles: body.roles.into_iter().filter_map(|it| it.name).collect(),
    })
}
