//! The installers' own validators, where this machine has them: they decide on
//! the language of an answer file, and imgbuild says that they did.
//!
//! What a build needs beside it, such as that the machine is switched off at the
//! end, no validator knows; those findings stay imgbuild's.

use std::{io::Write as _, time::Duration};

use super::Surroundings;
use crate::{
    answer::{Finding, FindingSeverity, Findings},
    catalogue::{Dialect, Os},
    redact::Redactor,
};

/// What a validator says: the line, and the words.
type Complaint = (Option<usize>, String);

/// A validator.
struct Validator {
    /// The program.
    program: &'static str,
    /// The findings of ours that it decides on, by the start of their codes.
    decides: &'static [&'static str],
    /// Reads what it says: the line, and the words.
    complaints: fn(&str) -> Vec<Complaint>,
    code: &'static str,
}

const KSVALIDATOR: Validator = Validator {
    program: "ksvalidator",
    decides: &[
        "kickstart::unknown",
        "kickstart::removed",
        "kickstart::options",
        "kickstart::quotes",
        "kickstart::no-end",
        "kickstart::stray-end",
    ],
    complaints: of_ksvalidator,
    code: "kickstart::ksvalidator",
};

const DEBCONF: Validator = Validator {
    program: "debconf-set-selections",
    decides: &["preseed::syntax", "preseed::type", "preseed::open-end"],
    complaints: of_debconf,
    code: "preseed::debconf",
};

const XMLLINT: Validator = Validator {
    program: "xmllint",
    decides: &["autoyast::xml"],
    complaints: of_xmllint,
    code: "autoyast::xmllint",
};

/// More is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where YaST's own schema is, where it is installed.
const AUTOYAST_SCHEMA: &str = "/usr/share/YaST2/schema/autoyast/rng/profile.rng";

/// What is to be checked.
pub(super) struct Request<'a> {
    pub(super) dialect: Option<Dialect>,
    pub(super) os: Option<&'a Os>,
    /// With its secrets.
    pub(super) text: &'a str,
    /// Masks what a validator quotes.
    pub(super) redactor: &'a Redactor,
}

/// Who decided.
pub(super) enum Verdict {
    /// A validator of this name.
    By(String),
    /// imgbuild, as this validator is not there.
    Without(&'static str),
    /// imgbuild; there is no other.
    BuiltIn,
}

impl Verdict {
    /// For the end of a line.
    pub(super) fn text(&self) -> String {
        match self {
            Self::By(name) => format!("checked by {name}"),
            Self::Without(program) => format!("built-in rules; {program} is not installed"),
            Self::BuiltIn => "built-in rules".to_owned(),
        }
    }
}

/// Lets the validator of a dialect decide, where there is one.
pub(super) async fn decide(
    findings: &mut Findings,
    request: &Request<'_>,
    cx: &Surroundings,
) -> Verdict {
    let Request { dialect, os, text, redactor } = *request;
    let validator = match dialect {
        Some(Dialect::Kickstart) => KSVALIDATOR,
        Some(Dialect::Preseed) => DEBCONF,
        Some(Dialect::Autoyast) => XMLLINT,
        _ => return Verdict::BuiltIn,
    };
    let mut arguments: Vec<String> = Vec::new();
    let mut name = validator.program.to_owned();
    match dialect {
        Some(Dialect::Kickstart) => {
            let Some(release) = os.and_then(|it| it.dialect_version.clone()) else {
                return Verdict::BuiltIn;
            };
            name = format!("{name} ({release})");
            arguments.extend(["-v".to_owned(), release]);
        }
        Some(Dialect::Preseed) => arguments.push("-c".to_owned()),
        _ => {
            arguments.push("--noout".to_owned());
            if std::path::Path::new(AUTOYAST_SCHEMA).exists() {
                name.push_str(" with YaST's schema");
                arguments.extend(["--relaxng".to_owned(), AUTOYAST_SCHEMA.to_owned()]);
            }
        }
    }
    // The text may hold secrets: nobody else can read the file, and it goes away.
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return Verdict::BuiltIn };
    if file.write_all(text.as_bytes()).and_then(|()| file.flush()).is_err() {
        return Verdict::BuiltIn;
    }
    let run = cx
        .guard
        .command(validator.program)
        .args(&arguments)
        .arg(file.path())
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(Ok(output)) = tokio::time::timeout(PATIENCE, run).await else {
        return Verdict::Without(validator.program);
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // imgbuild starts programs through itself, and says so where there are none.
    if matches!(output.status.code(), Some(126 | 127)) {
        return Verdict::Without(validator.program);
    }
    let complaints = (validator.complaints)(&said);
    if complaints.is_empty() && !output.status.success() {
        // It failed without a word about the file: it decides nothing.
        return Verdict::BuiltIn;
    }
    let is_wrong = !output.status.success();
    let theirs = complaints.into_iter().map(|(line, message)| {
        let line = line.unwrap_or(1);
        let start: usize =
            text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
        let start = start.min(text.len());
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.find(['\r', '\n']).unwrap_or(rest.len());
        let severity = if is_wrong { FindingSeverity::Error } else { FindingSeverity::Warning };
        Finding {
            code: validator.code,
            severity,
            message: redactor.mask(&message),
            help: None,
            line,
            span: start..start + length,
        }
    });
    findings.decided(validator.decides, theirs.collect());
    Verdict::By(name)
}

/// `The following problem occurred on line 3 of the kickstart file:`, a blank
/// line, and the problem. Warnings about what is deprecated are imgbuild's too.
fn of_ksvalidator(said: &str) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.split("problem occurred on line ").nth(1) else { continue };
        let number = rest.split(' ').next().and_then(|it| it.parse().ok());
        let problem = lines.by_ref().find(|it| !it.trim().is_empty()).unwrap_or_default();
        found.push((number, problem.trim().to_owned()));
    }
    found
}

