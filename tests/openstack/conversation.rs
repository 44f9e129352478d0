//! Everything that a build may ask of a cloud, in one go.
//!
//! The same conversation is held with the fake and with a real one; what is
//! claimed here is what has to be given back, whatever happens in between.

use std::{collections::BTreeMap, time::Duration};

use camino::Utf8PathBuf;
use imgbuild::{
    engine::{Lifetime, Resource, ResourceKind, Teller},
    openstack::{
        Cloud, Error,
        compute::{Attachment, Device, NewServer, ServerState, Until, smallest},
        console::Console,
        image::{ImageChange, ImageFilter, ImageState, NewImage},
        network::{NewPort, Rule},
        volume::{Held, NewVolume},
    },
};
use serde_json::json;
use tokio::time::Instant;

/// What the conversation is about.
pub(crate) struct World {
    /// In front of every name.
    pub(crate) prefix: String,
    /// A disk that boots, says something on the console, and powers off.
    pub(crate) disk: Utf8PathBuf,
    /// Its format.
    pub(crate) format: &'static str,
    /// How long anything may take.
    pub(crate) patience: Duration,
}

/// What was claimed, in order: a build's journal.
#[derive(Default)]
pub(crate) struct Claims(pub(crate) Vec<Resource>);

impl Claims {
    fn claim(&mut self, kind: ResourceKind, name: &str) -> usize {
        self.0.push(Resource {
            label: name.to_owned(),
            kind,
            name: name.to_owned(),
            id: None,
            lifetime: Lifetime::Scratch,
        });
        self.0.len() - 1
    }

    fn confirm(&mut self, claim: usize, id: &str) {
        self.0[claim].id = Some(id.to_owned());
    }
}

/// A key that nobody has the other half of.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl test";

