//! Neutron: networks, ports, security groups, floating IPs.
//!
//! <https://docs.openstack.org/api-ref/network/v2/>

mod shown;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
pub use shown::{FixedIp, FloatingIp, Gateway, Network, Port, Router, Rule, SecurityGroup, Subnet};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::Call,
    image::{escape, one},
    release::{Standing, Which, until_gone},
    session::Session,
};

/// Neutron.
#[derive(Clone, Copy, Debug)]
pub struct Networks<'a> {
    session: &'a Session,
}

/// A port to be.
#[derive(Clone, Debug, Default)]
pub struct NewPort {
    /// Its name; unique to the build.
    pub name: String,
    /// The network's ID.
    pub network: String,
    /// The address it is to have; any where not given.
    pub address: Option<String>,
    /// The IDs of its security groups; the project's default where empty.
    pub security_groups: Vec<String>,
}

impl<'a> Networks<'a> {
    pub(super) const fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// The networks that can be used.
    pub async fn networks(&self) -> Result<Vec<Network>, Error> {
        self.list("networks", &[]).await
    }

    /// The network of this name or ID.
    pub async fn network(&self, name_or_id: &str) -> Result<Network, Error> {
        let networks = self.networks().await?;
        let known =
            networks.iter().map(|it| format!("`{}`", it.name)).collect::<Vec<_>>().join(", ");
        let mut found: Vec<_> = networks
            .into_iter()
            .filter(|it| it.name == name_or_id || it.id == name_or_id)
            .collect();
        if let Some(exact) = found.iter().position(|it| it.id == name_or_id) {
            return Ok(found.swap_remove(exact));
        }
        one("network", name_or_id, found, |it| &it.id, || format!("there are {known}"))
    }

    /// The subnets of a network.
    pub async fn subnets(&self, network: &str) -> Result<Vec<Subnet>, Error> {
        self.list("subnets", &[("network_id", network)]).await
    }

    /// The ports of a network that we may see; a router's interface is the way out.
    pub async fn ports_of(&self, network: &str) -> Result<Vec<Port>, Error> {
        self.list("ports", &[("network_id", network)]).await
    }

    /// A router by its ID.
    pub async fn router(&self, id: &str) -> Result<Router, Error> {
        self.get("routers", "router", id).await
    }

    /// The ports of a server.
    pub async fn ports_of_server(&self, server: &str) -> Result<Vec<Port>, Error> {
        self.list("ports", &[("device_id", server)]).await
    }

    /// The port of this name or ID.
    pub async fn port(&self, name_or_id: &str) -> Result<Port, Error> {
        let mut found: Vec<Port> = self.list("ports", &[("id", name_or_id)]).await?;
        if found.is_empty() {
            found = self.list("ports", &[("name", name_or_id)]).await?;
        }
        let hint = || "`openstack port list` shows those there are".to_owned();
        one("port", name_or_id, found, |it| &it.id, hint)
    }

    /// Our own ports of this name.
    pub async fn ports_named(&self, name: &str) -> Result<Vec<Port>, Error> {
        self.own("ports", "name", name).await
    }

    /// Creates a port, or takes the one of that name.
    pub async fn create_port(&self, new: &NewPort) -> Result<Port, Error> {
        let mut port = json!({ "name": new.name, "network_id": new.network });
        if let Some(address) = &new.address {
            port["fixed_ips"] = json!([{ "ip_address": address }]);
        }
        if !new.security_groups.is_empty() {
            port["security_groups"] = json!(new.security_groups);
        }
        self.create("port", &json!({ "port": port }), async || {
            Ok(self.ports_named(&new.name).await?.into_iter().next())
        })
        .await
    }

    /// Our own security groups of this name.
    pub async fn security_groups_named(&self, name: &str) -> Result<Vec<SecurityGroup>, Error> {
        self.own("security-groups", "name", name).await
    }

    /// The security group of this name or ID.
    pub async fn security_group(&self, name_or_id: &str) -> Result<SecurityGroup, Error> {
        let found = self.security_groups_named(name_or_id).await?;
        if found.is_empty() {
            return match self.get("security-groups", "security_group", name_or_id).await {
                Err(err) if err.is_missing() => Err(Error::Missing {
                    kind: "security group",
                    name: name_or_id.to_owned(),
                    known: String::new(),
                }),
                other => other,
            };
        }
        one("security group", name_or_id, found, |it| &it.id, String::new)
    }

