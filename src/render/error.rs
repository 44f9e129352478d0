//! What can go wrong when an answer file is rendered.

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

/// An answer file could not be rendered.
#[derive(Debug, Error, Diagnostic)]
pub enum RenderError {
    /// There is no such file beside the spec, nor among the built-in ones.
    #[error("there is no template `{name}`")]
    #[diagnostic(
        code(imgbuild::render::no_template),
        help("templates are looked for in the spec's folder, then among the built-in ones")
    )]
    NoTemplate {
        /// As the spec names it.
        name: String,
    },
    /// A name that leads out of the spec's folder.
    #[error("`{name}` leads out of the spec's folder")]
    #[diagnostic(
        code(imgbuild::render::outside),
        help("name a file in that folder, without a leading `/` and without `..`")
    )]
    Outside {
        /// As it was written.
        name: String,
    },
    /// The template is wrong, or uses what is not there.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Template(#[from] Box<TemplateMistake>),
}

/// A mistake in a template, with its place.
#[derive(Debug, Error, Diagnostic)]
#[error("{message}")]
#[diagnostic(code(imgbuild::render::template))]
pub struct TemplateMistake {
    /// What is wrong. Secrets are masked.
    pub message: String,
    /// The template's name.
    pub name: String,
    /// The template. Secrets are masked.
    #[source_code]
    pub text: NamedSource<String>,
    /// The place in it.
    #[label("here")]
    pub at: SourceSpan,
    /// Line from 1.
    pub line: usize,
    /// Column in characters from 1.
    pub column: usize,
    /// What to do.
    #[help]
    pub help: Option<String>,
}
