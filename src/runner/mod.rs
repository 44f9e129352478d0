//! Which backend performs which stage.

pub mod command;
mod console_log;
pub mod external;
mod failed;
pub mod folder;
pub mod manifest;
mod openstack;
mod qemu;
mod release;

pub use console_log::SYSTEM_LOG;
pub use failed::MachineFailed;
pub use openstack::{CloudError, Crowd, OpenstackRunner, Place, empty_cache};
pub use qemu::{BuildKey, Checked, Context, GuestError, ImageError, Observed, QemuRunner};
pub use release::{Release, ReleaseError, process_identity};
