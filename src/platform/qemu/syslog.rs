//! Messages of the guest's system log, sent to the metadata address.
//!
//! Syslog over UDP as in RFC 3164: a priority in angle brackets, then text, one
//! message a datagram. What busybox and installers send (`log_host=` of
//! debian-installer) is no more than that.

use smoltcp::wire::{IpProtocol, Ipv4Packet, UdpPacket};

/// RFC 3164, section 2.
const PORT: u16 = 514;

/// The message in an IPv4 packet, as a line without its priority.
pub(super) fn message(packet: &[u8]) -> Option<String> {
    let packet = Ipv4Packet::new_checked(packet).ok()?;
    if packet.next_header() != IpProtocol::Udp || packet.frag_offset() != 0 {
        return None;
    }
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    (datagram.dst_port() == PORT).then(|| line(datagram.payload()))
}

fn line(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let text = match text.strip_prefix('<').and_then(|it| it.split_once('>')) {
        Some((priority, text)) if priority.parse::<u8>().is_ok() => text,
        _ => text,
    };
    // One message stays one line, and commands nobody's terminal.
    text.chars().map(|it| if it.is_control() && it != '\t' { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload in a UDP datagram in an IPv4 packet.
    fn packet(port: u16, payload: &[u8]) -> Vec<u8> {
        let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0];
        packet.extend(length(28 + payload.len()));
        packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 169, 254, 169, 254]);
        packet.extend(40_000u16.to_be_bytes());
        packet.extend(port.to_be_bytes());
        packet.extend(length(8 + payload.len()));
        packet.extend([0, 0]);
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_message_becomes_a_line() {
        for (payload, expected) in [
            (
                &b"<30>Nov 23 12:00:01 main-menu[301]: INFO: Menu item"[..],
                "Nov 23 12:00:01 main-menu[301]: INFO: Menu item",
            ),
            (b"<13>two\nlines\x1b[31m\n\0", "two lines [31m"),
            (b"<999>no priority", "<999>no priority"),
            (b"<", "<"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(message(&packet(514, payload)).unwrap(), expected);
        }
        assert_eq!(message(&packet(80, b"<30>x")), None);
    }

    proptest::proptest! {
        #[test]
        fn any_packet_is_survived(bytes: Vec<u8>) {
            if let Some(text) = message(&bytes) {
                assert!(!text.contains('\n'));
            }
        }
    }
}
