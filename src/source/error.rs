//! What can go wrong on the way to an installer, and what to do about it.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;
use thiserror::Error;

use super::digest::Digest;

/// Why the installer's files could not be had.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum SourceError {
    /// Neither a path nor a URL we can read.
    #[error("`{location}` cannot be read from: {reason}")]
    #[diagnostic(
        code(imgbuild::source::bad_location),
        help("name a path or an `http`, `https` or `file` URL")
    )]
    BadLocation {
        /// What was written.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file does not exist.
    #[error("`{url}` was not found{}", parenthesised(*.status))]
    #[diagnostic(
        code(imgbuild::source::not_found),
        help(
            "check the address, and whether the tree still exists: old releases move to an archive"
        )
    )]
    NotFound {
        /// Which.
        url: String,
        /// The server's answer: 404 or 410; none for a path.
        status: Option<u16>,
    },
    /// The server wants to know who asks, or does not let us.
    #[error("the server refuses access to `{url}` ({status})")]
    #[diagnostic(
        code(imgbuild::source::access_denied),
        help(
            "put user and password into the URL (from a sensitive variable), or use another mirror"
        )
    )]
    AccessDenied {
        /// To what.
        url: String,
        /// 401, 403 or 407.
        status: u16,
    },
    /// The server gave an answer that it should not give.
    #[error("the server answered {status} for `{url}`, {} in all", times(*.tries))]
    #[diagnostic(
        code(imgbuild::source::server_error),
        help("try again later, or use another mirror")
    )]
    ServerError {
        /// For what.
        url: String,
        /// The last status.
        status: u16,
        /// How often it was asked.
        tries: u32,
    },
    /// The host's name does not resolve.
    #[error("the name of the server does not resolve: `{host}`, for `{url}`")]
    #[diagnostic(
        code(imgbuild::source::name),
        help(
            "check the spelling, the network, and `http_proxy`/`https_proxy` if you are behind one"
        )
    )]
    NameDoesNotResolve {
        /// The name.
        host: String,
        /// What was wanted of it.
        url: String,
    },
    /// Nothing listens there.
    #[error("the connection was refused: `{url}`")]
    #[diagnostic(
        code(imgbuild::source::refused),
        help(
            "check the port, whether the server is running, and `http_proxy`/`https_proxy` if one is set"
        )
    )]
    ConnectionRefused {
        /// What was wanted.
        url: String,
    },
    /// No trusted connection could be made.
    #[error("no trusted connection (TLS) to `{url}`: {reason}")]
    #[diagnostic(
        code(imgbuild::source::tls),
        help(
            "check this machine's clock and its certificates (package `ca-certificates`), or set `SSL_CERT_FILE`"
        )
    )]
    Tls {
        /// To where.
        url: String,
        /// What TLS said.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("`{url}` sent nothing for {secs} s, {} in all", times(*.tries))]
    #[diagnostic(
        code(imgbuild::source::stalled),
        help("try again: what has come so far is kept; or use another mirror")
    )]
    Stalled {
        /// What.
        url: String,
        /// How long we waited.
        secs: u64,
        /// How often it was asked.
        tries: u32,
    },
    /// The connection ended early.
    #[error("`{url}` ended after {got} bytes{}, {} in all", of(*.expected), times(*.tries))]
    #[diagnostic(
        code(imgbuild::source::truncated),
        help("try again: what has come so far is kept; or use another mirror")
    )]
    Truncated {
        /// What.
        url: String,
        /// How much came.
        got: u64,
        /// How much was announced.
        expected: Option<u64>,
        /// How often it was asked.
        tries: u32,
    },
    /// The network failed in a way not named above.
    #[error("`{url}` cannot be fetched: {reason}")]
    #[diagnostic(code(imgbuild::source::network), help("check the network, or use another mirror"))]
    Network {
        /// What.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// A file became another one while it was read.
    #[error("`{url}` changed on the server while it was read")]
    #[diagnostic(code(imgbuild::source::changed), help("try again"))]
    Changed {
        /// What.
        url: String,
    },
    /// A text is larger than any of its kind.
    #[error("`{url}` is larger than {limit} bytes, too large for what it should be")]
    #[diagnostic(code(imgbuild::source::too_large), help("check the address"))]
    TooLarge {
        /// What.
        url: String,
        /// What we read at most.
        limit: u64,
    },
    /// The file is not the one that somebody stated.
    #[error(
        "the digest of `{file}` differs: expected {expected} (stated by {stated_by}), got {got}"
    )]
    #[diagnostic(
        code(imgbuild::source::digest),
        help(
            "the file was changed, or is another release's: if {stated_by} is out of date, correct it; else use another mirror"
        )
    )]
    DigestDiffers {
        /// Which.
        file: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        got: Digest,
        /// Who says so.
        stated_by: String,
    },
    /// A digest in the spec cannot be read.
    #[error("the spec's checksum for `{name}` cannot be read")]
    #[diagnostic(
        code(imgbuild::source::bad_digest),
        help("write `sha256:` and 64 hexadecimal digits")
    )]
    BadDigest {
        /// Of which file.
        name: String,
        /// What is wrong with it.
        #[source]
        source: super::digest::BadDigest,
    },
    /// A file of digests or an index cannot be read.
    #[error("`{file}` is not {kind}: {reason}")]
    #[diagnostic(
        code(imgbuild::source::bad_file),
        help("check the address: a server may answer with an HTML page instead")
    )]
    BadFile {
        /// Which.
        file: String,
        /// What it should be, `a checksum file`.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A checksum file that the spec names says nothing of a file.
    #[error("`{file}` does not list `{wanted}`")]
    #[diagnostic(
        code(imgbuild::source::not_listed),
        help("name the checksum file of this very release, or state the digest under `checksums`")
    )]
    NotListed {
        /// The checksum file.
        file: String,
        /// What it should list.
        wanted: String,
    },
    /// The signature does not hold.
    #[error("the signature of `{file}` does not hold: {reason}")]
    #[diagnostic(
        code(imgbuild::source::signature),
        help(
            "use the keyring of the distribution that signs this mirror (`keyring`), or another mirror"
        )
    )]
    BadSignature {
        /// Of what.
        file: String,
        /// What gpgv said.
        reason: String,
    },
    /// There is no signature where one is demanded.
    #[error("`{file}` is not signed, but the spec names a keyring")]
    #[diagnostic(
        code(imgbuild::source::unsigned),
        help(
            "leave `keyring` out and state digests under `checksums`, or use a mirror that is signed"
        )
    )]
    Unsigned {
        /// What.
        file: String,
    },
    /// There are no keys to check a signature with.
    #[error("no keyring to check the signature of `{file}` with")]
    #[diagnostic(
        code(imgbuild::source::no_keyring),
        help(
            "install the distribution's keyring (package `debian-archive-keyring` or `ubuntu-keyring`), name one as `keyring`, or state the package's digest under `checksums`"
        )
    )]
    NoKeyring {
        /// Of what.
        file: String,
    },
    /// The keyring the spec names cannot be used.
    #[error("the keyring `{path}` cannot be used: {reason}")]
    #[diagnostic(
        code(imgbuild::source::keyring),
        help("name a file of OpenPGP keys, as in /usr/share/keyrings")
    )]
    BadKeyring {
        /// Which.
        path: Utf8PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The program that checks signatures could not do so.
    #[error("`gpgv` cannot check the signature of `{file}`: {reason}")]
    #[diagnostic(
        code(imgbuild::source::gpgv),
        help("install `gpgv` (package `gpgv`, or `gnupg2` on Fedora)")
    )]
    Gpgv {
        /// Of what.
        file: String,
        /// What happened.
        reason: String,
    },
    /// The tree is another system's.
    #[error("this tree is {found}, the spec says `{wanted}`: `{url}`")]
    #[diagnostic(
        code(imgbuild::source::wrong_tree),
        help("name the tree of `{wanted}`, or change `os`")
    )]
    WrongTree {
        /// The tree.
        url: String,
        /// What it says it is.
        found: String,
        /// The spec's system.
        wanted: String,
    },
    /// The catalogue does not know where the installer is in a source of this kind.
    #[error("the catalogue knows no {kind} for `{os}`")]
    #[diagnostic(
        code(imgbuild::source::no_layout),
        help("name `kernel` and `initrd` in the spec's `source`, or use another kind of source")
    )]
    NoLayout {
        /// The system.
        os: String,
        /// `install tree`, `ISO layout`
        kind: &'static str,
    },
    /// A name in the catalogue's layout has no value.
    #[error("`{text}` in the catalogue names `{{{name}}}`, which `{os}` does not have")]
    #[diagnostic(
        code(imgbuild::source::placeholder),
        help("correct the entry of `{os}` in the catalogue")
    )]
    Placeholder {
        /// The path.
        text: String,
        /// The name in it.
        name: String,
        /// The system.
        os: String,
    },
    /// A file is missing in an ISO or a package.
    #[error("there is no `{path}` in `{container}`")]
    #[diagnostic(code(imgbuild::source::not_inside), help("{hint}"))]
    NotInside {
        /// What was looked for.
        path: String,
        /// In what.
        container: String,
        /// What to do.
        hint: String,
    },
    /// The file is not an ISO image.
    #[error("`{location}` is not an ISO image: {reason}")]
    #[diagnostic(
        code(imgbuild::source::not_iso),
        help("check the address; a compressed image has to be unpacked first")
    )]
    NotIso {
        /// Which.
        location: String,
        /// What it lacks.
        reason: String,
    },
    /// The image has a UDF file system and no ISO 9660 one.
    #[error("`{location}` has a UDF file system only, which imgbuild does not read")]
    #[diagnostic(
        code(imgbuild::source::udf),
        help("copy kernel and initrd out of it (`7z x`) and name them as `source.kernel`")
    )]
    UdfOnly {
        /// Which.
        location: String,
    },
    /// The image contradicts itself.
    #[error("the ISO image `{location}` is damaged: {reason}")]
    #[diagnostic(
        code(imgbuild::source::damaged_iso),
        help("fetch it again and compare its digest")
    )]
    DamagedIso {
        /// Which.
        location: String,
        /// How.
        reason: String,
    },
    /// The package's archive cannot be read.
    #[error("the package `{package}` cannot be unpacked: {reason}")]
    #[diagnostic(
        code(imgbuild::source::bad_package),
        help("check the package with `dpkg-deb --contents`")
    )]
    BadPackage {
        /// Which.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// The mirror does not have the package.
    #[error("there is no package `{package}` in `{suite}` at `{mirror}`{}", versions(.known))]
    #[diagnostic(
        code(imgbuild::source::not_in_index),
        help("check its name, `version`, `suite` and `component`")
    )]
    NotInIndex {
        /// The name, with its version where one was asked for.
        package: String,
        /// The suite.
        suite: String,
        /// The mirror.
        mirror: String,
        /// The versions there are.
        known: Vec<String>,
    },
    /// The disk is full.
    #[error("no space is left for `{path}`")]
    #[diagnostic(
        code(imgbuild::source::no_space),
        help("make room, or move the cache elsewhere with `XDG_CACHE_HOME`")
    )]
    NoSpace {
        /// What was being written.
        path: Utf8PathBuf,
    },
    /// A file on this machine cannot be read or written.
    #[error("`{path}` cannot be used")]
    #[diagnostic(
        code(imgbuild::source::io),
        help("check that it is readable, and the cache writable")
    )]
    Io {
        /// Which.
        path: Utf8PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user interrupted the build.
    #[error("interrupted")]
    #[diagnostic(code(imgbuild::source::cancelled), help("what has been fetched so far is kept"))]
    Cancelled,
}

