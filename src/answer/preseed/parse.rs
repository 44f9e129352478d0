//! A preseed as answers, read as the installer's own `debconf-set-selections`
//! does: comments only at the start of a line, lines joined at a backslash.

use std::ops::Range;

use crate::answer::text::{Line, lines};

/// A preseed file, whatever is wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preseed {
    /// Its answers, in order.
    pub(crate) answers: Vec<Answer>,
    /// Lines that end the reading: a word is missing.
    pub(crate) broken: Vec<Range<usize>>,
    /// Comments inside of an answer that goes on; the installer drops them.
    pub(crate) inner_comments: Vec<Range<usize>>,
    /// A last line that says it goes on.
    pub(crate) open_end: Option<Range<usize>>,
}

/// One answer: `d-i mirror/suite string trixie`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The lines it is on.
    pub(crate) span: Range<usize>,
    /// `d-i`, or the package that asks.
    pub(crate) owner: Part,
    /// `mirror/suite`
    pub(crate) question: Part,
    /// `string`, or a flag such as `seen`.
    pub(crate) kind: Part,
    /// `trixie`; lines that were joined have one blank between them.
    pub(crate) value: String,
    /// Where the value starts.
    pub(crate) value_span: Range<usize>,
}

/// A word and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// What it says.
    pub(crate) text: String,
    /// Its bytes.
    pub(crate) span: Range<usize>,
}

impl Preseed {
    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut preseed = Self::default();
        let mut open: Vec<Line<'_>> = Vec::new();
        for line in lines(text) {
            if line.text.starts_with('#') || line.text.trim().is_empty() {
                if !open.is_empty() && line.text.starts_with('#') {
                    preseed.inner_comments.push(line.trimmed_span());
                }
                continue;
            }
            let goes_on = line.text.ends_with('\\');
            open.push(line);
            if !goes_on {
                preseed.add(&open);
                open.clear();
            }
        }
        if let (Some(first), Some(last)) = (open.first(), open.last()) {
            // The installer forgets what is not ended.
            preseed.open_end = Some(first.start..last.span().end);
        }
        preseed
    }

    fn add(&mut self, parts: &[Line<'_>]) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return };
        let span = first.trimmed_span().start..last.trimmed_span().end;
        // Words of lines have a place; of a value that is joined only the lines.
        let mut line = 0;
        let mut at = first.start;
        let mut rest = first.text.trim_end_matches('\\');
        let mut word = || {
            while let (true, Some(next)) = (rest.trim().is_empty(), parts.get(line + 1)) {
                line += 1;
                at = next.start;
                rest = next.text.trim_end_matches('\\');
            }
            let start = rest.len() - rest.trim_start().len();
            let body = rest.get(start..).unwrap_or_default();
            let end = body.find(char::is_whitespace).unwrap_or(body.len());
            let text = body.get(..end).unwrap_or_default().to_owned();
            let part = Part { span: at + start..at + start + end, text };
            at += start + end;
            rest = body.get(end..).unwrap_or_default();
            (!part.text.is_empty()).then_some((part, at, rest, line))
        };
        let three = (word(), word(), word());
        let (Some((owner, ..)), Some((question, ..)), Some((kind, at, rest, line))) = three else {
            self.broken.push(span);
            return;
        };
        let mut value = rest.trim().to_owned();
        for line in parts.iter().skip(line + 1) {
            let more = line.text.trim_end_matches('\\').trim();
            if !value.is_empty() && !more.is_empty() {
                value.push(' ');
            }
            value.push_str(more);
        }
        let lead = rest.len() - rest.trim_start().len();
        let from = (at + lead).min(span.end);
        let value_span = from..span.end.max(from);
        self.answers.push(Answer { span, owner, question, kind, value, value_span });
    }

    /// The answer that counts for a question: the last one.
    pub(crate) fn get(&self, question: &str) -> Option<&Answer> {
        self.answers.iter().rev().find(|it| it.question.text == question && it.kind.text != "seen")
    }

    /// Whether a question is answered with `true`.
    pub(crate) fn is_true(&self, question: &str) -> bool {
        self.get(question).is_some_and(|it| it.value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_the_installer_reads_them() {
        let text = "\u{feff}# d-i a/b string c\r\nd-i  a/b string  x y # z\r\n\
                    \td-i late string one; \\\n  two; \\\n# dropped\n  three\nd-i e/f\nd-i g/h note\n\
                    x a/later \\\n  select one \\\n  two\nd-i o string \\\n";
        let preseed = Preseed::parse(text);
        let found: Vec<_> = preseed
            .answers
            .iter()
            .map(|it| (it.question.text.as_str(), it.kind.text.as_str(), it.value.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a/b", "string", "x y # z"),
                ("late", "string", "one; two; three"),
                ("g/h", "note", ""),
                // The type may stand on the next line.
                ("a/later", "select", "one two"),
            ]
        );
        assert_eq!(preseed.broken.len(), 1);
        assert_eq!(preseed.inner_comments.len(), 1);
        assert!(preseed.open_end.is_some());
        for answer in &preseed.answers {
            assert_eq!(text.get(answer.question.span.clone()), Some(answer.question.text.as_str()));
        }
    }
}
