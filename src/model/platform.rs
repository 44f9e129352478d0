//! Where machines run: QEMU or a cloud.

use serde::Serialize;

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
    /// A port for the servers, by name or ID; it stays. Its network and security
    /// groups are the servers'.
    pub port: Option<String>,
    /// The address that the servers get in `network`.
    pub fixed_ip: Option<String>,
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
