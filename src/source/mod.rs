//! Where installers come from: trees, ISOs, packages, plain files; and the cache.
//!
//! Each kind of source ends in the same [`InstallerFiles`]: a kernel and an
//! initrd on this machine, their digests, and what vouches for them. Digests
//! that somebody stated are always enforced; a signature is checked wherever
//! there is a keyring to check it with; where nothing could be checked, that is
//! said.

mod apt;
mod cache;
mod checksums;
mod deb;
mod digest;
mod download;
mod error;
mod expect;
mod http;
pub mod iso;
mod layout;
mod location;
mod medium;
mod package;
mod plain;
mod signature;
mod survey;
mod tree;
mod treeinfo;

use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    CancellationToken,
    catalogue::Os,
    engine::Teller,
    guard::Guard,
    model::{Arch, Source},
};

pub use apt::compare_versions;
pub use cache::Cache;
pub use checksums::{ChecksumFile, parse_checksums};
pub use digest::{Algorithm, BadDigest, Digest};
pub use error::SourceError;
pub use http::Patience;
pub use survey::{Survey, SurveyFile, survey};
pub use treeinfo::TreeInfo;

use http::Http;

/// What an installer is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallerFiles {
    /// The kernel.
    pub kernel: CachedFile,
    /// The initrd.
    pub initrd: CachedFile,
    /// The install tree, where they come from one.
    pub tree_url: Option<String>,
    /// The ISO on this machine, where the guest is to get it.
    pub iso: Option<Utf8PathBuf>,
    /// The ISO's volume ID.
    pub volume_id: Option<String>,
    /// What vouches for kernel and initrd.
    pub trust: Trust,
}

impl InstallerFiles {
    /// With paths that whoever works in another folder finds as well, such as QEMU.
    fn anywhere(mut self) -> Self {
        let paths = [Some(&mut self.kernel.path), Some(&mut self.initrd.path), self.iso.as_mut()];
        for path in paths.into_iter().flatten() {
            if let Ok(absolute) = camino::absolute_utf8(&*path) {
                *path = absolute;
            }
        }
        self
    }
}

/// A file on this machine: in the cache, or where the spec found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// Where it came from, fit to be shown.
    pub origin: String,
}

/// What vouches for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing does.
    None,
    /// A checksum file from the same place, which is not signed.
    Checksum {
        /// Which.
        file: String,
    },
    /// A signature leads to its digest.
    Signed {
        /// Whose.
        by: String,
    },
    /// The spec states its digest.
    Stated,
    /// It lies on this machine, where the spec names it.
    Local,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("unchecked"),
            Self::Checksum { file } => write!(f, "matches {file}, which is not signed"),
            Self::Signed { by } => write!(f, "signed by {by}"),
            Self::Stated => f.write_str("matches the spec"),
            Self::Local => f.write_str("on this machine"),
        }
    }
}

/// What fetching may use.
#[derive(Clone, Debug)]
pub struct FetchCx {
    /// Who hears of progress.
    pub teller: Teller,
    /// Cancelled when the user interrupts the build.
    pub cancel: CancellationToken,
    /// Starts `gpgv`.
    pub guard: Guard,
    /// Keyrings for sources that name none.
    pub keyrings: Vec<Utf8PathBuf>,
    http: Http,
}

impl FetchCx {
    /// A context with the usual patience and [`system_keyrings`].
    pub fn new(
        guard: Guard,
        teller: Teller,
        cancel: CancellationToken,
    ) -> Result<Self, SourceError> {
        let http = Http::new(Patience::default())?;
        Ok(Self { teller, cancel, guard, keyrings: system_keyrings(), http })
    }

    /// The same with another patience.
    pub fn with_patience(self, patience: Patience) -> Result<Self, SourceError> {
        Ok(Self { http: Http::new(patience)?, ..self })
    }

    /// The work, unless the user interrupts it.
    async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SourceError::Cancelled),
            result = work => result,
        }
    }
}

impl CachedFile {
    fn new(object: cache::Object, origin: String) -> Self {
        let cache::Object { path, sha256, size } = object;
        Self { path, sha256, size, origin }
    }
}

/// Fetches what the installer of `os` is started from. Files that the cache
/// holds and whose digest is known cost no request.
pub async fn fetch(
    source: &Source,
    os: &Os,
    arch: Arch,
    cache: &Cache,
    cx: &FetchCx,
) -> Result<InstallerFiles, SourceError> {
    let work = Box::pin(async {
        match source {
            Source::Tree { url, kernel, initrd, checksums, keyring } => {
                let tree = tree::Tree { url, kernel, initrd, checksums, keyring };
                tree::fetch(&tree, os, arch, cache, cx).await
            }
            Source::Iso { location, kernel, initrd, checksums, attach } => {
                let medium =
                    medium::Medium { location, kernel, initrd, checksums, attach: *attach };
                medium::fetch(&medium, os, arch, cache, cx).await
            }
            Source::Kernel { kernel, initrd, checksums } => {
                plain::fetch(kernel, initrd, checksums, cache, cx).await
            }
            Source::Package { .. } => {
                let package = package::Package::of(source, os, arch)?;
                package::fetch(&package, cache, cx).await
            }
        }
    });
    let files = cx.or_cancelled(work).await?.anywhere();
    if files.trust == Trust::None {
        cx.teller.warn(
            "nothing vouches for the installer's kernel and initrd: state their digests under `checksums`",
        );
    }
    Ok(files)
}

/// The keyrings that distributions install for their mirrors, where they are.
pub fn system_keyrings() -> Vec<Utf8PathBuf> {
    // Of the packages debian-archive-keyring and ubuntu-keyring.
    ["debian-archive-keyring", "ubuntu-archive-keyring"]
        .into_iter()
        .flat_map(|name| ["gpg", "pgp"].map(|end| format!("/usr/share/keyrings/{name}.{end}")))
        .map(Utf8PathBuf::from)
        .filter(|it| Utf8Path::is_file(it))
        .collect()
}

/// Work that waits for disks or computes for long.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SourceError::Cancelled),
    }
}
