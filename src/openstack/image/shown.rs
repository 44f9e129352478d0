//! An image as Glance shows it.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

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

/// Glance and Nova write `null` where nothing was given.
pub(in crate::openstack) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(more: Value) -> Image {
        let mut it = json!({"id": "i", "name": "n", "status": "active", "visibility": "private", "tags": ["a"]});
        if let (Some(it), Value::Object(more)) = (it.as_object_mut(), more) {
            it.extend(more);
        }
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn the_snapshots_behind_an_image_are_known() {
        let mapping =
            r#"[{"snapshot_id": "s1", "source_type": "snapshot"}, {"snapshot_id": null}]"#;
        assert_eq!(image(json!({"block_device_mapping": mapping, "size": 0})).snapshots(), ["s1"]);
        assert!(image(json!({})).snapshots().is_empty());
    }
}
