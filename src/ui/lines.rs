//! A line an event: plain for people, JSON for programs.

use std::{
    collections::HashMap,
    io::Write as _,
    time::{Duration, Instant},
};

use super::{Reader, Shown};
use crate::{
    engine::{Event, Level, Unit},
    redact::Redactor,
    units::{Size, Span},
};

/// Progress is told at most this often, so that a log stays readable.
const PLAIN_PAUSE: Duration = Duration::from_secs(15);
/// Programs may want to draw with it.
const JSON_PAUSE: Duration = Duration::from_millis(200);

/// Prints plain lines to standard error.
pub(super) struct Lines {
    redactor: Redactor,
    /// Which build it is, where there are several.
    prefix: Option<String>,
    began: Instant,
    quiet: bool,
    limit: Limit,
}

impl Lines {
    pub(super) fn new(
        redactor: Redactor,
        prefix: Option<String>,
        began: Instant,
        quiet: bool,
    ) -> Self {
        Self { redactor, prefix, began, quiet, limit: Limit::new(PLAIN_PAUSE) }
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        let important = matches!(event, Event::Said { level: Level::Warning, .. });
        if (self.quiet && !important) || !self.limit.lets(event) {
            return None;
        }
        let text = sentence(event)?;
        let at = Span::secs(self.began.elapsed().as_secs()).to_string();
        // What begins a run says its name by itself.
        let prefix = match (&self.prefix, event) {
            (Some(it), _) if !matches!(event, Event::BuildStarted { .. }) => format!("{it}: "),
            _ => String::new(),
        };
        Some(self.redactor.mask(&format!("[{at:>7}] {prefix}{text}")))
    }
}

impl Reader for Lines {
    fn read(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Prints every event as a line of JSON to standard output.
pub(super) struct Json {
    build: Shown,
    limit: Limit,
}

impl Json {
    pub(super) fn new(build: Shown) -> Self {
        Self { build, limit: Limit::new(JSON_PAUSE) }
    }

    /// The event with its time and the build that it is of.
    fn line(&mut self, event: &Event) -> Option<String> {
        if !self.limit.lets(event) {
            return None;
        }
        let serde_json::Value::Object(mut fields) = serde_json::to_value(event).ok()? else {
            return None;
        };
        let Shown { name, run, redactor, .. } = &self.build;
        fields.insert("time".to_owned(), jiff::Timestamp::now().to_string().into());
        fields.insert("name".to_owned(), name.as_str().into());
        fields.insert("run".to_owned(), run.as_str().into());
        Some(redactor.mask(&serde_json::Value::Object(fields).to_string()))
    }
}

impl Reader for Json {
    fn read(&mut self, event: &Event) {
        if let Some(line) = self.line(event) {
            _ = writeln!(crate::ui::stdout(), "{line}");
        }
    }
}

/// Lets progress through at a bounded rate, everything else always.
struct Limit {
    pause: Duration,
    /// By what it is of: downloads go on side by side.
    last: HashMap<String, Instant>,
}

impl Limit {
    fn new(pause: Duration) -> Self {
        Self { pause, last: HashMap::new() }
    }

    fn lets(&mut self, event: &Event) -> bool {
        let Event::Progress { what, done, total, .. } = event else { return true };
        let complete = *total == Some(*done);
        let recent = self.last.get(what).is_some_and(|at| at.elapsed() < self.pause);
        if recent && !complete {
            return false;
        }
        self.last.insert(what.clone(), Instant::now());
        true
    }
}

/// What an event says, for people; nothing where it says nothing to them.
pub fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::BuildStarted { run, name, stages, .. } => {
            format!("{name}: run {run}, stages {}", stages.join(", "))
        }
        Event::StageStarted { stage, .. } => format!("{stage} ..."),
        Event::StageFinished { stage, millis, .. } => {
            format!("{stage} done in {}", Span::secs(millis / 1000))
        }
        Event::StageFailed { stage, causes, .. } => {
            format!("{stage} FAILED: {}", causes.first().map_or("", String::as_str))
        }
        Event::PhaseReached { phase, millis } => {
            format!("  phase {phase} after {}", Span::secs(millis / 1000))
        }
        Event::Progress { what, done, total, unit } => {
            format!("  {what} {}", amount(*done, *total, *unit))
        }
        Event::Said { level: Level::Info, text } => format!("  {text}"),
        Event::Said { level: Level::Warning, text } => format!("warning: {text}"),
        Event::BuildFinished { outcome, product, .. } => match product {
            Some(product) => format!("build {outcome}: {product}"),
            None => format!("build {outcome}"),
        },
        Event::Claimed { .. } | Event::Confirmed { .. } | Event::Released { .. } => return None,
    })
}

/// `12 MiB of 40 MiB`, `14 of 37`, `33 %`.
pub(super) fn amount(done: u64, total: Option<u64>, unit: Unit) -> String {
    match (unit, total) {
        (Unit::Bytes, Some(total)) => format!("{} of {}", Size::bytes(done), Size::bytes(total)),
        (Unit::Bytes, None) => Size::bytes(done).to_string(),
        (Unit::Items, Some(total)) => format!("{done} of {total}"),
        (Unit::Items, None) => done.to_string(),
        (Unit::Percent, _) => format!("{done} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downloads_side_by_side_are_each_told_once_in_a_while() {
        let mut limit = Limit::new(Duration::from_hours(1));
        let mut told = Vec::new();
        for done in 0..=100 {
            for what in ["kernel", "initrd"] {
                let what = what.to_owned();
                let event = Event::Progress { what, done, total: Some(100), unit: Unit::Bytes };
                if limit.lets(&event) {
                    told.push(done);
                }
            }
        }
        assert_eq!(told, [0, 0, 100, 100]);
    }

    fn stage() -> Event {
        Event::StageStarted { index: 0, stage: "fetch".into() }
    }

    #[test]
    fn of_several_builds_each_line_says_which() {
        let mut many = Lines::new(Redactor::default(), Some("a".into()), Instant::now(), false);
        assert_eq!(many.line(&stage()).unwrap(), "[     0s] a: fetch ...");
        let mut one = Lines::new(Redactor::default(), None, Instant::now(), false);
        assert_eq!(one.line(&stage()).unwrap(), "[     0s] fetch ...");
    }

    #[test]
    fn objects_say_build_and_run() {
        let build = Shown { name: "a".into(), run: "20261123-a".into(), ..Shown::default() };
        let line = Json::new(build).line(&stage()).unwrap();
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["name"], "a");
        assert_eq!(object["run"], "20261123-a");
        assert_eq!(object["event"], "stage-started");
    }
}
