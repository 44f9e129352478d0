//! Mends an answer file that reboots, halts or asks: the directive is written
//! where it belongs, and what was done is said.
//!
//! Only what has one remedy is mended. How a disk is partitioned or what a
//! password is stays for the author to say.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    finding::{Finding, Findings},
    inspect,
    inspection::Inspection,
    kickstart::Kickstart,
    lint::lint,
    text::line_of,
};
use crate::catalogue::{Catalogue, Dialect, Os};

/// One thing that was mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The line in the mended text, counted from 1.
    pub line: usize,
    /// What stands there now.
    pub now: String,
    /// What was wrong.
    pub because: String,
}

/// More mistakes of this kind than these are not in one file.
const MOST_CHANGES: usize = 40;

/// The text with everything mended that can be, and what was done, in order.
pub fn fix(text: &str, os: Option<&Os>, catalogue: &Catalogue) -> (String, Vec<Change>) {
    let mut text = text.to_owned();
    let mut changes = Vec::new();
    let mut given_up: Vec<Finding> = Vec::new();
    while changes.len() < MOST_CHANGES {
        let (inspection, findings) = examine(&text, os, catalogue);
        let mended = findings
            .iter()
            .filter(|it| !given_up.contains(it))
            .find_map(|it| Some((it.clone(), mend(it, &inspection, &text)?)));
        let Some((finding, edit)) = mended else { break };
        let mut next = text.clone();
        next.replace_range(edit.range.clone(), &edit.with);
        let alike = |it: &Findings| {
            it.iter().filter(|it| it.code == finding.code && it.message == finding.message).count()
        };
        // What does not help is not done.
        if alike(&examine(&next, os, catalogue).1) >= alike(&findings) {
            given_up.push(finding);
            continue;
        }
        let blanks = edit.with.len() - edit.with.trim_start().len();
        changes.push(Change {
            line: line_of(&next, edit.range.start + blanks),
            now: edit.with.trim().to_owned(),
            because: finding.message,
        });
        text = next;
        given_up.clear();
    }
    (text, changes)
}

fn examine(text: &str, os: Option<&Os>, catalogue: &Catalogue) -> (Inspection, Findings) {
    let mut inspection = inspect("", text, catalogue);
    inspection.dialect = inspection.dialect.or(os.map(|it| it.dialect));
    let findings = lint(&inspection, os, text);
    (inspection, findings)
}

/// A part of the text, and what is written in its place.
struct Edit {
    range: std::ops::Range<usize>,
    with: String,
}

fn mend(finding: &Finding, inspection: &Inspection, text: &str) -> Option<Edit> {
    match finding.code {
        "answer::reboots" | "answer::halts" | "answer::asks-at-end" => end(inspection, text),
        "kickstart::no-end" => close_section(finding, text),
        "preseed::asked" => answer_question(finding, text),
        "autoyast::asks" => autoyast_mode(text, "confirm", "false"),
        "autoyast::waits" => {
            let after = text.get(finding.span.start..)?;
            let zero = find(&TIMEOUT, after)?;
            let start = finding.span.start + zero.start;
            Some(Edit { range: start..start + zero.len(), with: "10".to_owned() })
        }
        "autoinstall::asks" => take_out_key(text, "interactive-sections"),
        _ => None,
    }
}

/// The machine is switched off at the end.
fn end(inspection: &Inspection, text: &str) -> Option<Edit> {
    let stated = inspection.end.as_ref().map(|it| it.span.clone()).filter(|it| !it.is_empty());
    match inspection.dialect? {
        Dialect::Kickstart => Some(if let Some(range) = stated {
            Edit { range, with: "poweroff".to_owned() }
        } else {
            // Commands stand before the sections, and may not stand in them.
            let first = Kickstart::parse(text).sections.first().map(|it| it.heading.span.start);
            insert_line(text, first.unwrap_or(text.len()), "poweroff")
        }),
        Dialect::Preseed => {
            let line = "d-i debian-installer/exit/poweroff boolean true";
            Some(match stated {
                Some(range) => Edit { range, with: line.to_owned() },
                None => insert_line(text, text.len(), line),
            })
        }
        Dialect::Autoinstall => {
            if let Some(range) = stated {
                return Some(Edit { range, with: "poweroff".to_owned() });
            }
            let found = VERSION.as_ref()?.captures(text)?;
            let indent = found.get(1)?;
            let line = format!("{}shutdown: poweroff", indent.as_str());
            Some(insert_line(text, indent.start(), &line))
        }
        Dialect::Autoyast => autoyast_mode(text, "halt", "true"),
        Dialect::Agama | Dialect::Other => None,
    }
}

