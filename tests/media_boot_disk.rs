//! The boot disk: sound, the same each time, and it starts what is on it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what was measured is shown")]

use std::{
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use imgbuild::{
    CancellationToken,
    guard::Guard,
    media::{
        MediaError,
        boot_disk::{Assembled, BootDisk, assemble, sha256},
        initrd::{self, InitrdFile, Packing},
        loaders::{EfiLoader, EfiLoaderKind, Loaders},
    },
    model::{Arch, Firmware},
};

const PARTITION: u64 = 1 << 20;

fn guard() -> Guard {
    Guard::new(env!("CARGO_BIN_EXE_imgbuild").into())
}

fn loaders(arch: Arch) -> Loaders {
    let cache = std::env::var_os("IMGBUILD_TEST_CACHE").unwrap_or_default();
    Loaders::find(arch, Path::new(&cache))
}

/// A folder with a kernel and initrds of these sizes that nobody could start.
fn inputs(kernel: usize, initrds: &[usize]) -> (tempfile::TempDir, PathBuf, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, size: usize, magic: &[u8]| {
        let path = folder.path().join(name);
        let filler = (0..size).map(|i| u8::try_from(i * 7 % 251).unwrap());
        let bytes: Vec<_> = magic.iter().copied().chain(filler).take(size).collect();
        fs_err::write(&path, bytes).unwrap();
        path
    };
    let kernel = write("vmlinuz", kernel, b"MZ");
    let initrds = initrds.iter().enumerate();
    let initrds = initrds.map(|(i, size)| write(&format!("initrd{i}"), *size, b"")).collect();
    (folder, kernel, initrds)
}

async fn assembled(
    kernel: &Path,
    initrds: &[PathBuf],
    command_line: &str,
    loaders: &Loaders,
    firmware: Firmware,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<Assembled, MediaError> {
    let initrd: Vec<_> = initrds.iter().map(PathBuf::as_path).collect();
    let disk = BootDisk { arch: loaders.arch, firmware, kernel, initrd: &initrd, command_line };
    assemble(&disk, loaders, out, &guard(), cancel).await
}

/// A boot disk for both kinds of firmware.
async fn boot_disk(kernel: &Path, initrds: &[PathBuf], out: &Path) -> Assembled {
    let (loaders, cancel) = (loaders(Arch::X86_64), CancellationToken::new());
    assembled(kernel, initrds, "console=ttyS0", &loaders, Firmware::Bios, out, &cancel)
        .await
        .unwrap()
}

fn mcopy(disk: &Path, path: &str) -> Vec<u8> {
    let image = format!("{}@@{PARTITION}", disk.display());
    let mut it = Command::new("mcopy");
    let it = it.args(["-i", &image, &format!("::/{path}"), "-"]).output().unwrap();
    assert!(it.status.success(), "{path}: {}", String::from_utf8_lossy(&it.stderr));
    it.stdout
}

#[track_caller]
fn assert_sound(disk: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join("partition");
    let mut from = fs_err::File::open(disk).unwrap();
    from.seek(SeekFrom::Start(PARTITION)).unwrap();
    // Sparse, for the large ones.
    let mut to = fs_err::File::create(&partition).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        if buffer[..n].iter().all(|it| *it == 0) {
            to.seek(SeekFrom::Current(i64::try_from(n).unwrap())).unwrap();
        } else {
            to.write_all(&buffer[..n]).unwrap();
        }
    }
    to.set_len(disk.metadata().unwrap().len() - PARTITION).unwrap();
    let fsck = Command::new("fsck.vfat").args(["-n", "-v"]).arg(&partition).output().unwrap();
    let said = String::from_utf8_lossy(&fsck.stdout);
    assert!(fsck.status.success() && !said.contains("differ"), "{said}");
}

#[tokio::test]
async fn a_disk_of_any_size_is_sound_and_holds_what_it_should() {
    for (kernel_size, initrd_sizes) in [
        (2, vec![]),
        (100_001, vec![1, 2, 3, 4]),
        (3_000_000, vec![2_000_003, 511]),
        (12_000_000, vec![40_000_000]),
    ] {
        let (folder, kernel, initrds) = inputs(kernel_size, &initrd_sizes);
        let out = folder.path().join("disk");
        let it = boot_disk(&kernel, &initrds, &out).await;
        assert_eq!(it.firmware, [Firmware::Bios, Firmware::Uefi]);
        assert_eq!(it.size, out.metadata().unwrap().len());
        assert_eq!(it.size % (1 << 20), 0);
        let content = kernel_size + initrd_sizes.iter().sum::<usize>();
        assert!(it.size < (content as u64 * 51 / 50) + (6 << 20), "{} for {content}", it.size);
        assert!(it.allocated <= it.size);
        assert_sound(&out);
        assert_eq!(mcopy(&out, "linux"), fs_err::read(&kernel).unwrap());
        let mut initrd = vec![];
        for part in &initrds {
            initrd.resize(initrd.len().next_multiple_of(4), 0);
            initrd.extend(fs_err::read(part).unwrap());
        }
        assert!(mcopy(&out, "initrd.img") == initrd);
        for path in ["ldlinux.sys", "ldlinux.c32", "EFI/BOOT/BOOTX64.EFI"] {
            assert!(!mcopy(&out, path).is_empty());
        }
        for path in ["syslinux.cfg", "loader/entries/installer.conf"] {
            assert!(String::from_utf8(mcopy(&out, path)).unwrap().contains("console=ttyS0\n"));
        }
        assert_eq!(out.metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn beyond_two_gibibytes_it_is_fat32_and_sparse() {
    let (folder, kernel, _) = inputs(1 << 20, &[]);
    let large = folder.path().join("large");
    let file = fs_err::File::create(&large).unwrap();
    file.set_len(2200 << 20).unwrap();
    let out = folder.path().join("disk");
    let it = boot_disk(&kernel, &[large], &out).await;
    assert!(it.allocated < 16 << 20, "{} bytes are taken", it.allocated);
    assert_sound(&out);
    assert_eq!(mcopy(&out, "linux"), fs_err::read(&kernel).unwrap());
}

/// Run by the test below, in another time zone and at another time.
#[tokio::test]
#[ignore = "`make test` runs it through the test below, which calls it by name"]
async fn digest() {
    let (folder, kernel, initrds) = inputs(700_000, &[800_000]);
    let out = folder.path().join("disk");
    boot_disk(&kernel, &initrds, &out).await;
    eprintln!("\ndigest {}", sha256(&out, &CancellationToken::new()).await.unwrap());
}

#[test]
fn the_same_inputs_give_the_same_bytes_at_any_time_and_place() {
    let digest = |zone: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "digest", "--ignored", "--nocapture"])
            .env("TZ", zone)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().find(|it| it.starts_with("digest ")).unwrap().to_owned()
    };
    // FAT counts in steps of two seconds.
    let step = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 2;
    let (first, then) = (digest("Pacific/Auckland"), step());
    while step() == then {
        std::thread::yield_now();
    }
    assert_eq!(first, digest("America/Los_Angeles"));
}

#[tokio::test]
async fn nothing_is_left_where_it_does_not_succeed() {
    let (folder, kernel, initrds) = inputs(1000, &[30_000_000]);
    let out = folder.path().join("out/disk");
    fs_err::create_dir(out.parent().unwrap()).unwrap();
    let left = || -> Vec<_> {
        out.parent().unwrap().read_dir().unwrap().map(|it| it.unwrap().file_name()).collect()
    };
    let all = loaders(Arch::X86_64);
    let bios = Firmware::Bios;

    let cancel = CancellationToken::new();
    cancel.cancel();
    let it = assembled(&kernel, &initrds, "", &all, bios, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::Cancelled)), "{it:?}");
    assert!(left().is_empty(), "{:?}", left());

    let cancel = CancellationToken::new();
    let cancel_on_the_way = async {
        while left().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let run = assembled(&kernel, &initrds, "", &all, bios, &out, &cancel);
    let (it, ()) = tokio::join!(run, cancel_on_the_way);
    assert!(matches!(it, Err(MediaError::Cancelled)), "{it:?}");
    assert!(left().is_empty(), "{:?}", left());

    let cancel = CancellationToken::new();
    let mut broken = all.clone();
    broken.bios.as_mut().unwrap().installer = "false".into();
    let it = assembled(&kernel, &initrds, "", &broken, bios, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::ProgramFailed { .. })), "{it:?}");
    broken.bios.as_mut().unwrap().installer = "/nonexistent/syslinux".into();
    let it = assembled(&kernel, &initrds, "", &broken, bios, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::NoProgram { .. })), "{it:?}");
    let missing = folder.path().join("missing");
    let it = assembled(&missing, &initrds, "", &all, bios, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::Read { .. })), "{it:?}");
    assert!(left().is_empty(), "{:?}", left());
}

