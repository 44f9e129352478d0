//! The folder of one run: where a build keeps everything until it is published.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    engine::{Resource, ResourceKind},
    plan::Planned,
};

/// The folder of one run, `<work>/runs/<run>`.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: Utf8PathBuf,
}

impl RunFolder {
    /// The journal's file name.
    pub const JOURNAL: &str = "journal.jsonl";

    /// Makes the folder of a new run. Only its owner can look into it: consoles
    /// and answer volumes are nobody else's business.
    pub fn create(work: &Utf8Path, run: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = work.join("runs").join(run);
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(&path)?;
        Ok(Self { path: path.canonicalize_utf8()? })
    }

    /// The folder of a run that was begun earlier.
    pub fn existing(path: Utf8PathBuf) -> Self {
        Self { path }
    }

    /// The folder itself.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// A file in it; an absolute path stays what it is.
    pub fn file(&self, name: &str) -> Utf8PathBuf {
        self.path.join(name)
    }

    /// The resource that a plan names, with its path made absolute.
    pub fn resource(&self, planned: &Planned) -> Resource {
        let name = match planned.kind {
            ResourceKind::File | ResourceKind::Folder => self.file(&planned.name).into_string(),
            ResourceKind::Machine | ResourceKind::External(_) => planned.name.clone(),
            // Unique in its cloud: what has this name is ours to remove.
            _ => format!("imgbuild-{}-{}", self.path.file_name().unwrap_or_default(), planned.name),
        };
        Resource {
            label: planned.label.clone(),
            kind: planned.kind.clone(),
            name,
            id: None,
            lifetime: planned.lifetime,
        }
    }
}
