//! A declarative build-spec engine for OS images.
//!
//! A build goes through five values, each made from the one before:
//!
//! ```text
//! text ──spec──▶ SpecFile ──check──▶ Build ──render──▶ Rendered ──plan──▶ Plan
//!                                                                          │
//!                                              Artifact ◀──engine + runner──┘
//! ```
//!
//! Everything up to [`plan::Plan`] is pure: no files, no clock, no network, no
//! environment. Everything after it goes through one trait, [`engine::Runner`].
//!
//! # Modules in reading order
//!
//! - [`spec`]: text in, a checked [`model::Build`] or every mistake out.
//! - [`catalogue`]: what is known about each operating system, as data.
//! - [`answer`]: what an answer file says of itself.
//! - [`installer`]: how one OS installer is started and handed its answers.
//! - [`import`]: specs from what other tools describe.
//! - [`render`]: templates, filters, masked secrets.
//! - [`plan`]: what a build will do, as a value.
//! - [`engine`]: runs a plan; claims, journal, undo.
//! - [`console`]: what an installer's console says, judged by data.
//! - [`source`], [`media`], [`platform`], [`openstack`]: the effects.
//! - [`runner`]: which of them performs which stage.
//! - [`ui`], [`cli`]: what people see and type.
//!
//! # Invariants
//!
//! - A [`plan::Plan`] names every resource the build will create.
//! - A resource is claimed in the journal *before* it is created, so an
//!   interrupted build can always find what it left behind.
//! - Only [`ui`] and [`cli`] write to the terminal; only `main` ends the process.
//! - Secrets are never part of a plan, an event, an argument list or an error.

pub mod answer;
pub mod catalogue;
pub mod cli;
pub mod console;
pub mod engine;
pub mod guard;
pub mod import;
pub mod installer;
pub mod media;
pub mod model;
pub mod openstack;
pub mod plan;
pub mod platform;
pub mod redact;
pub mod render;
pub mod runner;
pub mod source;
pub mod spec;
pub mod ui;
pub mod units;

/// Cancelled when the user interrupts a build.
pub use tokio_util::sync::CancellationToken;
