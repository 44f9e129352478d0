//! QEMU on this machine.
