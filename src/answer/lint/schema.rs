//! Profiles against what is known of their schemas: types, and above all places.
//! A directive at the wrong level is well-formed, and the installer never reads it.

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    answer::{finding::Gatherer, xml::Element},
    spec::{
        document::{Node, Value},
        names,
        structure::Schema,
    },
};

/// A schema with what it says of places.
struct Known {
    schema: Schema,
    /// The keys at the top.
    top: Vec<String>,
    /// The sections that a key belongs to.
    within: BTreeMap<String, Vec<String>>,
    /// Sections in which the installer stops at a key that it does not know; `*` is
    /// all of them and the top.
    closed: Vec<String>,
}

static AUTOINSTALL: LazyLock<Known> =
    LazyLock::new(|| Known::read(include_str!("../../../data/answer/autoinstall.json")));
static AGAMA: LazyLock<Known> =
    LazyLock::new(|| Known::read(include_str!("../../../data/answer/agama.json")));
static AUTOYAST: LazyLock<Places> = LazyLock::new(|| {
    // A test reads the file; without it nothing is misplaced.
    toml::from_str(include_str!("../../../data/answer/autoyast.toml")).unwrap_or_default()
});

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    places: BTreeMap<String, String>,
    sections: Sections,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    names: Vec<String>,
}

impl Known {
    fn read(text: &str) -> Self {
        let json: Json = serde_json::from_str(text).unwrap_or_default();
        let sections =
            json.get("properties").and_then(Json::as_object).cloned().unwrap_or_default();
        let mut within: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (section, rule) in &sections {
            for key in rule.get("properties").and_then(Json::as_object).into_iter().flatten() {
                within.entry(key.0.clone()).or_default().push(section.clone());
            }
        }
        let closed = json.get("closed").and_then(Json::as_array).into_iter().flatten();
        Self {
            schema: Schema::exact(&json),
            top: sections.keys().cloned().collect(),
            within,
            closed: closed.filter_map(Json::as_str).map(str::to_owned).collect(),
        }
    }
}

/// Whether autoinstall has a key of this name at its top.
pub(super) fn is_autoinstall_key(key: &str) -> bool {
    AUTOINSTALL.top.iter().any(|it| it == key)
}

/// The codes of one dialect's findings.
struct Codes {
    nesting: &'static str,
    unknown: &'static str,
    value: &'static str,
}

/// Autoinstall: what stands below `autoinstall:`.
pub(super) fn autoinstall(
    settings: &Node,
    moved: &dyn Fn(Range<usize>) -> Range<usize>,
    text: &str,
    gatherer: &mut Gatherer<'_>,
) {
    let codes = Codes {
        nesting: "autoinstall::nesting",
        unknown: "autoinstall::unknown-key",
        value: "autoinstall::value",
    };
    check(&AUTOINSTALL, &codes, settings, moved, text, gatherer);
}

/// An Agama profile, read as the YAML that JSON is.
pub(super) fn agama(
    profile: &Node,
    moved: &dyn Fn(Range<usize>) -> Range<usize>,
    text: &str,
    gatherer: &mut Gatherer<'_>,
) {
    let codes =
        Codes { nesting: "agama::nesting", unknown: "agama::unknown-key", value: "agama::value" };
    check(&AGAMA, &codes, profile, moved, text, gatherer);
}

