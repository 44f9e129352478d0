//! Files that are added to an installer's initrd.
//!
//! The kernel unpacks one archive after the other, whatever their compression,
//! each at a multiple of four bytes (Linux, "Initramfs buffer format"). So an
//! archive in the `newc` format of cpio(5) is put behind the installer's own.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder, write::GzEncoder};

use super::{
    MediaError,
    fat::padding,
    output::{CHUNK, Output},
};
use crate::CancellationToken;

/// A file in an initrd. Its content may hold secrets and is never shown.
#[derive(Clone, Copy)]
pub struct InitrdFile<'a> {
    /// Its path from the root, without a leading `/`, such as `preseed.cfg`.
    pub path: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
    /// Its permissions, such as `0o600`.
    pub mode: u32,
}

/// How the added archive is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// As it is, which every kernel reads.
    #[default]
    Plain,
    /// Compressed, which every kernel with a compressed initrd reads.
    Gzip,
}

/// The type bits of a mode, cpio(5).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Writes `initrd` and the `files` behind it to `out`, with mode 0600; the
/// result's length in bytes.
///
/// Blocks for as long as copying takes.
pub fn append(
    initrd: &Path,
    files: &[InitrdFile<'_>],
    packing: Packing,
    out: &Path,
    cancel: &CancellationToken,
) -> Result<u64, MediaError> {
    let archive = archive(files, packing)?;
    let output = Output::create(out)?;
    let mut from = fs_err::File::open(initrd).map_err(|it| MediaError::read(initrd, it))?;
    let mut to = output.file();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
        match from.read(&mut buffer).map_err(|it| MediaError::read(initrd, it))? {
            0 => break,
            n => {
                to.write_all(&buffer[..n]).map_err(|it| output.error(it))?;
                size += n as u64;
            }
        }
    }
    to.write_all(padding(size)).map_err(|it| output.error(it))?;
    to.write_all(&archive).map_err(|it| output.error(it))?;
    Ok(output.complete(cancel)?.size)
}

/// The files as an archive of its own, the same bytes for the same files.
pub fn archive(files: &[InitrdFile<'_>], packing: Packing) -> Result<Vec<u8>, MediaError> {
    let mut entries = BTreeMap::new();
    for file in files {
        check_path(file.path)?;
        for (i, _) in file.path.match_indices('/') {
            entries.entry(&file.path[..i]).or_insert((FOLDER | 0o755, &[][..]));
        }
    }
    for file in files {
        let entry = (FILE | (file.mode & 0o7777), file.bytes);
        if entries.insert(file.path, entry).is_some() {
            return Err(MediaError::FileName { name: file.path.to_owned() });
        }
    }
    let mut plain = vec![];
    for (number, (path, (mode, bytes))) in (1u32..).zip(&entries) {
        add(&mut plain, number, *mode, path, bytes)?;
    }
    add(&mut plain, 0, 0, TRAILER, &[])?;
    match packing {
        Packing::Plain => Ok(plain),
        Packing::Gzip => gzip(&plain).map_err(|it| MediaError::write("initrd", it)),
    }
}

fn check_path(path: &str) -> Result<(), MediaError> {
    let plain = |it: &str| !matches!(it, "" | "." | "..") && !it.contains('\0');
    if path == TRAILER || !path.split('/').all(plain) {
        return Err(MediaError::FileName { name: path.to_owned() });
    }
    Ok(())
}

/// Adds one entry: thirteen numbers in hex after the magic one, the name with
/// its final zero and the content, both padded to four bytes.
fn add(
    archive: &mut Vec<u8>,
    number: u32,
    mode: u32,
    path: &str,
    bytes: &[u8],
) -> Result<(), MediaError> {
    let too_large = || MediaError::TooLarge { name: path.to_owned(), size: bytes.len() as u64 };
    let size = u32::try_from(bytes.len()).map_err(|_| too_large())?;
    let name_size = u32::try_from(path.len() + 1).map_err(|_| too_large())?;
    let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
    archive.extend(b"070701");
    let (owner, group, time, device) = (0, 0, 0, 0);
    for field in [
        number, mode, owner, group, links, time, size, device, device, device, device, name_size, 0,
    ] {
        archive.extend(format!("{field:08X}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    archive.extend(padding(archive.len() as u64));
    archive.extend(bytes);
    archive.extend(padding(archive.len() as u64));
    Ok(())
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder: GzEncoder<Vec<u8>> =
        GzBuilder::new().mtime(0).write(vec![], Compression::best());
    encoder.write_all(plain)?;
    encoder.finish()
}

impl fmt::Debug for InitrdFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes, {:o})", self.path, self.bytes.len(), self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(path: &'a str, bytes: &'a [u8]) -> InitrdFile<'a> {
        InitrdFile { path, bytes, mode: 0o600 }
    }

    #[test]
    fn an_archive_is_the_same_each_time_and_aligned() {
        let files = [file("preseed.cfg", b"d-i"), file("a/b/c", b"12345")];
        for packing in [Packing::Plain, Packing::Gzip] {
            let one = archive(&files, packing).unwrap();
            assert_eq!(one, archive(&files, packing).unwrap());
        }
        assert_eq!(archive(&files, Packing::Plain).unwrap().len() % 4, 0);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a//b", "a/./b", "a\0", "TRAILER!!!"] {
            let it = archive(&[file(path, b"")], Packing::Plain);
            assert!(matches!(it, Err(MediaError::FileName { .. })), "{path:?}");
        }
        assert!(archive(&[file("a", b""), file("a/b", b"")], Packing::Plain).is_err());
        assert!(archive(&[file("a", b""), file("a", b"")], Packing::Plain).is_err());
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", file("ks.cfg", b"hunter2")), "ks.cfg (7 bytes, 600)");
    }
}
