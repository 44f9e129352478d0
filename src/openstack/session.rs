//! One conversation with a cloud: tokens, versions, retries.
//!
//! A token is renewed before it expires, and once more when a service says 401;
//! whoever else waits for it takes the new one. What may be asked again is asked
//! again after a pause: always what changes nothing twice, otherwise only what
//! the service certainly did not do. Clones share tokens and connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

pub use super::catalog::Version;
use super::{
    CloudConfig, Error, Service, body,
    catalog::{self, Address, Endpoint},
    config::{Auth, Credential, Domain, Scope, Tls, Who},
    error::Refusal,
    wait::{Backoff, sleep},
};
use crate::CancellationToken;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To connect.
    pub connect: Duration,
    /// To answer a request.
    pub request: Duration,
    /// How often a request is sent at most.
    pub attempts: usize,
    /// How long sending it again may go on, all attempts together.
    pub total: Duration,
    /// The pauses between.
    pub retry: Backoff,
    /// The longest `Retry-After` that is obeyed; the next attempt comes then.
    pub retry_after: Duration,
    /// How long an upload may stand still.
    pub idle: Duration,
    /// To answer once an upload's last byte is sent: stores and hashes are slow.
    pub stored: Duration,
    /// The pauses between looks at something that changes.
    pub poll: Backoff,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            request: Duration::from_secs(60),
            attempts: 6,
            total: Duration::from_secs(300),
            retry: Backoff::new(Duration::from_millis(800), Duration::from_secs(20)),
            retry_after: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            stored: Duration::from_secs(1800),
            poll: Backoff::new(Duration::from_secs(1), Duration::from_secs(12)),
        }
    }
}

/// A conversation with one cloud.
#[derive(Clone, Debug)]
pub struct Session {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    cloud: CloudConfig,
    patience: Patience,
    token: Mutex<TokenState>,
    endpoints: Mutex<BTreeMap<Service, Arc<Endpoint>>>,
    n_requests: AtomicU64,
}

#[derive(Debug, Default)]
struct TokenState {
    token: Option<Arc<Token>>,
    /// Credentials that were refused are not tried again: accounts get locked.
    denied: Option<Refusal>,
}

/// A token and what it is good for.
#[derive(Debug)]
pub struct Token {
    header: HeaderValue,
    text: OnceLock<SecretString>,
    /// When it should be replaced.
    renew_at: Instant,
    /// When it is of no use any more.
    expires_at: Instant,
    catalog: Vec<catalog::Entry>,
    /// The project's ID, if it is for one.
    pub project: Option<String>,
    /// The user's ID.
    pub user: String,
    /// The names of the user's roles.
    pub roles: Vec<String>,
}

/// A request, as a value.
#[derive(Clone, Debug)]
pub(super) struct Call {
    service: Service,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    headers: Vec<(&'static str, &'static str)>,
    /// The oldest microversion that will do, and the newest we understand.
    microversion: Option<(Version, Version, &'static str)>,
    /// Whether it may be sent twice.
    repeatable: bool,
    /// What the answer must not say back.
    withheld: Vec<String>,
}

impl Call {
    fn new(service: Service, method: Method, path: impl Into<String>) -> Self {
        let repeatable = method != Method::POST && method != Method::PATCH;
        Self {
            service,
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            headers: Vec::new(),
            microversion: None,
            repeatable,
            withheld: Vec::new(),
        }
    }

    pub(super) fn get(service: Service, path: impl Into<String>) -> Self {
        Self::new(service, Method::GET, path)
    }

    pub(super) fn delete(service: Service, path: impl Into<String>) -> Self {
        Self::new(service, Method::DELETE, path)
    }

    pub(super) fn put(service: Service, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { body, ..Self::new(service, Method::PUT, path) }
    }

    pub(super) fn post(service: Service, path: impl Into<String>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(service, Method::POST, path) }
    }

    pub(super) fn post_nothing(service: Service, path: impl Into<String>) -> Self {
        Self::new(service, Method::POST, path)
    }

