//! What is in the cloud, and what time does to it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Manners, RouterTo, Service, Thing,
    server::{Asked, Reply},
};

/// The one project there is.
pub(super) const PROJECT: &str = "0123456789abcdef0123456789abcdef";

/// Kinds of things; each has a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Image,
    Flavor,
    Server,
    Keypair,
    Network,
    Subnet,
    Router,
    Port,
    SecurityGroup,
    FloatingIp,
    Volume,
    Snapshot,
}

impl Kind {
    /// What users make, and what it is called in reports.
    const MADE: [(Self, &'static str); 8] = [
        (Self::Image, "image"),
        (Self::Server, "server"),
        (Self::Keypair, "keypair"),
        (Self::Port, "port"),
        (Self::SecurityGroup, "security group"),
        (Self::FloatingIp, "floating ip"),
        (Self::Volume, "volume"),
        (Self::Snapshot, "snapshot"),
    ];
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) manners: Manners,
    pub(super) tokens: BTreeMap<String, Instant>,
    tables: BTreeMap<Kind, BTreeMap<String, Value>>,
    /// What will happen.
    due: Vec<(Instant, Happening)>,
    /// When servers began to run, for their consoles.
    pub(super) booted: BTreeMap<String, Instant>,
    /// The disks that servers were asked for with, those that are gone as well.
    pub(super) devices: Vec<Vec<Value>>,
    n_ids: u64,
}

/// Something that happens by itself.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// These attributes get these values.
    Becomes(Kind, String, Value),
    /// It is gone.
    Ends(Kind, String),
}

impl State {
    pub(super) fn new(manners: &Manners) -> Self {
        let mut state = Self {
            manners: manners.clone(),
            tokens: BTreeMap::new(),
            tables: BTreeMap::new(),
            due: Vec::new(),
            booted: BTreeMap::new(),
            devices: Vec::new(),
            n_ids: 0,
        };
        for (name, ram, disk) in &manners.flavors {
            let flavor = json!({ "id": format!("flavor-{name}"), "name": name, "vcpus": 1, "ram": ram, "disk": disk, "OS-FLV-DISABLED:disabled": false });
            state.put(Kind::Flavor, flavor);
        }
        let own =
            manners.networks.iter().map(|it| (it.as_str(), false, "10.11.12.0/24", manners.dhcp));
        for (name, external, subnet, dhcp) in own.chain([("public", true, "172.24.4.0/24", false)])
        {
            let project = if external { "the-operators" } else { PROJECT };
            state.put(Kind::Network, json!({
                "id": format!("network-{name}"), "name": name, "router:external": external, "shared": false,
                "project_id": project, "status": "ACTIVE", "mtu": 1400, "subnets": [format!("subnet-{name}")] }));
            state.put(Kind::Subnet, json!({
                "id": format!("subnet-{name}"), "name": name, "network_id": format!("network-{name}"), "cidr": subnet,
                "ip_version": 4, "enable_dhcp": dhcp, "gateway_ip": subnet.replace(".0/24", ".1"),
                "dns_nameservers": ["172.24.4.1"] }));
        }
        let (router, first) = (manners.router, manners.networks.first());
        if let Some(first) = first.filter(|_| router != RouterTo::Missing) {
            state.put(Kind::Port, json!({
                "id": "port-router", "name": "", "network_id": format!("network-{first}"), "project_id": PROJECT,
                "status": "ACTIVE", "device_id": "router", "device_owner": "network:router_interface",
                "fixed_ips": [{ "ip_address": "10.11.12.1", "subnet_id": format!("subnet-{first}") }] }));
        }
        if matches!(router, RouterTo::Public | RouterTo::Nowhere) {
            let gateway =
                (router == RouterTo::Public).then(|| json!({ "network_id": "network-public" }));
            state.put(
                Kind::Router,
                json!({ "id": "router", "name": "router", "external_gateway_info": gateway }),
            );
        }
        state.put(Kind::SecurityGroup, json!({
            "id": "group-build", "name": "build", "project_id": PROJECT, "security_group_rules": [] }));
        state
    }

    pub(super) fn has(&self, service: Service) -> bool {
        !self.manners.without.contains(&service)
    }

