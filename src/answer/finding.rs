//! What is wrong with an answer file.

use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use thiserror::Error;

use super::text::{line_of, lines};

/// One thing that is wrong, or may be.
///
/// Messages never quote a value that may be a password: what is shown beside
/// them is the text with its secrets masked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Finding {
    /// What kind of mistake, such as `kickstart::unknown-command`.
    pub code: &'static str,
    /// Whether a build must not go on.
    pub severity: FindingSeverity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The line, counted from 1.
    pub line: usize,
    /// The bytes of the text.
    pub span: Range<usize>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingSeverity {
    /// It works, but may not be what is meant.
    Warning,
    /// The installer will stop, ask or do something else.
    Error,
}

/// All that is wrong with one answer file, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    list: Vec<Finding>,
    /// The length of the text that they are about.
    length: usize,
}

impl Findings {
    /// Findings about a text.
    pub(super) fn new(mut list: Vec<Finding>, text: &str) -> Self {
        list.sort_by(|a, b| (a.line, a.span.start, a.code).cmp(&(b.line, b.span.start, b.code)));
        list.dedup();
        Self { list, length: text.len() }
    }

    /// Adds those of another look at the same text.
    pub(super) fn extend(&mut self, more: Self) {
        self.list.extend(more.list);
        self.list.sort_by_key(|it| (it.line, it.span.start));
    }

    /// Somebody else decides which lines are wrong: of findings whose codes start
    /// so, those on other lines go. Ours say more, so theirs count where there is
    /// none of ours.
    pub fn decided(&mut self, on: &[&str], theirs: Vec<Finding>) {
        let is_decided = |it: &Finding| on.iter().any(|code| it.code.starts_with(code));
        self.list.retain(|it| !is_decided(it) || theirs.iter().any(|other| other.line == it.line));
        let ours: Vec<_> = self.list.iter().filter(|it| is_decided(it)).map(|it| it.line).collect();
        self.list.extend(theirs.into_iter().filter(|it| !ours.contains(&it.line)));
        self.list.sort_by_key(|it| (it.line, it.span.start));
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a build must not go on.
    pub fn is_fatal(&self) -> bool {
        self.list.iter().any(|it| it.severity == FindingSeverity::Error)
    }

    /// The findings as people see them, in a text that may have its secrets
    /// masked; nothing where there are none.
    pub fn report(&self, name: &str, text: &str) -> Option<AnswerReport> {
        if self.list.is_empty() {
            return None;
        }
        let is_same = text.len() == self.length;
        let findings = self.list.iter().map(|it| {
            // Masks have other lengths; the line stays what it is.
            let span = if is_same && text.get(it.span.clone()).is_some() {
                it.span.clone()
            } else {
                lines(text).nth(it.line.saturating_sub(1)).map_or(0..0, |it| it.trimmed_span())
            };
            Placed { finding: it.clone(), span }
        });
        let findings: Vec<_> = findings.collect();
        let n_errors = self.list.iter().filter(|it| it.severity == FindingSeverity::Error).count();
        Some(AnswerReport {
            name: name.to_owned(),
            n_errors,
            n_warnings: self.list.len() - n_errors,
            text: NamedSource::new(name, text.to_owned()),
            findings,
        })
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// The findings about one answer file, for people.
#[derive(Debug, Error)]
#[error("{}", self.title())]
pub struct AnswerReport {
    name: String,
    n_errors: usize,
    n_warnings: usize,
    text: NamedSource<String>,
    findings: Vec<Placed>,
}

impl AnswerReport {
    fn title(&self) -> String {
        let count = |n: usize, one: &str| match n {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {one}s")),
        };
        let parts: Vec<_> = [count(self.n_errors, "mistake"), count(self.n_warnings, "warning")]
            .into_iter()
            .flatten()
            .collect();
        format!("{}: {}", self.name, parts.join(", "))
    }
}

impl Diagnostic for AnswerReport {
    fn severity(&self) -> Option<Severity> {
        Some(if self.n_errors > 0 { Severity::Error } else { Severity::Warning })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.findings.iter().map(|it| it as &dyn Diagnostic)))
    }
}

/// A finding at its place in the text that is shown.
#[derive(Clone, Debug, Error)]
#[error("{finding}")]
struct Placed {
    finding: Finding,
    span: Range<usize>,
}

impl Diagnostic for Placed {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.finding.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(match self.finding.severity {
            FindingSeverity::Error => Severity::Error,
            FindingSeverity::Warning => Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let help = self.finding.help.as_ref()?;
        Some(Box::new(help))
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::underline(self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Gathers findings about one text.
pub(super) struct Gatherer<'a> {
    text: &'a str,
    list: Vec<Finding>,
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, list: Vec::new() }
    }

    /// Something the installer will stop at.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(FindingSeverity::Error, code, span, message.into(), help.into());
    }

    /// Something that may not be meant.
    pub(super) fn warning(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(FindingSeverity::Warning, code, span, message.into(), help.into());
    }

    fn add(
        &mut self,
        severity: FindingSeverity,
        code: &'static str,
        span: Range<usize>,
        message: String,
        help: String,
    ) {
        let line = line_of(self.text, span.start);
        let help = Some(help).filter(|it| !it.is_empty());
        self.list.push(Finding { code, severity, message, help, line, span });
    }

    pub(super) fn end(self) -> Findings {
        Findings::new(self.list, self.text)
    }

    /// Where something that is missing would be added: the last line.
    pub(super) fn at_end(&self) -> Range<usize> {
        let last = lines(self.text).filter(|it| !it.text.trim().is_empty()).last();
        last.map_or(0..0, |it| it.trimmed_span())
    }
}
