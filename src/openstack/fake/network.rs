//! Neutron: networks, ports, security groups, floating IPs.

use serde_json::{Value, json};

use super::{
    server::{Asked, Reply},
    state::{Kind, PROJECT, State, text},
};

pub(super) fn answer(state: &mut State, asked: &Asked) -> Reply {
    let (method, path) = asked.parts();
    let [collection, rest @ ..] = path.as_slice() else {
        return complaint(404, "NotFound", "Not found.");
    };
    if *collection == "quotas" {
        let count = |kind| state.table(kind).count();
        let room =
            |kind| json!({ "used": count(kind), "limit": state.told_quota(), "reserved": 0 });
        return Reply::json(
            200,
            &json!({ "quota": {
            "port": room(Kind::Port), "security_group": room(Kind::SecurityGroup), "floatingip": room(Kind::FloatingIp) } }),
        );
    }
    if *collection == "security-group-rules" && method == "POST" {
        return add_rule(state, asked);
    }
    let (kind, one) = match *collection {
        "networks" => (Kind::Network, "network"),
        "subnets" => (Kind::Subnet, "subnet"),
        "routers" => (Kind::Router, "router"),
        "ports" => (Kind::Port, "port"),
        "security-groups" => (Kind::SecurityGroup, "security_group"),
        "floatingips" => (Kind::FloatingIp, "floatingip"),
        _ => return complaint(404, "NotFound", "The resource could not be found."),
    };
    match (method, rest) {
        ("GET", []) => {
            let filters =
                asked.query.iter().filter(|(key, _)| !matches!(key.as_str(), "limit" | "marker"));
            let filters: Vec<_> = filters.collect();
            let items: Vec<_> = state
                .table(kind)
                .filter(|it| {
                    filters.iter().all(|(key, value)| it[key].is_null() || it[key] == **value)
                })
                .cloned()
                .collect();
            state.page(asked, &format!("{one}s"), &format!("/v2.0/{collection}"), &items)
        }
        ("GET", [id]) => match state.get(kind, id) {
            Some(it) => Reply::json(200, &json!({ one: it })),
            None => complaint(404, "NotFound", &format!("{one} {id} could not be found.")),
        },
        ("POST", []) => create(state, kind, one, &asked.body[one]),
        ("DELETE", [id]) => {
            if state.get(kind, id).is_none() {
                return complaint(404, "NotFound", &format!("{one} {id} could not be found."));
            }
            let in_use = kind == Kind::SecurityGroup
                && state.table(Kind::Port).any(|it| {
                    it["security_groups"].as_array().is_some_and(|it| it.iter().any(|it| it == id))
                });
            if in_use {
                return complaint(
                    409,
                    "SecurityGroupInUse",
                    &format!("Security Group {id} in use."),
                );
            }
            state.remove(kind, id);
            Reply::empty(204)
        }
        _ => complaint(404, "NotFound", "The resource could not be found."),
    }
}

/// A port that somebody made.
pub(super) fn add_port(state: &mut State, name: &str, device: &str) -> String {
    let id = state.next_id("");
    let wanted = json!({ "network_id": "network-private", "name": name });
    let mut port = port(&id, &wanted);
    port["device_id"] = device.into();
    state.put(Kind::Port, port);
    id
}

/// A port that Nova makes for a server, in the server's security groups.
pub(super) fn plug(state: &mut State, server: &str, wanted: &Value, groups: &Value) {
    let network = text(wanted, "uuid");
    let id = state.next_id("");
    let groups: Vec<_> = groups.as_array().into_iter().flatten().map(|it| &it["name"]).collect();
    let mut port = port(&id, &json!({ "network_id": network, "security_groups": groups }));
    if let Some(address) = wanted["fixed_ip"].as_str() {
        port["fixed_ips"][0]["ip_address"] = address.into();
    }
    port["device_id"] = server.into();
    port["device_owner"] = "compute:nova".into();
    port["_ends_with_server"] = true.into();
    state.put(Kind::Port, port);
}

fn create(state: &mut State, kind: Kind, one: &str, wanted: &Value) -> Reply {
    if state.is_full(kind) {
        return complaint(409, "OverQuota", &format!("Quota exceeded for resources: ['{one}']."));
    }
    let id = state.next_id("");
    let made = match kind {
        Kind::Port => {
            if state.get(Kind::Network, text(wanted, "network_id")).is_none() {
                return complaint(404, "NetworkNotFound", "Network could not be found.");
            }
            port(&id, wanted)
        }
        Kind::SecurityGroup => {
            json!({ "id": id, "name": wanted["name"], "description": wanted["description"],
            "project_id": PROJECT, "security_group_rules": [] })
        }
        Kind::FloatingIp => {
            if state
                .get(Kind::Network, text(wanted, "floating_network_id"))
                .is_none_or(|it| it["router:external"] != true)
            {
                return complaint(400, "BadRequest", "Network is not a valid external network.");
            }
            json!({ "id": id, "description": wanted["description"], "project_id": PROJECT, "status": "DOWN",
                "port_id": wanted["port_id"], "floating_ip_address": "172.24.4.99" })
        }
        _ => return complaint(403, "Forbidden", "not for you"),
    };
    state.put(kind, made.clone());
    Reply::json(201, &json!({ one: made }))
}

fn port(id: &str, wanted: &Value) -> Value {
    json!({ "id": id, "name": wanted["name"].as_str().unwrap_or_default(), "network_id": wanted["network_id"],
        "project_id": PROJECT, "status": "DOWN", "device_id": "", "device_owner": "",
        "security_groups": wanted["security_groups"],
        "fixed_ips": [{ "ip_address": "10.11.12.77", "subnet_id": "subnet-private" }] })
}

fn add_rule(state: &mut State, asked: &Asked) -> Reply {
    let rule = &asked.body["security_group_rule"];
    let rules = state
        .edit(Kind::SecurityGroup, text(rule, "security_group_id"))
        .and_then(|it| it["security_group_rules"].as_array_mut());
    match rules {
        None => complaint(404, "SecurityGroupNotFound", "Security group could not be found."),
        Some(rules) if rules.contains(rule) => {
            complaint(409, "SecurityGroupRuleExists", "Security group rule already exists.")
        }
        Some(rules) => {
            rules.push(rule.clone());
            Reply::json(201, &json!({ "security_group_rule": rule }))
        }
    }
}

fn complaint(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(
        status,
        &json!({ "NeutronError": { "type": kind, "message": message, "detail": "" } }),
    )
}
