//! The matrix: one spec for several systems, architectures and variables.
//!
//! Each combination of the axes' values becomes a document of its own, in which
//! `os`, `arch` and the variables' defaults are what the matrix says, at the
//! places where the matrix says it. From there on it is a spec like any other.

use std::collections::BTreeMap;

use regex::Regex;

use super::{
    OsLookup,
    document::{Document, Entry, Node, Value},
    error::SpecError,
    names, structure,
};
use crate::{
    model::{Arch, Variable},
    render,
};

/// More builds than these are not what anybody means.
const MOST_BUILDS: usize = 256;

/// One of the builds that a spec describes.
pub(super) struct Variant {
    /// The spec of this build alone.
    pub(super) document: Document,
    /// What was chosen: axis and value.
    pub(super) chosen: Vec<(String, String)>,
}

/// An axis with its values.
struct Axis<'a> {
    entry: &'a Entry,
    values: &'a [Node],
}

/// The builds of a spec; one where it has no matrix.
pub(super) fn variants(
    document: &Document,
    lookup: &dyn OsLookup,
    errors: &mut Vec<SpecError>,
) -> Vec<Variant> {
    let Some(matrix) = document.root.entry("matrix") else {
        return vec![variant(document, &[], lookup, errors)];
    };
    let n_before = errors.len();
    structure::of_specs().check_property("matrix", matrix, errors);
    if errors.len() > n_before {
        return Vec::new();
    }
    let axes = axes(document, matrix, errors);
    let excludes = excludes(matrix, &axes, errors);
    if errors.len() > n_before {
        return Vec::new();
    }
    let combinations = combinations(&axes);
    if combinations.len() > MOST_BUILDS {
        errors.push(
            SpecError::new("matrix", format!("the matrix has more than {MOST_BUILDS} builds"))
                .at(matrix.key_span.clone(), "this matrix")
                .help("take axes or values out; specs can share parts through `include`"),
        );
        return Vec::new();
    }
    let kept: Vec<_> =
        combinations.iter().filter(|it| !excludes.iter().any(|rule| rule.fits(it))).collect();
    for rule in &excludes {
        if !combinations.iter().any(|it| rule.fits(it)) {
            errors.push(
                SpecError::new("matrix", "this excludes nothing")
                    .at(rule.at.pointer(), "no build is like this")
                    .help("leave it out, or use values of the axes"),
            );
        }
    }
    if kept.is_empty() && errors.len() == n_before {
        errors.push(
            SpecError::new("matrix", "the matrix has no builds")
                .at(matrix.key_span.clone(), "nothing is left of it")
                .help("give each axis a value, and do not exclude them all"),
        );
    }
    kept.into_iter().map(|it| variant(document, it, lookup, errors)).collect()
}

/// A mistake that only some of the builds have, and which.
pub(super) fn name_builds(error: &mut SpecError, builds: &[String], n_all: usize) {
    if builds.len() < n_all {
        let shown: Vec<_> = builds.iter().take(4).map(|it| format!("`{it}`")).collect();
        let more = if builds.len() > shown.len() { " and others" } else { "" };
        error.add_help(&format!("this is so in {}{more}", shown.join(", ")));
    }
}

fn axes<'a>(document: &Document, matrix: &'a Entry, errors: &mut Vec<SpecError>) -> Vec<Axis<'a>> {
    let mut axes = Vec::new();
    for entry in matrix.value.entries() {
        let Value::Array(values) = &entry.value.value else { continue };
        if entry.key == "exclude" {
            continue;
        }
        check_axis(document, entry, errors);
        if values.is_empty() {
            errors.push(
                SpecError::new("too-few", format!("`matrix.{}` has no values", entry.key))
                    .at(entry.key_span.clone(), "needs at least one")
                    .help("give it a value, or leave the axis out"),
            );
        }
        for (i, value) in values.iter().enumerate() {
            let text = value.plain_text();
            let first = values.iter().take(i).find(|it| it.plain_text() == text);
            if let Some(first) = first {
                errors.push(
                    SpecError::new(
                        "duplicate",
                        format!("`matrix.{}` has `{text}` twice", entry.key),
                    )
                    .at(value.pointer(), "again")
                    .and(first.pointer(), "first")
                    .help("leave one of them out"),
                );
            }
        }
        axes.push(Axis { entry, values });
    }
    axes
}