/// A line of its own before a place, which is a line's start or the end.
fn insert_line(text: &str, at: usize, line: &str) -> Edit {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let before = text.get(..at).unwrap_or_default();
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { newline };
    Edit { range: at..at, with: format!("{gap}{line}{newline}") }
}

/// `%end` before the next section, or at the end.
fn close_section(finding: &Finding, text: &str) -> Option<Edit> {
    let kickstart = Kickstart::parse(text);
    let starts = kickstart.sections.iter().map(|it| it.heading.span.start);
    let next = starts.filter(|it| *it > finding.span.start).min();
    let is_open = kickstart
        .sections
        .iter()
        .any(|it| !it.is_ended && it.heading.span.start <= finding.span.start);
    is_open.then(|| insert_line(text, next.unwrap_or(text.len()), "%end"))
}

/// The help of such a finding is the line itself, where there is only one.
fn answer_question(finding: &Finding, text: &str) -> Option<Edit> {
    let help = finding.help.as_deref()?;
    let line = find(&ADVICE, help).and_then(|it| help.get(it))?;
    if help.starts_with("add ") {
        return Some(insert_line(text, text.len(), line));
    }
    let start = text.get(..finding.span.start)?.rfind('\n').map_or(0, |it| it + 1);
    let length = text.get(start..)?.find(['\r', '\n']).unwrap_or(text.len() - start);
    Some(Edit { range: start..start + length, with: line.to_owned() })
}

/// A boolean in `<general><mode>` of an AutoYaST profile.
fn autoyast_mode(text: &str, name: &str, value: &str) -> Option<Edit> {
    if !text.contains("xmlns:config") {
        return None;
    }
    let mode = text.find("<mode>");
    if let Some(start) = mode {
        let inside = text.get(start..)?;
        let inside = inside.get(..inside.find("</mode>")?)?;
        let element = Regex::new(&format!(r"<{name}\b[^>]*>([^<]*)</{name}>")).ok()?;
        if let Some(value_now) = element.captures(inside).and_then(|it| it.get(1)) {
            let range = start + value_now.start()..start + value_now.end();
            return Some(Edit { range, with: value.to_owned() });
        }
    }
    let element = format!("<{name} config:type=\"boolean\">{value}</{name}>");
    let (at, with) = if let Some(start) = mode {
        (start + "<mode>".len(), format!("\n      {element}"))
    } else if let Some(start) = text.find("<general>") {
        (start + "<general>".len(), format!("\n    <mode>{element}</mode>"))
    } else {
        let root = find(&PROFILE, text)?;
        (root.end, format!("\n  <general><mode>{element}</mode></general>"))
    };
    Some(Edit { range: at..at, with })
}

/// A key of a YAML mapping in block style, with what is below it.
fn take_out_key(text: &str, key: &str) -> Option<Edit> {
    let mut at = 0;
    let mut range: Option<(std::ops::Range<usize>, usize)> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let rest = line.trim();
        match &mut range {
            None if rest.starts_with(key) && rest.get(key.len()..)?.starts_with(':') => {
                range = Some((at..at + line.len(), indent));
            }
            Some((range, own)) if range.end == at => {
                let is_below =
                    rest.is_empty() || indent > *own || (indent == *own && rest.starts_with('-'));
                if is_below {
                    range.end = at + line.len();
                }
            }
            _ => {}
        }
        at += line.len();
    }
    range.map(|(range, _)| Edit { range, with: String::new() })
}

type Pattern = LazyLock<Option<Regex>>;

/// `<timeout …>0</timeout>`: the 0.
static TIMEOUT: Pattern = LazyLock::new(|| Regex::new(r"<timeout\b[^>]*>\s*(0)\s*</timeout>").ok());
/// The line of `version:` in block style: its indentation.
static VERSION: Pattern = LazyLock::new(|| Regex::new(r"(?m)^([ ]*)version:[ ]*1[ ]*\r?$").ok());
/// A help that is one directive.
static ADVICE: Pattern = LazyLock::new(|| Regex::new(r"^(?:add|write) `(d-i [^`…]+)`$").ok());
/// The root of an AutoYaST profile.
static PROFILE: Pattern = LazyLock::new(|| Regex::new(r"(<profile\b[^>]*>)").ok());

