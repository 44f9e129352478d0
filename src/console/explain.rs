//! A stored console log, explained.
//!
//! The same knowledge as for a running machine, without a clock: a question is
//! unanswered where the log ends with it.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    Cause, Phase, Verdict,
    examine::{Examiner, Found, Hit},
    knowledge::Knowledge,
    signature::{MachineEnd, Scope, Signature, fill},
};
use crate::catalogue::InstallerKind;

/// What a log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The installer that wrote it, as far as can be told.
    pub installer: Option<InstallerKind>,
    /// The phases in the order they were reached.
    pub timeline: Vec<Reached>,
    /// The lines that mean something, in order, as far as there is room.
    pub marks: Vec<Mark>,
    /// What became of it.
    pub verdict: Ending,
    /// What the verdict rests on.
    pub judgement: Option<Mark>,
    /// The number of lines.
    pub lines: u64,
    /// The last lines, oldest first.
    pub last_lines: Vec<String>,
}

/// A phase that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reached {
    /// Which.
    pub phase: Phase,
    /// The line that showed it, from 1.
    pub line_number: u64,
    /// Its text.
    pub line: String,
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mark {
    /// Its number, from 1.
    pub line_number: u64,
    /// Its text.
    pub line: String,
    /// The signature that matched.
    pub signature: String,
    /// What follows from it.
    pub verdict: Verdict,
    /// What it says, in plain English.
    pub meaning: String,
    /// Where the cause lies.
    pub cause: Option<Cause>,
    /// What to do.
    pub remedy: Option<String>,
    /// The line of the answer file that would have prevented it.
    pub directive: Option<String>,
    /// The phase it happened in.
    pub phase: Phase,
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The installer was done, or the system asked for a login.
    EndedWell,
    /// It failed.
    EndedBadly,
    /// The last thing it said was a question.
    WaitsForInput,
    /// The machine was done, and then rebooted.
    Rebooted,
    /// The log ends in the middle.
    Unfinished,
}

/// More marks than anybody reads are not kept.
const MOST_MARKS: usize = 400;
/// Of one signature no more are kept.
const MOST_OF_ONE: u32 = 20;
/// As many lines as the choices of a question take.
const QUESTION_LINES: u64 = 40;

/// Explains a console log.
pub fn explain(bytes: &[u8], knowledge: &Arc<Knowledge>) -> Explanation {
    let mut examiner = Examiner::new(Arc::clone(knowledge));
    // Of each signature the first few and the last: a log of any length is
    // explained in the same memory.
    let mut hits = Vec::new();
    let mut last: BTreeMap<usize, (u64, Hit)> = BTreeMap::new();
    let mut order = 0_u64;
    let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
    let mut installers: BTreeMap<InstallerKind, u64> = BTreeMap::new();
    let mut keep = |found: Found<'_>| {
        let Some(signature) = knowledge.signature(found.signature) else { return };
        if let Some(installer) = signature.installer {
            *installers.entry(installer).or_default() += 1;
        }
        let count = counts.entry(found.signature).or_default();
        *count += 1;
        order += 1;
        if *count <= MOST_OF_ONE {
            hits.push((order, found.keep(knowledge)));
        } else {
            last.insert(found.signature, (order, found.keep(knowledge)));
        }
    };
    // In pieces, as from a machine, so that memory does not depend on the log.
    for piece in bytes.chunks(1 << 16) {
        examiner.feed(piece, &mut keep);
    }
    examiner.examine_tail(&mut keep);
    let installer = installers.into_iter().max_by_key(|(_, count)| *count).map(|(it, _)| it);
    hits.extend(last.into_values());
    hits.sort_by_key(|(order, _)| *order);
    let mut story = Story::new(knowledge, installer);
    for (_, hit) in &hits {
        story.take(hit);
    }
    story.end(&examiner)
}

/// What is gathered from the hits of a log.
struct Story<'a> {
    knowledge: &'a Knowledge,
    installer: Option<InstallerKind>,
    phase: Phase,
    timeline: Vec<Reached>,
    marks: Vec<Mark>,
    /// Of each signature of a console the first, of a log the last.
    failures: Vec<Failure>,
    question: Option<(bool, u64, Mark)>,
    done: Option<Mark>,
    login: Option<Mark>,
    machine: Option<(MachineEnd, Mark)>,
}

/// What may be why it failed.
struct Failure {
    /// A more precise one is the better explanation.
    weak: bool,
    /// It is in the installer's own log.
    is_log: bool,
    mark: Mark,
}

