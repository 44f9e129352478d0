//! Requests to web servers, with patience and clear errors.

use std::{error::Error as _, time::Duration};

use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderValue},
};

use super::{SourceError, cache::Validators, location::shown};

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes, from the request on. There is no limit on the whole.
    pub idle: Duration,
    /// How often in a row a request is made that brings nothing.
    pub tries: u32,
    /// The pause after the first try; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            tries: 5,
            pause: Duration::from_millis(500),
        }
    }
}

/// The longest pause that a server may ask for with `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A client for web servers.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client,
    pub(super) patience: Patience,
}

/// What is asked of a server.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) headers: HeaderMap,
}

/// A request that failed, but may succeed when it is made again.
pub(super) struct Failure {
    /// The error, once the last try is made.
    pub(super) error: SourceError,
    /// Whether it makes sense to try again.
    pub(super) is_transient: bool,
    /// How long the server wants us to wait.
    pub(super) retry_after: Option<Duration>,
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self { error, is_transient: false, retry_after: None }
    }
}

impl Failure {
    fn transient(error: SourceError) -> Self {
        Self { error, is_transient: true, retry_after: None }
    }
}

impl Http {
    /// A client; the proxy comes from the environment.
    pub(super) fn new(patience: Patience) -> Result<Self, SourceError> {
        let builder = || {
            Client::builder()
                .user_agent(concat!("imgbuild/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(patience.connect)
                .tcp_keepalive(Duration::from_secs(30))
        };
        let client = builder().build().or_else(|_| {
            // A machine without any certificate can still talk plain HTTP.
            builder().tls_certs_only(std::iter::empty()).build()
        });
        let client = client.map_err(|error| SourceError::Tls {
            url: "https".to_owned(),
            reason: root_cause(&error),
        })?;
        Ok(Self { client, patience })
    }

    /// Asks once. An answer that is not a success, nor 304, is a failure.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Response, Failure> {
        let Ask { method, url, headers } = ask;
        let sent = self.client.request(method, url.clone()).headers(headers).send();
        let response = match tokio::time::timeout(self.patience.idle, sent).await {
            Err(_) => return Err(Failure::transient(self.stalled(url))),
            Ok(Err(error)) => return Err(failure_of(url, &error)),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let url = shown(url);
        Err(match status.as_u16() {
            404 | 410 => SourceError::NotFound { url, status: Some(status.as_u16()) }.into(),
            401 | 403 | 407 | 451 => {
                SourceError::AccessDenied { url, status: status.as_u16() }.into()
            }
            code => Failure {
                error: SourceError::ServerError { url, status: code, tries: 1 },
                is_transient: status.is_server_error() || matches!(code, 408 | 416 | 425 | 429),
                retry_after: retry_after(response.headers()),
            },
        })
    }

    /// The next bytes of a body; `None` at its end.
    pub(super) async fn next(
        &self,
        url: &Url,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        match tokio::time::timeout(self.patience.idle, response.chunk()).await {
            Err(_) => Err(Failure::transient(self.stalled(url))),
            // Connections break in many ways; a body that ends early is one thing to us.
            Ok(Err(_)) => Err(Failure::transient(SourceError::Truncated {
                url: shown(url),
                got: 0,
                expected: None,
                tries: 1,
            })),
            Ok(Ok(chunk)) => Ok(chunk),
        }
    }

    /// Asks for the header alone, patiently.
    pub(super) async fn head(&self, url: &Url) -> Result<Response, SourceError> {
        let mut tries = Tries::new(self.patience);
        loop {
            let ask = Ask { method: Method::HEAD, url, headers: HeaderMap::new() };
            match self.ask(ask).await {
                Ok(response) => return Ok(response),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    fn stalled(&self, url: &Url) -> SourceError {
        SourceError::Stalled { url: shown(url), secs: self.patience.idle.as_secs(), tries: 1 }
    }
}

/// Counts tries and pauses between them.
pub(super) struct Tries {
    patience: Patience,
    in_a_row: u32,
    total: u32,
}

/// However much each try brings, a server that fails this often is broken.
const MOST_TRIES: u32 = 100;

impl Tries {
    pub(super) const fn new(patience: Patience) -> Self {
        Self { patience, in_a_row: 0, total: 0 }
    }

    /// The last try brought something.
    pub(super) const fn progressed(&mut self) {
        self.in_a_row = 0;
    }

    /// Pauses before the next try, or says that there is none.
    pub(super) async fn again(&mut self, failure: Failure) -> Result<(), SourceError> {
        self.in_a_row += 1;
        self.total += 1;
        let is_last = self.in_a_row >= self.patience.tries || self.total >= MOST_TRIES;
        if !failure.is_transient || is_last {
            return Err(with_tries(failure.error, self.total));
        }
        let pause = self.patience.pause * 2u32.saturating_pow((self.in_a_row - 1).min(6));
        let pause = failure.retry_after.unwrap_or(pause).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The error of the last of many tries.
fn with_tries(mut error: SourceError, n: u32) -> SourceError {
    if let SourceError::ServerError { tries, .. }
    | SourceError::Stalled { tries, .. }
    | SourceError::Truncated { tries, .. } = &mut error
    {
        *tries = n;
    }
    error
}

/// What a server says to recognise this version of the file by.
pub(super) fn validators(headers: &HeaderMap) -> Validators {
    let text =
        |name| headers.get(name).and_then(|it: &HeaderValue| it.to_str().ok()).map(str::to_owned);
    Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }
}

/// The length of the whole file, where the answer says it.
pub(super) fn whole_length(response: &Response) -> Option<u64> {
    if response.status() == StatusCode::PARTIAL_CONTENT {
        return content_range(response.headers()).and_then(|(_, whole)| whole);
    }
    // Not `content_length()`, which is that of the (absent) body of a HEAD.
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Where a partial answer starts, and how long the whole file is:
/// `bytes 0-99/1000`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    Some((start, whole.trim().parse().ok()))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.duration_since(jiff::Timestamp::now());
    Some(Duration::from_secs(wait.as_secs().try_into().unwrap_or(0)))
}

/// Which of our errors an error of the client is.
fn failure_of(url: &Url, error: &reqwest::Error) -> Failure {
    let host = || url.host_str().unwrap_or_default().to_owned();
    let causes: Vec<String> = causes(error).map(|it| format!("{it} {it:?}")).collect();
    let says = |words: &[&str]| causes.iter().any(|it| words.iter().any(|word| it.contains(word)));
    let url = shown(url);
    if says(&["dns error", "failed to lookup address", "Name or service not known"]) {
        // A resolver may only be short of breath ("try again").
        let is_transient = says(&["Temporary failure"]);
        let error = SourceError::NameDoesNotResolve { host: host(), url };
        return Failure { error, is_transient, retry_after: None };
    }
    if says(&["ConnectionRefused", "Connection refused"]) {
        return Failure::transient(SourceError::ConnectionRefused { url });
    }
    if says(&[
        "InvalidCertificate",
        "certificate",
        "InvalidMessage",
        "AlertReceived",
        "PeerIncompatible",
        "tls handshake",
    ]) {
        return SourceError::Tls { url, reason: root_cause(error) }.into();
    }
    let reason = root_cause(error);
    let is_transient =
        error.is_timeout() || error.is_connect() || error.is_request() || error.is_body();
    Failure { error: SourceError::Network { url, reason }, is_transient, retry_after: None }
}

/// What lies at the bottom of an error.
fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What caused an error, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
