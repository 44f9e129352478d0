//! The boot disk: a kernel, its initrd and its parameters on a disk that starts
//! them.
//!
//! One active partition of type EFI system (0xEF) with FAT, from sector 2048 on.
//! A PC BIOS runs the boot code of the first sector, which starts syslinux from
//! the partition; UEFI looks into the same partition for `EFI/BOOT`. The
//! installer then overwrites the disk that it was started from, as it does in
//! Nova.

mod configuration;
mod kernel;

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::task::{JoinError, spawn_blocking};

use self::kernel::Kernel;
use super::{
    MediaError,
    command::Run,
    fat::{self, Content, Label, Layout, Reserved, SECTOR, SECTOR_SIZE, Tree},
    loaders::{EfiLoader, EfiLoaderKind, Loaders, Syslinux},
    output::{self, Complete, Output},
};
use crate::{
    CancellationToken,
    guard::Guard,
    model::{Arch, Firmware},
};

/// What is on a boot disk. The parameters may hold secrets: there is no `Debug`.
#[derive(Clone, Copy)]
pub struct BootDisk<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// The firmware it must start under. It starts under the other one too,
    /// where a loader for that is installed. On `aarch64` there is UEFI only.
    pub firmware: Firmware,
    /// The kernel.
    pub kernel: &'a Path,
    /// Archives that are unpacked one after the other.
    pub initrd: &'a [&'a Path],
    /// The kernel's parameters.
    pub command_line: &'a str,
}

/// A boot disk that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    /// The disk's size in bytes, a whole number of mebibytes.
    pub size: u64,
    /// Bytes that its file takes.
    pub allocated: u64,
    /// The firmware that it starts under.
    pub firmware: Vec<Firmware>,
}

/// What a boot disk says to its loaders: file names and their texts.
pub fn configuration(arch: Arch, command_line: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    if arch == Arch::X86_64 {
        files.push(("syslinux.cfg".to_owned(), configuration::syslinux(command_line)));
    }
    let uefi = configuration::systemd_boot(command_line);
    files.extend(uefi.map(|(name, text)| (name.to_owned(), text)));
    files
}

/// The partition starts here, in bytes: aligned for every disk there is.
const PARTITION: u64 = 2048 * SECTOR;
/// The type of an EFI system partition. A BIOS does not care for the type.
const PARTITION_TYPE: u8 = 0xEF;
const ACTIVE: u8 = 0x80;
/// Where a partition that lies beyond cylinders, heads and sectors starts and ends.
const NO_GEOMETRY: [u8; 3] = [0xFE, 0xFF, 0xFF];
/// Boot code takes this much of the first sector.
const BOOT_CODE_SIZE: usize = 440;
/// The partition's label.
const LABEL: &str = "IMGBUILD";
/// Space for `ldlinux.sys` and `ldlinux.c32` (190 KiB in 6.04).
const SYSLINUX_SIZE: u64 = 512 << 10;
/// 1980-01-01, the first day that FAT can write down.
const EPOCH: &str = "315532800";
/// syslinux writes some hundred kilobytes.
const SYSLINUX_PATIENCE: Duration = Duration::from_mins(2);

