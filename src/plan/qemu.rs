//! The stages of a build on QEMU.

use super::{Action, InstallAction, Machine, Plan, Planned, Stage};
use crate::{
    engine::{Lifetime, ResourceKind},
    model::{
        BootMethod, Build, Delivery, FileTarget, Place, Platform, Qemu, UserAction, UserStage,
    },
    units::{Size, Span},
};

/// File names in the run folder, by the labels of their resources.
pub mod files {
    /// The boot disk.
    pub const BOOT_DISK: &str = "boot-disk.img";
    /// The disk that is installed to.
    pub const DISK: &str = "disk.qcow2";
    /// The volume with the answer file, where there is one.
    pub const ANSWER_VOLUME: &str = "answers.img";
    /// The initrd with the answer file in it, where that is the delivery.
    pub const INITRD: &str = "initrd";
    /// The image until it is published.
    pub const IMAGE: &str = "image.partial";
    /// The copy that is booted, an overlay.
    pub const OVERLAY: &str = "overlay.qcow2";
    /// UEFI variables.
    pub const UEFI_VARIABLES: &str = "uefi-vars.fd";
}

/// How long work on this machine may take that has no budget of its own.
pub(super) const LOCAL_WORK: Span = Span::minutes(60);
/// Downloads may be slow; the download itself notices a stall much earlier.
const FETCH: Span = Span::minutes(240);

/// Plans a build that makes a file with QEMU.
///
/// `command_line` is what the installer is started with.
pub fn plan(build: &Build, target: &FileTarget, command_line: &str) -> Plan {
    let qemu = match &build.platform {
        Platform::Qemu(qemu) => qemu.clone(),
        Platform::Openstack(_) => Qemu::default(),
    };
    let install = &build.install;
    let machine = machine(build, install.memory, &qemu);
    let mut stages = vec![
        fetch(build),
        boot_disk(build, command_line),
        Stage {
            name: "install".into(),
            title: format!("let the installer of {} install it", build.os.title),
            timeout: install.timeout,
            creates: vec![scratch("disk", files::DISK, Some(install.disk)), machine_of("install")],
            action: Action::Install(Box::new(InstallAction {
                installer: build.os.installer,
                dialect: build.os.dialect,
                machine: machine.clone(),
                log_port: build.os.machine.log_port.clone(),
                install: install.clone(),
            })),
        },
        Stage {
            name: "convert".into(),
            title: "make the image of the installed disk".into(),
            timeout: LOCAL_WORK,
            creates: vec![scratch("image", files::IMAGE, None)],
            action: Action::Convert { target: target.clone() },
        },
    ];
    if let Some(verify) = &build.verify {
        stages.push(Stage {
            name: "verify".into(),
            title: "boot a copy of the image".into(),
            // The condition has the same limit; the rest is for starting and stopping.
            timeout: Span::secs(verify.timeout.duration().as_secs() + 60),
            creates: vec![scratch("verify-overlay", files::OVERLAY, None), machine_of("verify")],
            action: Action::Verify {
                verify: verify.clone(),
                machine: Machine { memory: verify.memory, ..machine.clone() },
            },
        });
    }
    stages.push(Stage {
        name: "publish".into(),
        title: format!("move the image to {}", target.path),
        timeout: LOCAL_WORK,
        creates: vec![
            product("image-file", target.path.as_str()),
            product("manifest", &format!("{}.manifest.json", target.path)),
        ],
        action: Action::Publish { target: target.clone() },
    });
    for stage in &build.stages {
        place(&mut stages, stage, &machine);
    }
    Plan { name: build.name.clone(), os: build.os.id.clone(), arch: build.arch, stages }
}

/// The stage that brings the installer's kernel and initrd.
pub(super) fn fetch(build: &Build) -> Stage {
    Stage {
        name: "fetch".into(),
        title: "fetch the installer's kernel and initrd".into(),
        timeout: FETCH,
        creates: vec![],
        action: Action::Fetch { source: build.source.clone() },
    }
}

