//! What a build will do, as a value.
//!
//! A [`Plan`] is printed by `imgbuild plan`, compared in snapshot tests and run
//! by the engine. It names every resource in advance and holds no secret: the
//! answer file is referred to, not included.

pub mod openstack;
pub mod qemu;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    catalogue::{Dialect, InstallerKind},
    engine::{Lifetime, ResourceKind},
    model::{
        Arch, BootMethod, Delivery, FileTarget, Firmware, Install, Openstack, Qemu, Source, Target,
        UserAction, Verify,
    },
    units::{Size, Span},
};

/// The ordered stages of one build.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The image's name.
    pub name: String,
    /// The operating system's ID.
    pub os: String,
    /// The processor architecture.
    pub arch: Arch,
    /// The stages, in the order they run.
    pub stages: Vec<Stage>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stage {
    /// Its name, unique within the plan.
    pub name: String,
    /// What it does, for people.
    pub title: String,
    /// It must end within this.
    pub timeout: Span,
    /// What it creates.
    pub creates: Vec<Planned>,
    /// What is done.
    pub action: Action,
}

/// A resource that a stage will create.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Planned {
    /// Its name within the plan.
    pub label: String,
    /// What it is.
    pub kind: ResourceKind,
    /// A file's name in the run folder, an absolute path, or a cloud name.
    pub name: String,
    /// How long it is kept.
    pub lifetime: Lifetime,
    /// Its size, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Bring the installer's kernel and initrd into the cache.
    Fetch {
        /// Where they come from.
        source: Source,
    },
    /// Assemble the boot disk, and the volume with the answer file where one
    /// is needed.
    BootDisk {
        /// How the answer file is delivered.
        delivery: Delivery,
        /// What starts the installer.
        boot: BootMethod,
        /// The kernel command line, with `{volume-id}` where only the ISO knows.
        command_line: String,
    },
    /// Run the installer in QEMU.
    Install(Box<InstallAction>),
    /// Make the file that will be published of the installed disk.
    Convert {
        /// What is wanted.
        target: FileTarget,
    },
    /// Boot a copy of the result.
    Verify {
        /// What must happen.
        verify: Verify,
        /// The machine.
        machine: Machine,
    },
    /// Move the result to its name.
    Publish {
        /// What is wanted.
        target: FileTarget,
    },
    /// Bring the boot disk into a cloud.
    Upload {
        /// Properties of its image.
        properties: BTreeMap<String, String>,
        /// Where the root disk is to be a volume: of what type.
        volume: Option<RootVolume>,
        /// What goes into the server's CD-ROM drive.
        #[serde(skip_serializing_if = "Option::is_none")]
        medium: Option<Medium>,
        /// Whether the installer is started from its kernel, not from a disk.
        direct: bool,
        /// Whether it stays in Glance for the next build.
        cache: bool,
    },
    /// Run the installer in a server of Nova.
    InstallServer(Box<ServerInstall>),
    /// Make the image or snapshot of the installed disk.
    Capture {
        /// What is wanted.
        target: Target,
        /// Whether the root disk is a volume.
        from_volume: bool,
    },
    /// Boot the result as a new server.
    VerifyServer {
        /// What must happen.
        verify: Verify,
        /// What the result is.
        target: Target,
    },
    /// Give the result its name.
    Offer {
        /// What is wanted.
        target: Target,
    },
    /// A stage of the user's own.
    User {
        /// What it does.
        action: UserAction,
        /// The machine, for what happens in a guest.
        machine: Machine,
    },
}

/// An installer run in QEMU.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstallAction {
    /// The installer that runs.
    pub installer: InstallerKind,
    /// The language of its answer file.
    pub dialect: Dialect,
    /// The machine it runs in.
    pub machine: Machine,
    /// The virtio-serial port that it writes its own log to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_port: Option<String>,
    /// What the spec says of it.
    pub install: Install,
}

/// Where the install medium in a server's CD-ROM drive comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// The ISO that was fetched.
    Iso,
    /// An image that the cloud has.
    Image {
        /// Its name or ID.
        name: String,
    },
    /// A volume snapshot that the cloud has.
    Snapshot {
        /// Its name or ID.
        name: String,
    },
}

