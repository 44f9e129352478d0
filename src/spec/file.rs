//! A spec as it is written: every key there is, with the words that editors show.
//!
//! The JSON Schema is made from these types, and specs are checked against that
//! schema before they become these types, so the three cannot differ.

use std::{collections::BTreeMap, sync::LazyLock};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    model::{Arch, BootMethod, Compression, Delivery, DiskFormat, Firmware},
    units::{Size, Span},
};

/// The JSON Schema of spec files, draft 2020-12. What a file that includes
/// others leaves to them, and `os` where the matrix has it, may be missing.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let mut schema = whole_schema();
        if let Some(root) = schema.as_object_mut() {
            let required = root.remove("required").unwrap_or_default();
            let without_os: Vec<_> = required
                .as_array()
                .into_iter()
                .flatten()
                .filter(|it| *it != "os")
                .cloned()
                .collect();
            let conditions = serde_json::json!({
                "if": { "not": { "required": ["include"] } },
                "then": {
                    "required": without_os,
                    "if": { "not": {
                        "properties": { "matrix": { "required": ["os"] } },
                        "required": ["matrix"],
                    } },
                    "then": { "required": ["os"] },
                },
            });
            root.extend(conditions.as_object().cloned().unwrap_or_default());
        }
        schema
    });
    &SCHEMA
}

/// The schema of a spec that is complete.
pub(super) fn whole_schema() -> Value {
    let settings = SchemaSettings::draft2020_12();
    settings.into_generator().into_root_schema_for::<SpecFile>().to_value()
}

/// One image, described: the system, where its installer comes from, what the
/// installer is told, and what is made of the result.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "imgbuild spec, version 1")]
pub struct SpecFile {
    /// The version of the spec format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The image's name: letters, digits, `.`, `_` and `-`, at most 63 of them,
    /// starting with a letter or a digit. With a matrix it is a template, such as
    /// `web-{{ os.id }}`.
    #[schemars(regex(pattern = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,62}|.*\{[{%].*)$"))]
    pub name: String,
    /// Files that this one is added to, in the spec's folder. Tables are merged;
    /// where both set a key, this file wins.
    #[serde(default)]
    pub include: Vec<String>,
    /// Several builds: one for each combination.
    pub matrix: Option<MatrixTable>,
    /// The operating system, such as `debian-13`; `imgbuild os list` shows all.
    pub os: String,
    /// The processor architecture.
    pub arch: Option<Arch>,
    /// Values that differ from build to build, used as `{{ name }}`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" }))]
    pub variables: BTreeMap<String, VariableTable>,
    /// Where the installer comes from; the system's public tree where left out.
    pub source: Option<SourceTable>,
    /// What the installer is told; the system's built-in template where left out.
    #[serde(default)]
    pub answer: AnswerTable,
    /// The machine the installer runs in.
    #[serde(default)]
    pub install: InstallTable,
    /// Where that machine runs; QEMU on this machine where left out.
    pub platform: Option<PlatformTable>,
    /// What is made of the installed disk; a qcow2 file where left out.
    pub target: Option<TargetTable>,
    /// How the result is proved; a login prompt on the console where left out.
    #[serde(default)]
    pub verify: VerifyTable,
    /// Stages of your own.
    #[serde(default)]
    pub stages: Vec<StageTable>,
    /// Console signatures of your own, in the format of imgbuild's console data.
    #[serde(default)]
    pub console: Vec<Map<String, Value>>,
}

/// Axes with their values: `os`, `arch`, and variables by their names. There is a
/// build for each combination.
#[derive(Deserialize, JsonSchema)]
pub struct MatrixTable {
    /// Operating systems, instead of `os`.
    #[schemars(length(min = 1))]
    pub os: Option<Vec<String>>,
    /// Architectures, instead of `arch`.
    #[schemars(length(min = 1))]
    pub arch: Option<Vec<Arch>>,
    /// Combinations that are left out, each a table of axes and their values.
    #[serde(default)]
    pub exclude: Vec<BTreeMap<String, Scalar>>,
    /// Values of variables.
    #[serde(flatten)]
    #[schemars(extend("x-of" = "variables"))]
    pub variables: BTreeMap<String, Vec<Value>>,
}

/// A value that is not made of others.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

