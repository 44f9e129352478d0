//! Boot media that stay in Glance for the next build.
//!
//! Found again by digest. They have a tag of their own, so that they can be seen
//! and removed; until one is whole it is its build's, and goes with it.

use std::time::Duration;

use camino::Utf8Path;
use tokio::time::Instant;

use super::{OpenstackRunner, medium, of};
use crate::{
    engine::{StageCx, StageError},
    openstack::{
        Cloud, Error,
        image::{Image, ImageChange, ImageFilter, ImageState, NewImage},
        release::Which,
    },
    plan::{Stage, openstack::CACHED},
    runner::qemu::measured,
};

/// What cached boot media are tagged with, and what their names begin with.
const TAG: &str = "imgbuild-cache";
/// How long all of it may take to go.
const REMOVAL: Duration = Duration::from_mins(5);

impl OpenstackRunner {
    /// The image of a file that an earlier build left, or one that is left for
    /// the next.
    pub(super) async fn cached(
        &self,
        stage: &Stage,
        label: &str,
        mut new: NewImage,
        file: &Utf8Path,
        what: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<Image, StageError> {
        let cloud = self.cloud(cx);
        let (length, digest) = measured(file, cx).await?;
        new.tags = vec![TAG.to_owned()];
        new.properties.insert(CACHED.to_owned(), digest.clone());
        let filter = ImageFilter { tags: &[TAG], own: true, ..ImageFilter::default() };
        for image in cloud.images().list(&filter).await.map_err(of)? {
            if !fits(&image, &new, length) {
                continue;
            }
            match cloud.images().compare(&image, file).await {
                Ok(_) => {
                    cx.teller().info(format!("{what}: cached, image {}", image.id));
                    return Ok(image);
                }
                // It says that it is what it is not.
                Err(Error::Digest { .. }) => {}
                Err(error) => return Err(of(error)),
            }
        }
        let image = self.image(stage, label, new, file, what, cx).await?;
        let kind = what.replace(' ', "-");
        let name = format!("{TAG}-{kind}-{}", digest.get(..16).unwrap_or(&digest));
        let mut change = ImageChange::default();
        change.set.insert("name".to_owned(), name.into());
        let image = cloud.images().update(&image.id, &change).await.map_err(of)?;
        cx.released(label)?;
        Ok(image)
    }
}

/// Whether an image is what would be made, whole and nobody's any more.
fn fits(image: &Image, new: &NewImage, length: u64) -> bool {
    image.status == ImageState::Active
        && image.size == Some(length)
        && image.disk_format.as_ref() == Some(&new.disk_format)
        // One that another build is about to finish is still that build's.
        && image.name.starts_with(TAG)
        && new.properties.iter().all(|(key, value)| {
            image.properties.get(key).and_then(|it| it.as_str()) == Some(value)
        })
}

/// Removes the boot media and ISOs that builds left in a cloud for the next.
/// Returns their names.
///
/// # Errors
///
/// The cloud cannot be asked, or does not give one up.
pub async fn empty_cache(cloud: &Cloud) -> Result<Vec<String>, Error> {
    let mut gone = Vec::new();
    let until = Instant::now() + REMOVAL;
    for tag in [TAG, medium::TAG] {
        let filter = ImageFilter { tags: &[tag], own: true, ..ImageFilter::default() };
        for image in cloud.images().list(&filter).await? {
            // What a build still makes has another name.
            if image.name.starts_with(tag) {
                cloud.images().release(Which::Id(&image.id), until).await?;
                gone.push(image.name);
            }
        }
    }
    Ok(gone)
}
