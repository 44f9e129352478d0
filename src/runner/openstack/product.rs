//! Stages `convert` and `publish`: the image or snapshot of the installed disk,
//! with the properties it is to have, and at last its name.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{CloudError, OpenstackRunner, deadline, metadata, of, said};
use crate::{
    engine::{StageCx, StageError},
    model::{GlanceTarget, Target, VolumeTarget},
    openstack::{
        Cloud,
        compute::Until,
        image::{Image, ImageChange, ImageFilter},
        release::Which,
        volume::Held,
    },
    plan::{
        Stage,
        openstack::{CACHED, DIRECT, SERVERS_OWN, gibibytes, properties},
    },
};

/// How long Glance may take to delete an older image. One that is in use stays so.
const RETIRE: Duration = Duration::from_secs(20);

impl OpenstackRunner {
    pub(super) async fn capture(
        &self,
        stage: &Stage,
        target: &Target,
        from_volume: bool,
        cx: &mut StageCx<'_>,
    ) -> Result<Value, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let until = deadline(stage);
        if let Target::Volume(wanted) = target {
            // The volume is at rest when nothing holds it any more.
            self.give_back("install-server", cx).await?;
            self.close_to_ssh("install", cx).await?;
            let volume = said(cx, "upload", "volume")?;
            cloud.volumes().wait_available(&volume, until).await.map_err(of)?;
            let said = properties(&context.build, target, &context.inputs);
            disk_boots(&cloud, &volume).await?;
            cloud.volumes().set_image_metadata(&volume, &said).await.map_err(of)?;
            cloud.volumes().set_bootable(&volume, true).await.map_err(of)?;
            let resource = self.local.claim(stage, "snapshot", cx)?;
            let made = cloud
                .volumes()
                .create_snapshot(&volume, &resource.name, &metadata(&context.run), Held::No)
                .await
                .map_err(of)?;
            cx.confirm("snapshot", &made.id)?;
            let made = cloud.volumes().wait_snapshot(&made.id, until).await.map_err(of)?;
            let mut output = serde_json::json!({ "snapshot": made.id, "volume": volume });
            if let Some(image) = &wanted.image {
                let id = self.image_of_volume(stage, &volume, cx).await?;
                // Glance has it all before Cinder has let go of the volume.
                cloud.volumes().wait_available(&volume, until).await.map_err(of)?;
                let image = self.with_properties(&id, &Target::Glance(image.clone()), cx).await?;
                output["image"] = id.into();
                output["bytes"] = image.size.into();
            }
            return Ok(output);
        }
        let id = if from_volume {
            self.give_back("install-server", cx).await?;
            self.close_to_ssh("install", cx).await?;
            let volume = said(cx, "upload", "volume")?;
            cloud.volumes().wait_available(&volume, until).await.map_err(of)?;
            let id = self.image_of_volume(stage, &volume, cx).await?;
            self.give_back("root-volume", cx).await?;
            id
        } else {
            let resource = self.local.claim(stage, "image", cx)?;
            let server = said(cx, "install", "server")?;
            let said = metadata(&context.run);
            let made = cloud.compute().create_image(&server, &resource.name, &said).await;
            let id = made.map_err(of)?;
            cx.confirm("image", &id)?;
            cloud.images().wait_active(&id, until).await.map_err(of)?;
            cloud.compute().wait(&server, Until::Settled, until).await.map_err(of)?;
            self.give_back("install-server", cx).await?;
            self.close_to_ssh("install", cx).await?;
            id
        };
        for label in ["boot-image", "kernel-image", "initrd-image"] {
            self.give_back(label, cx).await?;
        }
        let image = self.with_properties(&id, target, cx).await?;
        Ok(serde_json::json!({ "image": id, "bytes": image.size }))
    }

    /// An image of a volume that is at rest; what is on it is all there.
    async fn image_of_volume(
        &self,
        stage: &Stage,
        volume: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<String, StageError> {
        let cloud = self.cloud(cx);
        let resource = self.local.claim(stage, "image", cx)?;
        let made = cloud.volumes().create_image(volume, &resource.name, "raw").await;
        let id = made.map_err(of)?;
        cx.confirm("image", &id)?;
        cloud.images().wait_active(&id, deadline(stage)).await.map_err(of)?;
        Ok(id)
    }

    /// Gives an image the properties of what is on it, instead of those of its making.
    async fn with_properties(
        &self,
        id: &str,
        target: &Target,
        cx: &StageCx<'_>,
    ) -> Result<Image, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let change = ImageChange {
            set: properties(&context.build, target, &context.inputs)
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)))
                .collect(),
            remove: SERVERS_OWN.map(str::to_owned).into(),
        };
        let image = cloud.images().update(id, &change).await.map_err(of)?;
        kept(&image, &change)?;
        Ok(image)
    }

    pub(super) async fn offer(
        &self,
        _: &Stage,
        target: &Target,
        cx: &mut StageCx<'_>,
    ) -> Result<Value, StageError> {
        let cloud = self.cloud(cx);
        match target {
            Target::Volume(wanted) => {
                let id = said(cx, "convert", "snapshot")?;
                // The volume that it is of outlives the build as well.
                let volume = said(cx, "convert", "volume")?;
                cloud.volumes().rename(&volume, &wanted.name).await.map_err(of)?;
                self.offer_snapshot(&cloud, &id, wanted).await?;
                let product = match &wanted.image {
                    Some(image) => format!("{id} {}", offer_image(&cloud, image, cx).await?),
                    None => id,
                };
                Ok(serde_json::json!({ "product": product }))
            }
            Target::Glance(wanted) => {
                let id = offer_image(&cloud, wanted, cx).await?;
                Ok(serde_json::json!({ "product": id }))
            }
            Target::File(_) => Err(StageError::of(CloudError::NoOutput { stage: "convert" })),
        }
    }

    async fn offer_snapshot(
        &self,
        cloud: &Cloud,
        id: &str,
        wanted: &VolumeTarget,
    ) -> Result<(), StageError> {
        let context = &self.local.context;
        let target = Target::Volume(wanted.clone());
        let said = properties(&context.build, &target, &context.inputs);
        cloud.volumes().update_snapshot(id, &wanted.name, &said).await.map_err(of)?;
        Ok(())
    }
}

