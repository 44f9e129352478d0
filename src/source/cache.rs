//! Fetched files, by the digest of their content.
//!
//! `sha256/<hex>` holds what was fetched, `index/` what a URL last gave with its
//! validators, `partial/` what is on its way. Everything is made under another
//! name and then renamed, so that several builds can share a cache and none
//! ever sees half a file. A file lock keeps two builds from fetching the same
//! URL at once; the kernel drops it when its holder dies.

use std::{
    fs::TryLockError,
    io::{self, Write as _},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{
    SourceError,
    digest::{Algorithm, Digest, Hashed, Hasher, hash, sha256_of},
};

/// A cache of fetched files in one folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: Utf8PathBuf,
}

/// What the cache holds of one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) path: Utf8PathBuf,
    pub(super) sha256: String,
    pub(super) size: u64,
}

/// What a URL last gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The URL without secrets, for people who look.
    pub(super) url: String,
    pub(super) sha256: String,
    pub(super) size: u64,
    #[serde(flatten)]
    pub(super) validators: Validators,
}

/// What a server says to recognise a version of a file by (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// The right to fetch one URL.
pub(super) struct Lock {
    _file: fs::File,
    /// Whether somebody else had it, who may have done the work.
    pub(super) waited: bool,
}

/// A file on its way into the cache.
pub(super) struct Incoming {
    file: NamedTempFile,
    hasher: Hasher,
}

/// The pause between two looks at a lock that somebody holds.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Larger files are not hashed again each time they are used.
const REHASH_LIMIT: u64 = 512 << 20;
/// Names of files that are on their way.
const INCOMING: &str = "incoming-";

impl Validators {
    /// What a range request may rely on: strong ones alone.
    pub(super) fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|it| !it.starts_with("W/")).or(self.last_modified.as_deref())
    }

    /// Whether there are any.
    pub(super) const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl Cache {
    /// A cache in this folder, which is made when it is first needed.
    pub fn new(folder: impl Into<Utf8PathBuf>) -> Self {
        Self { root: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Utf8Path {
        &self.root
    }

    /// Where a content of this SHA-256 is, or would be.
    pub fn path_of(&self, sha256: &str) -> Utf8PathBuf {
        self.root.join("sha256").join(sha256)
    }

    /// What it holds of this SHA-256. A file that was damaged since is removed.
    pub(super) async fn object(&self, sha256: &str) -> Option<Object> {
        let path = self.path_of(sha256);
        let sha256 = sha256.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let size = fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
            if size <= REHASH_LIMIT {
                let file = fs::File::open(&path).ok()?;
                let hashed = hash(file, Hasher::new(Algorithm::Sha256)).ok()?.finish();
                if hashed.sha256 != sha256 {
                    _ = fs::remove_file(&path);
                    return None;
                }
            }
            Some(Object { path, sha256, size })
        });
        found.await.ok().flatten()
    }

    /// What the URL with this key last gave, where it is still here.
    pub(super) fn entry(&self, key: &str) -> Option<Entry> {
        let text = fs::read_to_string(self.entry_path(key)).ok()?;
        let entry: Entry = serde_json::from_str(&text).ok()?;
        // The digest becomes part of a path.
        Digest::new(Algorithm::Sha256, &entry.sha256)?;
        Some(entry)
    }

    /// Remembers what a URL gave. A failure costs a later fetch, not this build.
    pub(super) fn remember(&self, key: &str, entry: &Entry) {
        let write = || -> io::Result<()> {
            let folder = self.made("index").map_err(io::Error::other)?;
            let mut file = tempfile::Builder::new().prefix(INCOMING).tempfile_in(&folder)?;
            file.write_all(&serde_json::to_vec_pretty(entry)?)?;
            file.persist(self.entry_path(key)).map_err(|it| it.error)?;
            Ok(())
        };
        _ = write();
    }

    /// Waits for the right to fetch the URL with this key. `waiting` is called
    /// once, when somebody else has it.
    pub(super) async fn lock(
        &self,
        key: &str,
        waiting: impl FnOnce(),
    ) -> Result<Lock, SourceError> {
        let path = self.made("partial")?.join(format!("{}.lock", sha256_of(key)));
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(SourceError::io(&path))?;
        let mut waiting = Some(waiting);
        loop {
            match file.file().try_lock() {
                Ok(()) => return Ok(Lock { _file: file, waited: waiting.is_none() }),
                Err(TryLockError::WouldBlock) => {
                    if let Some(tell) = waiting.take() {
                        tell();
                    }
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(TryLockError::Error(error)) => return Err(SourceError::io(&path)(error)),
            }
        }
    }

    /// Where a partial download is kept, and what is known of it.
    pub(super) fn partial(&self, key: &str) -> Result<(Utf8PathBuf, Utf8PathBuf), SourceError> {
        let folder = self.made("partial")?;
        let name = sha256_of(key);
        Ok((folder.join(format!("{name}.part")), folder.join(format!("{name}.json"))))
    }

    /// Makes a complete file part of the cache.
    pub(super) fn adopt(&self, file: &Utf8Path, hashed: &Hashed) -> Result<Object, SourceError> {
        let path = self.made("sha256")?.join(&hashed.sha256);
        fs::File::open(file).and_then(|it| it.sync_data()).map_err(SourceError::io(file))?;
        fs::rename(file, &path).map_err(SourceError::io(&path))?;
        Ok(Object { path, sha256: hashed.sha256.clone(), size: hashed.size })
    }

    /// Begins a file that does not come from a URL of its own.
    pub(super) fn incoming(&self, expected: Option<&Digest>) -> Result<Incoming, SourceError> {
        let folder = self.made("partial")?;
        sweep(&folder);
        let file = tempfile::Builder::new()
            .prefix(INCOMING)
            .tempfile_in(&folder)
            .map_err(SourceError::io(&folder))?;
        // Says to `sweep` that somebody is at work.
        file.as_file().lock().map_err(SourceError::io(&folder))?;
        Ok(Incoming { file, hasher: Hasher::expecting(expected) })
    }

    /// Ends it: what it is, checked by the caller's rule, under its digest.
    pub(super) fn keep(
        &self,
        incoming: Incoming,
        check: impl FnOnce(&Hashed) -> Result<(), SourceError>,
    ) -> Result<Object, SourceError> {
        let hashed = incoming.hasher.finish();
        check(&hashed)?;
        let path = self.made("sha256")?.join(&hashed.sha256);
        incoming.file.as_file().sync_data().map_err(SourceError::io(&path))?;
        incoming.file.persist(&path).map_err(|it| SourceError::io(&path)(it.error))?;
        Ok(Object { path, sha256: hashed.sha256, size: hashed.size })
    }

    fn entry_path(&self, key: &str) -> Utf8PathBuf {
        self.root.join("index").join(format!("{}.json", sha256_of(key)))
    }

    fn made(&self, name: &str) -> Result<Utf8PathBuf, SourceError> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).map_err(SourceError::io(&folder))?;
        Ok(folder)
    }
}

