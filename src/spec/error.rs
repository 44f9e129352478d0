//! Mistakes in a spec, each with its place and what to do about it.

use std::{
    collections::BTreeSet,
    fmt,
    ops::Range,
    sync::{Arc, LazyLock},
};

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use regex::Regex;
use serde::Serialize;

use super::document::{Document, Entry, Node, Part, Syntax, Value, line_and_column};

/// One mistake, or one warning.
///
/// The rules of a spec are many and alike, so they share this value instead of
/// a variant each; `code` tells them apart.
#[derive(Clone, Debug)]
pub struct SpecError {
    code: &'static str,
    message: String,
    help: Option<String>,
    labels: Vec<(Range<usize>, String)>,
    warning: bool,
    /// Another file than the spec.
    source: Option<Arc<NamedSource<String>>>,
}

/// Every mistake found in one spec.
#[derive(Debug)]
pub struct SpecErrors {
    name: String,
    text: Arc<NamedSource<String>>,
    errors: Vec<SpecError>,
    /// How many there are; more than `errors` where most are left out.
    n_found: usize,
}

/// More mistakes than anybody reads; what has so many is not a spec.
const MOST_SHOWN: usize = 100;

/// A mistake as a program reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The kind of mistake: `imgbuild::spec::unknown-key`.
    pub code: String,
    /// The file's name.
    pub file: String,
    /// Line from 1, where the mistake has a place.
    pub line: Option<usize>,
    /// Column in characters from 1.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl SpecError {
    /// A mistake without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            labels: Vec::new(),
            warning: false,
            source: None,
        }
    }

    /// A warning without a place.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(code, message) }
    }

    /// The mistake at these bytes. The first place is the one that is named.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Range<usize>>>, label: impl Into<String>) -> Self {
        if let Some(span) = span.into() {
            self.labels.push((span, label.into()));
        }
        self
    }

    /// Another place that has to do with it.
    #[must_use]
    pub fn and(self, span: impl Into<Option<Range<usize>>>, label: impl Into<String>) -> Self {
        self.at(span, label)
    }

    /// What to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The mistake in another file than the spec.
    #[must_use]
    pub(super) fn within(mut self, document: &Document) -> Self {
        self.source = Some(Arc::new(NamedSource::new(
            &document.name,
            masked_text(&document.text, &[&document.root]),
        )));
        self
    }

    /// The places from here on count from `by`.
    #[must_use]
    pub(super) fn shift(mut self, by: usize) -> Self {
        for (span, _) in &mut self.labels {
            *span = span.start + by..span.end + by;
        }
        self
    }

    /// Says more in the help.
    pub(super) fn add_help(&mut self, more: &str) {
        self.help = Some(match self.help.take() {
            Some(help) => format!("{help}; {more}"),
            None => more.to_owned(),
        });
    }

    /// What tells this mistake from another.
    pub(super) fn identity(&self) -> (&'static str, String, Vec<(usize, usize)>) {
        let places = self.spans().map(|it| (it.start, it.end)).collect();
        (self.code, self.message.clone(), places)
    }

    /// Moves the places into the file that the first of them is in. Those in
    /// other files are named in the help, as a report shows one file.
    fn settle(&mut self, text: &str, parts: &[Part], sources: &[Arc<NamedSource<String>>]) {
        let part_of = |at: usize| parts.iter().position(|it| at <= it.range.end).unwrap_or(0);
        let home = self.labels.first().map_or(0, |(span, _)| part_of(span.start));
        if parts.get(home).is_some_and(|it| it.syntax == Syntax::Yaml) {
            self.message = in_yaml(&self.message);
            self.help = self.help.take().map(|it| in_yaml(&it));
        }
        if parts.len() < 2 {
            return;
        }
        let mut elsewhere = Vec::new();
        for (span, label) in std::mem::take(&mut self.labels) {
            let number = part_of(span.start);
            let Some(part) = parts.get(number) else { continue };
            let start = part.range.start;
            if number == home {
                self.labels.push((
                    span.start.saturating_sub(start)..span.end.saturating_sub(start),
                    label,
                ));
            } else {
                let inner = text.get(part.range.clone()).unwrap_or_default();
                let line = line_and_column(inner, span.start.saturating_sub(start)).0;
                elsewhere.push(format!("{}:{line}: {label}", part.name));
            }
        }
        for place in elsewhere {
            self.add_help(&place);
        }
        if home > 0 {
            self.source = sources.get(home).cloned();
        }
    }

    /// The kind of mistake, such as `unknown-key`.
    pub fn kind(&self) -> &'static str {
        self.code
    }

    /// What to do.
    pub(crate) fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The bytes of every place.
    pub(super) fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.labels.iter().map(|(span, _)| span.clone())
    }

    /// The bytes of the place that is named.
    pub fn span(&self) -> Option<Range<usize>> {
        self.labels.first().map(|(span, _)| span.clone())
    }

    fn report(&self, text: &NamedSource<String>) -> Report {
        let text = self.source.as_deref().unwrap_or(text);
        let place = self.labels.first().map(|(span, _)| line_and_column(text.inner(), span.start));
        Report {
            severity: if self.warning { "warning" } else { "error" },
            code: format!("imgbuild::spec::{}", self.code),
            file: text.name().to_owned(),
            line: place.map(|it| it.0),
            column: place.map(|it| it.1),
            message: self.message.clone(),
            help: self.help.clone(),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(format!("imgbuild::spec::{}", self.code)))
    }

    fn severity(&self) -> Option<Severity> {
        Some(if self.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|it| Box::new(it) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|it| it as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.labels.iter().enumerate().map(|(i, (span, label))| {
            let label = Some(label.clone());
            if i == 0 {
                LabeledSpan::new_primary_with_span(label, span.clone())
            } else {
                LabeledSpan::new_with_span(label, span.clone())
            }
        });
        if self.labels.is_empty() { None } else { Some(Box::new(labels)) }
    }
}

