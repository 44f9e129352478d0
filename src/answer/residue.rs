//! Signs of a template that was not filled in.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// Jinja, ERB, `${adminpw}` of the tools of 2013, `@@NAME@@`, `%%NAME%%`, and
/// `<FILL THIS IN>`.
static RESIDUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"\{\{[^{}\n]*\}\}|\{%-?\s[^\n]*?%\}|<%[=-]?[^\n]*?%>|\$\{adminpw\}|@@[A-Z_]+@@|%%[A-Z_]+%%|<[A-Z][A-Z _-]{3,}>",
    )
    .ok()
});

/// The first of them.
pub(super) fn find(text: &str) -> Option<Range<usize>> {
    RESIDUE.as_ref()?.find(text).map(|it| it.range())
}

/// All of them.
pub(super) fn find_all(text: &str) -> Vec<Range<usize>> {
    RESIDUE.as_ref().map(|it| it.find_iter(text).map(|it| it.range()).collect()).unwrap_or_default()
}
