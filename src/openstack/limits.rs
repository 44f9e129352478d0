//! What may still be made: quotas and what is used of them.
//!
//! Asked before the first write, so that a build does not fail half way.

use serde_json::Value;

use super::{Error, Service, call::Call, session::Session};

/// How much of something there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// How much is used.
    pub used: u64,
    /// How much may be; `None` is no limit.
    pub limit: Option<u64>,
}

impl Room {
    /// Whether `more` fits; what is not limited always does.
    pub fn fits(&self, more: u64) -> bool {
        self.limit.is_none_or(|limit| self.used.saturating_add(more) <= limit)
    }
}

/// What may still be made of everything. What a cloud does not tell, or does
/// not have, is without limit here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Servers.
    pub servers: Room,
    /// Processors.
    pub cores: Room,
    /// Memory, in MiB.
    pub ram: Room,
    /// Volumes.
    pub volumes: Room,
    /// Snapshots.
    pub snapshots: Room,
    /// Volumes and snapshots together, in GiB.
    pub gigabytes: Room,
    /// Ports.
    pub ports: Room,
    /// Security groups.
    pub security_groups: Room,
    /// Floating IPs.
    pub floating_ips: Room,
}

pub(super) async fn limits(session: &Session) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    if session.has(Service::Compute).await? {
        let answer = session.send(&Call::get(Service::Compute, "/limits")).await?;
        let it = &answer.json()["limits"]["absolute"];
        limits.servers = room(&it["totalInstancesUsed"], &it["maxTotalInstances"]);
        limits.cores = room(&it["totalCoresUsed"], &it["maxTotalCores"]);
        limits.ram = room(&it["totalRAMUsed"], &it["maxTotalRAMSize"]);
    }
    if session.has(Service::Volume).await? {
        let answer = session.send(&Call::get(Service::Volume, "/limits")).await?;
        let it = &answer.json()["limits"]["absolute"];
        limits.volumes = room(&it["totalVolumesUsed"], &it["maxTotalVolumes"]);
        limits.snapshots = room(&it["totalSnapshotsUsed"], &it["maxTotalSnapshots"]);
        limits.gigabytes = room(&it["totalGigabytesUsed"], &it["maxTotalVolumeGigabytes"]);
    }
    if session.has(Service::Network).await?
        && let Some(project) = session.project().await?
    {
        // An extension that nearly every cloud has.
        let call = Call::get(Service::Network, format!("/quotas/{project}/details.json"));
        match session.send(&call).await {
            Ok(answer) => {
                let it = &answer.json()["quota"];
                let room = |key: &str| room(&it[key]["used"], &it[key]["limit"]);
                limits.ports = room("port");
                limits.security_groups = room("security_group");
                limits.floating_ips = room("floatingip");
            }
            Err(err) if matches!(err.status(), Some(403 | 404)) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(limits)
}

/// A negative limit is none.
fn room(used: &Value, limit: &Value) -> Room {
    Room { used: used.as_u64().unwrap_or_default(), limit: limit.as_u64() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_limit_is_no_limit() {
        assert!(room(&json!(7), &json!(-1)).fits(u64::MAX));
        assert!(room(&json!(7), &json!(null)).fits(1000));
        assert!(room(&json!(7), &json!(10)).fits(3));
        assert!(!room(&json!(7), &json!(10)).fits(4));
    }
}
