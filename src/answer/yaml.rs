//! YAML as a tree whose values know their place.

use crate::spec::document::{Document, Syntax, Value};

/// Reads a text; the error has its place in bytes.
pub(super) fn parse(text: &str) -> Result<Document, (String, std::ops::Range<usize>)> {
    Document::parse("", text, Syntax::Yaml).map_err(|errors| {
        let error = errors.into_iter().next();
        let span = error.as_ref().and_then(crate::spec::SpecError::span).unwrap_or(0..0);
        (error.map(|it| it.to_string()).unwrap_or_default(), span)
    })
}

/// The same as YAML 1.1, which Python programs read: `yes` and `off` are booleans.
pub(super) fn parse_old(text: &str) -> Result<Document, (String, std::ops::Range<usize>)> {
    let mut document = parse(text)?;
    let text = document.text.clone();
    let mut nodes = vec![&mut document.root];
    while let Some(node) = nodes.pop() {
        let written = text.get(node.span.clone()).unwrap_or_default();
        // What is in quotes is longer than its value.
        if node.as_str().is_some_and(|it| it == written) {
            let value = match written.to_ascii_lowercase().as_str() {
                "yes" | "on" => true,
                "no" | "off" => false,
                _ => continue,
            };
            node.plain = Some(written.to_owned());
            node.value = Value::Bool(value);
            continue;
        }
        match &mut node.value {
            Value::Array(items) => nodes.extend(items),
            Value::Table(entries) => nodes.extend(entries.iter_mut().map(|it| &mut it.value)),
            _ => {}
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_old_yaml_are_booleans_unless_they_are_quoted() {
        let text = "a: yes\nb: [Off, 'no', \"on\", yesterday]\n";
        let document = parse_old(text).unwrap();
        let Value::Array(items) = &document.find(&["b"]).unwrap().value else { panic!() };
        let found: Vec<_> = items.iter().map(|it| &it.value).collect();
        let text = |it: &str| Value::String(it.to_owned());
        assert_eq!(document.find(&["a"]).unwrap().value, Value::Bool(true));
        assert_eq!(found, [&Value::Bool(false), &text("no"), &text("on"), &text("yesterday")]);
    }
}
