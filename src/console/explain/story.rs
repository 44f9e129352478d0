//! What became of an installation, from what was found in its log.

use super::{
    super::{
        Cause, Phase, Verdict,
        examine::{Examiner, Hit},
        knowledge::Knowledge,
        signature::{MachineEnd, Scope, Signature, fill},
    },
    Ending, Explanation, Mark, Reached,
};
use crate::catalogue::InstallerKind;

/// More marks than anybody reads are not kept.
const MOST_MARKS: usize = 400;
/// As many lines as the choices of a question take.
const QUESTION_LINES: u64 = 40;

/// What is gathered from the hits of a log.
pub(super) struct Story<'a> {
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
    pub(super) fn new(knowledge: &'a Knowledge, installer: Option<InstallerKind>) -> Self {
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

    pub(super) fn take(&mut self, hit: &Hit) {
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

    pub(super) fn end(self, examiner: &Examiner) -> Explanation {
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
