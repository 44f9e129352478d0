//! The cloud of a build: reached, and looked at before anything is written.

use std::io::Write as _;

use super::{
    doctor,
    failure::{Failure, Plain, Status},
};
use crate::{
    CancellationToken,
    model::{Build, Delivery, Openstack, Platform, Target, VolumeTarget},
    openstack::{
        self, Cloud, Patience,
        image::{ImageFilter, ImageState},
        limits::Limits,
        preflight::{Facts, Makes, QUOTA, Wanted, flavor, gather, judge, network},
    },
    plan::{
        Medium,
        openstack::{INPUTS, gibibytes, is_reached, makes_group, medium},
    },
    platform::{Check, Grade},
    runner::Place,
};

/// What a spec says of the cloud, if it is built in one.
pub(super) fn settings(build: &Build) -> Option<&Openstack> {
    match &build.platform {
        Platform::Openstack(it) => Some(it),
        Platform::Qemu(_) => None,
    }
}

/// The cloud of that name in `clouds.yaml`; `OS_CLOUD` or `OS_*` where none is
/// named. Nothing is sent yet.
pub(super) fn connect(name: Option<&str>) -> Result<Cloud, Failure> {
    let config = openstack::config::load(name).map_err(|it| Failure::usage(*it))?;
    Cloud::new(config, Patience::default(), CancellationToken::new()).map_err(Failure::failed)
}

/// What a cloud has for a build.
pub(super) struct Found {
    /// Where its servers are started.
    pub place: Place,
    /// What it makes, at its most at one time.
    pub makes: Makes,
    /// Processors of each server.
    pub vcpus: u64,
    /// MiB of memory of each server.
    pub ram: u64,
    /// What may still be made.
    pub limits: Limits,
}

/// Looks whether the cloud has what the build needs, says what it lacks, and
/// chooses where servers are started. Nothing is written. `among_ours` leaves
/// quotas out: it is known what other builds of ours use. `heading` says of which of
/// several builds that is.
pub(super) async fn survey(
    cloud: &Cloud,
    build: &Build,
    user_data: usize,
    among_ours: bool,
    heading: Option<&str>,
) -> Result<Found, Failure> {
    let (facts, wanted, checks) = look(cloud, build, user_data).await?;
    let counts = |it: &Check| !(among_ours && it.name.starts_with(QUOTA));
    let bad: Vec<_> =
        checks.into_iter().filter(|it| it.grade != Grade::Good && counts(it)).collect();
    if let Some(heading) = heading.filter(|_| !bad.is_empty()) {
        _ = writeln!(std::io::stderr(), "{heading}:");
    }
    doctor::print_to(&bad, &mut std::io::stderr());
    if bad.iter().any(|it| it.grade == Grade::Missing) {
        _ = writeln!(std::io::stderr(), "nothing was changed in the cloud");
        return Err(Failure::silent(Status::Failed));
    }
    let missing = |it: &Check| {
        Failure::failed(Plain::new(
            format!("{}: {}", it.name, it.found),
            it.remedy.clone().unwrap_or_default(),
        ))
    };
    let flavors = facts.flavors.as_deref().unwrap_or_default();
    let flavor = flavor(flavors, &wanted).map_err(|it| missing(&it))?;
    let network = network(&facts, &wanted).map_err(|it| missing(&it))?.map(|it| it.id.clone());
    let port = facts.port.as_ref().and_then(|it| it.as_ref().ok()).map(|it| it.id.clone());
    Ok(Found {
        place: Place { flavor: flavor.id.clone(), network, port },
        makes: wanted.makes,
        vcpus: u64::from(flavor.vcpus),
        ram: flavor.ram,
        limits: facts.limits,
    })
}