    pub(super) fn is_valid(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn next_id(&mut self, prefix: &str) -> String {
        self.n_ids += 1;
        format!("{prefix}{:08x}-0000-4000-8000-000000000000", self.n_ids)
    }

    /// When something was made; grows with each.
    pub(super) fn now_text(&self) -> String {
        format!("2026-01-01T00:00:00.{:06}Z", self.n_ids)
    }

    pub(super) fn table(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        self.tables.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn get(&self, kind: Kind, id: &str) -> Option<&Value> {
        self.tables.get(&kind)?.get(id)
    }

    /// A thing of any kind.
    pub(super) fn record(&self, id: &str) -> Option<&Value> {
        self.tables.values().find_map(|it| it.get(id))
    }

    /// A thing to change.
    pub(super) fn edit(&mut self, kind: Kind, id: &str) -> Option<&mut Map<String, Value>> {
        self.tables.get_mut(&kind)?.get_mut(id)?.as_object_mut()
    }

    pub(super) fn put(&mut self, kind: Kind, thing: Value) {
        let id = thing["id"].as_str().unwrap_or_default().to_owned();
        self.tables.entry(kind).or_default().insert(id, thing);
    }

    pub(super) fn remove(&mut self, kind: Kind, id: &str) -> Option<Value> {
        self.tables.get_mut(&kind)?.remove(id)
    }

    pub(super) fn later(&mut self, after: Duration, happening: Happening) {
        self.due.push((Instant::now() + after, happening));
    }

    /// A change that takes its time.
    pub(super) fn becomes(&mut self, kind: Kind, id: &str, change: Value) {
        self.later(self.manners.delay, Happening::Becomes(kind, id.to_owned(), change));
    }

    /// An end that takes its time.
    pub(super) fn ends(&mut self, kind: Kind, id: &str) {
        self.later(self.manners.delay, Happening::Ends(kind, id.to_owned()));
    }

    /// Lets everything happen that is due.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        loop {
            let next = self
                .due
                .iter()
                .enumerate()
                .filter(|(_, (at, _))| *at <= now)
                .min_by_key(|(_, (at, _))| *at);
            let Some((i, _)) = next else { return };
            match self.due.remove(i).1 {
                Happening::Becomes(kind, id, change) => {
                    if let (Some(thing), Value::Object(change)) = (self.edit(kind, &id), change) {
                        thing.extend(change);
                        if kind == Kind::Server {
                            super::compute::changed(self, &id);
                        }
                    }
                }
                Happening::Ends(Kind::Server, id) => super::compute::ended(self, &id),
                Happening::Ends(kind, id) => drop(self.remove(kind, &id)),
            }
        }
    }

    pub(super) fn things(&self) -> Vec<Thing> {
        Kind::MADE
            .iter()
            .flat_map(|(kind, title)| self.table(*kind).map(move |it| (title, it)))
            .filter(|(_, it)| !matches!(it["id"].as_str(), Some("port-router" | "group-build")))
            .map(|(kind, it)| {
                // A floating IP is told by its description.
                let name =
                    it["name"].as_str().or_else(|| it["description"].as_str()).unwrap_or_default();
                Thing {
                    kind,
                    name: name.to_owned(),
                    id: it["id"].as_str().unwrap_or_default().to_owned(),
                }
            })
            .collect()
    }

    /// What quotas are said to be.
    pub(super) fn told_quota(&self) -> usize {
        self.manners.told_quota.unwrap_or(self.manners.quota)
    }

    pub(super) fn is_full(&self, kind: Kind) -> bool {
        self.table(kind).count() >= self.manners.quota
    }

    /// A page of a list, as the service at `path` writes it.
    pub(super) fn page(&self, asked: &Asked, key: &str, path: &str, items: &[Value]) -> Reply {
        let limit = asked
            .query("limit")
            .and_then(|it| it.parse().ok())
            .unwrap_or(usize::MAX)
            .min(self.manners.page);
        let begin = asked
            .query("marker")
            .and_then(|marker| items.iter().position(|it| it["id"] == marker))
            .map_or(0, |it| it + 1);
        let page: Vec<_> = items.iter().skip(begin).take(limit).cloned().collect();
        let mut body = json!({ key: page });
        if let Some(last) = page.last()
            && begin + page.len() < items.len()
        {
            let mut query: Vec<_> =
                asked.query.iter().filter(|(name, _)| name != "marker").cloned().collect();
            query.push(("marker".into(), last["id"].as_str().unwrap_or_default().into()));
            let query = reqwest::Url::parse_with_params("http://x", &query)
                .ok()
                .and_then(|it| it.query().map(str::to_owned))
                .unwrap_or_default();
            if key == "images" {
                body["next"] = format!("{path}?{query}").into();
            } else {
                let href = format!("http://inside.invalid{path}?{query}");
                body[format!("{key}_links")] = json!([{ "rel": "next", "href": href }]);
            }
        }
        Reply::json(200, &body)
    }
}

/// As Nova and Cinder complain.
pub(super) fn complaint(status: u16, message: &str) -> Reply {
    let name = match status {
        400 => "badRequest",
        403 => "forbidden",
        404 => "itemNotFound",
        409 => "conflictingRequest",
        _ => "computeFault",
    };
    Reply::json(status, &json!({ name: { "code": status, "message": message } }))
}

/// A thing with some keys only, or with all.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
