//! Disks and volumes that are written here: boot disk, config drive, answer volume.
//!
//! Everything is made as an ordinary file by an ordinary user: no root, no
//! mount, no loop device. The same inputs give the same bytes. A file appears
//! under its name only once it is complete, and its owner alone may read it,
//! because command lines and answer files may hold secrets.

pub mod boot_disk;
pub mod config_drive;
pub mod image;
pub mod initrd;
pub mod loaders;
pub mod volume;

mod command;
mod error;
mod fat;
mod output;

pub use error::MediaError;
