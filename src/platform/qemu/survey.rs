//! What `doctor` looks at: QEMU, its firmware, its accelerator, disk space.

use camino::Utf8Path;

use super::{Host, OLDEST, accelerator, firmware, program};
use crate::{model::Arch, platform::Check, units::Size};

/// A build of a small system needs about this much at its height.
const ROOM: Size = Size::gib(8);

/// Looks at everything a build for `arch` needs of QEMU; `work` is where builds
/// keep their disks.
pub async fn survey(host: &Host, arch: Arch, work: &Utf8Path) -> Vec<Check> {
    let program = program(arch);
    let package = match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 => "qemu-system-arm",
    };
    let install = |package: &str| {
        format!("make setup, or install the package {package} of your distribution")
    };
    let mut checks = Vec::new();
    let version = host.version(&program).await;
    checks.push(match version {
        None => Check::missing(&program, "not found", install(package)),
        Some(version) if version < OLDEST => Check::missing(
            &program,
            format!("version {}.{}", version.0, version.1),
            format!("version {}.{} or later is needed", OLDEST.0, OLDEST.1),
        ),
        Some((7, minor)) => Check::warning(
            &program,
            format!("version 7.{minor}"),
            "its software emulation has a fault that makes some kernels panic; \
             Debian 12 has a newer QEMU in bookworm-backports",
        ),
        Some((major, minor)) => Check::good(&program, format!("version {major}.{minor}")),
    });
    checks.push(match host.version("qemu-img").await {
        None => Check::missing("qemu-img", "not found", install("qemu-utils")),
        Some((major, minor)) => Check::good("qemu-img", format!("version {major}.{minor}")),
    });
    checks.push(match firmware::find(arch) {
        Ok(found) => Check::good("UEFI firmware", found.code.to_string()),
        Err(error) if arch == Arch::Aarch64 => {
            Check::missing("UEFI firmware", "not found", format!("install {}", error.packages))
        }
        Err(error) => Check::warning(
            "UEFI firmware",
            "not found; images that start by BIOS can be built",
            format!("install {}", error.packages),
        ),
    });
    if let Some(version) = version {
        checks.push(accelerator_check(host, arch, &program, version).await);
    }
    checks.push(room(work));
    checks
}

async fn accelerator_check(host: &Host, arch: Arch, program: &str, version: (u32, u32)) -> Check {
    let kernel = some_kernel(host);
    let question = accelerator::Question {
        program,
        version,
        arch,
        x86_64_level: 1,
        kernel: kernel.as_deref(),
        cache: &host.cache,
        guard: &host.guard,
    };
    let choice = accelerator::choose(&question, None).await;
    let found = format!("{} ({})", choice.name, choice.why);
    if choice.name == "tcg" {
        let remedy = "installs take several times as long; use a machine with a working /dev/kvm \
                      where you can";
        return Check::warning("accelerator", found, remedy);
    }
    Check::good("accelerator", found)
}

/// A kernel to try with: this machine's own, or one that a build fetched.
fn some_kernel(host: &Host) -> Option<camino::Utf8PathBuf> {
    let in_folder = |folder: &Utf8Path, wanted: &dyn Fn(&Utf8Path) -> bool| {
        let mut found: Vec<_> = fs_err::read_dir(folder.as_std_path())
            .ok()?
            .filter_map(|it| camino::Utf8PathBuf::try_from(it.ok()?.path()).ok())
            .filter(|it| wanted(it))
            .collect();
        found.sort();
        found.pop()
    };
    let is_named = |it: &Utf8Path| {
        it.file_name().is_some_and(|it| it.starts_with("vmlinuz")) && fs_err::File::open(it).is_ok()
    };
    in_folder("/boot".into(), &is_named)
        .or_else(|| in_folder(&host.cache.join("sha256"), &is_linux_kernel))
}

/// The header of a bzImage: `HdrS` at 0x202, Documentation/arch/x86/boot.rst.
fn is_linux_kernel(path: &Utf8Path) -> bool {
    use std::io::Read as _;
    let mut head = [0; 0x206];
    fs_err::File::open(path).and_then(|mut it| it.read_exact(&mut head)).is_ok()
        && head.get(0x202..0x206) == Some(b"HdrS")
}

fn room(work: &Utf8Path) -> Check {
    // The folder may not be there yet; its nearest parent is on the same disk.
    let folder = work.ancestors().find(|it| it.exists()).unwrap_or(Utf8Path::new("/"));
    let Ok(room) = rustix::fs::statvfs(folder.as_std_path()) else {
        return Check::warning("disk space", format!("{folder} cannot be looked at"), "check it");
    };
    let free = Size::bytes(room.f_bavail.saturating_mul(room.f_frsize));
    let found = format!("{free} free in {folder}");
    if free < ROOM {
        let remedy = format!("builds want about {ROOM}; name another folder with --work-dir");
        return Check::warning("disk space", found, remedy);
    }
    Check::good("disk space", found)
}
