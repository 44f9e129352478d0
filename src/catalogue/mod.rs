//! What is known about each operating system, as data.
//!
//! One TOML file a family under `data/os`, embedded in the program; a user's own
//! files add to them or replace entries by `id`. Nothing here does I/O.

mod error;
mod file;
mod fill;
mod lookup;
pub mod osinfo;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    model::{Arch, Delivery},
    units::Size,
};

pub use error::CatalogueError;
pub use fill::fill;
pub use lookup::Catalogue;

/// One release of an operating system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Os {
    /// `debian-13`
    pub id: String,
    /// Other names that mean the same, such as `trixie`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `Debian 13 (trixie)`
    pub title: String,
    /// The family, as in the name of the data file.
    pub family: String,
    /// `13`
    pub version: String,
    /// `trixie`
    pub codename: Option<String>,
    /// The program that installs it.
    pub installer: InstallerKind,
    /// The answer file it takes.
    pub dialect: Dialect,
    /// What the reference of its dialect calls the release: `F43` and `RHEL9` in
    /// pykickstart; of AutoYaST the version of YaST.
    pub dialect_version: Option<String>,
    /// The built-in template for it, below `templates/`.
    pub template: Option<String>,
    /// When its maker stops mending it, `2028-08-09`.
    pub end_of_life: Option<String>,
    /// The architectures we know it on.
    pub arches: Vec<Arch>,
    /// Its install tree.
    pub tree: Option<TreeLayout>,
    /// Its ISO images.
    pub iso: Option<IsoLayout>,
    /// The distribution package that holds its installer.
    pub package: Option<PackageLayout>,
    /// What the machine has to have.
    pub machine: MachineNeeds,
    /// Kernel parameters that start the installer.
    pub boot: BootParameters,
    /// Properties of a Glance image of it.
    #[serde(default)]
    pub glance: BTreeMap<String, String>,
    /// Where the facts come from.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// A program that installs an operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallerKind {
    /// Red Hat's.
    Anaconda,
    /// Debian's, and Ubuntu's until 20.04.
    DebianInstaller,
    /// SUSE's until 15.
    Autoyast,
    /// SUSE's since 16.
    Agama,
    /// Ubuntu's since 20.04.
    Subiquity,
    /// One that imgbuild knows nothing special about.
    Other,
}

/// A language of answer files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Anaconda's.
    Kickstart,
    /// debian-installer's.
    Preseed,
    /// YaST's XML.
    Autoyast,
    /// Agama's JSON.
    Agama,
    /// Subiquity's YAML.
    Autoinstall,
    /// One that imgbuild hands over as it is.
    Other,
}

/// Where things are in an install tree. Strings may name `{arch}` (`x86_64`),
/// `{debarch}` (`amd64`), `{version}` and `{codename}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TreeLayout {
    /// The public tree, where there is one.
    pub url: Option<String>,
    /// Kernel, below the tree.
    pub kernel: String,
    /// Initrd, below the tree.
    pub initrd: String,
    /// `.treeinfo`, `SHA256SUMS` or another file with digests, below the tree;
    /// the first that is there is used.
    #[serde(default)]
    pub checksums: Vec<String>,
    /// What `.treeinfo` calls the family, as a regex.
    pub treeinfo_family: Option<String>,
    /// What `.treeinfo` calls the version, as a regex.
    pub treeinfo_version: Option<String>,
}

/// Where things are in an ISO image. Strings as in [`TreeLayout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IsoLayout {
    /// Places where the kernel may be; the first that is there is used.
    pub kernel: Vec<String>,
    /// Places where the initrd may be, in step with `kernel`.
    pub initrd: Vec<String>,
    /// Volume IDs of its ISOs, as a regex.
    pub volume_id: Option<String>,
    /// What the vendor calls the file.
    pub file: Option<String>,
}

/// A distribution package with an installer in it. Strings as in [`TreeLayout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackageLayout {
    /// The package's name.
    pub name: String,
    /// Kernel inside it.
    pub kernel: String,
    /// Initrd inside it.
    pub initrd: String,
}

/// What a machine has to have to run an installer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MachineNeeds {
    /// With less memory the installer does not run.
    pub memory_minimum: Size,
    /// What it gets where the spec says nothing.
    pub memory: Size,
    /// With a smaller disk it does not fit.
    pub disk_minimum: Size,
    /// `virtio`, `ide` or `sata`.
    pub disk_bus: String,
    /// `virtio-net-pci` or `e1000`.
    pub nic: String,
    /// `q35` or `pc`.
    pub machine: String,
    /// The x86-64 level its programs are compiled for: 1 to 4.
    #[serde(default = "one")]
    pub x86_64_level: u8,
    /// The first disk, as the installer names it: `/dev/vda`.
    pub disk_device: String,
    /// The virtio-serial port that the installer writes its own log to, where
    /// it finds one of this name.
    #[serde(default)]
    pub log_port: Option<String>,
}

fn one() -> u8 {
    1
}

/// Kernel parameters that start an installer. They may name what [`TreeLayout`]
/// names and `{tree}` (the install tree's URL), `{answer}` (the answer file's
/// URL), `{label}` (the volume's label), `{serial}` (`ttyS0`, `ttyAMA0`),
/// `{log}` (the host that takes its log).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BootParameters {
    /// Always.
    #[serde(default)]
    pub always: Vec<String>,
    /// For one way of delivering the answer file. A way that is missing here
    /// does not work with this installer.
    pub delivery: BTreeMap<Delivery, Vec<String>>,
    /// Where the packages come from a tree.
    #[serde(default)]
    pub tree: Vec<String>,
    /// Where the ISO is attached.
    #[serde(default)]
    pub iso: Vec<String>,
    /// For a console on the serial port.
    #[serde(default)]
    pub console: Vec<String>,
    /// For the installer's own log, by syslog over UDP to `{log}`.
    #[serde(default)]
    pub log: Vec<String>,
    /// What stands between the installer's parameters and those that the
    /// installed system keeps (`---` for debian-installer); without it the
    /// answer file has to carry them.
    pub separator: Option<String>,
    /// Kernel parameters for the installed system, after the separator.
    #[serde(default)]
    pub target: Vec<String>,
    /// For a remote view of the installer, by method (`vnc`, `ssh`, `rdp`).
    #[serde(default)]
    pub remote: BTreeMap<String, Vec<String>>,
    /// The volume label for [`Delivery::Volume`], and the file in it.
    pub volume_label: Option<String>,
    /// See `volume_label`; also the file's name in an initrd.
    pub volume_file: Option<String>,
    /// Files that have to be in the volume too, although they are empty.
    #[serde(default)]
    pub volume_companions: Vec<String>,
    /// The longest command line its kernel takes, in characters; 2047 where
    /// nothing is said.
    pub command_line_limit: Option<u32>,
}

impl Os {
    /// The public tree's URL for this architecture, where there is one.
    pub fn tree_url(&self, arch: Arch) -> Option<String> {
        let url = self.tree.as_ref()?.url.as_ref()?;
        Some(of_arch(url, arch))
    }

    /// What the vendor calls the ISO for this architecture, where that is known.
    pub fn iso_file(&self, arch: Arch) -> Option<String> {
        Some(of_arch(self.iso.as_ref()?.file.as_ref()?, arch))
    }
}

fn of_arch(text: &str, arch: Arch) -> String {
    fill(text, |name| match name {
        "arch" => Some(arch.as_str().to_owned()),
        "debarch" => Some(arch.debian().to_owned()),
        _ => None,
    })
}
