//! YAML with the place of every value, so that an error can point at it.

use std::{collections::BTreeMap, fmt};

use miette::{NamedSource, SourceSpan};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use super::{ConfigError, Text};

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// `None` for what the environment says.
    pub(super) at: Option<At>,
}

/// A place in one of the files.
#[derive(Clone, Debug)]
pub(super) struct At {
    /// An index of the texts that were read.
    file: usize,
    line: u64,
    span: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Numbers too: nothing here is one, and an ID of digits shall stay as it is.
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// The files, to point into.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<File>);

#[derive(Debug)]
struct File {
    path: String,
    blotted: String,
}

impl Files {
    /// Reads one more file.
    pub(super) fn parse(&mut self, text: &Text) -> Result<Node, Box<ConfigError>> {
        let parsed: Spanned<Raw> = serde_yaml::from_str(&text.text).map_err(|err| {
            let line = err.location().map(|it| it.line());
            // What the parser quotes may be a password.
            let reason = err.without_snippet().to_string();
            let reason = reason.lines().next().unwrap_or("unreadable").to_owned();
            ConfigError::Syntax { path: text.path.clone(), line, reason }
        })?;
        let mut secrets = Vec::new();
        let node = node(self.0.len(), &text.text, 0, parsed, &mut secrets);
        self.0.push(File { path: text.path.clone(), blotted: blot(&text.text, &secrets) });
        Ok(node)
    }

    /// `path:line`
    pub(super) fn place(&self, at: Option<&At>) -> Option<String> {
        let at = at?;
        Some(format!("{}:{}", self.0.get(at.file)?.path, at.line))
    }

    /// The file and the place in it.
    pub(super) fn source(
        &self,
        at: Option<&At>,
    ) -> (Option<NamedSource<String>>, Option<SourceSpan>) {
        let Some((at, file)) = at.and_then(|at| Some((at, self.0.get(at.file)?))) else {
            return (None, None);
        };
        (Some(NamedSource::new(&file.path, file.blotted.clone())), at.span.map(Into::into))
    }
}

impl Node {
    pub(super) fn empty() -> Self {
        Self { value: Value::Map(BTreeMap::new()), at: None }
    }

    pub(super) fn text(text: &str) -> Self {
        Self { value: Value::Text(text.to_owned()), at: None }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(map) => map.get(key).filter(|it| !matches!(it.value, Value::Null)),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        match &self.value {
            Value::Map(map) => Some(map.keys()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }

    /// This with `other` laid over it.
    pub(super) fn merge(&mut self, other: Self) {
        match (&mut self.value, other.value) {
            (Value::Map(mine), Value::Map(theirs)) => {
                for (key, value) in theirs {
                    match mine.get_mut(&key) {
                        Some(old) => old.merge(value),
                        None => _ = mine.insert(key, value),
                    }
                }
            }
            (_, Value::Null) => {}
            (_, value) => *self = Self { value, at: other.at },
        }
    }
}

/// Keys whose values are secrets.
pub(super) fn is_secret(key: &str) -> bool {
    ["password", "secret", "token", "passcode", "passphrase"].iter().any(|it| key.contains(it))
}

/// The text with secrets as stars: lines beside an error are shown too.
fn blot(text: &str, secrets: &[(usize, usize)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (from, len) in secrets {
        // To the end of the line at least: a multi-line scalar's span may be its first.
        let end = (from + len).min(bytes.len());
        for byte in bytes.iter_mut().take(end).skip(*from) {
            if *byte != b'\n' {
                *byte = b'*';
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn node(
    file: usize,
    text: &str,
    depth: usize,
    raw: Spanned<Raw>,
    secrets: &mut Vec<(usize, usize)>,
) -> Node {
    let span = raw.referenced.span();
    let span = span
        .byte_offset()
        .zip(span.byte_len())
        .and_then(|(from, len)| Some((usize::try_from(from).ok()?, usize::try_from(len).ok()?)));
    let mut at = At { file, line: raw.referenced.line(), span };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(it) => Value::Bool(it),
        Raw::Text(it) => Value::Text(it),
        // `0123` and `1.10` are meant as they are written.
        Raw::Number(it) => {
            let written = span.and_then(|(from, len)| text.get(from..from + len));
            Value::Text(written.map_or(it, |it| it.trim().to_owned()))
        }
        Raw::List(items) => Value::List(
            items.into_iter().map(|it| node(file, text, depth + 1, it, secrets)).collect(),
        ),
        Raw::Map(entries) => {
            let mut map = BTreeMap::new();
            for (key, value) in entries {
                let value = node(file, text, depth + 1, value, secrets);
                if is_secret(&key)
                    && let Some(span) = value.at.as_ref().and_then(|it| it.span)
                {
                    secrets.push(span);
                }
                // Some write keys with hyphens; the names of clouds, one level down, are the user's own.
                map.insert(if depth == 1 { key } else { key.replace('-', "_") }, value);
            }
            Value::Map(map)
        }
    };
    // A map's own place is empty: its first value is as near as can be.
    if let Value::Map(map) = &value
        && let Some(first) = map.values().filter_map(|it| it.at.as_ref()).min_by_key(|it| it.line)
    {
        at.line = first.line;
        at.span = first.span;
    }
    Node { value, at: Some(at) }
}

/// Any YAML.
enum Raw {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(String, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any YAML value")
            }
            fn visit_bool<E>(self, it: bool) -> Result<Raw, E> {
                Ok(Raw::Bool(it))
            }
            fn visit_i64<E>(self, it: i64) -> Result<Raw, E> {
                Ok(Raw::Number(it.to_string()))
            }
            fn visit_u64<E>(self, it: u64) -> Result<Raw, E> {
                Ok(Raw::Number(it.to_string()))
            }
            fn visit_f64<E>(self, it: f64) -> Result<Raw, E> {
                Ok(Raw::Number(it.to_string()))
            }
            fn visit_str<E>(self, it: &str) -> Result<Raw, E> {
                Ok(Raw::Text(it.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
