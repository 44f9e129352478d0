//! What a guest finds at <http://169.254.169.254/>, as in Nova. Pure.
//!
//! The EC2 paths are those of
//! <https://docs.openstack.org/nova/latest/user/metadata.html#ec2-compatible-metadata>,
//! the OpenStack paths those of the sections beside it.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

/// The versions of the EC2 metadata that Nova lists.
const EC2_VERSIONS: [&str; 9] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
];
/// Versions of OpenStack's own metadata.
const OPENSTACK_VERSIONS: [&str; 8] = [
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
];

/// What a guest is told about itself.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// The answer file, or whatever else the guest is handed.
    pub user_data: Option<SecretString>,
    /// Its name.
    pub hostname: String,
    /// Its identity.
    pub instance_id: String,
    /// SSH keys that may log in, as in `authorized_keys`.
    pub public_keys: Vec<String>,
}

/// A reply to one request.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    content_type: &'static str,
}

impl Reply {
    fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), content_type: "text/plain; charset=UTF-8" }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { content_type: "application/json", ..Self::ok(value.to_string()) }
    }

    /// An error as Nova words it, which is as `webob/exc.py` does.
    fn error(status: u16, text: &str) -> Self {
        let explanation = match status {
            404 => "The resource could not be found.",
            405 => "The method is not allowed for this resource.",
            _ => "The server could not comply with the request.",
        };
        let body = format!(
            "<html>\n <head>\n  <title>{text}</title>\n </head>\n <body>\n  <h1>{text}</h1>\n  \
             {explanation}<br /><br />\n\n\n\n </body>\n</html>"
        );
        Self { status, body: body.into_bytes(), content_type: "text/html; charset=UTF-8" }
    }

    /// The reply as it goes over the wire; the connection ends after it.
    pub fn bytes(&self, with_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            _ => "Method Not Allowed",
        };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        )
        .into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Answers the request in `bytes`; nothing while it is not complete.
pub fn answer(metadata: &Metadata, bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < 16 << 10 => return None,
        _ => return Some((String::new(), Reply::error(400, "400 Bad Request").bytes(true))),
    }
    let path = request.path.unwrap_or("/");
    // Proxies and some old clients send the whole URL.
    let path = path.strip_prefix("http://169.254.169.254").unwrap_or(path);
    let path = path.split(['?', '#']).next().unwrap_or(path).to_owned();
    let reply = match request.method {
        Some("GET") => get(metadata, &path).bytes(true),
        Some("HEAD") => get(metadata, &path).bytes(false),
        _ => Reply::error(405, "405 Method Not Allowed").bytes(true),
    };
    Some((path, reply))
}

fn get(metadata: &Metadata, path: &str) -> Reply {
    let parts: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
    let found = match parts.as_slice() {
        [] => Some(Reply::ok(format!("{}\nlatest", EC2_VERSIONS.join("\n")))),
        ["openstack", rest @ ..] => openstack(metadata, rest),
        [version, rest @ ..] if *version == "latest" || EC2_VERSIONS.contains(version) => {
            ec2(metadata, rest)
        }
        _ => None,
    };
    found.unwrap_or_else(|| Reply::error(404, "404 Not Found"))
}

fn user_data(metadata: &Metadata) -> Option<Reply> {
    let text = metadata.user_data.as_ref()?;
    Some(Reply { content_type: "application/octet-stream", ..Reply::ok(text.expose_secret()) })
}

fn ec2(metadata: &Metadata, parts: &[&str]) -> Option<Reply> {
    let keys = &metadata.public_keys;
    let text = match parts {
        [] => {
            let more = if metadata.user_data.is_some() { "\nuser-data" } else { "" };
            format!("meta-data/{more}")
        }
        ["user-data"] => return user_data(metadata),
        ["meta-data"] => {
            let more = if keys.is_empty() { "" } else { "\npublic-keys/" };
            format!(
                "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nhostname\n\
                 instance-action\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\n\
                 placement/\npublic-hostname\npublic-ipv4{more}\nreservation-id\nsecurity-groups"
            )
        }
        ["meta-data", "instance-id"] => metadata.instance_id.clone(),
        ["meta-data", "hostname" | "local-hostname" | "public-hostname"] => {
            metadata.hostname.clone()
        }
        ["meta-data", "ami-id"] => "ami-00000001".to_owned(),
        ["meta-data", "ami-launch-index"] => "0".to_owned(),
        ["meta-data", "ami-manifest-path"] => "FIXED_BY_IMGBUILD".to_owned(),
        ["meta-data", "instance-action"] => "none".to_owned(),
        ["meta-data", "instance-type"] => "imgbuild".to_owned(),
        // QEMU's user network gives this address to its first guest.
        ["meta-data", "local-ipv4"] => "10.0.2.15".to_owned(),
        ["meta-data", "public-ipv4"] => String::new(),
        ["meta-data", "reservation-id"] => "r-imgbuild".to_owned(),
        ["meta-data", "security-groups"] => "default".to_owned(),
        ["meta-data", "placement"] => "availability-zone".to_owned(),
        ["meta-data", "placement", "availability-zone"] => "local".to_owned(),
        ["meta-data", "block-device-mapping"] => "ami\nroot".to_owned(),
        ["meta-data", "block-device-mapping", "ami"] => "vda".to_owned(),
        ["meta-data", "block-device-mapping", "root"] => "/dev/vda".to_owned(),
        ["meta-data", "public-keys"] if !keys.is_empty() => {
            let names: Vec<_> = (0..keys.len()).map(|n| format!("{n}=imgbuild-{n}")).collect();
            names.join("\n")
        }
        ["meta-data", "public-keys", n] => {
            keys.get(n.parse::<usize>().ok()?)?;
            "openssh-key".to_owned()
        }
        ["meta-data", "public-keys", n, "openssh-key"] => {
            keys.get(n.parse::<usize>().ok()?)?.clone()
        }
        _ => return None,
    };
    Some(Reply::ok(text))
}

