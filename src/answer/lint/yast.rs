//! AutoYaST profiles against YaST's own schema: `data/answer/autoyast.json`, which
//! `tests/lint/generate_autoyast.py` makes of it.
//!
//! YaST 4.3 (SLE 15 SP3, Leap 15.3) and later look at a profile before they use it,
//! and stop with a question at what the schema does not have
//! (`lib/autoinstall/xml_checks.rb` of yast-autoinstallation). Earlier ones pass over
//! it, and had other elements: for these only what no release knows is told.

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use serde::Deserialize;

use crate::{
    answer::{finding::Gatherer, xml::Element},
    catalogue::Os,
    spec::names,
};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    // A test reads the file; without it everything is allowed.
    serde_json::from_str(include_str!("../../../data/answer/autoyast.json")).unwrap_or_default()
});

/// What profiles belong to, by their root's `xmlns`.
const NAMESPACE: &str = "http://www.suse.com/1.0/yast2ns";

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    /// The number of the root.
    first: usize,
    elements: Vec<Rule>,
    /// Elements that only other releases have.
    other: BTreeSet<String>,
}

/// What one element may be. In several places that may be several things.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: Vec<String>,
    /// Numbers of the elements it may have.
    #[serde(default)]
    children: Vec<usize>,
    /// Whether it may have any others as well.
    #[serde(default)]
    open: bool,
    /// What its `config:type` may say.
    #[serde(default)]
    types: Vec<String>,
    /// Whether it must say so.
    #[serde(default)]
    typed: bool,
    #[serde(default)]
    content: Content,
    /// The texts it may have.
    #[serde(default)]
    values: Vec<String>,
    /// Of each list one child must be there.
    #[serde(default)]
    needs: Vec<Vec<String>>,
}

/// What an element may hold beside elements.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Content {
    /// One of its rule's `values`, or nothing.
    #[default]
    Listed,
    /// A whole number.
    Integer,
    /// Any text.
    Text,
}

/// What the schema does not allow.
struct Complaint {
    span: Range<usize>,
    message: String,
    help: String,
}

/// Whether the YaST of a system refuses what its schema does not have.
fn is_strict(os: &Os) -> bool {
    let version = os.dialect_version.as_deref().and_then(|it| it.split_once('.'));
    let number = |it: &str| it.parse::<u32>().unwrap_or_default();
    version.is_some_and(|(major, minor)| (number(major), number(minor)) >= (4, 3))
}

/// Tells what the schema has against a profile, but not again at `told`.
pub(super) fn lint(
    root: &Element,
    os: Option<&Os>,
    told: &[Range<usize>],
    gatherer: &mut Gatherer<'_>,
) {
    let mut found = Vec::new();
    if let Some(rule) = SCHEMA.elements.get(SCHEMA.first) {
        if root.attribute("xmlns") != Some(NAMESPACE) {
            found.push(Complaint {
                span: root.span.clone(),
                message: "the profile does not say that it is one".to_owned(),
                help: format!("write `<profile xmlns=\"{NAMESPACE}\" …>`"),
            });
        }
        rule.check(root, &mut found);
    }
    found.retain(|it| !told.contains(&it.span));
    if os.is_some_and(is_strict) {
        for it in found {
            gatherer.error("autoyast::schema", it.span, it.message, it.help);
        }
        return;
    }
    if os.is_none()
        && let Some(first) = found.first()
    {
        gatherer.warning(
            "autoyast::schema",
            first.span.clone(),
            format!(
                "YaST of SLE 15 SP3, Leap 15.3 and later stops at {} of this profile, first here: {}",
                places(found.len()),
                first.message
            ),
            "`-v sles-15-sp6` shows them all",
        );
    }
    let known: BTreeSet<&str> = SCHEMA
        .elements
        .iter()
        .flat_map(|it| &it.name)
        .chain(&SCHEMA.other)
        .map(String::as_str)
        .collect();
    // What stands at the top is a section, which is told elsewhere.
    for section in &root.children {
        let rules = SCHEMA.elements.get(SCHEMA.first).map_or_else(Vec::new, |it| it.of(section));
        unknown(section, &rules, &known, told, gatherer);
    }
}

fn places(n: usize) -> String {
    if n == 1 { "one place".to_owned() } else { format!("{n} places") }
}