/// A root disk on a volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RootVolume {
    /// In GiB.
    pub gib: u64,
    /// The volume type; the cloud's default where not given.
    pub volume_type: Option<String>,
}

/// An installer run in a server of Nova.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerInstall {
    /// The installer that runs.
    pub installer: InstallerKind,
    /// The language of its answer file.
    pub dialect: Dialect,
    /// What the spec says of it.
    pub install: Install,
    /// What the spec says of the cloud.
    pub cloud: Openstack,
    /// Whether the root disk is a volume.
    pub from_volume: bool,
}

/// A QEMU machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Memory.
    pub memory: Size,
    /// Processors.
    pub cpus: u32,
    /// What starts it.
    pub firmware: Firmware,
    /// `virtio`, `ide`, `sata`.
    pub disk_bus: String,
    /// `virtio-net-pci`, `e1000`.
    pub nic: String,
    /// `q35`, `pc`.
    pub machine_type: String,
    /// The x86-64 level the guest's programs need.
    pub x86_64_level: u8,
    /// What the spec says of QEMU.
    pub qemu: Qemu,
}

impl Plan {
    /// Every resource, with the stage that creates it.
    pub fn resources(&self) -> impl Iterator<Item = (&Stage, &Planned)> {
        self.stages.iter().flat_map(|stage| stage.creates.iter().map(move |it| (stage, it)))
    }
}

impl Stage {
    /// The resource of this label.
    pub fn planned(&self, label: &str) -> Option<&Planned> {
        self.creates.iter().find(|it| it.label == label)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} on {}, {} stages", self.name, self.os, self.arch, self.stages.len())?;
        for (i, stage) in self.stages.iter().enumerate() {
            writeln!(f, "\n{:>2}. {} - {}", i + 1, stage.name, stage.title)?;
            for line in stage.details() {
                writeln!(f, "      {line}")?;
            }
            for it in &stage.creates {
                let size = it.size.map(|it| format!(", {it}")).unwrap_or_default();
                let kept = match it.lifetime {
                    Lifetime::Scratch => "removed at the end",
                    Lifetime::Product => "the product",
                };
                writeln!(f, "      creates  {} {}{size} ({kept})", kind_text(&it.kind), it.name)?;
            }
        }
        Ok(())
    }
}

