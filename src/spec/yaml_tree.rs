//! YAML into nodes, from the events of the parser below `serde-saphyr`.
//!
//! Serde would hide how a scalar was written and where a container starts.
//! Scalars follow the core schema of YAML 1.2: `no` is text.

use std::{collections::HashMap, ops::Range};

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{
    document::{DEEP_HELP, DEEPEST, Entry, MOST_NODES, Node, Value},
    error::SpecError,
};

/// Reads a YAML text of one document.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SpecError>> {
    let mut tree = Tree {
        text,
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        n_nodes: 0,
        errors: Vec::new(),
    };
    match tree.document() {
        Ok(root) if tree.errors.is_empty() => Ok(root),
        Ok(_) => Err(tree.errors),
        Err(error) => {
            tree.errors.push(error);
            Err(tree.errors)
        }
    }
}

struct Tree<'a> {
    text: &'a str,
    events: Parser<'a, StrInput<'a>>,
    /// Anchored nodes, with the number of nodes in each.
    anchors: HashMap<usize, (Node, usize)>,
    n_nodes: usize,
    errors: Vec<SpecError>,
}

impl<'a> Tree<'a> {
    fn document(&mut self) -> Result<Node, SpecError> {
        let root = loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Ok(Node::new(Value::Table(Vec::new()), 0..0));
                }
                event => break self.node(event, span, 0)?,
            }
        };
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ => {
                    return Err(SpecError::new("syntax", "the file holds a second document")
                        .at(self.bytes(span), "starts here")
                        .help("a spec is one document; write each spec into a file of its own"));
                }
            }
        }
        match root.value {
            Value::Table(_) => Ok(root),
            // An empty document, or one of comments alone.
            Value::Null => Ok(Node::new(Value::Table(Vec::new()), 0..0)),
            _ => Err(SpecError::new(
                "syntax",
                format!("expected keys with values, found {}", root.found()),
            )
            .at(root.pointer(), "here")
            .help("a spec starts with `version: 1`")),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), SpecError> {
        loop {
            match self.events.next_event() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(err)) => return Err(self.syntax_error(&err)),
                None => return Ok((Event::StreamEnd, Span::default())),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, SpecError> {
        let bytes = self.bytes(span);
        if depth > DEEPEST {
            return Err(SpecError::new("too-deep", "tables and lists are nested too deeply")
                .at(bytes, "here")
                .help(DEEP_HELP));
        }
        let before = self.n_nodes;
        self.count(1, &bytes)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), bytes), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_ref(), &bytes);
                (self.sequence(bytes, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_ref(), &bytes);
                (self.mapping(bytes, depth)?, anchor)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(SpecError::new(
                        "syntax",
                        "the alias stands inside what it refers to",
                    )
                    .at(bytes, "refers to itself")
                    .help("write the value out instead of the alias"));
                };
                self.count(size, &bytes)?;
                (Node { span: bytes, ..node }, 0)
            }
            _ => {
                return Err(SpecError::new("syntax", "expected a value")
                    .at(bytes, "here")
                    .help("give the key a value, or leave it out"));
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.n_nodes - before));
        }
        Ok(node)
    }

    fn sequence(&mut self, span: Range<usize>, depth: usize) -> Result<Node, SpecError> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd | Event::StreamEnd) {
                return Ok(Node::new(Value::Array(items), span));
            }
            items.push(self.node(event, at, depth + 1)?);
        }
    }

    fn mapping(&mut self, span: Range<usize>, depth: usize) -> Result<Node, SpecError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let key_node = self.node(event, at, depth + 1)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            let key = match (&key_node.value, &key_node.plain) {
                (Value::String(key), _) | (_, Some(key)) => key.clone(),
                _ => {
                    self.errors.push(
                        SpecError::new(
                            "syntax",
                            format!("a key is text, found {}", key_node.found()),
                        )
                        .at(key_node.pointer(), "here")
                        .help("put the key in quotes"),
                    );
                    continue;
                }
            };
            if key == "<<" {
                self.merge(&value, &mut merged);
            } else if let Some(first) = places.get(&key).and_then(|i| entries.get(*i)) {
                self.errors.push(duplicate_key(&key, first.key_span.clone(), key_node.span));
            } else {
                places.insert(key.clone(), entries.len());
                entries.push(Entry { key, key_span: key_node.span, value });
            }
        }
        for entry in merged {
            if let std::collections::hash_map::Entry::Vacant(vacant) =
                places.entry(entry.key.clone())
            {
                vacant.insert(entries.len());
                entries.push(entry);
            }
        }
        Ok(Node::new(Value::Table(entries), span))
    }

    /// `<<: *defaults`
    fn merge(&mut self, value: &Node, merged: &mut Vec<Entry>) {
        match &value.value {
            Value::Table(entries) => merged.extend(entries.iter().cloned()),
            Value::Array(items) if items.iter().all(|it| matches!(it.value, Value::Table(_))) => {
                merged.extend(items.iter().flat_map(|it| it.entries().iter().cloned()));
            }
            _ => self.errors.push(
                SpecError::new("syntax", format!("`<<` merges tables, found {}", value.found()))
                    .at(value.pointer(), "here")
                    .help("write `<<: *name`, where `name` is a table with an anchor"),
            ),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Range<usize>,
    ) -> Node {
        let is_text = match tag.map(|it| (it.is_yaml_core_schema(), it.suffix())) {
            None => style != ScalarStyle::Plain,
            Some((true, "str")) => true,
            Some((true, "int" | "float" | "bool" | "null")) => false,
            Some(_) => {
                self.refuse_tag(tag, &span);
                true
            }
        };
        let value = if is_text { None } else { plain_value(text) };
        match value {
            Some(Value::Null) => Node::new(Value::Null, span),
            Some(value) => Node { plain: Some(text.to_owned()), ..Node::new(value, span) },
            None => Node::new(Value::String(text.to_owned()), span),
        }
    }

    fn refuse_tag<T: std::borrow::Borrow<Tag>>(&mut self, tag: Option<&T>, span: &Range<usize>) {
        let Some(tag) = tag.map(std::borrow::Borrow::borrow) else { return };
        if !(tag.is_yaml_core_schema() && matches!(tag.suffix(), "seq" | "map")) {
            self.errors.push(
                SpecError::new(
                    "syntax",
                    format!("the tag `{}` means nothing here", tag.original()),
                )
                .at(span.clone(), "tagged")
                .help("leave the tag out"),
            );
        }
    }

    fn count(&mut self, n_nodes: usize, span: &Range<usize>) -> Result<(), SpecError> {
        self.n_nodes += n_nodes;
        if self.n_nodes > MOST_NODES {
            return Err(SpecError::new(
                "too-large",
                "the document is too large once its aliases are filled in",
            )
            .at(span.clone(), "the limit is passed here")
            .help(format!("a spec has at most {MOST_NODES} values")));
        }
        Ok(())
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        let len = self.text.len();
        let from = span.start.byte_offset().unwrap_or(len).min(len);
        let until = span.end.byte_offset().unwrap_or(from).clamp(from, len);
        // A block scalar's span reaches over the line end after it.
        let trimmed = self.text.get(from..until).map_or(0, |it| it.trim_end().len());
        from..from + trimmed
    }

    fn syntax_error(&self, err: &ScanError) -> SpecError {
        let at = err.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        let line_start = self.text.get(..at).and_then(|it| it.rfind('\n')).map_or(0, |it| it + 1);
        let tab = self.text.get(line_start..).is_some_and(|line| {
            line.chars().take_while(|it| it.is_whitespace() && *it != '\n').any(|it| it == '\t')
        });
        if err.info().contains("recursion") || err.info().contains("depth") {
            return SpecError::new("too-deep", "tables and lists are nested too deeply")
                .at(at..at, "here")
                .help(DEEP_HELP);
        }
        let help = if tab {
            "YAML is indented with spaces, never with tabs"
        } else {
            "this is not YAML; look for a missing quote, colon or space before this place"
        };
        SpecError::new("syntax", err.info()).at(at..at, "here").help(help)
    }
}

/// The same key twice in one table.
fn duplicate_key(key: &str, first: Range<usize>, second: Range<usize>) -> SpecError {
    SpecError::new("syntax", format!("the key `{key}` is set twice"))
        .at(second, "set again")
        .and(first, "first set")
        .help("a key can be set once; leave one of them out")
}

/// What an unquoted scalar is in the core schema; `None` where it is text.
fn plain_value(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".inf" | "+.inf" => return Some(Value::Float(f64::INFINITY)),
        "-.inf" => return Some(Value::Float(f64::NEG_INFINITY)),
        ".nan" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(Value::Integer);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().map(Value::Integer);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        || !text.bytes().any(|it| it.is_ascii_digit())
        || !text.bytes().all(|it| it.is_ascii_digit() || b"+-.eE".contains(&it))
    {
        return None;
    }
    if let Ok(it) = text.parse() {
        return Some(Value::Integer(it));
    }
    text.parse().ok().map(Value::Float)
}
