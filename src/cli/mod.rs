//! What people type: one function a command, the only reader of environment and paths.
