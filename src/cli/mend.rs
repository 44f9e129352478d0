//! `--fix`: answer files are mended on disk, and what was written is shown.

use std::io::Write as _;

use camino::Utf8Path;

use super::{
    failure::{Failure, Plain},
    load::{self, Loaded},
};
use crate::{
    answer::{self, Change},
    catalogue::{Catalogue, Os},
    model::AnswerOrigin,
    render,
};

/// Mends the answer files of builds. A template is not touched: what its text
/// becomes is not what it says.
pub(super) fn builds(all: &[Loaded], catalogue: &Catalogue) -> Result<(), Failure> {
    for loaded in all {
        let build = loaded.build();
        let (AnswerOrigin::File(name) | AnswerOrigin::Template(name)) = &build.answer.origin else {
            continue;
        };
        let path = loaded.folder.join(name);
        if path.exists() {
            file(&path, Some(&build.os), catalogue)?;
        }
    }
    Ok(())
}

/// Standard input is no file that could be written.
pub(super) fn no_file() -> Failure {
    Failure::usage(Plain::new("standard input cannot be mended", "name a file, or leave --fix out"))
}

/// Mends one answer file.
pub(super) fn file(path: &Utf8Path, os: Option<&Os>, catalogue: &Catalogue) -> Result<(), Failure> {
    let text = load::read(path)?;
    if render::is_template(&text) {
        return Ok(());
    }
    let (mended, changes) = answer::fix(&text, os, catalogue);
    if changes.is_empty() {
        return Ok(());
    }
    fs_err::write(path, mended)
        .map_err(|it| Failure::failed(Plain::io(format!("cannot write `{path}`"), it)))?;
    for line in changes.iter().map(|it| line_of(path, it)) {
        _ = writeln!(std::io::stderr(), "{line}");
    }
    Ok(())
}

fn line_of(path: &Utf8Path, change: &Change) -> String {
    let Change { line, now, because } = change;
    if now.is_empty() {
        return format!("{path}:{line}: taken out, as {because}");
    }
    format!("{path}:{line}: wrote `{now}`, as {because}")
}