impl Stage {
    /// What there is to say beside the title, a line each.
    fn details(&self) -> Vec<String> {
        match &self.action {
            Action::Fetch { source } => vec![format!("from     {}", source_text(source))],
            Action::BootDisk { command_line, .. } => vec![format!("boots    {command_line}")],
            Action::Install(it) => vec![
                format!("machine  {}", it.machine),
                format!(
                    "answers  {} by {}",
                    dialect_text(it.dialect),
                    delivery_text(it.install.delivery)
                ),
                format!("within   {} (idle at most {})", it.install.timeout, it.install.idle),
            ],
            Action::Convert { target } | Action::Publish { target } => {
                vec![
                    format!("format   {:?}, compression {:?}", target.format, target.compression)
                        .to_lowercase(),
                ]
            }
            Action::Verify { verify, machine } => vec![
                format!("machine  {machine}"),
                format!("until    {} within {}", condition_text(verify), verify.timeout),
            ],
            Action::Upload { volume, medium, direct, cache, .. } => {
                let mut lines = vec![match volume {
                    Some(volume) => format!("root     a volume of {} GiB", volume.gib),
                    None => "root     the flavor's disk".to_owned(),
                }];
                if *direct {
                    lines.push("starts   the kernel itself (kernel_id, ramdisk_id)".to_owned());
                }
                if *cache {
                    lines.push("cached   kept in Glance for the next build".to_owned());
                }
                lines.extend(medium.as_ref().map(|it| match it {
                    Medium::Iso => "CD-ROM   the ISO, kept in Glance for the next build".to_owned(),
                    Medium::Image { name } => format!("CD-ROM   image {name}"),
                    Medium::Snapshot { name } => format!("CD-ROM   volume snapshot {name}"),
                }));
                lines
            }
            Action::InstallServer(it) => vec![
                format!(
                    "server   {}, {}, flavor {}, network {}",
                    processors(it.install.cpus),
                    it.install.memory,
                    it.cloud.flavor.as_deref().unwrap_or("(the smallest that fits)"),
                    it.cloud.network.as_deref().unwrap_or("(the project's)"),
                ),
                format!(
                    "answers  {} by {}",
                    dialect_text(it.dialect),
                    delivery_text(it.install.delivery)
                ),
                format!("within   {} (idle at most {})", it.install.timeout, it.install.idle),
            ],
            Action::Capture { target, .. } | Action::Offer { target } => {
                vec![target_text(target)]
            }
            Action::VerifyServer { verify, .. } => {
                vec![format!("until    {} within {}", condition_text(verify), verify.timeout)]
            }
            Action::User { action, .. } => match action {
                UserAction::Command { run, .. } => vec![format!("runs     {}", run.join(" "))],
                UserAction::Ssh { user, run, .. } => {
                    run.iter().map(|it| format!("runs     {it} (as {user})")).collect()
                }
                UserAction::Ansible { playbook, .. } => vec![format!("plays    {playbook}")],
                UserAction::External { runner, .. } => {
                    vec![format!("runs     imgbuild-runner-{runner}")]
                }
            },
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let firmware = match self.firmware {
            Firmware::Bios => "BIOS",
            Firmware::Uefi => "UEFI",
        };
        write!(
            f,
            "{}, {}, {}, {} disk, {firmware}",
            self.machine_type,
            processors(self.cpus),
            self.memory,
            self.disk_bus
        )
    }
}

fn processors(n: u32) -> String {
    format!("{n} {}", if n == 1 { "CPU" } else { "CPUs" })
}

fn kind_text(kind: &ResourceKind) -> &str {
    match kind {
        ResourceKind::File => "file",
        ResourceKind::Folder => "folder",
        ResourceKind::Machine => "machine",
        ResourceKind::Server => "server",
        ResourceKind::Port => "port",
        ResourceKind::SecurityGroup => "security group",
        ResourceKind::FloatingIp => "floating IP",
        ResourceKind::Keypair => "keypair",
        ResourceKind::Volume => "volume",
        ResourceKind::Snapshot => "snapshot",
        ResourceKind::Image => "image",
        ResourceKind::External(runner) => runner,
    }
}

fn target_text(target: &Target) -> String {
    match target {
        Target::File(it) => format!("file     {}", it.path),
        Target::Glance(it) => format!("image    {}", it.name),
        Target::Volume(it) => match &it.image {
            Some(image) => format!("snapshot {}, image {}", it.name, image.name),
            None => format!("snapshot {}", it.name),
        },
    }
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Tree { url, .. } => format!("install tree {url}"),
        Source::Iso { location, .. } => format!("ISO {location}"),
        Source::Kernel { kernel, initrd, .. } => format!("kernel {kernel}, initrd {initrd}"),
        Source::Package { mirror, suite, name, .. } => {
            format!("package {name} of {suite} at {mirror}")
        }
    }
}

/// The name of an answer file's language.
pub fn dialect_text(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Kickstart => "kickstart",
        Dialect::Preseed => "preseed",
        Dialect::Autoyast => "AutoYaST profile",
        Dialect::Agama => "Agama profile",
        Dialect::Autoinstall => "autoinstall",
        Dialect::Other => "answer file",
    }
}

fn delivery_text(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Metadata => "user-data at the metadata address",
        Delivery::ConfigDrive => "config drive",
        Delivery::Volume => "labelled volume",
        Delivery::Initrd => "the initrd",
    }
}

fn condition_text(verify: &Verify) -> String {
    use crate::model::VerifyCondition as Condition;
    match &verify.condition {
        Condition::LoginPrompt => "a login prompt on the console".to_owned(),
        Condition::Console(pattern) => format!("`{pattern}` on the console"),
        Condition::Ssh(access) => {
            let checks = access.checks.iter().map(|it| format!(", {it}"));
            format!("`{}` succeeds over SSH{}", access.command, checks.collect::<String>())
        }
    }
}