/// A value that differs from build to build.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VariableTable {
    /// The type; that of the default, or else string, where left out.
    #[serde(rename = "type")]
    pub kind: Option<VariableType>,
    /// The value where nothing else sets it. Without it a value is required.
    pub default: Option<Value>,
    /// What it is for.
    pub description: Option<String>,
    /// The values it may have; of a list, its items.
    #[schemars(length(min = 1))]
    pub choices: Option<Vec<Value>>,
    /// A regular expression that the whole value, or each item, must match.
    pub pattern: Option<String>,
    /// Whether it is a secret, which is never shown or stored.
    #[serde(default)]
    pub sensitive: bool,
    /// An environment variable that it is read from.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub env: Option<String>,
}

/// The type of a variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VariableType {
    /// Text.
    #[default]
    String,
    /// A number, whole or not.
    Number,
    /// `true` or `false`.
    Bool,
    /// Values in order.
    List,
}

/// Where the installer comes from: exactly one of the four.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceTable {
    /// An install tree.
    pub tree: Option<TreeTable>,
    /// An ISO image.
    pub iso: Option<IsoTable>,
    /// Kernel and initrd by themselves.
    pub kernel: Option<KernelTable>,
    /// A distribution package that holds the installer.
    pub package: Option<PackageTable>,
}

/// An install tree.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TreeTable {
    /// `http`, `https` or `file` URL: for Debian the mirror's base, for Red Hat
    /// and SUSE the directory with `.treeinfo`. The system's public tree where
    /// left out.
    pub url: Option<String>,
    /// The kernel below the tree, where it is not at its usual place.
    pub kernel: Option<String>,
    /// The initrd below the tree, where it is not at its usual place.
    pub initrd: Option<String>,
    /// Digests by path below the tree: `sha256:<hex>`, `sha512:` or `md5:`.
    #[serde(default)]
    pub checksums: BTreeMap<String, String>,
    /// Path or URL of a checksum file.
    pub checksum_file: Option<String>,
    /// Keyring that the checksum file's signature is checked with.
    pub keyring: Option<String>,
}

/// An ISO image.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IsoTable {
    /// Path, or URL that is read by ranges.
    pub location: String,
    /// The kernel inside, where it is not at its usual place.
    pub kernel: Option<String>,
    /// The initrd inside, where it is not at its usual place.
    pub initrd: Option<String>,
    /// The ISO's digest by its file name: `sha256:<hex>`, `sha512:` or `md5:`.
    #[serde(default)]
    pub checksums: BTreeMap<String, String>,
    /// Path or URL of a checksum file that names the ISO.
    pub checksum_file: Option<String>,
    /// Whether the guest gets the ISO as a CD-ROM; yes where left out.
    pub attach: Option<bool>,
}

/// Kernel and initrd by themselves.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelTable {
    /// Path or URL of the kernel.
    pub kernel: String,
    /// Path or URL of the initrd.
    pub initrd: String,
    /// Digests by file name: `sha256:<hex>`, `sha512:` or `md5:`.
    #[serde(default)]
    pub checksums: BTreeMap<String, String>,
    /// Path or URL of a checksum file that names both.
    pub checksum_file: Option<String>,
}

/// A distribution package that holds the installer.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackageTable {
    /// Base of the apt mirror, such as `http://ftp.debian.org/debian`.
    pub mirror: String,
    /// The suite; the system's codename where left out.
    pub suite: Option<String>,
    /// The component; `main` where left out.
    pub component: Option<String>,
    /// The package's name; the system's installer package where left out.
    pub name: Option<String>,
    /// Its version; the newest where left out.
    pub version: Option<String>,
    /// The kernel inside, where it is not at its usual place.
    pub kernel: Option<String>,
    /// The initrd inside, where it is not at its usual place.
    pub initrd: Option<String>,
    /// Keyring for the mirror's signed Release; this machine's where left out.
    pub keyring: Option<String>,
    /// The package's digest, instead of a signed Release.
    #[serde(default)]
    pub checksums: BTreeMap<String, String>,
    /// Path or URL of a checksum file that names the package.
    pub checksum_file: Option<String>,
}

