//! Checks a tree of nodes against a JSON Schema and finds every mistake.
//!
//! It knows the part of the language that schemars writes and that authors of
//! runners need: types, properties, items, enums, ranges, lengths, patterns,
//! the formats `size` and `duration`, references and alternatives.

use std::{collections::BTreeMap, ops::Range, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::{
    document::{Entry, Node, Value},
    error::SpecError,
    file, names,
};
use crate::units::{Size, Span};

/// A JSON Schema, made ready.
#[derive(Debug)]
pub struct Schema {
    root: Rule,
    definitions: BTreeMap<String, Rule>,
    /// Whether a scalar is only what it is written as.
    is_exact: bool,
}

/// What one place of a document must be.
#[derive(Debug, Default)]
struct Rule {
    reference: Option<String>,
    kinds: Vec<Kind>,
    properties: BTreeMap<String, Self>,
    required: Vec<String>,
    additional: Additional,
    property_names: Option<Box<Self>>,
    items: Option<Box<Self>>,
    choices: Option<Vec<Json>>,
    alternatives: Vec<Self>,
    format: Option<String>,
    pattern: Option<Regex>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    description: Option<String>,
}

#[derive(Debug, Default)]
enum Additional {
    #[default]
    Anything,
    Nothing,
    Like(Box<Rule>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Where a rule is applied.
struct Place<'a> {
    /// The keys and indices to it, dotted; empty for the document itself.
    path: String,
    /// The bytes to point at.
    span: Range<usize>,
    /// The key it stands behind.
    key: Option<&'a Entry>,
}

/// The schema of specs, once all their files are one.
pub(super) fn of_specs() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(&file::whole_schema()));
    &SCHEMA
}

impl Schema {
    /// Makes a schema ready. Keywords it does not know are passed over, as is a
    /// pattern that does not compile.
    pub fn new(schema: &Json) -> Self {
        let definitions = ["$defs", "definitions"]
            .iter()
            .filter_map(|key| schema.get(key)?.as_object())
            .flatten()
            .map(|(name, it)| (name.clone(), Rule::new(it)))
            .collect();
        Self { root: Rule::new(schema), definitions, is_exact: false }
    }

    /// The same for documents that others read: there an unquoted `8` is a number
    /// wherever it stands, and nothing is a value where `null` is allowed.
    pub fn exact(schema: &Json) -> Self {
        Self { is_exact: true, ..Self::new(schema) }
    }

    /// Checks a node whose place is `path`; adds every mistake to `errors`.
    ///
    /// Returns the node as JSON, where an unquoted YAML scalar is text wherever
    /// text is wanted.
    pub fn check(&self, path: &str, node: &Node, errors: &mut Vec<SpecError>) -> Json {
        let place = Place { path: path.to_owned(), span: node.pointer(), key: None };
        self.apply(&self.root, node, &place, errors)
    }

    /// Checks the value of one key of the document.
    pub(super) fn check_property(&self, key: &str, entry: &Entry, errors: &mut Vec<SpecError>) {
        let Some(rule) = self.root.properties.get(key) else { return };
        let place = Place { path: key.to_owned(), span: entry.pointer(), key: Some(entry) };
        self.apply(rule, &entry.value, &place, errors);
    }

    fn resolve<'a>(&'a self, mut rule: &'a Rule) -> &'a Rule {
        // Bounded, so that references in a circle end.
        for _ in 0..16 {
            match rule.reference.as_deref().and_then(|name| self.definitions.get(name)) {
                Some(next) => rule = next,
                None => break,
            }
        }
        rule
    }

    fn apply(
        &self,
        rule: &Rule,
        node: &Node,
        place: &Place<'_>,
        errors: &mut Vec<SpecError>,
    ) -> Json {
        let outer = rule;
        let rule = self.resolve(rule);
        if !rule.alternatives.is_empty() {
            return self.any_of(rule, node, place, errors);
        }
        let Some(value) = self.typed(rule, node) else {
            errors.push(Self::wrong_type(outer, rule, node, place));
            return node.to_json();
        };
        match (&node.value, value) {
            (Value::Table(entries), _) => self.table(rule, entries, place, errors),
            (Value::Array(items), _) => self.array(rule, items, place, errors),
            (_, value) => {
                Self::scalar(rule, &value, place, errors);
                value
            }
        }
    }

