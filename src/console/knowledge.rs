//! Signatures of console messages, read from data.
//!
//! Every message that imgbuild understands is an entry in a file under
//! `data/console`; a spec may bring its own in the same form. What a signature
//! says is checked when it is read, with the examples it comes with, so that a
//! pattern that does not match what it claims to match is never used.

use std::{
    collections::{BTreeMap, HashSet},
    str::FromStr as _,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use include_dir::{Dir, include_dir};
use miette::Diagnostic;
use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Cause, Phase, Verdict, debconf, index::Index, literals, stream::Line};
use crate::{catalogue::InstallerKind, model::VerifyCondition, units::Span};

static DATA: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/data/console");

/// Signatures, and how to find those that may match a line.
#[derive(Debug)]
pub struct Knowledge {
    signatures: Vec<Signature>,
    installers: BTreeMap<InstallerKind, InstallerEnd>,
    index: Index,
    /// The signature of steps, which are so many that they are not looked for.
    step: Option<usize>,
}

/// One message and what it means. Texts may name groups of the pattern in
/// braces, such as `{package}`.
#[derive(Debug)]
pub struct Signature {
    /// Its name, unique: `anaconda/kickstart-fetched`.
    pub id: String,
    /// The installer it belongs to; any where there is none.
    pub installer: Option<InstallerKind>,
    /// What the message says, in plain English.
    pub meaning: String,
    /// The phase the installer is in when it says so.
    pub phase: Option<Phase>,
    /// What follows from it.
    pub verdict: Verdict,
    /// Where the cause of the failure lies.
    pub cause: Option<Cause>,
    /// What to do.
    pub remedy: Option<String>,
    /// The line of the answer file that would have prevented it.
    pub directive: Option<String>,
    /// Where the text was found.
    pub source: String,
    /// When it counts.
    pub scope: Scope,
    /// How long the console must be silent afterwards before it counts.
    pub after: Duration,
    /// A more precise one nearby is the better explanation.
    pub weak: bool,
    /// A fault of the emulator may look like this.
    pub emulator: bool,
    /// What `done` and `total` count.
    pub counts: Option<String>,
    /// How the machine goes off after it.
    pub machine: Option<MachineEnd>,
    /// Lines it must match.
    pub examples: Vec<String>,
    /// Lines it must not match.
    pub counter_examples: Vec<String>,
    pattern: Pattern,
}

/// When a signature counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Always.
    #[default]
    Any,
    /// While the installer runs.
    Install,
    /// When the result is booted.
    Verify,
}

/// How a machine goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineEnd {
    /// It switches itself off.
    PoweredOff,
    /// It starts again.
    Rebooted,
    /// It stops and stays on.
    Halted,
}

/// How an installer ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct InstallerEnd {
    /// Its name for people.
    pub title: String,
    /// A machine that goes off in this phase or later was installed.
    pub complete: Phase,
    /// What to write in the answer file so that the machine goes off at the end.
    pub power_off: String,
    /// What it does where the answer file says nothing about the end.
    pub by_default: String,
}

/// How a signature is recognised.
#[derive(Debug)]
enum Pattern {
    /// The line is this text.
    Line(Vec<u8>),
    /// The text is in the line.
    Text(Vec<u8>),
    /// A step of debian-installer's text frontend, `Title  ... 3%... 40%`. There
    /// are so many of them that a regex would be most of the work.
    Step,
    /// A regex, compiled when it is first needed.
    Regex { source: String, regex: OnceLock<Option<Regex>>, wraps: bool },
}

/// A signature as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the data")]
struct Entry {
    id: String,
    pattern: Option<String>,
    text: Option<String>,
    /// Matches the steps of debian-installer's text frontend, instead of a pattern.
    #[serde(default)]
    step: bool,
    /// Text screens break it over several lines.
    #[serde(default)]
    wraps: bool,
    meaning: String,
    phase: Option<String>,
    verdict: Verdict,
    cause: Option<Cause>,
    remedy: Option<String>,
    directive: Option<String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    scope: Scope,
    after: Option<Span>,
    #[serde(default)]
    weak: bool,
    #[serde(default)]
    emulator: bool,
    counts: Option<String>,
    machine: Option<MachineEnd>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counter_examples: Vec<String>,
}

