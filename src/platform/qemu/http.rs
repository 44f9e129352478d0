//! HTTP/1 between the guest and one server, followed by its headers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::traffic::{Seen, Segment};

/// Requests of one connection that wait for their answers.
const MOST_WAITING: usize = 64;
/// A header longer than this is not followed.
const LONGEST_HEADER: usize = 16 << 10;
/// A body may pause for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// How every answer begins.
const ANSWER: &[u8] = b"HTTP/1.";

/// One connection.
pub(super) struct Flow {
    server: String,
    since: Instant,
    /// When the server last sent something.
    heard: Instant,
    /// The guest has no more to say: whoever gave up waiting closes.
    is_given_up: bool,
    /// Part of a request's header.
    asking: Vec<u8>,
    waiting: VecDeque<Request>,
    answering: Answering,
    /// The next byte's sequence number, from guest and to guest.
    next: [Option<u32>; 2],
}

struct Request {
    method: String,
    url: String,
    since: Instant,
}

enum Answering {
    /// In an answer's header, of which this is there.
    Header(Vec<u8>),
    /// In an answer's body, of which so many bytes are to come.
    Body { left: u64, url: String },
    /// In a body of unknown length, or somewhere after a gap.
    Open,
    /// This is not HTTP.
    Lost,
}

impl Default for Answering {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

impl Flow {
    /// A connection to a server that begins now.
    pub(super) fn new(server: String) -> Self {
        Self {
            server,
            since: Instant::now(),
            heard: Instant::now(),
            is_given_up: false,
            asking: Vec::new(),
            waiting: VecDeque::new(),
            answering: Answering::default(),
            next: [None; 2],
        }
    }

    /// The request that waits, and since when. One whose answer has begun waits
    /// only where the rest does not come.
    pub(super) fn unanswered(&self) -> Option<(String, Instant)> {
        if self.is_given_up {
            return None;
        }
        if let Answering::Body { url, .. } = &self.answering {
            return (self.heard.elapsed() >= PAUSE).then(|| (url.clone(), self.heard));
        }
        let request = self.waiting.front()?;
        Some((request.url.clone(), request.since))
    }

    /// `server`, and since when, where it has not answered at all yet.
    pub(super) fn connecting(&self, server: &str) -> Option<(String, Instant)> {
        let [_, answered] = self.next;
        (answered.is_none() && !self.is_given_up).then(|| (server.to_owned(), self.since))
    }

    /// A segment that the guest sent.
    pub(super) fn guest_sent(&mut self, segment: &Segment<'_>) {
        self.is_given_up |= segment.is_last;
        match self.order(0, segment) {
            Order::Next => self.ask(segment.payload),
            Order::AfterGap => self.asking.clear(),
            Order::Nothing => {}
        }
    }

    /// A segment for the guest.
    pub(super) fn guest_received(&mut self, segment: &Segment<'_>, found: &mut Vec<Seen>) {
        if segment.is_reset && self.connecting("").is_some() {
            found.push(Seen::Refused { server: self.server.clone() });
            return;
        }
        match self.order(1, segment) {
            Order::Next => {
                self.heard = Instant::now();
                self.answer(segment.payload, found);
            }
            Order::AfterGap if !matches!(self.answering, Answering::Lost) => {
                self.answering = Answering::Open;
            }
            Order::AfterGap | Order::Nothing => {}
        }
        if segment.is_last || segment.is_reset {
            found.extend(self.cut_short());
        }
    }

    /// What is missing when the connection ends now.
    fn cut_short(&mut self) -> Option<Seen> {
        match &self.answering {
            Answering::Body { left, url } => {
                Some(Seen::CutShort { url: url.clone(), missing: Some(*left) })
            }
            Answering::Header(_) => {
                let url = self.waiting.pop_front()?.url;
                Some(Seen::CutShort { url, missing: None })
            }
            Answering::Open | Answering::Lost => None,
        }
    }

