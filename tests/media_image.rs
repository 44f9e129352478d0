//! Images through the real `qemu-img`; and nothing of the boot disk gets into
//! the image that is published.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what was measured is shown")]

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use imgbuild::{
    CancellationToken,
    engine::{Event, Teller},
    guard::Guard,
    media::{
        MediaError,
        boot_disk::{BootDisk, assemble},
        image::{Conversion, QemuImg},
        initrd::{InitrdFile, Packing, archive},
        loaders::Loaders,
        volume::{self, VolumeFile},
    },
    model::{Arch, Compression, DiskFormat, Firmware},
    units::Size,
};

const MARK: &[u8] = b"<rest of the boot disk>";

fn qemu_img() -> QemuImg {
    QemuImg::new(Guard::new(env!("CARGO_BIN_EXE_imgbuild").into()))
}

/// A raw disk of this size that is full of marks.
fn base(folder: &Path, size: usize) -> PathBuf {
    let path = folder.join("base.raw");
    let bytes: Vec<_> = MARK.iter().copied().cycle().take(size).collect();
    fs_err::write(&path, bytes).unwrap();
    path
}

fn conversion<'a>(from: &'a Path, to: &'a Path, compression: Compression) -> Conversion<'a> {
    Conversion {
        from,
        from_format: DiskFormat::Qcow2,
        to,
        to_format: DiskFormat::Qcow2,
        compression,
    }
}

/// What a guest would do, done by `qemu-io`.
fn as_guest(disk: &Path, commands: &[&str]) {
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-d", "unmap", "-f", "qcow2"]);
    for command in commands {
        qemu_io.args(["-c", command]);
    }
    let output = qemu_io.arg(disk).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn count(disk: &Path, needle: &[u8]) -> usize {
    let bytes = fs_err::read(disk).unwrap();
    let first = *needle.first().unwrap();
    let mut n = 0;
    let mut rest = bytes.as_slice();
    while let Some(at) = rest.iter().position(|it| *it == first) {
        n += usize::from(rest[at..].starts_with(needle));
        rest = &rest[at + 1..];
    }
    n
}

#[tokio::test]
async fn an_overlay_starts_with_the_boot_disk_and_has_the_size_of_the_install() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), 3 << 20);
    let (overlay, raw) = (folder.path().join("disk.qcow2"), folder.path().join("disk.raw"));
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    it.overlay(&base, Size::mib(64), &overlay, &cancel).await.unwrap();
    assert_eq!(overlay.metadata().unwrap().mode() & 0o777, 0o600);
    let info = it.info(&overlay, &cancel).await.unwrap();
    assert_eq!((info.format.as_str(), info.virtual_size), ("qcow2", 64 << 20));
    assert_eq!(info.backing_filename.as_deref(), base.to_str());
    let to_raw =
        Conversion { to_format: DiskFormat::Raw, ..conversion(&overlay, &raw, Compression::None) };
    it.convert(&to_raw, &Teller::default(), &cancel).await.unwrap();
    let bytes = fs_err::read(&raw).unwrap();
    assert!(bytes.starts_with(&fs_err::read(&base).unwrap()));
    assert_eq!(bytes.len(), 64 << 20);
    assert_eq!(raw.metadata().unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_the_guest_did_not_write_is_gone_in_the_published_image() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), 8 << 20);
    let (overlay, out) = (folder.path().join("disk.qcow2"), folder.path().join("out.qcow2"));
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    it.overlay(&base, Size::mib(64), &overlay, &cancel).await.unwrap();
    // Blocks of a file system here and there, a discard, and the rest untouched.
    as_guest(
        &overlay,
        &[
            "write -P 0x41 0 4k",
            "write -P 0x41 1052672 4k",
            "write -P 0x41 5M 68k",
            "discard 2M 1M",
            "write -P 0x41 40M 4k",
        ],
    );
    it.detach(&overlay, &cancel).await.unwrap();
    fs_err::remove_file(&base).unwrap();
    it.convert(&conversion(&overlay, &out, Compression::None), &Teller::default(), &cancel)
        .await
        .unwrap();
    assert_eq!(count(&out, MARK), 0);
    let info = it.info(&out, &cancel).await.unwrap();
    assert_eq!((info.virtual_size, info.backing_filename), (64 << 20, None));
    for (at, n) in [("0", "4k"), ("1052672", "4k"), ("5M", "68k"), ("40M", "4k")] {
        as_guest(&out, &[&format!("read -P 0x41 {at} {n}")]);
    }
    as_guest(&out, &["read -P 0 4k 1020k", "read -P 0 2M 1M", "read -P 0 6M 34M"]);
    assert_eq!(it.check(&out, &cancel).await.unwrap().corruptions, 0);
}

