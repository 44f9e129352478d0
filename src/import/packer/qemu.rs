//! Packer's `qemu` builder: an ISO, a machine, a boot command that names an answer
//! file, and a disk image in the end.

use serde_json::Value as Json;

use super::{Builder, boot, text_of};
use crate::{
    answer,
    import::{
        Context, ImportError, Imported,
        draft::{self, Draft},
    },
};

/// A spec of a `qemu` builder.
pub(super) fn draft(
    builder: &Builder,
    before: &[Imported],
    cx: &Context<'_>,
) -> Result<Draft, ImportError> {
    if builder.flag("disk_image") {
        return Err(ImportError::no_counterpart(
            format!("the builder `{}` starts from a disk image (`disk_image`)", builder.label),
            "imgbuild installs with the system's own installer; `imgbuild init` writes such a spec",
        )
        .about("disk_image"));
    }
    let iso = builder
        .text("iso_url")
        .or_else(|| builder.list("iso_urls").into_iter().find(|it| it.contains("://")))
        .or_else(|| builder.list("iso_urls").into_iter().next())
        .ok_or_else(|| builder.missing(&["iso_url", "iso_urls"]))?;
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
    let os = draft::system_for(&words, dialect, cx).map_err(|it| it.about("iso_url"))?;
    let arch = arch(builder, &iso).map_err(|it| it.about("iso_url"))?;
    let mut draft = Draft::new(&name, os, arch, before)?;
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
            return draft::arch(arch).map_err(|it| it.about("qemu_binary"));
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
        .and_then(|it| {
            let of_cloud = key(&format!("{}/user-data", path.trim_end_matches('/')));
            let wanted = |name: &str| [key(path), of_cloud.clone()].contains(&key(name));
            it.iter().find(|(name, _)| wanted(name))
        })
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
        let open = |key: &str| builder.open.iter().find(|it| it.0 == key);
        let (key, where_from) = if let Some((key, why)) = open("http_content") {
            (key.as_str(), format!("`http_content`, which cannot be worked out: {why}"))
        } else if let Some((key, why)) = open("http_directory") {
            (key.as_str(), format!("a folder whose name cannot be worked out: {why}"))
        } else if content.is_some() {
            ("http_content", format!("`{path}`, which `http_content` does not have"))
        } else {
            let key = if folder.is_empty() { "boot_command" } else { "http_directory" };
            let place = place(&file);
            (key, format!("`{place}`, which is not below the template's folder or this one"))
        };
        return Err(ImportError::no_counterpart(
            format!("the answer file of the builder `{}` is in {where_from}", builder.label),
            "put it there, or give the variables with -v NAME=VALUE",
        )
        .about(key));
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
            .about("disk_size")
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
