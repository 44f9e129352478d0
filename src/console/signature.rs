//! One console message and what it means.
//!
//! What a signature says is checked when it is read, with the examples it comes
//! with, so that a pattern that does not match what it claims to match is never
//! used.

use std::{collections::BTreeMap, str::FromStr as _, time::Duration};

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Cause, Phase, Verdict, debconf, pattern::Pattern};
use crate::{
    catalogue::{self, InstallerKind},
    units::Span,
};

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
    /// A more precise one nearby is the better explanation, and an installer that
    /// reaches another phase has got over it.
    pub weak: bool,
    /// Names of those that it shows to be over.
    pub settles: Vec<String>,
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
    /// In the installer's own log, where it explains what the console announced.
    Log,
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

/// A signature as it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of its own in the data")]
pub(super) struct Entry {
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
    settles: Vec<String>,
    #[serde(default)]
    emulator: bool,
    counts: Option<String>,
    machine: Option<MachineEnd>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    counter_examples: Vec<String>,
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
    /// It settles something that is not there.
    #[error("signature `{id}` settles `{other}`, which does not exist")]
    #[diagnostic(code(imgbuild::console::settles), help("name the `id` of another signature"))]
    Settles {
        /// Which.
        id: String,
        /// What it names.
        other: String,
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

/// How long a question may stand unanswered where its signature says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

impl Signature {
    pub(super) fn new(
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
                Pattern::of_regex(source, entry.wraps)
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
            settles: entry.settles,
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
            settles: Vec::new(),
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
        match self.pattern.matches_nothing() {
            Ok(false) => {}
            Ok(true) => return Err(SignatureError::Empty { id: self.id }),
            Err(source) => {
                return Err(SignatureError::Regex { id: self.id, source: Box::new(source) });
            }
        }
        let groups = self.pattern.groups();
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
        self.pattern.wraps()
    }

    /// Whether the text is this message.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        self.pattern.is_match(text)
    }

    /// Where the text is this message, of a pattern that may be broken over lines.
    pub(super) fn place(&self, text: &[u8]) -> Option<std::ops::Range<usize>> {
        self.pattern.place(text)
    }

    /// What the groups of the pattern matched in the text.
    pub(super) fn captures(&self, text: &[u8]) -> BTreeMap<String, String> {
        self.pattern.captures(text)
    }

    /// Whether the pattern has groups.
    pub(super) fn has_groups(&self) -> bool {
        self.pattern.has_groups()
    }

    /// The texts of which one must be there for it to match; none where any
    /// text may do.
    pub(super) fn required(&self) -> Vec<Vec<u8>> {
        self.pattern.required()
    }

    /// Whether it is that of the steps of debian-installer's text frontend.
    pub(super) fn is_step(&self) -> bool {
        matches!(self.pattern, Pattern::Step)
    }
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

/// The text with what the groups matched in place of their names; nothing stands
/// for a group of another alternative.
pub(super) fn fill(text: &str, captures: &BTreeMap<String, String>) -> String {
    let filled =
        catalogue::fill(text, |name| Some(captures.get(name).cloned().unwrap_or_default()));
    // What would have been named at the end is not.
    filled.trim_end_matches([' ', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_match_is_not_named() {
        let captures = [("what".to_owned(), "busybox".to_owned())].into();
        for (text, expected) in [
            (
                "package {what}{package} could not be installed",
                "package busybox could not be installed",
            ),
            ("packages are missing: {package}{list}", "packages are missing"),
            ("add mountpoint{ / } to it", "add mountpoint{ / } to it"),
        ] {
            assert_eq!(fill(text, &captures), expected);
        }
    }
}