#[tokio::test]
async fn one_loader_is_enough_where_it_suffices() {
    let (folder, kernel, initrds) = inputs(1000, &[1000]);
    let out = folder.path().join("disk");
    let cancel = CancellationToken::new();
    let all = loaders(Arch::X86_64);
    let only_bios = Loaders { uefi: None, ..all.clone() };
    let only_uefi = Loaders { bios: None, ..all.clone() };
    let none = Loaders { uefi: None, ..only_uefi.clone() };
    for (loaders, firmware, starts_under) in [
        (&only_bios, Firmware::Bios, Some(Firmware::Bios)),
        (&only_bios, Firmware::Uefi, None),
        (&only_uefi, Firmware::Uefi, Some(Firmware::Uefi)),
        (&only_uefi, Firmware::Bios, None),
        (&none, Firmware::Uefi, None),
    ] {
        let it = assembled(&kernel, &initrds, "", loaders, firmware, &out, &cancel).await;
        match (it, starts_under) {
            (Ok(it), Some(under)) => {
                assert_eq!(it.firmware, [under]);
                assert_sound(&out);
            }
            (Err(MediaError::NoLoader { remedy, .. }), None) => assert!(remedy.contains("apt")),
            (it, _) => panic!("{firmware:?}: {it:?}"),
        }
    }
    // A GRUB, which would change a quote.
    let efi = all.uefi.clone().unwrap();
    let grub = EfiLoader { kind: EfiLoaderKind::Grub("EFI/debian/grub.cfg".into()), ..efi };
    let with_grub = Loaders { uefi: Some(grub), ..all.clone() };
    let quotes = r#"a="b c""#;
    let it = assembled(&kernel, &initrds, quotes, &with_grub, Firmware::Bios, &out, &cancel).await;
    assert_eq!(it.unwrap().firmware, [Firmware::Bios]);
    let it = assembled(&kernel, &initrds, quotes, &with_grub, Firmware::Uefi, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::CommandLineQuotes { .. })), "{it:?}");
    // A kernel from before EFI stubs.
    let old = folder.path().join("old");
    fs_err::write(&old, [0; 2000]).unwrap();
    let it = assembled(&old, &initrds, "", &all, Firmware::Bios, &out, &cancel).await;
    assert_eq!(it.unwrap().firmware, [Firmware::Bios]);
    let it = assembled(&old, &initrds, "", &all, Firmware::Uefi, &out, &cancel).await;
    assert!(matches!(it, Err(MediaError::NoEfiStub { .. })), "{it:?}");
}

