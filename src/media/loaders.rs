//! Boot loaders that this machine has.
//!
//! Where distributions install them, and what to install where one is missing,
//! is data: `data/loaders.toml`.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::MediaError;
use crate::model::{Arch, Firmware};

const TABLE: &str = include_str!("../../data/loaders.toml");

/// What stands for imgbuild's cache folder in the table.
const CACHE: &str = "{cache}";

/// Boot loaders for guests of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaders {
    /// The guests' architecture.
    pub arch: Arch,
    /// For a PC BIOS.
    pub bios: Option<Syslinux>,
    /// For UEFI.
    pub uefi: Option<EfiLoader>,
    /// What to install for a BIOS, a line for each distribution.
    pub bios_remedy: String,
    /// What to install for UEFI.
    pub uefi_remedy: String,
}

/// syslinux, which starts Linux from FAT on a PC BIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslinux {
    /// The program that installs it in a volume.
    pub installer: PathBuf,
    /// Boot code for the first sector.
    pub boot_code: PathBuf,
}

/// An EFI program that starts Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EfiLoader {
    /// The program.
    pub path: PathBuf,
    /// Its name where firmware looks for it on a disk, below `EFI/BOOT`.
    pub file: String,
    /// How it is told what to start.
    pub kind: EfiLoaderKind,
}

/// How an EFI loader is told what to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EfiLoaderKind {
    /// By `loader/entries/*.conf`.
    SystemdBoot,
    /// By a script at this path on the volume.
    Grub(String),
}

impl Loaders {
    /// Looks for loaders on this machine. `cache` is imgbuild's cache folder, in
    /// whose `loaders` folder users may put what no package offers.
    pub fn find(arch: Arch, cache: &Path) -> Self {
        Self::find_below(Path::new("/"), arch, cache)
    }

    /// Looks for loaders in the system whose root folder is `root`.
    pub fn find_below(root: &Path, arch: Arch, cache: &Path) -> Self {
        let table = Table::read();
        let at = |path: &str| match path.strip_prefix(CACHE) {
            Some(rest) => cache.join(rest.trim_start_matches('/')),
            None => root.join(path.trim_start_matches('/')),
        };
        let first = |paths: &[String]| paths.iter().map(|it| at(it)).find(|it| it.is_file());
        let bios = match arch {
            Arch::X86_64 if table.bios.needs.iter().all(|it| is_on_path(root, it)) => {
                first(&table.bios.installer)
                    .zip(first(&table.bios.boot_code))
                    .map(|(installer, boot_code)| Syslinux { installer, boot_code })
            }
            _ => None,
        };
        let for_arch = table.uefi.iter().find(|it| it.arch == arch);
        let uefi = for_arch.and_then(|it| {
            it.loaders.iter().find_map(|loader| {
                let kind = match &loader.kind {
                    KindName::SystemdBoot => EfiLoaderKind::SystemdBoot,
                    KindName::Grub => EfiLoaderKind::Grub(loader.config.clone()?),
                };
                Some(EfiLoader { path: first(&loader.paths)?, file: it.file.clone(), kind })
            })
        });
        let remedy = |packages: Option<&BTreeMap<String, String>>| {
            let lines = packages.into_iter().flatten().map(|(name, it)| format!("{name}: {it}"));
            let lines: Vec<_> = lines.collect();
            lines.join("\n").replace(CACHE, &cache.display().to_string())
        };
        Self {
            arch,
            bios,
            uefi,
            bios_remedy: remedy(Some(&table.bios.packages)),
            uefi_remedy: remedy(for_arch.map(|it| &it.packages)),
        }
    }

    /// The error that says what to install for this firmware.
    pub fn missing(&self, firmware: Firmware) -> MediaError {
        let remedy = match firmware {
            Firmware::Bios => &self.bios_remedy,
            Firmware::Uefi => &self.uefi_remedy,
        };
        MediaError::NoLoader { arch: self.arch, firmware, remedy: remedy.clone() }
    }
}

