//! The stages of a build in an OpenStack cloud.
//!
//! The same first stages as on QEMU; then the boot disk becomes an image, the
//! installer runs in a server that overwrites it, and what it left is made an
//! image or a volume snapshot. Names of cloud resources are completed with the
//! run's ID, so that what has such a name is the build's own.

use std::collections::BTreeMap;

use super::{Action, Medium, Plan, Planned, RootVolume, ServerInstall, Stage, qemu};
use crate::{
    engine::{Lifetime, ResourceKind},
    model::{
        BootMethod, Build, CloudMedium, Delivery, Firmware, GlanceTarget, Openstack, Place, Source,
        Target, UserAction, UserStage, Verify, VerifyCondition, VolumeTarget,
    },
    units::{Size, Span},
};

/// How long an image may travel, or a snapshot take.
const TRANSFER: Span = Span::minutes(240);
/// How long changes of names and properties may take.
const WORDS: Span = Span::minutes(15);

/// Plans a build that makes an image or a volume snapshot in a cloud.
///
/// `command_line` is what the installer is started with.
pub fn plan(build: &Build, cloud: &Openstack, target: &Target, command_line: &str) -> Plan {
    let from_volume = cloud.volume_backed || matches!(target, Target::Volume(_));
    let gib = gibibytes(build.install.disk);
    let direct = build.install.boot == BootMethod::Direct;
    let mut upload =
        vec![planned("boot-image", ResourceKind::Image, Lifetime::Scratch, "boot", None)];
    if direct {
        // An image has to have data, and a root disk starts as one.
        upload.push(planned(
            "empty-disk",
            ResourceKind::File,
            Lifetime::Scratch,
            "empty-disk.img",
            None,
        ));
        for (label, name) in [("kernel-image", "kernel"), ("initrd-image", "initrd")] {
            upload.push(planned(label, ResourceKind::Image, Lifetime::Scratch, name, None));
        }
    }
    if from_volume {
        // A snapshot lives no longer than its volume.
        let lifetime = match target {
            Target::Volume(_) => Lifetime::Product,
            Target::File(_) | Target::Glance(_) => Lifetime::Scratch,
        };
        let size = Some(Size::gib(gib));
        upload.push(planned("root-volume", ResourceKind::Volume, lifetime, "root", size));
    }
    let medium = medium(build, cloud);
    if medium == Some(Medium::Iso) {
        upload.push(planned(
            "medium-image",
            ResourceKind::Image,
            Lifetime::Scratch,
            "medium-upload",
            None,
        ));
    }
    if medium.is_some() {
        upload.push(planned("medium", ResourceKind::Volume, Lifetime::Scratch, "medium", None));
    }
    let mut properties = build.os.glance.clone();
    if build.install.firmware == Firmware::Uefi {
        properties.insert("hw_firmware_type".to_owned(), "uefi".to_owned());
    }
    let mut products = Vec::new();
    if matches!(target, Target::Volume(_)) {
        products.push(planned(
            "snapshot",
            ResourceKind::Snapshot,
            Lifetime::Product,
            "snapshot",
            None,
        ));
    }
    if image_of(target).is_some() {
        products.push(planned("image", ResourceKind::Image, Lifetime::Product, "image", None));
    }
    let mut installs = vec![server("install")];
    if works_in_server(build) {
        installs.splice(0..0, doors("install", cloud));
    }
    let mut stages = vec![
        fetch(build, cloud),
        qemu::boot_disk(build, command_line),
        Stage {
            name: "upload".into(),
            title: if direct {
                "bring the installer's kernel and initrd into the cloud"
            } else {
                "bring the boot disk into the cloud"
            }
            .into(),
            timeout: TRANSFER,
            creates: upload,
            action: Action::Upload {
                properties,
                volume: from_volume
                    .then(|| RootVolume { gib, volume_type: cloud.volume_type.clone() }),
                medium,
                direct,
                cache: cloud.cache_media,
            },
        },
        Stage {
            name: "install".into(),
            title: format!("let the installer of {} install it", build.os.title),
            // The installer's own limit starts when its server runs.
            timeout: Span::secs(build.install.timeout.duration().as_secs() + 900),
            creates: installs,
            action: Action::InstallServer(Box::new(ServerInstall {
                installer: build.os.installer,
                dialect: build.os.dialect,
                install: build.install.clone(),
                cloud: cloud.clone(),
                from_volume,
            })),
        },
        Stage {
            name: "convert".into(),
            title: match target {
                Target::Volume(VolumeTarget { image: Some(_), .. }) => {
                    "make the snapshot and the image of the installed volume"
                }
                Target::Volume(_) => "make the snapshot of the installed volume",
                Target::File(_) | Target::Glance(_) => "make the image of the installed disk",
            }
            .into(),
            timeout: TRANSFER,
            creates: products,
            action: Action::Capture { target: target.clone(), from_volume },
        },
    ];
    if let Some(it) = &build.verify {
        stages.push(verify(build, it, cloud, "verify", target));
        // Each of two products is proved by itself.
        if let Target::Volume(VolumeTarget { image: Some(image), .. }) = target {
            let image = Target::Glance(image.clone());
            stages.push(verify(build, it, cloud, "verify-image", &image));
        }
    }
    stages.push(Stage {
        name: "publish".into(),
        title: "give the result its name".into(),
        timeout: WORDS,
        creates: vec![],
        action: Action::Offer { target: target.clone() },
    });
    let machine = qemu::machine(build, build.install.memory, &crate::model::Qemu::default());
    for stage in &build.stages {
        qemu::place(&mut stages, stage, &machine);
    }
    for stage in &mut stages {
        if matches!(&stage.action, Action::User { action, .. } if is_in_guest(action)) {
            stage.creates = address(&stage.name, cloud).into_iter().collect();
        }
    }
    Plan { name: build.name.clone(), os: build.os.id.clone(), arch: build.arch, stages }
}