/// The kernel and the busybox of an architecture, where real boots are wanted:
/// `IMGBUILD_TEST_BOOT=1`, `IMGBUILD_TEST_KERNEL_<ARCH>`, `IMGBUILD_TEST_BUSYBOX_<ARCH>`.
fn boot_inputs(arch: Arch) -> Option<(PathBuf, PathBuf)> {
    if std::env::var_os("IMGBUILD_TEST_BOOT").is_none_or(|it| it != "1") {
        eprintln!("not run: IMGBUILD_TEST_BOOT is not 1");
        return None;
    }
    let path = |what: &str| {
        let name = format!("IMGBUILD_TEST_{what}_{}", arch.as_str().to_uppercase());
        std::env::var_os(&name).map(PathBuf::from)
    };
    let busybox = path("BUSYBOX").or_else(|| (arch == Arch::X86_64).then(|| "/bin/busybox".into()));
    Some((path("KERNEL")?, busybox?))
}

/// An initrd that prints the kernel's parameters and powers the machine off.
fn telling_initrd(busybox: &Path, folder: &Path) -> PathBuf {
    let script = b"#!/bin/busybox sh\n\
        /bin/busybox mkdir -p /proc /dev\n\
        /bin/busybox mount -t proc proc /proc\n\
        /bin/busybox mount -t devtmpfs dev /dev\n\
        exec >/dev/console 2>&1\n\
        echo; echo \"parameters <$(/bin/busybox cat /proc/cmdline)>\"\n\
        echo \"added <$(/bin/busybox cat /added)>\"\n\
        /bin/busybox poweroff -f\n";
    let busybox = fs_err::read(busybox).unwrap();
    let files = [
        InitrdFile { path: "bin/busybox", bytes: &busybox, mode: 0o755 },
        InitrdFile { path: "init", bytes: script, mode: 0o755 },
    ];
    let plain = folder.join("plain");
    fs_err::write(&plain, initrd::archive(&files, Packing::Gzip).unwrap()).unwrap();
    let path = folder.join("initrd");
    let added = [InitrdFile { path: "added", bytes: b"by imgbuild", mode: 0o600 }];
    initrd::append(&plain, &added, Packing::Plain, &path, &CancellationToken::new()).unwrap();
    path
}

