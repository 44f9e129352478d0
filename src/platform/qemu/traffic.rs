//! What the guest asks the network for, read along the way.
//!
//! Plain HTTP and DNS only: enough to name what an installer's "failed to
//! download" is about. Memory is bounded, nothing is delayed, and what cannot be
//! followed (a lost segment, a tunnel) is let go.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};
use tokio::sync::mpsc;

use super::{
    http::Flow,
    names::{InVain, Names},
};

/// Something that was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The guest asked the metadata address.
    Metadata {
        /// For this path.
        path: String,
    },
    /// The guest sent a line of its system log.
    Log {
        /// Without its priority.
        line: String,
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
    /// The connection ended before all of an answer was there.
    CutShort {
        /// The URL.
        url: String,
        /// Bytes of the body that did not come; nothing where no answer began.
        missing: Option<u64>,
    },
    /// Nobody listens there.
    Refused {
        /// Address and port, `10.0.2.2:3142`.
        server: String,
    },
    /// There is no such name. A resolver also tries names that nobody meant,
    /// with its search domains.
    NameNotFound {
        /// The name.
        name: String,
    },
    /// No name server knows whether there is such a name, or none answers.
    NameNotAnswered {
        /// The name.
        name: String,
    },
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { path } => write!(f, "the guest asked for its metadata {path}"),
            Self::Log { line } => f.write_str(line),
            Self::Request { method, url, status } => write!(f, "{method} {url}  {status}"),
            Self::CutShort { url, missing: Some(n) } => {
                write!(f, "{url}  the connection ended {n} bytes short")
            }
            Self::CutShort { url, missing: None } => {
                write!(f, "{url}  the connection ended without an answer")
            }
            Self::Refused { server } => write!(f, "{server} refuses connections"),
            Self::NameNotFound { name } => write!(f, "there is no host of the name {name}"),
            Self::NameNotAnswered { name } => write!(f, "no name server answers for {name}"),
        }
    }
}

/// Something that the guest waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// A URL, a server (`10.0.2.2:80`) or a name; one that is tried again and
    /// again in vain, too.
    pub what: String,
    /// For how long nothing has come of it.
    pub age: Duration,
}

/// Connections that are followed at the same time.
const MOST_FLOWS: usize = 256;
/// Failures that are not told again.
const MOST_TOLD: usize = 32;
/// Who has not tried again after so long has given up.
const RETRIED: Duration = Duration::from_secs(20);

/// The guest's port, the server's address and port.
type Key = (u16, [u8; 4], u16);

/// Reads along.
pub struct Observer {
    seen: mpsc::Sender<Seen>,
    flows: HashMap<Key, Flow>,
    order: VecDeque<Key>,
    names: Names,
    /// Failures that were told: an installer tries again every second.
    told: VecDeque<Seen>,
    vain: Option<Vain>,
}

/// Something that is tried again and again, and nothing else succeeds meanwhile.
struct Vain {
    what: String,
    since: Instant,
    last: Instant,
}

impl Observer {
    /// Tells what it sees through this channel.
    pub fn new(seen: mpsc::Sender<Seen>) -> Self {
        let (flows, order) = (HashMap::new(), VecDeque::new());
        let (names, told) = (Names::default(), VecDeque::new());
        Self { seen, flows, order, names, told, vain: None }
    }

    /// Tells something. Where nobody reads fast enough it is left out, and so is
    /// a failure that has just been told.
    pub fn tell(&mut self, seen: Seen) {
        self.try_again(&seen, Instant::now());
        if !matches!(seen, Seen::Metadata { .. } | Seen::Request { .. }) {
            if self.told.contains(&seen) {
                return;
            }
            if self.told.len() >= MOST_TOLD {
                self.told.pop_front();
            }
            self.told.push_back(seen.clone());
        }
        _ = self.seen.try_send(seen);
    }

    /// Tells a line of the guest's log. Where nobody reads fast enough it is left out.
    pub fn log(&mut self, line: String) {
        _ = self.seen.try_send(Seen::Log { line });
    }

    /// A frame that the guest sent.
    pub fn guest_sent(&mut self, frame: &[u8]) {
        match Packet::of(frame) {
            Some(Packet::Segment(segment)) => self.segment_sent(&segment),
            Some(Packet::Datagram { from_port, to_port: DNS, payload, .. }) => {
                let in_vain = self.names.ask(from_port, payload, Instant::now());
                self.tell_name(in_vain);
            }
            _ => {}
        }
    }

    /// A frame for the guest.
    pub fn guest_received(&mut self, frame: &[u8]) {
        match Packet::of(frame) {
            Some(Packet::Segment(segment)) => self.segment_received(&segment),
            Some(Packet::Datagram { from_port: DNS, to_port, payload, .. }) => {
                let in_vain = self.names.answer(to_port, payload);
                self.tell_name(in_vain);
            }
            _ => {}
        }
    }