    pub(super) fn patch(service: Service, path: impl Into<String>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(service, Method::PATCH, path) }
    }

    pub(super) fn query(mut self, key: &str, value: impl Into<String>) -> Self {
        self.query.push((key.to_owned(), value.into()));
        self
    }

    pub(super) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Asks for the newest microversion up to `newest`; fails where the service
    /// does not have at least `oldest`, which `purpose` needs.
    pub(super) fn version(
        mut self,
        oldest: Version,
        newest: Version,
        purpose: &'static str,
    ) -> Self {
        self.microversion = Some((oldest, newest, purpose));
        self
    }

    /// Sending it twice does no harm.
    pub(super) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// The answer must not say this back.
    pub(super) fn withhold(mut self, text: &str) -> Self {
        self.withheld.push(text.to_owned());
        self
    }

    /// For messages: `GET /servers/detail`.
    fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What a service answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    service: Service,
    request: String,
    headers: HeaderMap,
    /// The body where it is JSON.
    json: Value,
}

impl Answer {
    /// The value below `key`, or the whole body where the key is empty.
    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        let value = if key.is_empty() { &self.json } else { &self.json[key] };
        T::deserialize(value).map_err(|err| Error::Unreadable {
            service: self.service,
            request: self.request.clone(),
            reason: if value.is_null() { format!("`{key}` is not in it") } else { err.to_string() },
            request_id: request_id(&self.headers),
        })
    }

    pub(super) fn json(&self) -> &Value {
        &self.json
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An answer larger than this is none.
const LARGEST_ANSWER: usize = 32 << 20;

/// A token is renewed when this part of its life is left, but not before the
/// last ten minutes of a long one.
const RENEW_AT_LAST: f64 = 0.1;

impl Session {
    /// A conversation with this cloud; nothing is sent yet.
    pub fn new(
        cloud: CloudConfig,
        patience: Patience,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let http = client(&cloud.tls, &patience)?;
        let shared = Shared {
            http,
            cloud,
            patience,
            token: Mutex::default(),
            endpoints: Mutex::default(),
            n_requests: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), cancel })
    }

    /// The same conversation, ended by another token: undoing goes on after
    /// the user has cancelled a build.
    pub fn under(&self, cancel: CancellationToken) -> Self {
        Self { shared: Arc::clone(&self.shared), cancel }
    }

    /// How the cloud is reached.
    pub fn cloud(&self) -> &CloudConfig {
        &self.shared.cloud
    }

    /// How long things may take.
    pub fn patience(&self) -> &Patience {
        &self.shared.patience
    }

    /// What ends it.
    pub fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// How many requests were sent so far.
    pub fn n_requests(&self) -> u64 {
        self.shared.n_requests.load(Ordering::Relaxed)
    }

    /// A token that is good for a while.
    pub async fn token(&self) -> Result<Arc<Token>, Error> {
        self.fresh_token(|token| Instant::now() < token.renew_at).await
    }

    /// A token that will outlive something long: one with half its life left.
    pub(super) async fn long_token(&self) -> Result<Arc<Token>, Error> {
        let life = |token: &Token| token.renew_at.saturating_duration_since(Instant::now());
        let first = self.token().await?;
        let enough = life(&first);
        if enough > Duration::from_secs(3600) {
            return Ok(first);
        }
        // A service-given token cannot be made younger; it has to do.
        if matches!(self.shared.cloud.auth, Auth::Token(_)) {
            return Ok(first);
        }
        self.renew(&first).await
    }

    /// The project that everything belongs to.
    pub async fn project(&self) -> Result<Option<String>, Error> {
        Ok(self.token().await?.project.clone())
    }

    /// Whether the cloud has the service.
    pub async fn has(&self, service: Service) -> Result<bool, Error> {
        match self.endpoint(service).await {
            Ok(_) => Ok(true),
            Err(Error::NoService { .. }) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// The newest microversion that a service has.
    pub async fn newest(&self, service: Service) -> Result<Option<Version>, Error> {
        Ok(self.endpoint(service).await?.microversions.map(|(_, newest)| newest))
    }

    /// The URL that requests to a service go to.
    pub async fn url(&self, service: Service) -> Result<String, Error> {
        Ok(self.endpoint(service).await?.base.clone())
    }

    /// Sends a request, again where that is right, until there is an answer.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let patience = self.patience();
        let begin = Instant::now();
        let mut renewed = false;
        for (n, pause) in (1..).zip(patience.retry.pauses()) {
            // These two have attempts of their own.
            let token = self.token().await?;
            let endpoint = self.endpoint(call.service).await?;
            let err = match self.once(call, &token, &endpoint).await {
                Ok(answer) => return Ok(answer),
                Err(err) => err,
            };
            if err.status() == Some(401) && !renewed {
                // Nothing was done, so this may always be repeated.
                renewed = true;
                self.renew(&token).await?;
                continue;
            }
            let again = err.is_transient() && (call.repeatable || !err.may_have_happened());
            if !again || n >= patience.attempts || begin.elapsed() > patience.total {
                return Err(err);
            }
            let asked = match &err {
                Error::Refused(refusal) => refusal.retry_after,
                _ => None,
            };
            sleep(
                asked.unwrap_or(pause).clamp(pause, patience.retry_after.max(pause)),
                &self.cancel,
            )
            .await?;
        }
        Err(Error::Cancelled)
    }

    /// All items of a list, page by page.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        call: Call,
        key: &str,
    ) -> Result<Vec<T>, Error> {
        /// Nobody has a list this long; a service that repeats itself does.
        const MOST_PAGES: usize = 1000;
        let mut items: Vec<T> = Vec::new();
        let mut page = call.clone();
        for _ in 0..MOST_PAGES {
            let answer = self.send(&page).await?;
            let more: Vec<T> = answer.read(key)?;
            let is_empty = more.is_empty();
            items.extend(more);
            let Some(next) =
                next_page(answer.json(), key).filter(|it| !is_empty && *it != page.query)
            else {
                return Ok(items);
            };
            page.query = next;
        }
        Err(Error::Unreadable {
            service: call.service,
            request: call.title(),
            reason: "the list does not end".into(),
            request_id: None,
        })
    }

    /// Creates something once: what `find` finds is taken, and after an answer
    /// that leaves it open whether it was created, it is looked for again.
    pub(super) async fn create<T>(
        &self,
        find: impl AsyncFn() -> Result<Option<T>, Error>,
        create: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(found) = find().await? {
            return Ok(found);
        }
        let patience = self.patience();
        let begin = Instant::now();
        for (n, pause) in (1..).zip(patience.retry.pauses()) {
            let err = match create().await {
                Ok(created) => return Ok(created),
                Err(err) => err,
            };
            let open = err.may_have_happened();
            if !open && !err.is_conflict() {
                return Err(err);
            }
            sleep(pause, &self.cancel).await?;
            if let Some(found) = find().await? {
                return Ok(found);
            }
            // A 500 is mostly the request's fault and comes again.
            let last = n >= patience.attempts || begin.elapsed() > patience.total;
            if !open || err.status() == Some(500) || last {
                return Err(err);
            }
        }
        Err(Error::Cancelled)
    }

    /// A client and a request of our own making, for uploads.
    pub(super) async fn raw(
        &self,
        service: Service,
        method: Method,
        path: &str,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let token = self.long_token().await?;
        let endpoint = self.endpoint(service).await?;
        self.shared.n_requests.fetch_add(1, Ordering::Relaxed);
        Ok(self
            .shared
            .http
            .request(method, format!("{}{path}", endpoint.base))
            .header("X-Auth-Token", token.header.clone()))
    }

    /// Reads the answer to a request of our own making.
    pub(super) async fn raw_answer(
        &self,
        service: Service,
        request: String,
        response: reqwest::Response,
    ) -> Result<Answer, Error> {
        answer(service, request, response, &[]).await
    }

    /// Sends a request once.
    async fn once(&self, call: &Call, token: &Token, endpoint: &Endpoint) -> Result<Answer, Error> {
        let url = format!("{}{}", endpoint.base, call.path);
        let mut request = self
            .shared
            .http
            .request(call.method.clone(), url)
            .header("X-Auth-Token", token.header.clone());
        for (name, value) in negotiate(call, endpoint)? {
            request = request.header(name, value);
        }
        self.exchange(call, request).await
    }

    /// Sends a request and reads the answer, within the time there is.
    async fn exchange(
        &self,
        call: &Call,
        mut request: reqwest::RequestBuilder,
    ) -> Result<Answer, Error> {
        for (name, value) in &call.headers {
            request = request.header(*name, *value);
        }
        request = request.query(&call.query).header("Accept", "application/json");
        if let Some(body) = &call.body {
            let text = body.to_string();
            if !call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            request = request.body(text);
        }
        self.shared.n_requests.fetch_add(1, Ordering::Relaxed);
        let limit = self.patience().request;
        let exchange = async {
            let response =
                request.send().await.map_err(|err| no_answer(call.service, &call.title(), &err))?;
            answer(call.service, call.title(), response, &call.withheld).await
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::Cancelled),
            result = timeout(limit, exchange) => {
                result.unwrap_or_else(|_| Err(Error::Slow { service: call.service, request: call.title(), limit }))
            }
        }
    }

    /// Sends a request to a full URL, with or without a token, and again where
    /// that is right.
    async fn plain(&self, call: &Call, url: &str, token: Option<&Token>) -> Result<Answer, Error> {
        let patience = self.patience();
        let begin = Instant::now();
        for (n, pause) in (1..).zip(patience.retry.pauses()) {
            let mut request = self.shared.http.request(call.method.clone(), url);
            if let Some(token) = token {
                request = request.header("X-Auth-Token", token.header.clone());
            }
            match self.exchange(call, request).await {
                Err(err)
                    if err.is_transient()
                        && n < patience.attempts
                        && begin.elapsed() < patience.total =>
                {
                    sleep(pause, &self.cancel).await?;
                }
                other => return other,
            }
        }
        Err(Error::Cancelled)
    }

    async fn fresh_token(&self, good: impl Fn(&Token) -> bool) -> Result<Arc<Token>, Error> {
        let mut state = self.lock(&self.shared.token).await?;
        if let Some(token) = state.token.as_ref().filter(|it| good(it)) {
            return Ok(Arc::clone(token));
        }
        self.authenticate(&mut state).await
    }

    /// A token other than this one.
    async fn renew(&self, stale: &Arc<Token>) -> Result<Arc<Token>, Error> {
        let mut state = self.lock(&self.shared.token).await?;
        if let Some(token) = state.token.as_ref().filter(|it| !Arc::ptr_eq(it, stale)) {
            return Ok(Arc::clone(token));
        }
        self.authenticate(&mut state).await
    }

    async fn lock<'a, T>(
        &self,
        mutex: &'a Mutex<T>,
    ) -> Result<tokio::sync::MutexGuard<'a, T>, Error> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::Cancelled),
            guard = mutex.lock() => Ok(guard),
        }
    }

    async fn authenticate(&self, state: &mut TokenState) -> Result<Arc<Token>, Error> {
        if let Some(refusal) = &state.denied {
            return Err(refusal.clone().into());
        }
        let cloud = &self.shared.cloud;
        if matches!(cloud.auth, Auth::Token(_)) && state.token.is_some() {
            return Err(Error::TokenExpired);
        }
        let address = Address::parse(&cloud.auth_url, None);
        // Keystone's root is always asked by its version: it is the one thing known.
        let endpoint =
            address.endpoint(None, Service::Identity, None).map_err(|offered| Error::Version {
                service: Service::Identity,
                wanted: "3".into(),
                purpose: "authentication",
                offered,
            })?;
        let mut call =
            Call::post(Service::Identity, "/auth/tokens", identity(&cloud.auth, &cloud.scope))
                .repeatable();
        let (Auth::Password { password: secret, .. }
        | Auth::ApplicationCredential { secret, .. }
        | Auth::Token(secret)) = &cloud.auth;
        call = call.withhold(secret.expose_secret());
        let begin = Instant::now();
        let answer = match self.plain(&call, &format!("{}/auth/tokens", endpoint.base), None).await
        {
            Ok(answer) => answer,
            Err(Error::Refused(refusal)) => {
                if matches!(refusal.status, 401 | 403) {
                    state.denied = Some((*refusal).clone());
                }
                return Err(Error::Refused(refusal));
            }
            Err(err) => return Err(err),
        };
        let token = Arc::new(token(&answer, begin)?);
        state.token = Some(Arc::clone(&token));
        Ok(token)
    }

    /// Where a service is, asked once.
    async fn endpoint(&self, service: Service) -> Result<Arc<Endpoint>, Error> {
        let token = self.token().await?;
        let mut endpoints = self.lock(&self.shared.endpoints).await?;
        if let Some(endpoint) = endpoints.get(&service) {
            return Ok(Arc::clone(endpoint));
        }
        let cloud = &self.shared.cloud;
        let given = cloud.endpoints.get(&service).map(String::as_str);
        let url = given
            .or_else(|| (service == Service::Identity).then_some(cloud.auth_url.as_str()))
            .or_else(|| {
                catalog::find(&token.catalog, service, cloud.region.as_deref(), cloud.interface)
            })
            .ok_or_else(|| Error::NoService {
                service,
                region: cloud.region.clone(),
                known: catalog::describe(&token.catalog),
            })?;
        let project = token.project.as_deref();
        let address = Address::parse(url, project);
        let document = address.document();
        let call = Call::get(service, "/");
        let found = match self.plain(&call, &document, None).await {
            // Some want a token even for this.
            Err(err) if matches!(err.status(), Some(401 | 403)) => {
                self.plain(&call, &document, Some(&token)).await
            }
            other => other,
        };
        let document = match found {
            Ok(answer) => Some(answer.json),
            // Versions are not told here; the endpoint may be good nevertheless.
            Err(Error::Refused(refusal)) if refusal.status < 500 && refusal.status != 429 => None,
            Err(Error::Unreadable { .. }) => None,
            Err(err) => return Err(err),
        };
        let endpoint =
            address.endpoint(document.as_ref(), service, project).map_err(|offered| {
                Error::Version {
                    service,
                    wanted: service.major().to_string(),
                    purpose: "imgbuild",
                    offered,
                }
            })?;
        let endpoint = Arc::new(endpoint);
        endpoints.insert(service, Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

impl Token {
    /// When it is of no use any more.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// The token itself, for programs that are handed it.
    pub fn text(&self) -> &SecretString {
        self.text.get_or_init(|| self.header.to_str().unwrap_or_default().into())
    }
}

/// The headers that ask for a microversion; none where the service has none.
fn negotiate(call: &Call, endpoint: &Endpoint) -> Result<Vec<(&'static str, String)>, Error> {
    let Some((oldest, newest, purpose)) = call.microversion else { return Ok(Vec::new()) };
    let unfit = |offered: String| Error::Version {
        service: call.service,
        wanted: oldest.to_string(),
        purpose,
        offered,
    };
    let Some((min, max)) = endpoint.microversions else {
        // A service that says nothing of microversions has the first one.
        return if oldest.1 <= 1 { Ok(Vec::new()) } else { Err(unfit("no microversions".into())) };
    };
    let chosen = newest.min(max);
    if chosen < oldest || chosen < min {
        return Err(unfit(format!("{min} to {max}")));
    }
    Ok(match call.service {
        Service::Compute => vec![
            ("OpenStack-API-Version", format!("compute {chosen}")),
            ("X-OpenStack-Nova-API-Version", chosen.to_string()),
        ],
        _ => vec![("OpenStack-API-Version", format!("volume {chosen}"))],
    })
}

/// The query of the next page: `next` (glance) or `*_links` (the others). Only
/// the query is taken: host and path may be those behind a proxy.
fn next_page(json: &Value, key: &str) -> Option<Vec<(String, String)>> {
    let links = json[format!("{key}_links")].as_array();
    let next = links
        .into_iter()
        .flatten()
        .find(|it| it["rel"] == "next")
        .and_then(|it| it["href"].as_str())
        .or_else(|| json["next"].as_str())?;
    let (_, query) = next.split_once('?')?;
    let url = reqwest::Url::parse(&format!("http://x/?{query}")).ok()?;
    Some(url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
}

/// Reads an answer; one that is not a success becomes an error.
async fn answer(
    service: Service,
    request: String,
    mut response: reqwest::Response,
    withheld: &[String],
) -> Result<Answer, Error> {
    let status = response.status();
    let headers = response.headers().clone();
    let mut bytes = BytesMut::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|err| no_answer(service, &request, &err))?
    {
        if bytes.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Error::Unreadable {
                service,
                request,
                reason: format!("it is larger than {LARGEST_ANSWER} bytes"),
                request_id: request_id(&headers),
            });
        }
        bytes.extend_from_slice(&chunk);
    }
    let bytes: Bytes = bytes.freeze();
    // 300 is how a service lists its versions.
    if !status.is_success() && status != StatusCode::MULTIPLE_CHOICES {
        let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.trim().parse().ok());
        return Err(Refusal {
            service,
            request,
            status: status.as_u16(),
            message: body::message(&bytes, withheld),
            request_id: request_id(&headers),
            retry_after: seconds.map(Duration::from_secs),
        }
        .into());
    }
    let is_json = headers
        .get(CONTENT_TYPE)
        .and_then(|it| it.to_str().ok())
        .is_some_and(|it| it.contains("json"));
    let json = if is_json && !bytes.is_empty() {
        serde_json::from_slice(&bytes).map_err(|err| Error::Unreadable {
            service,
            request: request.clone(),
            reason: err.to_string(),
            request_id: request_id(&headers),
        })?
    } else {
        Value::Null
    };
    Ok(Answer { service, request, headers, json })
}

