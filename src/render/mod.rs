//! Answer files: a template, filled in, with its secrets kept apart.
//!
//! A text is rendered twice: once as the installer gets it, and once with
//! placeholders for secrets, for people. So no chain of filters, however it
//! twists a value, can carry a secret into what is shown.

mod environment;
mod error;
mod filters;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
};

use miette::NamedSource;
use minijinja::{Environment, ErrorKind, Value};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value as Json};

pub use error::{RenderError, TemplateMistake};

pub(crate) use environment::{Context, Inline, is_template};

use crate::{
    catalogue::Os,
    model::{Answer, AnswerOrigin, Arch, Build, Source, Variable, secrets},
    redact::{Redactor, Secret},
};
use environment::{Derived, OsValue, environment, leading_name, message_of, range_of, to_value};

/// Names that templates know without anybody setting them.
pub const BUILT_IN_NAMES: &[&str] =
    &["arch", "build", "codename", "debarch", "install", "name", "os", "source", "version"];

/// Where templates come from: the spec's folder, then the built-in ones.
pub trait TemplateLoader: Send + Sync {
    /// The text of a template; `name` is relative and never leads upwards.
    fn load(&self, name: &str) -> Option<String>;
}

/// What a template is told about the build beside the spec.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// The public half of the key made for this build, where there is one.
    pub ssh_public_key: Option<String>,
}

/// An answer file as the installer will get it.
pub struct Rendered {
    /// The same with placeholders for secrets, to be shown.
    pub masked: String,
    /// What templates made of secrets, for the build's [`Redactor`].
    pub secrets: Vec<Secret>,
    /// The variables and answer values that were used.
    pub used: BTreeSet<String>,
    text: SecretString,
}

impl Rendered {
    /// The text with its secrets.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").field("masked", &self.masked).finish_non_exhaustive()
    }
}

/// Renders the answer file of a build.
pub fn answer_file(
    build: &Build,
    loader: &Arc<dyn TemplateLoader>,
    extras: &Extras,
) -> Result<Rendered, RenderError> {
    let mut found = secrets(&build.variables);
    found.extend(secret_values(&build.answer));
    let redactor = Redactor::new(&found);
    let (name, text) = match &build.answer.origin {
        AnswerOrigin::Text(text) => ("answer.text", text.clone()),
        AnswerOrigin::Template(name) => (name.as_str(), load(&**loader, name)?),
        AnswerOrigin::File(name) => {
            let text = load(&**loader, name)?;
            return Ok(Rendered {
                masked: redactor.mask(&text),
                secrets: found,
                used: BTreeSet::new(),
                text: text.into(),
            });
        }
    };

    let sources = Sources::default();
    sources.add(name, &text);
    let derived = Derived::default();
    let mut environment = environment(&build.name, &derived);
    let (includes, seen) = (loader.clone(), sources.clone());
    environment.set_loader(move |name| {
        if !stays_inside(name) {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("`{name}` leads out of the spec's folder"),
            ));
        }
        Ok(includes.load(name).inspect(|it| seen.add(name, it)))
    });
    let failed = |err: &minijinja::Error| template_error(err, name, &sources, &redactor, build);

    let context = answer_context(build, extras, View::Real);
    let template = environment.template_from_named_str(name, &text).map_err(|err| failed(&err))?;
    let real = template.render(Value::from(context)).map_err(|err| failed(&err))?;
    for value in derived.take() {
        found.push(Secret::new("sha512_crypt", &value));
        redactor.add("sha512_crypt", &value);
    }

    let context = answer_context(build, extras, View::Masked);
    let masked = match template.render(Value::from(context)) {
        Ok(masked) => {
            derived.take();
            redactor.mask(&masked)
        }
        // It computes with a secret; without the secret it cannot.
        Err(_) => "<withheld: the template computes with a sensitive value>\n".to_owned(),
    };
    let used = sources.names_used(&environment);
    let (masked, real) = (unix_lines(masked), unix_lines(real));
    Ok(Rendered { masked, secrets: found, used, text: real.into() })
}

/// No installer takes a carriage return for the end of a line; a spec that was
/// written on Windows has them in `answer.text`.
fn unix_lines(text: String) -> String {
    if text.contains('\r') { text.replace("\r\n", "\n") } else { text }
}

/// Whether a name stays in the folder it is looked up in.
pub fn stays_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['/', '~'])
        && !name.contains(['\\', '\0'])
        && name.split('/').all(|it| it != "..")
}

/// What strings of a spec are filled in with; secrets as they are or masked.
pub(crate) fn spec_context(
    name: &str,
    os: Option<&Arc<Os>>,
    arch: Arch,
    variables: &BTreeMap<String, Variable>,
    masked: bool,
) -> Context {
    let view = if masked { View::Masked } else { View::Real };
    let mut context: Context =
        variables.iter().map(|(name, it)| (name.clone(), variable_value(name, it, view))).collect();
    context.insert("name".to_owned(), name.into());
    context.insert("os".to_owned(), os.map_or_else(|| "".into(), OsValue::value));
    context.insert("arch".to_owned(), arch.as_str().into());
    context.insert("debarch".to_owned(), arch.debian().into());
    let version = os.map(|it| it.version.clone()).unwrap_or_default();
    context.insert("version".to_owned(), version.into());
    let codename = os.and_then(|it| it.codename.clone()).unwrap_or_default();
    context.insert("codename".to_owned(), codename.into());
    context
}

/// With secrets, or with placeholders for them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Real,
    Masked,
}

