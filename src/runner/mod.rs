//! Which backend performs which stage.

pub mod command;
pub mod external;
pub mod folder;
pub mod manifest;
mod release;

pub use release::{Release, ReleaseError, process_identity};