    /// Creates a security group that lets this in, or takes the one of that
    /// name and adds what it lacks.
    pub async fn create_security_group(
        &self,
        name: &str,
        rules: &[Rule],
    ) -> Result<SecurityGroup, Error> {
        let body = json!({ "security_group": { "name": name, "description": "made by imgbuild for one build" } });
        let mut group: SecurityGroup = self
            .create("security-group", &body, async || {
                Ok(self.security_groups_named(name).await?.into_iter().next())
            })
            .await?;
        for rule in rules {
            if group.rules.iter().any(|it| it.same(rule)) {
                continue;
            }
            let body = json!({ "security_group_rule": {
                "security_group_id": group.id,
                "direction": rule.direction,
                "ethertype": rule.ethertype,
                "protocol": rule.protocol,
                "port_range_min": rule.port_range_min,
                "port_range_max": rule.port_range_max,
                "remote_ip_prefix": rule.remote_ip_prefix,
            }});
            let call = Call::post(Service::Network, "/security-group-rules", body);
            // Neutron refuses a second rule of the same content with 409, but that
            // may have another cause: only what is there counts.
            match self.session.send(&call.repeatable()).await {
                Err(err) if err.is_conflict() => {
                    let now: SecurityGroup =
                        self.get("security-groups", "security_group", &group.id).await?;
                    if !now.rules.iter().any(|it| it.same(rule)) {
                        return Err(err);
                    }
                }
                other => drop(other?),
            }
            group.rules.push(rule.clone());
        }
        Ok(group)
    }

    /// Our own floating IPs of this description.
    pub async fn floating_ips_named(&self, name: &str) -> Result<Vec<FloatingIp>, Error> {
        self.own("floatingips", "description", name).await
    }

    /// Takes a floating IP out of a network for a port, or the one of that
    /// description.
    pub async fn create_floating_ip(
        &self,
        name: &str,
        network: &str,
        port: &str,
    ) -> Result<FloatingIp, Error> {
        let body = json!({ "floatingip": { "floating_network_id": network, "port_id": port, "description": name } });
        self.create("floatingip", &body, async || {
            Ok(self.floating_ips_named(name).await?.into_iter().next())
        })
        .await
    }

    /// Deletes ports and waits until they are gone.
    pub async fn release_port(&self, which: Which<'_>, deadline: Instant) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => {
                self.ports_named(name).await?.into_iter().map(|it| it.id).collect()
            }
        };
        self.release("port", ids, deadline).await
    }

    /// Deletes security groups and waits until they are gone.
    pub async fn release_security_group(
        &self,
        which: Which<'_>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => {
                self.security_groups_named(name).await?.into_iter().map(|it| it.id).collect()
            }
        };
        self.release("security-group", ids, deadline).await
    }

    /// Gives floating IPs back; `Name` is the description.
    pub async fn release_floating_ip(
        &self,
        which: Which<'_>,
        deadline: Instant,
    ) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => {
                self.floating_ips_named(name).await?.into_iter().map(|it| it.id).collect()
            }
        };
        self.release("floatingip", ids, deadline).await
    }

    async fn release(&self, kind: &str, ids: Vec<String>, deadline: Instant) -> Result<(), Error> {
        for id in ids {
            let path = format!("/{kind}s/{}", escape(&id));
            let delete =
                async || self.session.send(&Call::delete(Service::Network, &path)).await.map(drop);
            let look = async || {
                let answer = self.session.send(&Call::get(Service::Network, &path)).await?;
                let state =
                    answer.json()[key(kind)]["status"].as_str().unwrap_or("there").to_owned();
                Ok((Standing::Deletable, state))
            };
            until_gone(
                self.session,
                &format!("{} `{id}`", kind.replace('-', " ")),
                delete,
                look,
                deadline,
            )
            .await?;
        }
        Ok(())
    }

    async fn create<T: DeserializeOwned>(
        &self,
        kind: &str,
        body: &Value,
        find: impl AsyncFn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let call = Call::post(Service::Network, format!("/{kind}s"), body.clone());
        self.session.create(find, async || self.session.send(&call).await?.read(&key(kind))).await
    }

    async fn get<T: DeserializeOwned>(&self, kind: &str, key: &str, id: &str) -> Result<T, Error> {
        self.session
            .send(&Call::get(Service::Network, format!("/{kind}/{}", escape(id))))
            .await?
            .read(key)
    }

    /// What belongs to our project; an operator's list has everybody's.
    async fn own<T: DeserializeOwned>(
        &self,
        kind: &str,
        by: &str,
        name: &str,
    ) -> Result<Vec<T>, Error> {
        match self.session.project().await? {
            Some(project) => self.list(kind, &[(by, name), ("project_id", &project)]).await,
            None => self.list(kind, &[(by, name)]).await,
        }
    }

    async fn list<T: DeserializeOwned>(
        &self,
        kind: &str,
        filters: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        let mut call = Call::get(Service::Network, format!("/{kind}"));
        for (name, value) in filters {
            call = call.query(name, *value);
        }
        self.session.list(call, &key(kind)).await
    }
}

/// What a path calls `security-groups`, a body calls `security_groups`.
fn key(kind: &str) -> String {
    kind.replace('-', "_")
}
