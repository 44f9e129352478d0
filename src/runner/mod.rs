//! Which backend performs which stage.

pub mod command;
pub mod external;
pub mod folder;
pub mod manifest;
mod qemu;
mod release;

pub use qemu::{BuildKey, Context, GuestError, ImageError, MachineFailed, Observed, QemuRunner};
pub use release::{Release, ReleaseError, process_identity};
