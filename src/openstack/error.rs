//! What can go wrong with a cloud.
//!
//! Every error of a service names the request, the status and the request ID
//! that its operators need to find it in their logs.

use std::{fmt, time::Duration};

use miette::Diagnostic;
use thiserror::Error as ThisError;

use super::{Service, config::ConfigError};
use crate::units::Span;

/// Why something could not be done in a cloud.
#[derive(Debug, ThisError, Diagnostic)]
#[non_exhaustive]
pub enum Error {
    /// How to reach the cloud is not known.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(#[from] Box<ConfigError>),

    /// A service said no.
    #[error("{0}")]
    #[diagnostic(help("{}", .0.help()))]
    Refused(Box<Refusal>),

    /// A service could not be reached, or the connection broke.
    #[error("no answer from {service} to `{request}`: {reason}")]
    #[diagnostic(help(
        "is the cloud reachable from here? `imgbuild doctor --cloud NAME` checks each service"
    ))]
    NoAnswer {
        /// Which service.
        service: Service,
        /// Method and path.
        request: String,
        /// The innermost cause.
        reason: String,
        /// Whether the service may have done it nevertheless.
        sent: bool,
    },

    /// A service took too long to answer.
    #[error("{service} did not answer `{request}` within {}", span(*.limit))]
    Slow {
        /// Which service.
        service: Service,
        /// Method and path.
        request: String,
        /// How long it was given.
        limit: Duration,
    },

    /// An upload stopped moving.
    #[error("the upload of `{what}` stood still for {} after {done} bytes", span(*.idle))]
    Stalled {
        /// What was uploaded.
        what: String,
        /// How far it got.
        done: u64,
        /// How long nothing moved.
        idle: Duration,
    },

    /// An answer that makes no sense.
    #[error("{service} answered `{request}` with something unreadable: {reason}{}", id(.request_id.as_ref()))]
    Unreadable {
        /// Which service.
        service: Service,
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
        /// The service's ID of the request.
        request_id: Option<String>,
    },

    /// The cloud does not have the service.
    #[error("the cloud has no {service}{}", in_region(.region.as_ref()))]
    #[diagnostic(help("its catalogue has: {known}"))]
    NoService {
        /// Which service.
        service: Service,
        /// The region that was asked for.
        region: Option<String>,
        /// What the catalogue has, for people.
        known: String,
    },

    /// The service speaks another version.
    #[error(
        "{service} does not speak version {wanted}, which {purpose} needs; it offers {offered}"
    )]
    #[diagnostic(help(
        "where `clouds.yaml` names a URL with a version in it (`/v2.0`), leave the version out; else the cloud is too old for this"
    ))]
    Version {
        /// Which service.
        service: Service,
        /// What is needed.
        wanted: String,
        /// What for.
        purpose: &'static str,
        /// What there is.
        offered: String,
    },

    /// The token that was given has expired, and there is nothing to get another with.
    #[error("the token has expired and cannot be renewed")]
    #[diagnostic(help(
        "use a password or an application credential for builds that outlive a token"
    ))]
    TokenExpired,

    /// Something ended in a state that it does not come back from.
    #[error("{what} is in state `{state}`{}", because(.reason))]
    Ended {
        /// Kind and ID or name.
        what: String,
        /// Its state.
        state: String,
        /// What the service says of it; may be empty.
        reason: String,
    },

    /// Something did not happen in time.
    #[error("{what} was still {state} after {}", span(*.after))]
    Late {
        /// Kind and ID or name.
        what: String,
        /// Its last state.
        state: String,
        /// How long it was waited for.
        after: Duration,
    },

    /// There is no such thing.
    #[error("there is no {kind} `{name}`")]
    #[diagnostic(help("{known}"))]
    Missing {
        /// `flavor`, `network` …
        kind: &'static str,
        /// Name or ID that was asked for.
        name: String,
        /// What there is, for people.
        known: String,
    },

    /// A name means several things.
    #[error("{kind} `{name}` is ambiguous: {ids}")]
    #[diagnostic(help("give the ID instead of the name"))]
    Ambiguous {
        /// `flavor`, `network` …
        kind: &'static str,
        /// The name.
        name: String,
        /// The IDs, for people.
        ids: String,
    },

    /// User-data that Nova would refuse.
    #[error("user-data is {length} characters of base64; nova takes {max}")]
    #[diagnostic(help("shorten the answer file, or hand it over with `delivery = \"initrd\"`"))]
    UserDataTooLong {
        /// Its length in base64.
        length: usize,
        /// The most that is allowed.
        max: usize,
    },

    /// What arrived is not what was sent.
    #[error("image `{image}` has {algorithm} {got}, the file has {expected}")]
    Digest {
        /// The image's ID.
        image: String,
        /// `sha512`
        algorithm: String,
        /// The file's digest.
        expected: String,
        /// The image's digest.
        got: String,
    },

    /// A file could not be read.
    #[error("cannot read what is to be uploaded")]
    File(#[source] std::io::Error),

    /// A file changed while it was read.
    #[error("`{path}` changed while it was uploaded")]
    FileChanged {
        /// Which file.
        path: String,
    },

    /// Certificates or keys cannot be used.
    #[error("cannot use `{what}` for TLS: {reason}")]
    Tls {
        /// Which file or setting.
        what: String,
        /// Why.
        reason: String,
    },

    /// The user does not want it any more.
    #[error("cancelled")]
    Cancelled,
}

