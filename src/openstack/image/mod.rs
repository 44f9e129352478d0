//! Glance: images, their properties, their members.
//!
//! <https://docs.openstack.org/api-ref/image/v2/>

mod patch;
mod shown;

use std::collections::BTreeMap;

use camino::Utf8Path;
pub use patch::ImageChange;
use patch::patch;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
pub(super) use shown::null_is_default;
pub use shown::{Image, ImageState};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::Call,
    hash,
    release::{Standing, Which, until_gone},
    session::Session,
    wait::{Decision, Observation, wait},
};

/// Glance.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(super) session: &'a Session,
}

/// An image to be.
#[derive(Clone, Debug, Default)]
pub struct NewImage {
    /// Its name; unique to the build while it is made.
    pub name: String,
    /// `qcow2`, `raw`, `iso`, `aki`, `ari`.
    pub disk_format: String,
    /// `bare` where empty.
    pub container_format: String,
    /// `private`, `shared`, `community`, `public`; the cloud's default where not given.
    pub visibility: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The smallest disk it fits on, in GiB.
    pub min_disk: u64,
    /// The least memory it starts with, in MiB.
    pub min_ram: u64,
    /// Properties.
    pub properties: BTreeMap<String, String>,
}

/// Which images are listed.
#[derive(Clone, Debug, Default)]
pub struct ImageFilter<'a> {
    /// Those of this name.
    pub name: Option<&'a str>,
    /// Those with all these tags.
    pub tags: &'a [&'a str],
    /// Those of our own project only.
    pub own: bool,
    /// The hidden ones instead of the others.
    pub hidden: bool,
}

impl<'a> Images<'a> {
    pub(super) const fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// An image by its ID.
    pub async fn get(&self, id: &str) -> Result<Image, Error> {
        self.session.send(&Call::get(Service::Image, path(id))).await?.read("")
    }

    /// The images that fit, the oldest first.
    pub async fn list(&self, filter: &ImageFilter<'_>) -> Result<Vec<Image>, Error> {
        let mut call = Call::get(Service::Image, "/images")
            .query("limit", "200")
            .query("sort", "created_at:asc");
        if let Some(name) = filter.name {
            // Glance reads `in:` and quotes in a value; a plain name is safer filtered here too.
            if !name.contains([',', '"', ':']) {
                call = call.query("name", name);
            }
        }
        for tag in filter.tags {
            call = call.query("tag", *tag);
        }
        if filter.hidden {
            call = call.query("os_hidden", "true");
        }
        if filter.own
            && let Some(project) = self.session.project().await?
        {
            call = call.query("owner", project);
        }
        let mut images: Vec<Image> = self.session.list(call, "images").await?;
        images.retain(|it| filter.name.is_none_or(|name| it.name == name));
        Ok(images)
    }

    /// Our own images of this name, the oldest first.
    pub async fn named(&self, name: &str) -> Result<Vec<Image>, Error> {
        self.list(&ImageFilter { name: Some(name), own: true, ..ImageFilter::default() }).await
    }

    /// Our own image of this name; the oldest, if there are several.
    pub async fn find_by_name(&self, name: &str) -> Result<Option<Image>, Error> {
        Ok(self.named(name).await?.into_iter().next())
    }

    /// The one image, ours or not, that this ID or name means.
    pub async fn find(&self, name_or_id: &str) -> Result<Image, Error> {
        match self.get(name_or_id).await {
            // Glance says 404 to what is no ID, too; older ones 400.
            Err(err) if matches!(err.status(), Some(400 | 404)) => {}
            other => return other,
        }
        let filter = ImageFilter { name: Some(name_or_id), ..ImageFilter::default() };
        one("image", name_or_id, self.list(&filter).await?, |it| &it.id, String::new)
    }

    /// Creates an image without data, or takes our own of that name.
    pub async fn create(&self, new: &NewImage) -> Result<Image, Error> {
        let container =
            if new.container_format.is_empty() { "bare" } else { &new.container_format };
        let mut body = json!({
            "name": new.name,
            "disk_format": new.disk_format,
            "container_format": container,
            "tags": new.tags,
            "min_disk": new.min_disk,
            "min_ram": new.min_ram,
        });
        if let Some(visibility) = &new.visibility {
            body["visibility"] = visibility.as_str().into();
        }
        for (key, value) in &new.properties {
            body[key] = value.as_str().into();
        }
        let call = Call::post(Service::Image, "/images", body);
        self.session
            .create(
                async || self.find_by_name(&new.name).await,
                async || self.session.send(&call).await?.read(""),
            )
            .await
    }

    /// Changes an image and returns what Glance made of it.
    pub async fn update(&self, id: &str, change: &ImageChange) -> Result<Image, Error> {
        // Sent again it would fail: what it removes is gone. So it is worked
        // out anew from what is there.
        for _ in 0..3 {
            let image = self.get(id).await?;
            let patch = patch(&image, change);
            if patch.is_empty() {
                return Ok(image);
            }
            let call = Call::patch(Service::Image, path(id), Value::Array(patch))
                .header("Content-Type", "application/openstack-images-v2.1-json-patch");
            match self.session.send(&call).await {
                Ok(answer) => return answer.read(""),
                Err(err) if err.may_have_happened() || err.is_conflict() => {
                    super::wait::sleep(self.session.patience().retry.first, self.session.cancel())
                        .await?;
                }
                Err(err) => return Err(err),
            }
        }
        let image = self.get(id).await?;
        if patch(&image, change).is_empty() {
            return Ok(image);
        }
        Err(Error::Ended {
            what: format!("image `{id}`"),
            state: image.status.to_string(),
            reason: "it does not take the properties it is given".into(),
        })
    }

