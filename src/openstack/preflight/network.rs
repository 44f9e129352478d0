//! The network that servers are connected to: which, and what it lacks.

use super::{super::network::Network, Facts, Problem, Site, Wanted, Way};
use crate::platform::Check;

/// The network that a build is connected to: the one that is wanted, or the
/// only one there is to choose; `None` where the cloud did not say which there
/// are. `Err` is the finding.
pub fn network<'a>(facts: &'a Facts, wanted: &Wanted) -> Result<Option<&'a Network>, Check> {
    let Ok(networks) = &facts.networks else { return Ok(None) };
    if wanted.port.is_some() {
        // A port is in its own; whether there is such a port is another check.
        let Some(Ok(port)) = &facts.port else { return Ok(None) };
        return Ok(networks.iter().find(|it| it.id == port.network_id));
    }
    let missing = |found: String, remedy: String| Check::missing("network", found, remedy);
    let Some(name) = &wanted.network else {
        let own = usable(facts, networks);
        return match own.as_slice() {
            [one] => Ok(Some(one)),
            [] => Err(missing(
                "the project has no network".into(),
                "create a network with a subnet and a router, or name one that others share".into(),
            )),
            several => Err(missing(
                format!("the project has several: {}", names(several)),
                "name one in the spec: `platform.openstack.network`".into(),
            )),
        };
    };
    if let Some(it) = networks.iter().find(|it| it.id == *name) {
        return Ok(Some(it));
    }
    let found: Vec<_> = networks.iter().filter(|it| it.name == *name).collect();
    match found.as_slice() {
        [one] => Ok(Some(one)),
        [] => Err(missing(
            format!("there is no network `{name}`"),
            match networks.len() {
                0 => "create one with a subnet and a router".into(),
                _ => format!("there are {}", names(&networks.iter().collect::<Vec<_>>())),
            },
        )),
        several => {
            let ids: Vec<_> = several.iter().map(|it| it.id.as_str()).collect();
            Err(missing(
                format!("several networks are called `{name}`"),
                format!("give an ID: {}", ids.join(", ")),
            ))
        }
    }
}

/// What Nova itself would choose from: the project's own networks, else those
/// that everybody shares.
fn usable<'a>(facts: &Facts, networks: &'a [Network]) -> Vec<&'a Network> {
    let project = facts.login.as_ref().ok().and_then(|it| it.project.as_deref());
    networks
        .iter()
        .filter(|it| it.shared || (!it.external && project.is_none_or(|id| it.project_id == id)))
        .collect()
}

fn names(networks: &[&Network]) -> String {
    networks.iter().map(|it| format!("`{}`", it.name)).collect::<Vec<_>>().join(", ")
}

/// What is found of the network itself.
pub(super) fn checks(facts: &Facts, wanted: &Wanted, out: &mut Vec<Check>) {
    if let Err(problem) = &facts.networks {
        out.push(unknown("network", problem));
        return;
    }
    out.extend(of_port(facts, wanted));
    let network = match network(facts, wanted) {
        Ok(Some(network)) => network,
        Ok(None) => return,
        Err(check) => return out.push(check),
    };
    match &facts.site {
        None => {}
        Some(Err(problem)) => out.push(unknown("network", problem)),
        Some(Ok(site)) => {
            out.push(addresses(network, site));
            out.push(way_out(facts, wanted, network, site));
        }
    }
}

/// Whether the wanted port is there and free.
fn of_port(facts: &Facts, wanted: &Wanted) -> Option<Check> {
    let name = wanted.port.as_deref()?;
    Some(match facts.port.as_ref()? {
        Err(problem) => unknown("port", problem),
        Ok(port) if !port.device_id.is_empty() => Check::missing(
            "port",
            format!("`{name}` is in use by {}", port.device_id),
            "use another one, or one build after the other",
        ),
        Ok(port) => {
            let addresses: Vec<_> =
                port.fixed_ips.iter().map(|it| it.ip_address.as_str()).collect();
            Check::good("port", format!("`{name}`, {}", addresses.join(", ")))
        }
    })
}

fn addresses(network: &Network, site: &Site) -> Check {
    let name = &network.name;
    let given: Vec<_> = site.subnets.iter().filter(|it| it.enable_dhcp).collect();
    match given.iter().find(|it| it.ip_version == 4) {
        Some(subnet) => {
            Check::good("network", format!("`{name}` gives addresses of {}", subnet.cidr))
        }
        None if site.subnets.is_empty() => Check::missing(
            "network",
            format!("`{name}` has no subnet"),
            "create a subnet with DHCP in it, or name another network",
        ),
        None if given.is_empty() => Check::missing(
            "network",
            format!("`{name}` gives no addresses: DHCP is off in all its subnets"),
            "switch DHCP on (`openstack subnet set --dhcp`), or name another network",
        ),
        None => Check::missing(
            "network",
            format!(
                "`{name}` gives IPv6 addresses only, and installers ask 169.254.169.254 for their answers"
            ),
            "add an IPv4 subnet with DHCP",
        ),
    }
}

/// Whether installers reach their mirror, and a floating IP its server.
fn way_out(facts: &Facts, wanted: &Wanted, network: &Network, site: &Site) -> Check {
    let name = &network.name;
    let title = |id: &str| {
        let networks = facts.networks.as_deref().unwrap_or_default();
        networks.iter().find(|it| it.id == id).map_or_else(|| id.to_owned(), |it| it.name.clone())
    };
    let outs: Vec<_> = site
        .ways
        .iter()
        .filter_map(|it| if let Way::Out(id) = it { Some(id.as_str()) } else { None })
        .collect();
    if let Some(floating) = &wanted.floating_ip {
        let leads = outs.iter().any(|id| *id == floating.as_str() || title(id) == *floating);
        if !leads && !site.ways.contains(&Way::Hidden) {
            return Check::missing(
                "way out",
                format!(
                    "no router leads from `{name}` to `{floating}`, where the floating IP is from"
                ),
                "connect them with a router, or leave `floating-ip` out",
            );
        }
    }
    if let Some(id) = outs.first() {
        return Check::good("way out", format!("a router leads to `{}`", title(id)));
    }
    if site.ways.contains(&Way::Hidden) {
        return Check::good("way out", "a router that belongs to another project");
    }
    let remedy = "give its router a gateway (`openstack router set --external-gateway`); \
                  nothing is to be done where the mirror is inside the network";
    if let Some(Way::Nowhere(router)) = site.ways.first() {
        return Check::warning(
            "way out",
            format!("router `{router}` at `{name}` leads nowhere"),
            remedy,
        );
    }
    let gateway = site.subnets.iter().find_map(|it| it.gateway_ip.as_deref());
    match gateway {
        Some(gateway) if network.shared || network.external => {
            Check::good("way out", format!("{gateway}, outside of the cloud's routers"))
        }
        _ => Check::warning(
            "way out",
            format!("no router is at `{name}`"),
            "connect it with a router; nothing is to be done where the mirror is inside the network",
        ),
    }
}

/// What could not be found out.
pub(super) fn unknown(name: &str, problem: &Problem) -> Check {
    let remedy = problem.help.clone().unwrap_or_else(|| "try again".to_owned());
    Check::missing(name, problem.text.clone(), remedy)
}