/// A service's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which service.
    pub service: Service,
    /// Method and path.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// What it said, cleaned of markup and of what was sent.
    pub message: String,
    /// Its ID of the request.
    pub request_id: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// The HTTP status, where a service answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// The service's ID of the request, where it gave one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.request_id.as_deref(),
            Self::Unreadable { request_id, .. } => request_id.as_deref(),
            _ => None,
        }
    }

    /// Whether the thing that was asked for does not exist.
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the thing is not in a state to do this, now.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether a quota is used up: Nova answers 403, Cinder 413, Neutron 409 (seen
    /// on Zed), each with the word in its message.
    pub fn is_over_quota(&self) -> bool {
        let Self::Refused(it) = self else { return false };
        match it.status {
            413 => !it.is_rate(),
            403 | 409 => it.message.to_lowercase().contains("quota"),
            _ => false,
        }
    }

    /// Whether the same may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Slow { .. } | Self::Unreadable { .. } => true,
            Self::Refused(it) => it.is_rate() || matches!(it.status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether it may have been done although this says otherwise.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NoAnswer { sent, .. } => *sent,
            Self::Slow { .. } | Self::Unreadable { .. } => true,
            Self::Refused(it) => matches!(it.status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

impl Refusal {
    /// Whether it was asked too often. 413 says that too, in front of older clouds; then
    /// it says when to come back, and for a quota never or in no time.
    fn is_rate(&self) -> bool {
        let later = self.retry_after.is_some_and(|it| !it.is_zero());
        self.status == 429 || (self.status == 413 && later)
    }

    fn help(&self) -> &'static str {
        match self.status {
            401 => "check user, password or application credential, project and domain",
            403 => "the user's roles, or a quota, do not allow it",
            404 => "it does not exist, or belongs to another project",
            409 => "something of this name is there already, or busy",
            413 | 429 => "the cloud limits how much may be asked for",
            500.. => "the service has a problem; its operators find it by the request ID",
            _ => "the request ID helps the cloud's operators",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, request, status, message, request_id, .. } = self;
        write!(f, "{service} answered {status} to `{request}`")?;
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        f.write_str(&id(request_id.as_ref()))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn id(request_id: Option<&String>) -> String {
    request_id.map(|it| format!(" ({it})")).unwrap_or_default()
}

fn in_region(region: Option<&String>) -> String {
    region.map(|it| format!(" in region `{it}`")).unwrap_or_default()
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// Rounded up to what people count in.
fn span(duration: Duration) -> Span {
    Span::secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_requests_is_no_quota() {
        let refusal = |status, seconds: Option<u64>| {
            Error::from(Refusal {
                service: Service::Volume,
                request: "POST /volumes".into(),
                status,
                message: "This request was rate-limited.".into(),
                request_id: None,
                retry_after: seconds.map(Duration::from_secs),
            })
        };
        for (status, seconds, again, quota) in [
            (413, Some(0), false, true),
            (413, None, false, true),
            (413, Some(12), true, false),
            (429, None, true, false),
            (403, None, false, false),
        ] {
            let error = refusal(status, seconds);
            assert_eq!((error.is_transient(), error.is_over_quota()), (again, quota), "{status}");
            assert!(!error.may_have_happened());
        }
    }
}
