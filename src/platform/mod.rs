//! Where machines run.

pub mod qemu;

use serde::Serialize;

/// Something that was looked at on this machine, for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As it should be.
    Good,
    /// Builds work, though not as well as they could.
    Warning,
    /// Builds do not work without it.
    Missing,
}

impl Check {
    /// It is as it should be.
    pub fn good(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), grade: Grade::Good, found: found.into(), remedy: None }
    }

    /// It could be better.
    pub fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self { name: name.to_owned(), grade: Grade::Warning, found, remedy }
    }

    /// It is missing.
    pub fn missing(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { grade: Grade::Missing, ..Self::warning(name, found, remedy) }
    }
}
