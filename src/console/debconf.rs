//! The questions and errors of debian-installer, by the text they show.
//!
//! `data/console/debconf.toml` is made from the templates of the installer's
//! components by `tests/consoles/debconf.py`. With it a question that nobody
//! answers is named as a preseed names it.

use std::time::Duration;

use serde::Deserialize;

use super::{Cause, Phase, signature::Signature};

/// The file that holds them.
pub(super) const FILE: &str = "debconf.toml";
/// An error shows its explanation a moment after its title, and then waits.
pub(super) const ERROR_PATIENCE: Duration = Duration::from_secs(2);
/// Text screens are 60 to 79 columns wide: a longer text is broken somewhere.
const WRAPPED_FROM: usize = 56;
/// Such a short text is an error only where the text frontend says so.
const TELLING_FROM: usize = 12;

/// One question, or error.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Question {
    /// `partman-auto/method`
    pub(super) name: String,
    /// Other questions with the same text.
    #[serde(default)]
    others: Vec<String>,
    /// `select`, `string`, `boolean`, `error` …
    pub(super) kind: String,
    /// What is shown, with `${NAME}` for what varies.
    text: String,
    /// The component it comes from.
    package: String,
    pub(super) phase: Option<Phase>,
    pub(super) cause: Cause,
    /// The line that answers it, where it is not made of name and kind.
    answer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    question: Vec<Question>,
}

/// How the text of a question appears.
pub(super) enum Shape {
    /// As a line of its own.
    Line(String),
    /// As a line that the regex describes.
    Regex(String),
    /// Broken over lines.
    Wrapped(String),
}

/// A signature for each question in the file.
pub(super) fn signatures(text: &str) -> Result<Vec<Signature>, toml::de::Error> {
    let file: File = toml::from_str(text)?;
    Ok(file.question.iter().map(Signature::of_debconf).collect())
}

impl Question {
    pub(super) fn shape(&self) -> Shape {
        let varies = self.text.contains("${");
        if self.text.len() >= WRAPPED_FROM {
            return Shape::Wrapped(escaped(&self.text).replace(' ', r"\s+"));
        }
        if self.kind == "error" {
            let prefix =
                if self.text.len() < TELLING_FROM { "!! ERROR: " } else { "(?:!! ERROR: )?" };
            return Shape::Regex(format!("^{prefix}{}$", escaped(&self.text)));
        }
        if varies {
            return Shape::Regex(format!("^{}$", escaped(&self.text)));
        }
        Shape::Line(self.text.clone())
    }

    pub(super) fn meaning(&self) -> String {
        let text = self.text.trim_end_matches(':').replace("${", "").replace('}', "");
        if self.kind == "error" {
            format!("the installer stopped with \"{text}\" ({})", self.name)
        } else {
            format!("the installer asks \"{text}\" ({}) and nobody answers", self.name)
        }
    }

    pub(super) fn remedy(&self) -> String {
        match self.cause {
            _ if self.kind != "error" => {
                let others = if self.others.is_empty() {
                    String::new()
                } else {
                    format!(" ({} show the same text)", self.others.join(", "))
                };
                format!("answer {} in the preseed{others}", self.name)
            }
            Cause::Network => {
                "look at the network of the machine and at the netcfg lines of the preseed"
                    .to_owned()
            }
            Cause::Mirror => "choose another mirror, and look at what it answers".to_owned(),
            Cause::Storage => {
                "look at the size of the disk and at the partman lines of the preseed".to_owned()
            }
            Cause::Memory => "give the machine more memory".to_owned(),
            Cause::Package => {
                "a package is missing, damaged or does not fit: choose another mirror, \
                               and see the installer's syslog for which one it is"
                    .to_owned()
            }
            Cause::AnswerFile => "correct the preseed".to_owned(),
            _ => "see the installer's syslog for the details".to_owned(),
        }
    }

    pub(super) fn directive(&self) -> Option<String> {
        if self.answer.is_some() || self.kind == "error" {
            return self.answer.clone();
        }
        let value = match self.kind.as_str() {
            "boolean" => "true",
            "note" => return Some(format!("d-i {} note", self.name)),
            _ => "...",
        };
        Some(format!("d-i {} {} {value}", self.name, self.kind))
    }

    pub(super) fn source(&self) -> String {
        format!("templates of {}, Debian 13", self.package)
    }

    /// The text as it may be shown.
    pub(super) fn example(&self) -> String {
        let text =
            pieces(&self.text).into_iter().map(|it| it.unwrap_or("something")).collect::<String>();
        if self.kind == "error" { format!("!! ERROR: {text}") } else { text }
    }
}

/// The text as a regex, with anything for what varies.
fn escaped(text: &str) -> String {
    pieces(text).into_iter().map(|it| it.map_or_else(|| ".*?".to_owned(), regex::escape)).collect()
}

/// The fixed pieces of a text, with `None` for each variable between them.
fn pieces(text: &str) -> Vec<Option<&str>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        pieces.push(Some(before));
        pieces.push(None);
        rest = after.split_once('}').map_or("", |(_, it)| it);
    }
    pieces.push(Some(rest));
    pieces
}
