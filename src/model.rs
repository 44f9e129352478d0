//! A build, right by construction: what a spec means once it is checked.
//!
//! [`spec`](crate::spec) makes these values; nothing after it asks again
//! whether they are valid. Strings are final: variables are filled in.

use std::{collections::BTreeMap, fmt, sync::Arc};

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    catalogue::Os,
    redact::Secret,
    units::{Size, Span},
};

/// One image to build. Secrets are in `variables` and `answer` alone; see [`reveal`].
#[derive(Clone, Debug)]
pub struct Build {
    /// Its name: letters, digits, `.`, `_`, `-`; used in file and resource names.
    pub name: String,
    /// The operating system that is installed.
    pub os: Arc<Os>,
    /// The processor architecture.
    pub arch: Arch,
    /// The variables with their final values, by name.
    pub variables: BTreeMap<String, Variable>,
    /// Where the installer comes from.
    pub source: Source,
    /// What the installer is told.
    pub answer: Answer,
    /// The machine the installer runs in.
    pub install: Install,
    /// Where that machine runs.
    pub platform: Platform,
    /// What is made of the installed disk.
    pub target: Target,
    /// How the result is proved; `None` only where the spec says so.
    pub verify: Option<Verify>,
    /// The user's own stages.
    pub stages: Vec<UserStage>,
    /// Console signatures of the spec's own, in the format of `data/console`.
    pub console: Vec<serde_json::Value>,
}

/// A processor architecture.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86, also called amd64.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM, also called arm64.
    Aarch64,
}

impl Arch {
    /// The name used by kernels, RPM and Nova.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name used by Debian and Ubuntu.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A variable with its final value.
#[derive(Clone)]
pub struct Variable {
    /// The value. Of a sensitive variable it must not be shown.
    pub value: serde_json::Value,
    /// Whether the value is a secret.
    pub sensitive: bool,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive { f.write_str("<sensitive>") } else { write!(f, "{}", self.value) }
    }
}

/// Where the installer comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An install tree, by the URL of its base as the catalogue understands it.
    Tree {
        /// `http`, `https` or `file` URL; for Debian the mirror's base
        /// (`…/debian`), for Red Hat and SUSE the directory with `.treeinfo`.
        url: String,
        /// Kernel and initrd below the tree, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// Digests that the spec itself states.
        checksums: Checksums,
        /// Keyring that the checksum file's signature is checked with.
        keyring: Option<Utf8PathBuf>,
    },
    /// An ISO image, a local path or a URL that is read by ranges.
    Iso {
        /// Path or URL.
        location: String,
        /// Kernel and initrd inside, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// The digest of the ISO, or a checksum file that names it.
        checksums: Checksums,
        /// Whether the guest gets the ISO as a CD-ROM.
        attach: bool,
    },
    /// Kernel and initrd by themselves.
    Kernel {
        /// Path or URL.
        kernel: String,
        /// Path or URL.
        initrd: String,
        /// Digests by the last part of the name.
        checksums: Checksums,
    },
    /// A distribution package that holds the installer.
    Package {
        /// Base of the apt mirror, such as `http://ftp.debian.org/debian`.
        mirror: String,
        /// `trixie`
        suite: String,
        /// `main`
        component: String,
        /// `debian-installer-13-netboot-amd64`
        name: String,
        /// A version; the newest where not given.
        version: Option<String>,
        /// Paths inside the package, where they differ from the catalogue.
        kernel: Option<String>,
        /// See `kernel`.
        initrd: Option<String>,
        /// Keyring for the mirror's signed Release; the system's where not given.
        keyring: Option<Utf8PathBuf>,
        /// Digest of the package, instead of a signed Release.
        checksums: Checksums,
    },
}

