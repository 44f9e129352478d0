//! A FAT file system that is written once, from nothing.
//!
//! The size follows from the files. `fatfs` writes the structures; what its
//! release 0.3 leaves wrong is mended in [`mend`], and what makes it slow on a
//! plain file is taken care of by [`window`].

mod layout;
mod mend;
mod window;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use sha2::{Digest as _, Sha256};

pub(super) use layout::Layout;
pub(super) use mend::copy_boot_sector;

use self::window::{Reservation, Window};
use super::{MediaError, output::CHUNK};
use crate::CancellationToken;

/// Bytes in a sector.
pub(super) const SECTOR_SIZE: usize = 512;
/// The same, where places are computed.
pub(super) const SECTOR: u64 = SECTOR_SIZE as u64;

/// The longest file that a directory entry can describe.
const LONGEST_FILE: u64 = u32::MAX as u64;

/// A hole in a file is at least this long.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A volume label, up to eleven bytes, kept as it is written: Linux tells upper
/// from lower case (`OEMDRV`, `config-2`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label([u8; 11]);

/// Files and folders of a volume, by path. Folders come into being by
/// themselves.
#[derive(Default)]
pub(super) struct Tree<'a> {
    files: BTreeMap<String, Content<'a>>,
}

/// What is in a file.
pub(super) enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// These files, one after the other, each but the last padded with zeros to
    /// four bytes; with their lengths.
    Files(Vec<(&'a Path, u64)>),
}

/// Files of this machine that a place on the disk is reserved for.
#[derive(Debug)]
pub(super) struct Reserved {
    /// Where on the disk, in bytes.
    start: u64,
    /// The byte after it.
    end: u64,
    /// What comes there, with lengths.
    parts: Vec<(PathBuf, u64)>,
}

/// Stops the clock, so that the same files give the same bytes.
#[derive(Debug)]
struct Midnight;

impl Label {
    /// A label, where FAT can hold it.
    pub(super) fn new(label: &str) -> Result<Self, MediaError> {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || b"-_ ".contains(&it);
        let fits =
            (1..=11).contains(&label.len()) && label.bytes().all(allowed) && label.trim() == label;
        if !fits {
            return Err(MediaError::Label { label: label.to_owned() });
        }
        let mut bytes = [b' '; 11];
        bytes[..label.len()].copy_from_slice(label.as_bytes());
        Ok(Self(bytes))
    }

    /// A serial number of its own, so that two volumes that are attached at once
    /// are not taken for one another.
    fn serial(self) -> u32 {
        let digest = Sha256::digest(self.0);
        u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
    }
}

impl<'a> Tree<'a> {
    /// Adds a file.
    pub(super) fn add(&mut self, path: &str, content: Content<'a>) -> Result<(), MediaError> {
        let plain = |it: &str| {
            !it.is_empty()
                && it != "."
                && it != ".."
                && it.len() <= 255
                && !it.ends_with([' ', '.'])
                && it.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
                && !it.contains(['\\', ':', '*', '?', '"', '<', '>', '|'])
        };
        let is_taken = self.files.keys().any(|it| {
            let (it, path) = (it.to_ascii_lowercase(), path.to_ascii_lowercase());
            it == path || it.starts_with(&format!("{path}/")) || path.starts_with(&format!("{it}/"))
        });
        if is_taken || !path.split('/').all(plain) {
            return Err(MediaError::FileName { name: path.to_owned() });
        }
        let size = content.size();
        if size > LONGEST_FILE {
            return Err(MediaError::TooLarge { name: path.to_owned(), size });
        }
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// The layout of the smallest volume with these files and `spare` bytes
    /// more, which starts `lead` bytes into the file or disk.
    pub(super) fn layout(&self, lead: u64, spare: u64) -> Layout {
        let folders = self.folders();
        let folder_sizes = folders.iter().map(|folder| self.folder_size(folder, &folders));
        let sizes = self.files.values().map(Content::size).chain(folder_sizes);
        Layout::of(sizes.collect(), lead, spare)
    }

    /// Writes the volume into `disk`, which is empty, where `layout` says, and
    /// makes the disk as long as the layout needs. Returns what is still to be
    /// filled in.
    pub(super) fn write(
        &self,
        disk: &File,
        layout: &Layout,
        label: Label,
    ) -> io::Result<Vec<Reserved>> {
        disk.set_len(layout.disk_size())?;
        let mut window = Window::new(disk, layout);
        format(&mut window, layout, label)?;
        self.write_folders(&mut window)?;
        mend::folders(&mut window)?;
        let mut reserved = self.write_files(&mut window)?;
        mend::boot_sector(&mut window, layout.lead())?;
        window.finish()?;
        for it in &mut reserved {
            it.start += layout.lead();
            it.end += layout.lead();
        }
        Ok(reserved)
    }

    fn write_folders(&self, window: &mut Window<'_>) -> io::Result<()> {
        let volume = mount(window)?;
        for folder in self.folders() {
            volume.root_dir().create_dir(&folder)?;
        }
        volume.unmount()
    }

    fn write_files(&self, window: &mut Window<'_>) -> io::Result<Vec<Reserved>> {
        let mut all_reserved = vec![];
        let reservation = window.reservation();
        let first_cluster = mend::first_cluster(window)?;
        let volume = mount(window)?;
        for (path, content) in &self.files {
            let mut file = volume.root_dir().create_file(path)?;
            match content {
                Content::Bytes(bytes) => file.write_all(bytes)?,
                Content::Files(parts) => {
                    reservation.set(Reservation::From(first_cluster));
                    let mut left = content.size();
                    while left > 0 {
                        let n = usize::try_from(left).map_or(ZEROS.len(), |it| it.min(ZEROS.len()));
                        file.write_all(&ZEROS[..n])?;
                        left -= n as u64;
                    }
                    let parts = parts.iter().map(|(path, size)| (path.to_path_buf(), *size));
                    match reservation.take() {
                        Reservation::Range { start, end } if end - start == content.size() => {
                            all_reserved.push(Reserved { start, end, parts: parts.collect() });
                        }
                        Reservation::From(_) => {}
                        _ => return Err(io::Error::other("the clusters of a file are scattered")),
                    }
                }
            }
            file.flush()?;
        }
        // Counts free clusters, which FAT32 keeps in its FSInfo sector.
        volume.stats()?;
        volume.unmount()?;
        Ok(all_reserved)
    }

    /// Every folder, parents before children.
    fn folders(&self) -> Vec<String> {
        let mut folders: Vec<_> = self
            .files
            .keys()
            .flat_map(|path| path.match_indices('/').map(|(i, _)| path[..i].to_owned()))
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Bytes of a folder's own entries: 32 for each, one for a name's short form
    /// and one for every 13 characters of its long form.
    fn folder_size(&self, folder: &str, folders: &[String]) -> u64 {
        let entries: usize = self
            .files
            .keys()
            .chain(folders)
            .filter_map(|path| path.rsplit_once('/'))
            .filter(|(parent, _)| *parent == folder)
            .map(|(_, name)| 1 + name.len().div_ceil(13))
            .sum();
        // `.` and `..`, as `fatfs` writes them, and the end.
        32 * (entries as u64 + 5)
    }
}

impl<'a> Content<'a> {
    /// Files on this machine, as one.
    pub(super) fn files(paths: &[&'a Path]) -> Result<Self, MediaError> {
        let sized = |path: &&'a Path| {
            let metadata = fs_err::metadata(path).map_err(|it| MediaError::read(*path, it))?;
            Ok((*path, metadata.len()))
        };
        Ok(Self::Files(paths.iter().map(sized).collect::<Result<_, MediaError>>()?))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Files(parts) => {
                let last = parts.len().saturating_sub(1);
                let padded = |(i, (_, size)): (usize, &(&Path, u64))| {
                    size + if i < last { padding(*size).len() as u64 } else { 0 }
                };
                parts.iter().enumerate().map(padded).sum()
            }
        }
    }
}

impl TimeProvider for Midnight {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time { hour: 0, min: 0, sec: 0, millis: 0 },
        }
    }
}