/// Holds the conversation. What it asserts would be a false success.
pub(crate) async fn hold(cloud: &Cloud, world: &World, claims: &mut Claims) -> Result<(), Error> {
    let name = |it: &str| format!("{}-{it}", world.prefix);
    let soon = || Instant::now() + world.patience;

    // Before the first write.
    let limits = cloud.limits().await?;
    assert!(limits.servers.fits(1) && limits.ports.fits(1) && limits.volumes.fits(1), "{limits:?}");
    let flavors = cloud.compute().flavors().await?;
    let flavor = smallest(&flavors, 1, 512, 2).unwrap().id.clone();
    assert_eq!(cloud.compute().flavor("tiny").await?.id, flavor);
    let network = cloud.networks().network("private").await?;
    let subnets = cloud.networks().subnets(&network.id).await?;
    assert!(subnets[0].enable_dhcp && subnets[0].gateway_ip.is_some());
    let ports = cloud.networks().ports_of(&network.id).await?;
    assert!(ports.iter().any(|it| it.device_owner.starts_with("network:")), "{ports:?}");
    let public = cloud.networks().network("public").await?;
    assert!(public.external);

    // What surrounds a machine.
    claims.claim(ResourceKind::Keypair, &name("key"));
    cloud.compute().create_keypair(&name("key"), KEY).await?;
    let claim = claims.claim(ResourceKind::SecurityGroup, &name("group"));
    let group = cloud
        .networks()
        .create_security_group(&name("group"), &[Rule::tcp(22), Rule::tcp(8022)])
        .await?;
    claims.confirm(claim, &group.id);
    let group = cloud.networks().security_group(&name("group")).await?;
    assert_eq!(group.rules.iter().filter(|it| it.protocol.is_some()).count(), 2, "{group:?}");

    // Data.
    let claim = claims.claim(ResourceKind::Image, &name("boot"));
    let new = NewImage {
        name: name("boot"),
        disk_format: world.format.into(),
        tags: vec![name("tag")],
        properties: [
            ("os_distro".to_owned(), "debian".to_owned()),
            ("imgbuild_old".to_owned(), "1".to_owned()),
        ]
        .into(),
        ..NewImage::default()
    };
    let image = cloud.images().create(&new).await?;
    claims.confirm(claim, &image.id);
    cloud.images().upload(&image.id, &world.disk, "boot disk", &Teller::default()).await?;
    let image = cloud.images().wait_active(&image.id, soon()).await?;
    assert_eq!(image.size, Some(world.disk.metadata().unwrap().len()));
    assert!(cloud.images().compare(&image, &world.disk).await?, "{image:?}");
    let change = ImageChange {
        set: [("os_version".to_owned(), json!("13")), ("visibility".to_owned(), json!("shared"))]
            .into(),
        remove: vec!["imgbuild_old".into(), "never_there".into()],
    };
    let image = cloud.images().update(&image.id, &change).await?;
    assert_eq!(image.properties["os_version"], "13");
    assert!(!image.properties.contains_key("imgbuild_old"));
    let tagged = cloud
        .images()
        .list(&ImageFilter { tags: &[&name("tag")], ..ImageFilter::default() })
        .await?;
    assert_eq!(tagged.iter().map(|it| &it.id).collect::<Vec<_>>(), [&image.id]);
    assert_eq!(cloud.images().find(&name("boot")).await?.id, image.id);
    let other = "fedcba9876543210fedcba9876543210";
    cloud.images().add_member(&image.id, other).await?;
    assert_eq!(cloud.images().members(&image.id).await?, [other]);
    cloud.images().remove_member(&image.id, other).await?;
    assert!(cloud.images().members(&image.id).await?.is_empty());

    // A machine on a port of ours.
    let claim = claims.claim(ResourceKind::Port, &name("port"));
    let port = NewPort {
        name: name("port"),
        network: network.id.clone(),
        security_groups: vec![group.id.clone()],
        ..NewPort::default()
    };
    let port = cloud.networks().create_port(&port).await?;
    claims.confirm(claim, &port.id);
    let server_claim = claims.claim(ResourceKind::Server, &name("server"));
    let new = NewServer {
        name: name("server"),
        flavor: flavor.clone(),
        image: Some(image.id.clone()),
        user_data: Some("#cloud-config\n# the conversation\n".into()),
        config_drive: true,
        keypair: Some(name("key")),
        network: Attachment::Ports(vec![port.id.clone()]),
        metadata: [("imgbuild".to_owned(), world.prefix.clone())].into(),
        tags: vec!["imgbuild".into()],
        ..NewServer::default()
    };
    let server = cloud.compute().create_server(&new).await?;
    claims.confirm(server_claim, &server.id);
    let running = cloud.compute().wait(&server.id, Until::Active, soon()).await?;
    assert!(matches!(running.status, ServerState::Active | ServerState::Shutoff));
    cloud.compute().diagnostics(&server.id).await?;
    cloud.compute().screen(&server.id, imgbuild::openstack::compute::Screen::NoVnc).await?;
    let claim = claims.claim(ResourceKind::FloatingIp, &name("floating"));
    let floating =
        cloud.networks().create_floating_ip(&name("floating"), &public.id, &port.id).await?;
    claims.confirm(claim, &floating.id);
    assert_eq!(floating.port_id.as_deref(), Some(port.id.as_str()));

    // It is watched until it is off.
    let (mut console, mut said) = (Console::default(), String::new());
    let deadline = soon();
    loop {
        if let Some(log) = cloud.compute().console(&server.id).await? {
            said += &console.merge(&log).text;
        }
        if cloud.compute().server(&server.id).await?.is_off() {
            break;
        }
        assert!(Instant::now() < deadline, "it does not power off; it said {said:?}");
        tokio::time::sleep(cloud.session().patience().poll.first * 2).await;
    }
    let first = said.lines().next().unwrap_or_default().to_owned();
    assert!(
        first.is_empty() || said.lines().filter(|it| *it == first).count() == 1,
        "shown twice: {said}"
    );
    cloud.compute().stop(&server.id).await?;
    cloud.compute().start(&server.id).await?;
    cloud.compute().wait(&server.id, Until::Active, soon()).await?;
    cloud.compute().stop(&server.id).await?;
    cloud.compute().wait(&server.id, Until::Off, soon()).await?;

    // An image of it.
    let claim = claims.claim(ResourceKind::Image, &name("product"));
    let product =
        cloud.compute().create_image(&server.id, &name("product"), &BTreeMap::new()).await?;
    claims.confirm(claim, &product);
    let product = cloud.images().wait_active(&product, soon()).await?;
    assert_eq!(product.status, ImageState::Active);
    assert!(product.size > Some(0) && product.snapshots().is_empty(), "{product:?}");
    cloud.compute().wait(&server.id, Until::Settled, soon()).await?;
    cloud.images().deactivate(&product.id).await?;
    assert_eq!(cloud.images().get(&product.id).await?.status, ImageState::Deactivated);
    cloud.images().reactivate(&product.id).await?;
    give_back(cloud, claims, server_claim, soon()).await?;
    assert!(cloud.compute().servers_named(&name("server")).await?.is_empty());

    // A volume, and what is made of it.
    let metadata = BTreeMap::from([("imgbuild".to_owned(), world.prefix.clone())]);
    let volume_claim = claims.claim(ResourceKind::Volume, &name("volume"));
    let new = NewVolume {
        name: name("volume"),
        gib: 1,
        image: Some(image.id.clone()),
        metadata: metadata.clone(),
        ..NewVolume::default()
    };
    let volume = cloud.volumes().create(&new).await?;
    claims.confirm(volume_claim, &volume.id);
    let volume = cloud.volumes().wait_available(&volume.id, soon()).await?;
    cloud.volumes().set_bootable(&volume.id, true).await?;
    cloud
        .volumes()
        .set_image_metadata(&volume.id, &BTreeMap::from([("os_distro".into(), "debian".into())]))
        .await?;
    assert_eq!(cloud.volumes().get(&volume.id).await?.bootable, "true");

    let backed_claim = claims.claim(ResourceKind::Server, &name("backed"));
    let new = NewServer {
        name: name("backed"),
        flavor,
        devices: vec![Device::volume(&volume.id).boot(0)],
        network: Attachment::Networks(vec![network.id.clone()]),
        ..NewServer::default()
    };
    let backed = cloud.compute().create_server(&new).await?;
    claims.confirm(backed_claim, &backed.id);
    cloud.compute().wait(&backed.id, Until::Off, soon()).await?;
    // Nova names the snapshot behind such an image.
    claims.claim(ResourceKind::Snapshot, &format!("snapshot for {}", name("backed-image")));
    let claim = claims.claim(ResourceKind::Image, &name("backed-image"));
    let id =
        cloud.compute().create_image(&backed.id, &name("backed-image"), &BTreeMap::new()).await?;
    claims.confirm(claim, &id);
    let backed_image = cloud.images().wait_active(&id, soon()).await?;
    assert_eq!(
        (backed_image.size, backed_image.snapshots().len()),
        (Some(0), 1),
        "{backed_image:?}"
    );
    let claim = claims.claim(ResourceKind::Snapshot, &name("held"));
    let held =
        cloud.volumes().create_snapshot(&volume.id, &name("held"), &metadata, Held::Yes).await?;
    claims.confirm(claim, &held.id);
    cloud.volumes().wait_snapshot(&held.id, soon()).await?;
    give_back(cloud, claims, backed_claim, soon()).await?;
    cloud.volumes().wait_available(&volume.id, soon()).await?;

    let claim = claims.claim(ResourceKind::Snapshot, &name("snapshot"));
    let snapshot =
        cloud.volumes().create_snapshot(&volume.id, &name("snapshot"), &metadata, Held::No).await?;
    claims.confirm(claim, &snapshot.id);
    let snapshot = cloud.volumes().wait_snapshot(&snapshot.id, soon()).await?;
    let renamed =
        cloud.volumes().update_snapshot(&snapshot.id, &name("renamed"), &metadata).await?;
    assert_eq!((renamed.name, renamed.metadata), (name("renamed"), metadata));
    let claim = claims.claim(ResourceKind::Volume, &name("clone"));
    let new = NewVolume {
        name: name("clone"),
        snapshot: Some(snapshot.id.clone()),
        ..NewVolume::default()
    };
    let clone = cloud.volumes().create(&new).await?;
    claims.confirm(claim, &clone.id);
    cloud.volumes().wait_available(&clone.id, soon()).await?;
    let claim = claims.claim(ResourceKind::Image, &name("of-volume"));
    let of_volume = cloud.volumes().create_image(&clone.id, &name("of-volume"), "qcow2").await?;
    claims.confirm(claim, &of_volume);
    cloud.images().wait_active(&of_volume, soon()).await?;
    cloud.volumes().wait_available(&clone.id, soon()).await?;
    Ok(())
}

/// Gives back everything that was claimed, newest first; returns what could
/// not be.
pub(crate) async fn unwind(
    cloud: &Cloud,
    claims: &Claims,
    patience: Duration,
) -> Vec<(Resource, Error)> {
    let mut leftovers = Vec::new();
    for resource in claims.0.iter().rev() {
        // Both by name and by ID: it may have been made twice.
        let by_name = Resource { id: None, ..resource.clone() };
        for resource in [resource, &by_name] {
            if let Err(err) = cloud.release(resource, Instant::now() + patience).await {
                leftovers.push((resource.clone(), err));
                break;
            }
        }
    }
    leftovers
}

async fn give_back(
    cloud: &Cloud,
    claims: &Claims,
    claim: usize,
    deadline: Instant,
) -> Result<(), Error> {
    cloud.release(&claims.0[claim], deadline).await
}