pub(super) fn no_answer(service: Service, request: &str, err: &reqwest::Error) -> Error {
    // The innermost cause is the one that says something: `Connection refused`.
    let mut cause: &dyn std::error::Error = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Error::NoAnswer {
        service,
        request: request.to_owned(),
        reason: cause.to_string(),
        sent: !err.is_connect() && !err.is_builder(),
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    ["x-openstack-request-id", "x-compute-request-id"]
        .iter()
        .find_map(|name| Some(headers.get(*name)?.to_str().ok()?.to_owned()))
}

/// The body of a request for a token (<https://docs.openstack.org/api-ref/identity/v3/>).
fn identity(auth: &Auth, scope: &Scope) -> Value {
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
        Scope::System => auth["scope"] = json!({ "system": { "all": true } }),
    }
    json!({ "auth": auth })
}

/// A token out of keystone's answer. Its life is counted by keystone's own
/// clock, from the moment we asked: ours may be wrong.
fn token(answer: &Answer, begin: Instant) -> Result<Token, Error> {
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
    let margin = life.mul_f64(RENEW_AT_LAST).min(Duration::from_secs(600));
    Ok(Token {
        header,
        text: OnceLock::new(),
        renew_at: begin + (life - margin),
        expires_at: begin + life,
        catalog: body.catalog,
        project: body.project.and_then(|it| it.id),
        user: body.user.and_then(|it| it.id).unwrap_or_default(),
        roles: body.roles.into_iter().filter_map(|it| it.name).collect(),
    })
}