    /// What the guest waits for, the oldest first.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        let now = Instant::now();
        let names = self.names.unanswered().map(|(name, since)| (name.to_owned(), since));
        let mut all: Vec<_> = self
            .flows
            .iter()
            .filter_map(|(key, flow)| flow.unanswered().or_else(|| flow.connecting(&server(*key))))
            .chain(names)
            .chain(
                self.vain
                    .iter()
                    .filter(|it| it.goes_on(now) && it.is_again())
                    .map(|it| (it.what.clone(), it.since)),
            )
            .map(|(what, since)| Unanswered { what, age: now.duration_since(since) })
            .collect();
        all.sort_by_key(|it| Reverse(it.age));
        all
    }

    fn try_again(&mut self, seen: &Seen, now: Instant) {
        let what = match seen {
            Seen::CutShort { url, .. } => url,
            Seen::Refused { server } => server,
            Seen::Request { url, status: ..400, .. } => {
                // What was cut short begins well each time.
                self.vain.take_if(|it| it.what != *url);
                return;
            }
            _ => return,
        };
        match &mut self.vain {
            Some(known) if known.what == *what && known.goes_on(now) => known.last = now,
            other => *other = Some(Vain { what: what.clone(), since: now, last: now }),
        }
    }

    fn segment_sent(&mut self, segment: &Segment<'_>) {
        let key = (segment.from_port, segment.to, segment.to_port);
        let is_again = self.flows.get(&key).is_some_and(|it| it.connecting("").is_some());
        if segment.is_first && !is_again {
            self.forget(key);
            self.flows.insert(key, Flow::new(server(key)));
            self.order.push_back(key);
            if self.order.len() > MOST_FLOWS
                && let Some(oldest) = self.order.pop_front()
            {
                self.flows.remove(&oldest);
            }
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.guest_sent(segment);
        if segment.is_reset {
            self.forget(key);
        }
    }

    fn segment_received(&mut self, segment: &Segment<'_>) {
        let key = (segment.to_port, segment.from, segment.from_port);
        let Some(flow) = self.flows.get_mut(&key) else { return };
        let mut found = Vec::new();
        flow.guest_received(segment, &mut found);
        if segment.is_last || segment.is_reset {
            self.forget(key);
        }
        for seen in found {
            self.tell(seen);
        }
    }

    fn tell_name(&mut self, in_vain: Option<InVain>) {
        match in_vain {
            Some(InVain::NotFound(name)) => self.tell(Seen::NameNotFound { name }),
            Some(InVain::NoAnswer(name)) => self.tell(Seen::NameNotAnswered { name }),
            None => {}
        }
    }

    fn forget(&mut self, key: Key) {
        if self.flows.remove(&key).is_some() {
            self.order.retain(|it| *it != key);
        }
    }
}

impl Vain {
    fn goes_on(&self, now: Instant) -> bool {
        now.duration_since(self.last) < RETRIED
    }

    fn is_again(&self) -> bool {
        self.last > self.since
    }
}

fn server((_, [a, b, c, d], port): Key) -> String {
    format!("{a}.{b}.{c}.{d}:{port}")
}

/// The port of name servers.
const DNS: u16 = 53;