impl<'a> Story<'a> {
    fn new(knowledge: &'a Knowledge, installer: Option<InstallerKind>) -> Self {
        Self {
            knowledge,
            installer,
            phase: Phase::Boot,
            timeline: Vec::new(),
            marks: Vec::new(),
            failures: Vec::new(),
            question: None,
            done: None,
            login: None,
            machine: None,
        }
    }

    fn take(&mut self, hit: &Hit) {
        let Some(signature) = self.knowledge.signature(hit.signature) else { return };
        let is_foreign = signature.installer.is_some() && signature.installer != self.installer;
        // A log with an installer in it is not that of a finished system.
        let is_misplaced = match signature.scope {
            Scope::Any | Scope::Log => false,
            Scope::Install => self.installer.is_none(),
            Scope::Verify => self.installer.is_some(),
        };
        if is_foreign || is_misplaced {
            return;
        }
        if matches!(signature.verdict, Verdict::Progress | Verdict::EndedWell) {
            let is_another_phase = signature.phase.is_some_and(|it| it > self.phase);
            self.failures.retain(|it| {
                it.mark.line_number == hit.number
                    || !((it.weak && is_another_phase)
                        || signature.settles.contains(&it.mark.signature))
            });
        }
        if let Some(phase) = signature.phase
            && matches!(signature.verdict, Verdict::Progress | Verdict::EndedWell)
        {
            if phase > self.phase || self.timeline.is_empty() {
                self.phase = phase;
                self.timeline.push(Reached {
                    phase,
                    line_number: hit.number,
                    line: hit.text.clone(),
                });
            }
            self.question = None;
        }
        let mark = self.mark(signature, hit);
        if self.marks.len() < MOST_MARKS && is_worth_a_mark(self.marks.last(), &mark) {
            self.marks.push(mark.clone());
        }
        if let Some(end) = signature.machine {
            self.machine = Some((end, mark.clone()));
        }
        match signature.verdict {
            Verdict::EndedBadly => {
                let is_log = signature.scope == Scope::Log;
                // A console's first complaint is the cause. Much of what a log
                // complains of is tried again: its last one is.
                if is_log {
                    self.failures.retain(|it| !it.is_log);
                }
                let is_known = self.failures.iter().any(|it| it.mark.signature == mark.signature);
                if !is_known {
                    self.failures.push(Failure { weak: signature.weak, is_log, mark });
                }
            }
            Verdict::WaitsForInput => {
                let keeps = self.question.as_ref().is_some_and(|(weak, spoken, _)| {
                    !*weak && signature.weak && hit.spoken.saturating_sub(*spoken) <= QUESTION_LINES
                });
                if !keeps {
                    self.question = Some((signature.weak, hit.spoken, mark));
                }
            }
            Verdict::EndedWell if signature.phase == Some(Phase::Login) => self.login = Some(mark),
            Verdict::EndedWell => {
                self.failures.retain(|it| !it.is_log);
                self.done = self.done.take().or(Some(mark));
            }
            Verdict::Progress | Verdict::Harmless | Verdict::Warning | Verdict::Stalled => {}
        }
    }

    fn mark(&self, signature: &Signature, hit: &Hit) -> Mark {
        let fill = |text: &String| fill(text, &hit.captures);
        Mark {
            line_number: hit.number,
            line: hit.text.clone(),
            signature: signature.id.clone(),
            verdict: signature.verdict,
            meaning: fill(&signature.meaning),
            cause: signature.cause,
            remedy: signature.remedy.as_ref().map(fill),
            directive: signature.directive.as_ref().map(fill),
            phase: self.phase,
        }
    }

    fn end(self, examiner: &Examiner) -> Explanation {
        let ends = self.installer.and_then(|it| self.knowledge.ends(it));
        let is_complete = self.done.is_some() || ends.is_some_and(|it| self.phase >= it.complete);
        let question = self.question.filter(|(_, spoken, _)| {
            examiner.spoken().saturating_sub(*spoken) <= QUESTION_LINES && self.machine.is_none()
        });
        let failure = self.failures.into_iter().min_by_key(|it| it.weak);
        let (verdict, judgement) = if let Some(Failure { mark, .. }) = failure {
            (Ending::EndedBadly, Some(mark))
        } else if let Some((_, _, mark)) = question {
            (Ending::WaitsForInput, Some(mark))
        } else if let Some(mark) = self.login {
            (Ending::EndedWell, Some(mark))
        } else {
            match self.machine {
                Some((MachineEnd::PoweredOff, mark)) if is_complete => {
                    (Ending::EndedWell, Some(self.done.unwrap_or(mark)))
                }
                Some((MachineEnd::PoweredOff, mark)) => {
                    (Ending::EndedBadly, Some(too_early(mark, "powered off", self.phase)))
                }
                Some((end, mark)) if is_complete => (
                    Ending::Rebooted,
                    Some(Mark {
                        meaning: match end {
                            MachineEnd::Halted => {
                                "the installation was done, and the machine halted".to_owned()
                            }
                            _ => "the installation was done, and the machine rebooted".to_owned(),
                        },
                        remedy: ends.map(|it| {
                            format!("to have it switched off instead, tell {} so", it.title)
                        }),
                        directive: ends.map(|it| it.power_off.clone()),
                        ..mark
                    }),
                ),
                Some((_, mark)) => {
                    (Ending::EndedBadly, Some(too_early(mark, "went down", self.phase)))
                }
                None if self.done.is_some() => (Ending::EndedWell, self.done),
                None => (Ending::Unfinished, None),
            }
        };
        let mut last_lines = examiner.last_lines();
        last_lines.extend(examiner.tail().filter(|it| last_lines.last() != Some(it)));
        Explanation {
            installer: self.installer,
            timeline: self.timeline,
            marks: self.marks,
            verdict,
            judgement,
            lines: examiner.line_number() - u64::from(examiner.tail().is_none()),
            last_lines,
        }
    }
}

