//! Volumes and snapshots as Cinder shows them.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use crate::openstack::image::null_is_default;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Volume {
    /// Its ID.
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its state.
    pub status: VolumeState,
    /// Its size, in GiB.
    pub size: u64,
    /// `true` or `false`, as Cinder writes it.
    #[serde(default)]
    pub bootable: String,
    /// The snapshot it was made from.
    #[serde(default)]
    pub snapshot_id: Option<String>,
    /// What it knows of itself.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
    /// What it knows of the image it was made from.
    #[serde(default, deserialize_with = "null_is_default")]
    pub volume_image_metadata: BTreeMap<String, String>,
    /// The servers that hold it.
    #[serde(default)]
    pub attachments: Vec<Holder>,
    /// When it was made; sorts by time.
    #[serde(default)]
    pub created_at: String,
}

/// A server that holds a volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Holder {
    /// The server's ID.
    #[serde(default)]
    pub server_id: String,
}

/// A snapshot of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Snapshot {
    /// Its ID.
    pub id: String,
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its state.
    pub status: VolumeState,
    /// The size of the volume, in GiB.
    pub size: u64,
    /// The volume.
    pub volume_id: String,
    /// What it knows of itself.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: BTreeMap<String, String>,
    /// When it was made; sorts by time.
    #[serde(default)]
    pub created_at: String,
}

/// The state of a volume or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeState {
    /// It can be used.
    Available,
    /// A server has it.
    InUse,
    /// It is on its way there: `creating`, `downloading`, `attaching` …
    Busy(&'static str),
    /// It failed: `error`, `error_deleting`, `error_restoring` …
    Error(String),
    /// It is being deleted.
    Deleting,
    /// It is gone, although still shown.
    Deleted,
    /// Anything else.
    Other(String),
}

/// States that lead to another by themselves.
const BUSY: [&str; 15] = [
    "creating",
    "downloading",
    "uploading",
    "attaching",
    "detaching",
    "reserved",
    "extending",
    "retyping",
    "maintenance",
    "backing-up",
    "restoring-backup",
    "restoring",
    "awaiting-transfer",
    "reverting",
    "unmanaging",
];

impl From<&str> for VolumeState {
    fn from(text: &str) -> Self {
        if let Some(busy) = BUSY.iter().find(|it| **it == text) {
            return Self::Busy(busy);
        }
        match text {
            "available" => Self::Available,
            "in-use" => Self::InUse,
            "deleting" => Self::Deleting,
            "deleted" => Self::Deleted,
            error if error.starts_with("error") => Self::Error(error.to_owned()),
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::InUse => "in-use",
            Self::Busy(state) => state,
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Error(state) | Self::Other(state) => state,
        })
    }
}

impl<'de> Deserialize<'de> for VolumeState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}
