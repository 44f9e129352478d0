//! What can be wrong with a file of the catalogue.

use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error;

/// Why a file with operating systems cannot be used.
#[derive(Debug, Error, Diagnostic)]
#[non_exhaustive]
pub enum CatalogueError {
    /// It is not TOML, or a key or a type is wrong.
    #[error("{message}")]
    #[diagnostic(
        code(catalogue::format),
        help(
            "`imgbuild os show ID` prints a system that is right; ARCHITECTURE.md tells the format"
        )
    )]
    Format {
        /// What is wrong.
        message: String,
        /// The file.
        #[source_code]
        file: Arc<NamedSource<String>>,
        /// Where.
        #[label("here")]
        at: Option<SourceSpan>,
    },
    /// What it extends does not exist, or goes round in a circle.
    #[error("there is no base and no system `{name}` to extend")]
    #[diagnostic(code(catalogue::extends), help("{help}"))]
    Extends {
        /// The name.
        name: String,
        /// What to do.
        help: String,
        /// The file.
        #[source_code]
        file: Arc<NamedSource<String>>,
        /// Where.
        #[label("not known")]
        at: SourceSpan,
    },
    /// A key that every system needs is in neither it nor what it extends.
    #[error("`{os}` has no `{key}`")]
    #[diagnostic(
        code(catalogue::incomplete),
        help("state it, or take it over from a system like it: `extends = \"debian-13\"`")
    )]
    Incomplete {
        /// The system, as far as it has a name.
        os: String,
        /// The key.
        key: &'static str,
        /// The file.
        #[source_code]
        file: Arc<NamedSource<String>>,
        /// Where.
        #[label("this system")]
        at: SourceSpan,
    },
    /// A value makes no sense.
    #[error("`{os}`: {message}")]
    #[diagnostic(code(catalogue::value), help("{help}"))]
    Value {
        /// The system.
        os: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
        /// The file.
        #[source_code]
        file: Arc<NamedSource<String>>,
        /// Where.
        #[label("this system")]
        at: SourceSpan,
    },
    /// Two systems of one file have the same name.
    #[error("`{name}` is there twice")]
    #[diagnostic(code(catalogue::twice), help("give each system an `id` and `aliases` of its own"))]
    Twice {
        /// The id or alias.
        name: String,
        /// The file.
        #[source_code]
        file: Arc<NamedSource<String>>,
        /// Where.
        #[label("the second one")]
        at: SourceSpan,
    },
}
