//! Stage `upload`: what the installer starts from as an image, and as a volume
//! where one is the root disk. That is the boot disk, or an empty disk that says
//! which kernel and initrd the server starts.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::{CloudError, OpenstackRunner, deadline, metadata, of};
use crate::{
    engine::{StageCx, StageError},
    openstack::{
        image::{Image, NewImage},
        volume::NewVolume,
    },
    plan::{RootVolume, Stage, openstack::DIRECT, qemu::files},
};

/// The empty disk is so large: more than a hypervisor wants of an image, little
/// to send. The root disk has the size of the flavor or volume.
const EMPTY: u64 = 1 << 20;

impl OpenstackRunner {
    pub(super) async fn upload(
        &self,
        stage: &Stage,
        properties: &BTreeMap<String, String>,
        volume: Option<&RootVolume>,
        medium: bool,
        direct: bool,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let mut boot = NewImage {
            disk_format: "raw".to_owned(),
            properties: properties.clone(),
            ..NewImage::default()
        };
        let mut file = self.local.context.folder.file(files::BOOT_DISK);
        let mut what = "boot disk";
        if direct {
            boot.properties.extend(self.kernel(stage, cx).await?);
            let empty = self.local.claim(stage, "empty-disk", cx)?;
            let made = fs_err::File::create(&empty.name).and_then(|it| it.set_len(EMPTY));
            made.map_err(|it| of(crate::openstack::Error::File(it)))?;
            (file, what) = (empty.name.into(), "empty disk");
        }
        let image = self.image(stage, "boot-image", boot, &file, what, cx).await?;
        let medium = if medium { Some(self.medium(stage, cx).await?) } else { None };
        let Some(wanted) = volume else {
            return Ok(serde_json::json!({ "image": image.id, "medium": medium }));
        };
        let resource = self.local.claim(stage, "root-volume", cx)?;
        let new = NewVolume {
            name: resource.name.clone(),
            gib: wanted.gib,
            image: Some(image.id.clone()),
            volume_type: wanted.volume_type.clone(),
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
        cx: &mut StageCx<'_>,
    ) -> Result<BTreeMap<String, String>, StageError> {
        let lacks = || StageError::of(CloudError::NoOutput { stage: "boot-disk" });
        let start = self.local.direct(cx)?.ok_or_else(lacks)?;
        let of_kind = |format: &str| NewImage {
            disk_format: format.to_owned(),
            container_format: format.to_owned(),
            ..NewImage::default()
        };
        let new = of_kind("aki");
        let kernel = self.image(stage, "kernel-image", new, &start.kernel, "kernel", cx).await?;
        let new = of_kind("ari");
        let initrd = self.image(stage, "initrd-image", new, &start.initrd, "initrd", cx).await?;
        Ok(DIRECT
            .map(str::to_owned)
            .into_iter()
            .zip([kernel.id, start.command_line, initrd.id])
            .collect())
    }

    /// Makes an image of a file, and has Glance prove that it is the same.
    async fn image(
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
