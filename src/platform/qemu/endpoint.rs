//! The machine at 169.254.169.254: a TCP endpoint in user space.
//!
//! IP packets go in and come out; TCP is smoltcp's, the answers are those of
//! [`metadata`](super::metadata). No port is opened on the host, so nobody but
//! the guest can read the user-data.

use std::{collections::VecDeque, time::Duration};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp,
    time::Instant,
    wire::{HardwareAddress, IpAddress, IpCidr, IpProtocol, Ipv4Packet, TcpPacket},
};

use super::metadata::{self, Metadata};

/// The metadata address, see
/// <https://docs.openstack.org/nova/latest/user/metadata.html>.
pub const ADDRESS: [u8; 4] = [169, 254, 169, 254];
const PORT: u16 = 80;
/// Sockets that wait for a guest or talk to it. Where all of them talk, a further
/// connection is not answered, and the guest's TCP tries again a second later.
const N_SOCKETS: usize = 16;
/// As a guest's card has it.
const MTU: usize = 1500;
const BUFFER: usize = 16 << 10;
/// A guest that does not go on is forgotten.
const PATIENCE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);

/// The endpoint.
pub struct Endpoint {
    metadata: Metadata,
    interface: Interface,
    packets: Packets,
    sockets: SocketSet<'static>,
    talks: Vec<Talk>,
    began: std::time::Instant,
}

/// One connection, or a socket that waits for one.
struct Talk {
    handle: SocketHandle,
    request: Vec<u8>,
    reply: VecDeque<u8>,
    is_answered: bool,
}

impl Endpoint {
    /// An endpoint that answers with this metadata.
    pub fn new(metadata: Metadata) -> Self {
        let mut packets = Packets::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut packets, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let [a, b, c, d] = ADDRESS;
            // With this prefix every guest is on the same link, and no route is
            // needed. One address always fits.
            _ = addresses.push(IpCidr::new(IpAddress::v4(a, b, c, d), 0));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let talks = (0..N_SOCKETS)
            .map(|_| {
                let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
                let mut socket = tcp::Socket::new(buffer(), buffer());
                socket.set_timeout(Some(PATIENCE));
                Talk {
                    handle: sockets.add(socket),
                    request: Vec::new(),
                    reply: VecDeque::new(),
                    is_answered: false,
                }
            })
            .collect();
        let began = std::time::Instant::now();
        let mut endpoint = Self { metadata, interface, packets, sockets, talks, began };
        endpoint.work();
        endpoint
    }

    /// Takes an IP packet of the guest.
    pub fn take(&mut self, packet: Vec<u8>) {
        // smoltcp would refuse the connection.
        if begins(&packet) && !self.is_listening() {
            return;
        }
        // What the guest loses it sends again.
        if self.packets.incoming.len() < 256 {
            self.packets.incoming.push_back(packet);
        }
    }

    /// Goes on as far as possible. Returns the paths that were asked for.
    pub fn work(&mut self) -> Vec<String> {
        let mut asked = Vec::new();
        loop {
            self.interface.poll(self.now(), &mut self.packets, &mut self.sockets);
            let mut went_on = false;
            for talk in &mut self.talks {
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(talk.handle);
                went_on |= talk.work(socket, &self.metadata, &mut asked);
            }
            if !went_on && self.packets.incoming.is_empty() {
                self.interface.poll(self.now(), &mut self.packets, &mut self.sockets);
                return asked;
            }
        }
    }

    /// The next IP packet for the guest.
    pub fn give(&mut self) -> Option<Vec<u8>> {
        self.packets.outgoing.pop_front()
    }

    /// How long nothing will happen unless a packet comes.
    pub fn rest(&mut self) -> Option<Duration> {
        self.interface.poll_delay(self.now(), &self.sockets).map(Into::into)
    }