/// What the installer is told: one of `template`, `file` and `text`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnswerTable {
    /// A template in the spec's folder, or one of the built-in ones.
    pub template: Option<String>,
    /// A file in the spec's folder, used as it is.
    pub file: Option<String>,
    /// The text itself, a template too.
    pub text: Option<String>,
    /// Values for the template beside the variables.
    #[serde(default)]
    pub values: Map<String, Value>,
}

/// The machine the installer runs in.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InstallTable {
    /// The size of the disk; what the system needs where left out.
    pub disk: Option<Size>,
    /// Memory; what the system's installer needs where left out.
    pub memory: Option<Size>,
    /// Processors; 2 where left out.
    #[schemars(range(min = 1, max = 256))]
    pub cpus: Option<u32>,
    /// What starts the machine.
    pub firmware: Option<Firmware>,
    /// What starts the installer.
    pub boot: Option<BootMethod>,
    /// How the answer file reaches the installer.
    pub delivery: Option<Delivery>,
    /// More kernel parameters for the installer.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Kernel parameters that the installed system keeps.
    #[serde(default)]
    pub target_parameters: Vec<String>,
    /// The whole install must end within this; 3h where left out.
    pub timeout: Option<Span>,
    /// How long the machine may show no sign of work; 10m where left out.
    pub idle: Option<Span>,
    /// How long each phase may take: boot, network, components, partitioning,
    /// base-system, packages, boot-loader, end.
    #[serde(default)]
    pub budgets: BTreeMap<String, Span>,
}

/// Where the machine runs: exactly one of the two.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct PlatformTable {
    /// QEMU on this machine.
    pub qemu: Option<QemuTable>,
    /// A Nova instance.
    pub openstack: Option<OpenstackTable>,
}

/// QEMU on this machine.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct QemuTable {
    /// `auto`, `kvm` or `tcg`; auto tries them.
    pub accelerator: Option<String>,
    /// The processor model, such as `max` or `host`.
    pub cpu: Option<String>,
    /// The machine type, such as `q35`.
    pub machine: Option<String>,
    /// The QEMU program, where it is not found by its usual name.
    pub program: Option<String>,
    /// More arguments, as they are.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// A Nova instance.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OpenstackTable {
    /// The cloud's name in `clouds.yaml`; `OS_CLOUD` where left out.
    pub cloud: Option<String>,
    /// Flavor, by name or ID; the smallest that fits where left out.
    pub flavor: Option<String>,
    /// Network, by name or ID.
    pub network: Option<String>,
    /// A port for the servers, by name or ID; it stays. Its network and security
    /// groups are the servers'.
    pub port: Option<String>,
    /// The address that the servers get in `network`.
    pub fixed_ip: Option<String>,
    /// Security groups, by name or ID.
    #[serde(default)]
    pub security_groups: Vec<String>,
    /// Network to take a floating IP from.
    pub floating_ip: Option<String>,
    /// Availability zone.
    pub availability_zone: Option<String>,
    /// Root disk on a Cinder volume even when the target is a Glance image.
    #[serde(default)]
    pub volume_backed: bool,
    /// Cinder volume type.
    pub volume_type: Option<String>,
    /// Whether a config drive is asked for.
    #[serde(default)]
    pub config_drive: bool,
    /// The install medium for the server's CD-ROM drive, where the cloud has it
    /// already. Kernel and initrd come from `source` all the same.
    pub medium: Option<CloudMediumTable>,
    /// Whether boot disk, kernel and initrd stay in Glance for the next build;
    /// `imgbuild cleanup --cache` removes them. What holds a secret never stays.
    #[serde(default)]
    pub cache_media: bool,
}

/// An install medium that a cloud has: one of the two.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct CloudMediumTable {
    /// A Glance image of an ISO, by name or ID.
    pub image: Option<String>,
    /// A snapshot of a Cinder volume with an ISO on it, by name or ID.
    pub volume_snapshot: Option<String>,
}

/// What is made of the installed disk: one of the three, or in a cloud an image and
/// a volume snapshot of the same disk.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 2))]
pub struct TargetTable {
    /// A file on this machine.
    pub file: Option<FileTable>,
    /// A Glance image.
    pub glance: Option<GlanceTable>,
    /// A Cinder volume snapshot.
    pub volume: Option<VolumeTable>,
}

/// A file on this machine.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileTable {
    /// Where it goes, from the working directory; `<name>.qcow2` where left out.
    pub path: Option<String>,
    /// Its format; told from the path where left out.
    pub format: Option<DiskFormat>,
    /// How a qcow2 file is compressed; not at all where left out.
    pub compression: Option<Compression>,
}