/// Where the pattern's first group is.
fn find(pattern: &Pattern, text: &str) -> Option<std::ops::Range<usize>> {
    Some(pattern.as_ref()?.captures(text)?.get(1)?.range())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(os: &str, text: &str) -> (String, Vec<String>) {
        let catalogue = Catalogue::built_in();
        let os = catalogue.get(os);
        let (text, changes) = fix(text, os.as_deref(), &catalogue);
        (text, changes.into_iter().map(|it| format!("{}: {}", it.line, it.now)).collect())
    }

    #[test]
    fn a_kickstart_gets_its_poweroff_before_its_sections() {
        let (text, changes) = fixed("rocky-9", "text\nrootpw --lock\n%packages\n@core\n%end\n");
        assert_eq!(text, "text\nrootpw --lock\npoweroff\n%packages\n@core\n%end\n");
        assert_eq!(changes, ["3: poweroff"]);
        let (text, _) = fixed("rocky-9", "reboot --eject\ntext\n%packages\n@core\n");
        assert_eq!(text, "poweroff\ntext\n%packages\n@core\n%end\n");
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        let (text, _) = fixed("rocky-9", "text\r\n%packages\r\n%end\r\n");
        assert_eq!(text, "text\r\npoweroff\r\n%packages\r\n%end\r\n");
    }

    #[test]
    fn a_preseed_gets_what_the_installer_would_ask() {
        let (text, changes) = fixed(
            "debian-13",
            "d-i partman-auto/method string lvm\nd-i debian-installer/exit/halt boolean true\n\
             d-i partman/confirm boolean false",
        );
        assert!(text.contains("\nd-i debian-installer/exit/poweroff boolean true\n"), "{text}");
        assert!(!text.contains("exit/halt"));
        assert!(text.contains("partman/confirm boolean true\n"));
        assert!(text.contains("finish-install/reboot_in_progress note\n"));
        assert_eq!(changes.len(), 4, "{changes:?}");
    }

    #[test]
    fn autoinstall_gets_a_shutdown_and_loses_its_questions() {
        let (text, _) = fixed(
            "ubuntu-24.04",
            "#cloud-config\nautoinstall:\n  version: 1\n  interactive-sections:\n    - storage\n\
             \x20 identity: {hostname: a, username: b, password: $6$x}\n",
        );
        assert_eq!(
            text,
            "#cloud-config\nautoinstall:\n  shutdown: poweroff\n  version: 1\n\
             \x20 identity: {hostname: a, username: b, password: $6$x}\n"
        );
        let (text, _) = fixed("ubuntu-24.04", "#cloud-config\nautoinstall:\n  shutdown: reboot\n");
        assert!(text.contains("shutdown: poweroff"));
    }

    #[test]
    fn autoyast_confirms_and_halts() {
        let head = "<profile xmlns=\"http://www.suse.com/1.0/yast2ns\" xmlns:config=\"c\">";
        for inner in [
            "<general><mode><confirm config:type=\"boolean\">true</confirm></mode></general>",
            "<general></general>",
            "",
        ] {
            let (text, changes) = fixed("sles-15-sp6", &format!("{head}{inner}</profile>"));
            assert!(text.contains("<halt config:type=\"boolean\">true</halt>"), "{text}");
            assert!(text.contains("<confirm config:type=\"boolean\">false</confirm>"), "{text}");
            assert_eq!(text.matches("<mode>").count(), 1);
            assert_eq!(changes.len(), 2);
        }
    }

    #[test]
    fn what_is_right_stays_as_it_is() {
        let text = "text\npoweroff\n%packages\n%end\n";
        assert_eq!(fixed("rocky-9", text), (text.to_owned(), Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(d-i|%[a-z]{3,8}|autoinstall:|<profile xmlns:config=''>|reboot|[a-zé<>/:\n \r-]){0,12}") {
            let catalogue = Catalogue::built_in();
            for os in ["rocky-9", "debian-13", "ubuntu-24.04", "sles-15-sp6"] {
                let os = catalogue.get(os);
                let (once, _) = fix(&text, os.as_deref(), &catalogue);
                let (twice, _) = fix(&once, os.as_deref(), &catalogue);
                proptest::prop_assert_eq!(once, twice);
            }
        }
    }
}
