//! What may still be made: quotas and what is used of them.
//!
//! Asked before the first write, so that a build does not fail half way.

use serde_json::Value;

use super::{
    Error, Service,
    call::{Answer, Call},
    session::Session,
};

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
    /// Images; few clouds limit them.
    pub images: Room,
    /// All images together, in MiB.
    pub image_mib: Room,
}

pub(super) async fn limits(session: &Session) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for service in Service::ALL {
        if session.has(service).await? {
            add(session, service, &mut limits).await?;
        }
    }
    Ok(limits)
}

/// Adds what one service says of its limits.
pub(super) async fn add(
    session: &Session,
    service: Service,
    limits: &mut Limits,
) -> Result<(), Error> {
    match service {
        Service::Identity => {}
        Service::Compute => {
            let answer = session.send(&Call::get(service, "/limits")).await?;
            let it = &answer.json()["limits"]["absolute"];
            limits.servers = room(&it["totalInstancesUsed"], &it["maxTotalInstances"]);
            limits.cores = room(&it["totalCoresUsed"], &it["maxTotalCores"]);
            limits.ram = room(&it["totalRAMUsed"], &it["maxTotalRAMSize"]);
        }
        Service::Volume => {
            let answer = session.send(&Call::get(service, "/limits")).await?;
            let it = &answer.json()["limits"]["absolute"];
            limits.volumes = room(&it["totalVolumesUsed"], &it["maxTotalVolumes"]);
            limits.snapshots = room(&it["totalSnapshotsUsed"], &it["maxTotalSnapshots"]);
            limits.gigabytes = room(&it["totalGigabytesUsed"], &it["maxTotalVolumeGigabytes"]);
        }
        Service::Network => {
            let Some(project) = session.project().await? else { return Ok(()) };
            // An extension that nearly every cloud has.
            let call = Call::get(service, format!("/quotas/{project}/details.json"));
            let Some(answer) = told(session.send(&call).await)? else { return Ok(()) };
            let it = &answer.json()["quota"];
            let room = |key: &str| room(&it[key]["used"], &it[key]["limit"]);
            limits.ports = room("port");
            limits.security_groups = room("security_group");
            limits.floating_ips = room("floatingip");
        }
        Service::Image => {
            // Told where keystone keeps the limits (Glance 2.13 and later).
            let call = Call::get(service, "/info/usage");
            let Some(answer) = told(session.send(&call).await)? else { return Ok(()) };
            let it = &answer.json()["usage"];
            let room = |key: &str| room(&it[key]["usage"], &it[key]["limit"]);
            limits.images = room("image_count_total");
            limits.image_mib = room("image_size_total");
        }
    }
    Ok(())
}

/// What a service does not tell us is no failure.
fn told(answer: Result<Answer, Error>) -> Result<Option<Answer>, Error> {
    match answer {
        Err(err) if matches!(err.status(), Some(403 | 404)) => Ok(None),
        other => other.map(Some),
    }
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
