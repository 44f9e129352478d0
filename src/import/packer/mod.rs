//! Packer's templates: HCL and JSON become one kind of template, and each QEMU
//! or OpenStack builder in it a spec.

mod boot;
mod hcl;
mod json;

use serde_json::{Map, Value as Json};

use super::{
    Context, ImportError, Imported,
    draft::{self, Draft},
};
use crate::answer;

/// A template of either language, filled in.
#[derive(Debug, Default)]
struct Template {
    builders: Vec<Builder>,
    /// Provisioners and post-processors, by type.
    others: Vec<String>,
}

/// A builder of a template.
#[derive(Debug, Default)]
struct Builder {
    /// `qemu`
    kind: String,
    /// Its own name.
    label: String,
    settings: Map<String, Json>,
    /// Settings whose values cannot be worked out, and why.
    open: Vec<(String, String)>,
}

/// Makes specs of a template in JSON.
pub(super) fn import_json(
    name: &str,
    text: &str,
    cx: &Context<'_>,
) -> Result<Vec<Imported>, ImportError> {
    specs(name, &json::read(name, text, cx)?, cx)
}

/// Makes specs of a template in HCL.
pub(super) fn import_hcl(
    name: &str,
    text: &str,
    cx: &Context<'_>,
) -> Result<Vec<Imported>, ImportError> {
    specs(name, &hcl::read(name, text, cx)?, cx)
}