impl Source {
    /// The same as this machine reaches it, with secrets filled in, as in a URL
    /// with a password.
    #[must_use]
    pub fn revealed(&self, variables: &BTreeMap<String, Variable>) -> Self {
        let it = |text: &String| seen_from_host(&reveal(text, variables));
        let mut source = self.clone();
        match &mut source {
            Self::Tree { url, .. } => *url = it(url),
            Self::Iso { location, .. } => *location = it(location),
            Self::Kernel { kernel, initrd, .. } => {
                *kernel = it(kernel);
                *initrd = it(initrd);
            }
            Self::Package { mirror, .. } => *mirror = it(mirror),
        }
        source
    }
}

/// Digests that a source must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checksums {
    /// `sha256:<hex>`, `sha512:<hex>` or `md5:<hex>`; by file name or path.
    pub digests: BTreeMap<String, String>,
    /// Path or URL of a checksum file (`SHA256SUMS`, `CHECKSUM`, BSD style too).
    pub file: Option<String>,
}

/// What the installer is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where the text comes from.
    pub origin: AnswerOrigin,
    /// Values for the template beside the variables. They may be made of secrets.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// The same values with `<sensitive:NAME>` in place of secrets.
    pub masked_values: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("origin", &self.origin)
            .field("values", &self.masked_values)
            .finish()
    }
}

/// Where the text of an answer file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerOrigin {
    /// A template in the spec's folder or in the built-in `templates/`.
    Template(String),
    /// A file in the spec's folder that is used as it is.
    File(String),
    /// Text in the spec, a template too.
    Text(String),
}

/// The machine the installer runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Install {
    /// The size of the disk that is installed to.
    pub disk: Size,
    /// Memory.
    pub memory: Size,
    /// Processors.
    pub cpus: u32,
    /// What starts the machine.
    pub firmware: Firmware,
    /// What starts the installer.
    pub boot: BootMethod,
    /// How the answer file reaches it.
    pub delivery: Delivery,
    /// More kernel parameters for the installer.
    pub parameters: Vec<String>,
    /// Kernel parameters that the installed system is to keep.
    pub target_parameters: Vec<String>,
    /// The whole install must end within this.
    pub timeout: Span,
    /// How long the machine may show no sign of work at all.
    pub idle: Span,
    /// How long each phase may take, by phase name.
    pub budgets: BTreeMap<String, Span>,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A PC BIOS (SeaBIOS).
    #[default]
    Bios,
    /// UEFI (OVMF, AAVMF).
    Uefi,
}

/// What starts the installer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// The boot disk, which the installer overwrites; as in Nova.
    #[default]
    Disk,
    /// Kernel and initrd handed over by the platform.
    Direct,
    /// The ISO as a CD-ROM, with its own boot loader.
    Cdrom,
}

/// How the answer file reaches the installer.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// User-data at `http://169.254.169.254/latest/user-data`.
    #[default]
    Metadata,
    /// A volume labelled `config-2`.
    ConfigDrive,
    /// A volume with the label the installer looks for (`OEMDRV`, `cidata`).
    Volume,
    /// Appended to the initrd.
    Initrd,
}

/// Where the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// QEMU on this machine.
    Qemu(Qemu),
    /// A Nova instance.
    Openstack(Openstack),
}

impl Default for Platform {
    fn default() -> Self {
        Self::Qemu(Qemu::default())
    }
}

/// QEMU on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Qemu {
    /// `auto`, `kvm`, `tcg` …; auto tries them.
    pub accelerator: Option<String>,
    /// The processor model, such as `max` or `host`.
    pub cpu: Option<String>,
    /// The machine type, such as `q35`.
    pub machine: Option<String>,
    /// The QEMU program, where it is not found by its usual name.
    pub program: Option<String>,
    /// More arguments, as they are.
    pub arguments: Vec<String>,
}

