//! What people see: bars, plain lines or JSON lines, all from one event stream.
//!
//! People's text goes to standard error; standard output carries data only.
//! Whoever stops reading does not stop the build.

mod bars;
mod lines;
pub mod report;

use std::io::IsTerminal as _;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::{engine::Event, redact::Redactor};

pub use lines::sentence;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Bars that move, on a terminal.
    Bars,
    /// A line an event, for logs.
    Lines,
    /// An event a line, as JSON on standard output.
    Json,
    /// Warnings and the end only.
    Quiet,
}

impl Format {
    /// Bars on a terminal, plain lines elsewhere.
    pub fn automatic() -> Self {
        if std::io::stderr().is_terminal() { Self::Bars } else { Self::Lines }
    }
}

/// Whether text may be coloured, by <https://no-color.org> and the terminal.
pub fn colours(no_color: Option<&str>) -> bool {
    no_color.is_none_or(str::is_empty) && std::io::stderr().is_terminal()
}

/// Shows every event until nobody can send one any more.
pub async fn show(mut events: UnboundedReceiver<Event>, format: Format, redactor: Redactor) {
    let mut reader: Box<dyn FnMut(&Event)> = match format {
        Format::Bars => bars::reader(redactor),
        Format::Lines => lines::reader(redactor, false),
        Format::Quiet => lines::reader(redactor, true),
        Format::Json => lines::json_reader(redactor),
    };
    while let Some(event) = events.recv().await {
        reader(&event);
    }
}
