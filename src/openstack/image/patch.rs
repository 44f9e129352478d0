//! Changes to an image, and the JSON patch that makes them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Image;

/// Changes to an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageChange {
    /// Attributes and properties that get this value: `name`, `visibility`,
    /// `protected`, `os_hidden`, `min_disk`, `tags`, `hw_firmware_type` …
    pub set: BTreeMap<String, Value>,
    /// Properties that are removed, if they are there.
    pub remove: Vec<String>,
}

/// What makes the image as it should be. `add` replaces what is there.
pub(super) fn patch(image: &Image, change: &ImageChange) -> Vec<Value> {
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
}
