//! Lines with their places in a text, however it ends its lines.

use std::ops::Range;

/// One line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: usize,
    /// Where it starts, in bytes.
    pub(super) start: usize,
    /// What it says.
    pub(super) text: &'a str,
}

impl Line<'_> {
    /// The bytes of the line.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The bytes of the line without blanks at either end.
    pub(super) fn trimmed_span(&self) -> Range<usize> {
        let start = self.start + self.text.len() - self.text.trim_start().len();
        start..start + self.text.trim().len()
    }
}

/// The lines of a text; a byte order mark is none of the first line's.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let skipped = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut start = skipped;
    text.get(skipped..).unwrap_or_default().split_inclusive('\n').enumerate().map(
        move |(index, whole)| {
            let line = Line {
                number: index + 1,
                start,
                text: whole.trim_end_matches('\n').trim_end_matches('\r'),
            };
            start += whole.len();
            line
        },
    )
}

/// The number of the line that a byte is in, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset.min(text.len())).unwrap_or_default();
    before.split(|it| *it == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_their_place_whatever_ends_them() {
        let text = "\u{feff}a\r\n\nü b \nlast";
        let found: Vec<_> = lines(text).map(|it| (it.number, it.text)).collect();
        assert_eq!(found, [(1, "a"), (2, ""), (3, "ü b "), (4, "last")]);
        for line in lines(text) {
            assert_eq!(text.get(line.span()), Some(line.text));
            assert_eq!(text.get(line.trimmed_span()), Some(line.text.trim()));
            assert_eq!(line_of(text, line.start), line.number);
        }
    }
}