/// A Glance image.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GlanceTable {
    /// The image's name; the spec's where left out.
    pub name: Option<String>,
    /// Who may use it; private where left out.
    pub visibility: Option<Visibility>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Projects that may use a shared image.
    #[serde(default)]
    pub members: Vec<String>,
    /// Whether it is protected from deletion.
    #[serde(default)]
    pub protected: bool,
    /// The smallest disk of servers made from it, in whole GiB; as large as the disk
    /// that was installed where left out.
    pub min_disk: Option<Size>,
    /// The least memory of servers made from it, in whole MiB; any where left out.
    pub min_memory: Option<Size>,
    /// Properties of your own; they win over the catalogue's.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// How many images of this name are kept.
    #[schemars(range(min = 1))]
    pub keep: Option<u32>,
}

/// Who may use a Glance image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// The project that made it.
    Private,
    /// The projects named as members.
    Shared,
    /// All, but it is not listed.
    Community,
    /// All.
    Public,
}

impl Visibility {
    /// The word Glance uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Community => "community",
            Self::Public => "public",
        }
    }
}

/// A Cinder volume snapshot.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VolumeTable {
    /// The snapshot's name; the spec's where left out.
    pub name: Option<String>,
    /// Its metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// How the result is proved: one of `login-prompt`, `console`, `ssh` and `skip`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VerifyTable {
    /// `true`: nothing is proved.
    pub skip: Option<bool>,
    /// `true`: a login prompt on the serial console.
    pub login_prompt: Option<bool>,
    /// A regular expression, to be seen on the serial console.
    pub console: Option<String>,
    /// A command over SSH that ends with 0.
    pub ssh: Option<VerifySshTable>,
    /// It must happen within this; 20m where left out.
    pub timeout: Option<Span>,
    /// Memory of the machine it is booted in; 1 GiB at most where left out.
    pub memory: Option<Size>,
}

/// A command over SSH.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct VerifySshTable {
    /// The account, such as `root`.
    pub user: String,
    /// The command; `true` where left out.
    pub command: Option<String>,
    /// Files and folders that have to be there, by their absolute paths.
    #[serde(default)]
    pub files: Vec<String>,
    /// Packages that have to be installed (dpkg, rpm).
    #[serde(default)]
    pub packages: Vec<String>,
    /// Services that have to run once the system is up.
    #[serde(default)]
    pub services: Vec<String>,
}

/// A stage of your own: a name, `before` or `after`, and one of `command`,
/// `ssh`, `ansible` and `external`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageTable {
    /// Its name, unlike any other stage's.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub name: String,
    /// The stage it runs before: fetch, boot-disk, install, verify, publish or
    /// one of your own.
    pub before: Option<String>,
    /// The stage it runs after.
    pub after: Option<String>,
    /// It must end within this; 30m where left out.
    pub timeout: Option<Span>,
    /// A program on this machine.
    pub command: Option<CommandTable>,
    /// Commands in the running guest.
    pub ssh: Option<StageSshTable>,
    /// An Ansible playbook against the running guest.
    pub ansible: Option<AnsibleTable>,
    /// A program `imgbuild-runner-NAME` on PATH.
    pub external: Option<ExternalTable>,
}

/// A program on this machine.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CommandTable {
    /// Program and arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// More environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// Commands in the running guest.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageSshTable {
    /// The account; `root` where left out.
    pub user: Option<String>,
    /// Shell commands, in order.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// Whether the image keeps what they change; else a copy is booted.
    #[serde(default)]
    pub keep: bool,
}

/// An Ansible playbook against the running guest.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnsibleTable {
    /// The account; `root` where left out.
    pub user: Option<String>,
    /// The playbook, in the spec's folder.
    pub playbook: String,
    /// More arguments for `ansible-playbook`.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Whether the image keeps what it changes; else a copy is booted.
    #[serde(default)]
    pub keep: bool,
}

/// A program `imgbuild-runner-NAME` on PATH.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExternalTable {
    /// `NAME`
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub runner: String,
    /// Its input, checked against the schema it publishes.
    #[serde(default)]
    pub input: Map<String, Value>,
}