/// Zeros up to the next multiple of four, where the kernel looks for the next
/// archive of an initrd.
pub(super) fn padding(size: u64) -> &'static [u8] {
    match size % 4 {
        1 => &[0; 3],
        2 => &[0; 2],
        3 => &[0; 1],
        _ => &[],
    }
}

fn format(window: &mut Window<'_>, layout: &Layout, label: Label) -> io::Result<()> {
    let options = FormatVolumeOptions::new()
        .bytes_per_cluster(layout.cluster())
        .total_sectors(layout.sectors())
        .volume_label(label.0)
        .volume_id(label.serial());
    fatfs::format_volume(&mut *window, options)?;
    let volume = mount(window)?;
    let clusters = volume.stats()?.total_clusters();
    if volume.fat_type() != layout.fat_type() || clusters < layout.clusters() {
        return Err(io::Error::other("the file system came out smaller than it was planned"));
    }
    volume.unmount()
}

fn mount<'w, 'f>(window: &'w mut Window<'f>) -> io::Result<FileSystem<&'w mut Window<'f>>> {
    window.rewind_to_start();
    FileSystem::new(window, FsOptions::new().time_provider(&Midnight))
}

/// Writes files to the places that are reserved for them on `disk`, which is
/// empty there.
pub(super) fn fill(
    disk: &File,
    all_reserved: &[Reserved],
    written: impl Fn(io::Error) -> MediaError,
    cancel: &CancellationToken,
) -> Result<(), MediaError> {
    for Reserved { start, parts, .. } in all_reserved {
        let mut at = *start;
        for (path, size) in parts {
            copy(path, *size, disk, at, &written, cancel)?;
            at += size + padding(*size).len() as u64;
        }
    }
    Ok(())
}

