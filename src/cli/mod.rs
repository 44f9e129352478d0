//! cli
pub mod arguments;
