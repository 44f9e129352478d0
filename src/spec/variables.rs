//! Variables: their types, where their values come from, which one wins.
//!
//! From the weakest to the strongest: the default; the environment variable the
//! spec names; `IMGBUILD_VAR_<name>`; `--var-file`, later files first; `-v`.
//! Nothing here reads the environment or a file: the caller hands all in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use regex::Regex;
use serde_json::Value as Json;

use super::{
    Mode,
    document::{Document, Node, Syntax, Value},
    error::SpecError,
    file::{VariableTable, VariableType},
    names,
};
use crate::{model::Variable, render::BUILT_IN_NAMES};

/// What environment variables that set a variable start with.
pub const PREFIX: &str = "IMGBUILD_VAR_";

/// Values from outside of the spec.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The process's environment.
    pub environment: BTreeMap<String, String>,
    /// `--var-file`, in the order given.
    pub files: Vec<VariableFile>,
    /// `-v name=value`, in the order given.
    pub arguments: Vec<(String, String)>,
}

/// A file with values of variables.
#[derive(Clone)]
pub struct VariableFile {
    /// Its name, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its language.
    pub syntax: Syntax,
}

/// `-v` without `name=`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`-v` without a name and a value")]
#[diagnostic(code(imgbuild::spec::argument), help("write `-v name=value`"))]
pub struct ArgumentError;

impl Inputs {
    /// Adds what was given as `-v name=value`.
    pub fn add_argument(&mut self, text: &str) -> Result<(), ArgumentError> {
        // The text is not repeated in the error: it may be a secret.
        let (name, value) = text.split_once('=').ok_or(ArgumentError)?;
        if name.trim().is_empty() {
            return Err(ArgumentError);
        }
        self.arguments.push((name.trim().to_owned(), value.to_owned()));
        Ok(())
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|it| &it.name).collect();
        let arguments: Vec<_> = self.arguments.iter().map(|it| &it.0).collect();
        f.debug_struct("Inputs")
            .field("files", &files)
            .field("arguments", &arguments)
            .finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Default)]
pub(super) struct Resolved {
    /// Final values; placeholders for those in `unset`.
    pub(super) values: BTreeMap<String, Variable>,
    /// Variables that nothing sets.
    pub(super) unset: BTreeSet<String>,
}

/// A value on its way to a variable.
struct Given<'a> {
    value: Json,
    /// What an unquoted YAML scalar looks like.
    plain: Option<String>,
    /// Whether it is text that has to be converted.
    is_text: bool,
    /// Where it came from, for messages.
    from: String,
    /// Where it stands, and in which file where not in the spec.
    span: Option<Range<usize>>,
    file: Option<&'a Document>,
}

struct Resolver<'a> {
    document: &'a Document,
    tables: &'a BTreeMap<String, VariableTable>,
    inputs: &'a Inputs,
    files: &'a [Document],
    errors: &'a mut Vec<SpecError>,
    warnings: &'a mut Vec<SpecError>,
}

/// Finds each variable's value.
pub(super) fn resolve(
    document: &Document,
    tables: &BTreeMap<String, VariableTable>,
    inputs: &Inputs,
    mode: Mode,
    errors: &mut Vec<SpecError>,
    warnings: &mut Vec<SpecError>,
) -> Resolved {
    let files = read_files(inputs, errors);
    let mut resolver = Resolver { document, tables, inputs, files: &files, errors, warnings };
    resolver.unknown_names();
    resolver.axes();
    let mut found = Resolved::default();
    for (name, table) in tables {
        let value = resolver.variable(name, table, mode);
        if value.is_none() {
            found.unset.insert(name.clone());
        }
        let value = value.unwrap_or_else(|| placeholder(name, table));
        found.values.insert(name.clone(), Variable { value, sensitive: table.sensitive });
    }
    found
}