fn openstack(metadata: &Metadata, parts: &[&str]) -> Option<Reply> {
    match parts {
        [] => Some(Reply::ok(format!("{}\nlatest", OPENSTACK_VERSIONS.join("\n")))),
        [version, rest @ ..] if *version == "latest" || OPENSTACK_VERSIONS.contains(version) => {
            match rest {
                [] => {
                    let more = if metadata.user_data.is_some() { "\nuser_data" } else { "" };
                    Some(Reply::ok(format!(
                        "meta_data.json\nnetwork_data.json\nvendor_data.json{more}"
                    )))
                }
                ["user_data"] => user_data(metadata),
                ["meta_data.json"] => Some(Reply::json(&meta_data(metadata))),
                ["network_data.json"] => Some(Reply::json(&network_data())),
                ["vendor_data.json" | "vendor_data2.json"] => Some(Reply::json(&json!({}))),
                _ => None,
            }
        }
        _ => None,
    }
}

/// `meta_data.json`, also for config drives.
pub fn meta_data(metadata: &Metadata) -> serde_json::Value {
    let keys: serde_json::Map<_, _> = metadata
        .public_keys
        .iter()
        .enumerate()
        .map(|(n, key)| (format!("imgbuild-{n}"), json!(key)))
        .collect();
    json!({
        "uuid": metadata.instance_id,
        "name": metadata.hostname,
        "hostname": metadata.hostname,
        "launch_index": 0,
        "availability_zone": "local",
        "public_keys": keys,
        "meta": {},
    })
}

/// `network_data.json`: one card with DHCP.
pub fn network_data() -> serde_json::Value {
    json!({
        "links": [{
            "id": "card0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1500,
        }],
        "networks": [{"id": "network0", "link": "card0", "type": "ipv4_dhcp"}],
        "services": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            user_data: Some("#answers".into()),
            hostname: "debian-13".into(),
            instance_id: "i-1".into(),
            public_keys: vec!["ssh-ed25519 AAAA me".into()],
        }
    }

    fn body(path: &str) -> (u16, String) {
        let reply = get(&metadata(), path);
        (reply.status, String::from_utf8(reply.body).unwrap())
    }

    #[test]
    fn user_data_is_at_every_address_a_guest_may_look_at() {
        for path in [
            "/latest/user-data",
            "/latest/user-data/",
            "//latest//user-data",
            "/2009-04-04/user-data",
            "/openstack/latest/user_data",
            "/openstack/2018-08-27/user_data",
        ] {
            assert_eq!(body(path), (200, "#answers".to_owned()), "{path}");
        }
    }

    #[test]
    fn without_user_data_there_is_none() {
        let none = Metadata { user_data: None, ..metadata() };
        assert_eq!(get(&none, "/latest/user-data").status, 404);
        assert_eq!(get(&none, "/openstack/latest/user_data").status, 404);
    }

    #[test]
    fn the_tree_can_be_walked_as_cloud_init_walks_it() {
        assert_eq!(body("/latest/meta-data/public-keys/0/openssh-key").1, "ssh-ed25519 AAAA me");
        let (_, listing) = body("/latest/meta-data/");
        for leaf in listing.lines().filter(|it| !it.ends_with('/')) {
            assert_eq!(body(&format!("/latest/meta-data/{leaf}")).0, 200, "{leaf}");
        }
        assert_eq!(body("/nothing").0, 404);
    }

    #[test]
    fn a_request_is_answered_when_it_is_complete() {
        let request = b"GET /latest/user-data HTTP/1.0\r\nHost: x\r\n\r\n";
        for cut in 0..request.len() {
            assert!(answer(&metadata(), &request[..cut]).is_none(), "cut at {cut}");
        }
        let (path, reply) = answer(&metadata(), request).unwrap();
        assert_eq!(path, "/latest/user-data");
        assert!(reply.ends_with(b"\r\n\r\n#answers"));
        let (_, head) = answer(&metadata(), b"HEAD /latest/user-data HTTP/1.1\r\n\r\n").unwrap();
        assert!(head.ends_with(b"\r\n\r\n"));
        let (_, bad) = answer(&metadata(), b"\x00\x01\r\n\r\n").unwrap();
        assert!(bad.starts_with(b"HTTP/1.1 400"));
    }
}
