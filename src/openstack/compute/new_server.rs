//! A server as it is to be made: devices, network, user-data.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

use crate::openstack::{Error, session::Version};

/// The most characters of base64 that Nova takes as user-data.
pub const MAX_USER_DATA: usize = 65_535;

/// A machine to be.
#[derive(Clone, Debug, Default)]
pub struct NewServer {
    /// Its name; unique to the build.
    pub name: String,
    /// The flavor's ID.
    pub flavor: String,
    /// The image it boots, unless a block device is its root.
    pub image: Option<String>,
    /// Its disks; with `image` the root must be among them.
    pub devices: Vec<Device>,
    /// What its metadata service or config drive hands it.
    pub user_data: Option<SecretString>,
    /// Whether it gets a config drive.
    pub config_drive: bool,
    /// The name of its keypair.
    pub keypair: Option<String>,
    /// What it is connected to.
    pub network: Attachment,
    /// Security groups by name or ID; a port has its own.
    pub security_groups: Vec<String>,
    /// Where it runs.
    pub availability_zone: Option<String>,
    /// What it knows of itself.
    pub metadata: BTreeMap<String, String>,
    /// Tags; left out where Nova is older than 2.52.
    pub tags: Vec<String>,
}

/// What a machine is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// The project's only network.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// Networks by ID; Nova makes the ports, and deletes them with the server.
    Networks(Vec<String>),
    /// A network by ID, and the address that the server gets in it.
    Address {
        /// The network's ID.
        network: String,
        /// The address.
        address: String,
    },
    /// Ports by ID; they outlive the server.
    Ports(Vec<String>),
}

/// A disk of a machine (block device mapping, version 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "they are nova's names")]
pub struct Device {
    source_type: &'static str,
    destination_type: &'static str,
    boot_index: i32,
    delete_on_termination: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bus: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) volume_type: Option<String>,
}

impl Device {
    /// The flavor's disk with an image on it.
    pub fn local(image: &str) -> Self {
        Self {
            destination_type: "local",
            delete_on_termination: true,
            ..Self::of("image", Some(image))
        }
    }

    /// A volume that is there, and stays.
    pub fn volume(volume: &str) -> Self {
        Self::of("volume", Some(volume))
    }

    /// A new volume of so many GiB with an image on it, deleted with the server.
    pub fn image(image: &str, gib: u64) -> Self {
        Self {
            volume_size: Some(gib),
            delete_on_termination: true,
            ..Self::of("image", Some(image))
        }
    }

    /// A new, empty volume of so many GiB, deleted with the server.
    pub fn blank(gib: u64) -> Self {
        Self { volume_size: Some(gib), delete_on_termination: true, ..Self::of("blank", None) }
    }

    /// As a CD-ROM. Nova refuses that for [`Self::local`].
    #[must_use]
    pub fn cdrom(mut self) -> Self {
        (self.device_type, self.disk_bus) = (Some("cdrom"), Some("ide"));
        self
    }

    /// Tried as the `n`th by the firmware; 0 is the root disk.
    #[must_use]
    pub fn boot(mut self, n: u16) -> Self {
        self.boot_index = n.into();
        self
    }

    /// Whether it goes with the server.
    #[must_use]
    pub fn deleted_with_server(mut self, delete: bool) -> Self {
        self.delete_on_termination = delete;
        self
    }

    /// A volume of this type (Nova 2.67 and later).
    #[must_use]
    pub fn of_type(mut self, volume_type: &str) -> Self {
        self.volume_type = Some(volume_type.to_owned());
        self
    }

    fn of(source_type: &'static str, uuid: Option<&str>) -> Self {
        Self {
            source_type,
            destination_type: "volume",
            boot_index: -1,
            delete_on_termination: false,
            uuid: uuid.map(str::to_owned),
            volume_size: None,
            device_type: None,
            disk_bus: None,
            volume_type: None,
        }
    }
}

/// What Nova is sent, whose newest microversion is this.
pub(super) fn server_body(new: &NewServer, newest: Version) -> Result<Value, Error> {
    let mut server = json!({ "name": new.name, "flavorRef": new.flavor, "metadata": new.metadata });
    let mut set = |key: &str, value: Value| server[key] = value;
    if let Some(image) = &new.image {
        set("imageRef", image.as_str().into());
    }
    if !new.devices.is_empty() {
        set("block_device_mapping_v2", json!(new.devices));
    }
    if let Some(user_data) = &new.user_data {
        let encoded = STANDARD.encode(user_data.expose_secret());
        if encoded.len() > MAX_USER_DATA {
            return Err(Error::UserDataTooLong { length: encoded.len(), max: MAX_USER_DATA });
        }
        set("user_data", encoded.into());
    }
    if new.config_drive {
        set("config_drive", true.into());
    }
    if let Some(keypair) = &new.keypair {
        set("key_name", keypair.as_str().into());
    }
    set(
        "networks",
        match &new.network {
            Attachment::Auto => "auto".into(),
            Attachment::None => "none".into(),
            Attachment::Networks(ids) => ids.iter().map(|it| json!({ "uuid": it })).collect(),
            Attachment::Address { network, address } => {
                json!([{ "uuid": network, "fixed_ip": address }])
            }
            Attachment::Ports(ids) => ids.iter().map(|it| json!({ "port": it })).collect(),
        },
    );
    if !new.security_groups.is_empty() && !matches!(new.network, Attachment::Ports(_)) {
        set(
            "security_groups",
            new.security_groups.iter().map(|it| json!({ "name": it })).collect(),
        );
    }
    if let Some(zone) = &new.availability_zone {
        set("availability_zone", zone.as_str().into());
    }
    if !new.tags.is_empty() && newest >= Version(2, 52) {
        set("tags", json!(new.tags));
    }
    Ok(json!({ "server": server }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_measured_before_it_is_sent() {
        let new = |length| NewServer {
            user_data: Some("x".repeat(length).into()),
            ..NewServer::default()
        };
        assert!(server_body(&new(49_149), Version(2, 1)).is_ok());
        assert!(matches!(
            server_body(&new(49_152), Version(2, 1)),
            Err(Error::UserDataTooLong { length: 65_536, .. })
        ));
        assert!(!format!("{:?}", new(5)).contains("xxxxx"));
    }

    #[test]
    fn devices_are_written_as_nova_wants_them() {
        let cdrom = serde_json::to_value(Device::image("iso", 1).cdrom()).unwrap();
        assert_eq!(
            cdrom,
            json!({"source_type": "image", "destination_type": "volume", "boot_index": -1, "uuid": "iso",
                   "delete_on_termination": true, "volume_size": 1, "device_type": "cdrom", "disk_bus": "ide"})
        );
        let root = serde_json::to_value(Device::volume("v").boot(0)).unwrap();
        assert_eq!(root["boot_index"], 0);
        assert_eq!(root["delete_on_termination"], false);
    }
}
