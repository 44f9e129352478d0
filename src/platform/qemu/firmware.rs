//! UEFI firmware for QEMU, wherever a distribution keeps it.

use std::{collections::BTreeMap, sync::LazyLock};

use camino::Utf8PathBuf;
use miette::Diagnostic;
use serde::Deserialize;

use crate::model::Arch;

/// Where QEMU's firmware descriptors are: docs/interop/firmware.json in QEMU's
/// source. Later folders win there; the first that fits is enough here.
const DESCRIPTORS: [&str; 2] = ["/etc/qemu/firmware", "/usr/share/qemu/firmware"];

/// Firmware as two flash images.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Firmware {
    /// Its code, shared and never written.
    pub code: Utf8PathBuf,
    /// The template of its variables; each machine gets a copy.
    pub variables: Utf8PathBuf,
}

/// There is no UEFI firmware.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("there is no UEFI firmware for {arch}")]
#[diagnostic(help("install {packages}, or use `firmware = \"bios\"`"))]
pub struct NoFirmware {
    /// For this architecture.
    pub arch: Arch,
    /// The packages that have it.
    pub packages: &'static str,
}

static TABLE: LazyLock<BTreeMap<String, Vec<Firmware>>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../data/firmware.toml")).unwrap_or_default()
});

/// Finds UEFI firmware without Secure Boot: boot disks are not signed.
pub fn find(arch: Arch) -> Result<Firmware, NoFirmware> {
    let listed = TABLE.get(arch.as_str()).into_iter().flatten().cloned();
    described(arch)
        .into_iter()
        .chain(listed)
        .find(|it| it.code.is_file() && it.variables.is_file())
        .ok_or(NoFirmware {
            arch,
            packages: match arch {
                Arch::X86_64 => "ovmf (Debian, Ubuntu), edk2-ovmf (Fedora), qemu-ovmf-x86_64 (SUSE)",
                Arch::Aarch64 => {
                    "qemu-efi-aarch64 (Debian, Ubuntu), edk2-aarch64 (Fedora), qemu-uefi-aarch64 (SUSE)"
                }
            },
        })
}

/// What the host's firmware descriptors name, in their order.
fn described(arch: Arch) -> Vec<Firmware> {
    let mut files: Vec<_> = DESCRIPTORS
        .iter()
        .filter_map(|it| fs_err::read_dir(it).ok())
        .flatten()
        .filter_map(|it| Some(it.ok()?.path()))
        .filter(|it| it.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    files
        .iter()
        .filter_map(|it| serde_json::from_slice(&fs_err::read(it).ok()?).ok())
        .filter_map(|it: serde_json::Value| firmware_of(&it, arch))
        .collect()
}

/// The firmware that a descriptor names, if it is UEFI in flash for this
/// architecture, without Secure Boot.
fn firmware_of(descriptor: &serde_json::Value, arch: Arch) -> Option<Firmware> {
    let strings = |pointer: &str| -> Vec<&str> {
        let list = descriptor.pointer(pointer).and_then(|it| it.as_array());
        list.into_iter().flatten().filter_map(|it| it.as_str()).collect()
    };
    let for_arch = descriptor.get("targets")?.as_array()?.iter().any(|it| {
        it.get("architecture").and_then(|it| it.as_str()) == Some(arch.as_str())
            && it.get("machines").and_then(|it| it.as_array()).is_some_and(|machines| {
                machines.iter().filter_map(|it| it.as_str()).any(|it| {
                    it.starts_with("pc-q35")
                        || it.starts_with("pc-i440fx")
                        || it.starts_with("virt")
                })
            })
    });
    // Firmware that can also encrypt memory (`amd-sev`) serves as well as any.
    let unwanted = ["secure-boot", "enrolled-keys", "requires-smm"];
    let path = |pointer: &str| {
        descriptor.pointer(pointer).and_then(|it| it.as_str()).map(Utf8PathBuf::from)
    };
    let raw = descriptor.pointer("/mapping/executable/format").and_then(|it| it.as_str());
    if !for_arch
        || !strings("/interface-types").contains(&"uefi")
        || strings("/features").iter().any(|it| unwanted.contains(it))
        || raw != Some("raw")
    {
        return None;
    }
    Some(Firmware {
        code: path("/mapping/executable/filename")?,
        variables: path("/mapping/nvram-template/filename")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_read() {
        assert!(TABLE["x86_64"].len() > 3 && TABLE["aarch64"].len() > 2);
    }

    #[test]
    fn a_descriptor_is_used_when_it_fits() {
        let descriptor = |features: &[&str], format: &str| {
            serde_json::json!({
                "interface-types": ["uefi"], "features": features,
                "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
                "mapping": {
                    "device": "flash",
                    "executable": {"filename": "/code", "format": format},
                    "nvram-template": {"filename": "/vars", "format": format},
                },
            })
        };
        let found = firmware_of(&descriptor(&["acpi-s3"], "raw"), Arch::X86_64);
        assert_eq!(found, Some(Firmware { code: "/code".into(), variables: "/vars".into() }));
        // As Debian and Fedora have it.
        let usual = ["acpi-s3", "amd-sev", "verbose-dynamic"];
        assert!(firmware_of(&descriptor(&usual, "raw"), Arch::X86_64).is_some());
        assert_eq!(firmware_of(&descriptor(&["secure-boot"], "raw"), Arch::X86_64), None);
        assert_eq!(firmware_of(&descriptor(&[], "qcow2"), Arch::X86_64), None);
        assert_eq!(firmware_of(&descriptor(&[], "raw"), Arch::Aarch64), None);
    }
}
