//! The HTTP client: certificates, redirects, time to connect.

use std::time::Duration;

use super::{Error, Patience, config::Tls};

/// An HTTP client. It has no total timeout: that would end uploads.
pub(super) fn client(tls: &Tls, patience: &Patience) -> Result<reqwest::Client, Error> {
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
