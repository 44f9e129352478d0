//! What is wrong with an answer file, for the release it is for.
//!
//! An error is what makes an unattended build fail: the installer stops, asks, or
//! does not switch the machine off. Everything else is a warning.

mod common;

use crate::catalogue::{Catalogue, Dialect, Os};

use super::{
    finding::{Findings, Gatherer},
    inspect,
    inspection::Inspection,
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
    lint(&inspection, Some(os), text)
}

/// What is wrong with an answer file that was inspected. Without a system only
/// what is wrong for every release is found.
pub fn lint(inspection: &Inspection, os: Option<&Os>, text: &str) -> Findings {
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
