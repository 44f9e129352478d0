//! Import: specs from what people have.
//!
//! Descriptions for Oz (TDL), Packer's templates (HCL and JSON) and the command
//! lines of nova-image-builder's programs become a [`Draft`] each, which is
//! written as a spec with its answer file. What does not carry over is listed;
//! what nothing can be made of is an error. Files are read by the caller.

mod draft;
mod packer;
mod seed;
mod tdl;

use miette::Diagnostic;
use thiserror::Error;

use crate::catalogue::Catalogue;

/// The files beside the one that is imported.
pub trait Files {
    /// The text of a file, by its path from the imported file's folder.
    fn read(&self, path: &str) -> Option<String>;
    /// The names of the files in that folder.
    fn names(&self) -> Vec<String>;
}

/// What is known beside the imported file.
pub struct Context<'a> {
    /// The operating systems.
    pub catalogue: &'a Catalogue,
    /// The files beside it.
    pub files: &'a dyn Files,
    /// The system it is for, where the user says so.
    pub os: Option<&'a str>,
    /// Values of Packer's variables, later ones winning.
    pub variables: &'a [(String, String)],
    /// Texts of Packer's variable files, by their names.
    pub variable_files: &'a [(String, String)],
}

/// A spec that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The image's name, and the spec's.
    pub name: String,
    /// The spec, in TOML.
    pub spec: String,
    /// Answer files and the like, by their names beside the spec.
    pub files: Vec<(String, String)>,
    /// What was changed and what does not carry over, a line each.
    pub notes: Vec<String>,
}

/// Why no spec can be made.
#[derive(Debug, Error, Diagnostic)]
pub enum ImportError {
    /// The file is of no kind that is known.
    #[error("`{0}` is nothing that can be imported")]
    #[diagnostic(
        code(imgbuild::import::unknown),
        help(
            "what can: Oz TDL (.tdl, .xml), Packer templates (.pkr.hcl, .json), and after `--` the \
             command lines `nova-install …` and `create_image.py …`; answer files need no import: \
             `imgbuild init --from FILE`"
        )
    )]
    Unknown(String),
    /// The file cannot be read as what it is.
    #[error("{name}:{line}: {message}")]
    #[diagnostic(code(imgbuild::import::syntax), help("mend the file, or check its name"))]
    Syntax {
        /// The file.
        name: String,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Something in it has no counterpart.
    #[error("{}{what}", place.as_ref().map_or_else(String::new, |it| format!("{}:{}: ", it.0, it.1)))]
    #[diagnostic(code(imgbuild::import::no_counterpart))]
    NoCounterpart {
        /// What cannot be carried over.
        what: String,
        /// What to do instead.
        #[help]
        help: String,
        /// What it is about, as it stands in the file.
        mark: Option<String>,
        /// The file and the line, counted from 1.
        place: Option<(String, usize)>,
    },
}

impl ImportError {
    fn no_counterpart(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::NoCounterpart { what: what.into(), help: help.into(), mark: None, place: None }
    }

    /// Names what it is about, as it stands in the file.
    fn about(mut self, word: impl Into<String>) -> Self {
        if let Self::NoCounterpart { mark, .. } = &mut self {
            mark.get_or_insert_with(|| word.into());
        }
        self
    }

    /// Finds the line that it is about: the first from this one on that has its
    /// mark, or else this one itself.
    fn placed(mut self, name: &str, text: &str, from: usize) -> Self {
        if let Self::NoCounterpart { mark, place: place @ None, .. } = &mut self {
            let has = |line: &str| mark.as_ref().is_some_and(|it| line.contains(it.as_str()));
            let mut lines = text.lines().enumerate().skip(from.saturating_sub(1));
            let line = lines.find(|it| has(it.1)).map_or(from, |it| it.0 + 1);
            *place = (line > 0).then(|| (name.to_owned(), line));
        }
        self
    }
}

/// Makes specs of a file: several where it describes several images.
pub fn file(name: &str, text: &str, cx: &Context<'_>) -> Result<Vec<Imported>, ImportError> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if start.starts_with('<') {
        let imported = tdl::import(name, text, cx);
        return Ok(vec![imported.map_err(|it| it.placed(name, text, 0))?]);
    }
    if name.ends_with(".hcl") {
        return packer::import_hcl(name, text, cx);
    }
    if start.starts_with('{') {
        return packer::import_json(name, text, cx);
    }
    Err(ImportError::Unknown(name.to_owned()))
}

/// Makes a spec of a command line of `nova-install` or `create_image.py`.
pub fn command(words: &[String], cx: &Context<'_>) -> Result<Imported, ImportError> {
    seed::import(words, cx)
}