    /// Whether a socket is free, beside those that packets wait for.
    fn is_listening(&self) -> bool {
        let n_coming = self.packets.incoming.iter().filter(|it| begins(it)).count();
        let n_free = self
            .talks
            .iter()
            .filter(|it| self.sockets.get::<tcp::Socket<'_>>(it.handle).is_listening())
            .count();
        n_free > n_coming
    }

    fn now(&self) -> Instant {
        Instant::from_millis(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// Whether a packet begins a connection to our port.
fn begins(packet: &[u8]) -> bool {
    let Ok(packet) = Ipv4Packet::new_checked(packet) else { return false };
    packet.next_header() == IpProtocol::Tcp
        && TcpPacket::new_checked(packet.payload())
            .is_ok_and(|it| it.syn() && !it.ack() && it.dst_port() == PORT)
}

impl Talk {
    /// Returns whether anything happened.
    fn work(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        metadata: &Metadata,
        asked: &mut Vec<String>,
    ) -> bool {
        if !socket.is_open() {
            self.request.clear();
            self.reply.clear();
            self.is_answered = false;
            return socket.listen(PORT).is_ok();
        }
        let mut went_on = false;
        while socket.can_recv() {
            let received = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
            let Ok(bytes) = received else { break };
            went_on |= !bytes.is_empty();
            if !self.is_answered {
                self.request.extend_from_slice(&bytes);
            }
        }
        if !self.is_answered
            && !self.request.is_empty()
            && let Some((path, reply)) = metadata::answer(metadata, &self.request)
        {
            asked.push(path);
            self.reply.extend(reply);
            self.request.clear();
            self.is_answered = true;
            went_on = true;
        }
        while socket.can_send() && !self.reply.is_empty() {
            let (head, _) = self.reply.as_slices();
            let Ok(sent) = socket.send_slice(head) else { break };
            if sent == 0 {
                break;
            }
            self.reply.drain(..sent);
            went_on = true;
        }
        let is_over = self.is_answered && self.reply.is_empty();
        let was_left = !socket.may_recv() && !self.is_answered && !socket.is_listening();
        // A socket that has not begun to talk may not receive either, yet.
        let has_talked = matches!(socket.state(), tcp::State::Established | tcp::State::CloseWait);
        if has_talked && (is_over || was_left) {
            socket.close();
            went_on = true;
        }
        went_on
    }
}

/// The wire between endpoint and guest, as smoltcp sees it.
#[derive(Default)]
struct Packets {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Packets {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let result = write(&mut packet);
        self.0.push_back(packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest of the same library fetches through both stacks.
    fn fetch(metadata: Metadata, path: &str, lose_every: usize, end: &[u8]) -> Vec<u8> {
        let mut endpoint = Endpoint::new(metadata);
        let mut wire = Packets::default();
        let mut guest = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
        guest.update_ip_addrs(|it| {
            _ = it.push(IpCidr::new(IpAddress::v4(10, 0, 2, 15), 0));
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let [a, b, c, d] = ADDRESS;
        sockets
            .get_mut::<tcp::Socket<'_>>(handle)
            .connect(guest.context(), (IpAddress::v4(a, b, c, d), PORT), 40000)
            .unwrap();
        let (mut received, mut asked, mut n_packets) = (Vec::new(), false, 0);
        let began = std::time::Instant::now();
        loop {
            assert!(began.elapsed() < Duration::from_mins(1), "got {} bytes", received.len());
            let now = Instant::from_millis(i64::try_from(began.elapsed().as_millis()).unwrap());
            guest.poll(now, &mut wire, &mut sockets);
            while let Some(packet) = wire.outgoing.pop_front() {
                n_packets += 1;
                if lose_every == 0 || n_packets % lose_every != 0 {
                    endpoint.take(packet);
                }
            }
            endpoint.work();
            while let Some(packet) = endpoint.give() {
                n_packets += 1;
                if lose_every == 0 || n_packets % lose_every != 0 {
                    wire.incoming.push_back(packet);
                }
            }
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && !asked {
                socket.send_slice(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
                asked = true;
            }
            while socket.can_recv() {
                received.extend(socket.recv(|it| (it.len(), it.to_vec())).unwrap());
            }
            if received.ends_with(end) {
                return received;
            }
        }
    }

    #[test]
    fn a_large_answer_file_arrives_whole() {
        let text = "d-i x y z\n".repeat(10_000) + "the end";
        let metadata = Metadata { user_data: Some(text.clone().into()), ..Metadata::default() };
        let reply = fetch(metadata, "/latest/user-data", 0, b"the end");
        assert!(reply.ends_with(text.as_bytes()), "{} bytes", reply.len());
    }

    #[test]
    fn a_connection_too_many_is_not_refused() {
        let mut endpoint = Endpoint::new(Metadata::default());
        let mut wire = Packets::default();
        let mut guest = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, Instant::ZERO);
        guest.update_ip_addrs(|it| {
            _ = it.push(IpCidr::new(IpAddress::v4(10, 0, 2, 15), 0));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let [a, b, c, d] = ADDRESS;
        let handles: Vec<_> = (0..=N_SOCKETS)
            .map(|n| {
                let buffer = || tcp::SocketBuffer::new(vec![0; 1024]);
                let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
                let port = 40000 + u16::try_from(n).unwrap();
                sockets
                    .get_mut::<tcp::Socket<'_>>(handle)
                    .connect(guest.context(), (IpAddress::v4(a, b, c, d), PORT), port)
                    .unwrap();
                handle
            })
            .collect();
        for now in 0..10 {
            guest.poll(Instant::from_millis(now), &mut wire, &mut sockets);
            wire.outgoing.drain(..).for_each(|it| endpoint.take(it));
            endpoint.work();
            wire.incoming.extend(std::iter::from_fn(|| endpoint.give()));
        }
        let mut count = |state| {
            let of = |it: &&SocketHandle| sockets.get_mut::<tcp::Socket<'_>>(**it).state() == state;
            handles.iter().filter(of).count()
        };
        assert_eq!(count(tcp::State::Established), N_SOCKETS);
        assert_eq!(count(tcp::State::SynSent), 1);
    }

    #[test]
    fn lost_packets_are_sent_again() {
        let text = "x".repeat(40_000) + "the end";
        let metadata = Metadata { user_data: Some(text.clone().into()), ..Metadata::default() };
        let reply = fetch(metadata, "/latest/user-data", 13, b"the end");
        assert!(reply.ends_with(text.as_bytes()), "{} bytes", reply.len());
    }
}
