//! Cinder: volumes, snapshots, images of volumes.
//!
//! <https://docs.openstack.org/api-ref/block-storage/v3/>
//!
//! They are given back in this order: server, image, volume from a snapshot,
//! snapshot, volume. Each holds the next.

mod shown;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
pub use shown::{Holder, Snapshot, Volume, VolumeState};
use tokio::time::Instant;

use super::{
    Error, Service,
    call::Call,
    image::{Images, escape},
    release::{Standing, Which, until_gone},
    session::{Session, Version},
    wait::{Decision, Observation, wait},
};

/// Cinder.
#[derive(Clone, Copy, Debug)]
pub struct Volumes<'a> {
    session: &'a Session,
}

/// A volume to be.
#[derive(Clone, Debug, Default)]
pub struct NewVolume {
    /// Its name; unique to the build.
    pub name: String,
    /// Its size, in GiB; of a snapshot's where 0.
    pub gib: u64,
    /// The image it is filled with.
    pub image: Option<String>,
    /// The snapshot it is made from.
    pub snapshot: Option<String>,
    /// Its type; the cloud's default where not given.
    pub volume_type: Option<String>,
    /// Where it is.
    pub availability_zone: Option<String>,
    /// What it knows of itself.
    pub metadata: BTreeMap<String, String>,
}

/// How long is waited for the reason of a failure.
const TOLD_WITHIN: Duration = Duration::from_secs(20);

/// Whether a snapshot is taken of what a server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Only a volume that nobody holds.
    No,
    /// One that is in use too; its server must be off.
    Yes,
}

impl<'a> Volumes<'a> {
    pub(super) const fn new(session: &'a Session) -> Self {
        Self { session }
    }

    /// The names of the volume types that may be used.
    pub async fn types(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Type {
            name: String,
        }
        let types: Vec<Type> =
            self.session.list(Call::get(Service::Volume, "/types"), "volume_types").await?;
        Ok(types.into_iter().map(|it| it.name).collect())
    }

    /// A volume by its ID.
    pub async fn get(&self, id: &str) -> Result<Volume, Error> {
        self.show("volume", id).await
    }