/// A machine that ended before its time.
fn too_early(mark: Mark, how: &str, phase: Phase) -> Mark {
    Mark {
        meaning: format!(
            "the machine {how} in phase {phase}, before the boot loader was installed"
        ),
        cause: mark.cause.or(Some(Cause::Installer)),
        remedy: Some(
            "look at the lines before it: the installer gave up, or somebody stopped the machine"
                .to_owned(),
        ),
        verdict: Verdict::EndedBadly,
        ..mark
    }
}

/// Not the tenth redraw of the same line.
fn is_worth_a_mark(last: Option<&Mark>, mark: &Mark) -> bool {
    mark.verdict != Verdict::Harmless
        && last.is_none_or(|it| {
            (it.signature.as_str(), it.line_number) != (&mark.signature, mark.line_number)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knowledge() -> Arc<Knowledge> {
        Arc::new(Knowledge::builtin().unwrap())
    }

    #[test]
    fn a_log_is_told_as_a_story() {
        let log = b"Starting system log daemon: syslogd, klogd.\nConfiguring the network with DHCP  ... 100%\n\
            Installing the base system  ... 0%... 17%\nInstall the base system\n\n!! ERROR: Debootstrap Error\n\n\
            Couldn't retrieve e2fsprogs. This may be due to a network problem or bad\nmedia.\n";
        let story = explain(log, &knowledge());
        assert_eq!(story.installer, Some(InstallerKind::DebianInstaller));
        let timeline: Vec<_> = story.timeline.iter().map(|it| (it.phase, it.line_number)).collect();
        assert_eq!(timeline, [(Phase::Boot, 1), (Phase::Network, 2), (Phase::BaseSystem, 3)]);
        let judgement = story.judgement.unwrap();
        assert_eq!(story.verdict, Ending::EndedBadly);
        assert_eq!((judgement.cause, judgement.line_number), (Some(Cause::Mirror), 8));
        assert!(judgement.meaning.contains("e2fsprogs"), "{}", judgement.meaning);
        assert_eq!(story.lines, 9);
    }

    #[test]
    fn what_the_installer_got_over_is_no_failure() {
        let log = |end: &str| {
            let text = format!(
                "anaconda 40.1 for CentOS Stream 10 started.\nInstalling the software\n\
                Traceback (most recent call last):\n{end}"
            );
            explain(text.as_bytes(), &knowledge()).verdict
        };
        assert_eq!(log(""), Ending::EndedBadly);
        let rest =
            "Installing boot loader\nInstallation complete\n[ 9.123456] reboot: Power down\n";
        assert_eq!(log(rest), Ending::EndedWell);
        assert_eq!(
            log(&format!("Kernel panic - not syncing: Attempted to kill init!\n{rest}")),
            Ending::EndedBadly
        );
    }

    #[test]
    fn a_log_that_ends_in_the_middle_is_unfinished() {
        let story = explain(b"Installing the base system  ... 0%... 17%", &knowledge());
        assert_eq!((story.verdict, story.judgement), (Ending::Unfinished, None));
        assert_eq!(explain(b"", &knowledge()).lines, 0);
    }

    #[test]
    fn many_lines_that_mean_the_same_are_kept_once_in_a_while() {
        let log = "!! ERROR: Bad archive mirror\n".repeat(10_000);
        let story = explain(log.as_bytes(), &knowledge());
        assert!(story.marks.len() <= 2 * MOST_OF_ONE as usize + 2, "{}", story.marks.len());
        assert_eq!(story.judgement.unwrap().line_number, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_bytes_can_be_explained(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            explain(&bytes, &knowledge());
        }
    }
}
