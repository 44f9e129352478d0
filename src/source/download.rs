//! One file, from wherever it is, into the cache: resumed, checked, told of.

use std::{io::Write as _, sync::Arc};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderValue},
};

use super::{
    CachedFile, FetchCx, SourceError,
    cache::{Cache, Entry, Lock, Object, Validators},
    digest::{Digest, Hashed, Hasher, hash},
    http::{Ask, Failure, Tries, content_range, validators, whole_length},
    location::{Location, shown},
};

/// A digest that a file must have, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) digest: Digest,
    /// `the spec`, or a file's name.
    pub(super) stated_by: String,
}

/// A file that is wanted.
#[derive(Clone, Copy)]
pub(super) struct Want<'a> {
    pub(super) location: &'a Location,
    pub(super) expected: Option<&'a Expected>,
    /// What its progress is told as; nothing is told without.
    pub(super) progress: Option<&'a str>,
    /// How large it may be.
    pub(super) limit: u64,
}

/// What is read as text is never larger: the longest such files are indexes of
/// distributions, which are read compressed.
pub(super) const TEXT_LIMIT: u64 = 32 << 20;

/// Progress is told each time so many bytes have come.
pub(super) const TELL_EVERY: u64 = 256 << 10;

impl<'a> Want<'a> {
    /// A file of any size, whose progress is told.
    pub(super) const fn large(location: &'a Location, progress: &'a str) -> Self {
        Self { location, expected: None, progress: Some(progress), limit: u64::MAX }
    }

    /// A file of moderate size, without progress.
    pub(super) const fn small(location: &'a Location) -> Self {
        Self { location, expected: None, progress: None, limit: TEXT_LIMIT }
    }

    pub(super) const fn expecting(self, expected: Option<&'a Expected>) -> Self {
        Self { expected, ..self }
    }
}

impl Expected {
    /// Whether a file is what was stated.
    pub(super) fn check(&self, file: &str, hashed: &Hashed) -> Result<(), SourceError> {
        match hashed.differs_from(&self.digest) {
            None => Ok(()),
            Some(got) => Err(SourceError::DigestDiffers {
                file: file.to_owned(),
                expected: self.digest.clone(),
                got,
                stated_by: self.stated_by.clone(),
            }),
        }
    }
}

/// Gets a file: from the cache where that holds what is expected, from the
/// server where it has another one than last time, from its path where it is
/// on this machine (where it stays).
pub(super) async fn get(
    cx: &FetchCx,
    cache: &Cache,
    want: Want<'_>,
) -> Result<CachedFile, SourceError> {
    match want.location {
        Location::Path(path) => local(want, path).await,
        Location::Url(url) => {
            let object = remote(cx, cache, want, url).await?;
            Ok(CachedFile::new(object, shown(url)))
        }
    }
}

/// Reads a text that is not large. Bytes that are not UTF-8 are replaced.
pub(super) async fn text(
    cx: &FetchCx,
    cache: &Cache,
    location: &Location,
    expected: Option<&Expected>,
) -> Result<String, SourceError> {
    let file = get(cx, cache, Want::small(location).expecting(expected)).await?;
    read(&file)
}

