//! A spec's text as one tree of nodes, the same for TOML and YAML.
//!
//! Every key and every value knows the bytes it was written with, so that a
//! mistake found late, in a check or in a template, can still point at them.

use std::{fmt, ops::Range};

use super::{error::SpecError, quoting, toml_tree, yaml_tree};

/// The language a spec is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2, core schema.
    Yaml,
}

impl Syntax {
    /// The language of a file, by the end of its name.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.ends_with(".toml") {
            Some(Self::Toml)
        } else if name.ends_with(".yaml") || name.ends_with(".yml") {
            Some(Self::Yaml)
        } else {
            None
        }
    }
}

/// A text and the tree that was read from it.
///
/// Where a spec includes other files, their texts follow the spec's own, and
/// places count through all of them; `parts` says which file a place is in.
#[derive(Clone)]
pub struct Document {
    /// The file's name, as messages give it.
    pub name: String,
    /// The text, without a byte order mark. May hold secrets.
    pub text: String,
    /// The language.
    pub syntax: Syntax,
    /// The whole document, a table.
    pub root: Node,
    /// The files of the text, the spec itself first.
    pub(super) parts: Vec<Part>,
    /// What the matrix chose for this build: axis and value.
    pub(super) chosen: Vec<(String, Node)>,
}

/// A file among the texts of a document.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Its name, for messages.
    pub(super) name: String,
    /// Its language.
    pub(super) syntax: Syntax,
    /// Its bytes.
    pub(super) range: Range<usize>,
    /// What it says by itself; nothing where it cannot be read.
    pub(super) root: Option<Node>,
}

/// A value with its place in the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Its bytes. Of a table or an array they are only its beginning.
    pub span: Range<usize>,
    /// What an unquoted YAML scalar looks like, where it reads as something
    /// other than a string: `1.10`, `true`.
    pub plain: Option<String>,
}

/// A value of either language.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing; YAML only.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// A date or a time; TOML only.
    Date(String),
    /// Text.
    String(String),
    /// Values in order.
    Array(Vec<Node>),
    /// Keys with values, in the order they were written.
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The key's bytes.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

/// No spec comes near this; what does is not a spec.
const LARGEST_TEXT: usize = 1 << 20;

/// Deeper documents are refused, so that no walk over a tree can overflow.
pub(super) const DEEPEST: usize = 64;
pub(super) const DEEP_HELP: &str =
    "a spec is never more than a few levels deep; look for brackets without their ends";

/// Documents with more nodes are refused, so that YAML aliases cannot multiply.
pub(super) const MOST_NODES: usize = 50_000;