    /// Where a segment's payload belongs.
    fn order(&mut self, side: usize, segment: &Segment<'_>) -> Order {
        let length = u32::try_from(segment.payload.len()).unwrap_or_default();
        let Some(next) = self.next.get_mut(side) else { return Order::Nothing };
        if segment.is_first {
            *next = Some(segment.sequence.wrapping_add(1 + length));
            return Order::Nothing;
        }
        let expected = *next.get_or_insert(segment.sequence);
        if length == 0 {
            return Order::Nothing;
        }
        let end = segment.sequence.wrapping_add(length);
        if segment.sequence == expected {
            *next = Some(end);
            return Order::Next;
        }
        let is_repeated = expected.wrapping_sub(segment.sequence) < 1 << 31;
        if is_repeated {
            return Order::Nothing;
        }
        *next = Some(end);
        Order::AfterGap
    }

    fn ask(&mut self, payload: &[u8]) {
        if matches!(self.answering, Answering::Lost) || self.waiting.len() >= MOST_WAITING {
            return;
        }
        self.asking.extend_from_slice(payload);
        while !self.asking.is_empty() {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            let length = match request.parse(&self.asking) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.asking.len() < LONGEST_HEADER => return,
                _ => {
                    // TLS, SSH or anything else: not ours to read.
                    self.asking.clear();
                    self.answering = Answering::Lost;
                    return;
                }
            };
            let method = request.method.unwrap_or_default().to_owned();
            let path = request.path.unwrap_or_default();
            let url = if path.starts_with('/') {
                let host = text_of(request.headers, "host").unwrap_or(&self.server);
                format!("http://{host}{path}")
            } else {
                // As proxies are asked.
                path.to_owned()
            };
            self.waiting.push_back(Request { method, url, since: Instant::now() });
            self.asking.drain(..length);
        }
    }

    fn answer(&mut self, mut payload: &[u8], found: &mut Vec<Seen>) {
        while !payload.is_empty() {
            match &mut self.answering {
                Answering::Lost => return,
                Answering::Open => {
                    if self.waiting.is_empty() || !payload.starts_with(ANSWER) {
                        return;
                    }
                    self.answering = Answering::default();
                }
                Answering::Body { left, .. } => {
                    let part = (*left).min(payload.len() as u64);
                    *left -= part;
                    payload = payload.get(usize::try_from(part).unwrap_or(0)..).unwrap_or_default();
                    if *left == 0 {
                        self.answering = Answering::default();
                    }
                }
                Answering::Header(header) => {
                    let before = header.len();
                    header.extend_from_slice(payload);
                    let header = std::mem::take(header);
                    let Some(length) = self.header(header, found) else { return };
                    payload = payload.get(length.saturating_sub(before)..).unwrap_or_default();
                }
            }
        }
    }

    /// The beginning of an answer. Returns the header's length where it is whole.
    fn header(&mut self, header: Vec<u8>, found: &mut Vec<Seen>) -> Option<usize> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&header) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if header.len() < LONGEST_HEADER => {
                self.answering = Answering::Header(header);
                return None;
            }
            _ => {
                self.answering = Answering::Lost;
                return None;
            }
        };
        let status = response.code.unwrap_or(0);
        let declared = text_of(response.headers, "content-length").and_then(|it| it.parse().ok());
        if (100..200).contains(&status) {
            self.answering = Answering::default();
            return Some(length);
        }
        let Some(Request { method, url, .. }) = self.waiting.pop_front() else {
            self.answering = Answering::Open;
            return None;
        };
        let has_body = method != "HEAD" && status != 204 && status != 304;
        self.answering = match declared {
            Some(left) if has_body && left > 0 => Answering::Body { left, url: url.clone() },
            None if has_body => Answering::Open,
            _ => Answering::default(),
        };
        found.push(Seen::Request { method, url, status });
        Some(length)
    }
}

/// Where a segment's payload belongs.
enum Order {
    /// It is what comes next.
    Next,
    /// Something before it is missing.
    AfterGap,
    /// It is empty, or was there before.
    Nothing,
}

fn text_of<'a>(headers: &'a [httparse::Header<'_>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|it| it.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}
