//! The template engine as all templates get it.
//!
//! Undefined is an error, loops run out of fuel, nothing is read from anywhere:
//! includes come from the loader alone.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex},
};

use minijinja::{
    Environment, Error, ErrorKind, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Enumerator, Object, ObjectRepr},
};

use super::filters;
use crate::catalogue::Os;

/// Instructions one template may run; a long answer file needs some thousands.
const FUEL: u64 = 2_000_000;

/// Instructions for one string of a spec.
const INLINE_FUEL: u64 = 50_000;

/// Any value that serde knows, for a template.
pub(super) fn to_value<T: serde::Serialize>(value: T) -> Value {
    Value::from(minijinja::value::Serde(value))
}

/// What a string of a spec or a template is filled in with.
pub(crate) type Context = std::collections::BTreeMap<String, Value>;

/// An environment with imgbuild's filters. What they derive from values is
/// noted in `derived`.
pub(super) fn environment<'a>(salt: &str, derived: &Derived) -> Environment<'a> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_syntax(syntax());
    filters::add_to(&mut environment, salt, derived);
    environment
}

/// Lines with nothing but a block leave no empty line behind.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .unwrap_or_default()
}

/// What filters made of values: to be hidden like the values themselves.
#[derive(Clone, Default)]
pub(super) struct Derived(Arc<Mutex<Vec<String>>>);

impl Derived {
    pub(super) fn note(&self, value: &str) {
        if let Ok(mut values) = self.0.lock() {
            values.push(value.to_owned());
        }
    }

    pub(super) fn take(&self) -> Vec<String> {
        self.0.lock().map(|mut it| std::mem::take(&mut *it)).unwrap_or_default()
    }
}

/// What is wrong with a string of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InlineError {
    /// What is wrong.
    pub(crate) message: String,
    /// The bytes of the string.
    pub(crate) range: Range<usize>,
    /// The name that is undefined, where that is what is wrong.
    pub(crate) undefined: Option<String>,
}

/// Whether there is anything to fill in.
pub(crate) fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|it| text.contains(it))
}

/// Fills in the strings of one spec.
pub(crate) struct Inline {
    environment: Environment<'static>,
}

impl Inline {
    /// `salt` goes into password hashes.
    pub(crate) fn new(salt: &str) -> Self {
        let mut environment = environment(salt, &Derived::default());
        environment.set_fuel(Some(INLINE_FUEL));
        Self { environment }
    }

    /// A string with its templates filled in.
    pub(crate) fn fill(&self, text: &str, context: &Value) -> Result<String, InlineError> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        self.environment
            .render_named_str("<string>", text, context.clone())
            .map_err(|err| inline_error(text, &err))
    }

    /// The names a text uses that it does not set itself; a mistake in its syntax.
    pub(crate) fn names_used(&self, text: &str) -> Result<Vec<String>, InlineError> {
        if !is_template(text) {
            return Ok(Vec::new());
        }
        let environment: &Environment<'_> = &self.environment;
        let template = environment
            .template_from_named_str("<string>", text)
            .map_err(|err| inline_error(text, &err))?;
        let mut names: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        names.retain(|it| environment.globals().all(|(global, _)| global != it));
        names.sort();
        Ok(names)
    }
}

fn inline_error(text: &str, err: &Error) -> InlineError {
    let range = range_of(text, err);
    let undefined = (err.kind() == ErrorKind::UndefinedError)
        .then(|| text.get(range.clone()))
        .flatten()
        .and_then(leading_name);
    InlineError { message: message_of(err), range, undefined }
}

/// The bytes an error points at.
pub(super) fn range_of(text: &str, err: &Error) -> Range<usize> {
    if err.kind() == ErrorKind::SyntaxError
        && err.detail().is_some_and(|it| it.contains("unexpected end of input"))
        && let Some(range) = unclosed(text)
    {
        return range;
    }
    if let Some(range) = err.range()
        && range.start < range.end
        && text.get(range.clone()).is_some()
    {
        return range;
    }
    let line = err.line().unwrap_or(1).saturating_sub(1);
    let start = text.split_inclusive('\n').take(line).map(str::len).sum::<usize>().min(text.len());
    let rest = text.get(start..).unwrap_or_default();
    start..start + rest.find('\n').unwrap_or(rest.len())
}

/// The block that nothing closes, where that is what is wrong: `{% if x %}`.
fn unclosed(text: &str) -> Option<Range<usize>> {
    const BLOCKS: &[&str] =
        &["if", "for", "macro", "call", "filter", "block", "with", "autoescape", "raw", "set"];
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(start) = text.get(at..)?.find("{%").map(|it| it + at) {
        let Some(end) = text.get(start..)?.find("%}").map(|it| it + start + 2) else {
            return Some(start..text.len());
        };
        let inner = text.get(start + 2..end - 2)?.trim_matches(['-', '+', ' ', '\n', '\t']);
        let word = inner.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if let Some(closed) = word.strip_prefix("end") {
            if open.last().is_some_and(|(name, _)| *name == closed) {
                open.pop();
            }
        } else if BLOCKS.contains(&word) && !(word == "set" && inner.contains('=')) {
            open.push((word, start..end));
        }
        at = end;
    }
    open.pop().map(|(_, range)| range)
}

/// An error in words that fit after a place.
pub(super) fn message_of(err: &Error) -> String {
    let detail = err.detail().unwrap_or_default();
    match err.kind() {
        ErrorKind::UndefinedError if detail.is_empty() => "a value is not defined".to_owned(),
        ErrorKind::OutOfFuel => "the template runs on and on".to_owned(),
        ErrorKind::SyntaxError
            if detail.contains("unexpected end of input, expected end of block") =>
        {
            "this block is never closed".to_owned()
        }
        ErrorKind::SyntaxError if !detail.is_empty() => {
            format!("the template is not right: {detail}")
        }
        kind if detail.is_empty() => format!("the template fails: {kind}"),
        _ => detail.to_owned(),
    }
}

/// `x` of `{{ x.y | upper }}`.
pub(super) fn leading_name(text: &str) -> Option<String> {
    let text = text.trim_start_matches(['{', '%', '-', '+', ' ']);
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        .unwrap_or(text.len());
    let name = text.get(..end)?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// An operating system in a template: its id when printed, with parts.
#[derive(Debug)]
pub(crate) struct OsValue(Arc<Os>);

impl OsValue {
    pub(crate) fn value(os: &Arc<Os>) -> Value {
        Value::from_object(Self(os.clone()))
    }
}

const OS_PARTS: &[&str] = &["id", "version", "codename", "title", "family"];

impl Object for OsValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let os = &self.0;
        Some(match key.as_str()? {
            "id" => os.id.clone().into(),
            "version" => os.version.clone().into(),
            "codename" => os.codename.clone().unwrap_or_default().into(),
            "title" => os.title.clone().into(),
            "family" => os.family.clone().into(),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(OS_PARTS)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.id)
    }
}
