//! Where the installer comes from, and digests that it must have.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::Serialize;

use super::{Variable, reveal, seen_from_host};

/// Where the installer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An install tree, by the URL of its base as the catalogue understands it.
    Tree {
        /// `http`, `https` or `file` URL; for Debian the mirror's base
        /// (`…/debian`), for Red Hat and SUSE the directory with `.treeinfo`.
        url: String,
        /// Kernel and initrd below the tree, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// Digests that the spec itself states.
        checksums: Checksums,
        /// Keyring that the checksum file's signature is checked with.
        keyring: Option<Utf8PathBuf>,
    },
    /// An ISO image, a local path or a URL that is read by ranges.
    Iso {
        /// Path or URL.
        location: String,
        /// Kernel and initrd inside, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// The digest of the ISO, or a checksum file that names it.
        checksums: Checksums,
        /// Whether the guest gets the ISO as a CD-ROM.
        attach: bool,
    },
    /// Kernel and initrd by themselves.
    Kernel {
        /// Path or URL.
        kernel: String,
        /// Path or URL.
        initrd: String,
        /// Digests by the last part of the name.
        checksums: Checksums,
    },
    /// A distribution package that holds the installer.
    Package {
        /// Base of the apt mirror, such as `http://ftp.debian.org/debian`.
        mirror: String,
        /// `trixie`
        suite: String,
        /// `main`
        component: String,
        /// `debian-installer-13-netboot-amd64`
        name: String,
        /// A version; the newest where not given.
        version: Option<String>,
        /// Paths inside the package, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// Keyring for the mirror's signed Release; the system's where not given.
        keyring: Option<Utf8PathBuf>,
        /// Digest of the package, instead of a signed Release.
        checksums: Checksums,
    },
}

impl Source {
    /// The same as this machine reaches it, with secrets filled in, as in a URL
    /// with a password.
    #[must_use]
    pub fn revealed(&self, variables: &BTreeMap<String, Variable>) -> Self {
        let it = |text: &String| seen_from_host(&reveal(text, variables));
        let mut source = self.clone();
        match &mut source {
            Self::Tree { url, .. } => *url = it(url),
            Self::Iso { location, .. } => *location = it(location),
            Self::Kernel { kernel, initrd, .. } => {
                *kernel = it(kernel);
                *initrd = it(initrd);
            }
            Self::Package { mirror, .. } => *mirror = it(mirror),
        }
        source
    }
}

/// Digests that a source must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checksums {
    /// `sha256:<hex>`, `sha512:<hex>` or `md5:<hex>`; by file name or path.
    pub digests: BTreeMap<String, String>,
    /// Path or URL of a checksum file (`SHA256SUMS`, `CHECKSUM`, BSD style too).
    pub file: Option<String>,
}
