//! Stages `convert` and `publish`: the image, its manifest, their names.

use std::{collections::BTreeMap, io::Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;
use sha2::{Digest as _, Sha256};

use super::{QemuRunner, fetch::fetched, install::of};
use crate::{
    CancellationToken,
    engine::{StageCx, StageError, Teller},
    media::image::Conversion,
    model::{DiskFormat, FileTarget, Target},
    plan::{Stage, qemu::files},
    runner::manifest::{self, ImageFacts, Manifest},
    units::Size,
};

/// Why an image could not be made of an installed disk.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("cannot work with a file of this run")]
    Io(#[source] std::io::Error),
    /// The image could not get its name.
    #[error("cannot write the image to `{path}`")]
    #[diagnostic(help("choose another place with --output, or make room and permissions there"))]
    Publish {
        /// Where it was to go.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The plan and its runner disagree: a mistake in imgbuild.
    #[error("the plan names no resource `{label}` in this stage")]
    NotPlanned {
        /// The label.
        label: String,
    },
    /// There is no kernel.
    #[error("stage `fetch` has not put out a kernel and an initrd")]
    #[diagnostic(help("build anew, without --resume"))]
    NotFetched,
    /// A task was lost.
    #[error("a task of imgbuild was lost")]
    Lost(#[source] tokio::task::JoinError),
    /// The image has faults.
    #[error("the image has {0} faults that lose data")]
    #[diagnostic(help("the disk it was written to may be failing; build again"))]
    Corrupt(u64),
}

impl QemuRunner {
    /// The format of the image that is made.
    pub(super) fn image_format(&self) -> DiskFormat {
        match &self.context.build.target {
            Target::File(target) => target.format,
            Target::Glance(_) | Target::Volume(_) => DiskFormat::Qcow2,
        }
    }

    pub(super) async fn convert(
        &self,
        stage: &Stage,
        target: &FileTarget,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let resource = self.claim(stage, "image", cx)?;
        let image = Utf8Path::new(&resource.name);
        _ = fs_err::remove_file(image);
        let disk = self.context.folder.file(files::DISK);
        let conversion = Conversion {
            from: disk.as_std_path(),
            from_format: DiskFormat::Qcow2,
            to: image.as_std_path(),
            to_format: target.format,
            compression: target.compression,
        };
        let qemu_img = self.qemu_img();
        qemu_img.convert(&conversion, cx.teller(), &cx.cancel).await.map_err(of)?;
        if target.format == DiskFormat::Qcow2 {
            let check = qemu_img.check(image.as_std_path(), &cx.cancel).await.map_err(of)?;
            if check.corruptions > 0 {
                return Err(StageError::of(ImageError::Corrupt(check.corruptions)));
            }
        }
        let info = qemu_img.info(image.as_std_path(), &cx.cancel).await.map_err(of)?;
        Ok(serde_json::json!({ "disk-bytes": info.virtual_size }))
    }

    pub(super) async fn publish(
        &self,
        stage: &Stage,
        target: &FileTarget,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let context = &self.context;
        let image = context.folder.file(files::IMAGE);
        let path = &target.path;
        let cancelled = cx.cancel.clone();
        let teller = cx.teller().clone();
        let (from, to) = (image.clone(), path.clone());
        let facts = blocking(move || digest(&from, &to, &teller, &cancelled)).await?;
        let manifest = self.manifest(target, facts, cx);
        let text = serde_json::to_string_pretty(&manifest).unwrap_or_default() + "\n";
        let text = context.redactor.mask(&text);
        // An image of an earlier build is still good. It is replaced in one step,
        // and must not vanish because a later step fails: so the product is
        // claimed only where there was nothing before.
        let is_new = !path.exists();
        if is_new {
            self.claim(stage, "image-file", cx)?;
            self.claim(stage, "manifest", cx)?;
        }
        let (to, run) = (path.clone(), context.run.clone());
        blocking(move || {
            place(&image, &to, &run)?;
            replace(&manifest::path_of(&to), text.as_bytes(), &run)
        })
        .await?;
        cx.released("image")?;
        Ok(serde_json::json!({ "path": path, "sha256": manifest.image.sha256 }))
    }

    fn manifest(&self, target: &FileTarget, facts: (u64, String), cx: &StageCx<'_>) -> Manifest {
        let context = &self.context;
        let observed = self.observed.borrow();
        let state = cx.state();
        let mut digests = context.digests.clone();
        let mut trust = String::new();
        if let Ok(fetched) = fetched(cx) {
            digests.insert("kernel".into(), format!("sha256:{}", fetched.kernel.sha256));
            digests.insert("initrd".into(), format!("sha256:{}", fetched.initrd.sha256));
            digests.insert("kernel origin".into(), fetched.kernel.origin);
            digests.insert("initrd origin".into(), fetched.initrd.origin);
            trust = fetched.trust;
        }
        let output = |stage: &str, field: &str| state.outputs.get(stage)?.get(field).cloned();
        let disk = output("convert", "disk-bytes").and_then(|it| it.as_u64()).unwrap_or_default();
        Manifest {
            format: manifest::FORMAT,
            name: context.build.name.clone(),
            os: context.build.os.id.clone(),
            arch: context.build.arch.to_string(),
            run: context.run.clone(),
            imgbuild: env!("CARGO_PKG_VERSION").to_owned(),
            finished: jiff::Timestamp::now().to_string(),
            inputs: context.inputs.clone(),
            digests,
            trust,
            image: ImageFacts {
                file: target.path.file_name().unwrap_or_default().to_owned(),
                format: match target.format {
                    DiskFormat::Qcow2 => "qcow2".to_owned(),
                    DiskFormat::Raw => "raw".to_owned(),
                },
                disk: Size::bytes(disk),
                bytes: facts.0,
                sha256: facts.1,
            },
            machine: observed.machine.clone().into_iter().collect::<BTreeMap<_, _>>(),
            stages: state.took.clone(),
            phases: state.phases.clone(),
            proof: output("verify", "proof").and_then(|it| it.as_str().map(str::to_owned)),
            packages: observed.packages.clone(),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StageError> + Send + 'static,
) -> Result<T, StageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StageError::of(ImageError::Lost(error))))
}

/// The size and the SHA-256 of a file, which may be large.
pub(in crate::runner) async fn measured(
    file: &Utf8Path,
    cx: &StageCx<'_>,
) -> Result<(u64, String), StageError> {
    let (file, teller, cancel) = (file.to_owned(), cx.teller().clone(), cx.cancel.clone());
    blocking(move || digest(&file, &file, &teller, &cancel)).await
}

/// The size and the SHA-256 of a file.
fn digest(
    image: &Utf8Path,
    target: &Utf8Path,
    teller: &Teller,
    cancel: &CancellationToken,
) -> Result<(u64, String), StageError> {
    let io = |it| StageError::of(ImageError::Io(it));
    let mut file = fs_err::File::open(image).map_err(io)?;
    let total = file.metadata().map_err(io)?.len();
    let what = format!("digest of {}", target.file_name().unwrap_or_default());
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(StageError::Cancelled);
        }
        let n = file.read(&mut buffer).map_err(io)?;
        if n == 0 {
            break;
        }
        digest.update(buffer.get(..n).unwrap_or_default());
        done += n as u64;
        teller.bytes(&what, done, Some(total));
    }
    Ok((done, base16ct::lower::encode_string(&digest.finalize())))
}