/// Copies everything that is not reserved from one disk to the other, which is
/// empty there.
pub(super) fn copy_around(
    from: &File,
    to: &File,
    layout: &Layout,
    all_reserved: &[Reserved],
) -> io::Result<()> {
    let mut edges = vec![0, layout.disk_size()];
    edges.extend(all_reserved.iter().flat_map(|it| [it.start, it.end]));
    edges.sort_unstable();
    let mut buffer = vec![0; CHUNK];
    for gap in edges.chunks_exact(2) {
        let mut at = gap[0];
        while at < gap[1] {
            let n = buffer.len().min(usize::try_from(gap[1] - at).unwrap_or(usize::MAX));
            from.read_exact_at(&mut buffer[..n], at)?;
            write_sparse(to, &buffer[..n], at)?;
            at += n as u64;
        }
    }
    Ok(())
}

/// Copies exactly `size` bytes of the file at `path` to a place on `disk`.
fn copy(
    path: &Path,
    size: u64,
    disk: &File,
    at: u64,
    written: &impl Fn(io::Error) -> MediaError,
    cancel: &CancellationToken,
) -> Result<(), MediaError> {
    let mut from = fs_err::File::open(path).map_err(|it| MediaError::read(path, it))?;
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(MediaError::Cancelled);
        }
        let n = from.read(&mut buffer).map_err(|it| MediaError::read(path, it))?;
        let found = copied + n as u64;
        if found > size || (n == 0 && found < size) {
            return Err(MediaError::Changed { path: path.to_owned(), expected: size, found });
        }
        if n == 0 {
            return Ok(());
        }
        write_sparse(disk, &buffer[..n], at + copied).map_err(written)?;
        copied = found;
    }
}

/// Writes at most [`CHUNK`] bytes to an empty place, unless they are zeros.
fn write_sparse(disk: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    // Most chunks differ from zeros in their first block, and are written at once.
    let is_zero = |it: &[u8]| *it == ZEROS[..it.len()];
    if !bytes.chunks(ZEROS.len()).any(is_zero) {
        return disk.write_all_at(bytes, at);
    }
    for (i, block) in bytes.chunks(ZEROS.len()).enumerate() {
        if !is_zero(block) {
            disk.write_all_at(block, at + (i * ZEROS.len()) as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_case_and_fit() {
        assert_eq!(Label::new("config-2").unwrap().0, *b"config-2   ");
        assert_eq!(Label::new("OEMDRV").unwrap().0, *b"OEMDRV     ");
        for label in ["", "much-too-long", "a/b", " x", "x ", "ü", "a.b", "a\n"] {
            assert!(matches!(Label::new(label), Err(MediaError::Label { .. })), "{label:?}");
        }
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for name in ["", "/a", "a//b", "../a", "a/.", "a:b", "a ", "a.", "ü", "a\0", "a\n"] {
            let mut tree = Tree::default();
            let added = tree.add(name, Content::Bytes(b""));
            assert!(matches!(added, Err(MediaError::FileName { .. })), "{name:?}");
        }
        let mut tree = Tree::default();
        tree.add("a/b", Content::Bytes(b"")).unwrap();
        for name in ["A/B", "a", "a/b/c"] {
            assert!(tree.add(name, Content::Bytes(b"")).is_err(), "{name} is there already");
        }
    }

    #[test]
    fn files_that_fat_cannot_hold_are_refused() {
        let size = LONGEST_FILE + 1;
        let parts = vec![(Path::new("x"), size)];
        let added = Tree::default().add("x", Content::Files(parts));
        assert!(matches!(added, Err(MediaError::TooLarge { .. })));
    }

    #[test]
    fn parents_come_before_children() {
        let mut tree = Tree::default();
        for path in ["z", "EFI/BOOT/BOOTX64.EFI", "EFI/debian/grub.cfg"] {
            tree.add(path, Content::Bytes(b"")).unwrap();
        }
        assert_eq!(tree.folders(), ["EFI", "EFI/BOOT", "EFI/debian"]);
    }

    #[test]
    fn an_input_that_changes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        fs_err::write(&path, [1; 100]).unwrap();
        let disk = tempfile::tempfile().unwrap();
        let written = |it| MediaError::write("out", it);
        for size in [99, 101] {
            let copied = copy(&path, size, &disk, 0, &written, &CancellationToken::new());
            assert!(matches!(copied, Err(MediaError::Changed { .. })), "{size}");
        }
    }
}