/// What a build would find in its cloud, for people to read, and the product of
/// the same inputs where the cloud has it. Nothing is written.
pub(super) async fn outlook(
    build: &Build,
    user_data: usize,
    inputs: &str,
) -> Result<(Vec<Check>, Option<String>), Failure> {
    let cloud = connect(settings(build).and_then(|it| it.cloud.as_deref()))?;
    let (_, _, checks) = look(&cloud, build, user_data).await?;
    let reached = checks.first().is_some_and(|it| it.grade != Grade::Missing);
    let product = if reached { current(&cloud, &build.target, inputs).await } else { None };
    Ok((checks, product))
}

async fn look(
    cloud: &Cloud,
    build: &Build,
    user_data: usize,
) -> Result<(Facts, Wanted, Vec<Check>), Failure> {
    let settings = settings(build).cloned().unwrap_or_default();
    let wanted = wanted(build, &settings, user_data);
    let facts = gather(cloud, &wanted).await.map_err(Failure::failed)?;
    let checks = judge(&facts, &wanted);
    Ok((facts, wanted, checks))
}

fn wanted(build: &Build, settings: &Openstack, user_data: usize) -> Wanted {
    let is_volume = matches!(build.target, Target::Volume(_));
    let gib = gibibytes(build.install.disk);
    let root_on_volume = is_volume || settings.volume_backed;
    let medium = medium(build, settings);
    let n_volumes = u64::from(root_on_volume) + u64::from(is_volume);
    Wanted {
        flavor: settings.flavor.clone(),
        vcpus: build.install.cpus,
        ram: build.install.memory.as_mib(),
        disk: gib,
        root_on_volume,
        network: settings.network.clone(),
        port: settings.port.clone(),
        floating_ip: settings.floating_ip.clone(),
        security_groups: settings.security_groups.clone(),
        volume_type: settings.volume_type.clone().filter(|_| root_on_volume),
        image: match &medium {
            Some(Medium::Image { name }) => Some(name.clone()),
            _ => None,
        },
        snapshot: match &medium {
            Some(Medium::Snapshot { name }) => Some(name.clone()),
            _ => None,
        },
        // In an initrd there is room for more than Nova takes.
        user_data: match build.install.delivery {
            Delivery::Metadata | Delivery::ConfigDrive => user_data,
            Delivery::Volume | Delivery::Initrd => 0,
        },
        makes: Makes {
            servers: 1,
            ports: u64::from(settings.port.is_none()),
            security_groups: u64::from(is_reached(build) && makes_group(settings)),
            images: 2 + u64::from(medium == Some(Medium::Iso)),
            volumes: n_volumes + u64::from(medium.is_some()),
            snapshots: u64::from(is_volume),
            gigabytes: n_volumes * gib,
        },
    }
}

/// The product of the same inputs, if the cloud has it already.
pub(super) async fn current(cloud: &Cloud, target: &Target, inputs: &str) -> Option<String> {
    match target {
        Target::Volume(VolumeTarget { image: Some(image), name, metadata }) => {
            let snapshot =
                VolumeTarget { image: None, name: name.clone(), metadata: metadata.clone() };
            let snapshot = Box::pin(current(cloud, &Target::Volume(snapshot), inputs)).await?;
            let image = Box::pin(current(cloud, &Target::Glance(image.clone()), inputs)).await?;
            Some(format!("{snapshot} {image}"))
        }
        Target::Glance(it) => {
            let filter = ImageFilter { name: Some(&it.name), own: true, ..ImageFilter::default() };
            let images = cloud.images().list(&filter).await.ok()?;
            let is_same = |it: &&openstack::image::Image| {
                it.status == ImageState::Active
                    && it.properties.get(INPUTS).and_then(|it| it.as_str()) == Some(inputs)
            };
            images.iter().find(is_same).map(|it| it.id.clone())
        }
        Target::Volume(it) => {
            let snapshots = cloud.volumes().snapshots_named(&it.name).await.ok()?;
            let same = snapshots
                .into_iter()
                .find(|it| it.metadata.get(INPUTS).is_some_and(|it| it == inputs));
            same.map(|it| it.id)
        }
        Target::File(_) => None,
    }
}
