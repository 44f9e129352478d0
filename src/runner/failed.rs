//! Why a machine did not do what it was to do, in its own words.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, SourceCode, SourceSpan};

use crate::{console::outcome::Judgement, redact::Redactor, units::Span};

/// Lines of the console that are shown around the one that counts.
const SHOWN: usize = 4;

/// Why a machine did not do what it was to do.
#[derive(Debug)]
pub struct MachineFailed {
    judgement: Box<Judgement>,
    console: miette::NamedSource<String>,
    at: Option<SourceSpan>,
    /// What was seen on its network, a line each.
    network: Vec<String>,
}

impl MachineFailed {
    /// What the console showed, and what else was seen.
    pub(super) fn new(
        judgement: Box<Judgement>,
        last_lines: &[String],
        network: &[String],
        redactor: &Redactor,
    ) -> Self {
        let judgement = masked(judgement, redactor);
        let line = judgement.line.clone().unwrap_or_default();
        let last_lines: Vec<String> = last_lines.iter().map(|it| redactor.mask(it)).collect();
        let context: &[String] =
            if judgement.context.is_empty() { &last_lines } else { &judgement.context };
        let position = context.iter().rposition(|it| !line.is_empty() && it.contains(&line));
        let from = position.unwrap_or(context.len()).saturating_sub(SHOWN);
        let until = position.map_or(context.len(), |it| (it + 2).min(context.len()));
        let mut text = String::new();
        let mut at = None;
        for (n, shown) in context.iter().enumerate().take(until).skip(from) {
            if position == Some(n) {
                at = Some((text.len(), shown.len()).into());
            }
            text.push_str(shown);
            text.push('\n');
        }
        if position.is_none() && !line.is_empty() {
            at = Some((text.len(), line.len()).into());
            text.push_str(&line);
            text.push('\n');
        }
        let name = format!("console, {}", Span::secs(judgement.at.as_secs()));
        let network = network.iter().map(|it| redactor.mask(it)).collect();
        Self { judgement, console: miette::NamedSource::new(name, text), at, network }
    }

    /// What it rests on.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }
}

/// Everything in it that a console's text went into, without secrets: an
/// installer may well complain of the very password that it was given.
fn masked(mut judgement: Box<Judgement>, redactor: &Redactor) -> Box<Judgement> {
    let it = &mut *judgement;
    it.meaning = redactor.mask(&it.meaning);
    for text in [&mut it.remedy, &mut it.directive, &mut it.doubt, &mut it.line] {
        *text = text.take().map(|text| redactor.mask(&text));
    }
    for line in it.context.iter_mut().chain(&mut it.log) {
        *line = redactor.mask(line);
    }
    judgement
}

impl fmt::Display for MachineFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.judgement.meaning)
    }
}

impl std::error::Error for MachineFailed {}

impl Diagnostic for MachineFailed {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.judgement.signature))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.judgement.remedy.clone());
        if let Some(directive) = &self.judgement.directive {
            lines.push(format!("answer file: {directive}"));
        }
        lines.extend(self.judgement.log.iter().map(|it| format!("log: {it}")));
        lines.extend(self.network.iter().map(|it| format!("network: {it}")));
        lines.extend(self.judgement.doubt.clone());
        if lines.is_empty() { None } else { Some(Box::new(lines.join("\n"))) }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.console)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = format!(
            "phase {}, {} into it",
            self.judgement.phase,
            Span::secs(self.judgement.in_phase.as_secs())
        );
        let span = self.at?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some(label), span))))
    }
}
