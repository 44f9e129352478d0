//! Includes: a spec in several files, as one document.
//!
//! Tables are merged deeply, and the including file wins; a list is a value and
//! is replaced. Between files that are included side by side nobody wins: what
//! both set is a mistake, at both lines. Who reads files is the caller's affair.

use std::collections::BTreeMap;

use super::{
    document::{Document, Entry, Node, Part, Syntax, Value},
    error::SpecError,
};

/// The files of a spec's folder.
pub trait Includes {
    /// The text of a file, by its path from the spec's folder; else why not,
    /// for the sentence "cannot include `x`: …".
    fn read(&self, path: &str) -> Result<String, String>;
}

/// No files: for specs that include none.
#[derive(Clone, Copy, Debug)]
pub struct NoIncludes;

impl Includes for NoIncludes {
    fn read(&self, _path: &str) -> Result<String, String> {
        Err("there are no other files here".to_owned())
    }
}

/// More files than these are not parts of one spec.
const MOST_FILES: usize = 64;

/// Tables of which one key is chosen: the including file's choice replaces the
/// other, it is not added to it.
const CHOICES: &[(&str, &[&str])] = &[
    ("source", &["tree", "iso", "kernel", "package"]),
    ("platform", &["qemu", "openstack"]),
    ("target", &["file", "glance", "volume"]),
    ("answer", &["template", "file", "text"]),
    ("verify", &["skip", "login-prompt", "console", "ssh"]),
];

/// Reads a text and what it includes.
pub(super) fn open(
    name: &str,
    text: &str,
    syntax: Syntax,
    includes: &dyn Includes,
) -> (Document, Vec<SpecError>) {
    let mut opener = Opener {
        folder: name.rsplit_once('/').map(|it| format!("{}/", it.0)).unwrap_or_default(),
        includes,
        text: String::new(),
        parts: Vec::new(),
        known: BTreeMap::new(),
        errors: Vec::new(),
    };
    let file = name.rsplit('/').next().unwrap_or(name).to_owned();
    let root = opener.file(name, text, syntax, &mut vec![file]);
    let root = root.unwrap_or_else(|| Node::new(Value::Table(Vec::new()), 0..0));
    let Opener { text, parts, errors, .. } = opener;
    (Document { name: name.to_owned(), text, syntax, root, parts, chosen: Vec::new() }, errors)
}

struct Opener<'a> {
    /// What comes before the names of included files.
    folder: String,
    includes: &'a dyn Includes,
    text: String,
    parts: Vec<Part>,
    /// What files say, with what they include, by their paths.
    known: BTreeMap<String, Option<Node>>,
    errors: Vec<SpecError>,
}

impl Opener<'_> {
    /// One file. `within` are the paths of the files that led here, it last.
    fn file(
        &mut self,
        name: &str,
        text: &str,
        syntax: Syntax,
        within: &mut Vec<String>,
    ) -> Option<Node> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !self.parts.is_empty() {
            self.text.push('\n');
        }
        let start = self.text.len();
        self.text.push_str(text);
        let number = self.parts.len();
        let range = start..self.text.len();
        self.parts.push(Part { name: name.to_owned(), syntax, range, root: None });
        let mut root = match Document::parse(name, text, syntax) {
            Ok(document) => document.root,
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(|it| it.shift(start)));
                return None;
            }
        };
        root.shift(start);
        if let Some(part) = self.parts.get_mut(number) {
            part.root = Some(root.clone());
        }
        let Some(Value::Array(items)) = root.entry("include").map(|it| it.value.value.clone())
        else {
            return Some(root);
        };
        let mut below: Option<Node> = None;
        for item in &items {
            let Some(included) = self.include(item, within) else { continue };
            below = Some(match below {
                None => included,
                Some(other) => {
                    Merge { siblings: true, errors: &mut self.errors }.nodes(&other, &included, "")
                }
            });
        }
        match below {
            None => Some(root),
            Some(mut below) => {
                below.remove(&["include"]);
                Some(Merge { siblings: false, errors: &mut self.errors }.nodes(&root, &below, ""))
            }
        }
    }

    /// What one item of an `include` stands for.
    fn include(&mut self, item: &Node, within: &mut Vec<String>) -> Option<Node> {
        // What is no text is a mistake that the schema finds.
        let written = item.as_str()?;
        let refuse = |why: &str, help: &str| {
            SpecError::new("include", format!("cannot include `{written}`: {why}"))
                .at(item.pointer(), "included here")
                .help(help)
        };
        let from = within.last().map(String::as_str).unwrap_or_default();
        let Some(path) = resolve(from, written) else {
            self.errors.push(refuse(
                "it is not in the spec's folder",
                "a spec includes files of its own folder and of those below it",
            ));
            return None;
        };
        if let Some(at) = within.iter().position(|it| *it == path) {
            let circle = within.get(at..).unwrap_or_default().join("` includes `");
            self.errors.push(refuse(
                "it includes itself",
                &format!("`{circle}` includes `{path}`; leave one of these out"),
            ));
            return None;
        }
        if let Some(known) = self.known.get(&path) {
            return known.clone();
        }
        let Some(syntax) = Syntax::of_file_name(&path) else {
            self.errors.push(refuse("its language is not known", "name it .toml, .yaml or .yml"));
            return None;
        };
        if self.parts.len() >= MOST_FILES {
            self.errors.push(refuse(
                &format!("these are more than {MOST_FILES} files"),
                "put what belongs together into one file",
            ));
            return None;
        }
        let text = match self.includes.read(&path) {
            Ok(text) => text,
            Err(why) => {
                self.errors.push(refuse(
                    &why,
                    "the path counts from the folder of the file that includes it",
                ));
                return None;
            }
        };
        let name = format!("{}{path}", self.folder);
        within.push(path.clone());
        let root = self.file(&name, &text, syntax, within);
        within.pop();
        self.known.insert(path, root.clone());
        root
    }
}

