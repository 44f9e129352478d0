//! The wire between a guest's network card and QEMU's user network.
//!
//! imgbuild is the wire: it passes Ethernet frames on in both directions, keeps
//! those for the metadata address to itself, and reads along. So the guest has
//! one card and sees what it would see in Nova, and nothing listens on the host.
//!
//! Frames on QEMU's `stream` network backend are preceded by their length, four
//! bytes in network order (net/stream.c in QEMU's source).

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Notify, mpsc},
};

use super::{
    endpoint::{ADDRESS, Endpoint},
    metadata::Metadata,
    syslog,
    traffic::{Observer, Seen, Unanswered},
};

/// Larger than any frame, small enough to bound what waits.
const CHUNK: usize = 256 << 10;
/// The largest frame QEMU sends (`NET_BUFSIZE` in its source).
const LARGEST_FRAME: usize = 4096 + 65536;
const ETHERNET: usize = 14;
/// The card of the metadata address, where the guest asks for it directly.
const OWN_MAC: [u8; 6] = [0x52, 0x55, 169, 254, 169, 254];

/// What the wire counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Bytes the guest sent.
    pub sent: u64,
    /// Bytes the guest received.
    pub received: u64,
}

/// The wire of one machine. It ends with the machine.
pub struct Wire {
    carried: Rc<RefCell<Carried>>,
    shared: Rc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    endpoint: RefCell<Endpoint>,
    /// The guest's card, and the card it takes for that of the address.
    cards: RefCell<([u8; 6], [u8; 6])>,
    observer: RefCell<Observer>,
    wake: Notify,
}

impl Wire {
    /// Joins the two sides. What is seen on the way comes out of the channel.
    pub fn join(
        guest: UnixStream,
        network: UnixStream,
        metadata: Metadata,
    ) -> (Self, mpsc::Receiver<Seen>) {
        let (seen, events) = mpsc::channel(1024);
        let carried = Rc::new(RefCell::new(Carried::default()));
        let shared = Rc::new(Shared {
            endpoint: RefCell::new(Endpoint::new(metadata)),
            cards: RefCell::new(([0xff; 6], OWN_MAC)),
            observer: RefCell::new(Observer::new(seen)),
            wake: Notify::new(),
        });
        let (guest_reader, guest_writer) = guest.into_split();
        let (network_reader, network_writer) = network.into_split();
        let guest_writer = Rc::new(Mutex::new(guest_writer));
        let out = outward(
            guest_reader,
            network_writer,
            guest_writer.clone(),
            shared.clone(),
            carried.clone(),
        );
        let back = inward(network_reader, guest_writer.clone(), shared.clone(), carried.clone());
        let tasks = vec![
            tokio::task::spawn_local(out),
            tokio::task::spawn_local(back),
            tokio::task::spawn_local(serve(guest_writer, shared.clone())),
        ];
        (Self { carried, shared, tasks }, events)
    }