/// A Nova instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Openstack {
    /// The cloud's name in `clouds.yaml`; `OS_CLOUD` where not given.
    pub cloud: Option<String>,
    /// Flavor, by name or ID; the smallest that fits where not given.
    pub flavor: Option<String>,
    /// Network, by name or ID.
    pub network: Option<String>,
    /// Security groups, by name or ID.
    pub security_groups: Vec<String>,
    /// Network to take a floating IP from.
    pub floating_ip: Option<String>,
    /// Availability zone.
    pub availability_zone: Option<String>,
    /// Root disk on a Cinder volume even when the target is a Glance image.
    pub volume_backed: bool,
    /// Cinder volume type.
    pub volume_type: Option<String>,
    /// Whether a config drive is asked for.
    pub config_drive: bool,
    /// The install medium for the server's CD-ROM drive, where the cloud has it
    /// already.
    pub medium: Option<CloudMedium>,
    /// Whether boot disk, kernel and initrd stay in Glance for the next build.
    pub cache_media: bool,
}

/// An install medium that a cloud has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloudMedium {
    /// A Glance image of an ISO, by name or ID.
    Image(String),
    /// A snapshot of a Cinder volume with an ISO on it, by name or ID.
    VolumeSnapshot(String),
}

/// What is made of the installed disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A file on this machine.
    File(FileTarget),
    /// A Glance image.
    Glance(GlanceTarget),
    /// A Cinder volume snapshot.
    Volume(VolumeTarget),
}

/// A file on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileTarget {
    /// Where it goes; relative to the working directory of the user.
    pub path: Utf8PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// How it is compressed.
    pub compression: Compression,
}

/// A disk image format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// QEMU's own.
    #[default]
    Qcow2,
    /// The bytes of the disk, sparse.
    Raw,
}

/// How a qcow2 file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// zlib, read by every QEMU.
    Zlib,
    /// zstd, read by QEMU 5.1 and later.
    Zstd,
}

/// A Glance image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct GlanceTarget {
    /// The image's name.
    pub name: String,
    /// `private`, `shared`, `community`, `public`.
    pub visibility: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Projects that may use a shared image.
    pub members: Vec<String>,
    /// Whether it is protected from deletion.
    pub protected: bool,
    /// The spec's own properties; they win over the catalogue's.
    pub properties: BTreeMap<String, String>,
    /// How many images of this name are kept; older ones are hidden or deleted.
    pub keep: Option<u32>,
}

/// A Cinder volume snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeTarget {
    /// The snapshot's name.
    pub name: String,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// How the result is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verify {
    /// What must happen.
    pub condition: VerifyCondition,
    /// Within this time.
    pub timeout: Span,
    /// Memory of the machine it is booted in.
    pub memory: Size,
}

/// What must happen when the result is booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyCondition {
    /// A login prompt on the serial console.
    LoginPrompt,
    /// A pattern on the serial console.
    Console(String),
    /// A command over SSH that ends with 0.
    Ssh(SshAccess),
}

/// How a guest is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SshAccess {
    /// The account, such as `root`.
    pub user: String,
    /// The command.
    pub command: String,
    /// What the guest has to have as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<GuestCheck>,
}

/// Something that a guest has to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestCheck {
    /// A file or folder, by its absolute path.
    File(String),
    /// An installed package.
    Package(String),
    /// A service that runs.
    Service(String),
}

impl fmt::Display for GuestCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Package(name) => write!(f, "package {name}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

/// A stage of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserStage {
    /// Its name, unlike any other stage's.
    pub name: String,
    /// Where it is placed.
    pub place: Place,
    /// What it does.
    pub action: UserAction,
    /// It must end within this.
    pub timeout: Span,
}

/// Where a stage of the user's own is placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Just before the stage of this name.
    Before(String),
    /// Just after the stage of this name.
    After(String),
}

