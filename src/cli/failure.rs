//! How a command ends: its exit status, and what it says when it fails.

use std::io::Write as _;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

/// Exit statuses, as `imgbuild --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    /// Failed, and nothing was left behind.
    Failed = 1,
    /// The command line is wrong. Clap uses it, too.
    Usage = 2,
    /// A spec or an answer file is not valid.
    Invalid = 3,
    /// Something was left behind, whether the build succeeded or not.
    LeftBehind = 4,
    /// Interrupted, and nothing was left behind.
    Interrupted = 130,
}

/// Why a command ends with another status than 0.
#[derive(Debug)]
pub(super) struct Failure {
    /// The status it ends with.
    pub status: Status,
    /// What is to be said; nothing where it was said already.
    pub report: Option<Box<dyn Diagnostic + Send + Sync>>,
}

impl Failure {
    /// The work failed.
    pub(super) fn failed(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { status: Status::Failed, report: Some(Box::new(error)) }
    }

    /// The command line asks for something that cannot be.
    pub(super) fn usage(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { status: Status::Usage, report: Some(Box::new(error)) }
    }

    /// A spec or an answer file is not valid.
    pub(super) fn invalid(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self { status: Status::Invalid, report: Some(Box::new(error)) }
    }

    /// Ends with a status; what there is to say was said.
    pub(super) fn silent(status: Status) -> Self {
        Self { status, report: None }
    }
}

/// An error of the command itself, with a remedy.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub(super) struct Plain {
    message: String,
    #[help]
    help: Option<String>,
    #[source]
    source: Option<std::io::Error>,
}

impl Plain {
    /// Says what is wrong and what to do.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()), source: None }
    }

    /// A file or folder could not be read or written.
    pub(super) fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self { message: message.into(), help: None, source: Some(source) }
    }
}

/// An error as people see it.
pub(super) fn render(error: &dyn Diagnostic, colours: bool) -> String {
    let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut text = String::new();
    // Links are for terminals that know them; a log should have plain text.
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    if handler.render_report(&mut text, error).is_err() {
        return error.to_string();
    }
    text
}

/// Prints an error to standard error.
pub(super) fn print(error: &dyn Diagnostic, colours: bool) {
    _ = writeln!(std::io::stderr(), "{}", render(error, colours).trim_end());
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;
    use crate::engine::{RunError, StageError};

    #[test]
    fn the_cause_of_a_failed_stage_is_shown() {
        let full = Plain::io("cannot write the image to `x`", Error::from(ErrorKind::StorageFull));
        let error = RunError { stage: "publish".to_owned(), source: StageError::of(full) };
        let shown = render(&error, false);
        assert!(shown.contains("cannot write the image to `x`"), "{shown}");
        assert!(shown.contains("no storage space"), "{shown}");
    }
}