fn read_files(inputs: &Inputs, errors: &mut Vec<SpecError>) -> Vec<Document> {
    let mut documents = Vec::new();
    for file in &inputs.files {
        match Document::parse(&file.name, &file.text, file.syntax) {
            Ok(document) => documents.push(document),
            // What cannot be read may be full of secrets, so none of it is shown.
            Err(found) => errors.extend(found.iter().map(|error| {
                let place = error.span().map_or(String::new(), |it| {
                    format!(":{}", super::document::line_and_column(&file.text, it.start).0)
                });
                SpecError::new("variable-file", format!("{}{place}: {error}", file.name))
            })),
        }
    }
    documents
}

impl<'a> Resolver<'a> {
    /// What the matrix sets cannot be set from outside as well.
    fn axes(&mut self) {
        for (name, _) in &self.document.chosen {
            let given = self.inputs.arguments.iter().any(|it| it.0 == *name)
                || self.files.iter().any(|it| it.root.entry(name).is_some());
            if given {
                self.errors.push(
                    SpecError::new(
                        "contradiction",
                        format!("`{name}` is set from outside, and by the matrix"),
                    )
                    .at(self.document.key_span(&["variables", name]), "declared here")
                    .help(format!("choose builds with `--only {name}=…`")),
                );
            }
        }
    }