fn check(
    known: &Known,
    codes: &Codes,
    node: &Node,
    moved: &dyn Fn(Range<usize>) -> Range<usize>,
    text: &str,
    gatherer: &mut Gatherer<'_>,
) {
    if !matches!(node.value, Value::Table(_)) {
        return;
    }
    let mut errors = Vec::new();
    known.schema.check("", node, &mut errors);
    for error in errors {
        let span = moved(error.span().unwrap_or(0..0));
        if error.kind() != "unknown-key" {
            let help = error.help_text().unwrap_or_default().to_owned();
            gatherer.error(codes.value, span, error.to_string(), help);
            continue;
        }
        // The last section that begins before it.
        let section = error.span().and_then(|at| {
            let before = node.entries().iter().filter(|it| it.key_span.start <= at.start);
            before.max_by_key(|it| it.key_span.start).map(|it| it.key.as_str())
        });
        let key = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
        let sections: Vec<_> =
            known.within.get(key).into_iter().flatten().map(String::as_str).collect();
        if known.top.iter().any(|it| it == key) {
            gatherer.error(
                codes.nesting,
                span,
                format!("`{key}` stands too deep, where the installer does not look"),
                "move it to the top, beside the section it is in",
            );
        } else if !sections.is_empty() {
            gatherer.error(
                codes.nesting,
                span,
                format!("`{key}` is not where the installer looks for it"),
                format!("move it into {}", names::list(&sections)),
            );
        } else {
            let all: Vec<_> =
                known.top.iter().chain(known.within.keys()).map(String::as_str).collect();
            let near = names::nearest(key, &all);
            let help = near.map_or_else(String::new, |it| format!("did you mean `{it}`?"));
            let message = format!("the installer knows no `{key}` here");
            if known.closed.iter().any(|it| it == "*" || Some(it.as_str()) == section) {
                gatherer.error(codes.unknown, span, message, help);
            } else {
                gatherer.warning(codes.unknown, span, message, help);
            }
        }
    }
}

/// AutoYaST: elements that are read in one place only, and unknown sections. Returns
/// what it told of.
pub(super) fn autoyast(root: &Element, gatherer: &mut Gatherer<'_>) -> Vec<Range<usize>> {
    let mut told = Vec::new();
    let known: Vec<_> = AUTOYAST.sections.names.iter().map(String::as_str).collect();
    for section in &root.children {
        if known.contains(&section.name.as_str()) || AUTOYAST.places.contains_key(&section.name) {
            continue;
        }
        let near = names::nearest(&section.name, &known);
        told.push(section.span.clone());
        gatherer.warning(
            "autoyast::unknown-section",
            section.span.clone(),
            format!("AutoYaST knows no section `<{}>`", section.name),
            near.map_or_else(String::new, |it| format!("did you mean `<{it}>`?")),
        );
    }
    let mut path = Vec::new();
    places(root, &mut path, gatherer, &mut told);
    told
}

fn places<'a>(
    element: &'a Element,
    path: &mut Vec<&'a str>,
    gatherer: &mut Gatherer<'_>,
    told: &mut Vec<Range<usize>>,
) {
    for child in &element.children {
        let here = path.join("/");
        if let Some(place) = AUTOYAST.places.get(&child.name)
            && here != *place
            // `<user>` and the like are also names of list items elsewhere.
            && (path.len() <= 2 && !here.contains("scripts"))
            && is_about(&here, place)
        {
            told.push(child.span.clone());
            gatherer.error(
                "autoyast::nesting",
                child.span.clone(),
                format!("`<{}>` is not where YaST looks for it", child.name),
                format!("move it into <{}>", place.replace('/', "><")),
            );
        }
        path.push(&child.name);
        places(child, path, gatherer, told);
        path.pop();
    }
}

/// Whether somebody who wrote an element here can have meant that place: the top,
/// or the section it belongs to.
fn is_about(here: &str, place: &str) -> bool {
    let section = |it: &str| it.split('/').next().unwrap_or_default().to_owned();
    here.is_empty() || section(here) == section(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_files_are_right() {
        let places: Places =
            toml::from_str(include_str!("../../../data/answer/autoyast.toml")).unwrap();
        assert!(places.places.len() > 15);
        for place in places.places.values() {
            let section = place.split('/').next().unwrap();
            assert!(places.sections.names.iter().any(|it| it == section), "{place}");
        }
        assert!(AUTOINSTALL.top.len() > 30 && AGAMA.top.len() > 15);
    }
}
