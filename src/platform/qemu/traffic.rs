//! What the guest asks the network for, read along the way.
//!
//! Plain HTTP only: enough to name the request that an installer's "failed to
//! download" is about. Memory is bounded, nothing is delayed, and what cannot be
//! followed (a lost segment, a tunnel) is let go.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;

/// Something that was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The guest asked the metadata address.
    Metadata {
        /// For this path.
        path: String,
    },
    /// A request over plain HTTP was answered.
    Request {
        /// `GET`, `HEAD`
        method: String,
        /// The URL.
        url: String,
        /// The status of the answer.
        status: u16,
    },
}

/// Connections that are followed at the same time.
const MOST_FLOWS: usize = 256;
/// Requests of one connection that wait for their answers.
const MOST_WAITING: usize = 64;
/// A header longer than this is not followed.
const LONGEST_HEADER: usize = 16 << 10;

/// The guest's port, the server's address and port.
type Key = (u16, [u8; 4], u16);

/// Reads along.
pub struct Observer {
    seen: mpsc::Sender<Seen>,
    flows: HashMap<Key, Flow>,
    order: VecDeque<Key>,
}

/// One connection.
#[derive(Default)]
struct Flow {
    /// Part of a request's header.
    asking: Vec<u8>,
    waiting: VecDeque<(String, String)>,
    answering: Answering,
    /// The next byte's sequence number, from guest and to guest.
    next: [Option<u32>; 2],
}

enum Answering {
    /// In an answer's header, of which this is there.
    Header(Vec<u8>),
    /// In an answer's body, of which so many bytes are to come.
    Body(u64),
    /// No longer followed.
    Lost,
}

impl Default for Answering {
    fn default() -> Self {
        Self::Header(Vec::new())
    }
}

impl Observer {
    /// Tells what it sees through this channel.
    pub fn new(seen: mpsc::Sender<Seen>) -> Self {
        Self { seen, flows: HashMap::new(), order: VecDeque::new() }
    }

    /// Tells something. Where nobody reads fast enough it is left out.
    pub fn tell(&self, seen: Seen) {
        _ = self.seen.try_send(seen);
    }

