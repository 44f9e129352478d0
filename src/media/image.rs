//! Disk images, through `qemu-img`.
//!
//! The disk that is installed to is an overlay on the boot disk: it starts with
//! what the boot disk holds, and every write of the guest goes to the overlay.
//! What the guest never wrote is not part of the system it installed; taking
//! the boot disk away from below leaves zeros there, and nothing of kernel,
//! initrd and parameters gets into the published image.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{
    MediaError,
    command::{Listener, Run, Said},
};
use crate::{
    CancellationToken,
    engine::{Event, Teller, Unit},
    guard::Guard,
    model::{Compression, DiskFormat},
    units::Size,
};

/// `qemu-img`, which every operation here needs.
#[derive(Clone, Debug)]
pub struct QemuImg {
    guard: Guard,
    program: PathBuf,
}

/// What an image is, as `qemu-img info` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    /// `qcow2`, `raw`, `vmdk` …
    pub format: String,
    /// The disk's size as a guest sees it, in bytes.
    pub virtual_size: u64,
    /// What it takes on this machine, in bytes.
    #[serde(default)]
    pub actual_size: u64,
    /// The image below it.
    pub backing_filename: Option<String>,
}

/// What `qemu-img check` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// Faults that lose data.
    #[serde(default)]
    pub corruptions: u64,
    /// Clusters that are taken but not used: harmless.
    #[serde(default)]
    pub leaks: u64,
}

/// A conversion of one image into another.
#[derive(Clone, Copy, Debug)]
pub struct Conversion<'a> {
    /// What is read.
    pub from: &'a Path,
    /// Its format; never guessed, because a guest could have written anything.
    pub from_format: DiskFormat,
    /// What is written.
    pub to: &'a Path,
    /// Its format.
    pub to_format: DiskFormat,
    /// How a qcow2 image is compressed.
    pub compression: Compression,
}

/// A wait for this long without a word is a hang. `qemu-img` speaks at every
/// hundredth, which may be gigabytes on a slow disk.
const PATIENCE: Duration = Duration::from_mins(30);

const RUN: Run<'static> = Run { program: "qemu-img", remedy: REMEDY, patience: PATIENCE };

/// What to install where it is missing.
const REMEDY: &str = "Debian, Ubuntu: apt install qemu-utils\n\
                      Fedora: dnf install qemu-img\n\
                      openSUSE, SLES: zypper install qemu-tools";

impl QemuImg {
    /// The `qemu-img` on PATH.
    pub fn new(guard: Guard) -> Self {
        Self { guard, program: "qemu-img".into() }
    }

    /// Makes a qcow2 disk of `size` that starts with what the raw disk `base`
    /// holds, at `out` with mode 0600.
    ///
    /// The guest's writes are kept in pieces of 2 KiB, smaller than any file
    /// system writes, so that no piece of `base` is copied along with one.
    /// Attach it with `discard=unmap,detect-zeroes=unmap`.
    pub async fn overlay(
        &self,
        base: &Path,
        size: Size,
        out: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let base = absolute(base)?;
        let size = size.as_bytes().to_string();
        let arguments: [&OsStr; 11] = [
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-o".as_ref(),
            "extended_l2=on,cluster_size=64k".as_ref(),
            "-F".as_ref(),
            "raw".as_ref(),
            "-b".as_ref(),
            base.as_ref(),
            "--".as_ref(),
        ];
        self.write(out, &arguments, &[size.as_ref()], None, cancel).await
    }

    /// Makes an empty qcow2 disk of `size` at `out`, with mode 0600.
    pub async fn create(
        &self,
        size: Size,
        out: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let size = size.as_bytes().to_string();
        let arguments = ["create", "-q", "-f", "qcow2", "--"].map(OsStr::new);
        self.write(out, &arguments, &[size.as_ref()], None, cancel).await
    }

    /// Makes a qcow2 overlay of the qcow2 image `base` at `out`: a copy to boot,
    /// which leaves `base` as it is.
    pub async fn copy_on_write(
        &self,
        base: &Path,
        base_format: DiskFormat,
        out: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let base = absolute(base)?;
        let arguments: [&OsStr; 9] = [
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-F".as_ref(),
            format_name(base_format).as_ref(),
            "-b".as_ref(),
            base.as_ref(),
            "--".as_ref(),
        ];
        self.write(out, &arguments, &[], None, cancel).await
    }

    /// Takes the image below an overlay away: what was not written to the
    /// overlay reads as zeros from now on.
    pub async fn detach(
        &self,
        overlay: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let mut command = self.guard.command(&self.program);
        command.args(["rebase", "-q", "-u", "-f", "qcow2", "-b", "", "--"]).arg(absolute(overlay)?);
        let said = RUN.to_its_end(command, None, cancel).await?;
        judge(&said, overlay)
    }