/// What a frame with IPv4 in it carries.
enum Packet<'a> {
    Segment(Segment<'a>),
    Datagram { from_port: u16, to_port: u16, payload: &'a [u8] },
}

/// A TCP segment.
pub(super) struct Segment<'a> {
    pub(super) from: [u8; 4],
    pub(super) to: [u8; 4],
    pub(super) from_port: u16,
    pub(super) to_port: u16,
    pub(super) sequence: u32,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) is_reset: bool,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        if packet.frag_offset() != 0 {
            return None;
        }
        match packet.next_header() {
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(packet.payload()).ok()?;
                let (from_port, to_port) = (udp.src_port(), udp.dst_port());
                Some(Self::Datagram { from_port, to_port, payload: udp.payload() })
            }
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
                Some(Self::Segment(Segment {
                    from: packet.src_addr().octets(),
                    to: packet.dst_addr().octets(),
                    from_port: tcp.src_port(),
                    to_port: tcp.dst_port(),
                    sequence: u32::from_ne_bytes(tcp.seq_number().0.to_ne_bytes()),
                    is_first: tcp.syn(),
                    is_last: tcp.fin(),
                    is_reset: tcp.rst(),
                    payload: packet.payload().get(usize::from(tcp.header_len())..)?,
                }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A TCP segment in a frame.
    fn frame(is_sent: bool, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let (guest, server) = (([10, 0, 2, 15], 40000u16), ([10, 0, 2, 2], 80u16));
        let (from, to) = if is_sent { (guest, server) } else { (server, guest) };
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

    const SYN: u8 = 2;
    const FIN: u8 = 0x11;
    const RST: u8 = 0x14;

    fn observe(asked: &[&[u8]], answered: &[&[u8]]) -> Vec<Seen> {
        observe_until(asked, answered, FIN)
    }

    fn observe_until(asked: &[&[u8]], answered: &[&[u8]], end: u8) -> Vec<Seen> {
        let (sender, mut seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        let (mut out, mut back) = (u32::MAX - 10, 5000u32);
        observer.guest_sent(&frame(true, SYN, out, b""));
        observer.guest_received(&frame(false, 0x12, back, b""));
        (out, back) = (out.wrapping_add(1), back + 1);
        for payload in asked {
            observer.guest_sent(&frame(true, 0x18, out, payload));
            // Sent twice, as after a lost acknowledgement.
            observer.guest_sent(&frame(true, 0x18, out, payload));
            out = out.wrapping_add(u32::try_from(payload.len()).unwrap());
        }
        for payload in answered {
            observer.guest_received(&frame(false, 0x18, back, payload));
            back += u32::try_from(payload.len()).unwrap();
        }
        observer.guest_received(&frame(false, end, back, b""));
        assert!(observer.flows.is_empty() && observer.order.is_empty());
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
            let seen =
                observe(&[&asked[..cut], &asked[cut..]], &[&answered[..cut], &answered[cut..]]);
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
    fn after_an_answer_of_unknown_length_the_next_one_is_seen() {
        let asked: [&[u8]; 2] =
            [b"GET /a HTTP/1.1\r\nHost: m\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: m\r\n\r\n"];
        let answered: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"0\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ];
        let seen = observe(&asked, &answered);
        assert_eq!(seen, [request("http://m/a", 200), request("http://m/b", 404)]);
    }

    #[test]
    fn an_answer_that_breaks_off_is_told() {
        let asked = b"GET /a HTTP/1.1\r\nHost: m\r\n\r\n";
        let url = || "http://m/a".to_owned();
        for end in [FIN, RST] {
            let part = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
            let seen = observe_until(&[asked], &[part], end);
            let cut = Seen::CutShort { url: url(), missing: Some(7) };
            assert_eq!(seen, [request("http://m/a", 200), cut]);
            let seen = observe_until(&[asked], &[], end);
            assert_eq!(seen, [Seen::CutShort { url: url(), missing: None }]);
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_told() {
        let (sender, mut seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        observer.guest_sent(&frame(true, SYN, 1, b""));
        assert_eq!(observer.unanswered()[0].what, "10.0.2.2:80");
        observer.guest_received(&frame(false, RST, 0, b""));
        assert_eq!(seen.try_recv(), Ok(Seen::Refused { server: "10.0.2.2:80".into() }));
        assert!(observer.unanswered().is_empty());
    }

    #[test]
    fn a_request_is_unanswered_until_its_answer_begins() {
        let (sender, _seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        observer.guest_sent(&frame(true, SYN, 1, b""));
        observer.guest_received(&frame(false, 0x12, 1, b""));
        assert!(observer.unanswered().is_empty());
        let asked = b"GET /slow HTTP/1.1\r\nHost: m\r\n\r\n";
        observer.guest_sent(&frame(true, 0x18, 2, asked));
        assert_eq!(observer.unanswered()[0].what, "http://m/slow");
        observer.guest_received(&frame(
            false,
            0x18,
            2,
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
        ));
        assert!(observer.unanswered().is_empty());
    }

    #[test]
    fn a_request_that_was_given_up_is_not_waited_for() {
        let (sender, _seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        observer.guest_sent(&frame(true, SYN, 1, b""));
        observer.guest_received(&frame(false, 0x12, 1, b""));
        let asked = b"GET /slow HTTP/1.1\r\nHost: m\r\n\r\n";
        observer.guest_sent(&frame(true, 0x18, 2, asked));
        assert_eq!(observer.unanswered().len(), 1);
        let end = 2 + u32::try_from(asked.len()).unwrap();
        observer.guest_sent(&frame(true, FIN, end, b""));
        assert!(observer.unanswered().is_empty());
    }

    #[test]
    fn what_is_tried_again_in_vain_is_waited_for() {
        let (sender, _seen) = mpsc::channel(64);
        let mut observer = Observer::new(sender);
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let cut = |missing| Seen::CutShort { url: "http://m/a".into(), missing: Some(missing) };
        for n in 0..6 {
            let now = began + second * 10 * n;
            observer.try_again(&request("http://m/a", 206), now);
            observer.try_again(&cut(u64::from(n)), now);
        }
        let vain = observer.vain.as_ref().unwrap();
        assert_eq!((vain.since, vain.last), (began, began + second * 50));
        assert!(vain.goes_on(began + second * 60) && !vain.goes_on(began + second * 80));
        observer.try_again(&request("http://m/b", 200), began + second * 55);
        assert!(observer.vain.is_none());
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
                observer.guest_sent(it);
                observer.guest_received(it);
            }
            observer.guest_sent(&frame(true, 2, 0, b""));
            let mut sequence = 1;
            for it in &payloads {
                observer.guest_sent(&frame(true, 0x18, sequence, it));
                observer.guest_received(&frame(false, 0x18, sequence, it));
                sequence += u32::try_from(it.len()).unwrap();
            }
        }
    }
}
