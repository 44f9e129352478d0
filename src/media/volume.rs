//! A volume that carries files to an installer, found by its label.
//!
//! Anaconda looks for `OEMDRV`, cloud-init and subiquity for `cidata`, anything
//! may be asked to look for a label of its own. Linux compares labels byte by
//! byte, so they are kept as they are written.

use std::{fmt, path::Path};

use super::{
    MediaError,
    fat::{Content, Label, Tree},
    output::{Output, sha256},
};
use crate::CancellationToken;

/// A file in a volume. Its content may hold secrets and is never shown.
#[derive(Clone, Copy)]
pub struct VolumeFile<'a> {
    /// Its path in the volume, such as `openstack/latest/user_data`.
    pub path: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// A volume that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 digest, in hex.
    pub sha256: String,
}

/// Writes a FAT volume without a partition table to `out`, with mode 0600.
///
/// Blocks for as long as it takes to write a few megabytes.
pub fn write(
    label: &str,
    files: &[VolumeFile<'_>],
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Volume, MediaError> {
    let label = Label::new(label)?;
    let mut tree = Tree::default();
    for file in files {
        tree.add(file.path, Content::Bytes(file.bytes))?;
    }
    let layout = tree.layout(0, 0);
    let output = Output::create(out)?;
    tree.write(output.file(), &layout, label).map_err(|it| output.error(it))?;
    let size = output.complete(cancel)?.size;
    Ok(Volume { size, sha256: sha256(out, cancel)? })
}

impl fmt::Debug for VolumeFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.path, self.bytes.len())
    }
}
