//! What an answer file says of itself: dialect, system, install tree, how it ends.
//!
//! [`inspect`] works everything out that one file states, as evidence with its
//! line; [`lint`] says what is wrong with it for the release it is for, [`check`]
//! the same for a build. Both work on the text alone.

mod agama;
mod autoinstall;
mod autoyast;
mod finding;
mod fix;
mod hints;
mod inspection;
mod kickstart;
mod lint;
mod preseed;
mod residue;
mod text;
mod xml;
mod yaml;

pub use finding::{AnswerReport, Finding, FindingSeverity, Findings};
pub use fix::{Change, fix};
pub use inspection::{End, Inspection, Password, RemoteView, Stated};
pub use lint::{check, check_build, lint};

pub(crate) use xml::Element;

use crate::catalogue::{Catalogue, Dialect, InstallerKind, Os};

/// Reads XML; else where it is not well-formed, in bytes, and why.
pub(crate) fn parse_xml(text: &str) -> Result<Element, (usize, String)> {
    xml::parse(text).map_err(|it| (it.at, it.message))
}

/// The system that words name: a title, a file's name. Where a release has two
/// installers, the dialect says which.
pub fn system_named(
    words: &str,
    dialect: Option<Dialect>,
    catalogue: &Catalogue,
) -> Option<std::sync::Arc<Os>> {
    let all = [
        Dialect::Kickstart,
        Dialect::Autoinstall,
        Dialect::Preseed,
        Dialect::Autoyast,
        Dialect::Agama,
    ];
    let fits = |it: &Dialect| dialect.is_none_or(|wanted| wanted == *it);
    all.into_iter().filter(fits).find_map(|it| hints::of_words(words, it, catalogue))
}

/// The language of an answer file.
pub fn dialect(text: &str) -> Option<Dialect> {
    dialect_of(text)
}

/// Works out what an answer file states. `name` is the file's name, which counts
/// as evidence where the text has none.
pub fn inspect(name: &str, text: &str, catalogue: &Catalogue) -> Inspection {
    let dialect = dialect_of(text).or_else(|| dialect_named(name, text));
    let mut inspection = Inspection { name: name.to_owned(), dialect, ..Inspection::default() };
    // `<NAME>` is how XML writes elements, such as those of kdump and the firewall.
    let is_xml = inspection.dialect == Some(Dialect::Autoyast);
    let is_element = |it: &std::ops::Range<usize>| {
        is_xml
            && text.get(it.start..).is_some_and(|it| !it.starts_with("<%") && it.starts_with('<'))
    };
    inspection.residue = residue::find_all(text)
        .into_iter()
        .filter(|it| !is_element(it))
        .map(|span| {
            let found = text.get(span.clone()).unwrap_or_default().to_owned();
            Stated::new(found, text, span, "a template's mark")
        })
        .collect();
    match inspection.dialect {
        Some(Dialect::Kickstart) => kickstart::inspect(&mut inspection, text, catalogue),
        Some(Dialect::Preseed) => preseed::inspect(&mut inspection, text, catalogue),
        Some(Dialect::Autoyast) => autoyast::inspect(&mut inspection, text, catalogue),
        Some(Dialect::Agama) => agama::inspect(&mut inspection, text, catalogue),
        Some(Dialect::Autoinstall) => autoinstall::inspect(&mut inspection, text, catalogue),
        Some(Dialect::Other) | None => {}
    }
    inspection.installer = inspection.dialect.map(installer_of);
    inspection
}

/// The language of a text.
fn dialect_of(text: &str) -> Option<Dialect> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    if autoyast::is_autoyast(start) {
        Some(Dialect::Autoyast)
    } else if agama::is_agama(start) {
        Some(Dialect::Agama)
    } else if autoinstall::is_autoinstall(start) {
        // Its `debconf-selections` are what preseeds are made of.
        Some(Dialect::Autoinstall)
    } else if preseed::is_preseed(text) {
        Some(Dialect::Preseed)
    } else if kickstart::is_kickstart(text) {
        Some(Dialect::Kickstart)
    } else {
        None
    }
}

/// The language that a file's name states, for parts of answer files and for those
/// with too little in them to be sure.
fn dialect_named(name: &str, text: &str) -> Option<Dialect> {
    let file = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let file = file.trim_end_matches(".in");
    let ends = |all: &[&str]| all.iter().any(|it| file.ends_with(it));
    if text.trim().is_empty() {
        None
    } else if ends(&[".ks", ".ks.cfg", ".kickstart"]) || file == "ks.cfg" {
        Some(Dialect::Kickstart)
    } else if ends(&[".preseed", ".seed", "preseed.cfg"]) {
        Some(Dialect::Preseed)
    } else {
        None
    }
}

fn installer_of(dialect: Dialect) -> InstallerKind {
    match dialect {
        Dialect::Kickstart => InstallerKind::Anaconda,
        Dialect::Preseed => InstallerKind::DebianInstaller,
        Dialect::Autoyast => InstallerKind::Autoyast,
        Dialect::Agama => InstallerKind::Agama,
        Dialect::Autoinstall => InstallerKind::Subiquity,
        Dialect::Other => InstallerKind::Other,
    }
}