/// The text of a file that was fetched.
pub(super) fn read(file: &CachedFile) -> Result<String, SourceError> {
    let bytes = fs::read(&file.path).map_err(SourceError::io(&file.path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hashes a file on this machine.
pub(super) async fn local(want: Want<'_>, path: &Utf8Path) -> Result<CachedFile, SourceError> {
    let (owned, expected, limit) = (path.to_owned(), want.expected.cloned(), want.limit);
    let work = move || {
        let path = owned;
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                SourceError::NotFound { url: path.to_string(), status: None }
            }
            _ => SourceError::io(&path)(error),
        };
        let file = fs::File::open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > limit {
            return Err(SourceError::TooLarge { url: path.to_string(), limit });
        }
        let hasher = Hasher::expecting(expected.as_ref().map(|it| &it.digest));
        let result = hash(file, hasher).map_err(failed)?.finish();
        if let Some(expected) = &expected {
            expected.check(path.as_str(), &result)?;
        }
        let origin = path.to_string();
        Ok(CachedFile { path, sha256: result.sha256, size: result.size, origin })
    };
    super::blocking(work).await
}

async fn remote(
    cx: &FetchCx,
    cache: &Cache,
    want: Want<'_>,
    url: &Url,
) -> Result<Object, SourceError> {
    if let Some(object) = known(cache, want.expected, url).await {
        return Ok(object);
    }
    let lock = cache.lock(url.as_str(), || {
        cx.teller.info(format!("another build is fetching `{}`: waiting for it", shown(url)));
    });
    let lock = lock.await?;
    if lock.waited
        && let Some(object) = known(cache, want.expected, url).await
    {
        return Ok(object);
    }
    // Where a digest is expected, what is here was found not to have it.
    let last = match (want.expected, cache.entry(url.as_str())) {
        (None, Some(entry)) => cache.object(&entry.sha256).await.map(|it| (entry, it)),
        _ => None,
    };
    let mut download = Download::begin(cx, cache, want, url, Arc::new(lock), last)?;
    let mut tries = Tries::new(cx.http.patience);
    loop {
        let before = download.hasher.length();
        let failure = match download.attempt().await {
            Ok(Some(object)) => return Ok(object),
            // It starts over, without counting as a failure.
            Ok(None) => continue,
            Err(failure) => failure,
        };
        if download.hasher.length() > before {
            tries.progressed();
        }
        if let Err(error) = tries.again(failure).await {
            return match download.last {
                Some((_, object)) if error.is_outage() => {
                    cx.teller.warn(format!("{error}; the copy in the cache is used"));
                    Ok(object)
                }
                _ => Err(error),
            };
        }
    }
}

/// What is in the cache already and needs no request.
async fn known(cache: &Cache, expected: Option<&Expected>, url: &Url) -> Option<Object> {
    let expected = expected?;
    if expected.digest.algorithm == super::digest::Algorithm::Sha256 {
        return cache.object(&expected.digest.hex).await;
    }
    // Only the index leads from another digest to a file.
    let object = cache.object(&cache.entry(url.as_str())?.sha256).await?;
    let digest = expected.digest.clone();
    let path = object.path.clone();
    let is_it = tokio::task::spawn_blocking(move || {
        let hasher = Hasher::new(digest.algorithm);
        let result = fs::File::open(path).and_then(|it| hash(it, hasher)).ok()?.finish();
        result.differs_from(&digest).is_none().then_some(())
    });
    is_it.await.ok()??;
    Some(object)
}

/// A file that is being fetched.
struct Download<'a> {
    cx: &'a FetchCx,
    cache: &'a Cache,
    want: Want<'a>,
    url: &'a Url,
    lock: Arc<Lock>,
    /// What the cache holds, for a server that says it has not changed.
    last: Option<(Entry, Object)>,
    path: Utf8PathBuf,
    notes: Utf8PathBuf,
    file: fs::File,
    hasher: Hasher,
    /// Of the version that `file` holds the beginning of.
    version: Validators,
    /// Whether the beginning was fetched by an earlier request.
    is_resumed: bool,
}

impl<'a> Download<'a> {
    /// Takes up what an earlier build left.
    fn begin(
        cx: &'a FetchCx,
        cache: &'a Cache,
        want: Want<'a>,
        url: &'a Url,
        lock: Arc<Lock>,
        last: Option<(Entry, Object)>,
    ) -> Result<Self, SourceError> {
        let (path, notes) = cache.partial(url.as_str())?;
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(SourceError::io(&path))?;
        let version: Option<Validators> =
            fs::read_to_string(&notes).ok().and_then(|it| serde_json::from_str(&it).ok());
        let hasher = Hasher::expecting(want.expected.map(|it| &it.digest));
        let mut download = Self {
            cx,
            cache,
            want,
            url,
            lock,
            last,
            path,
            notes,
            file,
            hasher,
            version: version.unwrap_or_default(),
            is_resumed: false,
        };
        if download.version.strong().is_some() {
            let hasher = Hasher::expecting(want.expected.map(|it| &it.digest));
            download.hasher =
                hash(&download.file, hasher).map_err(SourceError::io(&download.path))?;
        } else {
            download.start_over()?;
        }
        Ok(download)
    }