fn specs(name: &str, template: &Template, cx: &Context<'_>) -> Result<Vec<Imported>, ImportError> {
    let known = |it: &&Builder| matches!(it.kind.as_str(), "qemu" | "openstack");
    let wanted: Vec<_> = template.builders.iter().filter(known).collect();
    let kinds: Vec<_> =
        template.builders.iter().filter(|it| !known(it)).map(|it| it.kind.as_str()).collect();
    if wanted.is_empty() {
        let kinds = if kinds.is_empty() { "no builders".to_owned() } else { kinds.join(", ") };
        return Err(ImportError::no_counterpart(
            format!("`{name}` has no builder that can be carried over, but {kinds}"),
            "imgbuild builds as the `qemu` and `openstack` builders do",
        ));
    }
    let mut specs: Vec<Imported> = Vec::new();
    let mut failed = None;
    let mut left_out = Vec::new();
    for builder in &wanted {
        match spec(builder, template, &kinds, cx) {
            Ok(imported) => specs.push(imported),
            Err(error) => {
                left_out.push(format!("the builder `{}` is left out: {error}", builder.label));
                failed.get_or_insert(error);
            }
        }
    }
    if let (true, Some(error)) = (specs.is_empty(), failed) {
        return Err(error);
    }
    for (i, imported) in specs.iter_mut().enumerate() {
        if i == 0 {
            imported.notes.extend(left_out.clone());
        }
    }
    // Two builders may call their images the same.
    for i in 1..specs.len() {
        let (before, this) = specs.split_at_mut(i);
        if let Some(this) = this.first_mut()
            && before.iter().any(|it| it.name == this.name)
        {
            this.name = format!("{}-{}", this.name, i + 1);
        }
    }
    Ok(specs)
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

    /// Why a setting that is needed has no value.
    fn missing(&self, key: &str) -> ImportError {
        match self.open.iter().find(|it| it.0 == key) {
            Some((_, why)) => ImportError::no_counterpart(
                format!("`{key}` of the builder `{}` cannot be worked out: {why}", self.label),
                "give the variable with -v NAME=VALUE or --var-file FILE",
            ),
            None => ImportError::no_counterpart(
                format!("the builder `{}` has no `{key}`", self.label),
                "add it to the template",
            ),
        }
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
    cx: &Context<'_>,
) -> Result<Imported, ImportError> {
    let mut draft =
        if builder.kind == "qemu" { qemu(builder, cx)? } else { openstack(builder, cx)? };
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

fn qemu(builder: &Builder, cx: &Context<'_>) -> Result<Draft, ImportError> {
    if builder.flag("disk_image") {
        return Err(ImportError::no_counterpart(
            format!("the builder `{}` starts from a disk image (`disk_image`)", builder.label),
            "imgbuild installs with the system's own installer; `imgbuild init` writes such a spec",
        ));
    }
    let iso = builder
        .text("iso_url")
        .or_else(|| builder.list("iso_urls").into_iter().find(|it| it.contains("://")))
        .or_else(|| builder.list("iso_urls").into_iter().next())
        .ok_or_else(|| builder.missing("iso_url"))?;
    let file = iso.split(['?', '#']).next().unwrap_or(&iso).rsplit('/').next().unwrap_or(&iso);
    let name = builder.text("vm_name").map(|it| {
        let is_file = [".qcow2", ".img", ".raw"].iter().find_map(|end| it.strip_suffix(end));
        is_file.map_or_else(|| it.clone(), str::to_owned)
    });
    let name = name.or_else(|| Some(builder.label.clone())).unwrap_or_default();
    let command = boot::Command::read(&builder.list("boot_command").concat());
    let steps: String = match builder.settings.get("boot_steps") {
        Some(Json::Array(steps)) => {
            steps.iter().filter_map(|it| text_of(it.get(0)?)).collect::<Vec<_>>().concat()
        }
        _ => String::new(),
    };
    let command = if command.words.is_empty() { boot::Command::read(&steps) } else { command };
    let served = served(builder, &command, cx)?;
    let dialect = served.as_ref().and_then(|it| answer::dialect(&it.1));
    let words = [file, &name, &iso, command.answer.as_deref().unwrap_or_default()];
    let os = draft::system_for(&words, dialect, cx)?;
    let mut draft = Draft::new(&name, os, arch(builder, &iso)?)?;
    draft.set("source.iso.location", iso.strip_prefix("file://").unwrap_or(&iso));
    checksum(builder, file, &mut draft);
    if let Some((path, text)) = served {
        draft.answer_file(&path, &text, cx);
    } else {
        draft.note("the boot command names no answer file: imgbuild's own is used");
        draft.built_in_template()?;
    }
    machine(builder, &mut draft)?;
    if !command.parameters.is_empty() {
        let parameters: Vec<_> = command.parameters.iter().map(|it| draft::literal(it)).collect();
        draft.set("install.parameters", parameters);
    }
    target(builder, &mut draft);
    Ok(draft)
}

/// The architecture, by the QEMU program or the ISO's name.
fn arch(builder: &Builder, iso: &str) -> Result<crate::model::Arch, ImportError> {
    if let Some(program) = builder.text("qemu_binary") {
        let program = program.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(arch) = program.strip_prefix("qemu-system-") {
            return draft::arch(arch);
        }
    }
    for word in iso.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if matches!(
            word,
            "aarch64" | "arm64" | "i386" | "i686" | "ppc64le" | "s390x" | "ppc64el" | "riscv64"
        ) {
            return draft::arch(word);
        }
    }
    draft::arch("")
}

fn checksum(builder: &Builder, file: &str, draft: &mut Draft) {
    let stated = builder.text("iso_checksum").or_else(|| builder.text("iso_checksum_url"));
    let Some(stated) = stated else { return };
    let kind = builder.text("iso_checksum_type");
    if let Some(place) = stated.strip_prefix("file:") {
        draft.set(
            "source.iso.checksum-file",
            place.strip_prefix("//").filter(|it| it.starts_with('/')).unwrap_or(place),
        );
        return;
    }
    if stated.contains("://") {
        draft.set("source.iso.checksum-file", stated);
        return;
    }
    let (kind, digest) = if let Some((kind, digest)) = stated.split_once(':') {
        (kind.to_ascii_lowercase(), digest.to_owned())
    } else {
        let by_length = match stated.len() {
            32 => "md5",
            40 => "sha1",
            64 => "sha256",
            128 => "sha512",
            _ => "none",
        };
        (kind.unwrap_or_else(|| by_length.to_owned()).to_ascii_lowercase(), stated.clone())
    };
    if matches!(kind.as_str(), "md5" | "sha256" | "sha512") {
        // Names have dots, so this is no dotted path.
        let mut digests = toml::Table::new();
        digests.insert(file.to_owned(), format!("{kind}:{}", digest.to_ascii_lowercase()).into());
        draft.set("source.iso.checksums", digests);
    } else if kind == "none" || stated == "none" {
        draft.note("the ISO is not checked against a digest: the template has `none`");
    } else {
        draft.note(format!("the ISO is not checked against a digest: {kind} proves nothing"));
    }
}

/// The answer file that the boot command points the installer at: its path, and
/// its text.
fn served(
    builder: &Builder,
    command: &boot::Command,
    cx: &Context<'_>,
) -> Result<Option<(String, String)>, ImportError> {
    let Some(path) = &command.answer else { return Ok(None) };
    let content = builder.settings.get("http_content").and_then(Json::as_object);
    let key = |it: &str| it.trim_start_matches('/').to_owned();
    let inline = content
        .and_then(|it| it.iter().find(|(name, _)| key(name) == key(path)))
        .and_then(|it| text_of(it.1));
    let folder = builder.text("http_directory").unwrap_or_default();
    let folder = folder.trim_start_matches("./").trim_end_matches('/');
    let place = |file: &str| {
        let file = file.trim_start_matches('/');
        if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
    };
    // A folder is for cloud-init, which reads `user-data` in it.
    let file = if path.ends_with('/') || path.is_empty() {
        format!("{path}user-data")
    } else {
        path.clone()
    };
    let found = inline.map(|it| (file.clone(), it)).or_else(|| {
        [file.clone(), format!("{path}/user-data")]
            .into_iter()
            .find_map(|it| Some((it.clone(), cx.files.read(&place(&it))?)))
    });
    if found.is_none() {
        let where_from = if builder.open.iter().any(|it| it.0 == "http_content") {
            "`http_content`, which Packer makes when it runs".to_owned()
        } else if builder.open.iter().any(|it| it.0 == "http_directory") {
            "a folder whose name cannot be worked out".to_owned()
        } else {
            format!("`{}`, which is not there", place(&file))
        };
        return Err(ImportError::no_counterpart(
            format!("the answer file of the builder `{}` is in {where_from}", builder.label),
            "put it beside the template, or give its folder's variable with -v",
        ));
    }
    Ok(found)
}

fn machine(builder: &Builder, draft: &mut Draft) -> Result<(), ImportError> {
    let argument = |name: &str| -> Option<String> {
        let Some(Json::Array(all)) = builder.settings.get("qemuargs") else { return None };
        all.iter().find_map(|it| {
            let key = text_of(it.get(0)?)?;
            (key.trim_start_matches('-') == name).then(|| text_of(it.get(1)?)).flatten()
        })
    };
    let memory = argument("m").or_else(|| builder.text("memory"));
    if let Some(size) = memory.and_then(|it| draft::size(&it, "MiB")) {
        // A template may give less than today's installers need; those know better.
        draft.set("install.memory", at_least(&size, draft.os.machine.memory));
    }
    let disk = builder.text("disk_size").unwrap_or_else(|| "40960".to_owned());
    let disk = draft::size(&disk, "MiB").ok_or_else(|| {
        ImportError::no_counterpart(format!("`disk_size` is `{disk}`, which is no size"), "mend it")
    })?;
    draft.set("install.disk", at_least(&disk, draft.os.machine.disk_minimum));
    let cpus = argument("smp").or_else(|| builder.text("cpus"));
    let cpus = cpus.and_then(|it| {
        let first = it.split(',').next().unwrap_or_default().to_owned();
        first.trim_start_matches("cpus=").parse::<u32>().ok()
    });
    if let Some(cpus) = cpus.filter(|it| (1..=256).contains(it)) {
        draft.set("install.cpus", i64::from(cpus));
    }
    let is_uefi = builder.flag("efi_boot")
        || ["efi_firmware_code", "firmware"].iter().any(|it| builder.text(it).is_some());
    let is_arm = builder.text("qemu_binary").is_some_and(|it| it.ends_with("aarch64"));
    if is_uefi && !is_arm {
        draft.set("install.firmware", "uefi");
    }
    match builder.text("accelerator").as_deref() {
        None | Some("kvm") => {}
        Some("none" | "tcg") => draft.set("platform.qemu.accelerator", "tcg"),
        Some(other) => draft.note(format!("the accelerator `{other}` is left to imgbuild")),
    }
    if let Some(cpu) = builder.text("cpu_model").filter(|it| it != "host") {
        draft.set("platform.qemu.cpu", draft::literal(&cpu));
    }
    if let Some(Json::Array(all)) = builder.settings.get("qemuargs") {
        let left: Vec<_> = all
            .iter()
            .filter_map(|it| text_of(it.get(0)?))
            .filter(|it| !matches!(it.trim_start_matches('-'), "m" | "smp" | "cpu"))
            .collect();
        if !left.is_empty() {
            draft.note(format!("QEMU arguments not carried over: {}", left.join(" ")));
        }
    }
    Ok(())
}

/// The larger of the two.
fn at_least(stated: &str, needed: crate::units::Size) -> String {
    match stated.parse::<crate::units::Size>() {
        Ok(size) if size < needed => needed.to_string(),
        _ => stated.to_owned(),
    }
}

fn target(builder: &Builder, draft: &mut Draft) {
    let format = builder.text("format").unwrap_or_else(|| "qcow2".to_owned());
    let stem = draft.name.clone();
    let folder = builder.text("output_directory");
    let folder = folder.filter(|it| !it.starts_with('/') && !it.contains("{{"));
    let folder = folder.map(|it| format!("{}/", it.trim_start_matches("./").trim_end_matches('/')));
    let end = if format == "raw" { "raw" } else { "qcow2" };
    draft.set("target.file.path", format!("{}{stem}.{end}", folder.unwrap_or_default()));
    if builder.flag("disk_compression") && format != "raw" {
        draft.set("target.file.compression", "zlib");
    }
}

fn openstack(builder: &Builder, cx: &Context<'_>) -> Result<Draft, ImportError> {
    let filter = builder
        .settings
        .get("source_image_filter")
        .and_then(|it| it.pointer("/filters/name").or_else(|| it.pointer("/0/filters/0/name")))
        .and_then(text_of);
    let source = builder.text("source_image_name").or(filter);
    let name = builder.text("image_name").ok_or_else(|| builder.missing("image_name"))?;
    let words = [source.clone().unwrap_or_default(), name.clone()];
    let os = draft::system(&[&words[0], &words[1]], cx)?;
    let mut draft = Draft::new(&name, os, draft::arch("")?)?;
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
