//! What `fatfs` 0.3 leaves wrong.
//!
//! A new folder must begin with `.` and `..`; `fatfs` writes the slots of a long
//! name before each of them, which `fsck.vfat` rejects. `..` of a folder in the
//! root must name cluster 0 on FAT32, too. The boot sector must say how many
//! sectors come before it, and the label's entry must have a date.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{SECTOR, SECTOR_SIZE, window::Window};

const ENTRY: usize = 32;
const DELETED: u8 = 0xE5;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0F;
/// The attributes' place in an entry, that of the date of the last change, and
/// those of the two halves of the first cluster's number.
const ATTRIBUTES: usize = 11;
const DATE: usize = 24;
const CLUSTER_HIGH: usize = 20;
const CLUSTER_LOW: usize = 26;
/// 1980-01-01.
const FIRST_DAY: [u8; 2] = [0x21, 0];
/// Where the boot sector keeps the number of sectors before it, and where FAT32
/// keeps a copy of it.
const HIDDEN_SECTORS: u64 = 0x1C;
const COPY: u64 = 6 * SECTOR;

/// What a boot sector says about where things are, in bytes.
struct Places {
    is_fat32: bool,
    cluster: u64,
    table: u64,
    root: Root,
    data: u64,
}

/// Where the root folder is.
enum Root {
    /// In clusters, like any other folder.
    Cluster(u32),
    /// Between the tables and the first cluster.
    Fixed { start: u64, size: u64 },
}

/// Mends every folder. Called while there are folders only, so that the slots
/// that become free are used for files.
pub(super) fn folders(window: &mut Window<'_>) -> io::Result<()> {
    let places = Places::read(window)?;
    let mut folders = vec![];
    let root: Vec<u64> = match places.root {
        Root::Cluster(it) => places.entries_of(window, it)?,
        Root::Fixed { start, size } => (start..start + size).step_by(ENTRY).collect(),
    };
    if let Some(first) = root.first() {
        // The label.
        window.write_at(first + DATE as u64, &FIRST_DAY)?;
    }
    collect_folders(window, &root, &mut folders)?;
    let n_in_root = folders.len();
    let mut i = 0;
    while let Some(folder) = folders.get(i).copied() {
        let entries = places.entries_of(window, folder)?;
        mend_folder(window, &entries, i < n_in_root)?;
        collect_folders(window, &entries, &mut folders)?;
        i += 1;
    }
    Ok(())
}

/// Where the first cluster is.
pub(super) fn first_cluster(window: &mut Window<'_>) -> io::Result<u64> {
    Ok(Places::read(window)?.data)
}

/// Completes the boot sector of a volume that starts `lead` bytes into its disk.
pub(super) fn boot_sector(window: &mut Window<'_>, lead: u64) -> io::Result<()> {
    let is_fat32 = Places::read(window)?.is_fat32;
    let hidden = u32::try_from(lead / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
    window.write_at(HIDDEN_SECTORS, &hidden)?;
    if is_fat32 {
        window.write_at(COPY + HIDDEN_SECTORS, &hidden)?;
    }
    Ok(())
}

/// Copies the boot sector of a FAT32 volume to where its copy belongs, after a
/// boot loader changed it.
pub(in super::super) fn copy_boot_sector(disk: &File, lead: u64) -> io::Result<()> {
    let mut sector = [0; SECTOR_SIZE];
    disk.read_exact_at(&mut sector, lead)?;
    if is_fat32(&sector) {
        disk.write_all_at(&sector, lead + COPY)?;
    }
    Ok(())
}

/// FAT32 keeps the length of its tables elsewhere.
fn is_fat32(boot_sector: &[u8]) -> bool {
    u16_at(boot_sector, 22) == 0
}

impl Places {
    fn read(window: &mut Window<'_>) -> io::Result<Self> {
        let mut sector = [0; SECTOR_SIZE];
        window.read_at(0, &mut sector)?;
        let is_fat32 = is_fat32(&sector);
        let table_sectors = if is_fat32 { u32_at(&sector, 36) } else { u16_at(&sector, 22).into() };
        let table = u64::from(u16_at(&sector, 14)) * SECTOR;
        let after_tables = table + u64::from(sector[16]) * u64::from(table_sectors) * SECTOR;
        let size = u64::from(u16_at(&sector, 17)) * ENTRY as u64;
        let root = if is_fat32 {
            Root::Cluster(u32_at(&sector, 44))
        } else {
            Root::Fixed { start: after_tables, size }
        };
        let cluster = u64::from(sector[13]) * SECTOR;
        Ok(Self { is_fat32, cluster, table, root, data: after_tables + size })
    }

    /// The places of a folder's entries.
    fn entries_of(&self, window: &mut Window<'_>, first: u32) -> io::Result<Vec<u64>> {
        let mut entries = vec![];
        let mut cluster = first;
        let end = if self.is_fat32 { 0x0FFF_FFF8 } else { 0xFFF8 };
        while (2..end).contains(&cluster) {
            let start = self.data + u64::from(cluster - 2) * self.cluster;
            entries.extend((start..start + self.cluster).step_by(ENTRY));
            let mut next = [0; 4];
            if self.is_fat32 {
                window.read_at(self.table + 4 * u64::from(cluster), &mut next)?;
            } else {
                window.read_at(self.table + 2 * u64::from(cluster), &mut next[..2])?;
            }
            cluster = u32::from_le_bytes(next) & 0x0FFF_FFFF;
        }
        Ok(entries)
    }
}

/// Adds the first clusters of the folders that are in a folder.
fn collect_folders(
    window: &mut Window<'_>,
    entries: &[u64],
    folders: &mut Vec<u32>,
) -> io::Result<()> {
    for at in entries {
        let mut entry = [0; ENTRY];
        window.read_at(*at, &mut entry)?;
        match (entry[0], entry[ATTRIBUTES]) {
            (0, _) => break,
            (DELETED | b'.', _) | (_, LONG_NAME) => {}
            (_, attributes) if attributes & DIRECTORY != 0 => folders.push(cluster_of(&entry)),
            _ => {}
        }
    }
    Ok(())
}

/// Moves `.` and `..` to the front and frees the slots of their long names.
fn mend_folder(window: &mut Window<'_>, entries: &[u64], is_in_root: bool) -> io::Result<()> {
    let mut four = [[0; ENTRY]; 4];
    for (entry, at) in four.iter_mut().zip(entries) {
        window.read_at(*at, entry)?;
    }
    let is_as_expected =
        four.map(|it| it[ATTRIBUTES]) == [LONG_NAME, DIRECTORY, LONG_NAME, DIRECTORY];
    if !is_as_expected {
        return Err(io::Error::other("`fatfs` wrote a folder in another way than 0.3 does"));
    }
    let [_, this, _, mut parent] = four;
    if is_in_root {
        parent[CLUSTER_HIGH..CLUSTER_HIGH + 2].fill(0);
        parent[CLUSTER_LOW..CLUSTER_LOW + 2].fill(0);
    }
    let mut free = [0; ENTRY];
    free[0] = DELETED;
    for (entry, at) in [this, parent, free, free].iter().zip(entries) {
        window.write_at(*at, entry)?;
    }
    Ok(())
}

fn cluster_of(entry: &[u8; ENTRY]) -> u32 {
    u32::from(u16_at(entry, CLUSTER_HIGH)) << 16 | u32::from(u16_at(entry, CLUSTER_LOW))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