#[tokio::test]
async fn a_conversion_tells_its_progress_and_compresses() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), 24 << 20);
    let (overlay, out) = (folder.path().join("disk.qcow2"), folder.path().join("out.qcow2"));
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    it.overlay(&base, Size::mib(32), &overlay, &cancel).await.unwrap();
    for compression in [Compression::Zlib, Compression::Zstd] {
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        it.convert(&conversion(&overlay, &out, compression), &Teller::new(sender), &cancel)
            .await
            .unwrap();
        let mut told = vec![];
        while let Some(Event::Progress { done, total, .. }) = events.recv().await {
            assert_eq!(total, Some(100));
            told.push(done);
        }
        assert!(told.is_sorted() && told.last() == Some(&100), "{told:?}");
        assert!(out.metadata().unwrap().len() < 2 << 20);
    }
}

#[tokio::test]
async fn failures_say_why_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    let broken = folder.path().join("broken.qcow2");
    fs_err::write(&broken, b"not an image").unwrap();
    let out = folder.path().join("out.qcow2");
    let result = it
        .convert(&conversion(&broken, &out, Compression::None), &Teller::default(), &cancel)
        .await;
    let Err(MediaError::ProgramFailed { message, .. }) = result else { panic!("{result:?}") };
    assert!(message.contains("not in qcow2 format"), "{message}");
    assert!(!out.exists());
    assert!(it.info(&folder.path().join("missing"), &cancel).await.is_err());
    assert!(it.check(&broken, &cancel).await.is_err());

    let base = base(folder.path(), 4 << 20);
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let result = it.overlay(&base, Size::gib(1), &out, &cancelled).await;
    assert!(matches!(result, Err(MediaError::Cancelled)), "{result:?}");
    assert!(!out.exists());
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), 1 << 20);
    let out = folder.path().join("missing/out.qcow2");
    let result = qemu_img().overlay(&base, Size::mib(16), &out, &CancellationToken::new()).await;
    let Err(MediaError::Write { path, .. }) = result else { panic!("{result:?}") };
    assert_eq!(path, out);
}

/// Run by the test below, with `/mnt` on a file system of 1 MiB.
#[tokio::test]
#[ignore = "`make test` runs it through the test below, which calls it by name"]
async fn convert_to_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let base = base(folder.path(), 8 << 20);
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    let overlay = folder.path().join("disk.qcow2");
    it.overlay(&base, Size::mib(16), &overlay, &cancel).await.unwrap();
    let out = Path::new("/mnt/out.qcow2");
    let result = it
        .convert(&conversion(&overlay, out, Compression::None), &Teller::default(), &cancel)
        .await;
    assert!(matches!(result, Err(MediaError::NoSpace { .. })), "{result:?}");
    assert!(!out.exists());
    let result = volume::write(
        "cidata",
        &[VolumeFile { path: "large", bytes: &vec![1; 2 << 20] }],
        Path::new("/mnt/volume"),
        &cancel,
    );
    assert!(matches!(result, Err(MediaError::NoSpace { .. })), "{result:?}");
    assert_eq!(Path::new("/mnt").read_dir().unwrap().count(), 0);
}

