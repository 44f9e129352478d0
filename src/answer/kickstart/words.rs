//! Words of a kickstart line, split as pykickstart does: by Python's `shlex`
//! with comments.

use std::ops::Range;

/// A word without its quotes, with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Without quotes.
    pub(crate) text: String,
    /// With quotes, in bytes.
    pub(crate) span: Range<usize>,
}

/// A quote or an escape that nothing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unended {
    /// A `"` or `'`.
    Quote,
    /// A `\` at the end.
    Escape,
}

/// Splits a line that starts at this byte of its text. A `#` starts a comment,
/// in the middle of a word too.
pub(crate) fn split(line: &str, start: usize) -> Result<Vec<Word>, Unended> {
    let mut words = Vec::new();
    let mut word: Option<(String, usize)> = None;
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '#' => break,
            ' ' | '\t' | '\r' | '\n' => {
                if let Some((text, from)) = word.take() {
                    words.push(Word { text, span: start + from..start + at });
                }
            }
            '\\' => {
                let (_, next) = letters.next().ok_or(Unended::Escape)?;
                word.get_or_insert_with(|| (String::new(), at)).0.push(next);
            }
            '\'' | '"' => {
                let (text, _) = word.get_or_insert_with(|| (String::new(), at));
                loop {
                    let (_, inner) = letters.next().ok_or(Unended::Quote)?;
                    if inner == letter {
                        break;
                    }
                    let escaped = letters.peek().map(|it| it.1).filter(|_| inner == '\\');
                    match escaped {
                        Some(next) if letter == '"' && (next == '"' || next == '\\') => {
                            letters.next();
                            text.push(next);
                        }
                        _ => text.push(inner),
                    }
                }
            }
            _ => word.get_or_insert_with(|| (String::new(), at)).0.push(letter),
        }
    }
    if let Some((text, from)) = word {
        // Up to the comment, without the blanks before it.
        let end = line.get(from..).map_or(from, |rest| from + end_of_word(rest));
        words.push(Word { text, span: start + from..start + end });
    }
    Ok(words)
}

/// Where the first word of a text ends, quotes counted in.
fn end_of_word(text: &str) -> usize {
    let mut quote = None;
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '#' | ' ' | '\t') => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_those_that_python_finds() {
        for (line, words) in [
            ("url --url=http://a/b  # tree", vec!["url", "--url=http://a/b"]),
            ("rootpw abc#def", vec!["rootpw", "abc"]),
            (r#"url --url="http://a b""#, vec!["url", "--url=http://a b"]),
            (r#"a 'b \' "c \" d" e\ f"#, vec!["a", r"b \", r#"c " d"#, "e f"]),
            ("a ''", vec!["a", ""]),
            ("", vec![]),
        ] {
            let found = split(line, 0).unwrap();
            let texts: Vec<_> = found.iter().map(|it| it.text.as_str()).collect();
            assert_eq!(texts, words, "{line}");
        }
        assert_eq!(split("a 'b", 0), Err(Unended::Quote));
        assert_eq!(split("a \\", 0), Err(Unended::Escape));
    }

    proptest! {
        #[test]
        fn spans_are_within_the_line(line in "[^\n]{0,40}") {
            for word in split(&line, 0).unwrap_or_default() {
                prop_assert!(line.get(word.span.clone()).is_some(), "{:?}", word);
            }
        }
    }
}