impl Document {
    /// Reads a text; every mistake in its syntax is reported.
    pub fn parse(name: &str, text: &str, syntax: Syntax) -> Result<Self, Vec<SpecError>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > LARGEST_TEXT {
            return Err(vec![
                SpecError::new("too-large", format!("{name} is too large: {} bytes", text.len()))
                    .help("a spec has at most 1 MiB; put long texts into files of their own"),
            ]);
        }
        if let Some(at) = text.find('\0') {
            return Err(vec![
                SpecError::new("syntax", "the text has a zero byte in it")
                    .at(at..at + 1, "here")
                    .help("save the file as UTF-8 text"),
            ]);
        }
        let root = match syntax {
            Syntax::Toml => toml_tree::parse(text)?,
            Syntax::Yaml => yaml_tree::parse(text)?,
        };
        let part =
            Part { name: name.to_owned(), syntax, range: 0..text.len(), root: Some(root.clone()) };
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            syntax,
            root,
            parts: vec![part],
            chosen: Vec::new(),
        })
    }

    /// The node at a path of keys and indices.
    pub fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, part| node.child(part))
    }

    /// Where to point for the value at a path: the value, for a table or an
    /// array its key, or what encloses it where the path is not there.
    pub fn span(&self, path: &[&str]) -> Option<Range<usize>> {
        let mut node = &self.root;
        let mut span = None;
        for part in path {
            let Some((at, child)) = node.pointer_to(part) else { break };
            span = Some(at);
            node = child;
        }
        span
    }

    /// Where the key at a path is.
    pub fn key_span(&self, path: &[&str]) -> Option<Range<usize>> {
        let (last, parents) = path.split_last()?;
        Some(self.find(parents)?.entry(last)?.key_span.clone())
    }

    /// The bytes of a part of a string, given as a part of its value.
    pub fn inside(&self, node: &Node, part: Range<usize>) -> Range<usize> {
        match &node.value {
            Value::String(value) => quoting::locate(&self.text, node.span.clone(), value, part),
            _ => node.span.clone(),
        }
    }

    /// The line and the column of a byte in its file, both from 1; columns count
    /// characters.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let part = self.parts.iter().find(|it| offset <= it.range.end);
        let range = part.map_or(0..self.text.len(), |it| it.range.clone());
        let text = self.text.get(range.clone()).unwrap_or_default();
        line_and_column(text, offset.saturating_sub(range.start))
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold secrets.
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Node {
    /// A node of a value written in these bytes.
    pub(super) fn new(value: Value, span: Range<usize>) -> Self {
        Self { value, span, plain: None }
    }

    /// The same, for a text that starts `by` bytes later.
    pub(super) fn shift(&mut self, by: usize) {
        self.span = self.span.start + by..self.span.end + by;
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|it| it.shift(by)),
            Value::Table(entries) => {
                for entry in entries {
                    entry.key_span = entry.key_span.start + by..entry.key_span.end + by;
                    entry.value.shift(by);
                }
            }
            _ => {}
        }
    }

    /// The entry of a table.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|it| it.key == key)
    }

    /// The entries of a table; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// Sets an entry of a table, which keeps its place where it is there.
    pub(super) fn set(&mut self, key: &str, key_span: &Range<usize>, value: Self) {
        let Value::Table(entries) = &mut self.value else { return };
        match entries.iter_mut().find(|it| it.key == key) {
            Some(entry) => entry.value = value,
            None => entries.push(Entry { key: key.to_owned(), key_span: key_span.clone(), value }),
        }
    }

    /// Takes entries out of a table.
    pub(super) fn remove(&mut self, keys: &[&str]) {
        if let Value::Table(entries) = &mut self.value {
            entries.retain(|it| !keys.contains(&it.key.as_str()));
        }
    }

    /// The value below a key or an index.
    pub fn child(&self, part: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(_) => self.entry(part).map(|it| &it.value),
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a table or an array.
    pub fn is_container(&self) -> bool {
        matches!(self.value, Value::Array(_) | Value::Table(_))
    }

    /// A scalar as it is written, for names and comparisons.
    pub(super) fn plain_text(&self) -> String {
        match (&self.plain, &self.value) {
            (Some(plain), _) => plain.clone(),
            (None, Value::String(text) | Value::Date(text)) => text.clone(),
            _ => self.to_json().to_string(),
        }
    }

    /// What it is, for "found …".
    pub fn found(&self) -> String {
        let shown = |it: &str| {
            let start: String = it.chars().take(30).filter(|it| !it.is_control()).collect();
            let rest = if start.len() < it.len() { "…" } else { "" };
            format!("`{start}{rest}`")
        };
        let number = |it: String| shown(self.plain.as_deref().unwrap_or(&it));
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(it) => format!("the boolean `{it}`"),
            Value::Integer(it) => format!("the integer {}", number(it.to_string())),
            Value::Float(it) => format!("the number {}", number(it.to_string())),
            Value::Date(it) => format!("the date {}", shown(it)),
            Value::String(it) => format!("the string {}", shown(it)),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// The same as JSON. An unquoted YAML scalar is what it reads as.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(it) => (*it).into(),
            Value::Integer(it) => (*it).into(),
            Value::Float(it) => (*it).into(),
            Value::Date(it) | Value::String(it) => it.as_str().into(),
            Value::Array(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => serde_json::Value::Object(
                entries.iter().map(|it| (it.key.clone(), it.value.to_json())).collect(),
            ),
        }
    }

    /// Where to point for the node itself.
    pub fn pointer(&self) -> Range<usize> {
        if !self.span.is_empty() {
            return self.span.clone();
        }
        match &self.value {
            Value::Table(entries) => entries.first().map(|it| it.key_span.clone()),
            Value::Array(items) => items.first().map(Self::pointer),
            _ => None,
        }
        .unwrap_or_else(|| self.span.clone())
    }

    fn pointer_to(&self, part: &str) -> Option<(Range<usize>, &Self)> {
        if let Some(entry) = self.entry(part) {
            return Some((entry.pointer(), &entry.value));
        }
        let child = self.child(part)?;
        Some((child.pointer(), child))
    }
}

impl Entry {
    /// Where to point for the value: its key where it is a table, an array or
    /// nothing.
    pub fn pointer(&self) -> Range<usize> {
        if self.value.is_container() || self.value.span.is_empty() {
            self.key_span.clone()
        } else {
            self.value.span.clone()
        }
    }
}

/// The line and the column of a byte, both from 1; columns count characters.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |it| it + 1);
    let line = before.bytes().filter(|it| *it == b'\n').count() + 1;
    (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}
