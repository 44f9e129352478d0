//! Disks and volumes that are written here: boot disk, config drive, answer volume.
//!
//! Everything is made as an ordinary file by an ordinary user: no root, no
//! mount, no loop device. The same inputs give the same bytes. A file appears
//! under its name only once it is complete, and its owner alone may read it,
//! because command lines and answer files may hold secrets.

pub mod boot_disk;
pub mod config_drive;
pub mod image;
pub mod initrd;
pub mod loaders;
pub mod volume;

mod command;
mod error;
mod fat;
mod output;

use std::path::Path;

use crate::{model::Arch, platform::Check};

pub use error::MediaError;

/// What `doctor` looks at: the boot loaders on this machine.
pub fn survey(arch: Arch, cache: &Path) -> Vec<Check> {
    let loaders = loaders::Loaders::find(arch, cache);
    let mut checks = Vec::new();
    if arch == Arch::X86_64 {
        checks.push(match &loaders.bios {
            Some(it) => Check::good("boot loader for BIOS", it.installer.display().to_string()),
            None => Check::missing("boot loader for BIOS", "not found", &loaders.bios_remedy),
        });
    }
    checks.push(match &loaders.uefi {
        Some(it) => Check::good("boot loader for UEFI", it.path.display().to_string()),
        None if arch == Arch::X86_64 => Check::warning(
            "boot loader for UEFI",
            "not found; boot disks start under a BIOS only",
            &loaders.uefi_remedy,
        ),
        None => Check::missing("boot loader for UEFI", "not found", &loaders.uefi_remedy),
    });
    checks
}