    fn unknown_names(&mut self) {
        let known: Vec<_> = self.tables.keys().map(String::as_str).collect();
        let help = |name: &str| match names::nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "the spec declares no variables".to_owned(),
            None => format!("the spec declares {}", names::list(&known)),
        };
        for (name, _) in &self.inputs.arguments {
            if !self.tables.contains_key(name) {
                self.errors.push(
                    SpecError::new(
                        "unknown-variable",
                        format!("`-v {name}=…`: the spec has no such variable"),
                    )
                    .help(help(name)),
                );
            }
        }
        for file in self.files {
            for entry in file.root.entries() {
                if !self.tables.contains_key(&entry.key) {
                    self.errors.push(
                        SpecError::new(
                            "unknown-variable",
                            format!("the spec has no variable `{}`", entry.key),
                        )
                        .at(entry.key_span.clone(), "unknown variable")
                        .help(help(&entry.key))
                        .within(&hidden_values(file)),
                    );
                }
            }
        }
        for name in self.inputs.environment.keys().filter_map(|it| it.strip_prefix(PREFIX)) {
            if !self.tables.contains_key(name) {
                self.warnings.push(
                    SpecError::warning(
                        "unknown-variable",
                        format!("`{PREFIX}{name}` is set, but the spec has no variable `{name}`"),
                    )
                    .help(help(name)),
                );
            }
        }
    }

    fn variable(&mut self, name: &str, table: &VariableTable, mode: Mode) -> Option<Json> {
        self.check_name(name);
        let kind = self.kind(name, table);
        let pattern = self.pattern(name, table, kind);
        self.check_choices(name, table, kind);
        if table.sensitive && table.default.is_some() {
            self.warnings.push(
                SpecError::warning(
                    "sensitive-default",
                    format!("the secret `{name}` has a default"),
                )
                .at(
                    self.document.key_span(&["variables", name, "default"]),
                    "anyone who reads the spec can read it",
                )
                .help(
                    "leave the default out and set it with `env`, `IMGBUILD_VAR_…` or `--var-file`",
                ),
            );
        }
        let default = self
            .default_of(name, table)
            .and_then(|it| self.accept(name, table, kind, pattern.as_ref(), &it));
        if let Some(given) = self.given(name, table) {
            return self.accept(name, table, kind, pattern.as_ref(), &given).or(default);
        }
        if table.default.is_none() && mode == Mode::Build {
            let mut ways = vec![
                format!("`-v {name}=…`"),
                format!("`{PREFIX}{name}`"),
                "`--var-file`".to_owned(),
            ];
            if let Some(env) = &table.env {
                ways.push(format!("`{env}`"));
            }
            let about = table.description.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
            self.errors.push(
                SpecError::new(
                    "unset-variable",
                    format!("the variable `{name}`{about} has no value"),
                )
                .at(self.document.key_span(&["variables", name]), "is required")
                .help(format!("set it with {}", ways.join(", "))),
            );
        }
        default
    }

    fn check_name(&mut self, name: &str) {
        if BUILT_IN_NAMES.contains(&name) {
            self.errors.push(
                SpecError::new("reserved-name", format!("a variable cannot be called `{name}`"))
                    .at(self.document.key_span(&["variables", name]), "this name is taken")
                    .help(format!(
                        "{} are always there; choose another name",
                        names::list(BUILT_IN_NAMES)
                    )),
            );
        }
    }

    fn kind(&mut self, name: &str, table: &VariableTable) -> VariableType {
        if let Some(kind) = table.kind {
            return kind;
        }
        match &table.default {
            Some(Json::Bool(_)) => VariableType::Bool,
            Some(Json::Array(_)) => VariableType::List,
            Some(Json::Number(it)) if it.is_i64() || it.is_u64() => VariableType::Number,
            Some(Json::Number(_)) => {
                let path = ["variables", name, "default"];
                let text = self
                    .document
                    .span(&path)
                    .and_then(|it| self.document.text.get(it))
                    .unwrap_or_default()
                    .to_owned();
                self.errors.push(
                    SpecError::new(
                        "ambiguous-type",
                        format!("the default of `{name}` may be a number or a text"),
                    )
                    .at(self.document.span(&path), "which?")
                    .help(format!("put it in quotes, \"{text}\", or add `type = \"number\"`")),
                );
                VariableType::Number
            }
            _ => VariableType::String,
        }
    }

    fn pattern(&mut self, name: &str, table: &VariableTable, kind: VariableType) -> Option<Regex> {
        let pattern = table.pattern.as_ref()?;
        let path = ["variables", name, "pattern"];
        if matches!(kind, VariableType::Bool | VariableType::Number) {
            self.errors.push(
                SpecError::new(
                    "contradiction",
                    format!("`{name}` is a {} and cannot have a pattern", kind_name(kind)),
                )
                .at(self.document.span(&path), "is for text")
                .help("leave the pattern out, or use `choices`"),
            );
            return None;
        }
        match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) => Some(regex),
            Err(err) => {
                self.errors.push(
                    bad_regex(pattern, &err)
                        .at(self.document.span(&path), "not a regular expression"),
                );
                None
            }
        }
    }

    fn check_choices(&mut self, name: &str, table: &VariableTable, kind: VariableType) {
        let Some(choices) = &table.choices else { return };
        for (i, choice) in choices.iter().enumerate() {
            let index = i.to_string();
            let path = ["variables", name, "choices", index.as_str()];
            if let Some(first) = choices.iter().take(i).position(|it| it == choice) {
                let first = first.to_string();
                self.errors.push(
                    SpecError::new("duplicate", format!("`{name}` has the same choice twice"))
                        .at(self.document.span(&path), "again")
                        .and(
                            self.document.span(&["variables", name, "choices", first.as_str()]),
                            "first",
                        )
                        .help("leave one of them out"),
                );
            }
            let item_kind = if kind == VariableType::List { VariableType::String } else { kind };
            let plain = self.document.find(&path).and_then(|it| it.plain.clone());
            if typed(item_kind, choice, plain.as_deref()).is_none() {
                self.errors.push(
                    SpecError::new(
                        "wrong-type",
                        format!("`{name}` is a {}, but this choice is not", kind_name(item_kind)),
                    )
                    .at(self.document.span(&path), format!("expected a {}", kind_name(item_kind))),
                );
            }
        }
    }

    fn default_of(&self, name: &str, table: &VariableTable) -> Option<Given<'static>> {
        let path = ["variables", name, "default"];
        let node = self.document.find(&path);
        Some(Given {
            value: table.default.clone()?,
            plain: node.and_then(|it| it.plain.clone()),
            is_text: false,
            from: "the default".to_owned(),
            span: self.document.span(&path),
            file: None,
        })
    }

    /// The strongest value from outside. What is weaker does not count, however
    /// wrong it is.
    fn given(&self, name: &str, table: &VariableTable) -> Option<Given<'a>> {
        if self.document.chosen.iter().any(|it| it.0 == name) {
            return None;
        }
        let text = |value: &String, from: String| Given {
            value: Json::from(value.as_str()),
            plain: None,
            is_text: true,
            from,
            span: None,
            file: None,
        };
        if let Some((_, value)) = self.inputs.arguments.iter().rev().find(|(it, _)| it == name) {
            return Some(text(value, format!("`-v {name}=…`")));
        }
        for file in self.files.iter().rev() {
            if let Some(entry) = file.root.entry(name) {
                return Some(Given {
                    value: entry.value.to_json(),
                    plain: entry.value.plain.clone(),
                    is_text: false,
                    from: format!("the value in {}", file.name),
                    span: Some(entry.pointer()),
                    file: Some(file),
                });
            }
        }
        let own = format!("{PREFIX}{name}");
        [Some(&own), table.env.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|key| Some(text(self.inputs.environment.get(key)?, format!("`{key}`"))))
    }

    fn accept(
        &mut self,
        name: &str,
        table: &VariableTable,
        kind: VariableType,
        pattern: Option<&Regex>,
        given: &Given<'_>,
    ) -> Option<Json> {
        let value = if given.is_text {
            converted(kind, given.value.as_str().unwrap_or_default())
        } else {
            typed(kind, &given.value, given.plain.as_deref())
        };
        let shown =
            |it: &Json| if table.sensitive { String::new() } else { format!(" `{}`", text_of(it)) };
        let Some(value) = value else {
            let hint = match kind {
                VariableType::Bool => "write `true` or `false`; `yes` and `no` are text",
                VariableType::Number => "write a number, such as `8` or `1.5`",
                VariableType::List => "write a JSON list, or items with commas between them",
                VariableType::String => "put it in quotes",
            };
            let error = SpecError::new(
                "wrong-type",
                format!("{} of `{name}` is not a {}", given.from, kind_name(kind)),
            );
            self.refuse(given, name, error, "type", hint);
            return None;
        };
        let items: Vec<_> = value.as_array().map_or_else(|| vec![&value], |it| it.iter().collect());
        for item in items {
            if let Some(choices) = &table.choices
                && !choices.iter().any(|it| text_of(it) == text_of(item))
            {
                let texts: Vec<_> = choices.iter().map(text_of).collect();
                let error = SpecError::new(
                    "bad-choice",
                    format!("{} of `{name}`{} is none of its choices", given.from, shown(item)),
                );
                let help = if table.sensitive {
                    "see its choices".to_owned()
                } else {
                    format!("use one of {}", names::list(&texts))
                };
                self.refuse(given, name, error, "choices", &help);
                return None;
            }
            if let Some(pattern) = pattern
                && !pattern.is_match(&text_of(item))
            {
                let error = SpecError::new(
                    "bad-value",
                    format!("{} of `{name}`{} does not match its pattern", given.from, shown(item)),
                );
                let help =
                    format!("it must match `{}`", table.pattern.as_deref().unwrap_or_default());
                self.refuse(given, name, error, "pattern", &help);
                return None;
            }
        }
        Some(value)
    }

    fn refuse(&mut self, given: &Given<'_>, name: &str, error: SpecError, rule: &str, help: &str) {
        let rule_span = self.document.span(&["variables", name, rule]);
        let error = match (given.file, &given.span) {
            (Some(file), span) => {
                error.at(span.clone(), "this value").help(help).within(&hidden_values(file))
            }
            (None, Some(span)) => {
                let exists = self.document.find(&["variables", name, rule]).is_some();
                error
                    .at(span.clone(), "this value")
                    .and(rule_span.filter(|_| exists), format!("its {rule}"))
                    .help(help)
            }
            (None, None) => error.at(rule_span, "declared here").help(help),
        };
        self.errors.push(error);
    }
}

