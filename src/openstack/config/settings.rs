//! A cloud's settings in one flat map, filled in from the environment.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Node, Value};

/// Keys that belong below `auth`, although old files have them beside it.
const AUTH_KEYS: [&str; 23] = [
    "auth_url",
    "username",
    "user_id",
    "password",
    "token",
    "user_domain_id",
    "user_domain_name",
    "project_id",
    "project_name",
    "tenant_id",
    "tenant_name",
    "project_domain_id",
    "project_domain_name",
    "domain_id",
    "domain_name",
    "default_domain",
    "default_domain_id",
    "default_domain_name",
    "system_scope",
    "trust_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
];

/// The cloud's settings in one flat map: `auth` and what is beside it, filled
/// in from the environment.
pub(super) fn settings(mut cloud: Node, env: &BTreeMap<String, String>) -> Node {
    let auth = cloud.get("auth").cloned();
    if let Some(auth) = auth {
        // What stands below `auth` is meant before what stands beside it.
        cloud.merge(auth);
    }
    let given: BTreeSet<String> = cloud.keys().cloned().collect();
    let has = |keys: &[&str]| keys.iter().any(|it| given.contains(*it));
    // A variable must not mix with another way to say the same thing.
    let who: &[&str] = &[
        "username",
        "user_id",
        "application_credential_id",
        "application_credential_name",
        "token",
    ];
    let groups: [&[&str]; 7] = [
        who,
        &["password", "token", "application_credential_id", "application_credential_name"],
        &[
            "project_id",
            "project_name",
            "tenant_id",
            "tenant_name",
            "domain_id",
            "domain_name",
            "system_scope",
            "trust_id",
            "application_credential_id",
            "application_credential_name",
        ],
        &[
            "user_domain_id",
            "user_domain_name",
            "default_domain",
            "default_domain_id",
            "default_domain_name",
        ],
        &[
            "project_domain_id",
            "project_domain_name",
            "default_domain",
            "default_domain_id",
            "default_domain_name",
        ],
        &["interface", "endpoint_type"],
        &["verify", "insecure"],
    ];
    let mut more = BTreeMap::new();
    for (variable, value) in env {
        let Some(key) = variable.strip_prefix("OS_").map(str::to_ascii_lowercase) else { continue };
        let known = AUTH_KEYS.contains(&key.as_str())
            || [
                "auth_type",
                "region_name",
                "interface",
                "endpoint_type",
                "cacert",
                "cert",
                "key",
                "insecure",
                "verify",
            ]
            .contains(&key.as_str())
            || key.ends_with("_endpoint_override");
        let taken = given.contains(&key)
            // A kind of credentials belongs to those beside it.
            || (key == "auth_type" && has(who))
            || groups.iter().any(|group| group.contains(&key.as_str()) && has(group));
        if known && !taken {
            more.insert(key, Node::text(value));
        }
    }
    cloud.merge(Node { value: Value::Map(more), at: None });
    cloud
}