/// A path from the spec's folder, given one from a file in it; `None` where it
/// leads out.
fn resolve(from: &str, written: &str) -> Option<String> {
    if written.starts_with('/') || written.contains(['\\', '\0']) || written.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

struct Merge<'a> {
    /// Whether neither file may win.
    siblings: bool,
    errors: &'a mut Vec<SpecError>,
}

impl Merge<'_> {
    fn nodes(&mut self, over: &Node, under: &Node, path: &str) -> Node {
        let (Value::Table(first), Value::Table(second)) = (&over.value, &under.value) else {
            return over.clone();
        };
        let mut entries = first.clone();
        let replaced = CHOICES
            .iter()
            .find(|it| it.0 == path && !self.siblings)
            .map(|it| it.1)
            .filter(|it| first.iter().any(|entry| it.contains(&entry.key.as_str())))
            .unwrap_or_default();
        for entry in second {
            let Some(own) = entries.iter_mut().find(|it| it.key == entry.key) else {
                if !replaced.contains(&entry.key.as_str()) {
                    entries.push(entry.clone());
                }
                continue;
            };
            let path =
                if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            let is_table = |it: &Entry| matches!(it.value.value, Value::Table(_));
            if is_table(own) && is_table(entry) {
                own.value = self.nodes(&own.value, &entry.value, &path);
            } else if is_table(own) != is_table(entry) {
                self.conflict(own, entry, format!("`{path}` is a table in one file only"));
            } else if self.siblings && own.key_span != entry.key_span && path != "include" {
                self.conflict(own, entry, format!("`{path}` is set in two included files"));
            }
        }
        Node { value: Value::Table(entries), ..over.clone() }
    }

    fn conflict(&mut self, own: &Entry, other: &Entry, message: String) {
        let help = if self.siblings {
            "set it in one of them, or in the file that includes both"
        } else {
            "write it the same way in both"
        };
        let error = SpecError::new("include-conflict", message)
            .at(own.key_span.clone(), "set here")
            .and(other.key_span.clone(), "set here too")
            .help(help);
        self.errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_file_and_stay_in_the_folder() {
        for (from, written, expected) in [
            ("a.toml", "b.toml", Some("b.toml")),
            ("x/a.toml", "b.toml", Some("x/b.toml")),
            ("x/a.toml", "../b.toml", Some("b.toml")),
            ("x/a.toml", "./y/../b.toml", Some("x/b.toml")),
            ("a.toml", "../b.toml", None),
            ("x/a.toml", "../../b.toml", None),
            ("a.toml", "/etc/passwd", None),
            ("a.toml", "", None),
        ] {
            assert_eq!(resolve(from, written).as_deref(), expected, "{from} {written}");
        }
    }
}