/// Makes a boot disk at `out`, with mode 0600: its parameters may hold secrets.
///
/// The same inputs and loaders give the same bytes. Where it fails or is
/// cancelled, nothing is left at `out`.
pub async fn assemble(
    disk: &BootDisk<'_>,
    loaders: &Loaders,
    out: &Path,
    guard: &Guard,
    cancel: &CancellationToken,
) -> Result<Assembled, MediaError> {
    let job = Job {
        kernel: disk.kernel.to_owned(),
        initrd: disk.initrd.iter().map(|it| it.to_path_buf()).collect(),
        command_line: disk.command_line.to_owned(),
        chosen: Chosen::of(disk, loaders)?,
    };
    let syslinux = job.chosen.bios.clone();
    let firmware = job.chosen.firmware();
    let path = out.to_owned();
    let Prepared { skeleton, output, layout, reserved } =
        blocking(move || job.prepare(&path)).await?;
    // syslinux syncs what it writes to: it gets a disk without the large files.
    let either_fails = cancel.child_token();
    let stopped = either_fails.clone();
    let filled = either(&either_fails, async {
        blocking(move || {
            fat::fill(output.file(), &reserved, |it| output.error(it), &stopped)?;
            // So that only little is left to sync when syslinux is done.
            output.file().sync_data().map_err(|it| output.error(it))?;
            Ok((output, reserved))
        })
        .await
    });
    let installed = either(&either_fails, async {
        match &syslinux {
            Some(it) => install(it, loaders, &skeleton, guard, &either_fails).await,
            None => Ok(()),
        }
    });
    let (output, reserved) = match tokio::join!(filled, installed) {
        // The first one that fails stops the other.
        (Err(MediaError::Cancelled) | Ok(_), Err(it)) | (Err(it), _) => return Err(it),
        (Ok(it), Ok(())) => it,
    };
    let cancel = cancel.clone();
    let Complete { size, allocated } = blocking(move || {
        fat::copy_around(skeleton.file(), output.file(), &layout, &reserved)
            .and_then(|()| fat::copy_boot_sector(output.file(), PARTITION))
            .map_err(|it| output.error(it))?;
        write_first_sector(&output, &layout, syslinux.as_ref())?;
        output.complete(&cancel)
    })
    .await?;
    Ok(Assembled { size, allocated, firmware })
}

/// The SHA-256 digest of a boot disk, in hex. It takes about as long as
/// assembling one, so it is for those who need it.
pub async fn sha256(disk: &Path, cancel: &CancellationToken) -> Result<String, MediaError> {
    let (disk, cancel) = (disk.to_owned(), cancel.clone());
    blocking(move || output::sha256(&disk, &cancel)).await
}

/// The loaders that a disk gets.
#[derive(Clone)]
struct Chosen {
    bios: Option<Syslinux>,
    uefi: Option<EfiLoader>,
}

/// Everything that is written before syslinux is installed.
struct Job {
    kernel: PathBuf,
    initrd: Vec<PathBuf>,
    command_line: String,
    chosen: Chosen,
}

/// A disk without its large files, and the disk that gets them.
struct Prepared {
    skeleton: Output,
    output: Output,
    layout: Layout,
    reserved: Vec<Reserved>,
}

impl Chosen {
    fn of(disk: &BootDisk<'_>, loaders: &Loaders) -> Result<Self, MediaError> {
        let kernel = Kernel::read(disk.kernel, disk.arch)?;
        let is_told_all = |it: &EfiLoader| match it.kind {
            EfiLoaderKind::SystemdBoot => true,
            EfiLoaderKind::Grub(_) => configuration::grub(disk.command_line).is_some(),
        };
        let it = Self {
            bios: loaders.bios.clone().filter(|_| disk.arch == Arch::X86_64),
            uefi: loaders.uefi.clone().filter(|it| kernel.has_efi_stub && is_told_all(it)),
        };
        configuration::check(disk.command_line, kernel.longest_command_line)?;
        match (disk.arch, disk.firmware) {
            (Arch::X86_64, Firmware::Bios) if it.bios.is_none() => {
                Err(loaders.missing(Firmware::Bios))
            }
            (Arch::X86_64, Firmware::Bios) => Ok(it),
            _ if !kernel.has_efi_stub => {
                Err(MediaError::NoEfiStub { path: disk.kernel.to_owned() })
            }
            _ if it.uefi.is_none() && loaders.uefi.is_some() => {
                Err(MediaError::CommandLineQuotes { remedy: loaders.uefi_remedy.clone() })
            }
            _ if it.uefi.is_none() => Err(loaders.missing(Firmware::Uefi)),
            _ => Ok(it),
        }
    }

    fn firmware(&self) -> Vec<Firmware> {
        let bios = self.bios.iter().map(|_| Firmware::Bios);
        bios.chain(self.uefi.iter().map(|_| Firmware::Uefi)).collect()
    }
}

