//! Where machines run.

pub mod qemu;
