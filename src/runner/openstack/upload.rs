//! Stage `upload`: the boot disk as an image, and as a volume where one is the
//! root disk.

use std::collections::BTreeMap;

use super::{OpenstackRunner, deadline, metadata, of};
use crate::{
    engine::{StageCx, StageError},
    openstack::{image::NewImage, volume::NewVolume},
    plan::{RootVolume, Stage, qemu::files},
};

impl OpenstackRunner {
    pub(super) async fn upload(
        &self,
        stage: &Stage,
        properties: &BTreeMap<String, String>,
        volume: Option<&RootVolume>,
        medium: bool,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let resource = self.local.claim(stage, "boot-image", cx)?;
        let new = NewImage {
            name: resource.name.clone(),
            disk_format: "raw".to_owned(),
            properties: properties.clone(),
            ..NewImage::default()
        };
        let image = cloud.images().create(&new).await.map_err(of)?;
        cx.confirm("boot-image", &image.id)?;
        let file = self.local.context.folder.file(files::BOOT_DISK);
        let image =
            cloud.images().upload(&image.id, &file, "boot disk", cx.teller()).await.map_err(of)?;
        let image = cloud.images().wait_active(&image.id, deadline(stage)).await.map_err(of)?;
        cloud.images().compare(&image, &file).await.map_err(of)?;
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
}
