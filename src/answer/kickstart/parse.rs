//! A kickstart as commands and sections.

use std::ops::Range;

use super::words::{Unended, Word, split};
use crate::answer::text::{Line, lines};

/// A kickstart file, whatever is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kickstart {
    /// Its commands, in order.
    pub(crate) commands: Vec<Command>,
    /// Its sections, in order.
    pub(crate) sections: Vec<Section>,
    /// `%include` and `%ksappend` lines.
    pub(crate) includes: Vec<Command>,
    /// Lines that cannot be split into words, and what is not ended.
    pub(crate) unended: Vec<(Range<usize>, Unended)>,
    /// `%end` lines without a section.
    pub(crate) stray_ends: Vec<Range<usize>>,
}

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The whole line, without blanks at its ends.
    pub(crate) span: Range<usize>,
    /// Its first word.
    pub(crate) name: Word,
    /// The others.
    pub(crate) arguments: Vec<Word>,
}

/// A section, such as `%packages`.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its heading: `%packages` and options.
    pub(crate) heading: Command,
    /// What is in it.
    pub(crate) lines: Vec<(Range<usize>, String)>,
    /// Whether `%end` closes it.
    pub(crate) is_ended: bool,
}

impl Command {
    /// The value of `--name=value` or `--name value`, the last one.
    pub(crate) fn option(&self, name: &str) -> Option<Word> {
        let mut found = None;
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if let Some(value) =
                argument.text.strip_prefix(name).and_then(|it| it.strip_prefix('='))
            {
                found = Some(Word { text: value.to_owned(), span: argument.span.clone() });
            } else if argument.text == name
                && let Some(value) =
                    arguments.clone().next().filter(|it| !it.text.starts_with("--"))
            {
                found = Some(value.clone());
                arguments.next();
            }
        }
        found
    }

    /// Whether `--name` is there, with a value or without.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.arguments.iter().any(|it| {
            it.text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    }

    /// The arguments that are no options, where options with values are written
    /// `--name=value`.
    pub(crate) fn positional(&self) -> impl Iterator<Item = &Word> {
        self.arguments.iter().filter(|it| !it.text.starts_with('-'))
    }
}

/// The sections of any release, each known by its first word.
const SECTIONS: &[&str] = &[
    "%packages",
    "%pre",
    "%post",
    "%pre-install",
    "%onerror",
    "%traceback",
    "%addon",
    "%anaconda",
    "%certificate",
];

impl Kickstart {
    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut kickstart = Self::default();
        let mut section: Option<Section> = None;
        for line in lines(text) {
            let trimmed = line.text.trim();
            let first = trimmed.split_whitespace().next().unwrap_or_default();
            if first == "%end" {
                match section.take() {
                    Some(open) => {
                        kickstart.sections.push(Section { is_ended: true, ..open });
                    }
                    None => kickstart.stray_ends.push(line.trimmed_span()),
                }
            } else if SECTIONS.contains(&first)
                || (section.is_none() && first.starts_with('%') && !is_include(first))
            {
                // Before RHEL 6 the next heading ended a section.
                kickstart.sections.extend(section.take());
                match command(&line) {
                    Ok(Some(heading)) => {
                        section = Some(Section { heading, lines: Vec::new(), is_ended: false });
                    }
                    Ok(None) => {}
                    Err(unended) => kickstart.unended.push((line.trimmed_span(), unended)),
                }
            } else if let Some(section) = &mut section {
                section.lines.push((line.span(), line.text.to_owned()));
                if is_include(first)
                    && let Ok(Some(include)) = command(&line)
                {
                    kickstart.includes.push(include);
                }
            } else {
                match command(&line) {
                    Ok(Some(found)) if is_include(&found.name.text) => {
                        kickstart.includes.push(found);
                    }
                    Ok(Some(found)) => kickstart.commands.push(found),
                    Ok(None) => {}
                    Err(unended) => kickstart.unended.push((line.trimmed_span(), unended)),
                }
            }
        }
        kickstart.sections.extend(section);
        kickstart
    }

    /// The commands of this name.
    pub(crate) fn named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Command> {
        self.commands.iter().filter(move |it| it.name.text == name)
    }
}

fn is_include(word: &str) -> bool {
    word == "%include" || word == "%ksappend"
}

fn command(line: &Line<'_>) -> Result<Option<Command>, Unended> {
    let mut words = split(line.text, line.start)?.into_iter();
    Ok(words.next().map(|name| Command {
        span: line.trimmed_span(),
        name,
        arguments: words.collect(),
    }))
}