/// The stage that boots a product.
fn verify(build: &Build, verify: &Verify, cloud: &Openstack, name: &str, target: &Target) -> Stage {
    let mut creates = vec![server(name)];
    if is_verified_over_ssh(build) {
        creates.splice(0..0, doors(name, cloud));
        creates.extend(address(name, cloud));
    }
    if matches!(target, Target::Volume(_)) {
        let label = format!("{name}-volume");
        let volume = planned(&label, ResourceKind::Volume, Lifetime::Scratch, name, None);
        creates.insert(0, volume);
    }
    Stage {
        name: name.into(),
        title: "boot the result as a new server".into(),
        timeout: Span::secs(verify.timeout.duration().as_secs() + 1800),
        creates,
        action: Action::VerifyServer { verify: verify.clone(), target: target.clone() },
    }
}

/// The Glance image that is made.
pub fn image_of(target: &Target) -> Option<&GlanceTarget> {
    match target {
        Target::Glance(image) => Some(image),
        Target::Volume(volume) => volume.image.as_ref(),
        Target::File(_) => None,
    }
}

/// Whether something is done in a server of this build, over SSH.
pub fn is_reached(build: &Build) -> bool {
    is_verified_over_ssh(build) || works_in_server(build)
}

/// Whether the result is proved by reaching it.
fn is_verified_over_ssh(build: &Build) -> bool {
    matches!(&build.verify, Some(Verify { condition: VerifyCondition::Ssh(_), .. }))
}

/// Whether a stage works in the installed server.
fn works_in_server(build: &Build) -> bool {
    build.stages.iter().any(|it| is_in_guest(&it.action))
}

fn is_in_guest(action: &UserAction) -> bool {
    matches!(action, UserAction::Ssh { .. } | UserAction::Ansible { .. })
}

/// Whether a stage comes when the server is installed and not yet captured.
fn is_before_capture(build: &Build, stage: &UserStage) -> bool {
    let mut place = &stage.place;
    for _ in 0..=build.stages.len() {
        let anchor = match place {
            Place::After(it) if it == "install" => return true,
            Place::Before(it) if it == "convert" => return true,
            Place::After(it) | Place::Before(it) => it,
        };
        match build.stages.iter().find(|it| it.name == *anchor) {
            Some(stage) => place = &stage.place,
            None => return false,
        }
    }
    false
}

/// Whether a security group is made for servers that are reached: nobody named
/// one, and no port brings its own.
pub fn makes_group(cloud: &Openstack) -> bool {
    cloud.security_groups.is_empty() && cloud.port.is_none()
}

/// What lets SSH into the server of a stage.
fn doors(stage: &str, cloud: &Openstack) -> Vec<Planned> {
    let made = |what: &str, kind| {
        planned(&format!("{stage}-{what}"), kind, Lifetime::Scratch, stage, None)
    };
    let mut doors = vec![made("keypair", ResourceKind::Keypair)];
    if makes_group(cloud) {
        doors.push(made("group", ResourceKind::SecurityGroup));
    }
    doors
}

/// The address that the server of a stage is reached at, where it is made.
fn address(stage: &str, cloud: &Openstack) -> Option<Planned> {
    let label = format!("{stage}-address");
    let made = planned(&label, ResourceKind::FloatingIp, Lifetime::Scratch, stage, None);
    cloud.floating_ip.is_some().then_some(made)
}

