//! Bars that move, on a terminal.

use std::{collections::HashMap, fmt, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{
    Reader, Shown,
    lines::{amount, sentence},
    time,
};
use crate::{
    engine::{Event, Unit},
    units::Span,
};

/// Draws one bar for the running stage, and in a build that is alone one for
/// each thing that is fetched or moved in it; what is over becomes a line.
pub(super) struct Bars {
    build: Shown,
    is_many: bool,
    screen: MultiProgress,
    stage: Option<Running>,
    moved: HashMap<String, ProgressBar>,
}

/// A stage that runs.
struct Running {
    name: String,
    bar: ProgressBar,
    /// The installer's phase, or what is counted in it.
    at: String,
}

impl Bars {
    pub(super) fn new(bars: MultiProgress, build: Shown, is_many: bool) -> Self {
        Self { build, is_many, screen: bars, stage: None, moved: HashMap::new() }
    }

    fn begin(&mut self, stage: &str) {
        let bar = self.screen.add(ProgressBar::no_length());
        bar.set_style(stage_style(false, self.build.expected.stage(stage)));
        bar.set_prefix(self.build.name.clone());
        self.stage = Some(Running { name: stage.to_owned(), bar, at: String::new() });
        self.at("");
    }

    /// Shows where the stage is.
    fn at(&mut self, text: &str) {
        let Some(stage) = &mut self.stage else { return };
        text.clone_into(&mut stage.at);
        let message = message(&stage.name, &stage.at);
        stage.bar.set_message(self.build.redactor.mask(&message));
    }

    fn count(&mut self, what: &str, done: u64, total: Option<u64>, unit: Unit) {
        if unit == Unit::Bytes && !self.is_many {
            return self.bytes(what, done, total);
        }
        self.at(&counted(what, done, total, unit));
        let Some(stage) = &self.stage else { return };
        let length = if unit == Unit::Percent { Some(100) } else { total };
        if let Some(length) = length.filter(|it| stage.bar.length() != Some(*it)) {
            stage.bar.set_length(length);
            let expected = self.build.expected.stage(&stage.name);
            stage.bar.set_style(stage_style(true, expected));
        }
        stage.bar.set_position(done);
    }

    fn bytes(&mut self, what: &str, done: u64, total: Option<u64>) {
        let bars = &self.screen;
        let bar = self.moved.entry(what.to_owned()).or_insert_with(|| {
            let template = if total.is_some() {
                "    {prefix:28!} {bar:24} {msg}"
            } else {
                "    {prefix:28!} {msg}"
            };
            bars.add(ProgressBar::new(total.unwrap_or(100)).with_style(style(template)))
        });
        bar.set_prefix(self.build.redactor.mask(what));
        bar.set_message(amount(done, total, Unit::Bytes));
        bar.set_position(done);
        if total == Some(done) {
            bar.finish_and_clear();
            self.moved.remove(what);
        }
    }

    fn end_stage(&mut self) {
        self.clear_moved();
        if let Some(stage) = self.stage.take() {
            stage.bar.finish_and_clear();
        }
    }

    fn clear_moved(&mut self) {
        for (_, bar) in self.moved.drain() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        _ = self.screen.println(self.build.redactor.mask(text));
    }
}

impl Reader for Bars {
    fn read(&mut self, event: &Event) {
        let name = &self.build.name;
        match event {
            Event::BuildStarted { name, run, .. } => self.line(&format!(" {name}  run {run}")),
            Event::StageStarted { stage, .. } => self.begin(stage),
            Event::PhaseReached { phase, .. } => {
                self.clear_moved();
                if let Some(stage) = &self.stage {
                    let expected = self.build.expected.stage(&stage.name);
                    stage.bar.unset_length();
                    stage.bar.set_style(stage_style(false, expected));
                }
                self.at(phase);
            }
            Event::Progress { what, done, total, unit } => {
                self.count(what, *done, *total, *unit);
            }
            Event::StageFinished { stage, millis, .. } => {
                let line = format!(" {name}  ✓ {stage}  {}", Span::secs(millis / 1000));
                self.end_stage();
                self.line(&line);
            }
            Event::StageFailed { stage, .. } => {
                let line = format!(" {name}  × {stage}");
                self.end_stage();
                self.line(&line);
            }
            Event::BuildFinished { .. } => self.end_stage(),
            Event::Said { .. } => {
                if let Some(text) = sentence(event) {
                    let prefix = if self.is_many { format!("{name}  ") } else { String::new() };
                    self.line(&format!(" {prefix}{}", text.trim_start()));
                }
            }
            Event::Claimed { .. } | Event::Confirmed { .. } | Event::Released { .. } => {}
        }
    }

    fn tick(&mut self) {
        if let Some(stage) = &self.stage {
            stage.bar.tick();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.end_stage();
    }
}

/// `install   packages 214/371`
fn message(stage: &str, at: &str) -> String {
    if at.is_empty() { stage.to_owned() } else { format!("{stage}   {at}") }
}

/// What is counted, as short as a line of several builds wants it.
fn counted(what: &str, done: u64, total: Option<u64>, unit: Unit) -> String {
    match (unit, total) {
        (Unit::Items, Some(total)) => format!("{what} {done}/{total}"),
        _ => format!("{what} {}", amount(done, total, unit)),
    }
}

/// ` debian-13  ▸ install   packages 214/371 · 6m12s of about 11m`
fn stage_style(has_bar: bool, expected: Option<Duration>) -> ProgressStyle {
    let template = if has_bar {
        " {prefix}  ▸ {msg} · {time}  {bar:20}"
    } else {
        " {prefix}  ▸ {msg} · {time}"
    };
    style(template).with_key("time", move |state: &ProgressState, out: &mut dyn fmt::Write| {
        _ = out.write_str(&time::text(state.elapsed(), expected));
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;

    /// What the bar of the stage says after these events.
    fn said(events: &[Event], is_many: bool) -> String {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let build = Shown { name: "debian-13".into(), ..Shown::default() };
        let mut reader = Bars::new(bars, build, is_many);
        for event in events {
            reader.read(event);
        }
        let bar = &reader.stage.as_ref().unwrap().bar;
        let (name, message) = (bar.prefix(), bar.message());
        format!("{name} {message} {}/{:?}", bar.position(), bar.length())
    }

    fn progress(what: &str, done: u64, total: Option<u64>, unit: Unit) -> Event {
        Event::Progress { what: what.into(), done, total, unit }
    }

    #[test]
    fn a_stage_says_its_phase_or_what_is_counted_in_it() {
        let install = Event::StageStarted { index: 3, stage: "install".into() };
        let phase = Event::PhaseReached { phase: "packages".into(), millis: 1 };
        let packages = progress("packages", 214, Some(371), Unit::Items);
        let next = Event::PhaseReached { phase: "boot-loader".into(), millis: 2 };
        let all = [install, phase, packages, next];
        for (n, expected) in [
            (1, "debian-13 install 0/None"),
            (2, "debian-13 install   packages 0/None"),
            (3, "debian-13 install   packages 214/371 214/Some(371)"),
            (4, "debian-13 install   boot-loader 214/None"),
        ] {
            assert_eq!(said(&all[..n], false), expected);
        }
    }

    #[test]
    fn a_build_among_others_has_one_bar() {
        let fetch = Event::StageStarted { index: 0, stage: "fetch".into() };
        let bytes = progress("linux", 1 << 20, Some(4 << 20), Unit::Bytes);
        let all = [fetch, bytes];
        let one = "debian-13 fetch   linux 1 MiB of 4 MiB 1048576/Some(4194304)";
        assert_eq!(said(&all, true), one);
        assert_eq!(said(&all, false), "debian-13 fetch 0/None");
    }
}