#[test]
fn a_full_disk_is_recognised() {
    let script = "mount -t tmpfs -o size=1m none /mnt && \
                  exec \"$0\" --exact convert_to_a_full_disk --ignored";
    let test = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// A guest as an installer: it partitions, makes a file system with `mke2fs`,
/// with or without discard, writes to it and powers off.
async fn installed(discard: bool, folder: &Path, kernel: &Path) -> (PathBuf, PathBuf) {
    let mut files = vec![];
    let libraries = Command::new("ldd").arg("/usr/sbin/mke2fs").output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let libraries = libraries.split_whitespace().filter(|it| it.starts_with('/'));
    for path in libraries.chain(["/usr/sbin/mke2fs", "/bin/busybox"]) {
        files.push((path.trim_start_matches('/').to_owned(), fs_err::read(path).unwrap()));
    }
    let option = if discard { "discard" } else { "nodiscard" };
    let script = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin 2>/dev/null\n\
         export PATH=/usr/sbin:/bin\n\
         mkdir -p /proc /dev /sys /mnt; mount -t proc proc /proc; mount -t devtmpfs dev /dev\n\
         mount -t sysfs sys /sys\n\
         exec >/dev/console 2>&1\n\
         printf 'o\\nn\\np\\n1\\n2048\\n\\nw\\n' | fdisk -u /dev/nvme0n1\n\
         sleep 1; /usr/sbin/mke2fs -q -F -t ext4 -E {option},lazy_itable_init=1 /dev/nvme0n1p1 && \
         mount -t ext4 /dev/nvme0n1p1 /mnt && cp /bin/busybox /mnt/ && umount /mnt && \
         echo installed\n\
         poweroff -f\n"
    );
    files.push(("init".to_owned(), script.into_bytes()));
    let files: Vec<_> =
        files.iter().map(|(path, bytes)| InitrdFile { path, bytes, mode: 0o755 }).collect();
    let initrd = folder.join("initrd");
    fs_err::write(&initrd, archive(&files, Packing::Gzip).unwrap()).unwrap();
    let boot_disk = folder.join("boot.raw");
    let guard = Guard::new(env!("CARGO_BIN_EXE_imgbuild").into());
    let cancel = CancellationToken::new();
    let disk = BootDisk {
        arch: Arch::X86_64,
        firmware: Firmware::Bios,
        kernel,
        initrd: &[&initrd],
        command_line: "console=ttyS0 panic=-1 secret=hunter2-of-the-command-line",
    };
    let loaders = Loaders::find(Arch::X86_64, folder);
    assemble(&disk, &loaders, &boot_disk, &guard, &cancel).await.unwrap();
    let overlay = folder.join("disk.qcow2");
    qemu_img().overlay(&boot_disk, Size::gib(1), &overlay, &cancel).await.unwrap();
    let drive = format!(
        "if=none,id=disk,format=qcow2,discard=unmap,detect-zeroes=unmap,file={}",
        overlay.display()
    );
    let output = Command::new("timeout")
        .args(["300", "qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg"])
        .args(["-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"])
        .args(["-drive", &drive, "-device", "nvme,drive=disk,serial=disk,bootindex=1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && console.contains("installed"), "{console}");
    (boot_disk, overlay)
}

#[tokio::test]
async fn nothing_of_kernel_initrd_and_parameters_survives_an_install() {
    let wanted = std::env::var_os("IMGBUILD_TEST_BOOT").is_some_and(|it| it == "1");
    let Some(kernel) = std::env::var_os("IMGBUILD_TEST_KERNEL_X86_64").filter(|_| wanted) else {
        eprintln!("not run: IMGBUILD_TEST_BOOT is not 1, or there is no kernel");
        return;
    };
    let kernel = PathBuf::from(kernel);
    let (it, cancel) = (qemu_img(), CancellationToken::new());
    for discard in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (boot_disk, overlay) = installed(discard, folder.path(), &kernel).await;
        let left = async |name: &str| {
            let raw = folder.path().join(name);
            let to_raw = Conversion {
                to_format: DiskFormat::Raw,
                ..conversion(&overlay, &raw, Compression::None)
            };
            it.convert(&to_raw, &Teller::default(), &cancel).await.unwrap();
            left_of(&boot_disk, &raw)
        };
        let before = left("before").await;
        let parameters_before = count(&folder.path().join("before"), b"hunter2-of-the-command");
        it.detach(&overlay, &cancel).await.unwrap();
        let after = left("after").await;
        eprintln!(
            "discard {discard}: {} KiB of the boot disk and {parameters_before} copies of its \
             parameters left, detached {} KiB",
            before / 1024,
            after / 1024
        );
        assert_eq!(count(&folder.path().join("after"), b"hunter2-of-the-command"), 0);
        // Nothing is proved where the guest overwrote it all.
        assert!(discard || before > 1 << 20, "{before}");
        // The boot code of the first sector, which partitioning keeps.
        assert!(after <= 4096, "{after} bytes are left");
        assert_eq!(it.check(&overlay, &cancel).await.unwrap().corruptions, 0);
    }
}

/// Bytes in 512-byte sectors that are the same on both disks, and not of one
/// value throughout.
fn left_of(boot_disk: &Path, installed: &Path) -> usize {
    let (one, other) = (fs_err::read(boot_disk).unwrap(), fs_err::read(installed).unwrap());
    one.chunks_exact(512)
        .zip(other.chunks_exact(512))
        .filter(|(a, b)| a == b && a.iter().any(|it| *it != a[0]))
        .count()
        * 512
}
