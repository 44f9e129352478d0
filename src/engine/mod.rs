//! Runs a plan: in order, once each, undone on failure.

mod event;

pub use event::{Event, Level, Lifetime, Resource, ResourceKind, Teller, Unit};
