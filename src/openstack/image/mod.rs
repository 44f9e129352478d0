//! Glance: images, their properties, their members.
//!
//! <https://docs.openstack.org/api-ref/image/v2/>

use std::{collections::BTreeMap, fmt};

use camino::Utf8Path;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
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

/// An image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Image {
    /// Its ID.
    pub id: String,
    /// Its name, which need not be unique.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its state.
    pub status: ImageState,
    /// `private`, `shared`, `community`, `public`.
    #[serde(default)]
    pub visibility: String,
    /// Its length in bytes; 0 where only a block device mapping holds the data.
    pub size: Option<u64>,
    /// The size of the disk in it, in bytes, where Glance knows it.
    pub virtual_size: Option<u64>,
    /// `qcow2`, `raw`, `iso`, `aki`, `ari` …
    pub disk_format: Option<String>,
    /// `bare`, `aki`, `ari` …
    pub container_format: Option<String>,
    /// The smallest disk it fits on, in GiB.
    #[serde(default)]
    pub min_disk: u64,
    /// The least memory it starts with, in MiB.
    #[serde(default)]
    pub min_ram: u64,
    /// Whether it cannot be deleted.
    #[serde(default)]
    pub protected: bool,
    /// Whether lists leave it out.
    #[serde(default)]
    pub os_hidden: bool,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The ID of the project it belongs to.
    pub owner: Option<String>,
    /// `sha512`
    pub os_hash_algo: Option<String>,
    /// Its digest by that.
    pub os_hash_value: Option<String>,
    /// When it was made, as Glance writes it; sorts by time.
    #[serde(default)]
    pub created_at: String,
    /// Everything else.
    #[serde(flatten)]
    pub properties: Map<String, Value>,
}

/// The state of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// It has no data yet.
    Queued,
    /// Data are coming in.
    Saving,
    /// Glance fetches the data by itself.
    Importing,
    /// Data are staged for an import.
    Uploading,
    /// It is ready.
    Active,
    /// Its data cannot be had until it is reactivated.
    Deactivated,
    /// Its upload failed for good.
    Killed,
    /// It is gone, although still shown.
    Deleted,
    /// It will be gone.
    PendingDelete,
    /// Anything else.
    Other(String),
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

/// Changes to an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageChange {
    /// Attributes and properties that get this value: `name`, `visibility`,
    /// `protected`, `os_hidden`, `min_disk`, `tags`, `hw_firmware_type` …
    pub set: BTreeMap<String, Value>,
    /// Properties that are removed, if they are there.
    pub remove: Vec<String>,
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

impl Image {
    /// The snapshots that an image of a volume-backed server stands for. They
    /// outlive it, and have to be given back by themselves.
    pub fn snapshots(&self) -> Vec<String> {
        // A JSON text within JSON.
        let mapping =
            self.properties.get("block_device_mapping").and_then(Value::as_str).unwrap_or("[]");
        let mapping: Vec<Value> = serde_json::from_str(mapping).unwrap_or_default();
        mapping.iter().filter_map(|it| it["snapshot_id"].as_str()).map(str::to_owned).collect()
    }
}

impl From<&str> for ImageState {
    fn from(text: &str) -> Self {
        match text {
            "queued" => Self::Queued,
            "saving" => Self::Saving,
            "importing" => Self::Importing,
            "uploading" => Self::Uploading,
            "active" => Self::Active,
            "deactivated" => Self::Deactivated,
            "killed" => Self::Killed,
            "deleted" => Self::Deleted,
            "pending_delete" => Self::PendingDelete,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ImageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Saving => "saving",
            Self::Importing => "importing",
            Self::Uploading => "uploading",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Killed => "killed",
            Self::Deleted => "deleted",
            Self::PendingDelete => "pending_delete",
            Self::Other(other) => other,
        })
    }
}

impl<'de> Deserialize<'de> for ImageState {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}

/// What makes the image as it should be. `add` replaces what is there.
fn patch(image: &Image, change: &ImageChange) -> Vec<Value> {
    let now = |key: &str| match key {
        "name" => Some(image.name.as_str().into()),
        "visibility" => Some(image.visibility.as_str().into()),
        "protected" => Some(image.protected.into()),
        "os_hidden" => Some(image.os_hidden.into()),
        "min_disk" => Some(image.min_disk.into()),
        "min_ram" => Some(image.min_ram.into()),
        _ => image.properties.get(key).cloned(),
    };
    let same = |key: &str, wanted: &Value| match (key, wanted) {
        ("tags", Value::Array(wanted)) => {
            wanted.len() == image.tags.len()
                && image.tags.iter().all(|tag| wanted.iter().any(|it| it == tag))
        }
        _ => now(key).as_ref() == Some(wanted),
    };
    // `~` and `/` have a meaning in a JSON pointer.
    let pointer = |key: &str| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
    let set = change.set.iter().filter(|(key, wanted)| !same(key, wanted)).map(|(key, wanted)| {
        // What every image has can only be replaced.
        let op = if now(key).is_some() || key == "tags" { "replace" } else { "add" };
        json!({ "op": op, "path": pointer(key), "value": wanted })
    });
    let remove = change
        .remove
        .iter()
        .filter(|key| image.properties.contains_key(*key) && !change.set.contains_key(*key))
        .map(|key| json!({ "op": "remove", "path": pointer(key) }));
    set.chain(remove).collect()
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

/// Glance and Nova write `null` where nothing was given.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(more: Value) -> Image {
        let mut it = json!({"id": "i", "name": "n", "status": "active", "visibility": "private", "tags": ["a"]});
        if let (Some(it), Value::Object(more)) = (it.as_object_mut(), more) {
            it.extend(more);
        }
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn a_patch_does_only_what_is_needed() {
        let image = image(json!({"kernel_id": "k", "os_distro": "debian", "a/b": "1"}));
        let change = ImageChange {
            set: [
                ("name", json!("n")),
                ("visibility", json!("shared")),
                ("tags", json!(["a"])),
                ("os_distro", json!("debian")),
                ("os_version", json!("13")),
            ]
            .map(|(k, v)| (k.to_owned(), v))
            .into(),
            remove: vec!["kernel_id".into(), "ramdisk_id".into(), "a/b".into()],
        };
        assert_eq!(
            patch(&image, &change),
            [
                json!({"op": "add", "path": "/os_version", "value": "13"}),
                json!({"op": "replace", "path": "/visibility", "value": "shared"}),
                json!({"op": "remove", "path": "/kernel_id"}),
                json!({"op": "remove", "path": "/a~1b"}),
            ]
        );
    }

    #[test]
    fn the_snapshots_behind_an_image_are_known() {
        let mapping =
            r#"[{"snapshot_id": "s1", "source_type": "snapshot"}, {"snapshot_id": null}]"#;
        assert_eq!(image(json!({"block_device_mapping": mapping, "size": 0})).snapshots(), ["s1"]);
        assert!(image(json!({})).snapshots().is_empty());
    }
}