/// Moves the image to its name in one step: nobody ever sees half of it there.
fn place(image: &Utf8Path, target: &Utf8Path, run: &str) -> Result<(), StageError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| StageError::of(ImageError::Publish { path: target.to_owned(), source });
    if let Some(folder) = target.parent().filter(|it| !it.as_str().is_empty()) {
        fs_err::create_dir_all(folder).map_err(failed)?;
    }
    // It was written for its owner only, as everything in a run's folder.
    let mode = std::fs::Permissions::from_mode(0o644);
    fs_err::set_permissions(image, mode).map_err(failed)?;
    fs_err::File::open(image).and_then(|it| it.sync_all()).map_err(failed)?;
    match fs_err::rename(image, target) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let beside = hidden(target, run);
            let copied = fs_err::copy(image, &beside)
                .and_then(|_| fs_err::File::open(&beside)?.sync_all())
                .and_then(|()| fs_err::rename(&beside, target));
            if copied.is_err() {
                _ = fs_err::remove_file(&beside);
            }
            copied.map_err(failed)?;
            _ = fs_err::remove_file(image);
            Ok(())
        }
        other => other.map_err(failed),
    }
}

fn replace(path: &Utf8Path, bytes: &[u8], run: &str) -> Result<(), StageError> {
    let failed = |source| StageError::of(ImageError::Publish { path: path.to_owned(), source });
    let beside = hidden(path, run);
    let written = fs_err::write(&beside, bytes).and_then(|()| fs_err::rename(&beside, path));
    if written.is_err() {
        _ = fs_err::remove_file(&beside);
    }
    written.map_err(failed)
}

/// A name beside a file for as long as it is not complete.
fn hidden(path: &Utf8Path, run: &str) -> Utf8PathBuf {
    let name = path.file_name().unwrap_or("image");
    path.with_file_name(format!(".{name}.{run}.partial"))
}
