//! A line an event: plain for people, JSON for programs.

use std::{
    collections::HashMap,
    io::Write as _,
    time::{Duration, Instant},
};

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
pub(super) fn reader(redactor: Redactor, quiet: bool) -> Box<dyn FnMut(&Event)> {
    let began = Instant::now();
    let mut limit = Limit::new(PLAIN_PAUSE);
    Box::new(move |event| {
        let important = matches!(event, Event::Said { level: Level::Warning, .. });
        if (quiet && !important) || !limit.lets(event) {
            return;
        }
        if let Some(text) = sentence(event) {
            let at = Span::secs(began.elapsed().as_secs());
            _ = writeln!(std::io::stderr(), "[{:>7}] {}", at.to_string(), redactor.mask(&text));
        }
    })
}

/// Prints every event as a line of JSON to standard output.
pub(super) fn json_reader(redactor: Redactor) -> Box<dyn FnMut(&Event)> {
    let mut limit = Limit::new(JSON_PAUSE);
    Box::new(move |event| {
        if !limit.lets(event) {
            return;
        }
        let time = jiff::Timestamp::now();
        if let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(event) {
            fields.insert("time".to_owned(), time.to_string().into());
            let line = serde_json::Value::Object(fields).to_string();
            _ = writeln!(std::io::stdout(), "{}", redactor.mask(&line));
        }
    })
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
}