impl SourceError {
    /// Says what the system said of a file.
    pub(super) fn io(path: &Utf8Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_owned() }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    /// Whether the file is not there, as opposed to not to be had.
    pub(super) const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether it means that the network or the server is down, so that what is
    /// in the cache may be used instead.
    pub(super) const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::ServerError { .. }
                | Self::NameDoesNotResolve { .. }
                | Self::ConnectionRefused { .. }
                | Self::Stalled { .. }
                | Self::Network { .. }
        )
    }
}

fn parenthesised(status: Option<u16>) -> String {
    status.map(|it| format!(" ({it})")).unwrap_or_default()
}

fn times(n: u32) -> String {
    if n == 1 { "asked once".to_owned() } else { format!("asked {n} times") }
}

fn of(expected: Option<u64>) -> String {
    expected.map(|it| format!(" of {it}")).unwrap_or_default()
}

fn versions(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there is {}", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_disk_is_an_error_of_its_own() {
        let path = Utf8Path::new("/dev/full");
        let mut file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
        let error = file.write_all(b"x").map_err(SourceError::io(path)).unwrap_err();
        assert!(matches!(&error, SourceError::NoSpace { .. }), "{error:?}");
        assert_eq!(error.to_string(), "no space is left for `/dev/full`");
    }
}
