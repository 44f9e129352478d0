//! Image data on their way to Glance.
//!
//! The file is read by a thread of its own, a few chunks ahead of the wire:
//! constant memory, and neither waits for the other. There is no limit to how
//! long an upload takes, but one to how long nothing may move.

use std::{
    collections::VecDeque,
    io::Read as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use camino::Utf8Path;
use futures_util::Stream;
use reqwest::{
    Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Error, Service,
    call::no_answer,
    image::{Image, ImageState, Images, escape},
    wait::sleep,
};
use crate::engine::Teller;

/// How much is read at once.
const CHUNK: usize = 512 << 10;

/// How many chunks are read ahead.
const AHEAD: usize = 4;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

impl Images<'_> {
    /// Uploads a file as the data of a queued image; `what` names it in
    /// progress and messages. Data that are there already are left, if they
    /// are as long as the file.
    pub async fn upload(
        &self,
        id: &str,
        path: &Utf8Path,
        what: &str,
        teller: &Teller,
    ) -> Result<Image, Error> {
        let patience = *self.session.patience();
        let length = fs_err::metadata(path).map_err(Error::File)?.len();
        let mut n_sent = 0;
        // Since when what an attempt left that broke off is in the way.
        let mut held: Option<Instant> = None;
        for pause in patience.retry.pauses() {
            // This look also proves the token, before gigabytes are sent in vain.
            let image = self.get(id).await?;
            match image.status {
                ImageState::Active if image.size == Some(length) => return Ok(image),
                ImageState::Queued => {}
                // What is left of an attempt that broke off.
                ImageState::Saving
                    if held.get_or_insert_with(Instant::now).elapsed() < patience.stored =>
                {
                    sleep(pause, self.session.cancel()).await?;
                    continue;
                }
                state => {
                    let reason = match state {
                        ImageState::Active => "other data are there already",
                        ImageState::Saving => "an earlier upload does not end",
                        _ => "it takes no data",
                    };
                    return Err(Error::Ended {
                        what: format!("image `{id}`"),
                        state: state.to_string(),
                        reason: reason.into(),
                    });
                }
            }
            (n_sent, held) = (n_sent + 1, None);
            match self.upload_once(id, path, length, what, teller).await {
                Ok(()) => {}
                // An active image is found by the next look. A 401 is renewed by it.
                Err(err)
                    if (err.is_transient()
                        || matches!(err.status(), Some(401 | 409))
                        || matches!(err, Error::Stalled { .. }))
                        && n_sent < patience.attempts =>
                {
                    let pause = patience.before_again(&err, pause);
                    sleep(pause, self.session.cancel()).await?;
                }
                Err(err) => return Err(err),
            }
        }
        Err(Error::Cancelled)
    }

    async fn upload_once(
        &self,
        id: &str,
        path: &Utf8Path,
        length: u64,
        what: &str,
        teller: &Teller,
    ) -> Result<(), Error> {
        let target = format!("/images/{}/file", escape(id));
        let sent = Arc::new(AtomicU64::new(0));
        let body = FileBody::open(path, length, Arc::clone(&sent))?;
        let request = self
            .session
            .raw(Service::Image, Method::PUT, &target)
            .await?
            .header(CONTENT_TYPE, "application/octet-stream")
            // Without it the body would be chunked, which some stores refuse.
            .header(CONTENT_LENGTH, length)
            .body(reqwest::Body::wrap_stream(body));
        let title = format!("PUT {target}");
        let exchange = async {
            let response =
                request.send().await.map_err(|err| no_answer(Service::Image, &title, &err))?;
            self.session.raw_answer(Service::Image, title.clone(), response).await
        };
        let result = tokio::select! {
            biased;
            () = self.session.cancel().cancelled() => Err(Error::Cancelled),
            result = exchange => result.map(drop),
            err = self.watch(what, &sent, length, teller) => Err(err),
        };
        match result {
            Ok(()) => {
                teller.bytes(what, length, Some(length));
                Ok(())
            }
            // The reader has seen the file change; that is why the body broke.
            Err(_) if sent.load(Ordering::Relaxed) == CHANGED => {
                Err(Error::FileChanged { path: path.to_string() })
            }
            Err(err) => Err(err),
        }
    }

    /// Tells progress; returns when there has been none for too long.
    async fn watch(&self, what: &str, sent: &AtomicU64, length: u64, teller: &Teller) -> Error {
        let patience = self.session.patience();
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            tokio::time::sleep(TELL_EVERY.min(patience.idle)).await;
            let done = sent.load(Ordering::Relaxed).min(length);
            if done != last {
                (last, moved) = (done, Instant::now());
                teller.bytes(what, done, Some(length));
            }
            let limit = if done == length { patience.stored } else { patience.idle };
            if moved.elapsed() > limit {
                return Error::Stalled { what: what.to_owned(), done, idle: limit };
            }
        }
    }
}

/// In place of a count: the file is not as long as it was.
const CHANGED: u64 = u64::MAX;

/// A file as a stream of chunks.
struct FileBody {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    sent: Arc<AtomicU64>,
}

impl FileBody {
    fn open(path: &Utf8Path, length: u64, sent: Arc<AtomicU64>) -> Result<Self, Error> {
        let mut file = fs_err::File::open(path).map_err(Error::File)?;
        let (sender, chunks) = mpsc::channel(AHEAD);
        let count = Arc::clone(&sent);
        tokio::task::spawn_blocking(move || {
            let mut left = length;
            // Chunks that were handed out, the oldest first. One that the wire is
            // done with is written over: no new memory, and none to clear.
            let mut lent_out: VecDeque<Bytes> = VecDeque::new();
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
                let is_done = lent_out.front().is_some_and(Bytes::is_unique);
                let back = if is_done { lent_out.pop_front() } else { None };
                let mut buffer = back.and_then(|it| it.try_into_mut().ok()).unwrap_or_default();
                buffer.resize(want, 0);
                let chunk = match file.read(&mut buffer) {
                    Ok(0) => {
                        count.store(CHANGED, Ordering::Relaxed);
                        Err(std::io::ErrorKind::UnexpectedEof.into())
                    }
                    Ok(n) => {
                        left -= n as u64;
                        buffer.truncate(n);
                        let chunk = buffer.freeze();
                        lent_out.push_back(chunk.clone());
                        Ok(chunk)
                    }
                    Err(err) if err.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(err) => Err(err),
                };
                let failed = chunk.is_err();
                // Nobody wants the rest when the upload was given up.
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Self { chunks, sent })
    }
}

impl Stream for FileBody {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.chunks.poll_recv(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_arrives_whole_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x");
        let data: Vec<u8> = (0..=250).cycle().take(CHUNK * 3 + 17).collect();
        fs_err::write(&path, &data).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let mut body = FileBody::open(&path, data.len() as u64, Arc::clone(&sent)).unwrap();
        let mut got = Vec::new();
        while let Some(chunk) = body.next().await {
            got.extend_from_slice(&chunk.unwrap());
        }
        assert!(got == data);
        assert_eq!(sent.load(Ordering::Relaxed), data.len() as u64);
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x");
        fs_err::write(&path, b"short").unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let mut body = FileBody::open(&path, 10, sent).unwrap();
        assert!(body.next().await.unwrap().is_ok());
        assert!(body.next().await.unwrap().is_err());
    }
}
