//! Fills in the templates among a spec's strings.
//!
//! The tree of nodes goes along with the values, so that a mistake points at
//! its place inside the string. Which strings are made of secrets, or of values
//! that nothing sets yet, is noted for the checks.

use std::{collections::BTreeSet, ops::Range};

use regex::Regex;
use serde_json::Value as Json;

use super::{
    document::{Document, Node},
    error::SpecError,
    names,
    variables::Resolved,
};
use crate::render::{self, Context, Inline};

/// What strings are filled in with.
pub(super) struct Filler<'a> {
    pub(super) document: &'a Document,
    pub(super) context: Context,
    /// The same, ready for templates.
    pub(super) values: minijinja::Value,
    /// The same with placeholders for secrets.
    pub(super) masked: minijinja::Value,
    pub(super) resolved: &'a Resolved,
    pub(super) inline: Inline,
    pub(super) errors: Vec<SpecError>,
    pub(super) filled: Filled,
}

/// What was noticed on the way.
#[derive(Default)]
pub(super) struct Filled {
    /// Variables that are used.
    pub(super) used: BTreeSet<String>,
    /// Strings made of secrets: path, place, variable.
    pub(super) secrets: Vec<(Vec<String>, Range<usize>, String)>,
    /// Paths of strings whose values are not known yet.
    pub(super) open: BTreeSet<Vec<String>>,
}

