//! The ISO that an installer reads from, as a server's CD-ROM.
//!
//! It is large and the same for many builds: its image stays in Glance, found
//! again by digest, and each build has a volume of it for as long as it runs.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::{CloudError, OpenstackRunner, deadline, metadata, of};
use crate::{
    engine::{StageCx, StageError},
    openstack::{
        Cloud,
        image::{Image, ImageChange, ImageFilter, ImageState, NewImage},
        volume::NewVolume,
    },
    plan::{
        Medium, Stage,
        openstack::{MEDIUM, gibibytes},
    },
    runner::qemu::{fetched, measured},
    units::Size,
};

/// What the images of ISOs are tagged with.
pub(super) const TAG: &str = "imgbuild-medium";

impl OpenstackRunner {
    /// Brings the medium into the cloud, where it is not there yet, and makes a
    /// volume of it. Returns the volume's ID.
    pub(super) async fn medium(
        &self,
        stage: &Stage,
        medium: &Medium,
        cx: &mut StageCx<'_>,
    ) -> Result<String, StageError> {
        let cloud = self.cloud(cx);
        let mut new = match medium {
            Medium::Iso => self.iso(&cloud, stage, cx).await?,
            Medium::Image { name } => of_image(&cloud.images().find(name).await.map_err(of)?),
            Medium::Snapshot { name } => {
                let snapshot = cloud.volumes().find_snapshot(name).await.map_err(of)?;
                NewVolume { snapshot: Some(snapshot.id), ..NewVolume::default() }
            }
        };
        let resource = self.local.claim(stage, "medium", cx)?;
        new.name.clone_from(&resource.name);
        new.metadata = metadata(&self.local.context.run);
        let made = cloud.volumes().create(&new).await.map_err(of)?;
        cx.confirm("medium", &made.id)?;
        let made = cloud.volumes().wait_available(&made.id, deadline(stage)).await.map_err(of)?;
        Ok(made.id)
    }

    /// The volume of the ISO that was fetched.
    async fn iso(
        &self,
        cloud: &Cloud,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<NewVolume, StageError> {
        let Some(iso) = fetched(cx)?.iso else {
            return Err(StageError::of(CloudError::NoOutput { stage: "fetch" }));
        };
        let (length, digest) = measured(&iso, cx).await?;
        let image = match known(cloud, &digest, length).await? {
            Some(image) => {
                cx.teller().info(format!("the ISO is in the cloud already: image {}", image.id));
                image
            }
            None => self.bring(cloud, stage, &iso, &digest, cx).await?,
        };
        Ok(of_image(&image))
    }

    /// Uploads the ISO. Until it is whole it is this build's; then it is kept.
    async fn bring(
        &self,
        cloud: &Cloud,
        stage: &Stage,
        iso: &Utf8Path,
        digest: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<Image, StageError> {
        let resource = self.local.claim(stage, "medium-image", cx)?;
        let new = NewImage {
            name: resource.name.clone(),
            disk_format: "iso".to_owned(),
            tags: vec![TAG.to_owned()],
            properties: BTreeMap::from([(MEDIUM.to_owned(), digest.to_owned())]),
            ..NewImage::default()
        };
        let image = cloud.images().create(&new).await.map_err(of)?;
        cx.confirm("medium-image", &image.id)?;
        cloud.images().upload(&image.id, iso, "ISO", cx.teller()).await.map_err(of)?;
        let image = cloud.images().wait_active(&image.id, deadline(stage)).await.map_err(of)?;
        cloud.images().compare(&image, iso).await.map_err(of)?;
        let mut change = ImageChange::default();
        let name = format!("{TAG}-{}", iso.file_name().unwrap_or("iso"));
        change.set.insert("name".to_owned(), name.into());
        let image = cloud.images().update(&image.id, &change).await.map_err(of)?;
        cx.released("medium-image")?;
        Ok(image)
    }
}

/// A volume of an image, just large enough.
fn of_image(image: &Image) -> NewVolume {
    let least = gibibytes(Size::bytes(image.size.unwrap_or_default()));
    NewVolume {
        gib: least.max(image.min_disk),
        image: Some(image.id.clone()),
        ..NewVolume::default()
    }
}

/// The image of an ISO with this digest that an earlier build left.
async fn known(cloud: &Cloud, digest: &str, length: u64) -> Result<Option<Image>, StageError> {
    let filter = ImageFilter { tags: &[TAG], own: true, ..ImageFilter::default() };
    let images = cloud.images().list(&filter).await.map_err(of)?;
    Ok(images.into_iter().find(|it| {
        it.status == ImageState::Active
            && it.size == Some(length)
            && it.properties.get(MEDIUM).and_then(|it| it.as_str()) == Some(digest)
            // One that another build is about to finish is still that build's.
            && it.name.starts_with(TAG)
    }))
}
