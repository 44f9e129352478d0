//! The bytes of an image: a file, or blocks fetched from a server as needed.

use std::{
    collections::{HashMap, VecDeque},
    os::unix::fs::FileExt as _,
};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderValue},
};

use crate::source::{
    SourceError,
    cache::Validators,
    http::{Ask, Failure, Http, Tries, content_range, validators, whole_length},
    location::shown,
};

/// What is fetched at once while looking around in an image.
const BLOCK: u64 = 64 << 10;
/// How many blocks are kept: 4 MiB.
const KEPT: usize = 64;
/// What is read at once of a file on this machine.
const PIECE: usize = 1 << 20;

/// Where the bytes of an image come from.
#[derive(Debug)]
pub(super) enum Image {
    Local {
        file: fs::File,
        path: Utf8PathBuf,
        size: u64,
    },
    Remote(Box<Remote>),
    #[cfg(test)]
    Memory(Vec<u8>),
}

/// An image on a server.
#[derive(Debug)]
pub(super) struct Remote {
    http: Http,
    url: Url,
    size: u64,
    version: Validators,
    blocks: HashMap<u64, Bytes>,
    /// Kept blocks, oldest first.
    order: VecDeque<u64>,
    fetched: u64,
}

impl Image {
    pub(super) fn local(path: &Utf8Path) -> Result<Self, SourceError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                SourceError::NotFound { url: path.to_string(), status: None }
            }
            _ => SourceError::io(path)(error),
        };
        let file = fs::File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(Self::Local { file, path: path.to_owned(), size })
    }

    /// `None` where the server gives the image only as a whole.
    pub(super) async fn remote(url: &Url, http: &Http) -> Result<Option<Self>, SourceError> {
        let mut remote = Remote {
            http: http.clone(),
            url: url.clone(),
            size: BLOCK,
            version: Validators::default(),
            blocks: HashMap::new(),
            order: VecDeque::new(),
            fetched: 0,
        };
        let mut tries = Tries::new(http.patience);
        loop {
            match remote.open().await {
                Ok(is_ranged) => return Ok(is_ranged.then_some(Self::Remote(Box::new(remote)))),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Local { size, .. } => *size,
            Self::Remote(it) => it.size,
            #[cfg(test)]
            Self::Memory(it) => it.len() as u64,
        }
    }

    pub(super) fn fetched(&self) -> u64 {
        if let Self::Remote(it) = self { it.fetched } else { 0 }
    }

    /// What the server said to recognise this version of the image by.
    pub(super) fn version(&self) -> Option<&Validators> {
        if let Self::Remote(it) = self { Some(&it.version) } else { None }
    }

    /// Fills the buffer; the caller has compared with `size`.
    pub(super) async fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        match self {
            Self::Local { file, path, .. } => {
                file.file().read_exact_at(buffer, at).map_err(SourceError::io(path))
            }
            Self::Remote(it) => it.read_at(at, buffer).await,
            #[cfg(test)]
            Self::Memory(it) => {
                let at = usize::try_from(at).unwrap();
                buffer.copy_from_slice(&it[at..at + buffer.len()]);
                Ok(())
            }
        }
    }

    /// Hands `length` bytes on, piece by piece.
    pub(super) async fn copy(
        &mut self,
        at: u64,
        length: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        if let Self::Remote(it) = self {
            return it.copy(at, length, sink).await;
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
        let mut done = 0;
        while done < length {
            let n = piece.len().min(usize::try_from(length - done).unwrap_or(PIECE));
            self.read_at(at + done, &mut piece[..n]).await?;
            sink(&piece[..n])?;
            done += n as u64;
            // A user who interrupts is heard between two pieces.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Remote {
    /// Fetches the first block, and learns the image's size from it.
    async fn open(&mut self) -> Result<bool, Failure> {
        let mut response = self.ask(0, BLOCK).await?;
        let (Some((0, _)), Some(size)) =
            (content_range(response.headers()), whole_length(&response))
        else {
            return Ok(false);
        };
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(false);
        }
        self.size = size;
        self.version = validators(response.headers());
        let mut bytes = Vec::new();
        self.receive(&mut response, BLOCK.min(size), &mut |it| {
            bytes.extend_from_slice(it);
            Ok(())
        })
        .await?;
        self.keep(0, bytes.into());
        Ok(true)
    }

    async fn ask(&self, from: u64, until: u64) -> Result<Response, Failure> {
        let mut headers = HeaderMap::new();
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(header::RANGE, &format!("bytes={from}-{}", until - 1));
        if let Some(version) = self.version.strong() {
            set(header::IF_RANGE, version);
        }
        self.http.ask(Ask { method: Method::GET, url: &self.url, headers }).await
    }

    /// Reads `wanted` bytes of a body; returns how many came.
    async fn receive(
        &mut self,
        response: &mut Response,
        wanted: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<u64, Failure> {
        let mut got = 0;
        while got < wanted {
            let Some(chunk) = self.http.next(&self.url, response).await? else {
                let error = SourceError::Truncated {
                    url: shown(&self.url),
                    got,
                    expected: Some(wanted),
                    tries: 1,
                };
                return Err(Failure { error, is_transient: true, retry_after: None });
            };
            let left = usize::try_from(wanted - got).unwrap_or(usize::MAX);
            let chunk = chunk.slice(..chunk.len().min(left));
            got += chunk.len() as u64;
            self.fetched += chunk.len() as u64;
            sink(&chunk)?;
        }
        Ok(got)
    }

    async fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), SourceError> {
        let mut done = 0;
        while done < buffer.len() {
            let position = at + done as u64;
            let block = self.block(position / BLOCK).await?;
            let inside = usize::try_from(position % BLOCK).unwrap_or_default();
            let from = block.get(inside..).unwrap_or_default();
            let n = from.len().min(buffer.len() - done);
            if n == 0 {
                return Err(SourceError::Changed { url: shown(&self.url) });
            }
            buffer[done..done + n].copy_from_slice(&from[..n]);
            done += n;
        }
        Ok(())
    }

    async fn block(&mut self, number: u64) -> Result<Bytes, SourceError> {
        if let Some(block) = self.blocks.get(&number) {
            return Ok(block.clone());
        }
        let at = number * BLOCK;
        let length = BLOCK.min(self.size.saturating_sub(at));
        let mut bytes = Vec::new();
        self.copy(at, length, &mut |it| {
            bytes.extend_from_slice(it);
            Ok(())
        })
        .await?;
        let block = Bytes::from(bytes);
        self.keep(number, block.clone());
        Ok(block)
    }

    fn keep(&mut self, number: u64, block: Bytes) {
        if self.order.len() >= KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
        self.order.push_back(number);
        self.blocks.insert(number, block);
    }

    /// Fetches a range, taking it up again where a connection breaks.
    async fn copy(
        &mut self,
        at: u64,
        length: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut done = 0;
        let mut tries = Tries::new(self.http.patience);
        while done < length {
            let before = done;
            let mut count = |it: &[u8]| {
                done += it.len() as u64;
                sink(it)
            };
            let result = self.attempt(at + before, at + length, &mut count).await;
            if let Err(failure) = result {
                if done > before {
                    tries.progressed();
                }
                tries.again(failure).await?;
            }
        }
        Ok(())
    }

    async fn attempt(
        &mut self,
        from: u64,
        until: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), Failure> {
        let mut response = self.ask(from, until).await?;
        let is_range = response.status() == StatusCode::PARTIAL_CONTENT
            && content_range(response.headers()).is_some_and(|it| it.0 == from)
            && whole_length(&response).is_none_or(|it| it == self.size);
        if !is_range {
            return Err(SourceError::Changed { url: shown(&self.url) }.into());
        }
        self.receive(&mut response, until - from, sink).await?;
        Ok(())
    }
}