    /// Lets a project use a shared image.
    pub async fn add_member(&self, id: &str, project: &str) -> Result<(), Error> {
        let call = Call::post(
            Service::Image,
            format!("{}/members", path(id)),
            json!({ "member": project }),
        );
        match self.session.send(&call.repeatable()).await {
            // It is one already, or the image is busy.
            Err(err)
                if err.is_conflict() && !self.members(id).await?.iter().any(|it| it == project) =>
            {
                Err(err)
            }
            Err(err) if err.is_conflict() => Ok(()),
            other => other.map(drop),
        }
    }

    /// The projects that may use a shared image.
    pub async fn members(&self, id: &str) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Member {
            member_id: String,
        }
        let members: Vec<Member> = self
            .session
            .list(Call::get(Service::Image, format!("{}/members", path(id))), "members")
            .await?;
        Ok(members.into_iter().map(|it| it.member_id).collect())
    }

    /// Takes the permission back.
    pub async fn remove_member(&self, id: &str, project: &str) -> Result<(), Error> {
        let call =
            Call::delete(Service::Image, format!("{}/members/{}", path(id), escape(project)));
        match self.session.send(&call).await {
            Err(err) if err.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Keeps everybody from using its data.
    pub async fn deactivate(&self, id: &str) -> Result<(), Error> {
        self.action(id, "deactivate").await
    }

    /// Undoes that.
    pub async fn reactivate(&self, id: &str) -> Result<(), Error> {
        self.action(id, "reactivate").await
    }

    async fn action(&self, id: &str, action: &str) -> Result<(), Error> {
        let call = Call::post_nothing(Service::Image, format!("{}/actions/{action}", path(id)));
        self.session.send(&call.repeatable()).await.map(drop)
    }

    /// Waits until it can be used.
    pub async fn wait_active(&self, id: &str, deadline: Instant) -> Result<Image, Error> {
        let what = format!("image `{id}`");
        wait(
            &what,
            async || self.get(id).await,
            |seen| {
                let ended = |state: &str, reason: &str| {
                    Decision::Fail(Error::Ended {
                        what: what.clone(),
                        state: state.into(),
                        reason: reason.into(),
                    })
                };
                match seen {
                    Observation::Gone => {
                        ended("gone", "somebody deleted it, or the snapshot failed")
                    }
                    Observation::Present(it) => match it.status {
                        ImageState::Active => Decision::Done(it),
                        ImageState::Queued
                        | ImageState::Saving
                        | ImageState::Importing
                        | ImageState::Uploading => Decision::Continue(it.status.to_string()),
                        // A new release's state may yet lead somewhere.
                        ImageState::Other(state) => Decision::Continue(state),
                        state => ended(&state.to_string(), ""),
                    },
                }
            },
            self.session.patience(),
            deadline,
            self.session.cancel(),
        )
        .await
    }

    /// Checks that Glance has what the file holds, by the digest it computed.
    /// Returns whether it could be compared.
    pub async fn compare(&self, image: &Image, path: &Utf8Path) -> Result<bool, Error> {
        let (Some(algorithm), Some(got)) = (&image.os_hash_algo, &image.os_hash_value) else {
            return Ok(false);
        };
        let Some(expected) = hash::of_file(path, algorithm).await.map_err(Error::File)? else {
            return Ok(false);
        };
        if expected.eq_ignore_ascii_case(got) {
            return Ok(true);
        }
        Err(Error::Digest {
            image: image.id.clone(),
            algorithm: algorithm.clone(),
            expected,
            got: got.clone(),
        })
    }

    /// Deletes images and waits until they are gone.
    pub async fn release(&self, which: Which<'_>, deadline: Instant) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => self.named(name).await?.into_iter().map(|it| it.id).collect(),
        };
        for id in ids {
            let delete = async || {
                self.session.send(&Call::delete(Service::Image, path(&id))).await.map(drop)
            };
            let look = async || {
                let image = self.get(&id).await?;
                Ok(match image.status {
                    ImageState::Deleted | ImageState::PendingDelete => {
                        (Standing::Wait, image.status.to_string())
                    }
                    _ => (Standing::Deletable, image.status.to_string()),
                })
            };
            until_gone(self.session, &format!("image `{id}`"), delete, look, deadline).await?;
        }
        Ok(())
    }
}

fn path(id: &str) -> String {
    format!("/images/{}", escape(id))
}

/// A part of a path.
pub(super) fn escape(text: &str) -> String {
    const KEEP: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    utf8_percent_encode(text, KEEP).to_string()
}

/// The only one of `found`, or why there is none.
pub(super) fn one<T>(
    kind: &'static str,
    name: &str,
    mut found: Vec<T>,
    id: impl Fn(&T) -> &String,
    known: impl FnOnce() -> String,
) -> Result<T, Error> {
    if found.len() > 1 {
        let ids = found.iter().map(|it| format!("`{}`", id(it))).collect::<Vec<_>>().join(", ");
        return Err(Error::Ambiguous { kind, name: name.to_owned(), ids });
    }
    found.pop().ok_or_else(|| Error::Missing { kind, name: name.to_owned(), known: known() })
}
