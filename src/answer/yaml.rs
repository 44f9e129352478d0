//! YAML as a tree whose values know their place.

use crate::spec::document::{Document, Syntax};

/// Reads a text; the error has its place in bytes.
pub(super) fn parse(text: &str) -> Result<Document, (String, std::ops::Range<usize>)> {
    Document::parse("", text, Syntax::Yaml).map_err(|errors| {
        let error = errors.into_iter().next();
        let span = error.as_ref().and_then(crate::spec::SpecError::span).unwrap_or(0..0);
        (error.map(|it| it.to_string()).unwrap_or_default(), span)
    })
}