    /// A snapshot by its ID.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot, Error> {
        self.show("snapshot", id).await
    }

    /// Our own volumes of this name, the oldest first.
    pub async fn named(&self, name: &str) -> Result<Vec<Volume>, Error> {
        let mut volumes: Vec<Volume> = self.list("volumes", name).await?;
        volumes.retain(|it| it.name == name);
        volumes.sort_by(|a, b| a.created_at.cmp(&b.created_at));
        Ok(volumes)
    }

    /// Our own snapshots of this name, the oldest first.
    pub async fn snapshots_named(&self, name: &str) -> Result<Vec<Snapshot>, Error> {
        let mut snapshots: Vec<Snapshot> = self.list("snapshots", name).await?;
        snapshots.retain(|it| it.name == name);
        snapshots.sort_by(|a, b| a.created_at.cmp(&b.created_at));
        Ok(snapshots)
    }

    /// The one snapshot that this ID or name means.
    pub async fn find_snapshot(&self, name_or_id: &str) -> Result<Snapshot, Error> {
        let unknown = match self.snapshot(name_or_id).await {
            Err(err) if matches!(err.status(), Some(400 | 404)) => err,
            other => return other,
        };
        let named = self.snapshots_named(name_or_id).await?;
        if named.is_empty() {
            return Err(unknown);
        }
        super::image::one("snapshot", name_or_id, named, |it| &it.id, String::new)
    }

    /// The snapshots of a volume.
    pub async fn snapshots_of(&self, volume: &str) -> Result<Vec<Snapshot>, Error> {
        let call = Call::get(Service::Volume, "/snapshots/detail").query("volume_id", volume);
        self.session.list(call, "snapshots").await
    }

    /// Creates a volume, or takes the one of that name. It is not waited for.
    pub async fn create(&self, new: &NewVolume) -> Result<Volume, Error> {
        let mut volume = json!({ "name": new.name, "metadata": new.metadata });
        if new.gib > 0 {
            volume["size"] = new.gib.into();
        }
        for (key, value) in [
            ("imageRef", &new.image),
            ("snapshot_id", &new.snapshot),
            ("volume_type", &new.volume_type),
            ("availability_zone", &new.availability_zone),
        ] {
            if let Some(value) = value {
                volume[key] = value.as_str().into();
            }
        }
        let call = Call::post(Service::Volume, "/volumes", json!({ "volume": volume }));
        self.session
            .create(
                async || Ok(self.named(&new.name).await?.into_iter().next()),
                async || self.session.send(&call).await?.read("volume"),
            )
            .await
    }

    /// Takes a snapshot, or the one of that name. It is not waited for.
    pub async fn create_snapshot(
        &self,
        volume: &str,
        name: &str,
        metadata: &BTreeMap<String, String>,
        held: Held,
    ) -> Result<Snapshot, Error> {
        let body = json!({ "snapshot": {
            "volume_id": volume, "name": name, "metadata": metadata, "force": held == Held::Yes } });
        let call = Call::post(Service::Volume, "/snapshots", body);
        self.session
            .create(
                async || Ok(self.snapshots_named(name).await?.into_iter().next()),
                async || self.session.send(&call).await?.read("snapshot"),
            )
            .await
    }

    /// Makes an image of a volume that nobody holds and returns its ID; takes
    /// our image of that name, if there is one. It is not waited for.
    pub async fn create_image(
        &self,
        volume: &str,
        name: &str,
        disk_format: &str,
    ) -> Result<String, Error> {
        let body = json!({ "os-volume_upload_image": {
            "image_name": name, "disk_format": disk_format, "container_format": "bare" } });
        let call = volume_action(volume, body);
        let images = Images::new(self.session);
        self.session
            .create(
                async || Ok(images.find_by_name(name).await?.map(|it| it.id)),
                async || {
                    let answer = self.session.send(&call).await?;
                    let upload: BTreeMap<String, Value> = answer.read("os-volume_upload_image")?;
                    match upload.get("image_id").and_then(Value::as_str) {
                        Some(id) => Ok(id.to_owned()),
                        None => answer.read("image_id"),
                    }
                },
            )
            .await
    }

    /// Says whether a server can boot from it.
    pub async fn set_bootable(&self, volume: &str, bootable: bool) -> Result<(), Error> {
        let call = volume_action(volume, json!({ "os-set_bootable": { "bootable": bootable } }));
        self.session.send(&call.repeatable()).await.map(drop)
    }

    /// What servers made from it are told, such as `hw_firmware_type`.
    pub async fn set_image_metadata(
        &self,
        volume: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let call =
            volume_action(volume, json!({ "os-set_image_metadata": { "metadata": metadata } }));
        self.session.send(&call.repeatable()).await.map(drop)
    }

    /// Takes one of these away again; one that is not there is a success.
    pub async fn unset_image_metadata(&self, volume: &str, key: &str) -> Result<(), Error> {
        let call = volume_action(volume, json!({ "os-unset_image_metadata": { "key": key } }));
        match self.session.send(&call.repeatable()).await {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Changes what a volume is called.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), Error> {
        let body = json!({ "volume": { "name": name } });
        self.session
            .send(&Call::put(Service::Volume, path("volume", id), Some(body)))
            .await
            .map(drop)
    }

    /// Changes what a snapshot is called and knows of itself.
    pub async fn update_snapshot(
        &self,
        id: &str,
        name: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Snapshot, Error> {
        let path = path("snapshot", id);
        let call = Call::put(Service::Volume, &path, Some(json!({ "snapshot": { "name": name } })));
        self.session.send(&call).await?;
        let call = Call::put(
            Service::Volume,
            format!("{path}/metadata"),
            Some(json!({ "metadata": metadata })),
        );
        self.session.send(&call).await?;
        self.snapshot(id).await
    }

    /// Waits until nobody holds it and it can be used.
    pub async fn wait_available(&self, id: &str, deadline: Instant) -> Result<Volume, Error> {
        self.wait("volume", id, deadline, |it: &Volume| it.status.clone()).await
    }

    /// Waits until it can be used.
    pub async fn wait_snapshot(&self, id: &str, deadline: Instant) -> Result<Snapshot, Error> {
        self.wait("snapshot", id, deadline, |it: &Snapshot| it.status.clone()).await
    }

    /// Deletes volumes and waits until they are gone.
    pub async fn release(&self, which: Which<'_>, deadline: Instant) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => self.named(name).await?.into_iter().map(|it| it.id).collect(),
        };
        for id in ids {
            self.release_one("volume", &id, deadline, async || Ok(self.get(&id).await?.status))
                .await?;
        }
        Ok(())
    }

    /// Deletes snapshots and waits until they are gone.
    pub async fn release_snapshot(&self, which: Which<'_>, deadline: Instant) -> Result<(), Error> {
        let ids = match which {
            Which::Id(id) => vec![id.to_owned()],
            Which::Name(name) => {
                self.snapshots_named(name).await?.into_iter().map(|it| it.id).collect()
            }
        };
        for id in ids {
            self.release_one("snapshot", &id, deadline, async || {
                Ok(self.snapshot(&id).await?.status)
            })
            .await?;
        }
        Ok(())
    }

    async fn release_one(
        &self,
        kind: &str,
        id: &str,
        deadline: Instant,
        state: impl AsyncFn() -> Result<VolumeState, Error>,
    ) -> Result<(), Error> {
        let delete = async || {
            self.session.send(&Call::delete(Service::Volume, path(kind, id))).await.map(drop)
        };
        let look = async || {
            let state = state().await?;
            let text = state.to_string();
            Ok(match state {
                VolumeState::Available | VolumeState::Error(_) | VolumeState::Other(_) => {
                    (Standing::Deletable, text)
                }
                VolumeState::InUse
                | VolumeState::Busy(_)
                | VolumeState::Deleting
                | VolumeState::Deleted => (Standing::Wait, text),
            })
        };
        until_gone(self.session, &format!("{kind} `{id}`"), delete, look, deadline).await
    }

    async fn wait<T: DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
        deadline: Instant,
        state: impl Fn(&T) -> VolumeState,
    ) -> Result<T, Error> {
        let what = format!("{kind} `{id}`");
        let waited = wait(
            &what,
            async || self.show::<T>(kind, id).await,
            |seen| {
                let ended = |state: String, reason: &str| {
                    Decision::Fail(Error::Ended {
                        what: what.clone(),
                        state,
                        reason: reason.into(),
                    })
                };
                let Observation::Present(seen) = seen else {
                    return ended("gone".into(), "somebody deleted it");
                };
                match state(&seen) {
                    VolumeState::Available => Decision::Done(seen),
                    // Where it says no more, the image's format is the usual cause.
                    VolumeState::Error(state) => ended(state, "cinder gives no reason"),
                    state @ (VolumeState::Deleting | VolumeState::Deleted) => {
                        ended(state.to_string(), "")
                    }
                    state => Decision::Continue(state.to_string()),
                }
            },
            self.session.patience(),
            deadline,
            self.session.cancel(),
        )
        .await;
        match waited {
            Err(Error::Ended { what, state, reason }) if state.starts_with("error") => {
                let reason = self.told_of(id).await.unwrap_or(reason);
                Err(Error::Ended { what, state, reason })
            }
            other => other,
        }
    }

    /// What Cinder tells users of something that failed, with the ID of the request
    /// that it was; where it tells nothing, or is too old for that (before 3.5).
    async fn told_of(&self, id: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Message {
            #[serde(rename = "user_message")]
            text: String,
            #[serde(default)]
            request_id: String,
            #[serde(default)]
            created_at: String,
        }
        let call = Call::get(Service::Volume, "/messages").query("resource_uuid", id).version(
            Version(3, 5),
            Version(3, 5),
            "messages",
        );
        let messages = self.session.list::<Message>(call, "messages");
        let messages = tokio::time::timeout(TOLD_WITHIN, messages).await.ok()?.ok()?;
        let last = messages.into_iter().max_by(|a, b| a.created_at.cmp(&b.created_at))?;
        Some(match last.request_id.as_str() {
            "" => last.text,
            request => format!("{} ({request})", last.text),
        })
    }

    async fn show<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<T, Error> {
        self.session.send(&Call::get(Service::Volume, path(kind, id))).await?.read(kind)
    }

    async fn list<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<Vec<T>, Error> {
        let call = Call::get(Service::Volume, format!("/{kind}/detail"))
            .query("name", name)
            .query("limit", "200")
            // 3.31 and later would read the name as a pattern.
            .version(Version(3, 0), Version(3, 27), "lists");
        self.session.list(call, kind).await
    }
}

fn path(kind: &str, id: &str) -> String {
    format!("/{kind}s/{}", escape(id))
}

fn volume_action(id: &str, body: Value) -> Call {
    Call::post(Service::Volume, format!("{}/action", path("volume", id)), body)
}
