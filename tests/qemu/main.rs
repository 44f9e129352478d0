//! A real QEMU: one is run at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accelerator;
mod guest;
mod machine;
mod throughput;
