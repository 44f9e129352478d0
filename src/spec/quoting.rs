//! Places inside a string, found again in the text it was written with.
//!
//! A string's value and its source differ by quotes, escapes and indentation.
//! Walking both in step gives the bytes of any part of the value; where the two
//! cannot be brought together the walk stays on the right line.

use std::ops::Range;

/// The bytes of the text that `part` of `value` was written with, where the
/// whole value was written with `span`.
pub(super) fn locate(
    text: &str,
    span: Range<usize>,
    value: &str,
    part: Range<usize>,
) -> Range<usize> {
    let Some(source) = text.get(span.clone()) else { return span };
    let (skip, has_escapes) = opening(source);
    let mut at = skip;
    let mut from = None;
    for (offset, wanted) in value.char_indices() {
        if offset >= part.end {
            break;
        }
        let Some(step) = advance(source, at, wanted, has_escapes) else { break };
        if offset >= part.start && from.is_none() {
            from = Some(step.start);
        }
        at = step.end;
    }
    let from = from.unwrap_or(at);
    span.start + from..span.start + at.max(from)
}

/// The length of what comes before the value, and whether `\` starts an escape.
fn opening(source: &str) -> (usize, bool) {
    for (quote, has_escapes) in [("\"\"\"", true), ("'''", false)] {
        if let Some(rest) = source.strip_prefix(quote)
            && source.len() >= 6
            && source.ends_with(quote)
        {
            let newline =
                if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
            return (3 + newline, has_escapes);
        }
    }
    match source.chars().next() {
        Some('"') => (1, true),
        Some('\'') => (1, false),
        Some('|' | '>') => (source.find('\n').map_or(1, |it| it + 1), false),
        _ => (0, false),
    }
}

/// The bytes of the source, from `at` on, that stand for one character.
fn advance(source: &str, mut at: usize, wanted: char, has_escapes: bool) -> Option<Range<usize>> {
    loop {
        let rest = source.get(at..)?;
        let found = rest.chars().next()?;
        if has_escapes && found == '\\' {
            match escape(rest) {
                // A line that goes on: the break and the indentation are not in the value.
                (len, true) => {
                    at += len;
                    continue;
                }
                (len, false) => return Some(at..at + len),
            }
        }
        if found == wanted {
            let doubled = wanted == '\'' && source.starts_with('\'') && rest.starts_with("''");
            return Some(at..at + if doubled { 2 } else { found.len_utf8() });
        }
        if found.is_whitespace() && matches!(wanted, ' ' | '\n') {
            // A folded line.
            let blank = rest.len() - rest.trim_start().len();
            return Some(at..at + blank);
        }
        at += found.len_utf8();
    }
}

/// The length of an escape, and whether it is one that stands for nothing.
fn escape(rest: &str) -> (usize, bool) {
    let after = rest.get(1..).unwrap_or_default();
    let Some(kind) = after.chars().next() else { return (1, false) };
    match kind {
        'x' => (4.min(rest.len()), false),
        'u' => (6.min(rest.len()), false),
        'U' => (10.min(rest.len()), false),
        '\n' | '\r' => (1 + after.len() - after.trim_start().len(), true),
        ' ' | '\t' if after.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) => {
            (1 + after.len() - after.trim_start().len(), true)
        }
        kind => (1 + kind.len_utf8(), false),
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::document::{Document, Syntax};

    #[test]
    fn a_part_of_a_string_is_found_again_however_it_was_quoted() {
        for (syntax, text) in [
            (Syntax::Toml, r#"k = "a \"b\" {{ x }} z""#),
            (Syntax::Toml, "k = '{{ x }}'"),
            (Syntax::Toml, "k = \"\"\"\nline one\n  line \\\n   two {{ x }}\n\"\"\""),
            (Syntax::Toml, "k = '''\r\nline one \\\r\n{{ x }}'''"),
            (Syntax::Toml, r#"k = "\u00e9é\t{{ x }}""#),
            (Syntax::Yaml, "k: a {{ x }} b"),
            (Syntax::Yaml, "k: 'it''s {{ x }}'"),
            (Syntax::Yaml, r#"k: "a\n\x41 {{ x }}""#),
            (Syntax::Yaml, "k: |\n  one\n    two\n  {{ x }}\n"),
            (Syntax::Yaml, "k: >-\n  one\n  two\n  {{ x }}\n"),
            (Syntax::Yaml, "o:\n  k: |2\n     lead\n    {{ x }}\nz: 1\n"),
        ] {
            let document = Document::parse("t", text, syntax).unwrap();
            let node = document.find(&["k"]).or(document.find(&["o", "k"])).unwrap();
            let value = node.as_str().unwrap();
            let from = value.find("{{ x }}").unwrap();
            let found = document.inside(node, from..from + 7);
            assert_eq!(text.get(found), Some("{{ x }}"), "{text}");
        }
    }
}