fn answer_context(build: &Build, extras: &Extras, view: View) -> Context {
    let mut context = spec_context(
        &build.name,
        Some(&build.os),
        build.arch,
        &build.variables,
        view == View::Masked,
    );
    let values = match view {
        View::Real => &build.answer.values,
        View::Masked => &build.answer.masked_values,
    };
    for (name, value) in values {
        context.insert(name.clone(), to_value(value));
    }
    let install = &build.install;
    context.insert(
        "install".to_owned(),
        to_value(serde_json::json!({
            "disk": build.os.machine.disk_device,
            "disk_size": install.disk.as_bytes(),
            "disk_size_mib": install.disk.as_mib(),
            "memory_mib": install.memory.as_mib(),
            "cpus": install.cpus,
            "firmware": install.firmware,
            "boot": install.boot,
            "delivery": install.delivery,
            "parameters": install.parameters,
            "target_parameters": install.target_parameters,
        })),
    );
    let tree = match &build.source {
        Source::Tree { url, .. } => Some(url.as_str()),
        Source::Package { mirror, .. } => Some(mirror.as_str()),
        Source::Iso { .. } | Source::Kernel { .. } => None,
    };
    // The system's public tree, for a medium without packages.
    let public = build.os.tree_url(build.arch);
    let source = serde_json::json!({ "tree": tree, "public": public });
    context.insert("source".to_owned(), to_value(source));
    let mut told = Map::new();
    told.insert("serial".to_owned(), serial_port(build.arch).into());
    if let Some(key) = &extras.ssh_public_key {
        told.insert("ssh_public_key".to_owned(), key.as_str().into());
    }
    context.insert("build".to_owned(), to_value(told));
    context
}

/// The serial port, as Linux names it.
pub const fn serial_port(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "ttyS0",
        Arch::Aarch64 => "ttyAMA0",
    }
}

fn variable_value(name: &str, variable: &Variable, view: View) -> Value {
    if view == View::Real || !variable.sensitive {
        return to_value(&variable.value);
    }
    let mask = format!("<sensitive:{name}>");
    match &variable.value {
        Json::Array(items) => items.iter().map(|_| mask.clone()).collect(),
        _ => mask.into(),
    }
}

/// Answer values that are made of secrets: those that look different masked.
fn secret_values(answer: &Answer) -> Vec<Secret> {
    fn compare(name: &str, real: &Json, masked: &Json, found: &mut Vec<Secret>) {
        match (real, masked) {
            (Json::Array(real), Json::Array(masked)) => {
                real.iter().zip(masked).for_each(|(a, b)| compare(name, a, b, found));
            }
            (Json::Object(real), Json::Object(masked)) => {
                for (key, value) in real {
                    if let Some(other) = masked.get(key) {
                        compare(name, value, other, found);
                    }
                }
            }
            (Json::String(real), masked) if masked.as_str() != Some(real) => {
                found.push(Secret::new(name, real));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, value) in &answer.values {
        if let Some(masked) = answer.masked_values.get(name) {
            compare(name, value, masked, &mut found);
        }
    }
    found
}

fn load(loader: &dyn TemplateLoader, name: &str) -> Result<String, RenderError> {
    if !stays_inside(name) {
        return Err(RenderError::Outside { name: name.to_owned() });
    }
    loader.load(name).ok_or_else(|| RenderError::NoTemplate { name: name.to_owned() })
}

/// The templates that took part, by name.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<BTreeMap<String, String>>>);

impl Sources {
    fn add(&self, name: &str, text: &str) {
        if let Ok(mut texts) = self.0.lock() {
            texts.insert(name.to_owned(), text.to_owned());
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.lock().ok()?.get(name).cloned()
    }

    fn names_used(&self, environment: &Environment<'_>) -> BTreeSet<String> {
        let texts = self.0.lock().map(|it| it.clone()).unwrap_or_default();
        texts
            .values()
            .filter_map(|text| {
                environment.template_from_str(text).ok().map(|it| it.undeclared_variables(false))
            })
            .flatten()
            .collect()
    }
}

fn template_error(
    err: &minijinja::Error,
    outermost: &str,
    sources: &Sources,
    redactor: &Redactor,
    build: &Build,
) -> RenderError {
    // The innermost error knows the template that is really wrong.
    let mut innermost = err;
    let mut next = std::error::Error::source(err);
    while let Some(source) = next {
        if let Some(inner) = source.downcast_ref::<minijinja::Error>() {
            innermost = inner;
        }
        next = source.source();
    }
    let err = innermost;
    let name = err.name().unwrap_or(outermost);
    let text = sources.get(name).unwrap_or_default();
    let at = range_of(&text, err);
    let (line, column) = crate::spec::document::line_and_column(&text, at.start);
    let undefined = (err.kind() == ErrorKind::UndefinedError)
        .then(|| text.get(at.clone()).and_then(leading_name))
        .flatten();
    let (message, help) = match undefined {
        Some(undefined) => {
            (format!("`{undefined}` is not defined"), Some(undefined_help(&undefined, build)))
        }
        None if err.kind() == ErrorKind::TemplateNotFound => (
            message_of(err),
            Some(
                "includes are looked for in the spec's folder, then among the built-in templates"
                    .to_owned(),
            ),
        ),
        None => (message_of(err), None),
    };
    RenderError::from(Box::new(TemplateMistake {
        message: redactor.mask(&message),
        name: name.to_owned(),
        text: NamedSource::new(name, redactor.mask(&text)),
        at: at.into(),
        line,
        column,
        help,
    }))
}

fn undefined_help(undefined: &str, build: &Build) -> String {
    let known: Vec<_> = build
        .variables
        .keys()
        .map(String::as_str)
        .chain(build.answer.values.keys().map(String::as_str))
        .chain(BUILT_IN_NAMES.iter().copied())
        .collect();
    match crate::spec::names::nearest(undefined, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "set `{undefined}` under `answer.values`, or declare it under `variables`; \
             where it may be missing, write `{undefined} | default(…)`"
        ),
    }
}
