//! Networks and what belongs to them as Neutron shows it.

use serde::Deserialize;

use crate::openstack::image::null_is_default;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Network {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it leads out; floating IPs are taken from such a one.
    #[serde(default, rename = "router:external")]
    pub external: bool,
    /// Whether it belongs to everybody.
    #[serde(default)]
    pub shared: bool,
    /// The ID of the project it belongs to.
    #[serde(default, deserialize_with = "null_is_default")]
    pub project_id: String,
    /// `ACTIVE`
    #[serde(default)]
    pub status: String,
    /// The largest packet, in bytes; 0 where Neutron does not say.
    #[serde(default)]
    pub mtu: u32,
    /// The IDs of its subnets.
    #[serde(default)]
    pub subnets: Vec<String>,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Router {
    /// Its ID.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The network it leads to.
    pub external_gateway_info: Option<Gateway>,
}

/// Where a router leads to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Gateway {
    /// The ID of the external network.
    pub network_id: String,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subnet {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `10.0.0.0/24`
    pub cidr: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// Whether addresses are given by DHCP.
    #[serde(default)]
    pub enable_dhcp: bool,
    /// The way out.
    pub gateway_ip: Option<String>,
    /// Name servers.
    #[serde(default)]
    pub dns_nameservers: Vec<String>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// Its ID.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// `ACTIVE`, `DOWN`, `BUILD`, `ERROR`.
    #[serde(default)]
    pub status: String,
    /// The network's ID.
    #[serde(default)]
    pub network_id: String,
    /// What it belongs to; empty if to nothing.
    #[serde(default, deserialize_with = "null_is_default")]
    pub device_id: String,
    /// What that is: `network:router_interface`, `compute:nova` …
    #[serde(default, deserialize_with = "null_is_default")]
    pub device_owner: String,
    /// Its addresses.
    #[serde(default)]
    pub fixed_ips: Vec<FixedIp>,
}

/// An address of a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FixedIp {
    /// The address.
    pub ip_address: String,
    /// The subnet's ID.
    pub subnet_id: String,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SecurityGroup {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its rules.
    #[serde(default, rename = "security_group_rules")]
    pub rules: Vec<Rule>,
}

/// What may come in or go out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// `ingress` or `egress`.
    pub direction: String,
    /// `IPv4` or `IPv6`.
    pub ethertype: String,
    /// `tcp`, `udp`, `icmp`; any where not given.
    pub protocol: Option<String>,
    /// The first port.
    pub port_range_min: Option<u16>,
    /// The last port.
    pub port_range_max: Option<u16>,
    /// From or to where; anywhere where not given.
    pub remote_ip_prefix: Option<String>,
}

impl Rule {
    /// Lets a TCP port in, from anywhere.
    pub fn tcp(port: u16) -> Self {
        Self {
            direction: "ingress".into(),
            ethertype: "IPv4".into(),
            protocol: Some("tcp".into()),
            port_range_min: Some(port),
            port_range_max: Some(port),
            remote_ip_prefix: None,
        }
    }

    /// Whether they let the same through. Neutron writes "anywhere" in two ways.
    pub(super) fn same(&self, other: &Self) -> bool {
        let place =
            |it: &Self| it.remote_ip_prefix.clone().filter(|it| it != "0.0.0.0/0" && it != "::/0");
        let bare = |it: &Self| Self { remote_ip_prefix: None, ..it.clone() };
        place(self) == place(other) && bare(self) == bare(other)
    }
}

/// A floating IP. It has no name; its description stands for one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FloatingIp {
    /// Its ID.
    pub id: String,
    /// The address.
    pub floating_ip_address: String,
    /// The port it leads to.
    pub port_id: Option<String>,
    /// `ACTIVE`, `DOWN`, `ERROR`.
    #[serde(default)]
    pub status: String,
    /// What it was called.
    #[serde(default, deserialize_with = "null_is_default")]
    pub description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anywhere_is_anywhere() {
        let ssh = Rule::tcp(22);
        assert!(ssh.same(&Rule { remote_ip_prefix: Some("0.0.0.0/0".into()), ..Rule::tcp(22) }));
        assert!(!ssh.same(&Rule { remote_ip_prefix: Some("10.0.0.0/8".into()), ..Rule::tcp(22) }));
        assert!(!ssh.same(&Rule::tcp(80)));
    }
}
