//! Packer's `openstack` builder: a flavor, networks, and an image in Glance.

use serde_json::Value as Json;

use super::{Builder, text_of};
use crate::import::{
    Context, ImportError, Imported,
    draft::{self, Draft},
};

/// A spec of an `openstack` builder.
pub(super) fn draft(
    builder: &Builder,
    before: &[Imported],
    cx: &Context<'_>,
) -> Result<Draft, ImportError> {
    let filter = builder
        .settings
        .get("source_image_filter")
        .and_then(|it| it.pointer("/filters/name").or_else(|| it.pointer("/0/filters/0/name")))
        .and_then(text_of);
    let source = builder.text("source_image_name").or(filter);
    let name = builder.text("image_name").ok_or_else(|| builder.missing(&["image_name"]))?;
    let words = [source.clone().unwrap_or_default(), name.clone()];
    let os = draft::system(&[&words[0], &words[1]], cx)
        .map_err(|it| it.about(if source.is_some() { "source_image" } else { "image_name" }))?;
    let mut draft = Draft::new(&name, os, draft::arch("")?, before)?;
    draft.built_in_template()?;
    draft.note(format!(
        "the builder starts from the image {}; the spec installs {} anew, with its own installer",
        source.map_or_else(|| "named by its ID".to_owned(), |it| format!("`{it}`")),
        draft.os.title
    ));
    draft.section("platform.openstack");
    if let Some(flavor) = builder.text("flavor") {
        draft.set("platform.openstack.flavor", draft::literal(&flavor));
    }
    for (key, counterpart) in [
        ("cloud", "cloud"),
        ("floating_ip_network", "floating-ip"),
        ("availability_zone", "availability-zone"),
        ("volume_type", "volume-type"),
    ] {
        if let Some(value) = builder.text(key) {
            draft.set(&format!("platform.openstack.{counterpart}"), draft::literal(&value));
        }
    }
    let networks = builder.list("networks");
    if let Some(network) = networks.first() {
        draft.set("platform.openstack.network", draft::literal(network));
        if networks.len() > 1 {
            draft.note("of several networks the first is used");
        }
    }
    let groups = builder.list("security_groups");
    if !groups.is_empty() {
        draft.set("platform.openstack.security-groups", groups);
    }
    if builder.flag("use_blockstorage_volume") {
        draft.set("platform.openstack.volume-backed", true);
    }
    if builder.flag("config_drive") {
        draft.set("platform.openstack.config-drive", true);
    }
    if let Some(size) = builder.text("volume_size").and_then(|it| draft::size(&it, "GiB")) {
        draft.set("install.disk", size);
    }
    draft.set("target.glance.name", draft::literal(&name));
    if let Some(visibility) = builder.text("image_visibility") {
        draft.set("target.glance.visibility", visibility);
    }
    for (key, counterpart) in [("image_tags", "tags"), ("image_members", "members")] {
        let list = builder.list(key);
        if !list.is_empty() {
            draft.set(&format!("target.glance.{counterpart}"), list);
        }
    }
    if let Some(Json::Object(metadata)) = builder.settings.get("metadata") {
        let properties: toml::Table = metadata
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), draft::literal(&text_of(value)?).into())))
            .collect();
        draft.set("target.glance.properties", properties);
    }
    Ok(draft)
}