/// Elements that no release knows, where one of another name may be meant.
fn unknown(
    element: &Element,
    rules: &[&'static Rule],
    known: &BTreeSet<&str>,
    told: &[Range<usize>],
    gatherer: &mut Gatherer<'_>,
) {
    let here = rules.iter().flat_map(|it| it.allowed()).flat_map(|it| &it.name);
    let here: Vec<_> = here.map(String::as_str).collect();
    for child in &element.children {
        if known.contains(child.name.as_str()) {
            let inner: Vec<_> = rules.iter().flat_map(|it| it.of(child)).collect();
            unknown(child, &inner, known, told, gatherer);
        } else if let Some(near) = names::nearest(&child.name, &here)
            && !told.contains(&child.span)
        {
            gatherer.warning(
                "autoyast::unknown-element",
                child.span.clone(),
                format!("AutoYaST knows no element `<{}>`", child.name),
                format!("did you mean `<{near}>`?"),
            );
        }
    }
}

impl Rule {
    /// What its children may be.
    fn allowed(&self) -> impl Iterator<Item = &'static Self> {
        self.children.iter().filter_map(|it| SCHEMA.elements.get(*it))
    }

    /// What a child of it may be.
    fn of(&self, child: &Element) -> Vec<&'static Self> {
        self.allowed().filter(|it| it.name.contains(&child.name)).collect()
    }

    /// Adds what an element and those in it have against this rule.
    fn check(&self, element: &Element, found: &mut Vec<Complaint>) {
        let mut complain = |span: &Range<usize>, message: String, help: String| {
            found.push(Complaint { span: span.clone(), message, help });
        };
        let name = &element.name;
        let stated = element.attribute("type").or_else(|| element.attribute("t"));
        let types = self.types.join("` or `");
        match stated {
            None if self.typed => complain(
                &element.span,
                format!("`<{name}>` does not say that it is of type `{types}`"),
                format!(
                    "write `<{name} config:type=\"{}\">`",
                    self.types.first().map_or("", String::as_str)
                ),
            ),
            Some(it) if !self.types.is_empty() && !self.types.iter().any(|one| one == it) => {
                complain(
                    &element.span,
                    format!("`<{name}>` is of type `{types}`, not `{it}`"),
                    String::new(),
                );
            }
            _ => {}
        }
        if let Some((message, help)) = self.wrong_text(element) {
            complain(&element.span, message, help);
        }
        for needed in &self.needs {
            if !element.children.iter().any(|it| needed.contains(&it.name)) {
                let all: Vec<_> = needed.iter().map(String::as_str).collect();
                complain(
                    &element.span,
                    format!("`<{name}>` lacks {}", names::list(&all)),
                    String::new(),
                );
            }
        }
        for child in &element.children {
            self.check_child(element, child, found);
        }
    }

    /// What is wrong with an element's text, and what helps.
    fn wrong_text(&self, element: &Element) -> Option<(String, String)> {
        let (name, text) = (&element.name, element.text.as_str());
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.chars().all(|it| it.is_ascii_digit());
        let all: Vec<_> = self.values.iter().map(String::as_str).collect();
        match self.content {
            Content::Integer if !is_number => {
                Some((format!("`<{name}>` has no whole number"), String::new()))
            }
            Content::Listed if all.is_empty() && !text.is_empty() => {
                Some((format!("`<{name}>` has text where only elements are read"), String::new()))
            }
            Content::Listed if !all.is_empty() && !all.contains(&text) => Some((
                format!("`<{name}>` cannot be `{text}`"),
                format!("it is one of {}", names::list(&all)),
            )),
            _ => None,
        }
    }

    fn check_child(&self, parent: &Element, child: &Element, found: &mut Vec<Complaint>) {
        let fitting = self.of(child);
        if fitting.is_empty() {
            if self.open {
                if self.name == ["profile"] {
                    sections_within(child, found);
                }
            } else {
                let here = self.allowed().flat_map(|it| &it.name);
                let here: Vec<_> = here.map(String::as_str).collect();
                let near = names::nearest(&child.name, &here);
                found.push(Complaint {
                    span: child.span.clone(),
                    message: format!("`<{}>` does not belong into `<{}>`", child.name, parent.name),
                    help: near.map_or_else(String::new, |it| format!("did you mean `<{it}>`?")),
                });
            }
            return;
        }
        // What it may be here in several ways, it is in the way that fits best.
        let complaints = fitting.iter().map(|rule| {
            let mut found = Vec::new();
            rule.check(child, &mut found);
            found
        });
        found.extend(complaints.min_by_key(Vec::len).unwrap_or_default());
    }
}

