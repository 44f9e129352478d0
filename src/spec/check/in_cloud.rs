//! What is made in a cloud: an image in Glance, a volume and its snapshot in Cinder.
//!
//! Services say no to what they do not take only when the image is there, which
//! is an hour later.

use super::Checker;
use crate::{
    model::{GlanceTarget, VolumeTarget},
    spec::file::{GlanceTable, Visibility, VolumeTable},
};

/// The most characters of a name, a tag, and a key or value of a volume's metadata
/// (columns of 255 in the databases of Glance and Cinder).
const LONGEST: usize = 255;

/// What every image has by itself (Glance's schema `image`), with the key of
/// `[target.glance]` that says the same, where there is one.
const BASE: [(&str, Option<&str>); 24] = [
    ("name", Some("name")),
    ("visibility", Some("visibility")),
    ("tags", Some("tags")),
    ("protected", Some("protected")),
    ("min_disk", Some("min-disk")),
    ("min_ram", Some("min-memory")),
    ("id", None),
    ("status", None),
    ("owner", None),
    ("size", None),
    ("virtual_size", None),
    ("checksum", None),
    ("os_hash_algo", None),
    ("os_hash_value", None),
    ("os_hidden", None),
    ("disk_format", None),
    ("container_format", None),
    ("created_at", None),
    ("updated_at", None),
    ("direct_url", None),
    ("locations", None),
    ("file", None),
    ("self", None),
    ("schema", None),
];

/// What has servers start a kernel instead of what is on their disk.
const STARTS: [&str; 3] = ["kernel_id", "ramdisk_id", "os_command_line"];

impl Checker<'_> {
    pub(super) fn glance(&mut self, name: &str, table: &GlanceTable) -> GlanceTarget {
        const PROPERTIES: [&str; 3] = ["target", "glance", "properties"];
        let GlanceTable {
            name: own,
            visibility,
            tags,
            members,
            protected,
            min_disk,
            min_memory,
            properties,
            keep,
        } = table;
        if !members.is_empty() && *visibility != Some(Visibility::Shared) {
            self.contradiction(
                "only a shared image has members",
                (&["target", "glance", "members"], "members"),
                (&["target", "glance", "visibility"], "not shared"),
                "add `visibility = \"shared\"`, or leave `members` out",
            );
        }
        for key in properties.keys() {
            let path = [&PROPERTIES[..], &[key.as_str()]].concat();
            if let Some((_, own)) = BASE.iter().find(|(it, _)| it == key) {
                let help = own.map_or_else(
                    || "leave it out: Glance keeps it by itself".to_owned(),
                    |it| format!("use `{it}` in `[target.glance]`"),
                );
                let message = format!("`{key}` is no property: every image has it by itself");
                self.error("bad-value", message, &path, "Glance refuses it", help);
            } else if STARTS.contains(&key.as_str()) {
                self.error(
                    "bad-value",
                    format!(
                        "with `{key}` servers would start a kernel instead of what is on the image"
                    ),
                    &path,
                    "here",
                    "leave it out",
                );
            }
            self.is_short(key, &path, "the name of a property");
        }
        let own = own.clone().unwrap_or_else(|| name.to_owned());
        self.is_short(&own, &["target", "glance", "name"], "an image's name");
        for tag in tags {
            self.is_short(tag, &["target", "glance", "tags"], "a tag");
        }
        GlanceTarget {
            name: own,
            visibility: visibility.map(|it| it.as_str().to_owned()),
            tags: tags.clone(),
            members: members.clone(),
            protected: *protected,
            min_disk: *min_disk,
            min_memory: *min_memory,
            properties: properties.clone(),
            keep: *keep,
        }
    }

    pub(super) fn volume(
        &mut self,
        name: &str,
        table: &VolumeTable,
        glance: Option<&GlanceTable>,
    ) -> VolumeTarget {
        let VolumeTable { name: own, metadata } = table;
        let own = own.clone().unwrap_or_else(|| name.to_owned());
        self.is_short(&own, &["target", "volume", "name"], "a volume's name");
        for (key, value) in metadata {
            let path = ["target", "volume", "metadata", key.as_str()];
            self.is_short(key, &path, "a key of a volume's metadata");
            self.is_short(value, &path, "a value of a volume's metadata");
        }
        VolumeTarget {
            name: own,
            metadata: metadata.clone(),
            image: glance.map(|it| self.glance(name, it)),
        }
    }

    /// Told where a service would refuse the text for its length.
    fn is_short(&mut self, text: &str, path: &[&str], what: &str) {
        let length = text.chars().count();
        if length > LONGEST {
            self.error(
                "too-long",
                format!("{what} has {LONGEST} characters at most, and this has {length}"),
                path,
                "too long",
                "shorten it",
            );
        }
    }
}
