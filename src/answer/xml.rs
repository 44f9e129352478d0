//! XML as a tree whose elements know their place.

use std::ops::Range;

use quick_xml::{Reader, events::Event};

/// Deeper documents are refused.
const DEEPEST: usize = 100;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its name, without a prefix.
    pub(crate) name: String,
    /// Its start tag.
    pub(crate) span: Range<usize>,
    /// `name="value"`, names without a prefix.
    pub(crate) attributes: Vec<(String, String)>,
    /// The elements in it.
    pub(crate) children: Vec<Element>,
    /// The text in it, without blanks at its ends.
    pub(crate) text: String,
}

/// Where a text stops being XML, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotWellFormed {
    /// Why.
    pub(super) message: String,
    /// Where, in bytes.
    pub(super) at: usize,
}

impl Element {
    /// The child at a path of names.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |it, name| it.children.iter().find(|it| it.name == *name))
    }

    /// An attribute's value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    /// It and every element below it.
    pub(crate) fn walk<'a>(&'a self, found: &mut Vec<&'a Self>) {
        found.push(self);
        for child in &self.children {
            child.walk(found);
        }
    }
}

/// Reads a document: its root.
pub(super) fn parse(text: &str) -> Result<Element, NotWellFormed> {
    let skipped = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut reader = Reader::from_str(text.get(skipped..).unwrap_or_default());
    reader.config_mut().check_end_names = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let start = position(reader.buffer_position(), skipped, text);
        let fails = |message: String| NotWellFormed { message, at: start };
        let event = reader.read_event().map_err(|error| NotWellFormed {
            message: error.to_string(),
            at: position(reader.error_position(), skipped, text),
        })?;
        let end = position(reader.buffer_position(), skipped, text);
        match event {
            Event::Start(tag) => {
                if open.len() >= DEEPEST {
                    return Err(fails("the elements are nested too deep".to_owned()));
                }
                if root.is_some() {
                    return Err(fails("there is a second root element".to_owned()));
                }
                open.push(element(&tag, start..end).map_err(fails)?);
            }
            Event::Empty(tag) => {
                let it = element(&tag, start..end).map_err(fails)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(it),
                    None if root.is_none() => root = Some(it),
                    None => return Err(fails("there is a second root element".to_owned())),
                }
            }
            Event::End(_) => {
                let Some(mut it) = open.pop() else {
                    return Err(fails("an end tag has no start tag".to_owned()));
                };
                it.text = String::from(it.text.trim());
                match open.last_mut() {
                    Some(parent) => parent.children.push(it),
                    None => root = Some(it),
                }
            }
            Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
                let raw = text.get(start..end).unwrap_or_default();
                let raw =
                    raw.strip_prefix("<![CDATA[").map_or(raw, |it| it.trim_end_matches("]]>"));
                match open.last_mut() {
                    Some(it) => it.text.push_str(raw),
                    None if raw.trim().is_empty() => {}
                    None => return Err(fails("there is text outside of the root".to_owned())),
                }
            }
            Event::Eof => break,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    if let Some(it) = open.last() {
        let message = format!("`<{}>` is never closed", it.name);
        return Err(NotWellFormed { message, at: it.span.start });
    }
    root.ok_or(NotWellFormed { message: "there is no element".to_owned(), at: 0 })
}

fn position(position: u64, skipped: usize, text: &str) -> usize {
    let mut at =
        usize::try_from(position).unwrap_or(usize::MAX).saturating_add(skipped).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn element(tag: &quick_xml::events::BytesStart<'_>, span: Range<usize>) -> Result<Element, String> {
    let local = |name: &str| name.rsplit(':').next().unwrap_or_default().to_owned();
    let mut attributes = Vec::new();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|it| it.to_string())?;
        let key: &str = attribute.key.as_ref();
        attributes.push((local(key), attribute.value.to_string()));
    }
    let name = tag.name();
    Ok(Element { name: local(name.as_ref()), span, attributes, ..Element::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_know_their_place() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE profile>\n<profile xmlns=\"x\"><a:b \
                    c:type=\"boolean\"> true </a:b><d/></profile>\n";
        let root = parse(text).unwrap();
        let b = root.find(&["b"]).unwrap();
        assert_eq!((b.text.as_str(), b.attribute("type")), ("true", Some("boolean")));
        assert_eq!(text.get(b.span.clone()), Some("<a:b c:type=\"boolean\">"));
        assert!(root.find(&["d"]).is_some());
    }

    #[test]
    fn what_is_not_well_formed_is_told_with_its_place() {
        for text in ["<a><b></a>", "<a>", "<a/><b/>", "text", "", "<a b=1/>", "<a></b>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_read_or_refused(text in "[<>/a-c&;!\\[\\]= \"ü\n-]{0,60}") {
            if let Err(error) = parse(&text) {
                prop_assert!(text.is_char_boundary(error.at));
            }
        }
    }
}
