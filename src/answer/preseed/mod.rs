//! Preseed: answers to debconf questions, and what they say of the build.

mod inspect;
mod parse;

pub(super) use inspect::{inspect, is_preseed};