/// A variable file as it may be shown: which of its values are secrets is not
/// said in it, so none is shown.
fn hidden_values(file: &Document) -> Document {
    fn hide(node: &Node, bytes: &mut [u8]) {
        match &node.value {
            Value::Array(items) => items.iter().for_each(|it| hide(it, bytes)),
            Value::Table(entries) => entries.iter().for_each(|it| hide(&it.value, bytes)),
            _ => {
                for byte in bytes.get_mut(node.span.clone()).unwrap_or_default() {
                    if !byte.is_ascii_whitespace() {
                        *byte = b'*';
                    }
                }
            }
        }
    }
    let mut bytes = file.text.clone().into_bytes();
    hide(&file.root, &mut bytes);
    Document { text: String::from_utf8_lossy(&bytes).into_owned(), ..file.clone() }
}

/// A typed value as the type wants it; `None` where it is of another.
fn typed(kind: VariableType, value: &Json, plain: Option<&str>) -> Option<Json> {
    match (kind, value) {
        (VariableType::String, Json::String(_))
        | (VariableType::Number, Json::Number(_))
        | (VariableType::Bool, Json::Bool(_)) => Some(value.clone()),
        (VariableType::List, Json::Array(items)) => items
            .iter()
            .all(|it| !it.is_array() && !it.is_object() && !it.is_null())
            .then(|| value.clone()),
        // Unquoted in YAML.
        (VariableType::String, Json::Number(_) | Json::Bool(_)) => plain.map(Json::from),
        _ => None,
    }
}