    /// Makes one request and reads what it brings. `None` where what was here
    /// turned out to be useless, and it is to begin anew.
    async fn attempt(&mut self) -> Result<Option<Object>, Failure> {
        let have = self.hasher.length();
        self.is_resumed = have > 0;
        let ask = Ask { method: Method::GET, url: self.url, headers: self.headers(have) };
        let mut response = match self.cx.http.ask(ask).await {
            Ok(response) => response,
            // The file is shorter than what we have: it is another one.
            Err(Failure { error: SourceError::ServerError { status: 416, .. }, .. })
                if have > 0 =>
            {
                self.start_over()?;
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        match response.status() {
            StatusCode::NOT_MODIFIED => {
                if let Some((_, object)) = self.last.take() {
                    self.start_over()?;
                    self.remove();
                    return Ok(Some(object));
                }
                let error =
                    SourceError::ServerError { url: shown(self.url), status: 304, tries: 1 };
                return Err(error.into());
            }
            StatusCode::PARTIAL_CONTENT
                if have > 0 && content_range(response.headers()).is_some_and(|it| it.0 == have) => {
            }
            StatusCode::PARTIAL_CONTENT if have > 0 => {
                self.start_over()?;
                return Ok(None);
            }
            _ => {
                self.start_over()?;
                self.is_resumed = false;
                self.version = validators(response.headers());
                let notes = serde_json::to_vec(&self.version).unwrap_or_default();
                fs::write(&self.notes, notes).map_err(SourceError::io(&self.notes))?;
            }
        }
        let whole = whole_length(&response);
        if whole.is_some_and(|it| it > self.want.limit) {
            return Err(self.too_large().into());
        }
        self.read(&mut response, whole).await?;
        match self.finish(validators(response.headers())).await {
            // The beginning may have been of another version, or damaged.
            Err(SourceError::DigestDiffers { .. }) if self.is_resumed => {
                self.start_over()?;
                Ok(None)
            }
            Err(error) => {
                self.remove();
                Err(error.into())
            }
            Ok(object) => Ok(Some(object)),
        }
    }

    fn headers(&self, have: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        if have > 0 {
            set(header::RANGE, &format!("bytes={have}-"));
            set(header::IF_RANGE, self.version.strong().unwrap_or_default());
        } else if let Some((entry, _)) = &self.last {
            if let Some(etag) = &entry.validators.etag {
                set(header::IF_NONE_MATCH, etag);
            } else if let Some(date) = &entry.validators.last_modified {
                set(header::IF_MODIFIED_SINCE, date);
            }
        }
        headers
    }

    async fn read(&mut self, response: &mut Response, whole: Option<u64>) -> Result<(), Failure> {
        loop {
            match self.cx.http.next(self.url, response).await {
                Ok(Some(chunk)) => {
                    if self.hasher.length() + chunk.len() as u64 > self.want.limit {
                        return Err(self.too_large().into());
                    }
                    self.file.write_all(&chunk).map_err(SourceError::io(&self.path))?;
                    self.hasher.update(&chunk);
                    self.tell(chunk.len(), whole);
                }
                Ok(None) if whole.is_none_or(|it| it == self.hasher.length()) => return Ok(()),
                // Without a length in the answer the end cannot be told from a break.
                Ok(None) => return Err(self.truncated(whole)),
                Err(Failure { error: SourceError::Truncated { .. }, .. }) => {
                    return Err(self.truncated(whole));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Tells of progress, now and then.
    fn tell(&self, n_new: usize, whole: Option<u64>) {
        let done = self.hasher.length();
        let before = done - n_new as u64;
        if let Some(what) = self.want.progress
            && (done / TELL_EVERY > before / TELL_EVERY || whole == Some(done))
        {
            self.cx.teller.bytes(what, done, whole);
        }
    }

    async fn finish(&mut self, answer: Validators) -> Result<Object, SourceError> {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::expecting(None));
        let result = hasher.finish();
        if let Some(expected) = self.want.expected {
            expected.check(&shown(self.url), &result)?;
        }
        let (cache, path) = (self.cache.clone(), self.path.clone());
        // Blocking work goes on when the build is interrupted: the lock with it.
        let lock = Arc::clone(&self.lock);
        let adopt = move || {
            let object = cache.adopt(&path, &result);
            drop(lock);
            object
        };
        let object = super::blocking(adopt).await?;
        _ = fs::remove_file(&self.notes);
        let entry = Entry {
            url: shown(self.url),
            sha256: object.sha256.clone(),
            size: object.size,
            validators: answer,
        };
        self.cache.remember(self.url.as_str(), &entry);
        Ok(object)
    }

    fn start_over(&mut self) -> Result<(), SourceError> {
        use std::io::Seek as _;
        let empty = self.file.set_len(0).and_then(|()| self.file.rewind());
        empty.map_err(SourceError::io(&self.path))?;
        self.hasher = Hasher::expecting(self.want.expected.map(|it| &it.digest));
        self.version = Validators::default();
        Ok(())
    }

    fn remove(&self) {
        _ = fs::remove_file(&self.path);
        _ = fs::remove_file(&self.notes);
    }

    fn truncated(&self, expected: Option<u64>) -> Failure {
        let got = self.hasher.length();
        let error = SourceError::Truncated { url: shown(self.url), got, expected, tries: 1 };
        Failure { error, is_transient: true, retry_after: None }
    }

    fn too_large(&self) -> SourceError {
        SourceError::TooLarge { url: shown(self.url), limit: self.want.limit }
    }
}