fn boot(
    program: &str,
    machine: &[&str],
    firmware: Option<&str>,
    disk: &Path,
) -> (String, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let mut qemu = Command::new("timeout");
    qemu.args(["300", program]).args(machine);
    qemu.args(["-accel", "tcg", "-m", "512", "-nodefaults", "-display", "none"]);
    qemu.args(["-serial", "stdio", "-no-reboot"]);
    if let Some(code) = firmware {
        let variables = folder.path().join("variables");
        fs_err::copy(code.replace("CODE", "VARS"), &variables).unwrap();
        let variables = variables.display();
        qemu.args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={code}")]);
        qemu.args(["-drive", &format!("if=pflash,format=raw,file={variables}")]);
    }
    let drive = format!("if=none,id=disk,format=raw,readonly=on,file={}", disk.display());
    qemu.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=disk"]);
    let start = Instant::now();
    let output = qemu.stdin(Stdio::null()).output().unwrap();
    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{console}\n{}", String::from_utf8_lossy(&output.stderr));
    (console, start.elapsed())
}

#[track_caller]
fn assert_started(console: &str, command_line: &str) {
    let told = console.lines().find(|it| it.contains("parameters <")).unwrap_or(console);
    assert!(told.contains(command_line), "{told}");
    assert!(console.contains("added <by imgbuild>"), "{console}");
}

#[tokio::test]
async fn one_disk_starts_under_a_bios_and_under_uefi() {
    let Some((kernel, busybox)) = boot_inputs(Arch::X86_64) else { return };
    let folder = tempfile::tempdir().unwrap();
    let initrds = [telling_initrd(&busybox, folder.path())];
    let (out, cancel) = (folder.path().join("disk"), CancellationToken::new());
    let all = loaders(Arch::X86_64);
    let grub = EfiLoader {
        path: "/usr/lib/grub/x86_64-efi/monolithic/grubx64.efi".into(),
        file: "BOOTX64.EFI".into(),
        kind: EfiLoaderKind::Grub("EFI/debian/grub.cfg".into()),
    };
    let with_grub = Loaders { uefi: Some(grub), ..all.clone() };
    // As long as it may be, to see that all of it arrives.
    let parameters = r"console=ttyS0 panic=-1 url=http://x/?a=b&c=$d;e#f --- quiet";
    let length = 2047 - "BOOT_IMAGE=linux initrd=initrd.img ".len();
    let filler = "x".repeat(length - parameters.len() - 1);
    let longest = format!("{parameters} {filler}");
    let ovmf = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    let machine = ["-machine", "q35", "-cpu", "max"];
    for (loaders, firmwares) in [(&all, &[None, Some(ovmf)][..]), (&with_grub, &[Some(ovmf)][..])] {
        let uefi = Firmware::Uefi;
        assembled(&kernel, &initrds, &longest, loaders, uefi, &out, &cancel).await.unwrap();
        for firmware in firmwares {
            let (console, time) = boot("qemu-system-x86_64", &machine, *firmware, &out);
            assert_started(&console, &longest);
            eprintln!("{firmware:?}, {:?}: {time:.1?}", loaders.uefi.as_ref().unwrap().kind);
        }
    }
}

#[tokio::test]
async fn an_aarch64_disk_starts_under_uefi() {
    let Some((kernel, busybox)) = boot_inputs(Arch::Aarch64) else { return };
    let folder = tempfile::tempdir().unwrap();
    let initrds = [telling_initrd(&busybox, folder.path())];
    let (out, cancel) = (folder.path().join("disk"), CancellationToken::new());
    let parameters = "console=ttyAMA0 panic=-1 --- quiet";
    let it = loaders(Arch::Aarch64);
    assembled(&kernel, &initrds, parameters, &it, Firmware::Uefi, &out, &cancel).await.unwrap();
    let machine = ["-machine", "virt", "-cpu", "cortex-a72"];
    let firmware = Some("/usr/share/AAVMF/AAVMF_CODE.fd");
    let (console, time) = boot("qemu-system-aarch64", &machine, firmware, &out);
    assert_started(&console, parameters);
    eprintln!("{:?}: {time:.1?}", it.uefi.unwrap());
}