/// A text as the type wants it.
fn converted(kind: VariableType, text: &str) -> Option<Json> {
    match kind {
        VariableType::String => Some(Json::from(text)),
        VariableType::Bool => text.trim().parse::<bool>().ok().map(Json::from),
        VariableType::Number => {
            let text = text.trim();
            let number = text.parse::<i64>().map(Json::from).ok();
            number.or_else(|| text.parse::<f64>().ok().filter(|it| it.is_finite()).map(Json::from))
        }
        VariableType::List if text.trim_start().starts_with('[') => {
            let list = serde_json::from_str(text).ok()?;
            typed(VariableType::List, &list, None)
        }
        VariableType::List if text.trim().is_empty() => Some(Json::Array(Vec::new())),
        VariableType::List => Some(text.split(',').map(|it| Json::from(it.trim())).collect()),
    }
}

/// What stands in for a value that nothing sets, where nothing is built.
fn placeholder(name: &str, table: &VariableTable) -> Json {
    if let Some(choice) = table.choices.as_ref().and_then(|it| it.first()) {
        return if table.kind == Some(VariableType::List) {
            Json::Array(vec![choice.clone()])
        } else {
            choice.clone()
        };
    }
    match table.kind.unwrap_or_default() {
        VariableType::String => Json::from(format!("<{name}>")),
        VariableType::Number => Json::from(1),
        VariableType::Bool => Json::from(false),
        VariableType::List => Json::Array(vec![Json::from(format!("<{name}>"))]),
    }
}

/// A regular expression's own words, in one line.
pub(super) fn bad_regex(pattern: &str, err: &regex::Error) -> SpecError {
    let reason = err.to_string();
    let reason =
        reason.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
    SpecError::new("bad-regex", format!("`{pattern}` is not a regular expression: {reason}")).help(
        "escape signs such as `(`, `[`, `*` and `\\` with a `\\` where they stand for themselves",
    )
}

const fn kind_name(kind: VariableType) -> &'static str {
    match kind {
        VariableType::String => "string",
        VariableType::Number => "number",
        VariableType::Bool => "bool",
        VariableType::List => "list",
    }
}

fn text_of(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