/// `warning: Unknown type sting, skipping line 3`, `error: Cannot parse line 3`.
fn of_debconf(said: &str) -> Vec<Complaint> {
    said.lines()
        .filter_map(|it| it.strip_prefix("warning: ").or_else(|| it.strip_prefix("error: ")))
        .map(|it| {
            let number = it
                .split("line ")
                .nth(1)
                .map(|it| it.chars().take_while(char::is_ascii_digit).collect::<String>());
            (number.and_then(|it| it.parse().ok()), it.to_owned())
        })
        .collect()
}

/// `/tmp/x:3: parser error : Opening and ending tag mismatch`.
fn of_xmllint(said: &str) -> Vec<Complaint> {
    let mut found: Vec<Complaint> = Vec::new();
    for line in said.lines() {
        let Some((before, message)) = line.split_once(" error : ") else { continue };
        let mut parts = before.rsplit(':');
        // `parser`, `element mode: Relax-NG validity`
        let number = parts.find_map(|it| it.trim().parse().ok());
        if !message.contains("Extra element") || found.is_empty() {
            found.push((number, message.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validator_decides_which_lines_are_wrong() {
        let os = crate::catalogue::Catalogue::built_in().get("rhel-9").unwrap();
        let text =
            "rootpw --lock\nbootloader\nautopart --nosuch\npartt\npoweroff\n%packages\n%end\n";
        let mut findings = crate::answer::check(&os, text);
        assert_eq!(findings.iter().count(), 2);
        let theirs = |line: usize| Finding {
            code: "kickstart::ksvalidator",
            severity: FindingSeverity::Error,
            message: "theirs".to_owned(),
            help: None,
            line,
            span: 0..0,
        };
        findings.decided(KSVALIDATOR.decides, vec![theirs(1), theirs(3)]);
        let found: Vec<_> = findings.iter().map(|it| (it.line, it.code)).collect();
        assert_eq!(found, [(1, "kickstart::ksvalidator"), (3, "kickstart::unknown-option")]);
    }

    #[test]
    fn what_validators_say_is_understood() {
        assert_eq!(
            of_ksvalidator(
                "Checking kickstart file /tmp/x ...\nThe following problem occurred on line 3 of \
                 the kickstart file:\n\nUnknown command: foo\n\n"
            ),
            [(Some(3), "Unknown command: foo".to_owned())]
        );
        assert_eq!(
            of_debconf("warning: Unknown type sting, skipping line 3\n"),
            [(Some(3), "Unknown type sting, skipping line 3".to_owned())]
        );
        assert_eq!(
            of_xmllint(
                "/tmp/x:2: parser error : Opening and ending tag mismatch: a line 1\n</b>\n"
            ),
            [(Some(2), "Opening and ending tag mismatch: a line 1".to_owned())]
        );
        assert_eq!(
            of_xmllint("/tmp/x:7: element mode: Relax-NG validity error : Did not expect x\n"),
            [(Some(7), "Did not expect x".to_owned())]
        );
    }
}
