//! HTTP: requests in, replies out, faults in between.

use std::{convert::Infallible, sync::Arc};

use base16ct::lower;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tokio::{net::TcpListener, task::JoinSet};

use super::{Fault, Shared, compute, identity, image, network, volume};

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// `["servers", "ID", "action"]`: what follows the endpoint.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    /// Length and digest of an upload.
    pub(super) upload: Option<(u64, String)>,
    pub(super) token: Option<String>,
    /// The microversion's second number.
    pub(super) minor: u32,
    /// `http://127.0.0.1:PORT`
    pub(super) root: String,
}

impl Asked {
    /// Method and path for matching: `("GET", ["servers", id])`.
    pub(super) fn parts(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    content_type: &'static str,
    body: String,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), content_type: "text/plain", body: String::new() }
    }

    /// As Glance complains.
    pub(super) fn html(status: u16, message: &str) -> Self {
        let body = format!(
            "<html>\n <head>\n  <title>{status}</title>\n </head>\n <body>\n  {message}<br /><br />\n </body>\n</html>"
        );
        Self { status, headers: Vec::new(), content_type: "text/html; charset=UTF-8", body }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Body = BoxBody<Bytes, std::io::Error>;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    // A connection that a fault has ended is no error of ours.
                    _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let title = format!("{} {}", request.method(), request.uri().path());
    let fault = shared.control().next(&title);
    let gone = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    if matches!(fault, Some(Fault::Refused)) {
        return Err(gone());
    }
    // An answer before the end of the request would be lost with the connection,
    // which the system resets over what nobody has read.
    let asked = read(request, &shared).await.map_err(std::io::Error::other)?;
    match fault {
        Some(Fault::Broken) => {
            return Ok(whole(&Reply::json(
                500,
                &json!({ "computeFault": { "code": 500, "message": "Unexpected API Error." } }),
            )));
        }
        Some(Fault::Unavailable) => {
            let body = json!({ "message": "The server is currently unavailable.<br /><br />\nThe Keystone service is temporarily unavailable.\n\n", "code": "503 Service Unavailable", "title": "Service Unavailable" });
            return Ok(whole(&Reply::json(503, &body).header("retry-after", "0")));
        }
        Some(Fault::Expired) => {
            shared.state().tokens.clear();
            return Ok(whole(&unauthorized()));
        }
        Some(Fault::Conflict) => {
            return Ok(whole(&Reply::json(
                409,
                &json!({ "conflictingRequest": { "code": 409, "message": "Conflict." } }),
            )));
        }
        _ => {}
    }
    let reply = route(&shared, asked);
    match fault {
        Some(Fault::NoAnswer) => std::future::pending().await,
        Some(Fault::ReplyLost) => Err(gone()),
        Some(Fault::Truncated) => Ok(half(&reply)),
        _ => Ok(whole(&reply)),
    }
}

async fn read(request: Request<Incoming>, shared: &Shared) -> Result<Asked, hyper::Error> {
    let (parts, mut body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let root = format!("http://{}", shared.address);
    let url = reqwest::Url::parse(&format!("{root}{}", parts.uri)).ok();
    let query = url
        .iter()
        .flat_map(|it| it.query_pairs())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let path = url
        .iter()
        .flat_map(|it| it.path().split('/'))
        .map(|it| percent_encoding::percent_decode_str(it).decode_utf8_lossy().into_owned())
        .filter(|it| !it.is_empty())
        .collect();
    let is_upload = header("content-type").as_deref() == Some("application/octet-stream");
    let (mut bytes, mut length, mut hash) = (BytesMut::new(), 0, Sha512::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if is_upload {
            length += data.len() as u64;
            hash.update(&data);
        } else {
            bytes.extend_from_slice(&data);
        }
    }
    let upload = is_upload.then(|| (length, lower::encode_string(&hash.finalize())));
    let version = header("openstack-api-version").unwrap_or_default();
    let minor = version.rsplit_once('.').and_then(|(_, it)| it.parse().ok()).unwrap_or(1);
    Ok(Asked {
        method: parts.method.to_string(),
        path,
        query,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
        upload,
        token: header("x-auth-token"),
        minor,
        root,
    })
}

/// To the service, after the check of the token.
fn route(shared: &Shared, mut asked: Asked) -> Reply {
    let mut state = shared.state();
    state.tick();
    let service = if asked.path.is_empty() { String::new() } else { asked.path.remove(0) };
    // What a service says of its versions, it says to everybody; of its address
    // it knows only the one inside.
    let versions = |id: &str, status: u16, min: &str, max: &str, href: &str| {
        let it = json!({ "id": id, "status": "CURRENT", "min_version": min, "version": max,
            "links": [{ "rel": "self", "href": format!("http://inside.invalid/{href}/") }] });
        Reply::json(status, &json!({ "versions": [it] }))
    };
    let reply = match (service.as_str(), asked.path.as_slice()) {
        ("image", []) => versions("v2.15", 300, "", "", "v2"),
        ("network", []) => versions("v2.0", 200, "", "", "v2.0"),
        ("compute", [v]) if v == "v2.1" => Reply::json(
            200,
            &json!({ "version": {
            "id": "v2.1", "status": "CURRENT", "version": format!("2.{}", state.manners.microversion), "min_version": "2.1", "links": [] } }),
        ),
        ("volume", [v]) if v == "v3" => versions("v3.0", 200, "3.0", "3.70", "v3"),
        ("identity", [v]) if v == "v3" => Reply::json(
            200,
            &json!({ "version": { "id": "v3.14", "status": "stable", "links": [] } }),
        ),
        _ => {
            if !asked.path.is_empty() {
                asked.path.remove(0);
            }
            let is_login = service == "identity" && asked.path == ["auth", "tokens"];
            if !is_login && !asked.token.as_ref().is_some_and(|it| state.is_valid(it)) {
                unauthorized()
            } else {
                match service.as_str() {
                    "identity" => identity::answer(&mut state, &asked),
                    "image" => image::answer(&mut state, &asked),
                    "compute" => compute::answer(&mut state, &asked),
                    "network" => network::answer(&mut state, &asked),
                    "volume" => {
                        // The project.
                        if !asked.path.is_empty() {
                            asked.path.remove(0);
                        }
                        volume::answer(&mut state, &asked)
                    }
                    _ => Reply::html(404, "The resource could not be found."),
                }
            }
        }
    };
    let id = state.next_id("req-");
    let name = if service == "compute" { "x-compute-request-id" } else { "x-openstack-request-id" };
    reply.header(name, id)
}

fn unauthorized() -> Reply {
    let body = json!({ "error": { "code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication." } });
    Reply::json(401, &body)
}

fn whole(reply: &Reply) -> Response<Body> {
    let body =
        Full::new(Bytes::from(reply.body.clone())).map_err(|never: Infallible| match never {});
    response(reply, BodyExt::boxed(body))
}

/// The first half of the body, with the length of all of it.
fn half(reply: &Reply) -> Response<Body> {
    let bytes = Bytes::from(reply.body.clone());
    let first = bytes.slice(..bytes.len() / 2);
    let broken = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let body = stream::iter([Ok(Frame::data(first))]).chain(stream::iter([broken]));
    let mut response = response(reply, BodyExt::boxed(StreamBody::new(body)));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    response
}

fn response(reply: &Reply, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