    /// What the guest waits for, the oldest first.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        self.shared.observer.borrow().unanswered()
    }

    /// What went over the wire so far.
    pub fn carried(&self) -> Carried {
        *self.carried.borrow()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// From the guest to the network.
async fn outward(
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    back: Rc<Mutex<OwnedWriteHalf>>,
    shared: Rc<Shared>,
    carried: Rc<RefCell<Carried>>,
) {
    let mut frames = Frames::default();
    let mut passed = Vec::new();
    let mut replies = Vec::new();
    while frames.read(&mut reader).await {
        while let Some(frame) = frames.next() {
            carried.borrow_mut().sent += frame.len() as u64;
            match aim(frame) {
                Aim::Metadata(packet) => {
                    if let Some(line) = syslog::message(packet) {
                        shared.observer.borrow_mut().log(line);
                        continue;
                    }
                    let mut cards = shared.cards.borrow_mut();
                    cards.0.copy_from_slice(&frame[6..12]);
                    cards.1.copy_from_slice(&frame[..6]);
                    shared.endpoint.borrow_mut().take(packet.to_vec());
                    shared.wake.notify_one();
                }
                Aim::WhoHasMetadata => push(&mut replies, &i_have(frame)),
                Aim::Elsewhere => {
                    shared.observer.borrow_mut().guest_sent(frame);
                    push(&mut passed, frame);
                }
            }
        }
        if !replies.is_empty() {
            if back.lock().await.write_all(&replies).await.is_err() {
                return;
            }
            replies.clear();
        }
        if !passed.is_empty() {
            if writer.write_all(&passed).await.is_err() {
                return;
            }
            passed.clear();
        }
    }
}

/// From the network to the guest.
async fn inward(
    mut reader: OwnedReadHalf,
    writer: Rc<Mutex<OwnedWriteHalf>>,
    shared: Rc<Shared>,
    carried: Rc<RefCell<Carried>>,
) {
    let mut frames = Frames::default();
    let mut passed = Vec::new();
    while frames.read(&mut reader).await {
        while let Some(frame) = frames.next() {
            carried.borrow_mut().received += frame.len() as u64;
            shared.observer.borrow_mut().guest_received(frame);
            push(&mut passed, frame);
        }
        if !passed.is_empty() {
            if writer.lock().await.write_all(&passed).await.is_err() {
                return;
            }
            passed.clear();
        }
    }
}

/// Lets the metadata address answer.
async fn serve(writer: Rc<Mutex<OwnedWriteHalf>>, shared: Rc<Shared>) {
    let mut frames = Vec::new();
    loop {
        let asked = shared.endpoint.borrow_mut().work();
        for path in asked {
            shared.observer.borrow_mut().tell(Seen::Metadata { path });
        }
        {
            let (guest, own) = *shared.cards.borrow();
            let mut endpoint = shared.endpoint.borrow_mut();
            while let Some(packet) = endpoint.give() {
                // An IPv4 packet in an Ethernet frame.
                let frame = [&guest[..], &own[..], &[0x08, 0x00], &packet[..]].concat();
                push(&mut frames, &frame);
            }
        }
        if !frames.is_empty() {
            if writer.lock().await.write_all(&frames).await.is_err() {
                return;
            }
            frames.clear();
        }
        let rest = shared.endpoint.borrow_mut().rest().unwrap_or(Duration::from_hours(1));
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// Where a frame of the guest wants to go.
#[derive(Debug, PartialEq)]
enum Aim<'a> {
    /// To the metadata address; the IP packet.
    Metadata(&'a [u8]),
    /// It asks who has that address.
    WhoHasMetadata,
    /// Somewhere else.
    Elsewhere,
}

fn aim(frame: &[u8]) -> Aim<'_> {
    match frame.get(12..14) {
        // IPv4, destination at 16.
        Some([0x08, 0x00]) if frame.get(30..34) == Some(&ADDRESS) => {
            Aim::Metadata(&frame[ETHERNET..])
        }
        // ARP request (operation 1 at 6), target address at 24.
        Some([0x08, 0x06])
            if frame.get(20..22) == Some(&[0, 1]) && frame.get(38..42) == Some(&ADDRESS) =>
        {
            Aim::WhoHasMetadata
        }
        _ => Aim::Elsewhere,
    }
}

/// The answer to an ARP request for the metadata address.
fn i_have(request: &[u8]) -> Vec<u8> {
    let (asker_mac, asker_address) = (&request[22..28], &request[28..32]);
    [
        asker_mac,
        &OWN_MAC,
        // ARP; Ethernet, IPv4, their lengths, "reply".
        &[0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 2],
        &OWN_MAC,
        &ADDRESS,
        asker_mac,
        asker_address,
    ]
    .concat()
}

fn push(buffer: &mut Vec<u8>, frame: &[u8]) {
    // A frame is far smaller than 4 GiB.
    buffer.extend_from_slice(&u32::try_from(frame.len()).unwrap_or_default().to_be_bytes());
    buffer.extend_from_slice(frame);
}

/// Frames out of a stream of bytes.
#[derive(Default)]
struct Frames {
    buffer: Vec<u8>,
    start: usize,
}

impl Frames {
    /// Reads some bytes; no more where the stream is over or makes no sense.
    async fn read(&mut self, reader: &mut OwnedReadHalf) -> bool {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() >= 4 && self.length() > LARGEST_FRAME {
            return false;
        }
        self.buffer.reserve(CHUNK);
        reader.read_buf(&mut self.buffer).await.is_ok_and(|it| it > 0)
    }

    fn length(&self) -> usize {
        self.buffer
            .get(self.start..self.start + 4)
            .and_then(|it| it.try_into().ok())
            .map_or(usize::MAX, |it| u32::from_be_bytes(it) as usize)
    }

    /// The next whole frame.
    fn next(&mut self) -> Option<&[u8]> {
        let length = self.length();
        if length > LARGEST_FRAME {
            return None;
        }
        let from = self.start + 4;
        let frame = self.buffer.get(from..from + length)?;
        self.start = from + length;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let frames: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; usize::from(n) * 37]).collect();
        let mut bytes = Vec::new();
        for frame in &frames {
            push(&mut bytes, frame);
        }
        for step in [1, 2, 3, 7, 100, bytes.len()] {
            let mut reader = Frames::default();
            let mut found = Vec::new();
            for chunk in bytes.chunks(step) {
                reader.buffer.drain(..reader.start);
                reader.start = 0;
                reader.buffer.extend_from_slice(chunk);
                while let Some(frame) = reader.next() {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found, frames, "in steps of {step}");
        }
    }

    proptest::proptest! {
           #[test]
           fn any_stream_is_read_without_harm(bytes: Vec<u8>, step in 1usize..64) {
               let mut reader = Frames::default();
               for chunk in bytes.chunks(step) {
                   reader.buffer.extend_from_slice(chunk);
                   while let Some(frame) = reader.next() {
                       aim(frame);
                   }
               }
           }

           #[test]
           fn frames_are_the_same_on_both_ends(
               frames in proptest::collection::vec(
                   proptest::collection::vec(proptest::num::u8::ANY, 0..2000), 0..20),
               step in 1usize..4000,
           ) {
               let mut bytes = Vec::new();
               for it in &frames {
    push(&mut bytes, it);
    }
               let mut reader = Frames::default();
               let mut found = Vec::new();
               for chunk in bytes.chunks(step) {
                   reader.buffer.extend_from_slice(chunk);
                   while let Some(frame) = reader.next() {
                       found.push(frame.to_vec());
                   }
               }
               proptest::prop_assert_eq!(found, frames);
           }
       }

    #[test]
    fn a_frame_goes_where_it_says() {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[30..34].copy_from_slice(&[10, 0, 2, 2]);
        assert_eq!(aim(&frame), Aim::Elsewhere);
        frame[30..34].copy_from_slice(&ADDRESS);
        assert!(matches!(aim(&frame), Aim::Metadata(_)));
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        frame[20..22].copy_from_slice(&[0, 1]);
        frame[38..42].copy_from_slice(&ADDRESS);
        assert_eq!(aim(&frame), Aim::WhoHasMetadata);
        for n in 0..60 {
            aim(&frame[..n]);
        }
    }

    #[test]
    fn an_arp_reply_names_the_address_and_its_card() {
        let mut request = vec![0; 42];
        request[22..28].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        request[28..32].copy_from_slice(&[10, 0, 2, 15]);
        let reply = i_have(&request);
        assert_eq!(reply.len(), 42);
        assert_eq!(&reply[..6], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(&reply[20..22], &[0, 2]);
        assert_eq!(&reply[28..32], &ADDRESS);
        assert_eq!(&reply[38..42], &[10, 0, 2, 15]);
    }
}