    /// Converts an image, and tells `teller` how far that is. Zeros take no
    /// space in the result. Where it fails or is cancelled, nothing is left.
    pub async fn convert(
        &self,
        conversion: &Conversion<'_>,
        teller: &Teller,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let Conversion { from, from_format, to, to_format, compression } = *conversion;
        let from = absolute(from)?;
        let mut arguments: Vec<&OsStr> = vec![
            "convert".as_ref(),
            "-p".as_ref(),
            "-f".as_ref(),
            format_name(from_format).as_ref(),
            "-O".as_ref(),
            format_name(to_format).as_ref(),
        ];
        match compression {
            _ if to_format == DiskFormat::Raw => {}
            Compression::None => {}
            Compression::Zlib => arguments.extend(["-c"].map(OsStr::new)),
            Compression::Zstd => {
                arguments.extend(["-c", "-o", "compression_type=zstd"].map(OsStr::new));
            }
        }
        arguments.extend([OsStr::new("--"), from.as_ref()]);
        let what = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut told = None;
        let mut listener = |words: &[u8]| {
            let percent = last_percent(&String::from_utf8_lossy(words));
            if percent.is_some() && percent != told {
                told = percent;
                let done = percent.unwrap_or_default();
                let (what, unit) = (what.clone(), Unit::Percent);
                teller.tell(Event::Progress { what, done, total: Some(100), unit });
            }
        };
        self.write(to, &arguments, &[], Some(&mut listener), cancel).await
    }

    /// What an image is. It may be in use.
    pub async fn info(&self, image: &Path, cancel: &CancellationToken) -> Result<Info, MediaError> {
        let mut command = self.guard.command(&self.program);
        command.args(["info", "--force-share", "--output=json", "--"]).arg(absolute(image)?);
        let stdout = RUN.successfully(command, None, cancel).await?;
        parse(&stdout)
    }

    /// Looks for faults in a qcow2 image that is not in use.
    pub async fn check(
        &self,
        image: &Path,
        cancel: &CancellationToken,
    ) -> Result<Check, MediaError> {
        let mut command = self.guard.command(&self.program);
        command.args(["check", "-f", "qcow2", "--output=json", "--"]).arg(absolute(image)?);
        let said = RUN.to_its_end(command, None, cancel).await?;
        match said.code {
            // Sound, faulty, leaking.
            Some(0 | 2 | 3) => parse(&said.stdout),
            _ => Err(RUN.failed(&said)),
        }
    }

    /// Runs a command that writes `out`, which goes before the arguments `after`.
    /// The file is made first, with mode 0600; `qemu-img` keeps that.
    async fn write(
        &self,
        out: &Path,
        before: &[&OsStr],
        after: &[&OsStr],
        listener: Option<Listener<'_>>,
        cancel: &CancellationToken,
    ) -> Result<(), MediaError> {
        let absolute_out = absolute(out)?;
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(out)
            .map_err(|it| MediaError::write(out, it))?;
        let unfinished = Unfinished(Some(out));
        let mut command = self.guard.command(&self.program);
        command.args(before).arg(absolute_out).args(after);
        let said = RUN.to_its_end(command, listener, cancel).await?;
        judge(&said, out)?;
        unfinished.keep();
        Ok(())
    }
}

/// Whether a command that writes `out` succeeded.
fn judge(said: &Said, out: &Path) -> Result<(), MediaError> {
    match said.code {
        Some(0) => Ok(()),
        _ if said.is_about_space() => Err(MediaError::NoSpace { path: out.to_owned() }),
        _ => Err(RUN.failed(said)),
    }
}

fn parse<'a, T: Deserialize<'a>>(stdout: &'a [u8]) -> Result<T, MediaError> {
    serde_json::from_slice(stdout)
        .map_err(|source| MediaError::ProgramOutput { program: RUN.program.to_owned(), source })
}

/// A file that goes away unless it is kept.
struct Unfinished<'a>(Option<&'a Path>);

impl Unfinished<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            _ = fs_err::remove_file(path);
        }
    }
}

/// An absolute path, in which `qemu-img` sees no protocol (`nbd:`) and from
/// which an overlay finds what is below it.
fn absolute(path: &Path) -> Result<PathBuf, MediaError> {
    std::path::absolute(path).map_err(|it: io::Error| MediaError::read(path, it))
}

const fn format_name(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

/// The last of the numbers in `    (12.34/100%)\r    (13.37/100%)\r`, without
/// its fraction.
fn last_percent(words: &str) -> Option<u64> {
    let (before, _) = words.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    let whole = number.split('.').next()?;
    whole.parse().ok().filter(|it| *it <= 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn progress_is_read_from_what_qemu_img_prints() {
        for (words, percent) in [
            ("    (0.00/100%)\r", Some(0)),
            ("    (12.34/100%)\r    (99.99/100%)\r    (10", Some(99)),
            ("    (100.00/100%)\r\n", Some(100)),
            ("/100%)", None),
            ("(x/100%)", None),
            ("", None),
        ] {
            assert_eq!(last_percent(words), percent, "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn no_words_are_too_strange(words in ".*") {
            _ = last_percent(&words);
        }
    }

    #[test]
    fn answers_of_qemu_img_are_read() {
        let info = r#"{"virtual-size": 4096, "filename": "x", "cluster-size": 65536,
            "format": "qcow2", "actual-size": 200704, "backing-filename": "b", "dirty-flag": false}"#;
        let info: Info = serde_json::from_str(info).unwrap();
        assert_eq!((info.virtual_size, info.actual_size), (4096, 200_704));
        assert_eq!(info.backing_filename.as_deref(), Some("b"));
        let check = r#"{"image-end-offset": 1, "check-errors": 0, "leaks": 2, "format": "qcow2"}"#;
        let check: Check = serde_json::from_str(check).unwrap();
        assert_eq!(check, Check { corruptions: 0, leaks: 2 });
    }
}