/// A file under `data/console`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    installer: Option<InstallerKind>,
    ends: Option<InstallerEnd>,
    #[serde(default)]
    signature: Vec<Entry>,
}

/// What is wrong with a signature.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum SignatureError {
    /// A data file cannot be read at all.
    #[error("console knowledge `{file}` cannot be read")]
    #[diagnostic(code(imgbuild::console::file))]
    File {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// An entry does not have the form of a signature.
    #[error("console signature {number} cannot be read")]
    #[diagnostic(
        code(imgbuild::console::form),
        help("a signature has at least `id`, `pattern` or `text`, `meaning` and `verdict`")
    )]
    Form {
        /// Its position, from 1.
        number: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Neither or both of `pattern` and `text`.
    #[error("signature `{id}` needs either `pattern` or `text`")]
    #[diagnostic(
        code(imgbuild::console::pattern_or_text),
        help("`text` is looked for as it stands, `pattern` is a regex")
    )]
    PatternOrText {
        /// Which.
        id: String,
    },
    /// The pattern is not a regex.
    #[error("the pattern of signature `{id}` is not a regex")]
    #[diagnostic(code(imgbuild::console::regex), help("see https://docs.rs/regex for the syntax"))]
    Regex {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// A pattern that matches everything.
    #[error("the pattern of signature `{id}` matches an empty line")]
    #[diagnostic(code(imgbuild::console::empty), help("name the text that the line must have"))]
    Empty {
        /// Which.
        id: String,
    },
    /// A text that may be broken over lines cannot start or end with one.
    #[error("signature `{id}` wraps, but its pattern is tied to the start or end of a line")]
    #[diagnostic(code(imgbuild::console::wraps), help("leave `^` and `$` out, or `wraps`"))]
    Tied {
        /// Which.
        id: String,
    },
    /// Two have the same name.
    #[error("there are two signatures `{id}`")]
    #[diagnostic(code(imgbuild::console::twice), help("give each its own `id`"))]
    Twice {
        /// Which.
        id: String,
    },
    /// The phase does not exist.
    #[error("the phase of signature `{id}` does not exist")]
    #[diagnostic(code(imgbuild::console::phase))]
    Phase {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: super::UnknownPhase,
    },
    /// `stalled` is silence: without a length it says nothing.
    #[error("signature `{id}` has the verdict `stalled` and no `after`")]
    #[diagnostic(
        code(imgbuild::console::verdict),
        help("say with `after` for how long nothing may follow the line, or use another verdict")
    )]
    Stalled {
        /// Which.
        id: String,
    },
    /// An example does not match, or a counter-example does.
    #[error("signature `{id}` {} `{line}`", if *.must_match { "does not match its example" } else { "matches its counter-example" })]
    #[diagnostic(code(imgbuild::console::example))]
    Example {
        /// Which.
        id: String,
        /// The line.
        line: String,
        /// Whether it should have matched.
        must_match: bool,
    },
    /// A text names a group that the pattern does not have.
    #[error("signature `{id}` names `{{{group}}}`, which is not a group of its pattern")]
    #[diagnostic(code(imgbuild::console::group), help("write `(?P<{group}>…)` in the pattern"))]
    Group {
        /// Which.
        id: String,
        /// The name.
        group: String,
    },
}

/// The name of the signature made of a spec's verify pattern.
pub const CONDITION: &str = "verify/condition";

/// How long a question may stand unanswered where its signature says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

impl Knowledge {
    /// What is built in, for every installer.
    pub fn builtin() -> Result<Self, Vec<SignatureError>> {
        Self::with(&[])
    }

