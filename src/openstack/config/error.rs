//! What can be wrong with the description of a cloud.

use miette::{Diagnostic, NamedSource, SourceSpan};
use thiserror::Error as ThisError;

/// What to do where nothing is configured.
pub(super) const HOW_TO_BEGIN: &str = "Horizon hands out a `clouds.yaml` under `API Access`; put it here, into \
    `~/.config/openstack` or into `/etc/openstack`. Or set `OS_AUTH_URL` and its kin, as an `openrc` file does";

/// Why it is not known how to reach a cloud.
#[derive(Debug, ThisError, Diagnostic)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file is not YAML.
    #[error("`{path}`{} is not valid YAML: {reason}", .line.map(|it| format!(", line {it},")).unwrap_or_default())]
    Syntax {
        /// Which file.
        path: String,
        /// Which line, where known.
        line: Option<u64>,
        /// What the parser says.
        reason: String,
    },

    /// A file could not be read.
    #[error("cannot read a file that says how clouds are reached")]
    Read(#[source] std::io::Error),

    /// A file that was asked for by name is not there.
    #[error("`{variable}` names `{path}`, which does not exist")]
    NoFile {
        /// The variable.
        variable: &'static str,
        /// What it names.
        path: String,
    },

    /// Nothing says how to reach a cloud.
    #[error("no cloud is configured")]
    #[diagnostic(help("{HOW_TO_BEGIN}"))]
    NoCloud,

    /// There are several, and none was chosen.
    #[error("which cloud is meant? there are {known}")]
    #[diagnostic(help("name one with `--cloud` or `OS_CLOUD`"))]
    WhichCloud {
        /// Their names, for people.
        known: String,
    },

    /// There is no cloud of this name.
    #[error("there is no cloud `{name}`{}", .path.as_ref().map(|it| format!(" in `{it}`")).unwrap_or_default())]
    #[diagnostic(help("{help}"))]
    UnknownCloud {
        /// The name.
        name: String,
        /// The file that was searched, if there is one.
        path: Option<String>,
        /// Which there are, and which is alike.
        help: String,
    },

    /// A value is missing or wrong.
    #[error("{} cloud `{cloud}`: {message}", .place.as_ref().map_or_else(|| "the environment,".to_owned(), |it| format!("`{it}`,")))]
    #[diagnostic(help("{help}"))]
    Value {
        /// Which cloud.
        cloud: String,
        /// `path:line`, or none for the environment.
        place: Option<String>,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
        /// The file, with its secrets blotted out.
        #[source_code]
        text: Option<NamedSource<String>>,
        /// Where in it.
        #[label("here")]
        at: Option<SourceSpan>,
    },
}
