//! What is made of the installed disk.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Size;

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
    /// The smallest disk of servers made from it; what the cloud finds where not given.
    pub min_disk: Option<Size>,
    /// The least memory of servers made from it; any where not given.
    pub min_memory: Option<Size>,
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
    /// A Glance image of the same disk beside it.
    pub image: Option<GlanceTarget>,
}