    /// What is built in and a spec's own signatures
    /// ([`Build::console`](crate::model::Build::console)). All mistakes at once.
    pub fn with(own: &[serde_json::Value]) -> Result<Self, Vec<SignatureError>> {
        let mut errors = Vec::new();
        let mut signatures = own_signatures(own, &mut errors);
        let mut installers = BTreeMap::new();
        let mut files: Vec<_> = DATA.files().collect();
        files.sort_by_key(|it| it.path());
        for file in files {
            let name = file.path().display().to_string();
            let text = file.contents_utf8().unwrap_or_default();
            if name == debconf::FILE {
                match debconf::signatures(text) {
                    Ok(mut found) => signatures.append(&mut found),
                    Err(source) => {
                        errors.push(SignatureError::File { file: name, source: Box::new(source) });
                    }
                }
                continue;
            }
            match toml::from_str::<File>(text) {
                Ok(file) => {
                    if let (Some(kind), Some(ends)) = (file.installer, file.ends) {
                        installers.insert(kind, ends);
                    }
                    for entry in file.signature {
                        match Signature::new(entry, file.installer, &name) {
                            Ok(signature) => signatures.push(signature),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(source) => {
                    errors.push(SignatureError::File { file: name, source: Box::new(source) });
                }
            }
        }
        let mut ids = HashSet::new();
        for signature in &signatures {
            if !ids.insert(signature.id.as_str()) {
                errors.push(SignatureError::Twice { id: signature.id.clone() });
            }
        }
        let required: Vec<_> = signatures.iter().map(|it| it.pattern.required()).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let step = signatures.iter().position(|it| matches!(it.pattern, Pattern::Step));
        Ok(Self { index: Index::new(&required), step, signatures, installers })
    }

    /// The same, in memory once for all who ask for the same: it is large, and
    /// many builds may be at work at once.
    pub fn shared(own: &[serde_json::Value]) -> Result<Arc<Self>, Vec<SignatureError>> {
        static KNOWN: Mutex<BTreeMap<String, Weak<Knowledge>>> = Mutex::new(BTreeMap::new());
        let key = own.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(knowledge) = known.get(&key).and_then(Weak::upgrade) {
            return Ok(knowledge);
        }
        let knowledge = Arc::new(Self::with(own)?);
        known.retain(|_, it| it.strong_count() > 0);
        known.insert(key, Arc::downgrade(&knowledge));
        Ok(knowledge)
    }

    /// What is built in, a spec's own signatures, and the pattern that its result
    /// is verified with, as the signature [`CONDITION`]; shared as well.
    pub fn for_verify(
        own: &[serde_json::Value],
        condition: &VerifyCondition,
    ) -> Result<Arc<Self>, Vec<SignatureError>> {
        let mut own = own.to_vec();
        if let VerifyCondition::Console(pattern) = condition {
            own.push(serde_json::json!({
                "id": CONDITION, "pattern": pattern, "meaning": "the console says what the spec waits for",
                "verdict": "ended-well", "phase": "login", "scope": "verify",
            }));
        }
        Self::shared(&own)
    }

    /// Checks a spec's own signatures, without reading what is built in.
    pub fn check(own: &[serde_json::Value]) -> Vec<SignatureError> {
        let mut errors = Vec::new();
        own_signatures(own, &mut errors);
        errors
    }

    /// Every signature.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// How an installer ends, where that is known.
    pub fn ends(&self, installer: InstallerKind) -> Option<&InstallerEnd> {
        self.installers.get(&installer)
    }

    /// The signature at an index that [`Self::candidates`] gave.
    pub(super) fn signature(&self, index: usize) -> Option<&Signature> {
        self.signatures.get(index)
    }

    /// The signatures that may match a line, in order.
    pub(super) fn candidates(&self, line: Line<'_>, found: &mut Vec<usize>) {
        if line.is_step {
            found.clear();
            found.extend(self.step);
        } else {
            self.index.candidates(line.text, found);
        }
    }
}

fn own_signatures(own: &[serde_json::Value], errors: &mut Vec<SignatureError>) -> Vec<Signature> {
    let mut signatures = Vec::new();
    for (index, value) in own.iter().enumerate() {
        let number = index + 1;
        let signature = Entry::deserialize(value)
            .map_err(|source| SignatureError::Form { number, source })
            .and_then(|it| Signature::new(it, None, "the spec"))
            .and_then(Signature::verified);
        match signature {
            Ok(signature) => signatures.push(signature),
            Err(error) => errors.push(error),
        }
    }
    signatures
}

impl Signature {
    fn new(
        entry: Entry,
        installer: Option<InstallerKind>,
        file: &str,
    ) -> Result<Self, SignatureError> {
        let id = entry.id;
        let pattern = match (entry.pattern, entry.text) {
            (None, None) if entry.step => Pattern::Step,
            (Some(pattern), None) => {
                if entry.wraps && (pattern.starts_with('^') || pattern.ends_with('$')) {
                    return Err(SignatureError::Tied { id });
                }
                // A line break is a space like any other.
                let source = if entry.wraps { pattern.replace(' ', r"\s+") } else { pattern };
                Pattern::Regex { source, regex: OnceLock::new(), wraps: entry.wraps }
            }
            (None, Some(text)) if entry.wraps => Pattern::wrapped(&text),
            (None, Some(text)) => Pattern::Text(text.into_bytes()),
            _ => return Err(SignatureError::PatternOrText { id }),
        };
        let phase = entry.phase.map(|it| Phase::from_str(&it)).transpose();
        let phase = match phase {
            Ok(phase) => phase,
            Err(source) => return Err(SignatureError::Phase { id, source }),
        };
        if entry.verdict == Verdict::Stalled && entry.after.is_none() {
            return Err(SignatureError::Stalled { id });
        }
        let after = entry.after.map_or(
            if entry.verdict == Verdict::WaitsForInput { PATIENCE } else { Duration::ZERO },
            Span::duration,
        );
        Ok(Self {
            id,
            installer,
            meaning: entry.meaning,
            phase,
            verdict: entry.verdict,
            cause: entry.cause,
            remedy: entry.remedy,
            directive: entry.directive,
            source: if entry.source.is_empty() { file.to_owned() } else { entry.source },
            scope: entry.scope,
            after,
            weak: entry.weak,
            emulator: entry.emulator,
            counts: entry.counts,
            machine: entry.machine,
            examples: entry.examples,
            counter_examples: entry.counter_examples,
            pattern,
        })
    }

    /// A question or an error of debconf, known by the text it shows.
    pub(super) fn of_debconf(question: &debconf::Question) -> Self {
        let pattern = question.pattern();
        let debconf::Question { name, kind, cause, phase, .. } = question;
        let error = kind == "error";
        Self {
            id: format!("debconf/{name}"),
            installer: Some(InstallerKind::DebianInstaller),
            meaning: question.meaning(),
            phase: *phase,
            verdict: if error { Verdict::EndedBadly } else { Verdict::WaitsForInput },
            cause: Some(*cause),
            remedy: Some(question.remedy()),
            directive: question.directive(),
            source: question.source(),
            scope: Scope::Install,
            after: if error { debconf::ERROR_PATIENCE } else { PATIENCE },
            // What is written by hand knows more.
            weak: error,
            emulator: false,
            counts: None,
            machine: None,
            examples: vec![question.example()],
            counter_examples: Vec::new(),
            pattern,
        }
    }

    /// Compiles the pattern and tries it on the examples.
    pub fn verified(self) -> Result<Self, SignatureError> {
        if let Pattern::Regex { source, .. } = &self.pattern {
            let regex = compile(source).map_err(|source| SignatureError::Regex {
                id: self.id.clone(),
                source: Box::new(source),
            })?;
            if regex.is_match(b"") {
                return Err(SignatureError::Empty { id: self.id });
            }
        } else if matches!(&self.pattern, Pattern::Text(text) if text.is_empty()) {
            return Err(SignatureError::Empty { id: self.id });
        }
        let groups = self.groups();
        let texts = [Some(&self.meaning), self.remedy.as_ref(), self.directive.as_ref()];
        for text in texts.into_iter().flatten() {
            if let Some(group) = names(text).find(|it| !groups.iter().any(|group| group == it)) {
                return Err(SignatureError::Group { group: group.to_owned(), id: self.id });
            }
        }
        for (lines, must_match) in [(&self.examples, true), (&self.counter_examples, false)] {
            for line in lines {
                // An example shows the line as a console does, perhaps broken.
                let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
                if (self.is_match(line.as_bytes()) || self.is_match(text.as_bytes())) != must_match
                {
                    return Err(SignatureError::Example {
                        id: self.id,
                        line: line.clone(),
                        must_match,
                    });
                }
            }
        }
        Ok(self)
    }

    /// Whether the message may be broken over several lines.
    pub(super) fn wraps(&self) -> bool {
        matches!(self.pattern, Pattern::Regex { wraps: true, .. })
    }

    /// Whether the text is this message.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        match &self.pattern {
            Pattern::Line(line) => line == text,
            Pattern::Text(part) => memchr::memmem::find(text, part).is_some(),
            Pattern::Step => step(text).is_some(),
            Pattern::Regex { .. } => self.pattern.regex().is_some_and(|it| it.is_match(text)),
        }
    }

    /// Where the text is this message, of a pattern that may be broken over lines.
    pub(super) fn place(&self, text: &[u8]) -> Option<std::ops::Range<usize>> {
        Some(self.pattern.regex()?.find(text)?.range())
    }

    /// What the groups of the pattern matched in the text.
    pub(super) fn captures(&self, text: &[u8]) -> BTreeMap<String, String> {
        if matches!(self.pattern, Pattern::Step) {
            let Some((what, percent)) = step(text) else { return BTreeMap::new() };
            return [("what", what), ("percent", percent)]
                .map(|(name, it)| (name.to_owned(), String::from_utf8_lossy(it).into_owned()))
                .into();
        }
        let regex = self.pattern.regex().filter(|it| it.captures_len() > 1);
        regex.and_then(|it| Some(captured(it, &it.captures(text)?))).unwrap_or_default()
    }

    /// Whether the pattern has groups.
    pub(super) fn has_groups(&self) -> bool {
        matches!(self.pattern, Pattern::Step)
            || self.pattern.regex().is_some_and(|it| it.captures_len() > 1)
    }

    fn groups(&self) -> Vec<String> {
        self.pattern
            .regex()
            .into_iter()
            .flat_map(Regex::capture_names)
            .flatten()
            .map(str::to_owned)
            .collect()
    }

    /// The texts of which one must be there for it to match; none where any
    /// text may do.
    #[cfg(test)]
    fn required(&self) -> Vec<Vec<u8>> {
        self.pattern.required()
    }
}

impl Pattern {
    /// A line that is exactly this text.
    pub(super) fn line(text: &str) -> Self {
        Self::Line(text.as_bytes().to_vec())
    }

