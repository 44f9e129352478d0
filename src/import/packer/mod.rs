//! Packer's templates: HCL and JSON become one kind of template, and each QEMU
//! or OpenStack builder in it a spec.

mod boot;
mod functions;
mod hcl;
mod json;
mod openstack;
mod qemu;

use serde_json::{Map, Value as Json};

use super::{Context, ImportError, Imported};

/// A template of either language, filled in.
#[derive(Debug, Default)]
struct Template {
    builders: Vec<Builder>,
    /// Provisioners and post-processors, by type.
    others: Vec<String>,
    /// Files beside it that have builders, where it has none.
    elsewhere: Vec<String>,
}

/// A builder of a template.
#[derive(Debug, Default)]
struct Builder {
    /// `qemu`
    kind: String,
    /// Its own name.
    label: String,
    /// Where it begins in the file, counted from 1.
    line: usize,
    settings: Map<String, Json>,
    /// Settings whose values cannot be worked out, and why.
    open: Vec<(String, String)>,
    /// Settings that are null, and the expressions that they come from.
    empty: Vec<(String, String)>,
}

/// Makes specs of a template in JSON.
pub(super) fn import_json(
    name: &str,
    text: &str,
    cx: &Context<'_>,
) -> Result<Vec<Imported>, ImportError> {
    specs(name, text, &json::read(name, text, cx)?, cx)
}

/// Makes specs of a template in HCL.
pub(super) fn import_hcl(
    name: &str,
    text: &str,
    cx: &Context<'_>,
) -> Result<Vec<Imported>, ImportError> {
    specs(name, text, &hcl::read(name, text, cx)?, cx)
}

