//! Bars that move, on a terminal.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::{amount, sentence};
use crate::{
    engine::{Event, Unit},
    redact::Redactor,
    units::Span,
};

/// Draws one bar for the running stage and one for each thing that is counted
/// in it; what is over becomes a line.
pub(super) fn reader(redactor: Redactor) -> Box<dyn FnMut(&Event)> {
    let mut screen = Screen::new(redactor);
    Box::new(move |event| screen.draw(event))
}

struct Screen {
    redactor: Redactor,
    bars: MultiProgress,
    name: String,
    stage: Option<ProgressBar>,
    counts: HashMap<String, ProgressBar>,
}

impl Screen {
    fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            bars: MultiProgress::new(),
            name: String::new(),
            stage: None,
            counts: HashMap::new(),
        }
    }

    fn draw(&mut self, event: &Event) {
        match event {
            Event::BuildStarted { name, run, .. } => {
                self.name.clone_from(name);
                self.line(&format!(" {name}  run {run}"));
            }
            Event::StageStarted { stage, .. } => {
                let bar = self.bars.add(
                    ProgressBar::new_spinner()
                        .with_style(style(" {prefix}  {spinner} {msg}  {elapsed}")),
                );
                bar.set_prefix(self.name.clone());
                bar.set_message(stage.clone());
                bar.enable_steady_tick(Duration::from_millis(250));
                self.stage = Some(bar);
            }
            Event::PhaseReached { phase, .. } => {
                self.clear_counts();
                if let Some(bar) = &self.stage {
                    let stage = bar.message();
                    let stage = stage.split(" · ").next().unwrap_or_default().to_owned();
                    bar.set_message(format!("{stage} · {phase}"));
                }
            }
            Event::Progress { what, done, total, unit } => {
                self.count(what, *done, *total, *unit);
            }
            Event::StageFinished { stage, millis, .. } => {
                self.end_stage();
                self.line(&format!(" {}  ✓ {stage}  {}", self.name, Span::secs(millis / 1000)));
            }
            Event::StageFailed { stage, .. } => {
                self.end_stage();
                self.line(&format!(" {}  × {stage}", self.name));
            }
            Event::BuildFinished { .. } => self.end_stage(),
            Event::Said { .. } => {
                if let Some(text) = sentence(event) {
                    self.line(&format!(" {text}"));
                }
            }
            Event::Claimed { .. } | Event::Confirmed { .. } | Event::Released { .. } => {}
        }
    }

    fn count(&mut self, what: &str, done: u64, total: Option<u64>, unit: Unit) {
        let bars = &self.bars;
        let bar = self.counts.entry(what.to_owned()).or_insert_with(|| {
            let template = if total.is_some() || unit == Unit::Percent {
                "    {prefix:28!} {bar:24} {msg}"
            } else {
                "    {prefix:28!} {msg}"
            };
            bars.add(ProgressBar::new(total.unwrap_or(100)).with_style(style(template)))
        });
        bar.set_prefix(self.redactor.mask(what));
        bar.set_message(amount(done, total, unit));
        bar.set_position(done);
        if total == Some(done) {
            bar.finish_and_clear();
            self.counts.remove(what);
        }
    }

    fn end_stage(&mut self) {
        self.clear_counts();
        if let Some(bar) = self.stage.take() {
            bar.finish_and_clear();
        }
    }

    fn clear_counts(&mut self) {
        for (_, bar) in self.counts.drain() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        _ = self.bars.println(self.redactor.mask(text));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
