//! A config drive: the metadata service as a volume.
//!
//! The same files under the same paths as Nova's own, labelled `config-2`, as
//! FAT like Nova's with `config_drive_format = vfat`.

use std::{fmt, path::Path};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    MediaError,
    volume::{self, Volume, VolumeFile},
};
use crate::CancellationToken;

/// The label that Anaconda's `inst.ks=hd:LABEL=…`, cloud-init and others look for.
pub const LABEL: &str = "config-2";

/// What a config drive says.
pub struct ConfigDrive<'a> {
    /// The answer file.
    pub user_data: &'a SecretString,
    /// `openstack/latest/meta_data.json`
    pub meta_data: &'a serde_json::Value,
    /// `ec2/latest/meta-data.json`
    pub ec2_meta_data: &'a serde_json::Value,
    /// `openstack/latest/network_data.json`
    pub network_data: Option<&'a serde_json::Value>,
}

/// Writes a config drive to `out`, with mode 0600.
pub fn write(
    drive: &ConfigDrive<'_>,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Volume, MediaError> {
    let user_data = drive.user_data.expose_secret().as_bytes();
    let meta_data = drive.meta_data.to_string();
    let ec2_meta_data = drive.ec2_meta_data.to_string();
    let network_data = drive.network_data.map(ToString::to_string);
    let mut files = vec![
        VolumeFile { path: "openstack/latest/user_data", bytes: user_data },
        VolumeFile { path: "openstack/latest/meta_data.json", bytes: meta_data.as_bytes() },
        VolumeFile { path: "ec2/latest/user-data", bytes: user_data },
        VolumeFile { path: "ec2/latest/meta-data.json", bytes: ec2_meta_data.as_bytes() },
    ];
    if let Some(network_data) = &network_data {
        let path = "openstack/latest/network_data.json";
        files.push(VolumeFile { path, bytes: network_data.as_bytes() });
    }
    volume::write(LABEL, &files, out, cancel)
}

impl fmt::Debug for ConfigDrive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigDrive")
    }
}