fn specs(
    name: &str,
    text: &str,
    template: &Template,
    cx: &Context<'_>,
) -> Result<Vec<Imported>, ImportError> {
    let known = |it: &&Builder| matches!(it.kind.as_str(), "qemu" | "openstack");
    let wanted: Vec<_> = template.builders.iter().filter(known).collect();
    let mut kinds: Vec<&str> = Vec::new();
    for builder in template.builders.iter().filter(|it| !known(it)) {
        if !kinds.contains(&builder.kind.as_str()) {
            kinds.push(&builder.kind);
        }
    }
    if wanted.is_empty() {
        return Err(nothing_to_carry_over(name, template, &kinds));
    }
    let mut specs: Vec<Imported> = Vec::new();
    let mut failed = None;
    let mut left_out = Vec::new();
    for builder in &wanted {
        match spec(builder, template, &kinds, &specs, cx) {
            Ok(imported) => specs.push(imported),
            Err(error) => {
                let error = error.placed(name, text, builder.line);
                left_out.push(format!("the builder `{}` is left out: {error}", builder.label));
                failed.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (specs.is_empty(), failed) {
        return Err(error);
    }
    if let Some(first) = specs.first_mut() {
        first.notes.extend(left_out);
    }
    Ok(specs)
}

/// Why a template gives no spec at all.
fn nothing_to_carry_over(name: &str, template: &Template, kinds: &[&str]) -> ImportError {
    if !template.elsewhere.is_empty() {
        return ImportError::no_counterpart(
            format!("`{name}` has no builders: they are in `{}`", template.elsewhere.join("`, `")),
            "import that file; variables and locals of the others in its folder count for it",
        );
    }
    let first = template.builders.first().map_or(0, |it| it.line);
    let what = if kinds.is_empty() {
        format!("`{name}` has no builder that can be carried over, but no builders")
    } else {
        format!("`{name}` has no builder that can be carried over, but {}", kinds.join(", "))
    };
    let error = ImportError::no_counterpart(
        what,
        "imgbuild builds as the `qemu` and `openstack` builders do",
    );
    error.placed(name, "", first)
}

/// A setting as text; numbers and booleans as they are written.
fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()).filter(|it| !it.is_empty()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Builder {
    fn text(&self, key: &str) -> Option<String> {
        self.settings.get(key).and_then(text_of)
    }

    fn flag(&self, key: &str) -> bool {
        self.text(key).as_deref() == Some("true")
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.settings.get(key) {
            Some(Json::Array(items)) => items.iter().filter_map(text_of).collect(),
            Some(other) => text_of(other).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Why a setting that is needed has no value; any of these keys would do.
    fn missing(&self, keys: &[&str]) -> ImportError {
        let given = "give the variable with -v NAME=VALUE or --var-file FILE";
        let is_one = |it: &&(String, String)| keys.contains(&it.0.as_str());
        if let Some((key, why)) = self.open.iter().find(is_one) {
            let what =
                format!("`{key}` of the builder `{}` cannot be worked out: {why}", self.label);
            return ImportError::no_counterpart(what, given).about(key);
        }
        if let Some((key, from)) = self.empty.iter().find(is_one) {
            let from = from.replace('`', "'");
            let what = format!("`{key}` of the builder `{}` is empty: it is `{from}`", self.label);
            return ImportError::no_counterpart(what, given).about(key);
        }
        let key = keys.first().copied().unwrap_or_default();
        ImportError::no_counterpart(
            format!("the builder `{}` has no `{key}`", self.label),
            "add it to the template",
        )
        .about(key)
    }
}

/// Settings that have a counterpart or need none.
const CARRIED: &[&str] = &[
    "accelerator",
    "boot_command",
    "boot_steps",
    "boot_wait",
    "boot_key_interval",
    "boot_keygroup_interval",
    "cpu_model",
    "cpus",
    "disk_compression",
    "disk_size",
    "efi_boot",
    "efi_firmware_code",
    "efi_firmware_vars",
    "efi_drop_efivars",
    "firmware",
    "format",
    "headless",
    "http_content",
    "http_directory",
    "iso_checksum",
    "iso_checksum_type",
    "iso_checksum_url",
    "iso_url",
    "iso_urls",
    "iso_target_path",
    "iso_target_extension",
    "machine_type",
    "memory",
    "name",
    "output_directory",
    "qemu_binary",
    "qemuargs",
    "shutdown_command",
    "shutdown_timeout",
    "type",
    "vm_name",
    "communicator",
    "disk_interface",
    "net_device",
    "use_pflash",
    "vnc_bind_address",
    "vnc_port_min",
    "vnc_port_max",
    "disk_cache",
    "disk_discard",
    "disk_detect_zeroes",
    "skip_compaction",
    "http_port_min",
    "http_port_max",
    "display",
    "image_name",
    "flavor",
    "networks",
    "security_groups",
    "source_image",
    "source_image_name",
    "source_image_filter",
    "image_visibility",
    "metadata",
    "image_tags",
    "image_members",
    "use_blockstorage_volume",
    "volume_type",
    "volume_size",
    "floating_ip_network",
    "availability_zone",
    "config_drive",
    "cloud",
    "domain_name",
    "identity_endpoint",
    "username",
    "password",
    "tenant_name",
    "tenant_id",
    "region",
    "insecure",
    "token",
    "user_id",
    "domain_id",
];

fn spec(
    builder: &Builder,
    template: &Template,
    others: &[&str],
    before: &[Imported],
    cx: &Context<'_>,
) -> Result<Imported, ImportError> {
    let mut draft = if builder.kind == "qemu" {
        qemu::draft(builder, before, cx)?
    } else {
        openstack::draft(builder, before, cx)?
    };
    let rest: Vec<_> = builder
        .settings
        .keys()
        .map(String::as_str)
        .chain(builder.open.iter().map(|it| it.0.as_str()))
        .filter(|it| !CARRIED.contains(it) && !it.starts_with("ssh_") && !it.starts_with("winrm_"))
        .collect();
    if !rest.is_empty() {
        draft.note(format!("not carried over: {}", rest.join(", ")));
    }
    for (key, why) in builder.open.iter().filter(|it| CARRIED.contains(&it.0.as_str())) {
        draft.note(format!("`{key}` cannot be worked out and is left out: {why}"));
    }
    if !others.is_empty() {
        draft.note(format!("builders not carried over: {}", others.join(", ")));
    }
    if builder.settings.keys().any(|it| it.starts_with("ssh_") || it.starts_with("winrm_")) {
        draft.note("nothing logs in: the installer does it all, and switches the machine off");
    }
    for other in &template.others {
        draft.note(format!(
            "{other} is left out: do it at the end of the answer file, or as a `[[stages]]` of \
             the spec"
        ));
    }
    draft.finish("a Packer template")
}