/// The stage that assembles what the installer starts from.
pub(super) fn boot_disk(build: &Build, command_line: &str) -> Stage {
    let install = &build.install;
    Stage {
        name: "boot-disk".into(),
        title: match install.boot {
            BootMethod::Disk => "assemble the disk the installer starts from",
            BootMethod::Direct => "prepare the installer's kernel and initrd",
            BootMethod::Cdrom => "prepare the install medium",
        }
        .into(),
        timeout: LOCAL_WORK,
        creates: boot_files(install.boot, install.delivery),
        action: Action::BootDisk {
            delivery: install.delivery,
            boot: install.boot,
            command_line: command_line.to_owned(),
        },
    }
}

/// Puts a stage of the user's own where it belongs. Stages after the same one
/// run in the order of the spec.
pub(super) fn place(stages: &mut Vec<Stage>, user: &UserStage, machine: &Machine) {
    let (anchor, offset) = match &user.place {
        Place::Before(anchor) => (anchor, 0),
        Place::After(anchor) => (anchor, 1),
    };
    let mut at =
        stages.iter().position(|it| it.name == *anchor).map_or(stages.len(), |it| it + offset);
    while offset == 1
        && stages.get(at).is_some_and(|it| matches!(&it.action, Action::User { .. }))
        && stages.get(at).is_some_and(|it| it.title.ends_with(&format!("(after {anchor})")))
    {
        at += 1;
    }
    let (what, creates) = match &user.action {
        UserAction::Command { run, .. } => {
            (format!("run {}", run.first().map_or("", String::as_str)), vec![])
        }
        UserAction::Ssh { .. } | UserAction::Ansible { .. } => {
            let overlay = format!("{}-overlay", user.name);
            let file = format!("{}.overlay.qcow2", user.name);
            (
                "work in the guest".to_owned(),
                vec![scratch(&overlay, &file, None), machine_of(&user.name)],
            )
        }
        UserAction::External { runner, .. } => (format!("run imgbuild-runner-{runner}"), vec![]),
    };
    let relation = if offset == 0 { "before" } else { "after" };
    stages.insert(
        at,
        Stage {
            name: user.name.clone(),
            title: format!("{what} ({relation} {anchor})"),
            timeout: user.timeout,
            creates,
            action: Action::User { action: user.action.clone(), machine: machine.clone() },
        },
    );
}

pub(super) fn machine(build: &Build, memory: Size, qemu: &Qemu) -> Machine {
    let needs = &build.os.machine;
    Machine {
        memory,
        cpus: build.install.cpus,
        firmware: build.install.firmware,
        disk_bus: needs.disk_bus.clone(),
        nic: needs.nic.clone(),
        machine_type: qemu.machine.clone().unwrap_or_else(|| match build.arch {
            crate::model::Arch::X86_64 => needs.machine.clone(),
            crate::model::Arch::Aarch64 => "virt".to_owned(),
        }),
        x86_64_level: needs.x86_64_level,
        qemu: qemu.clone(),
    }
}

fn boot_files(boot: BootMethod, delivery: Delivery) -> Vec<Planned> {
    let mut files = Vec::new();
    if delivery == Delivery::Initrd {
        files.push(scratch("initrd", files::INITRD, None));
    }
    if matches!(delivery, Delivery::ConfigDrive | Delivery::Volume) {
        files.push(scratch("answer-volume", files::ANSWER_VOLUME, None));
    }
    if boot == BootMethod::Disk {
        files.push(scratch("boot-disk", files::BOOT_DISK, None));
    }
    files
}

fn scratch(label: &str, file: &str, size: Option<Size>) -> Planned {
    Planned {
        label: label.to_owned(),
        kind: ResourceKind::File,
        name: file.to_owned(),
        lifetime: Lifetime::Scratch,
        size,
    }
}

fn product(label: &str, path: &str) -> Planned {
    Planned { lifetime: Lifetime::Product, ..scratch(label, path, None) }
}

fn machine_of(stage: &str) -> Planned {
    Planned {
        label: format!("{stage}-machine"),
        kind: ResourceKind::Machine,
        name: format!("QEMU of stage {stage}"),
        lifetime: Lifetime::Scratch,
        size: None,
    }
}
