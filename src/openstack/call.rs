//! A request and its answer, as values.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Error, Service, body,
    catalog::{Endpoint, Version},
    error::Refusal,
};

/// A request, as a value.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Option<Value>,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// The oldest microversion that will do, and the newest we understand.
    pub(super) microversion: Option<(Version, Version, &'static str)>,
    /// Whether it may be sent twice.
    pub(super) repeatable: bool,
    /// What the answer must not say back.
    pub(super) withheld: Vec<String>,
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
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What a service answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) service: Service,
    pub(super) request: String,
    pub(super) headers: HeaderMap,
    /// The body where it is JSON.
    pub(super) json: Value,
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

/// The headers that ask for a microversion; none where the service has none.
pub(super) fn negotiate(
    call: &Call,
    endpoint: &Endpoint,
) -> Result<Vec<(&'static str, String)>, Error> {
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
pub(super) fn next_page(json: &Value, key: &str) -> Option<Vec<(String, String)>> {
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
pub(super) async fn read(
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
        return Err(Refusal {
            service,
            request,
            status: status.as_u16(),
            message: body::message(&bytes, withheld),
            request_id: request_id(&headers),
            retry_after: retry_after(&headers),
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

/// When to come back: seconds, or a date (RFC 9110, 10.2.3), which counts from the
/// service's own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wished = text(RETRY_AFTER)?;
    if let Ok(seconds) = wished.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text| jiff::fmt::rfc2822::parse(text).ok().map(|it| it.timestamp());
    let now = text(DATE).and_then(date).unwrap_or_else(jiff::Timestamp::now);
    Some(Duration::try_from(date(wished)?.duration_since(now)).unwrap_or_default())
}

pub(super) fn no_answer(service: Service, request: &str, err: &reqwest::Error) -> Error {
    // The innermost cause is the one that says something: `Connection refused`.
    let mut cause: &dyn std::error::Error = err;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // Which of all addresses that was is what a wrong endpoint is found by.
    let at = err.url().map(|it| format!(" ({})", it.origin().ascii_serialization()));
    Error::NoAnswer {
        service,
        request: request.to_owned(),
        reason: format!("{cause}{}", at.unwrap_or_default()),
        sent: !err.is_connect() && !err.is_builder(),
    }
}

pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    ["x-openstack-request-id", "x-compute-request-id"]
        .iter()
        .find_map(|name| Some(headers.get(*name)?.to_str().ok()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn services_say_when_to_come_back_in_two_ways() {
        let after = |wished: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, "Fri, 27 Nov 2026 00:00:00 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, wished.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Fri, 27 Nov 2026 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(after("Fri, 27 Nov 2020 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
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
