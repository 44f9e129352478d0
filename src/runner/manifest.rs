//! What is known about a finished image, as a file beside it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::units::Size;

/// The version of this format.
pub const FORMAT: u32 = 1;

/// What is known about a finished image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The image's name.
    pub name: String,
    /// The operating system's ID.
    pub os: String,
    /// The processor architecture.
    pub arch: String,
    /// The run that made it.
    pub run: String,
    /// The version of imgbuild.
    pub imgbuild: String,
    /// When it was finished, RFC 3339.
    pub finished: String,
    /// The digest of everything the spec says, for "nothing has changed".
    pub inputs: String,
    /// The digests of what went in, by what it is.
    pub digests: BTreeMap<String, String>,
    /// How far the installer's origin is trusted.
    pub trust: String,
    /// The image.
    pub image: ImageFacts,
    /// What it was built with.
    pub machine: BTreeMap<String, String>,
    /// How long each stage took, in milliseconds, in order.
    pub stages: Vec<(String, u64)>,
    /// When the installer reached each phase, in milliseconds since its start.
    pub phases: Vec<(String, u64)>,
    /// How it was proved; nothing where the spec says not to.
    pub proof: Option<String>,
    /// The packages the installer put in, where it told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// The image itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageFacts {
    /// Its file name.
    pub file: String,
    /// `qcow2`, `raw`
    pub format: String,
    /// The size of its disk.
    pub disk: Size,
    /// The size of its file, in bytes.
    pub bytes: u64,
    /// The digest of its file.
    pub sha256: String,
}

/// Where the manifest of an image is.
pub fn path_of(image: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{image}.manifest.json"))
}

/// The manifest of an image, if it has one that still fits: the file is there
/// and as long as it was.
pub fn of(image: &Utf8Path) -> Option<Manifest> {
    let text = fs_err::read_to_string(path_of(image)).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    let bytes = fs_err::metadata(image).ok()?.len();
    (manifest.format == FORMAT && manifest.image.bytes == bytes).then_some(manifest)
}
