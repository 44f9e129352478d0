//! Where an image goes, looked at before anything runs: an install of half an
//! hour must not end at a name that cannot be written, nor replace what is no image.

use std::io::{Read as _, Seek as _, SeekFrom};

use camino::Utf8Path;
use rustix::fs::{Access, access};

use super::failure::{Failure, Plain};
use crate::{
    model::{Build, Target},
    runner::manifest,
};

/// Refuses a target file that cannot be made, or that would replace something
/// else than a disk image, unless that is wanted.
pub(super) fn check(build: &Build, is_forced: bool) -> Result<(), Failure> {
    let Target::File(target) = &build.target else { return Ok(()) };
    let path = target.path.as_path();
    let refuse = |what: String, help: String| Err(Failure::usage(Plain::new(what, help)));
    let Some(folder) = path.parent() else {
        return refuse(
            format!("the image has no path to go to: `{path}`"),
            format!("name a file, such as `--output {}.qcow2`", build.name),
        );
    };
    if let Ok(there) = fs_err::metadata(path) {
        if there.is_dir() {
            let inside = path.join(format!("{}.qcow2", build.name));
            return refuse(
                format!("the image cannot go to `{path}`: `{path}` is a folder"),
                format!("name a file in it, such as `{inside}`"),
            );
        }
        if !there.is_file() {
            return refuse(
                format!("the image cannot go to `{path}`: `{path}` is no file"),
                "an image is moved to its name when it is proved; name a file".to_owned(),
            );
        }
        if !is_forced && manifest::of(path).is_none() && !is_disk_image(path) {
            return refuse(
                format!("`{path}` is there already, and it is no disk image"),
                "name another file, or replace it with --force".to_owned(),
            );
        }
    }
    let above = |it: &&Utf8Path| it.as_str().is_empty() || fs_err::symlink_metadata(it).is_ok();
    let nearest = folder.ancestors().find(above).unwrap_or(folder);
    let nearest = if nearest.as_str().is_empty() { Utf8Path::new(".") } else { nearest };
    if !nearest.is_dir() {
        return refuse(
            format!("the image cannot go to `{path}`: `{nearest}` is no folder"),
            "name a file in a folder; folders that are missing are made".to_owned(),
        );
    }
    let is_writable = access(nearest.as_std_path(), Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if !is_writable {
        return refuse(
            format!("cannot write to the folder `{nearest}`, where `{path}` is to go"),
            "choose another place with --output, or make permissions there".to_owned(),
        );
    }
    Ok(())
}

/// Whether a file looks like what an earlier build may have made: qcow2, or a raw
/// disk with a boot sector. Kernels and ISOs have one as well. A file without a
/// byte holds nobody's work.
fn is_disk_image(path: &Utf8Path) -> bool {
    let Ok(mut file) = fs_err::File::open(path) else { return false };
    let mut head = Vec::new();
    if file.by_ref().take(1024).read_to_end(&mut head).is_err() {
        return false;
    }
    let at = |offset: usize, magic: &[u8]| {
        head.get(offset..offset + magic.len()).is_some_and(|it| it == magic)
    };
    // The magic numbers of QEMU's docs/interop/qcow2, of the MBR, of Linux's
    // Documentation/arch/x86/boot, and of ECMA-119, whose first descriptor is at 32 KiB.
    let is_kernel = at(0x202, b"HdrS");
    let mut descriptor = [0; 5];
    let is_iso = file.seek(SeekFrom::Start(32_769)).is_ok()
        && file.read_exact(&mut descriptor).is_ok()
        && descriptor == *b"CD001";
    head.is_empty() || at(0, b"QFI\xfb") || (at(510, b"\x55\xaa") && !is_kernel && !is_iso)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_what_begins_like_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let is_image = |bytes: &[u8]| {
            let path = folder.join("it");
            fs_err::write(&path, bytes).unwrap();
            is_disk_image(&path)
        };
        let mut disk = vec![0; 65536];
        assert!(!is_image(&disk));
        disk[510..512].copy_from_slice(b"\x55\xaa");
        assert!(is_image(&disk));
        disk[32_769..32_774].copy_from_slice(b"CD001");
        assert!(!is_image(&disk));
        disk[32_769] = 0;
        disk[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(!is_image(&disk));
        assert!(is_image(b"QFI\xfb and more"));
        assert!(is_image(b""));
        assert!(!is_image(b"version = 1\n"));
        assert!(!is_disk_image(&folder.join("none")));
    }
}