/// Sections in an element that YaST passes over: it does not see them either.
fn sections_within(element: &Element, found: &mut Vec<Complaint>) {
    let top = SCHEMA.elements.get(SCHEMA.first).map_or(&[][..], |it| &it.children);
    let is_section = |name: &String| {
        top.iter().filter_map(|it| SCHEMA.elements.get(*it)).any(|it| it.name.contains(name))
    };
    for child in &element.children {
        if is_section(&child.name) {
            found.push(Complaint {
                span: child.span.clone(),
                message: format!("`<{}>` does not belong into `<{}>`", child.name, element.name),
                help: "move it to the top, into `<profile>`".to_owned(),
            });
        } else {
            sections_within(child, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        answer::{FindingSeverity, check},
        catalogue::Catalogue,
    };

    /// What is said of a section of a profile that is right otherwise.
    fn said(id: &str, section: &str) -> Vec<(FindingSeverity, &'static str, usize)> {
        let text = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE profile>\n<profile xmlns=\"{NAMESPACE}\" \
             xmlns:config=\"http://www.suse.com/1.0/configns\">\n  <general>\n    <mode>\n      \
             <confirm config:type=\"boolean\">false</confirm>\n      \
             <halt config:type=\"boolean\">true</halt>\n      \
             <second_stage config:type=\"boolean\">false</second_stage>\n    </mode>\n  \
             </general>\n{section}\n</profile>\n"
        );
        let os = Catalogue::built_in().get(id).unwrap();
        let found = check(&os, &text);
        let of_schema = |it: &&crate::answer::Finding| it.code.starts_with("autoyast::");
        found.iter().filter(of_schema).map(|it| (it.severity, it.code, it.line)).collect()
    }

    #[test]
    fn a_yast_that_looks_at_its_profile_refuses_what_its_schema_does_not_have() {
        let right = "<software><packages config:type=\"list\"><package>vim</package></packages>\
                     </software>";
        for (section, is_right) in [
            (right, true),
            // In the wrong place, without its type, of another type, without its text.
            ("<software><package>vim</package></software>", false),
            ("<software><packages><package>vim</package></packages></software>", false),
            (
                "<software><packages config:type=\"map\"><package>a</package></packages></software>",
                false,
            ),
            (
                "<report><errors><timeout config:type=\"integer\">no</timeout></errors></report>",
                false,
            ),
            (
                "<report><errors><timeout config:type=\"integer\">9</timeout></errors></report>",
                true,
            ),
            ("<report><errors><timeout t=\"integer\">9</timeout></errors></report>", true),
            ("<software>vim</software>", false),
            // Other sections may have what they like.
            ("<mine><anything>1</anything></mine>", true),
            ("<configure><timezone><timezone>UTC</timezone></timezone></configure>", false),
        ] {
            let found = said("sles-15-sp6", section);
            let is_wrong = found.iter().any(|it| it.0 == FindingSeverity::Error);
            assert_eq!(!is_wrong, is_right, "{section}: {found:?}");
        }
    }

    #[test]
    fn of_an_earlier_release_only_what_none_knows_is_told() {
        let old = "<bootloader><sections config:type=\"list\"><section><image>/vmlinuz</image>\
                   </section></sections></bootloader>";
        assert!(said("sles-11-sp4", old).is_empty());
        // Sections that the schema does not have may have what they like.
        assert!(said("sles-12-sp5", "<dns-server><sshd>1</sshd></dns-server>").is_empty());
        let typo = "<software><patterms config:type=\"list\"/></software>";
        let found = said("sles-12-sp5", typo);
        assert_eq!(found, [(FindingSeverity::Warning, "autoyast::unknown-element", 11)]);
    }

    #[test]
    fn the_data_file_is_right() {
        let text = include_str!("../../../data/answer/autoyast.json");
        let schema: Schema = serde_json::from_str(text).unwrap();
        assert!(schema.elements.len() > 500 && schema.other.len() > 100);
        assert_eq!(schema.elements[schema.first].name, ["profile"]);
        let numbers = schema.elements.iter().flat_map(|it| &it.children);
        assert!(numbers.clone().count() > 500);
        assert!(numbers.into_iter().all(|it| *it < schema.elements.len()));
    }
}