/// What a stage of the user's own does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserAction {
    /// A program on this machine.
    Command {
        /// Program and arguments.
        run: Vec<String>,
        /// More environment variables.
        environment: BTreeMap<String, String>,
    },
    /// Commands in the running guest.
    Ssh {
        /// The account.
        user: String,
        /// Shell commands, in order.
        run: Vec<String>,
        /// Whether the image keeps what they change (else a copy is booted).
        keep: bool,
    },
    /// An Ansible playbook against the running guest.
    Ansible {
        /// The account.
        user: String,
        /// The playbook, in the spec's folder.
        playbook: String,
        /// More arguments for `ansible-playbook`.
        arguments: Vec<String>,
        /// Whether the image keeps what it changes (else a copy is booted).
        keep: bool,
    },
    /// A program `imgbuild-runner-NAME` on PATH.
    External {
        /// `NAME`
        runner: String,
        /// Its input, checked against the schema it publishes.
        input: serde_json::Value,
    },
}

/// The stages that imgbuild itself brings, in order. Users' stages are placed
/// before or after them.
pub const STAGES: [&str; 6] = ["fetch", "boot-disk", "install", "convert", "verify", "publish"];

/// This machine, as guests on QEMU's user network reach it.
const HOST_FOR_GUESTS: &str = "://10.0.2.2";
/// The loopback interface, which only this machine reaches.
const LOOPBACK: [&str; 2] = ["://127.0.0.1", "://localhost"];

/// A URL as this machine reaches it, where it was written for a guest.
pub fn seen_from_host(url: &str) -> String {
    changed_host(url, &[HOST_FOR_GUESTS], LOOPBACK[0])
}

/// A URL as a guest on QEMU's user network reaches it, where it was written for
/// this machine.
pub fn seen_from_guest(url: &str) -> String {
    changed_host(url, &LOOPBACK, HOST_FOR_GUESTS)
}

/// A longer name may begin like the one that is looked for.
fn changed_host(url: &str, from: &[&str], to: &str) -> String {
    for name in from {
        if let Some((before, after)) = url.split_once(name)
            && (after.is_empty() || after.starts_with([':', '/']))
        {
            return format!("{before}{to}{after}");
        }
    }
    url.to_owned()
}

/// Values of sensitive variables, for the redactor.
pub fn secrets(variables: &BTreeMap<String, Variable>) -> Vec<Secret> {
    variables
        .iter()
        .filter(|(_, it)| it.sensitive)
        .flat_map(|(name, it)| match &it.value {
            serde_json::Value::Array(items) => {
                items.iter().map(|item| Secret::new(name, &text_of(item))).collect()
            }
            value => vec![Secret::new(name, &text_of(value))],
        })
        .collect()
}

/// A text of a build with its secrets filled in.
///
/// Outside of `variables` and `answer` the strings of a [`Build`] are free of
/// secrets, so that plans, events and journals are too: `<sensitive:NAME>` stands
/// for the variable's value. Call this where the text is used, and nowhere before.
pub fn reveal(text: &str, variables: &BTreeMap<String, Variable>) -> String {
    let mut text = text.to_owned();
    for (name, variable) in variables.iter().filter(|(_, it)| it.sensitive) {
        let mask = format!("<sensitive:{name}>");
        if text.contains(&mask) {
            text = text.replace(&mask, &text_of(&variable.value));
        }
    }
    text
}

/// A value as templates print it.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_for_whoever_reads_it() {
        for (guest, host) in [
            ("http://10.0.2.2:3142/debian", "http://127.0.0.1:3142/debian"),
            ("http://10.0.2.2/x", "http://127.0.0.1/x"),
        ] {
            assert_eq!(seen_from_host(guest), host);
            assert_eq!(seen_from_guest(host), guest);
        }
        assert_eq!(seen_from_guest("http://localhost/x"), "http://10.0.2.2/x");
        for other in ["http://10.0.2.20/x", "http://ftp.debian.org/debian", "/srv/tree"] {
            assert_eq!(seen_from_host(other), other);
            assert_eq!(seen_from_guest(other), other);
        }
    }
}
