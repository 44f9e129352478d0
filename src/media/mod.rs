//! Disks and volumes that are written here: boot disk, config drive, answer volume.