/// An axis is `os`, `arch`, or a variable that is declared and no secret.
fn check_axis(document: &Document, axis: &Entry, errors: &mut Vec<SpecError>) {
    let name = axis.key.as_str();
    if matches!(name, "os" | "arch") {
        if let Some(own) = document.root.entry(name) {
            errors.push(
                SpecError::new("contradiction", format!("`{name}` is set twice"))
                    .at(axis.key_span.clone(), "the matrix sets it")
                    .and(own.key_span.clone(), "and this")
                    .help("keep one of them"),
            );
        }
        return;
    }
    let Some(variable) = document.find(&["variables", name]) else {
        let declared = document.find(&["variables"]).map(Node::entries).unwrap_or_default();
        let known: Vec<_> =
            ["os", "arch"].into_iter().chain(declared.iter().map(|it| it.key.as_str())).collect();
        let help = match names::nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("an axis is `os`, `arch` or a variable; add `[variables.{name}]`"),
        };
        errors.push(
            SpecError::new("undefined-variable", format!("the spec has no variable `{name}`"))
                .at(axis.key_span.clone(), "not a variable")
                .help(help),
        );
        return;
    };
    if variable.entry("sensitive").is_some_and(|it| it.value.value == Value::Bool(true)) {
        errors.push(
            SpecError::new("exposed-secret", format!("the secret `{name}` cannot be an axis"))
                .at(axis.key_span.clone(), "a secret")
                .help("anyone who reads the spec could read it; set it from outside"),
        );
    }
}

/// Combinations that are left out.
struct Exclude<'a> {
    at: &'a Node,
    wanted: Vec<(&'a str, String)>,
}

impl Exclude<'_> {
    fn fits(&self, combination: &[(&Entry, &Node)]) -> bool {
        self.wanted.iter().all(|(axis, value)| {
            combination.iter().any(|it| it.0.key == *axis && it.1.plain_text() == *value)
        })
    }
}

fn excludes<'a>(
    matrix: &'a Entry,
    axes: &[Axis<'_>],
    errors: &mut Vec<SpecError>,
) -> Vec<Exclude<'a>> {
    let Some(Value::Array(items)) = matrix.value.entry("exclude").map(|it| &it.value.value) else {
        return Vec::new();
    };
    let known: Vec<_> = axes.iter().map(|it| it.entry.key.as_str()).collect();
    let mut excludes = Vec::new();
    for item in items {
        let mut wanted = Vec::new();
        for entry in item.entries() {
            let Some(found) = axes.iter().find(|it| it.entry.key == entry.key) else {
                let help = match names::nearest(&entry.key, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the axes are {}", names::list(&known)),
                };
                errors.push(
                    SpecError::new("matrix", format!("the matrix has no axis `{}`", entry.key))
                        .at(entry.key_span.clone(), "not an axis")
                        .help(help),
                );
                continue;
            };
            let value = entry.value.plain_text();
            if found.values.iter().all(|it| it.plain_text() != value) {
                let values: Vec<_> = found.values.iter().map(Node::plain_text).collect();
                let values: Vec<_> = values.iter().map(String::as_str).collect();
                errors.push(
                    SpecError::new("matrix", format!("`{}` is never `{value}`", entry.key))
                        .at(entry.pointer(), "not a value of the axis")
                        .and(found.entry.key_span.clone(), "the axis")
                        .help(format!("its values are {}", names::list(&values))),
                );
            }
            wanted.push((entry.key.as_str(), value));
        }
        if wanted.is_empty() && item.entries().is_empty() {
            errors.push(
                SpecError::new("matrix", "this excludes everything")
                    .at(item.pointer(), "names no axis")
                    .help("name an axis and the value that is left out"),
            );
        }
        excludes.push(Exclude { at: item, wanted });
    }
    excludes
}

type Combination<'a> = Vec<(&'a Entry, &'a Node)>;

/// Every combination, the last axis changing fastest. It stops soon after there
/// are too many.
fn combinations<'a>(axes: &[Axis<'a>]) -> Vec<Combination<'a>> {
    let mut all: Vec<Combination<'a>> = vec![Vec::new()];
    for axis in axes {
        let mut next = Vec::new();
        for combination in &all {
            for value in axis.values {
                let mut longer = combination.clone();
                longer.push((axis.entry, value));
                next.push(longer);
                if next.len() > MOST_BUILDS {
                    return next;
                }
            }
        }
        all = next;
    }
    all
}

