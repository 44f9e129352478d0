//! What an installer's own log says of a failure that its console announces.
//!
//! A console often has no more than "the installer failed to download a file";
//! that the mirror's signature is a stranger's is in the log. What is known of
//! logs are the signatures with the scope `log`: alone they stop nobody, since
//! much of what a log complains of is tried again and succeeds.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Cause,
    examine::{Examiner, Found},
    knowledge::Knowledge,
    outcome::Judgement,
    signature::{Scope, fill},
};
use crate::catalogue::InstallerKind;

/// Lines that explain a failure come right before it: older ones were got over.
const RECENT_LINES: u64 = 80;
/// So many lines are shown with a failure.
const MOST_SHOWN: usize = 3;

/// A line of an installer's log that may explain a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    meaning: String,
    cause: Option<Cause>,
    remedy: Option<String>,
    directive: Option<String>,
    line: String,
    number: u64,
    /// It is worth showing, and says nothing of the cause.
    weak: bool,
}

/// Reads an installer's own log for what explains its failure.
#[derive(Debug)]
pub struct LogReader {
    examiner: Examiner,
    installer: Option<InstallerKind>,
    /// Oldest first.
    reasons: VecDeque<Reason>,
}

impl LogReader {
    /// Reads the log of this installer, of any where it is not known.
    pub fn new(knowledge: Arc<Knowledge>, installer: Option<InstallerKind>) -> Self {
        Self { examiner: Examiner::new(knowledge), installer, reasons: VecDeque::new() }
    }

    /// Takes a part of the log, which may begin and end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { examiner, installer, reasons } = self;
        let knowledge = Arc::clone(examiner.knowledge());
        examiner.feed(bytes, &mut |found| {
            let Some(reason) = reason(&knowledge, *installer, found) else { return };
            // The same line, by a signature that says more of it.
            if !reasons.iter().any(|it| it.number == reason.number && !it.weak) {
                reasons.retain(|it| it.line != reason.line);
                reasons.push_back(reason);
            }
        });
        let oldest = self.examiner.line_number().saturating_sub(RECENT_LINES);
        self.reasons.retain(|it| it.number >= oldest);
    }

    /// Takes one line of it.
    pub fn line(&mut self, line: &str) {
        self.feed(line.as_bytes());
        self.feed(b"\n");
    }

    /// Adds to a judgement what the log says of it. The newest line that names a
    /// cause gives cause and remedy; it and the newest others are shown.
    pub fn explain(&self, judgement: &mut Judgement) {
        let named = self.reasons.iter().rev().find(|it| !it.weak);
        if let Some(reason) = named {
            judgement.meaning = format!("{}: {}", judgement.meaning, reason.meaning);
            judgement.cause = reason.cause.or(judgement.cause);
            if reason.remedy.is_some() {
                judgement.remedy.clone_from(&reason.remedy);
                judgement.directive.clone_from(&reason.directive);
            }
        }
        let first = self.reasons.len().saturating_sub(MOST_SHOWN);
        let shown = self.reasons.iter().enumerate();
        let shown = shown.filter(|(at, it)| *at >= first || Some(*it) == named);
        judgement.log = shown.map(|(_, it)| it.line.clone()).collect();
    }
}

fn reason(
    knowledge: &Knowledge,
    installer: Option<InstallerKind>,
    found: Found<'_>,
) -> Option<Reason> {
    let signature = knowledge.signature(found.signature)?;
    let is_here =
        signature.installer.is_none() || installer.is_none() || signature.installer == installer;
    if signature.scope != Scope::Log || !is_here || !super::examine::is_trouble(signature) {
        return None;
    }
    let hit = found.keep(knowledge);
    let fill = |text: &String| fill(text, &hit.captures);
    Some(Reason {
        meaning: fill(&signature.meaning),
        cause: signature.cause,
        remedy: signature.remedy.as_ref().map(fill),
        directive: signature.directive.as_ref().map(fill),
        line: hit.text.clone(),
        number: hit.number,
        weak: signature.weak,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Phase, super::Verdict, *};

    fn announced() -> Judgement {
        Judgement {
            verdict: Verdict::EndedBadly,
            signature: "debian-installer/download-failed".to_owned(),
            meaning: "the installer could not download a file".to_owned(),
            cause: Some(Cause::Network),
            remedy: Some("choose another mirror".to_owned()),
            directive: None,
            line: None,
            line_number: None,
            context: Vec::new(),
            log: Vec::new(),
            doubt: None,
            phase: Phase::Components,
            at: Duration::ZERO,
            in_phase: Duration::ZERO,
        }
    }

    fn explained(lines: &[&str]) -> Judgement {
        let knowledge = Arc::new(Knowledge::builtin().unwrap());
        let mut reader = LogReader::new(knowledge, Some(InstallerKind::DebianInstaller));
        for line in lines {
            reader.line(line);
        }
        let mut judgement = announced();
        reader.explain(&mut judgement);
        judgement
    }

    const UNSIGNED: &str =
        "Nov 26 23:56:33 net-retriever: error: Bad signature on /tmp/net-retriever-2847-Release.";

    #[test]
    fn the_log_names_the_cause_that_the_console_does_not() {
        let judgement = explained(&["Nov 26 23:56:32 net-retriever: gpgv: BAD", UNSIGNED]);
        assert_eq!(
            judgement.meaning,
            "the installer could not download a file: the mirror's Release file is not signed by \
             a key that the installer trusts"
        );
        assert_eq!(judgement.cause, Some(Cause::Mirror));
        assert!(judgement.remedy.unwrap().contains("not signed"));
        assert!(judgement.directive.unwrap().contains("allow_unauthenticated"));
        assert_eq!(judgement.log, [UNSIGNED]);
    }

    #[test]
    fn what_was_got_over_long_before_explains_nothing() {
        let mut lines = vec![UNSIGNED];
        lines.extend(["Nov 26 23:57:00 debootstrap: Unpacking bash"; 100]);
        assert_eq!(explained(&lines), announced());
    }

    #[test]
    fn a_complaint_is_shown_and_changes_nothing_else() {
        let line =
            "Nov 26 23:56:33 in-target: E: Sub-process /usr/bin/dpkg returned an error code (1)";
        let expected = Judgement { log: vec![line.to_owned()], ..announced() };
        assert_eq!(explained(&[line, line]), expected);
    }

    #[test]
    fn of_many_lines_the_last_are_shown_and_the_one_that_names_the_cause() {
        let complaint =
            |n: u32| format!("Nov 26 23:56:33 log-output: sh: no-such-command-{n}: not found");
        let mut lines = vec![UNSIGNED.to_owned()];
        lines.extend((0..5).map(complaint));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(explained(&lines).log, [lines[0], lines[3], lines[4], lines[5]]);
    }
}
