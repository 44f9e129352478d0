//! How a console message is recognised.

use std::{collections::BTreeMap, sync::OnceLock};

use regex::bytes::{Captures, Regex, RegexBuilder};

use super::{debconf, literals};

/// How a signature is recognised.
#[derive(Debug)]
pub(super) enum Pattern {
    /// The line is this text.
    Line(Vec<u8>),
    /// The text is in the line.
    Text(Vec<u8>),
    /// A step of debian-installer's text frontend, `Title  ... 3%... 40%`. There
    /// are so many of them that a regex would be most of the work.
    Step,
    /// A regex, compiled when it is first needed.
    Regex { source: String, regex: OnceLock<Option<Regex>>, wraps: bool },
}

impl Pattern {
    /// A line that is exactly this text.
    pub(super) fn line(text: &str) -> Self {
        Self::Line(text.as_bytes().to_vec())
    }

    /// A text that may be broken over several lines.
    pub(super) fn wrapped(text: &str) -> Self {
        Self::of_regex(regex::escape(text).replace(' ', r"\s+"), true)
    }

    pub(super) fn of_regex(source: String, wraps: bool) -> Self {
        Self::Regex { source, regex: OnceLock::new(), wraps }
    }

    fn regex(&self) -> Option<&Regex> {
        let Self::Regex { source, regex, .. } = self else { return None };
        regex.get_or_init(|| compile(source).ok()).as_ref()
    }

    pub(super) fn required(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Line(text) | Self::Text(text) => vec![text.clone()],
            Self::Step => vec![b"... ".to_vec()],
            Self::Regex { source, .. } => literals::required(source).unwrap_or_default(),
        }
    }

    /// Whether the message may be broken over several lines.
    pub(super) fn wraps(&self) -> bool {
        matches!(self, Self::Regex { wraps: true, .. })
    }

    /// Whether the empty text is such a message, which none may be.
    pub(super) fn matches_nothing(&self) -> Result<bool, regex::Error> {
        Ok(match self {
            Self::Regex { source, .. } => compile(source)?.is_match(b""),
            Self::Text(text) => text.is_empty(),
            Self::Line(_) | Self::Step => false,
        })
    }

    /// Whether the text is this message.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Line(line) => line == text,
            Self::Text(part) => memchr::memmem::find(text, part).is_some(),
            Self::Step => step(text).is_some(),
            Self::Regex { .. } => self.regex().is_some_and(|it| it.is_match(text)),
        }
    }

    /// Where the text is this message, of one that may be broken over lines.
    pub(super) fn place(&self, text: &[u8]) -> Option<std::ops::Range<usize>> {
        Some(self.regex()?.find(text)?.range())
    }

    /// What the groups matched in the text.
    pub(super) fn captures(&self, text: &[u8]) -> BTreeMap<String, String> {
        if matches!(self, Self::Step) {
            let Some((what, percent)) = step(text) else { return BTreeMap::new() };
            return [("what", what), ("percent", percent)]
                .map(|(name, it)| (name.to_owned(), String::from_utf8_lossy(it).into_owned()))
                .into();
        }
        let regex = self.regex().filter(|it| it.captures_len() > 1);
        regex.and_then(|it| Some(captured(it, &it.captures(text)?))).unwrap_or_default()
    }

    /// Whether there are groups.
    pub(super) fn has_groups(&self) -> bool {
        matches!(self, Self::Step) || self.regex().is_some_and(|it| it.captures_len() > 1)
    }

    /// The names of the groups.
    pub(super) fn groups(&self) -> Vec<String> {
        let regex = self.regex().into_iter();
        regex.flat_map(Regex::capture_names).flatten().map(str::to_owned).collect()
    }
}

impl debconf::Question {
    pub(super) fn pattern(&self) -> Pattern {
        match self.shape() {
            debconf::Shape::Line(text) => Pattern::line(&text),
            debconf::Shape::Regex(source) => Pattern::of_regex(source, false),
            debconf::Shape::Wrapped(source) => Pattern::of_regex(source, true),
        }
    }
}

/// The title and the hundredths of a step.
fn step(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_suffix(b"%")?;
    let digits = rest.iter().rev().take_while(|it| it.is_ascii_digit()).count();
    let (before, percent) = rest.split_at_checked(rest.len().checked_sub(digits)?)?;
    let title = text.get(..memchr::memmem::find(text, b" ... ")?)?;
    let is_step = (1..=3).contains(&digits)
        && before.ends_with(b"... ")
        && title.first().is_some_and(u8::is_ascii_uppercase);
    is_step.then_some((title.trim_ascii_end(), percent))
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).unicode(false).size_limit(1 << 20).build()
}

fn captured(regex: &Regex, captures: &Captures<'_>) -> BTreeMap<String, String> {
    regex
        .capture_names()
        .flatten()
        .filter_map(|name| {
            let text = captures.name(name)?.as_bytes();
            Some((name.to_owned(), String::from_utf8_lossy(text).into_owned()))
        })
        .collect()
}