impl Job {
    fn prepare(&self, out: &Path) -> Result<Prepared, MediaError> {
        let initrd: Vec<_> = self.initrd.iter().map(PathBuf::as_path).collect();
        let Chosen { bios, uefi } = &self.chosen;
        let mut texts = vec![];
        if bios.is_some() {
            texts.push((configuration::SYSLINUX_PATH, configuration::syslinux(&self.command_line)));
        }
        match uefi.as_ref().map(|it| &it.kind) {
            Some(EfiLoaderKind::SystemdBoot) => {
                texts.extend(configuration::systemd_boot(&self.command_line));
            }
            Some(EfiLoaderKind::Grub(path)) => {
                texts.extend(configuration::grub(&self.command_line).map(|it| (path.as_str(), it)));
            }
            None => {}
        }
        let mut tree = Tree::default();
        tree.add(configuration::KERNEL, Content::files(&[&self.kernel])?)?;
        tree.add(configuration::INITRD, Content::files(&initrd)?)?;
        for (path, text) in &texts {
            tree.add(path, Content::Bytes(text.as_bytes()))?;
        }
        let program;
        if let Some(EfiLoader { path, file, .. }) = uefi {
            program = fs_err::read(path).map_err(|it| MediaError::read(path, it))?;
            tree.add(&format!("EFI/BOOT/{file}"), Content::Bytes(&program))?;
        }
        let layout = tree.layout(PARTITION, if bios.is_some() { SYSLINUX_SIZE } else { 0 });
        let (skeleton, output) = (Output::create(out)?, Output::create(out)?);
        let reserved = tree
            .write(skeleton.file(), &layout, Label::new(LABEL)?)
            .and_then(|it| output.file().set_len(layout.disk_size()).map(|()| it))
            .map_err(|it| output.error(it))?;
        Ok(Prepared { skeleton, output, layout, reserved })
    }
}

/// Installs syslinux in the partition, with the clock stopped.
async fn install(
    syslinux: &Syslinux,
    loaders: &Loaders,
    output: &Output,
    guard: &Guard,
    cancel: &CancellationToken,
) -> Result<(), MediaError> {
    // It leaves a file with mtools' settings behind where it is killed.
    let folder = output.folder_beside()?;
    let mut command = guard.command(&syslinux.installer);
    command
        .args(["--install", "--offset", &PARTITION.to_string()])
        .arg(output.temporary_path())
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("TZ", "UTC")
        .env("TMPDIR", folder.path())
        .env_remove("MTOOLSRC");
    let run =
        Run { program: "syslinux", remedy: &loaders.bios_remedy, patience: SYSLINUX_PATIENCE };
    run.successfully(command, None, cancel).await?;
    Ok(())
}

/// Writes boot code and partition table.
fn write_first_sector(
    output: &Output,
    layout: &Layout,
    syslinux: Option<&Syslinux>,
) -> Result<(), MediaError> {
    let mut sector = [0; SECTOR_SIZE];
    if let Some(Syslinux { boot_code, .. }) = syslinux {
        let code = fs_err::read(boot_code).map_err(|it| MediaError::read(boot_code, it))?;
        let code = &code[..code.len().min(BOOT_CODE_SIZE)];
        sector[..code.len()].copy_from_slice(code);
    }
    sector[440..444].copy_from_slice(b"imgb");
    let first = u32::try_from(PARTITION / SECTOR).unwrap_or(u32::MAX);
    let entry = [
        &[ACTIVE][..],
        &NO_GEOMETRY,
        &[PARTITION_TYPE],
        &NO_GEOMETRY,
        &first.to_le_bytes(),
        &layout.sectors().to_le_bytes(),
    ]
    .concat();
    sector[446..462].copy_from_slice(&entry);
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    output.file().write_all_at(&sector, 0).map_err(|it| output.error(it))
}

/// Does one of two things; where it fails, the other is to stop.
async fn either<T>(
    fails: &CancellationToken,
    work: impl Future<Output = Result<T, MediaError>>,
) -> Result<T, MediaError> {
    let result = work.await;
    if result.is_err() {
        fails.cancel();
    }
    result
}

/// Runs what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> Result<T, MediaError> {
    match spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(MediaError::Cancelled),
    }
}