    /// A text that may be broken over several lines.
    fn wrapped(text: &str) -> Self {
        Self::of_regex(regex::escape(text).replace(' ', r"\s+"), true)
    }

    fn of_regex(source: String, wraps: bool) -> Self {
        Self::Regex { source, regex: OnceLock::new(), wraps }
    }

    fn regex(&self) -> Option<&Regex> {
        let Self::Regex { source, regex, .. } = self else { return None };
        regex.get_or_init(|| compile(source).ok()).as_ref()
    }

    fn required(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Line(text) | Self::Text(text) => vec![text.clone()],
            Self::Step => vec![b"... ".to_vec()],
            Self::Regex { source, .. } => literals::required(source).unwrap_or_default(),
        }
    }
}

impl debconf::Question {
    fn pattern(&self) -> Pattern {
        match self.shape() {
            debconf::Shape::Line(text) => Pattern::line(&text),
            debconf::Shape::Regex(source) => Pattern::of_regex(source, false),
            debconf::Shape::Wrapped(source) => Pattern::of_regex(source, true),
        }
    }
}

/// The title and the hundredths of a step.
fn step(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_suffix(b"%")?;
    let digits = rest.iter().rev().take_while(|it| it.is_ascii_digit()).count();
    let (before, percent) = rest.split_at_checked(rest.len().checked_sub(digits)?)?;
    let title = text.get(..memchr::memmem::find(text, b" ... ")?)?;
    let is_step = (1..=3).contains(&digits)
        && before.ends_with(b"... ")
        && title.first().is_some_and(u8::is_ascii_uppercase);
    is_step.then_some((title.trim_ascii_end(), percent))
}

