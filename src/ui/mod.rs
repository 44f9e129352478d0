//! What people see: bars, plain lines or JSON lines, all from one event stream.
//!
//! People's text goes to standard error; standard output carries data only.
//! Whoever stops reading does not stop the build. Several builds at once share
//! one [`Display`]: each has its own bar, its name before each of its lines, or
//! its name and run in each of its JSON objects.

mod bars;
mod lines;
mod output;
pub mod report;
pub mod time;

use std::{
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::MultiProgress;
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{MissedTickBehavior, interval},
};

use crate::{
    engine::{Event, Level},
    redact::Redactor,
};

pub use lines::sentence;
pub(crate) use output::{lost, stdout};
pub use time::Expected;

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

/// One build, as it is shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The image's name.
    pub name: String,
    /// The run's ID.
    pub run: String,
    /// Knows its secrets.
    pub redactor: Redactor,
    /// How long its stages will take, where an earlier run tells.
    pub expected: Expected,
}

/// Where all builds of one command are shown.
#[derive(Clone, Debug)]
pub struct Display {
    format: Format,
    is_many: bool,
    began: Instant,
    bars: MultiProgress,
}

/// How often bars move.
const FRAME: Duration = Duration::from_millis(250);

/// Shows the events of one build.
trait Reader {
    fn read(&mut self, event: &Event);

    /// Time has gone on.
    fn tick(&mut self) {}
}

impl Display {
    /// Shows as `format` says; with `is_many` each line says which build it is of.
    pub fn new(format: Format, is_many: bool) -> Self {
        Self { format, is_many, began: Instant::now(), bars: MultiProgress::new() }
    }

    /// Shows every event of one build until nobody can send one any more.
    pub async fn show(self, mut events: UnboundedReceiver<Event>, build: Shown) {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let moves = self.format == Format::Bars;
        let mut reader: Box<dyn Reader> = match self.format {
            Format::Bars => Box::new(bars::Bars::new(self.bars, build, self.is_many)),
            Format::Json => Box::new(lines::Json::new(build)),
            Format::Lines | Format::Quiet => {
                let prefix = self.is_many.then(|| build.name.clone());
                let quiet = self.format == Format::Quiet;
                Box::new(lines::Lines::new(build.redactor, prefix, self.began, quiet))
            }
        };
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => reader.read(&event),
                    None => return,
                },
                _ = frames.tick(), if moves => reader.tick(),
            }
        }
    }

    /// Whether lines say which build they are of.
    pub fn is_many(&self) -> bool {
        self.is_many
    }

    /// Prints lines for people between the bars.
    pub fn print(&self, text: &str) {
        self.bars.suspend(|| {
            _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        });
    }

    /// Prints a line of data on standard output, between the bars.
    pub fn print_data(&self, text: &str) {
        self.bars.suspend(|| {
            _ = writeln!(crate::ui::stdout(), "{text}");
        });
    }

    /// Says something of a build that has no run yet.
    pub fn say(&self, name: &str, text: &str) {
        let event = Event::Said { level: Level::Info, text: text.to_owned() };
        let build = Shown { name: name.to_owned(), ..Shown::default() };
        match self.format {
            Format::Json => lines::Json::new(build).read(&event),
            Format::Lines => {
                let prefix = Some(build.name);
                lines::Lines::new(build.redactor, prefix, self.began, false).read(&event);
            }
            Format::Bars | Format::Quiet => self.print(&format!("{name}: {text}")),
        }
    }
}
