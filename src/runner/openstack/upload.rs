//! Stage `upload`: what the installer starts from as an image, and as a volume
//! where one is the root disk. That is the boot disk, or an empty disk that says
//! which kernel and initrd the server starts.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::{CloudError, OpenstackRunner, deadline, metadata, of};
use crate::{
    engine::{StageCx, StageError},
    installer::{self, CommandLine, kernel_command_line},
    model::{Delivery, reveal},
    openstack::{
        image::{Image, NewImage},
        volume::NewVolume,
    },
    plan::{Medium, RootVolume, Stage, openstack::DIRECT, qemu::files},
};

/// The empty disk is so large: more than a hypervisor wants of an image, little
/// to send. The root disk has the size of the flavor or volume.
const EMPTY: u64 = 1 << 20;

/// What is brought, and how.
pub(super) struct Wanted<'a> {
    /// Properties of the boot image.
    pub(super) properties: &'a BTreeMap<String, String>,
    /// The root disk, where it is a volume.
    pub(super) volume: Option<&'a RootVolume>,
    /// What goes into the CD-ROM drive.
    pub(super) medium: Option<&'a Medium>,
    /// Whether the server starts a kernel.
    pub(super) direct: bool,
    /// Whether what can be used again is kept.
    pub(super) cache: bool,
}

impl OpenstackRunner {
    pub(super) async fn upload(
        &self,
        stage: &Stage,
        wanted: &Wanted<'_>,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let mut boot = NewImage {
            disk_format: "raw".to_owned(),
            properties: wanted.properties.clone(),
            ..NewImage::default()
        };
        let mut file = self.local.context.folder.file(files::BOOT_DISK);
        let mut what = "boot disk";
        if wanted.direct {
            boot.properties.extend(self.kernel(stage, wanted.cache, cx).await?);
            let empty = self.local.claim(stage, "empty-disk", cx)?;
            let made = fs_err::File::create(&empty.name).and_then(|it| it.set_len(EMPTY));
            made.map_err(|it| of(crate::openstack::Error::File(it)))?;
            (file, what) = (empty.name.into(), "empty disk");
        }
        let label = "boot-image";
        let image = if wanted.cache && !wanted.direct && self.is_public(cx) {
            self.cached(stage, label, boot, &file, what, cx).await?
        } else {
            self.image(stage, label, boot, &file, what, cx).await?
        };
        let medium = match wanted.medium {
            Some(medium) => Some(self.medium(stage, medium, cx).await?),
            None => None,
        };
        let Some(root) = wanted.volume else {
            return Ok(serde_json::json!({ "image": image.id, "medium": medium }));
        };
        let resource = self.local.claim(stage, "root-volume", cx)?;
        let new = NewVolume {
            name: resource.name.clone(),
            gib: root.gib,
            image: Some(image.id.clone()),
            volume_type: root.volume_type.clone(),
            metadata: metadata(&self.local.context.run),
            ..NewVolume::default()
        };
        let made = cloud.volumes().create(&new).await.map_err(of)?;
        cx.confirm("root-volume", &made.id)?;
        let made = cloud.volumes().wait_available(&made.id, deadline(stage)).await.map_err(of)?;
        Ok(serde_json::json!({ "image": image.id, "volume": made.id, "medium": medium }))
    }

    /// Brings kernel and initrd. Returns what has a server start them.
    async fn kernel(
        &self,
        stage: &Stage,
        cache: bool,
        cx: &mut StageCx<'_>,
    ) -> Result<BTreeMap<String, String>, StageError> {
        let lacks = || StageError::of(CloudError::NoOutput { stage: "boot-disk" });
        let start = self.local.direct(cx)?.ok_or_else(lacks)?;
        let of_kind = |format: &str| NewImage {
            disk_format: format.to_owned(),
            container_format: format.to_owned(),
            ..NewImage::default()
        };
        let (aki, ari) = (of_kind("aki"), of_kind("ari"));
        let (label, file) = ("kernel-image", &start.kernel);
        let kernel = if cache {
            self.cached(stage, label, aki, file, "kernel", cx).await?
        } else {
            self.image(stage, label, aki, file, "kernel", cx).await?
        };
        let (label, file) = ("initrd-image", &start.initrd);
        let initrd = if cache && self.is_public(cx) {
            self.cached(stage, label, ari, file, "initrd", cx).await?
        } else {
            self.image(stage, label, ari, file, "initrd", cx).await?
        };
        Ok(DIRECT
            .map(str::to_owned)
            .into_iter()
            .zip([kernel.id, start.command_line, initrd.id])
            .collect())
    }

    /// Whether what starts the installer holds no answers and no secret, so that
    /// it may stay in the cloud when the build is over.
    fn is_public(&self, cx: &StageCx<'_>) -> bool {
        let context = &self.local.context;
        let build = &context.build;
        let line = kernel_command_line(build, &installer::context(build));
        let has_secret =
            |it: &CommandLine| context.redactor.is_in(&reveal(&it.text(), &build.variables));
        let is_public =
            build.install.delivery != Delivery::Initrd && !line.is_ok_and(|it| has_secret(&it));
        if !is_public {
            cx.teller().info("the boot medium holds answers: it does not stay in the cloud");
        }
        is_public
    }

    /// Makes an image of a file, and has Glance prove that it is the same.
    pub(super) async fn image(
        &self,
        stage: &Stage,
        label: &str,
        new: NewImage,
        file: &Utf8Path,
        what: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<Image, StageError> {
        let cloud = self.cloud(cx);
        let resource = self.local.claim(stage, label, cx)?;
        let new = NewImage { name: resource.name.clone(), ..new };
        let image = cloud.images().create(&new).await.map_err(of)?;
        cx.confirm(label, &image.id)?;
        let image = cloud.images().upload(&image.id, file, what, cx.teller()).await.map_err(of)?;
        let image = cloud.images().wait_active(&image.id, deadline(stage)).await.map_err(of)?;
        cloud.images().compare(&image, file).await.map_err(of)?;
        Ok(image)
    }
}