fn compile(source: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).unicode(false).size_limit(1 << 20).build()
}

fn captured(regex: &Regex, captures: &Captures<'_>) -> BTreeMap<String, String> {
    regex
        .capture_names()
        .flatten()
        .filter_map(|name| {
            let text = captures.name(name)?.as_bytes();
            Some((name.to_owned(), String::from_utf8_lossy(text).into_owned()))
        })
        .collect()
}

/// The names in braces in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|it| {
        let (name, _) = it.split_once('}')?;
        let is_name =
            !name.is_empty() && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
        is_name.then_some(name)
    })
}

/// The text with what the groups matched in place of their names.
pub(super) fn fill(text: &str, captures: &BTreeMap<String, String>) -> String {
    captures
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_built_in_signature_matches_its_examples() {
        let knowledge = Knowledge::builtin().unwrap();
        let mut faults = Vec::new();
        let count = knowledge.signatures.len();
        for signature in knowledge.signatures {
            if signature.examples.is_empty() {
                faults.push(format!("`{}` has no example", signature.id));
            }
            if signature.required().iter().all(|it| it.len() < Index::SHORTEST) {
                faults.push(format!("`{}` has no fixed text of four characters", signature.id));
            }
            if signature.verdict == Verdict::EndedBadly
                && (signature.cause.is_none() || signature.remedy.is_none())
            {
                faults.push(format!("`{}` has no cause or no remedy", signature.id));
            }
            if let Err(error) = signature.verified() {
                faults.push(miette::Report::new(error).to_string());
            }
        }
        assert!(
            faults.is_empty(),
            "{} of {count} signatures:\n{}",
            faults.len(),
            faults.join("\n")
        );
    }

    #[test]
    fn every_installer_says_how_it_ends() {
        let knowledge = Knowledge::builtin().unwrap();
        for installer in [
            InstallerKind::Anaconda,
            InstallerKind::DebianInstaller,
            InstallerKind::Autoyast,
            InstallerKind::Agama,
            InstallerKind::Subiquity,
        ] {
            assert!(knowledge.ends(installer).is_some(), "{installer:?}");
        }
    }

    #[test]
    fn a_mistake_in_a_users_signature_is_named() {
        let signature = |more: serde_json::Value| {
            let mut value = json!({"id": "mine", "meaning": "x", "verdict": "ended-badly"});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        };
        for (value, expected) in [
            (json!({"id": "mine"}), "signature 1 cannot be read"),
            (signature(json!({})), "needs either `pattern` or `text`"),
            (signature(json!({"pattern": "(", "remedy": "y"})), "is not a regex"),
            (signature(json!({"pattern": "x*"})), "matches an empty line"),
            (signature(json!({"text": ""})), "matches an empty line"),
            (signature(json!({"pattern": "^x", "wraps": true})), "tied to the start"),
            (signature(json!({"text": "x", "phase": "packing"})), "does not exist"),
            (signature(json!({"text": "x", "verdict": "stalled"})), "no `after`"),
            (signature(json!({"text": "x", "examples": ["y"]})), "does not match its example `y`"),
            (
                signature(json!({"text": "x", "counter-examples": ["xy"]})),
                "matches its counter-example `xy`",
            ),
            (signature(json!({"text": "x", "remedy": "mend {it}"})), "names `{it}`"),
            (signature(json!({"text": "x", "sauce": 1})), "cannot be read"),
        ] {
            let errors = Knowledge::check(std::slice::from_ref(&value));
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert!(text.len() == 1 && text[0].contains(expected), "{value}: {text:?}");
        }
        let twice = signature(json!({"text": "x"}));
        let errors = Knowledge::with(&[twice.clone(), twice]).unwrap_err();
        assert!(errors[0].to_string().contains("two signatures `mine`"), "{errors:?}");
    }
}
