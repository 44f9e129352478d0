//! Kickstart: commands, sections, and what they say of the build.

mod inspect;
mod parse;
mod words;

pub(super) use inspect::{hints_in_comments, inspect, is_kickstart};
pub(super) use parse::Kickstart;
