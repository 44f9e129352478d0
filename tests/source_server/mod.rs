//! A web server on loopback that can be asked for faults.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// A file that is served.
#[derive(Clone, Default)]
pub(crate) struct Page {
    pub(crate) body: Vec<u8>,
    pub(crate) etag: Option<String>,
    /// Whether range requests are answered.
    pub(crate) ranges: bool,
}

/// What goes wrong with the next request for a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It is answered with this status.
    Status(u16),
    /// With 429 and `Retry-After`, in seconds.
    Busy(u64),
    /// The body ends after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body.
    Stall(usize),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) status: u16,
    pub(crate) sent: usize,
}

#[derive(Default)]
struct State {
    pages: BTreeMap<String, Page>,
    faults: BTreeMap<String, VecDeque<Fault>>,
    asked: Vec<Asked>,
}

/// A server that runs as long as the test's runtime.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { state: Arc::default(), address: listener.local_addr().unwrap() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = serving.clone();
                tokio::spawn(async move { server.answer(stream).await });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Serves a body with an `ETag` and ranges.
    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        let body = body.into();
        let sum: u64 =
            body.iter().fold(7, |sum, it| sum.wrapping_mul(31).wrapping_add((*it).into()));
        let page = Page { etag: Some(format!("\"{}-{sum}\"", body.len())), ranges: true, body };
        self.put_page(path, page);
    }

    pub(crate) fn put_page(&self, path: &str, page: Page) {
        self.state.lock().unwrap().pages.insert(format!("/{path}"), page);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().pages.remove(&format!("/{path}"));
    }

    /// Lets the next requests for a path go wrong, one after the other.
    pub(crate) fn fail(&self, path: &str, faults: &[Fault]) {
        self.state.lock().unwrap().faults.entry(format!("/{path}")).or_default().extend(faults);
    }

    /// The requests since the last look.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    async fn answer(&self, mut stream: TcpStream) {
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(first)) = lines.next_line().await {
            let mut words = first.split(' ').map(str::to_owned);
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let mut headers = BTreeMap::new();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some((name, value)) = line.split_once(": ") else { break };
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            let (page, fault) = {
                let mut state = self.state.lock().unwrap();
                let fault = state.faults.get_mut(&path).and_then(VecDeque::pop_front);
                (state.pages.get(&path).cloned(), fault)
            };
            let mut head = String::new();
            let mut body = &[][..];
            let page = page.as_ref();
            let mut status = match (page, fault) {
                (_, Some(Fault::Status(status))) => status,
                (_, Some(Fault::Busy(secs))) => {
                    _ = write!(head, "Retry-After: {secs}\r\n");
                    429
                }
                (None, _) => 404,
                (Some(_), _) => 200,
            };
            if let (200, Some(page)) = (status, page) {
                body = &page.body;
                if let Some(etag) = &page.etag {
                    _ = write!(head, "ETag: {etag}\r\n");
                }
                let is_same =
                    |name: &str| headers.get(name).is_none_or(|it| Some(it) == page.etag.as_ref());
                if headers.contains_key("if-none-match") && is_same("if-none-match") {
                    (status, body) = (304, &[]);
                } else if let Some(range) = headers.get("range")
                    && page.ranges
                    && is_same("if-range")
                {
                    let (from, until) = range.trim_start_matches("bytes=").split_once('-').unwrap();
                    let from: usize = from.parse().unwrap();
                    let until =
                        until.parse::<usize>().map_or(body.len(), |it| body.len().min(it + 1));
                    if from >= body.len() {
                        (status, body) = (416, &[]);
                    } else {
                        _ = write!(
                            head,
                            "Content-Range: bytes {from}-{}/{}\r\n",
                            until - 1,
                            body.len()
                        );
                        (status, body) = (206, &body[from..until]);
                    }
                }
            }
            let length = if status == 304 {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            let head = format!("HTTP/1.1 {status} X\r\n{head}{length}\r\n");
            let (sent, is_cut) = match (method.as_str(), fault) {
                ("HEAD", _) => (0, false),
                (_, Some(Fault::Cut(n) | Fault::Stall(n))) => (n.min(body.len()), true),
                _ => (body.len(), false),
            };
            self.state.lock().unwrap().asked.push(Asked {
                method,
                path,
                range: headers.get("range").cloned(),
                status,
                sent,
            });
            if writer.write_all(head.as_bytes()).await.is_err()
                || writer.write_all(&body[..sent]).await.is_err()
            {
                return;
            }
            if let Some(Fault::Stall(_)) = fault {
                std::future::pending::<()>().await;
            }
            if is_cut {
                return;
            }
        }
    }
}