/// Gives the image its name and what goes with it; returns its ID.
async fn offer_image(
    cloud: &Cloud,
    wanted: &GlanceTarget,
    cx: &StageCx<'_>,
) -> Result<String, StageError> {
    let id = said(cx, "convert", "image")?;
    let mut change = ImageChange::default();
    change.set.insert("name".to_owned(), wanted.name.clone().into());
    if !wanted.tags.is_empty() {
        change.set.insert("tags".to_owned(), wanted.tags.clone().into());
    }
    if let Some(visibility) = &wanted.visibility {
        change.set.insert("visibility".to_owned(), visibility.clone().into());
    }
    if let Some(disk) = wanted.min_disk {
        change.set.insert("min_disk".to_owned(), gibibytes(disk).into());
    }
    if let Some(memory) = wanted.min_memory {
        change.set.insert("min_ram".to_owned(), memory.as_mib().into());
    }
    cloud.images().update(&id, &change).await.map_err(of)?;
    for project in &wanted.members {
        cloud.images().add_member(&id, project).await.map_err(of)?;
    }
    if wanted.protected {
        // Last: what is protected could not be given back if something failed.
        let mut change = ImageChange::default();
        change.set.insert("protected".to_owned(), true.into());
        cloud.images().update(&id, &change).await.map_err(of)?;
    }
    // The product stands. What is older may be in use, or protected by others, and
    // an image that is proved is not given up for that.
    if let Some(keep) = wanted.keep
        && let Err(error) = retire(cloud, &id, wanted, keep, cx).await
    {
        let why = error.causes().join(": ");
        cx.teller().warn(format!("older images are left: {why}"));
    }
    Ok(id)
}

/// Removes what is older than the images that are to be kept; one that is
/// protected is hidden.
async fn retire(
    cloud: &Cloud,
    newest: &str,
    wanted: &GlanceTarget,
    keep: u32,
    cx: &StageCx<'_>,
) -> Result<(), StageError> {
    let filter = ImageFilter { name: Some(&wanted.name), own: true, ..ImageFilter::default() };
    let mut images = cloud.images().list(&filter).await.map_err(of)?;
    images.retain(|it| it.id != newest);
    images.sort_by(|a, b| b.created_at.cmp(&a.created_at));
    let kept = usize::try_from(keep.max(1) - 1).unwrap_or(usize::MAX);
    let mut trouble = Ok(());
    for image in images.into_iter().skip(kept) {
        let done = if image.protected {
            let mut change = ImageChange::default();
            change.set.insert("os_hidden".to_owned(), true.into());
            cloud.images().update(&image.id, &change).await.map(|_| "is protected: hidden")
        } else {
            let until = Instant::now() + RETIRE;
            cloud.images().release(Which::Id(&image.id), until).await.map(|()| "was older: deleted")
        };
        match done {
            Ok(done) => cx.teller().info(format!("image {} {done}", image.id)),
            // One that is in use does not keep the others.
            Err(error) => trouble = Err(of(error)),
        }
    }
    trouble
}

/// Takes what a boot disk's image said off its volume: servers would start the
/// installer's kernel. Its snapshots know what it knows when they are taken.
async fn disk_boots(cloud: &Cloud, volume: &str) -> Result<(), StageError> {
    let knows = cloud.volumes().get(volume).await.map_err(of)?.volume_image_metadata;
    let starts: Vec<_> =
        DIRECT.into_iter().chain([CACHED]).filter(|it| knows.contains_key(*it)).collect();
    if starts.is_empty() {
        return Ok(());
    }
    for property in &starts {
        cloud.volumes().unset_image_metadata(volume, property).await.map_err(of)?;
    }
    let knows = cloud.volumes().get(volume).await.map_err(of)?.volume_image_metadata;
    match starts.into_iter().find(|it| knows.contains_key(*it)) {
        Some(property) => Err(StageError::of(CloudError::StillDirect {
            volume: volume.to_owned(),
            property: property.to_owned(),
        })),
        None => Ok(()),
    }
}

/// Whether an image has what it was given, and something in it.
fn kept(image: &Image, change: &ImageChange) -> Result<(), StageError> {
    if image.size.is_none_or(|it| it == 0) {
        return Err(StageError::of(CloudError::Empty { image: image.id.clone() }));
    }
    if let Some(property) = DIRECT.iter().find(|it| image.properties.contains_key(**it)) {
        return Err(StageError::of(CloudError::NotRemoved {
            image: image.id.clone(),
            property: (*property).to_owned(),
        }));
    }
    let lost = change.set.iter().find(|(key, value)| image.properties.get(*key) != Some(*value));
    match lost {
        Some((property, _)) => Err(StageError::of(CloudError::NotKept {
            image: image.id.clone(),
            property: property.clone(),
        })),
        None => Ok(()),
    }
}
