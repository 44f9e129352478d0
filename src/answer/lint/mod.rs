//! What is wrong with an answer file, for the release it is for.
//!
//! An error is what makes an unattended build fail: the installer stops, asks, or
//! does not switch the machine off. Everything else is a warning.

mod common;
mod documents;
mod schema;
mod yast;

use crate::{
    catalogue::{Catalogue, Dialect, Os},
    model::Build,
    units::Size,
};

use super::{
    finding::{Findings, Gatherer},
    inspect,
    inspection::Inspection,
    kickstart, preseed,
};

/// What is wrong with the answer file of a build.
pub fn check(os: &Os, text: &str) -> Findings {
    if os.dialect == Dialect::Other {
        return Findings::default();
    }
    let mut inspection = inspect("", text, &Catalogue::built_in());
    if inspection.dialect.is_none() && !text.trim().is_empty() {
        // Too little in it to be sure: what the system takes decides.
        inspection.dialect = Some(os.dialect);
    }
    lint_for(&inspection, Some(os), None, text)
}

/// What is wrong with the rendered answer file of a build: also what does not go
/// with its disk and its source.
pub fn check_build(build: &Build, text: &str) -> Findings {
    let mut inspection = inspect("", text, &Catalogue::built_in());
    if build.os.dialect == Dialect::Other {
        return Findings::default();
    }
    if inspection.dialect.is_none() && !text.trim().is_empty() {
        inspection.dialect = Some(build.os.dialect);
    }
    let mut findings = lint_for(&inspection, Some(&build.os), Some(build.install.disk), text);
    findings.extend(common::other_tree(&inspection, build, text));
    findings
}

/// What is wrong with an answer file that was inspected. Without a system only
/// what is wrong for every release is found.
pub fn lint(inspection: &Inspection, os: Option<&Os>, text: &str) -> Findings {
    lint_for(inspection, os, None, text)
}

/// The same, for a disk of this size.
fn lint_for(inspection: &Inspection, os: Option<&Os>, disk: Option<Size>, text: &str) -> Findings {
    let mut gatherer = Gatherer::new(text);
    if text.trim().is_empty() {
        gatherer.error("answer::empty", 0..0, "the answer file is empty", "");
        return gatherer.end();
    }
    let Some(dialect) = inspection.dialect else {
        gatherer.error(
            "answer::unknown",
            0..0,
            "this is no answer file that imgbuild knows",
            "a kickstart, a preseed, an AutoYaST or Agama profile, or an autoinstall file",
        );
        return gatherer.end();
    };
    if let Some(os) = os.filter(|it| it.dialect != dialect) {
        gatherer.error(
            "answer::other-dialect",
            0..0,
            format!(
                "this is {}, and the installer of {} takes {}",
                dialect_text(dialect),
                os.title,
                dialect_text(os.dialect)
            ),
            "name another system, or another answer file",
        );
        return gatherer.end();
    }
    common::lint(inspection, &mut gatherer);
    match dialect {
        Dialect::Kickstart => kickstart::lint(inspection, os, disk, text, &mut gatherer),
        Dialect::Preseed => preseed::lint(inspection, os, text, &mut gatherer),
        Dialect::Autoyast => documents::autoyast(text, os, &mut gatherer),
        Dialect::Agama => documents::agama(text, &mut gatherer),
        Dialect::Autoinstall => documents::autoinstall(text, &mut gatherer),
        Dialect::Other => {}
    }
    gatherer.end()
}

fn dialect_text(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Kickstart => "a kickstart",
        Dialect::Preseed => "a preseed",
        Dialect::Autoyast => "an AutoYaST profile",
        Dialect::Agama => "an Agama profile",
        Dialect::Autoinstall => "an autoinstall file",
        Dialect::Other => "an answer file of its own",
    }
}