impl Incoming {
    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|error| {
            let path = Utf8Path::from_path(self.file.path()).unwrap_or("the cache".into());
            SourceError::io(path)(error)
        })
    }
}

/// Removes what builds that were killed left on its way.
fn sweep(folder: &Utf8Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let is_ours = file.file_name().to_str().is_some_and(|it| it.starts_with(INCOMING));
        // Between its creation and its lock a file looks abandoned: leave the young.
        let is_old = file
            .metadata()
            .and_then(|it| it.modified())
            .is_ok_and(|it| it.elapsed().is_ok_and(|age| age > Duration::from_mins(1)));
        if is_ours
            && is_old
            && fs::File::open(file.path()).is_ok_and(|it| it.file().try_lock().is_ok())
        {
            _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Utf8Path::from_path(folder.path()).unwrap());
        (folder, cache)
    }

    fn keep(cache: &Cache, bytes: &[u8]) -> Object {
        let mut incoming = cache.incoming(None).unwrap();
        incoming.write(bytes).unwrap();
        cache.keep(incoming, |_| Ok(())).unwrap()
    }

    #[tokio::test]
    async fn what_is_kept_is_found_by_its_digest() {
        let (_folder, cache) = cache();
        let kept = keep(&cache, b"kernel");
        assert_eq!(cache.object(&kept.sha256).await, Some(kept.clone()));
        assert_eq!(fs::read(&kept.path).unwrap(), b"kernel");
        assert_eq!(cache.object(&"0".repeat(64)).await, None);
    }

    #[tokio::test]
    async fn a_file_that_was_damaged_is_not_used() {
        let (_folder, cache) = cache();
        let kept = keep(&cache, b"kernel");
        fs::write(&kept.path, b"kernal").unwrap();
        assert_eq!(cache.object(&kept.sha256).await, None);
        assert!(!kept.path.exists());
    }

    #[test]
    fn the_index_survives_and_refuses_paths() {
        let (_folder, cache) = cache();
        let mut entry = Entry { sha256: "a".repeat(64), ..Entry::default() };
        entry.validators.etag = Some("\"x\"".to_owned());
        cache.remember("k", &entry);
        assert_eq!(cache.entry("k"), Some(entry.clone()));
        assert_eq!(cache.entry("other"), None);
        entry.sha256 = "../../etc/passwd".to_owned();
        cache.remember("k", &entry);
        assert_eq!(cache.entry("k"), None);
    }

    #[tokio::test]
    async fn a_lock_is_held_by_one_at_a_time() {
        let (_folder, cache) = cache();
        let first = cache.lock("u", || ()).await.unwrap();
        assert!(!first.waited);
        let other = cache.lock("v", || panic!("nobody holds it")).await.unwrap();
        let (told, was_told) = tokio::sync::oneshot::channel();
        let second = cache.lock("u", || told.send(()).unwrap());
        let release = async {
            was_told.await.unwrap();
            drop(first);
        };
        let (second, ()) = tokio::join!(second, release);
        assert!(second.unwrap().waited);
        drop(other);
    }
}
