//! The size of a FAT volume and of its clusters.
//!
//! The number of clusters alone decides whether a volume is FAT12, FAT16 or
//! FAT32 (Microsoft, "FAT32 File System Specification", 2000, page 14), so a
//! size is chosen so that every reader counts the same. FAT16 with the largest
//! clusters that still give enough of them is the smallest and the quickest;
//! FAT32 begins where FAT16 ends, at 2 GiB.

use fatfs::FatType;

use super::SECTOR;

/// Files are made of whole mebibytes.
const GRAIN: u64 = 1 << 20;

/// The specification advises to stay this far away from the limits, which some
/// readers get wrong by a few.
const DISTANCE: u64 = 16;
const FAT16_LEAST: u64 = 4085 + DISTANCE;
const FAT16_MOST: u64 = 65524 - DISTANCE;
const FAT32_LEAST: u64 = 65525 + DISTANCE;

/// Every size of clusters that every reader knows, largest first.
const CLUSTERS: [u64; 7] = [32 << 10, 16 << 10, 8 << 10, 4 << 10, 2 << 10, 1 << 10, 512];

/// Entries in the root folder of FAT16, and the sectors they take.
const ROOT_SECTORS: u64 = 512 * 32 / SECTOR;

/// `fatfs` may reserve this many sectors more for its tables than are needed.
const TABLE_SLACK: u64 = 16;

/// How a volume is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Layout {
    fat_type: FatType,
    cluster: u64,
    clusters: u64,
    /// Bytes before the volume.
    lead: u64,
    /// Bytes of the whole file or disk.
    disk_size: u64,
}

impl Layout {
    /// The layout for files of these sizes, `spare` bytes more, and a volume
    /// that starts `lead` bytes into the disk.
    pub(super) fn of(sizes: Vec<u64>, lead: u64, spare: u64) -> Self {
        let sizes = [sizes, vec![spare]].concat();
        let needed = |cluster: u64| sizes.iter().map(|it| it.div_ceil(cluster)).sum::<u64>();
        for cluster in CLUSTERS {
            let is_smallest = cluster == SECTOR;
            let clusters = needed(cluster);
            if clusters < FAT16_LEAST && !is_smallest {
                continue;
            }
            let it = Self::with(FatType::Fat16, cluster, clusters.max(FAT16_LEAST), lead);
            // Rounding up to whole mebibytes adds clusters.
            if it.capacity() <= FAT16_MOST {
                return it;
            }
            break;
        }
        let cluster = CLUSTERS[0];
        Self::with(FatType::Fat32, cluster, needed(cluster).max(FAT32_LEAST) + 1, lead)
    }

    fn with(fat_type: FatType, cluster: u64, clusters: u64, lead: u64) -> Self {
        let mut it = Self { fat_type, cluster, clusters, lead, disk_size: 0 };
        let volume = (it.head_sectors() + clusters * cluster / SECTOR) * SECTOR;
        it.disk_size = (lead + volume).next_multiple_of(GRAIN);
        it
    }

    /// At most how many clusters there are in the volume as it is.
    fn capacity(&self) -> u64 {
        (self.disk_size - self.lead) / self.cluster
    }

    /// Sectors before the first cluster, at most.
    fn head_sectors(&self) -> u64 {
        let (entry, reserved, root) = match self.fat_type {
            FatType::Fat32 => (4, 8, 0),
            _ => (2, 1, ROOT_SECTORS),
        };
        // The rounding up may add this many clusters.
        let clusters = self.clusters + 2 + GRAIN / self.cluster;
        reserved + root + 2 * (clusters * entry).div_ceil(SECTOR) + TABLE_SLACK
    }

    /// Bytes at the start of the volume that hold its tables and the folders
    /// that are written first.
    pub(super) fn head_size(&self) -> u64 {
        let head = self.head_sectors() * SECTOR + 16 * self.cluster;
        head.next_multiple_of(4096).min(self.disk_size - self.lead)
    }

    pub(super) fn fat_type(&self) -> FatType {
        self.fat_type
    }

    /// Clusters that are needed.
    pub(super) fn clusters(&self) -> u32 {
        u32::try_from(self.clusters).unwrap_or(u32::MAX)
    }

    /// Bytes in a cluster.
    pub(super) fn cluster(&self) -> u32 {
        u32::try_from(self.cluster).unwrap_or(u32::MAX)
    }

    /// Sectors of the volume.
    pub(in super::super) fn sectors(&self) -> u32 {
        u32::try_from((self.disk_size - self.lead) / SECTOR).unwrap_or(u32::MAX)
    }

    /// Bytes before the volume.
    pub(in super::super) fn lead(&self) -> u64 {
        self.lead
    }

    /// Bytes of the whole file or disk.
    pub(in super::super) fn disk_size(&self) -> u64 {
        self.disk_size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout(size: u64) -> Layout {
        Layout::of(vec![size], 1 << 20, 0)
    }

    #[test]
    fn the_volume_is_as_small_as_its_content_allows() {
        for (size, fat_type, cluster, disk_mib) in [
            (0, FatType::Fat16, 512, 4),
            (1 << 20, FatType::Fat16, 512, 4),
            (3 << 20, FatType::Fat16, 512, 5),
            (53 << 20, FatType::Fat16, 8 << 10, 55),
            (600 << 20, FatType::Fat16, 32 << 10, 602),
            (2040 << 20, FatType::Fat16, 32 << 10, 2042),
            (2048 << 20, FatType::Fat32, 32 << 10, 2050),
            (4000 << 20, FatType::Fat32, 32 << 10, 4003),
        ] {
            let it = layout(size);
            let found = (it.fat_type, it.cluster, it.disk_size >> 20);
            assert_eq!(found, (fat_type, cluster, disk_mib), "{size}");
        }
    }

    proptest! {
        #[test]
        fn every_reader_counts_the_same(size in 0u64..(5 << 30), lead in prop_oneof![Just(0u64), Just(1 << 20)]) {
            let it = Layout::of(vec![size], lead, 0);
            let least = (it.disk_size - it.lead - it.head_sectors() * SECTOR) / it.cluster;
            prop_assert!(least >= it.clusters);
            prop_assert!(it.clusters * it.cluster >= size);
            prop_assert_eq!(it.disk_size % GRAIN, 0);
            match it.fat_type {
                FatType::Fat32 => prop_assert!(least >= FAT32_LEAST),
                _ => prop_assert!(least >= FAT16_LEAST && it.capacity() <= FAT16_MOST),
            }
        }
    }
}