/// An HTTP client. It has no total timeout: that would end uploads.
fn client(tls: &Tls, patience: &Patience) -> Result<reqwest::Client, Error> {
    let bad = |what: &str, reason: String| Error::Tls { what: what.to_owned(), reason };
    let mut builder = reqwest::Client::builder()
        .connect_timeout(patience.connect)
        .user_agent(concat!("imgbuild/", env!("CARGO_PKG_VERSION")))
        // Many OpenStack servers close idle connections after a minute or so.
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        // A token goes nowhere but where the user or the catalogue said.
        .redirect(reqwest::redirect::Policy::custom(|attempt| {
            let first = attempt.previous().first();
            let same = first.is_some_and(|it| {
                it.host() == attempt.url().host() && it.scheme() <= attempt.url().scheme()
            });
            if same && attempt.previous().len() < 5 { attempt.follow() } else { attempt.stop() }
        }));
    if tls.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let read = |path: &camino::Utf8Path| {
        fs_err::read(path).map_err(|err| bad(path.as_str(), err.to_string()))
    };
    if let Some(path) = &tls.cacert {
        let pem = read(path)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|err| bad(path.as_str(), err.to_string()))?;
        if certificates.is_empty() {
            return Err(bad(path.as_str(), "there is no certificate in it".into()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(path) = &tls.cert {
        let mut pem = read(path)?;
        if let Some(key) = &tls.key {
            pem.push(b'\n');
            pem.extend(read(key)?);
        }
        let identity =
            reqwest::Identity::from_pem(&pem).map_err(|err| bad(path.as_str(), err.to_string()))?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|err| bad("the client", err.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_every_style() {
        for (json, key, expected) in [
            (
                json!({"images": [], "next": "/v2/images?marker=7&name=a%20b"}),
                "images",
                Some(vec![("marker", "7"), ("name", "a b")]),
            ),
            (
                json!({"servers_links": [{"rel": "next", "href": "http://inside:8774/v2.1/servers?marker=x"}]}),
                "servers",
                Some(vec![("marker", "x")]),
            ),
            (json!({"ports_links": [{"rel": "previous", "href": "http://h/?a=1"}]}), "ports", None),
            (json!({"volumes": []}), "volumes", None),
        ] {
            let expected = expected.map(|it| {
                it.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<Vec<_>>()
            });
            assert_eq!(next_page(&json, key), expected, "{json}");
        }
    }

    #[test]
    fn microversions_are_negotiated() {
        let call = |oldest, newest| {
            Call::get(Service::Compute, "/").version(Version(2, oldest), Version(2, newest), "this")
        };
        let endpoint = |range| Endpoint { base: String::new(), microversions: range };
        let nova = endpoint(Some((Version(2, 1), Version(2, 60))));
        let header =
            |call, endpoint| negotiate(&call, endpoint).unwrap().first().map(|it| it.1.clone());
        assert_eq!(header(call(1, 45), &nova).as_deref(), Some("compute 2.45"));
        assert_eq!(header(call(1, 67), &nova).as_deref(), Some("compute 2.60"));
        assert_eq!(header(call(1, 67), &endpoint(None)), None);
        let err = negotiate(&call(67, 67), &nova).unwrap_err().to_string();
        assert_eq!(
            err,
            "nova does not speak version 2.67, which this needs; it offers 2.1 to 2.60"
        );
    }
}
