//! Where a file is: a path on this machine, or a URL.

use std::{
    fmt,
    net::{IpAddr, UdpSocket},
};

use camino::{Utf8Path, Utf8PathBuf};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::SourceError;

/// A path on this machine, or an `http` or `https` URL.
///
/// Its text is fit to be shown: what may be a secret in a URL (the password,
/// the query) is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A path.
    Path(Utf8PathBuf),
    /// A URL.
    Url(Url),
}

impl Location {
    /// Reads a path or an `http`, `https` or `file` URL.
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        let bad = |reason: &str| SourceError::BadLocation {
            location: hide(text),
            reason: reason.to_owned(),
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(bad("it is empty"));
            }
            return Ok(Self::Path(text.into()));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => {
                let url = Url::parse(text).map_err(|it| bad(&it.to_string()))?;
                Ok(Self::Url(url))
            }
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                if !path.starts_with('/') {
                    return Err(bad("a file URL has three slashes, as in `file:///srv/tree`"));
                }
                let path = percent_decode_str(path)
                    .decode_utf8()
                    .map_err(|_| bad("its path is not UTF-8"))?;
                Ok(Self::Path(path.into_owned().into()))
            }
            _ => Err(bad("use a path, or an `http`, `https` or `file` URL")),
        }
    }

    /// Whether it is on this machine: on its loopback interface, or at another
    /// address of its own, which is what guests in a cloud on it are told.
    /// Nothing is sent to find out; names other than `localhost` are not resolved.
    pub(super) fn is_on_this_machine(&self) -> bool {
        let Self::Url(url) = self else { return false };
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            // A socket can be bound to the addresses that are one's own.
            Ok(address) => !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok(),
            Err(_) => host == "localhost",
        }
    }

    /// The file at `path` below this one.
    pub(super) fn below(&self, path: &str) -> Result<Self, SourceError> {
        let path = path.trim_start_matches('/');
        if path.split('/').any(|it| it == "..") {
            return Err(SourceError::BadLocation {
                location: path.to_owned(),
                reason: "it leads out of the tree".to_owned(),
            });
        }
        Ok(match self {
            Self::Path(base) => Self::Path(base.join(path)),
            Self::Url(base) => {
                let mut url = base.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty();
                    segments.extend(path.split('/').filter(|it| !it.is_empty()));
                }
                Self::Url(url)
            }
        })
    }

    /// The same place with something appended to its name, such as `.asc`.
    pub(super) fn with_suffix(&self, suffix: &str) -> Self {
        match self {
            Self::Path(path) => Self::Path(format!("{path}{suffix}").into()),
            Self::Url(url) => {
                let mut url = url.clone();
                let path = format!("{}{suffix}", url.path());
                url.set_path(&path);
                Self::Url(url)
            }
        }
    }

    /// The last part of its name.
    pub(super) fn file_name(&self) -> &str {
        match self {
            Self::Path(path) => path.file_name().unwrap_or(path.as_str()),
            Self::Url(url) => url
                .path_segments()
                .and_then(|mut it| it.next_back())
                .filter(|it| !it.is_empty())
                .unwrap_or("index"),
        }
    }

    /// The path, where it is one.
    pub(super) fn as_path(&self) -> Option<&Utf8Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Url(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path}"),
            Self::Url(url) => f.write_str(&shown(url)),
        }
    }
}

/// A URL without what may be a secret.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        _ = url.set_password(None);
    }
    if url.query().is_some() {
        url.set_query(Some("..."));
    }
    url.set_fragment(None);
    url.to_string()
}

/// Text that may hold a URL's password, without it.
fn hide(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, after)) if before.contains("://") => {
            let scheme = before.split("://").next().unwrap_or_default();
            format!("{scheme}://...@{after}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for (text, expected) in [
            ("http://localhost:3142/debian", true),
            ("http://127.0.0.1/debian", true),
            ("http://127.3.2.1/debian", true),
            // For documentation (RFC 5737): nobody has it.
            ("http://192.0.2.1/debian", false),
            ("http://localhost.example/debian", false),
            ("http://0.0.0.0/debian", false),
            ("/debian", false),
        ] {
            assert_eq!(Location::parse(text).unwrap().is_on_this_machine(), expected, "{text}");
        }
    }

    #[test]
    fn paths_and_urls_are_told_apart() {
        for (text, shown, name) in [
            ("/srv/a.iso", "/srv/a.iso", "a.iso"),
            ("a.iso", "a.iso", "a.iso"),
            ("file:///srv/a%20b.iso", "/srv/a b.iso", "a b.iso"),
            ("file://localhost/srv/a", "/srv/a", "a"),
            ("http://h/x/y.iso", "http://h/x/y.iso", "y.iso"),
            ("https://u:secret@h/y?token=secret", "https://u@h/y?...", "y"),
            ("HTTP://h", "http://h/", "index"),
        ] {
            let it = Location::parse(text).unwrap();
            assert_eq!(it.to_string(), shown);
            assert_eq!(it.file_name(), name);
        }
        for text in ["", "ftp://h/x", "file://host/x", "http://"] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
        let error = Location::parse("ftp://u:secret@h/x").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn what_is_below_stays_below() {
        for (base, below) in [
            ("http://h/debian", "http://h/debian/dists/x"),
            ("http://h/debian/", "http://h/debian/dists/x"),
            ("http://h", "http://h/dists/x"),
            ("/srv/", "/srv/dists/x"),
            ("http://h/d?key=1", "http://h/d/dists/x?..."),
        ] {
            let base = Location::parse(base).unwrap();
            assert_eq!(base.below("/dists/x").unwrap().to_string(), below);
            assert!(base.below("a/../../x").is_err());
        }
        let sums = Location::parse("http://h/SHA256SUMS?k=1").unwrap();
        assert_eq!(sums.with_suffix(".gpg").to_string(), "http://h/SHA256SUMS.gpg?...");
    }
}