    /// A scalar as the JSON that the rule wants; `None` where it is no such type.
    fn typed(&self, rule: &Rule, node: &Node) -> Option<Json> {
        if rule.kinds.is_empty() {
            return Some(if node.is_container() { Json::Null } else { node.to_json() });
        }
        let has = |kind| rule.kinds.contains(&kind);
        match &node.value {
            Value::Null if has(Kind::Null) && (self.is_exact || rule.kinds.len() == 1) => {
                Some(Json::Null)
            }
            Value::Bool(_) if has(Kind::Boolean) => Some(node.to_json()),
            Value::Integer(_) if has(Kind::Integer) || has(Kind::Number) => Some(node.to_json()),
            Value::Float(_) if has(Kind::Number) => Some(node.to_json()),
            Value::String(_) if has(Kind::String) => Some(node.to_json()),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_)
                if has(Kind::String) && !self.is_exact =>
            {
                node.plain.clone().map(Json::String)
            }
            Value::Array(_) if has(Kind::Array) => Some(Json::Null),
            Value::Table(_) if has(Kind::Object) => Some(Json::Null),
            _ => None,
        }
    }

    fn wrong_type(outer: &Rule, rule: &Rule, node: &Node, place: &Place<'_>) -> SpecError {
        let wanted = rule.wanted();
        let mut error = SpecError::new(
            "wrong-type",
            format!("{} expected {wanted}, found {}", place.name(), node.found()),
        )
        .at(place.span.clone(), format!("expected {wanted}"));
        let help = match &node.value {
            Value::String(text)
                if rule.kinds == [Kind::Boolean]
                    && matches!(text.as_str(), "yes" | "no" | "on" | "off") =>
            {
                let word = matches!(text.as_str(), "yes" | "on");
                Some(format!("`{text}` is text, in TOML as in YAML 1.2; write `{word}`"))
            }
            Value::String(text)
                if rule.kinds.contains(&Kind::Integer) && text.trim().parse::<i64>().is_ok() =>
            {
                Some("leave the quotes out".to_owned())
            }
            Value::Bool(_) | Value::Integer(_) | Value::Float(_)
                if rule.kinds.contains(&Kind::String) =>
            {
                Some(match rule.format.as_deref() {
                    Some("size") => "write it with its unit, such as \"8 GiB\"".to_owned(),
                    Some("duration") => "write it with its unit, such as \"45m\"".to_owned(),
                    _ => "put it in quotes".to_owned(),
                })
            }
            Value::String(_) if rule.kinds == [Kind::Array] => {
                Some("write it as a list: `[\"…\"]`".to_owned())
            }
            Value::String(_) if rule.kinds == [Kind::Object] && rule.principal_text().is_some() => {
                let key = rule.principal_text().unwrap_or_default();
                Some(format!("write `{key} = \"…\"` in the table `[{}]`", place.path))
            }
            Value::String(_) | Value::Array(_) | Value::Bool(_) | Value::Integer(_)
                if rule.kinds == [Kind::Object] && !rule.properties.is_empty() =>
            {
                let keys: Vec<_> = if rule.required.is_empty() {
                    rule.properties.keys().map(String::as_str).collect()
                } else {
                    rule.required.iter().map(String::as_str).collect()
                };
                Some(format!("write a table, `[{}]`, with {}", place.path, names::list(&keys)))
            }
            Value::String(_) | Value::Integer(_) if rule.kinds == [Kind::Boolean] => {
                Some("write `true` or `false`".to_owned())
            }
            Value::Null => Some("give it a value, or leave the key out".to_owned()),
            _ => None,
        };
        if let Some(help) =
            help.or_else(|| outer.description.clone().or_else(|| rule.description.clone()))
        {
            error = error.help(first_sentence(&help));
        }
        error
    }

    fn table(
        &self,
        rule: &Rule,
        entries: &[Entry],
        place: &Place<'_>,
        errors: &mut Vec<SpecError>,
    ) -> Json {
        let mut json = Map::new();
        for entry in entries {
            let inner =
                Place { path: place.join(&entry.key), span: entry.pointer(), key: Some(entry) };
            if let Some(names) = &rule.property_names
                && names.pattern.as_ref().is_some_and(|it| !it.is_match(&entry.key))
            {
                errors.push(
                    SpecError::new("bad-name", format!("`{}` is not a name", entry.key))
                        .at(entry.key_span.clone(), "here")
                        .help(
                            "a name has letters, digits and `_`, and does not start with a digit",
                        ),
                );
            }
            let value = match (rule.properties.get(&entry.key), &rule.additional) {
                (Some(property), _) => self.apply(property, &entry.value, &inner, errors),
                (None, Additional::Like(like)) => self.apply(like, &entry.value, &inner, errors),
                (None, Additional::Anything) => entry.value.to_json(),
                (None, Additional::Nothing) => {
                    errors.push(self.unknown_key(rule, entry, place));
                    continue;
                }
            };
            json.insert(entry.key.clone(), value);
        }
        for key in &rule.required {
            if entries.iter().all(|it| it.key != *key) {
                errors.push(self.missing_key(rule, key, entries, place));
            }
        }
        Self::n_properties(rule, entries, place, errors);
        Json::Object(json)
    }

    fn unknown_key(&self, rule: &Rule, entry: &Entry, place: &Place<'_>) -> SpecError {
        let known: Vec<_> = rule.properties.keys().map(String::as_str).collect();
        let within =
            if place.path.is_empty() { "a spec".to_owned() } else { format!("`{}`", place.path) };
        let error = SpecError::new("unknown-key", format!("{within} has no key `{}`", entry.key))
            .at(entry.key_span.clone(), "unknown key");
        let elsewhere = self.root.properties.iter().find_map(|(name, property)| {
            let property = self.resolve(property);
            property.properties.contains_key(&entry.key).then(|| format!("{name}.{}", entry.key))
        });
        error.help(match (names::nearest(&entry.key, &known), elsewhere) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some(elsewhere)) => format!("did you mean `{elsewhere}`?"),
            (None, None) => format!("it may have {}", names::list(&known)),
        })
    }

    fn missing_key(
        &self,
        rule: &Rule,
        key: &str,
        entries: &[Entry],
        place: &Place<'_>,
    ) -> SpecError {
        let message = if place.path.is_empty() {
            format!("the spec has no `{key}`")
        } else {
            format!("`{}` has no `{key}`", place.path)
        };
        let property = rule.properties.get(key);
        let about = property
            .and_then(|it| it.description.as_ref().or(self.resolve(it).description.as_ref()))
            .map_or_else(
                || format!("add `{key}`"),
                |it| format!("add `{key}`: {}", lower_first(&first_sentence(it))),
            );
        let span = if place.path.is_empty() {
            entries.iter().map(|it| it.key_span.clone()).min_by_key(|it| it.start)
        } else {
            Some(place.span.clone())
        };
        SpecError::new("missing-key", message).at(span, format!("needs `{key}`")).help(about)
    }

    fn n_properties(
        rule: &Rule,
        entries: &[Entry],
        place: &Place<'_>,
        errors: &mut Vec<SpecError>,
    ) {
        let known: Vec<_> = rule.properties.keys().map(String::as_str).collect();
        let present: Vec<_> = entries
            .iter()
            .filter(|it| known.is_empty() || known.contains(&it.key.as_str()))
            .collect();
        let n_present = present.len() as u64;
        if rule.min_properties.is_some_and(|it| n_present < it) && entries.is_empty() {
            errors.push(
                SpecError::new("missing-key", format!("{} says nothing", place.name()))
                    .at(place.span.clone(), "is empty")
                    .help(format!("give it one of {}", names::list(&known))),
            );
        }
        if let [first, .., last] = present.as_slice()
            && rule.max_properties.is_some_and(|it| n_present > it)
        {
            errors.push(
                SpecError::new(
                    "contradiction",
                    format!("{} has both `{}` and `{}`", place.name(), first.key, last.key),
                )
                .at(last.key_span.clone(), "and this")
                .and(first.key_span.clone(), "this")
                .help(format!("keep one of {}", names::list(&known))),
            );
        }
    }

    fn array(
        &self,
        rule: &Rule,
        items: &[Node],
        place: &Place<'_>,
        errors: &mut Vec<SpecError>,
    ) -> Json {
        let n_items = items.len() as u64;
        if let Some(least) = rule.min_items.filter(|it| n_items < *it) {
            errors.push(
                SpecError::new("too-few", format!("{} has too few items", place.name()))
                    .at(place.span.clone(), format!("needs at least {least}")),
            );
        }
        if let Some(most) = rule.max_items.filter(|it| n_items > *it) {
            errors.push(
                SpecError::new("too-many", format!("{} has too many items", place.name()))
                    .at(place.span.clone(), format!("may have {most}")),
            );
        }
        let Some(item_rule) = &rule.items else {
            return items.iter().map(Node::to_json).collect();
        };
        items
            .iter()
            .enumerate()
            .map(|(i, item)| {
                let span = if item.span.is_empty() && item.pointer().is_empty() {
                    place.span.clone()
                } else {
                    item.pointer()
                };
                let inner = Place { path: place.join(&i.to_string()), span, key: None };
                self.apply(item_rule, item, &inner, errors)
            })
            .collect()
    }

    fn scalar(rule: &Rule, value: &Json, place: &Place<'_>, errors: &mut Vec<SpecError>) {
        if let Some(choices) = &rule.choices
            && !choices.contains(value)
        {
            errors.push(bad_choice(value, choices, place));
            return;
        }
        if let Some(number) = value.as_f64() {
            if let Some(least) = rule.minimum.filter(|it| number < *it) {
                errors.push(
                    SpecError::new("out-of-range", format!("{} is too small", place.name()))
                        .at(place.span.clone(), format!("must be at least {least}"))
                        .help(format!("write {least} or more")),
                );
            }
            if let Some(most) = rule.maximum.filter(|it| number > *it) {
                errors.push(
                    SpecError::new("out-of-range", format!("{} is too large", place.name()))
                        .at(place.span.clone(), format!("must be at most {most}"))
                        .help(format!("write {most} or less")),
                );
            }
        }
        let Some(text) = value.as_str() else { return };
        let unit = match rule.format.as_deref() {
            Some("size") => {
                text.parse::<Size>().err().map(|it| (it, "write a size, such as \"8 GiB\""))
            }
            Some("duration") => text
                .parse::<Span>()
                .err()
                .map(|it| (it, "write a duration, such as \"45m\" or \"1h30m\"")),
            _ => None,
        };
        if let Some((err, help)) = unit {
            errors.push(
                SpecError::new("bad-unit", format!("{} is wrong: {err}", place.name()))
                    .at(place.span.clone(), "here")
                    .help(help),
            );
            return;
        }
        if matches!(rule.format.as_deref(), Some("size" | "duration")) {
            return;
        }
        if rule.pattern.as_ref().is_some_and(|it| !it.is_match(text)) {
            let error = SpecError::new("bad-value", format!("{} cannot be `{text}`", place.name()))
                .at(place.span.clone(), "here");
            errors.push(match (&rule.description, &rule.pattern) {
                (Some(about), _) => error.help(lower_first(about.trim_end_matches('.'))),
                (None, Some(pattern)) => error.help(format!("it must match `{pattern}`")),
                (None, None) => error,
            });
        }
        let n_chars = text.chars().count() as u64;
        if rule.min_length.is_some_and(|it| n_chars < it) {
            errors.push(
                SpecError::new("bad-value", format!("{} is too short", place.name()))
                    .at(place.span.clone(), "here"),
            );
        }
        if rule.max_length.is_some_and(|it| n_chars > it) {
            errors.push(
                SpecError::new("bad-value", format!("{} is too long", place.name()))
                    .at(place.span.clone(), "here"),
            );
        }
    }

    /// The first alternative without a mistake, or else the mistakes of the one
    /// that comes nearest.
    fn any_of(
        &self,
        rule: &Rule,
        node: &Node,
        place: &Place<'_>,
        errors: &mut Vec<SpecError>,
    ) -> Json {
        let mut best: Option<(Vec<SpecError>, Json)> = None;
        for alternative in &rule.alternatives {
            let mut found = Vec::new();
            let json = self.apply(alternative, node, place, &mut found);
            if found.is_empty() {
                return json;
            }
            let wrong_type = |it: &[SpecError]| it.iter().any(|it| it.kind() == "wrong-type");
            let nearer = best.as_ref().is_none_or(|(best, _)| {
                (wrong_type(&found), found.len()) < (wrong_type(best), best.len())
            });
            if nearer {
                best = Some((found, json));
            }
        }
        let (found, json) = best.unwrap_or_default();
        errors.extend(found);
        json
    }
}