impl SpecErrors {
    /// Mistakes in a text of one or more files, in the order of their places.
    /// `root` is what the files say together, where they can be read.
    pub(super) fn new(
        text: &str,
        parts: &[Part],
        root: Option<&Node>,
        mut errors: Vec<SpecError>,
    ) -> Self {
        let roots: Vec<_> =
            root.into_iter().chain(parts.iter().filter_map(|it| it.root.as_ref())).collect();
        let is_readable = parts.iter().all(|it| it.root.is_some());
        let shown = masked_text(text, if is_readable { &roots } else { &[] });
        let sources: Vec<_> = parts
            .iter()
            .map(|it| {
                let text = shown.get(it.range.clone()).unwrap_or_default();
                Arc::new(NamedSource::new(&it.name, text.to_owned()))
            })
            .collect();
        errors.sort_by_key(|it| it.span().map_or(usize::MAX, |span| span.start));
        for error in errors.iter_mut().filter(|it| it.source.is_none()) {
            error.settle(text, parts, &sources);
        }
        let n_found = errors.len();
        errors.truncate(MOST_SHOWN);
        let name = parts.first().map(|it| it.name.clone()).unwrap_or_default();
        let empty = || Arc::new(NamedSource::new(&name, String::new()));
        let text = sources.first().cloned().unwrap_or_else(empty);
        Self { name, text, errors, n_found }
    }

    /// Mistakes found in a document.
    pub(super) fn of(document: &Document, errors: Vec<SpecError>) -> Self {
        Self::new(&document.text, &document.parts, Some(&document.root), errors)
    }

    /// Warnings of a spec that is otherwise right, to be shown like its mistakes.
    pub fn of_warnings(document: &Document, warnings: Vec<SpecError>) -> Self {
        Self::of(document, warnings)
    }

    /// The mistakes themselves.
    pub fn errors(&self) -> &[SpecError] {
        &self.errors
    }

