//! What people type: one function a command, the only reader of environment and paths.

pub mod arguments;
mod failure;
mod home;
mod runs;