impl Rule {
    fn new(schema: &Json) -> Self {
        let Some(object) = schema.as_object() else {
            // `true` and `false`; nothing here is ever `false`.
            return Self::default();
        };
        let mut rule = Self::default();
        for (key, value) in object {
            rule.keyword(key, value);
        }
        rule
    }

    fn keyword(&mut self, key: &str, value: &Json) {
        let rule = |value: &Json| Some(Box::new(Self::new(value)));
        match key {
            "$ref" => {
                let name = value.as_str().and_then(|it| it.rsplit('/').next());
                self.reference = name.map(str::to_owned);
            }
            "type" => {
                let names = value.as_array().map_or_else(|| vec![value], |it| it.iter().collect());
                self.kinds = names.into_iter().filter_map(|it| Kind::named(it.as_str()?)).collect();
            }
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                self.properties =
                    properties.map(|(key, it)| (key.clone(), Self::new(it))).collect();
            }
            "required" => self.required = strings(value),
            "additionalProperties" => {
                self.additional = match value {
                    Json::Bool(false) => Additional::Nothing,
                    Json::Object(_) => Additional::Like(Box::new(Self::new(value))),
                    _ => Additional::Anything,
                }
            }
            "propertyNames" => self.property_names = rule(value),
            "items" => self.items = rule(value),
            "enum" => {
                self.choices = value
                    .as_array()
                    .map(|it| it.iter().filter(|it| !it.is_null()).cloned().collect());
            }
            "const" => self.choices = Some(vec![value.clone()]),
            "oneOf" | "anyOf" => self.alternatives(value),
            "format" => self.format = value.as_str().map(str::to_owned),
            "pattern" => self.pattern = value.as_str().and_then(|it| Regex::new(it).ok()),
            "minimum" => self.minimum = value.as_f64(),
            "maximum" => self.maximum = value.as_f64(),
            "minLength" => self.min_length = value.as_u64(),
            "maxLength" => self.max_length = value.as_u64(),
            "minItems" => self.min_items = value.as_u64(),
            "maxItems" => self.max_items = value.as_u64(),
            "minProperties" => self.min_properties = value.as_u64(),
            "maxProperties" => self.max_properties = value.as_u64(),
            "description" => self.description = value.as_str().map(|it| it.replace('\n', " ")),
            _ => {}
        }
    }

    /// Alternatives that are constants are choices; one beside `null` stands alone.
    fn alternatives(&mut self, value: &Json) {
        let all: Vec<_> = value
            .as_array()
            .into_iter()
            .flatten()
            .filter(|it| it.get("type").and_then(Json::as_str) != Some("null"))
            .collect();
        if let [only] = all.as_slice() {
            let description = self.description.take();
            let inner = Self::new(only);
            let description = description.or_else(|| inner.description.clone());
            *self = Self { description, ..inner };
        } else if all.iter().all(|it| it.get("const").is_some()) {
            self.kinds = vec![Kind::String];
            self.choices = Some(all.iter().filter_map(|it| it.get("const").cloned()).collect());
        } else {
            self.alternatives = all.into_iter().map(Self::new).collect();
        }
    }

    /// The key of a table that a text alone in its place was meant for.
    fn principal_text(&self) -> Option<&'static str> {
        let known = ["url", "location", "path", "playbook", "text"];
        known.into_iter().find(|it| self.properties.contains_key(*it))
    }

    /// What it must be, with its article.
    fn wanted(&self) -> String {
        match self.format.as_deref() {
            Some("size") => return "a size".to_owned(),
            Some("duration") => return "a duration".to_owned(),
            _ => {}
        }
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .filter(|it| **it != Kind::Null)
            .map(|it| match it {
                Kind::Null => "nothing",
                Kind::Boolean => "`true` or `false`",
                Kind::Integer => "an integer",
                Kind::Number => "a number",
                Kind::String => "a string",
                Kind::Array => "an array",
                Kind::Object => "a table",
            })
            .collect();
        kinds.join(" or ")
    }
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

