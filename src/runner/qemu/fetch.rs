//! Stage `fetch`: kernel and initrd come into the cache.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::QemuRunner;
use crate::{
    engine::{StageCx, StageError},
    model::Source,
    source::{self, FetchCx, SourceError},
};

/// What the stage puts out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::runner) struct Fetched {
    pub(super) kernel: FetchedFile,
    pub(super) initrd: FetchedFile,
    /// The ISO for the guest's CD-ROM drive.
    pub(in crate::runner) iso: Option<Utf8PathBuf>,
    pub(super) volume_id: Option<String>,
    /// What vouches for kernel and initrd.
    pub(super) trust: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FetchedFile {
    pub(super) path: Utf8PathBuf,
    pub(super) sha256: String,
    pub(super) origin: String,
}

impl QemuRunner {
    pub(super) async fn fetch(
        &self,
        source: &Source,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let context = &self.context;
        let fetch =
            FetchCx::new(context.release.guard.clone(), cx.teller().clone(), cx.cancel.clone())
                .map_err(StageError::of)?;
        let build = &context.build;
        let files = source::fetch(
            &source.revealed(&build.variables),
            &build.os,
            build.arch,
            &context.cache,
            &fetch,
        )
        .await;
        let files = files.map_err(|error| match error {
            SourceError::Cancelled => StageError::Cancelled,
            error => StageError::of(error),
        })?;
        let file = |it: source::CachedFile| FetchedFile {
            path: it.path,
            sha256: it.sha256,
            origin: it.origin,
        };
        let trust = files.trust.to_string();
        cx.teller().info(format!("kernel and initrd: {trust}"));
        let fetched = Fetched {
            kernel: file(files.kernel),
            initrd: file(files.initrd),
            iso: files.iso,
            volume_id: files.volume_id,
            trust,
        };
        Ok(serde_json::to_value(fetched).unwrap_or_default())
    }
}

/// What the stage put out, in this run or before it was resumed.
pub(in crate::runner) fn fetched(cx: &StageCx<'_>) -> Result<Fetched, StageError> {
    cx.output("fetch")
        .and_then(|it| serde_json::from_value(it.clone()).ok())
        .ok_or_else(|| StageError::of(super::ImageError::NotFetched))
}
