//! The text that a regex cannot match without.
//!
//! Nearly no line of a console matches anything. To look for a few hundred fixed
//! texts at once is fast; a regex runs only where one of its texts was found.

use regex_syntax::{
    ParserBuilder,
    hir::{Hir, HirKind},
};

use super::index::Index;

/// Shorter texts are found everywhere and keep no line out.
const SHORTEST: usize = Index::SHORTEST;

/// Words that are in so many lines that they keep hardly any out.
const COMMON: [&str; 21] = [
    "Installing",
    "Installed",
    "Loading",
    "Writing",
    "Starting",
    "Configuring",
    "install",
    "installed",
    "package",
    "packages",
    "system",
    "failed",
    "target",
    "update",
    "release",
    "returned",
    ".service",
    "profile",
    "settings",
    "unknown",
    "device",
];

/// Texts of which at least one is in everything that the pattern matches;
/// `None` where there are none worth looking for.
pub(super) fn required(pattern: &str) -> Option<Vec<Vec<u8>>> {
    let hir = ParserBuilder::new().utf8(false).unicode(false).build().parse(pattern).ok()?;
    of(&hir).filter(|it| it.iter().all(|it| it.len() >= SHORTEST))
}

fn of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(of).max_by_key(|it| worth(it)),
        HirKind::Alternation(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(of).collect();
            parts.map(|it| it.concat())
        }
        _ => None,
    }
}

/// How well the texts tell lines apart: as well as the worst of them.
fn worth(texts: &[Vec<u8>]) -> usize {
    let worth = |text: &Vec<u8>| {
        let is_common = COMMON.iter().any(|it| it.as_bytes().trim_ascii() == text.trim_ascii());
        match text.iter().filter(|it| it.is_ascii_alphanumeric()).count() {
            0 => 0,
            _ if is_common => SHORTEST,
            letters => letters,
        }
    };
    texts.iter().map(worth).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_that_must_be_there_is_found() {
        for (pattern, expected) in [
            ("Kernel panic - not syncing", Some(vec!["Kernel panic - not syncing"])),
            (r"^Done \[(\d+)/(\d+)\]$", Some(vec!["Done ["])),
            (r"(?:halting|rebooting) system", Some(vec!["halting", "rebooting"])),
            (r"^(?:first|second)$", Some(vec!["first", "second"])),
            (r"(?:optional)? \d+", None),
            (r"(?:one|three)", None),
            ("(?i)anything", None),
            (r"ab|\d+", None),
        ] {
            let found = required(pattern);
            let found = found
                .as_ref()
                .map(|it| it.iter().map(|it| std::str::from_utf8(it).unwrap()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