    /// The mistakes as a program reads them.
    pub fn reports(&self) -> Vec<Report> {
        self.errors.iter().map(|it| it.report(&self.text)).collect()
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_errors = self.errors.iter().filter(|it| !it.warning).count();
        if self.n_found > self.errors.len() {
            let (all, shown) = (self.n_found, self.errors.len());
            return write!(f, "{} has {all} mistakes, of which {shown} are shown", self.name);
        }
        match (n_errors, self.errors.len()) {
            (0, 1) => write!(f, "{} has a warning", self.name),
            (0, n) => write!(f, "{} has {n} warnings", self.name),
            (1, _) => write!(f, "{} has a mistake", self.name),
            (n, _) => write!(f, "{} has {n} mistakes", self.name),
        }
    }
}

impl std::error::Error for SpecErrors {}

impl Diagnostic for SpecErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.text)
    }

    fn severity(&self) -> Option<Severity> {
        let warnings_only = self.errors.iter().all(|it| it.warning);
        Some(if warnings_only { Severity::Warning } else { Severity::Error })
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|it| it as &dyn Diagnostic)))
    }
}

/// Words with pieces of TOML in backticks, for those who write YAML.
fn in_yaml(text: &str) -> String {
    static PIECES: LazyLock<Option<(Regex, Regex)>> = LazyLock::new(|| {
        let table = Regex::new(r"`\[([A-Za-z0-9_.-]+)\]`").ok()?;
        Some((Regex::new(r"`([A-Za-z-]+) = ([^`]+)`").ok()?, table))
    });
    let Some((setting, table)) = &*PIECES else { return text.to_owned() };
    let text = setting.replace_all(text, "`$1: $2`");
    table.replace_all(&text, "`$1`").into_owned()
}

/// The text as it may be shown: what a sensitive variable is set to in it is
/// overwritten, byte by byte, so that places stay where they are. `roots` are
/// what is read of it; nothing where it cannot be read.
fn masked_text(text: &str, roots: &[&Node]) -> String {
    let spans = if roots.is_empty() { secret_lines(text) } else { secret_spans(roots) };
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        for byte in bytes.get_mut(span).unwrap_or_default() {
            if !byte.is_ascii_whitespace() {
                *byte = b'*';
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The defaults of variables that are, or may be meant to be, sensitive, in any
/// of the files.
fn secret_spans(roots: &[&Node]) -> Vec<Range<usize>> {
    fn all_of(node: &Node, spans: &mut Vec<Range<usize>>) {
        match &node.value {
            Value::Array(items) => items.iter().for_each(|it| all_of(it, spans)),
            Value::Table(entries) => entries.iter().for_each(|it| all_of(&it.value, spans)),
            _ => spans.push(node.span.clone()),
        }
    }
    let variables = |root: &'_ Node| -> Vec<Entry> {
        root.entry("variables").map(|it| it.value.entries().to_vec()).unwrap_or_default()
    };
    let is_secret = |it: &Entry| {
        let sensitive = it.value.entry("sensitive").map(|it| &it.value.value);
        !matches!(sensitive, None | Some(Value::Bool(false)))
    };
    let all: Vec<_> = roots.iter().flat_map(|it| variables(it)).collect();
    let secrets: BTreeSet<_> =
        all.iter().filter(|it| is_secret(it)).map(|it| it.key.as_str()).collect();
    let mut spans = Vec::new();
    for variable in all.iter().filter(|it| secrets.contains(it.key.as_str())) {
        for key in ["default", "choices"] {
            if let Some(entry) = variable.value.entry(key) {
                all_of(&entry.value, &mut spans);
            }
        }
    }
    // Where the matrix sets a secret, by mistake.
    for axis in roots.iter().filter_map(|it| it.entry("matrix")).flat_map(|it| it.value.entries()) {
        if secrets.contains(axis.key.as_str()) {
            all_of(&axis.value, &mut spans);
        }
    }
    spans
}

/// What may be a secret in a text that cannot be read.
fn secret_lines(text: &str) -> Vec<Range<usize>> {
    if !text.contains("sensitive") {
        return Vec::new();
    }
    let mut spans = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(at) = line.find("default") {
            let rest = line.get(at..).unwrap_or_default();
            if let Some(mark) = rest.find(['=', ':']) {
                spans.push(start + at + mark + 1..start + line.len());
            }
        }
        start += line.len();
    }
    spans
}