impl Place<'_> {
    fn join(&self, part: &str) -> String {
        if self.path.is_empty() { part.to_owned() } else { format!("{}.{part}", self.path) }
    }

    fn name(&self) -> String {
        match self.key {
            _ if !self.path.is_empty() => format!("`{}`", self.path),
            Some(entry) => format!("`{}`", entry.key),
            None => "the document".to_owned(),
        }
    }
}

fn bad_choice(value: &Json, choices: &[Json], place: &Place<'_>) -> SpecError {
    let texts: Vec<_> = choices.iter().map(plain).collect();
    let known: Vec<_> = texts.iter().map(String::as_str).collect();
    let found = plain(value);
    let mut help = format!("use one of {}", names::list(&known));
    if let Some(near) = names::nearest(&found, &known) {
        help = format!("did you mean `{near}`? it is one of {}", names::list(&known));
    }
    SpecError::new("bad-choice", format!("{} cannot be `{found}`", place.name()))
        .at(place.span.clone(), "unknown value")
        .help(help)
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn strings(value: &Json) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|it| Some(it.as_str()?.to_owned())).collect()
}

fn first_sentence(text: &str) -> String {
    let text = text.split("\n\n").next().unwrap_or(text).replace('\n', " ");
    let end = text.find(". ").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).trim_end_matches('.').to_owned()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
