//! What builds left in a cloud whose journals are elsewhere or lost: found by the
//! names that everything gets which a build makes.

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{Offset, TimeZone},
};
use serde_json::Value;

use super::{Cloud, Error, Service, call::Call};
use crate::engine::{Lifetime, Resource, ResourceKind};

/// Something of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When the build began.
    pub begun: Timestamp,
    /// The thing, with its ID.
    pub resource: Resource,
}

/// How a kind of things is listed.
struct Listing {
    kind: ResourceKind,
    service: Service,
    path: &'static str,
    key: &'static str,
    /// The field with the name that a build gave.
    name: &'static str,
}

/// In the order in which they can be given back: a port holds its security group,
/// a snapshot its volume, a server nearly all.
const LISTINGS: [Listing; 8] = [
    Listing::new(ResourceKind::Server, Service::Compute, "/servers/detail", "servers"),
    Listing {
        kind: ResourceKind::FloatingIp,
        service: Service::Network,
        path: "/floatingips",
        key: "floatingips",
        name: "description",
    },
    Listing::new(ResourceKind::Port, Service::Network, "/ports", "ports"),
    Listing::new(ResourceKind::Snapshot, Service::Volume, "/snapshots/detail", "snapshots"),
    Listing::new(ResourceKind::Volume, Service::Volume, "/volumes/detail", "volumes"),
    Listing::new(ResourceKind::Image, Service::Image, "/images", "images"),
    Listing::new(
        ResourceKind::SecurityGroup,
        Service::Network,
        "/security-groups",
        "security_groups",
    ),
    Listing::new(ResourceKind::Keypair, Service::Compute, "/os-keypairs", "keypairs"),
];

impl Listing {
    const fn new(
        kind: ResourceKind,
        service: Service,
        path: &'static str,
        key: &'static str,
    ) -> Self {
        Self { kind, service, path, key, name: "name" }
    }
}

/// Everything that builds which began before then have in the project, in the order
/// in which it can be given back. Products are not among it: they have names of
/// their own. A service that the cloud lacks has nothing.
pub async fn lost(cloud: &Cloud, before: Timestamp) -> Result<Vec<Lost>, Error> {
    let session = cloud.session();
    let project = session.project().await?;
    let mut lost = Vec::new();
    for listing in LISTINGS {
        if !session.has(listing.service).await? {
            continue;
        }
        let mut call = Call::get(listing.service, listing.path);
        if let Some(project) = &project {
            match listing.service {
                Service::Network => call = call.query("project_id", project),
                Service::Image => call = call.query("owner", project),
                _ => {}
            }
        }
        let items: Vec<Value> = session.list(call, listing.key).await?;
        for item in items {
            let item = item.get("keypair").unwrap_or(&item);
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            let name = text(listing.name);
            let Some(begun) = begun(&name).filter(|it| *it < before) else { continue };
            let id = Some(text("id")).filter(|it| !it.is_empty());
            let (label, lifetime) = (String::new(), Lifetime::Scratch);
            let resource = Resource { label, kind: listing.kind.clone(), name, id, lifetime };
            lost.push(Lost { begun, resource });
        }
    }
    Ok(lost)
}

/// When the build began that gave something this name, which is
/// `imgbuild-20261124-002346-NAME-…`, in UTC.
fn begun(name: &str) -> Option<Timestamp> {
    let time = name.strip_prefix("imgbuild-")?.get(..16)?;
    let time = time.strip_suffix('-')?;
    let time = DateTime::strptime("%Y%m%d-%H%M%S", time).ok()?;
    time.to_zoned(TimeZone::fixed(Offset::UTC)).ok().map(|it| it.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_its_build_began_and_whose_it_is() {
        let time = begun("imgbuild-20261124-002346-web-aeb339-verify").unwrap();
        assert_eq!(time.to_string(), "2026-11-24T00:23:46Z");
        for other in [
            "imgbuild-cache-kernel-51349501a3d1ff83",
            "imgbuild-medium-quick.iso",
            "imgbuild-20261124-002346",
            "imgbuild-20261324-002346-web",
            "imgbuild-2026é124-002346-web",
            "my-imgbuild-20261124-002346-web",
            "",
        ] {
            assert_eq!(begun(other), None, "{other}");
        }
    }
}
