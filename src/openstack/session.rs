//! One conversation with a cloud: tokens, versions, retries.
//!
//! A token is renewed before it expires, and once more when a service says 401;
//! whoever else waits for it takes the new one. What may be asked again is asked
//! again after a pause: always what changes nothing twice, otherwise only what
//! the service certainly did not do. Clones share tokens and connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, header::CONTENT_TYPE};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    CloudConfig, Error, Service,
    call::{Answer, Call, negotiate, next_page, no_answer, read},
    catalog::{self, Address, Endpoint},
    config::Auth,
    error::Refusal,
    http,
    token::{identity, token},
    wait::{Backoff, sleep},
};
pub use super::{catalog::Version, token::Token};
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
    /// How long a service may be away while something of it is waited for.
    pub away: Duration,
}

impl Patience {
    /// How long to wait until something is asked again that failed so: as long as the
    /// service wishes, within bounds, and never shorter than `pause`.
    pub(super) fn before_again(&self, err: &Error, pause: Duration) -> Duration {
        let wished = match err {
            Error::Refused(refusal) => refusal.retry_after,
            _ => None,
        };
        wished.unwrap_or(pause).clamp(pause, self.retry_after.max(pause))
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            request: Duration::from_mins(1),
            attempts: 6,
            total: Duration::from_mins(5),
            retry: Backoff::new(Duration::from_millis(800), Duration::from_secs(20)),
            retry_after: Duration::from_mins(2),
            idle: Duration::from_mins(2),
            stored: Duration::from_mins(30),
            poll: Backoff::new(Duration::from_secs(1), Duration::from_secs(12)),
            away: Duration::from_mins(15),
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
    /// Credentials that were never good are not tried again: accounts get locked.
    denied: Option<Refusal>,
}

impl Session {
    /// A conversation with this cloud; nothing is sent yet.
    pub fn new(
        cloud: CloudConfig,
        patience: Patience,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let http = http::client(&cloud.tls, &patience)?;
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
    #[must_use]
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
        let first = self.token().await?;
        if first.is_young() {
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
            sleep(patience.before_again(&err, pause), &self.cancel).await?;
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
            sleep(patience.before_again(&err, pause), &self.cancel).await?;
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
        read(service, request, response, &[]).await
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
            read(call.service, call.title(), response, &call.withheld).await
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
                    sleep(patience.before_again(&err, pause), &self.cancel).await?;
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
    async fn renew(&self, old: &Arc<Token>) -> Result<Arc<Token>, Error> {
        let mut state = self.lock(&self.shared.token).await?;
        if let Some(token) = state.token.as_ref().filter(|it| !Arc::ptr_eq(it, old)) {
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
                // Where they were good before, keystone may be wrong for a moment, and
                // what was built must still be given back.
                if matches!(refusal.status, 401 | 403) && state.token.is_none() {
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
            Ok(answer) => Some(answer.json().clone()),
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