    /// A frame that the guest sent.
    pub fn from_guest(&mut self, frame: &[u8]) {
        let Some(segment) = Segment::of(frame) else { return };
        let key = (segment.from_port, segment.to, segment.to_port);
        if segment.is_first {
            self.forget(&key);
            self.flows.insert(key, Flow::default());
            self.order.push_back(key);
            if self.order.len() > MOST_FLOWS
                && let Some(oldest) = self.order.pop_front()
            {
                self.flows.remove(&oldest);
            }
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if flow.in_order(0, &segment) {
            flow.ask(segment.payload, segment.to, segment.to_port);
        }
        if segment.is_reset {
            self.forget(&key);
        }
    }

    /// A frame for the guest.
    pub fn to_guest(&mut self, frame: &[u8]) {
        let Some(segment) = Segment::of(frame) else { return };
        let key = (segment.to_port, segment.from, segment.from_port);
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if flow.in_order(1, &segment) {
            let mut found = Vec::new();
            flow.answer(segment.payload, &mut found);
            for seen in found {
                self.tell(seen);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if self.flows.remove(key).is_some() {
            self.order.retain(|it| it != key);
        }
    }
}

impl Flow {
    /// Whether a segment's payload is the next one. A repeated one is passed
    /// over; after a gap the connection is not followed any more.
    fn in_order(&mut self, side: usize, segment: &Segment<'_>) -> bool {
        let length = u32::try_from(segment.payload.len()).unwrap_or_default();
        let Some(next) = self.next.get_mut(side) else { return false };
        let expected = *next.get_or_insert(segment.sequence);
        let after_syn = if segment.is_first { 1 } else { 0 };
        if segment.is_first {
            *next = Some(segment.sequence.wrapping_add(after_syn + length));
            return false;
        }
        if length == 0 {
            return false;
        }
        if segment.sequence == expected {
            *next = Some(expected.wrapping_add(length));
            return true;
        }
        let is_repeated = expected.wrapping_sub(segment.sequence) < 1 << 31;
        if !is_repeated {
            self.answering = Answering::Lost;
        }
        false
    }

    fn ask(&mut self, payload: &[u8], to: [u8; 4], port: u16) {
        if matches!(self.answering, Answering::Lost) || self.waiting.len() >= MOST_WAITING {
            return;
        }
        self.asking.extend_from_slice(payload);
        loop {
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
                let host = request
                    .headers
                    .iter()
                    .find(|it| it.name.eq_ignore_ascii_case("host"))
                    .and_then(|it| std::str::from_utf8(it.value).ok())
                    .map_or_else(
                        || {
                            let [a, b, c, d] = to;
                            format!("{a}.{b}.{c}.{d}:{port}")
                        },
                        str::to_owned,
                    );
                format!("http://{host}{path}")
            } else {
                path.to_owned()
            };
            self.waiting.push_back((method, url));
            self.asking.drain(..length);
            if self.asking.is_empty() {
                return;
            }
        }
    }

    fn answer(&mut self, mut payload: &[u8], found: &mut Vec<Seen>) {
        while !payload.is_empty() {
            match &mut self.answering {
                Answering::Lost => return,
                Answering::Body(left) => {
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
                    let mut headers = [httparse::EMPTY_HEADER; 64];
                    let mut response = httparse::Response::new(&mut headers);
                    let length = match response.parse(header) {
                        Ok(httparse::Status::Complete(length)) => length,
                        Ok(httparse::Status::Partial) if header.len() < LONGEST_HEADER => return,
                        _ => {
                            self.answering = Answering::Lost;
                            return;
                        }
                    };
                    let status = response.code.unwrap_or(0);
                    let declared = response
                        .headers
                        .iter()
                        .find(|it| it.name.eq_ignore_ascii_case("content-length"))
                        .and_then(|it| std::str::from_utf8(it.value).ok()?.trim().parse().ok());
                    payload = payload.get(length - before.min(length)..).unwrap_or_default();
                    if (100..200).contains(&status) {
                        self.answering = Answering::default();
                        continue;
                    }
                    let Some((method, url)) = self.waiting.pop_front() else {
                        self.answering = Answering::Lost;
                        return;
                    };
                    let has_body = method != "HEAD" && status != 204 && status != 304;
                    self.answering = match declared {
                        Some(length) if has_body && length > 0 => Answering::Body(length),
                        Some(_) => Answering::default(),
                        None if !has_body => Answering::default(),
                        // Until the connection ends, or in chunks.
                        None => Answering::Lost,
                    };
                    found.push(Seen::Request { method, url, status });
                }
            }
        }
    }
}

/// A TCP segment over IPv4.
struct Segment<'a> {
    from: [u8; 4],
    to: [u8; 4],
    from_port: u16,
    to_port: u16,
    sequence: u32,
    is_first: bool,
    is_reset: bool,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        use smoltcp::wire::{
            EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket,
        };
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        if packet.next_header() != IpProtocol::Tcp || packet.frag_offset() != 0 {
            return None;
        }
        let (from, to) = (packet.src_addr().octets(), packet.dst_addr().octets());
        let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
        let header = usize::from(tcp.header_len());
        Some(Self {
            from,
            to,
            from_port: tcp.src_port(),
            to_port: tcp.dst_port(),
            sequence: u32::from_ne_bytes(tcp.seq_number().0.to_ne_bytes()),
            is_first: tcp.syn(),
            is_reset: tcp.rst(),
            payload: packet.payload().get(header..)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TCP segment in a frame.
    fn frame(from_guest: bool, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let (guest, server) = (([10, 0, 2, 15], 40000u16), ([10, 0, 2, 2], 80u16));
        let (from, to) = if from_guest { (guest, server) } else { (server, guest) };
        let length = u16::try_from(40 + payload.len()).unwrap();
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend(from.0);
        frame.extend(to.0);
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn observe(asked: &[&[u8]], answered: &[&[u8]]) -> Vec<Seen> {
        let (sender, mut seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        let (mut out, mut back) = (u32::MAX - 10, 5000u32);
        observer.from_guest(&frame(true, 2, out, b""));
        observer.to_guest(&frame(false, 0x12, back, b""));
        (out, back) = (out.wrapping_add(1), back + 1);
        for payload in asked {
            observer.from_guest(&frame(true, 0x18, out, payload));
            // Sent twice, as after a lost acknowledgement.
            observer.from_guest(&frame(true, 0x18, out, payload));
            out = out.wrapping_add(u32::try_from(payload.len()).unwrap());
        }
        for payload in answered {
            observer.to_guest(&frame(false, 0x18, back, payload));
            back += u32::try_from(payload.len()).unwrap();
        }
        std::iter::from_fn(|| seen.try_recv().ok()).collect()
    }

    fn request(url: &str, status: u16) -> Seen {
        Seen::Request { method: "GET".into(), url: url.into(), status }
    }

    #[test]
    fn a_request_and_its_answer_are_seen_however_they_are_cut() {
        let asked = b"GET /debian/x.udeb HTTP/1.1\r\nHost: mirror\r\n\r\n";
        let answered = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope";
        for cut in 1..40 {
            let seen = observe(
                &[&asked[..cut], &asked[cut..]],
                &[&answered[..cut], &answered[cut..]],
            );
            assert_eq!(seen, [request("http://mirror/debian/x.udeb", 404)], "cut at {cut}");
        }
    }

    #[test]
    fn pipelined_requests_keep_their_answers() {
        let asked = b"GET /a HTTP/1.1\r\nHost: m\r\n\r\nGET /b HTTP/1.1\r\nHost: m\r\n\r\n";
        let answered =
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
        let seen = observe(&[asked], &[answered]);
        assert_eq!(seen, [request("http://m/a", 200), request("http://m/b", 503)]);
    }

    #[test]
    fn what_is_not_http_is_let_go() {
        assert!(observe(&[b"\x16\x03\x01\x02\x00"], &[b"\x16\x03\x03"]).is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_frames_do_no_harm(frames: Vec<Vec<u8>>, payloads: Vec<Vec<u8>>) {
            let (sender, _seen) = mpsc::channel(4);
            let mut observer = Observer::new(sender);
            for it in &frames {
                observer.from_guest(it);
                observer.to_guest(it);
            }
            observer.from_guest(&frame(true, 2, 0, b""));
            let mut sequence = 1;
            for it in &payloads {
                observer.from_guest(&frame(true, 0x18, sequence, it));
                observer.to_guest(&frame(false, 0x18, sequence, it));
                sequence += u32::try_from(it.len()).unwrap();
            }
        }
    }
}
