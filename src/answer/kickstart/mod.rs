//! Kickstart: commands, sections, what they say of the build, what is wrong.

mod arguments;
mod commands;
mod inspect;
mod lint;
mod parse;
mod rules;
mod words;

pub(super) use inspect::{hints_in_comments, inspect, is_kickstart};
pub(super) use lint::lint;
pub(super) use parse::Kickstart;
