//! Spec files: text in, a checked build or every mistake out.
//!
//! A text becomes a tree whose every value knows its place ([`document`]). The
//! tree, with those of the files it includes, is checked against the schema that
//! is also published ([`structure`]), becomes a [`file::SpecFile`] with its
//! strings filled in, and after the checks that need to know what things mean a
//! [`Build`], or several where there is a matrix. Each step reports all the
//! mistakes it finds. Files are read by the caller.

mod check;
pub mod document;
mod error;
pub mod file;
mod include;
mod matrix;
pub(crate) mod names;
mod quoting;
mod strings;
pub mod structure;
mod toml_tree;
pub mod variables;
mod yaml_tree;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

pub use error::{Report, SpecError, SpecErrors};
pub use include::{Includes, NoIncludes};

use crate::{catalogue::Os, model::Build};
use document::{Document, Node, Syntax, Value};
use matrix::Variant;
use variables::Inputs;

/// The operating systems there are.
pub trait OsLookup {
    /// The system of this id or alias.
    fn get(&self, id: &str) -> Option<Arc<Os>>;
    /// All ids, for suggestions.
    fn ids(&self) -> Vec<String>;
}

/// What a spec is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be right in itself; variables may be without a value.
    Validate,
    /// To be rendered, planned or built: every variable needs its value.
    Build,
}

/// A spec without a mistake.
#[derive(Debug)]
pub struct Checked {
    /// What it means.
    pub build: Build,
    /// What may not be meant; see [`SpecErrors::of_warnings`].
    pub warnings: Vec<SpecError>,
    /// The text and its places.
    pub document: Document,
    /// What the matrix chose for this build: axis and value.
    pub chosen: Vec<(String, String)>,
    /// Variables that no string of the spec uses.
    unused: BTreeSet<String>,
}

impl Checked {
    /// Warnings for variables that neither the spec nor the answer file uses.
    /// `used` is what the rendered answer file used.
    pub fn unused_variables(&self, used: &BTreeSet<String>) -> Vec<SpecError> {
        self.unused.difference(used).map(|it| unused_variable(&self.document, it)).collect()
    }
}

/// Reads and checks a spec of one file and one build; of a matrix, the first.
/// `name` is the file's name, for messages.
pub fn check_text(
    name: &str,
    text: &str,
    syntax: Syntax,
    inputs: &Inputs,
    os: &dyn OsLookup,
    mode: Mode,
) -> Result<Checked, SpecErrors> {
    let document = open(name, text, syntax, &NoIncludes)?;
    let mut builds = check_all(&document, inputs, os, mode)?;
    Ok(builds.swap_remove(0))
}

/// Reads a spec and the files it includes. `name` is the file's path, for
/// messages; the names of the others are made from it.
pub fn open(
    name: &str,
    text: &str,
    syntax: Syntax,
    includes: &dyn Includes,
) -> Result<Document, SpecErrors> {
    let (document, errors) = include::open(name, text, syntax, includes);
    if errors.is_empty() { Ok(document) } else { Err(SpecErrors::of(&document, errors)) }
}

/// Checks every build of a spec; there is at least one. A warning that several
/// of them share is the first one's.
pub fn check_all(
    document: &Document,
    inputs: &Inputs,
    os: &dyn OsLookup,
    mode: Mode,
) -> Result<Vec<Checked>, SpecErrors> {
    let mut errors = Vec::new();
    let variants = matrix::variants(document, os, &mut errors);
    let n_all = variants.len();
    let mut builds: Vec<Checked> = Vec::new();
    let mut warned = BTreeSet::new();
    let mut found: Vec<(SpecError, Vec<String>)> = Vec::new();
    let mut places = HashMap::new();
    for variant in variants {
        let Variant { document, chosen } = variant;
        match check_document(&document, inputs, os, mode) {
            Ok((build, mut warnings, unused)) => {
                warnings.retain(|it| warned.insert(it.identity()));
                builds.push(Checked { build, warnings, document, chosen, unused });
            }
            Err(errors) => {
                let name = document.find(&["name"]).and_then(Node::as_str).unwrap_or_default();
                for error in errors {
                    let place = *places.entry(error.identity()).or_insert(found.len());
                    match found.get_mut(place) {
                        Some((_, builds)) => builds.push(name.to_owned()),
                        None => found.push((error, vec![name.to_owned()])),
                    }
                }
            }
        }
    }
    for (mut error, names) in found {
        matrix::name_builds(&mut error, &names, n_all);
        errors.push(error);
    }
    if errors.is_empty() {
        check::apart(document, &builds, &mut errors);
    }
    if errors.is_empty() && !builds.is_empty() {
        return Ok(builds);
    }
    Err(SpecErrors::of(document, errors))
}