impl Filler<'_> {
    /// Fills in every string at or below a path; returns the masked values.
    pub(super) fn fill(&mut self, path: &[&str], json: &mut Json) -> Json {
        let document = self.document;
        let Some(node) = document.find(path) else { return Json::Null };
        let mut value = json;
        for part in path {
            match value.get_mut(*part) {
                Some(inner) => value = inner,
                None => return Json::Null,
            }
        }
        let mut path: Vec<_> = path.iter().map(|it| (*it).to_owned()).collect();
        self.walk(node, value, &mut path)
    }

    fn walk(&mut self, node: &Node, json: &mut Json, path: &mut Vec<String>) -> Json {
        match json {
            Json::String(text) => {
                if !render::is_template(text) || node.as_str().is_none() {
                    return json.clone();
                }
                let (real, masked) = self.text(node, text, path);
                *text = real;
                Json::String(masked)
            }
            Json::Array(items) => {
                let mut masked = Vec::new();
                for (i, item) in items.iter_mut().enumerate() {
                    path.push(i.to_string());
                    masked.push(match node.child(&i.to_string()) {
                        Some(child) => self.walk(child, item, path),
                        None => item.clone(),
                    });
                    path.pop();
                }
                Json::Array(masked)
            }
            Json::Object(entries) => {
                let mut masked = serde_json::Map::new();
                for (key, value) in entries.iter_mut() {
                    path.push(key.clone());
                    let other = match node.child(key) {
                        Some(child) => self.walk(child, value, path),
                        None => value.clone(),
                    };
                    masked.insert(key.clone(), other);
                    path.pop();
                }
                Json::Object(masked)
            }
            _ => json.clone(),
        }
    }

    /// Fills in one string; where that fails, it stays as it is.
    fn text(&mut self, node: &Node, text: &str, path: &[String]) -> (String, String) {
        let unchanged = || (text.to_owned(), text.to_owned());
        let Some(names) = self.names(node, text, &[]) else {
            // Nothing more is to be said of it.
            self.filled.open.insert(path.to_vec());
            return unchanged();
        };
        let mut is_secret = false;
        for name in names {
            if self.resolved.unset.contains(&name) {
                self.filled.open.insert(path.to_vec());
            }
            if self.resolved.values.get(&name).is_some_and(|it| it.sensitive) {
                let at = self.document.inside(node, place_of(text, &name));
                self.filled.secrets.push((path.to_vec(), at, name));
                is_secret = true;
            }
        }
        match self.inline.fill(text, &self.values) {
            Ok(real) => {
                if is_secret && path.first().is_none_or(|it| it != "answer") {
                    return self.veiled(node, text, path, &real);
                }
                let masked = self
                    .inline
                    .fill(text, &self.masked)
                    .unwrap_or_else(|_| "<sensitive>".to_owned());
                (real, masked)
            }
            Err(err) => {
                let is_open = self.filled.open.contains(path);
                // With a stand-in for a value, sums may fail that will not fail with the value.
                if !is_open {
                    self.errors.push(
                        SpecError::new("template", self.without_secrets(&err.message))
                            .at(self.document.inside(node, err.range), "here")
                            .help("strings between `{{` and `}}` are minijinja expressions; use `{% raw %}` where braces are meant"),
                    );
                }
                self.filled.open.insert(path.to_vec());
                unchanged()
            }
        }
    }

    /// A string outside of the answer file that is made of secrets: those stay
    /// placeholders until the moment it is used.
    fn veiled(&mut self, node: &Node, text: &str, path: &[String], real: &str) -> (String, String) {
        self.filled.open.insert(path.to_vec());
        let masked = self.inline.fill(text, &self.masked).unwrap_or_default();
        if crate::model::reveal(&masked, &self.resolved.values) != real {
            self.errors.push(
                SpecError::new("template", "a secret can only be used as it is here")
                    .at(self.document.inside(node, 0..text.len()), "changes the secret")
                    .help("leave filters and conditions out, or use it in the answer file"),
            );
        }
        (masked.clone(), masked)
    }

    /// The names that a text uses, all of them known; `None` after a mistake.
    /// `more` are names that are known beside the variables.
    pub(super) fn names(&mut self, node: &Node, text: &str, more: &[&str]) -> Option<Vec<String>> {
        let names = match self.inline.names_used(text) {
            Ok(names) => names,
            Err(err) => {
                self.errors.push(
                    SpecError::new("template", err.message)
                        .at(self.document.inside(node, err.range), "here")
                        .help("look for a missing `}}`, `%}` or `endif`; use `{% raw %}` where braces are meant"),
                );
                return None;
            }
        };
        let mut is_right = true;
        for name in &names {
            self.filled.used.insert(name.clone());
            if self.context.contains_key(name)
                || more.contains(&name.as_str())
                || may_be_missing(text, name)
            {
                continue;
            }
            is_right = false;
            let known: Vec<_> =
                self.context.keys().map(String::as_str).chain(more.iter().copied()).collect();
            let help = match names::nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare it under `variables`, as `[variables.{name}]`"),
            };
            self.errors.push(
                SpecError::new("undefined-variable", format!("`{name}` is not defined"))
                    .at(self.document.inside(node, place_of(text, name)), "not a variable")
                    .help(help),
            );
        }
        is_right.then_some(names)
    }

    fn without_secrets(&self, message: &str) -> String {
        crate::redact::Redactor::new(&crate::model::secrets(&self.resolved.values)).mask(message)
    }
}

/// Where a name is used in a template.
fn place_of(text: &str, name: &str) -> Range<usize> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
    text.match_indices(name)
        .find(|(at, _)| {
            let before = text.get(..*at).unwrap_or_default();
            let after = text.get(at + name.len()..).unwrap_or_default();
            let opened = before.rfind("{{").max(before.rfind("{%"));
            let closed = before.rfind("}}").max(before.rfind("%}"));
            opened.is_some()
                && opened > closed
                && !is_word(before.chars().last())
                && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        })
        .map_or(0..text.len(), |(at, _)| at..at + name.len())
}

/// Whether the template itself provides for the name to be missing.
fn may_be_missing(text: &str, name: &str) -> bool {
    let pattern = format!(
        r"\b{}\b[^%}}]*(\|\s*(d|default)\b|is\s+(not\s+)?(un)?defined)",
        regex::escape(name)
    );
    (text.contains("default") || text.contains("defined") || text.contains("| d"))
        && Regex::new(&pattern).is_ok_and(|it| it.is_match(text))
}