/// The spec of one build.
fn variant(
    document: &Document,
    combination: &[(&Entry, &Node)],
    lookup: &dyn OsLookup,
    errors: &mut Vec<SpecError>,
) -> Variant {
    let mut document = document.clone();
    document.root.remove(&["matrix", "include"]);
    let mut chosen = Vec::new();
    for (axis, value) in combination {
        let name = axis.key.as_str();
        chosen.push((name.to_owned(), value.plain_text()));
        document.chosen.push((name.to_owned(), (*value).clone()));
        if matches!(name, "os" | "arch") {
            document.root.set(name, &axis.key_span, (*value).clone());
        } else if let Value::Table(sections) = &mut document.root.value
            && let Some(variables) = sections.iter_mut().find(|it| it.key == "variables")
            && let Value::Table(variables) = &mut variables.value.value
            && let Some(variable) = variables.iter_mut().find(|it| it.key == name)
        {
            variable.value.set("default", &axis.key_span, (*value).clone());
        }
    }
    fill_name(&mut document, lookup, errors);
    Variant { document, chosen }
}

/// Fills in the name's template, which knows the axes and the system only: what
/// an image is called must not depend on values from outside.
fn fill_name(document: &mut Document, lookup: &dyn OsLookup, errors: &mut Vec<SpecError>) {
    let Some(node) = document.find(&["name"]).cloned() else { return };
    let Some(text) = node.as_str().filter(|it| render::is_template(it)).map(str::to_owned) else {
        return;
    };
    let string = |key: &str| document.find(&[key]).and_then(Node::as_str).map(str::to_owned);
    let os = string("os").and_then(|it| lookup.get(&it));
    let arch = string("arch")
        .and_then(|it| serde_json::from_value::<Arch>(it.into()).ok())
        .or_else(|| {
            os.as_ref().filter(|it| !it.arches.contains(&Arch::default()))?.arches.first().copied()
        })
        .unwrap_or_default();
    let variables: BTreeMap<_, _> = document
        .chosen
        .iter()
        .filter(|it| !matches!(it.0.as_str(), "os" | "arch"))
        .map(|(name, value)| {
            let value = value.plain_text().into();
            (name.clone(), Variable { value, sensitive: false })
        })
        .collect();
    let mut context = render::spec_context("", os.as_ref(), arch, &variables, false);
    context.remove("name");
    let inline = render::Inline::new("name");
    let known: Vec<_> = context.keys().cloned().collect();
    let outcome =
        inline.names_used(&text).map(|used| used.into_iter().find(|it| !known.contains(it)));
    let filled = match outcome {
        Ok(None) => inline.fill(&text, &context.clone().into()),
        Ok(Some(name)) => {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            push_once(
                errors,
                SpecError::new("undefined-variable", format!("the name cannot use `{name}`"))
                    .at(node.pointer(), "in this name")
                    .help(format!("it may use {}", names::list(&known))),
            );
            Ok("unnamed".to_owned())
        }
        Err(error) => Err(error),
    };
    let name = match filled {
        // An unknown system is a mistake of its own.
        Ok(_) | Err(_) if os.is_none() => "unnamed".to_owned(),
        Ok(name) => name,
        Err(error) => {
            push_once(
                errors,
                SpecError::new("template", error.message)
                    .at(document.inside(&node, error.range), "here")
                    .help("a name is such as `web-{{ os.id }}-{{ arch }}`"),
            );
            "unnamed".to_owned()
        }
    };
    let is_name =
        Regex::new(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$").is_ok_and(|it| it.is_match(&name));
    if !is_name {
        push_once(
            errors,
            SpecError::new("bad-value", format!("`name` cannot be `{name}`"))
                .at(node.pointer(), "becomes this")
                .help("a name has letters, digits, `.`, `_` and `-`, at most 63 of them"),
        );
    }
    let name = if is_name { name } else { "unnamed".to_owned() };
    let filled = Node { value: Value::String(name), ..node };
    document.root.set("name", &(0..0), filled);
}

fn push_once(errors: &mut Vec<SpecError>, error: SpecError) {
    if errors.iter().all(|it| it.identity() != error.identity()) {
        errors.push(error);
    }
}
