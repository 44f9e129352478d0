//! Preseed: answers to debconf questions, and what they say of the build, what is wrong.

mod inspect;
mod lint;
mod parse;

pub(super) use inspect::{inspect, is_preseed};
pub(super) use lint::lint;
