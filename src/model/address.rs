//! Addresses of this machine, as it and its guests name it.

/// This machine, as guests on QEMU's user network reach it.
const HOST_FOR_GUESTS: &str = "://10.0.2.2";
/// The loopback interface, which only this machine reaches.
const LOOPBACK: [&str; 2] = ["://127.0.0.1", "://localhost"];

/// A URL as this machine reaches it, where it was written for a guest.
pub fn seen_from_host(url: &str) -> String {
    changed_host(url, &[HOST_FOR_GUESTS], LOOPBACK[0])
}

/// A URL as a guest on QEMU's user network reaches it, where it was written for
/// this machine.
pub fn seen_from_guest(url: &str) -> String {
    changed_host(url, &LOOPBACK, HOST_FOR_GUESTS)
}

/// A longer name may begin like the one that is looked for.
fn changed_host(url: &str, from: &[&str], to: &str) -> String {
    for name in from {
        if let Some((before, after)) = url.split_once(name)
            && (after.is_empty() || after.starts_with([':', '/']))
        {
            return format!("{before}{to}{after}");
        }
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_for_whoever_reads_it() {
        for (guest, host) in [
            ("http://10.0.2.2:3142/debian", "http://127.0.0.1:3142/debian"),
            ("http://10.0.2.2/x", "http://127.0.0.1/x"),
        ] {
            assert_eq!(seen_from_host(guest), host);
            assert_eq!(seen_from_guest(host), guest);
        }
        assert_eq!(seen_from_guest("http://localhost/x"), "http://10.0.2.2/x");
        for other in ["http://10.0.2.20/x", "http://ftp.debian.org/debian", "/srv/tree"] {
            assert_eq!(seen_from_host(other), other);
            assert_eq!(seen_from_guest(other), other);
        }
    }
}