/// What a build asks for that is not done in a cloud, and what to do instead;
/// said before anything is started, not in its middle.
pub fn not_in_a_cloud(build: &Build, cloud: &Openstack) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    if build.install.boot == BootMethod::Cdrom {
        found.push((
            "in a cloud the installer starts from its boot disk or its kernel".to_owned(),
            "use `install.boot = \"disk\"` or `\"direct\"`, or leave it out",
        ));
    }
    if build.install.delivery == Delivery::Volume {
        found.push((
            "an answer file on a labelled volume cannot be handed to a server".to_owned(),
            "use `delivery = \"metadata\"`, `\"config-drive\"` or `\"initrd\"`",
        ));
    }
    for stage in build.stages.iter().filter(|it| is_in_guest(&it.action)) {
        let keeps = matches!(
            stage.action,
            UserAction::Ssh { keep: true, .. } | UserAction::Ansible { keep: true, .. }
        );
        if !keeps || !is_before_capture(build, stage) {
            found.push((
                format!("the stage `{}` cannot run in a cloud, where there is no copy of a disk to spoil", stage.name),
                "have it work in the installed server itself: `after = \"install\"` and `keep = true`",
            ));
        } else if build.install.boot == BootMethod::Direct {
            found.push((
                format!("the stage `{}` cannot run: a server that Nova starts with a kernel would install again", stage.name),
                "use `install.boot = \"disk\"`, or leave it out",
            ));
        }
    }
    if cloud.floating_ip.is_some() && !is_reached(build) {
        found.push((
            "`platform.openstack.floating-ip` has no use: nothing reaches the server".to_owned(),
            "leave it out, or prove the result with `verify.ssh`, or work in it with a stage",
        ));
    }
    found
}

/// What goes into the CD-ROM drive of the server that installs.
pub fn medium(build: &Build, cloud: &Openstack) -> Option<Medium> {
    match &cloud.medium {
        Some(CloudMedium::Image(name)) => Some(Medium::Image { name: name.clone() }),
        Some(CloudMedium::VolumeSnapshot(name)) => Some(Medium::Snapshot { name: name.clone() }),
        None => matches!(build.source, Source::Iso { attach: true, .. }).then_some(Medium::Iso),
    }
}

/// Of an ISO that the cloud has, only kernel and initrd are fetched.
fn fetch(build: &Build, cloud: &Openstack) -> Stage {
    let mut stage = qemu::fetch(build);
    if cloud.medium.is_some()
        && let Action::Fetch { source: Source::Iso { attach, .. } } = &mut stage.action
    {
        *attach = false;
    }
    stage
}

/// Nova and Cinder count in whole GiB.
pub fn gibibytes(size: Size) -> u64 {
    size.as_bytes().div_ceil(1 << 30).max(1)
}

/// What images of servers carry of the machine they were made of, and no other
/// machine should: seen on a real cloud.
pub const SERVERS_OWN: [&str; 13] = [
    CACHED,
    "base_image_ref",
    "boot_roles",
    "image_location",
    "image_state",
    "image_type",
    "instance_uuid",
    "kernel_id",
    "owner_project_name",
    "owner_user_name",
    "ramdisk_id",
    "user_id",
    "os_command_line",
];

/// What has a server start a kernel by itself instead of what is on its disk.
pub const DIRECT: [&str; 3] = ["kernel_id", "os_command_line", "ramdisk_id"];

/// What a product says of itself: the system's and the spec's properties.
pub fn properties(build: &Build, target: &Target, inputs: &str) -> BTreeMap<String, String> {
    let mut properties = build.os.glance.clone();
    if build.install.firmware == Firmware::Uefi {
        properties.insert("hw_firmware_type".to_owned(), "uefi".to_owned());
    }
    match target {
        Target::Glance(it) => properties.extend(it.properties.clone()),
        Target::Volume(it) => properties.extend(it.metadata.clone()),
        Target::File(_) => {}
    }
    properties.insert(INPUTS.to_owned(), inputs.to_owned());
    properties
}

/// The property with the digest of a boot medium that is kept in Glance.
pub const CACHED: &str = "imgbuild_sha256";

/// The property of an ISO that is kept in Glance, with its digest.
pub const MEDIUM: &str = "imgbuild_medium";

/// The property with the digest of everything that went into a product.
pub const INPUTS: &str = "imgbuild_inputs";

fn server(stage: &str) -> Planned {
    planned(&format!("{stage}-server"), ResourceKind::Server, Lifetime::Scratch, stage, None)
}

fn planned(
    label: &str,
    kind: ResourceKind,
    lifetime: Lifetime,
    name: &str,
    size: Option<Size>,
) -> Planned {
    Planned { label: label.to_owned(), kind, name: name.to_owned(), lifetime, size }
}