/// The data file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    bios: BiosTable,
    uefi: Vec<UefiTable>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BiosTable {
    packages: BTreeMap<String, String>,
    installer: Vec<String>,
    needs: Vec<String>,
    boot_code: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct UefiTable {
    arch: Arch,
    file: String,
    packages: BTreeMap<String, String>,
    loaders: Vec<LoaderTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LoaderTable {
    kind: KindName,
    config: Option<String>,
    paths: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    SystemdBoot,
    Grub,
}

impl Table {
    /// It is embedded, and a test reads it: it cannot fail.
    fn read() -> Self {
        toml::from_str(TABLE).unwrap_or_default()
    }
}

fn is_on_path(root: &Path, program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .filter_map(|it| it.strip_prefix("/").map(|it| root.join(it)).ok())
        .any(|it| it.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        root
    }

    fn find(root: &tempfile::TempDir, arch: Arch) -> Loaders {
        Loaders::find_below(root.path(), arch, &root.path().join("cache"))
    }

    #[test]
    fn the_table_can_be_read_and_is_complete() {
        let table: Table = toml::from_str(TABLE).unwrap();
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let it = table.uefi.iter().find(|it| it.arch == arch).unwrap();
            assert!(!it.packages.is_empty());
            for loader in &it.loaders {
                let needs_config = matches!(loader.kind, KindName::Grub);
                assert_eq!(loader.config.is_some(), needs_config);
                assert!(loader.paths.iter().all(|it| it.starts_with(['/', '{'])));
            }
        }
    }

    #[test]
    fn loaders_are_found_on_each_distribution() {
        let mtools = ["usr/bin/mcopy", "usr/bin/mattrib", "usr/bin/syslinux"];
        for (boot_code, efi) in [
            ("usr/lib/syslinux/mbr/mbr.bin", "usr/lib/systemd/boot/efi/systemd-bootx64.efi"),
            ("usr/share/syslinux/mbr.bin", "boot/efi/EFI/fedora/grubx64.efi"),
            ("usr/share/syslinux/mbr.bin", "cache/loaders/systemd-bootx64.efi"),
        ] {
            let root = host(&[&mtools[..], &[boot_code, efi]].concat());
            let it = find(&root, Arch::X86_64);
            assert_eq!(it.bios.unwrap().boot_code, root.path().join(boot_code));
            assert_eq!(it.uefi.unwrap().path, root.path().join(efi));
        }
    }

    #[test]
    fn a_part_of_a_loader_is_no_loader() {
        let parts = ["usr/bin/mcopy", "usr/bin/mattrib", "usr/bin/syslinux"];
        assert_eq!(find(&host(&parts), Arch::X86_64).bios, None);
        let without_mtools = ["usr/bin/syslinux", "usr/share/syslinux/mbr.bin"];
        assert_eq!(find(&host(&without_mtools), Arch::X86_64).bios, None);
    }

    #[test]
    fn systemd_boot_goes_before_grub() {
        let root = host(&[
            "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
            "cache/loaders/systemd-bootaa64.efi",
        ]);
        let it = find(&root, Arch::Aarch64);
        assert_eq!(it.bios, None);
        assert_eq!(it.uefi.unwrap().kind, EfiLoaderKind::SystemdBoot);
    }

    #[test]
    fn what_is_missing_is_named_for_each_distribution() {
        let it = find(&host(&[]), Arch::X86_64);
        let MediaError::NoLoader { remedy, .. } = it.missing(Firmware::Bios) else { panic!() };
        for word in ["apt install syslinux", "dnf install", "zypper install", "mtools"] {
            assert!(remedy.contains(word), "{remedy}");
        }
        let it = find(&host(&[]), Arch::Aarch64);
        let MediaError::NoLoader { remedy, .. } = it.missing(Firmware::Uefi) else { panic!() };
        assert!(remedy.contains("systemd-boot-efi:arm64") && remedy.contains("/cache/loaders"));
    }
}