/// With more mistakes than these in its structure, a text is not a spec.
const MOST_TO_GO_ON: usize = 100;

type Outcome = (Build, Vec<SpecError>, BTreeSet<String>);

fn check_document(
    document: &Document,
    inputs: &Inputs,
    os: &dyn OsLookup,
    mode: Mode,
) -> Result<Outcome, Vec<SpecError>> {
    if document.root.entries().is_empty() {
        return Err(vec![SpecError::new("empty", "the spec is empty").help(
            "`imgbuild init debian-13` writes one to start from; \
                 the least there is: `version`, `name` and `os`",
        )]);
    }
    other_version(document)?;
    let mut errors = Vec::new();
    let mut json = structure::of_specs().check("", &document.root, &mut errors);
    if errors.is_empty() {
        return check::check(document, json, &BTreeSet::new(), inputs, os, mode);
    }
    if errors.len() > MOST_TO_GO_ON {
        return Err(errors);
    }
    // What stands in sections with the wrong structure cannot be judged; the
    // others are, so that one run reports every mistake.
    let damaged = damaged_sections(document, &errors);
    if let Some(sections) = json.as_object_mut() {
        sections.retain(|key, _| !damaged.contains(key));
        for key in ["version", "name", "os"] {
            sections
                .entry(key)
                .or_insert_with(|| if key == "version" { 1.into() } else { "".into() });
        }
    }
    if let Err(more) = check::check(document, json, &damaged, inputs, os, mode) {
        errors.extend(more.into_iter().filter(|it| {
            let sections: Vec<_> =
                it.spans().filter_map(|it| section_at(document, it.start)).collect();
            !sections.is_empty() && sections.iter().all(|it| !damaged.contains(*it))
        }));
    }
    Err(errors)
}

/// The top-level keys whose values have mistakes in them, and those missing.
fn damaged_sections(document: &Document, errors: &[SpecError]) -> BTreeSet<String> {
    let damaged = errors.iter().flat_map(SpecError::spans);
    let damaged = damaged.filter_map(|it| section_at(document, it.start)).map(str::to_owned);
    let required = ["name", "os"].iter().filter(|it| document.find(&[it]).is_none());
    damaged.chain(required.map(|it| (*it).to_owned())).collect()
}

/// The top-level key that a place belongs to.
fn section_at(document: &Document, offset: usize) -> Option<&str> {
    fn holds(node: &Node, offset: usize) -> bool {
        let within =
            |it: &std::ops::Range<usize>| it.start <= offset && offset <= it.end && !it.is_empty();
        within(&node.span)
            || match &node.value {
                Value::Array(items) => items.iter().any(|it| holds(it, offset)),
                Value::Table(entries) => {
                    entries.iter().any(|it| within(&it.key_span) || holds(&it.value, offset))
                }
                _ => false,
            }
    }
    let entries = document.root.entries();
    let found = entries.iter().find(|it| {
        (it.key_span.start <= offset && offset < it.key_span.end) || holds(&it.value, offset)
    });
    found.map(|it| it.key.as_str())
}

/// A spec of another version is not judged by the rules of this one.
fn other_version(document: &Document) -> Result<(), Vec<SpecError>> {
    match document.find(&["version"]).map(|it| &it.value) {
        Some(Value::Integer(version)) if *version != 1 => Err(vec![
            SpecError::new("version", format!("version {version} of the spec format is not known"))
                .at(document.span(&["version"]), "expected 1")
                .help("this imgbuild reads version 1; a newer imgbuild may read others"),
        ]),
        _ => Ok(()),
    }
}

fn unused_variable(document: &Document, name: &str) -> SpecError {
    SpecError::warning("unused-variable", format!("the variable `{name}` is not used"))
        .at(document.key_span(&["variables", name]), "declared here")
        .help(format!("use it as `{{{{ {name} }}}}`, or leave it out"))
}
