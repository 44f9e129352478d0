//! A machine judged while it runs.
//!
//! Three rules. What is fatal counts at once. A question counts when it is the
//! last thing that was said and nobody answers within its patience. A stall
//! counts only where nothing that can be measured shows work: slow is not
//! stalled. Whoever drives the machine calls [`Watcher::feed`] with what came,
//! [`Watcher::tick`] about once a second, and [`Watcher::conclude`] at its end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Cause, Phase, Verdict,
    evidence::{Activity, Evidence, Record},
    examine::{Examiner, Hit},
    knowledge::{CONDITION, Knowledge, MachineEnd, Scope, Signature, fill},
    outcome::{self, End, Judgement, Known, Outcome, Success},
};
use crate::{catalogue::InstallerKind, model::VerifyCondition, units::Span};

/// What is watched, and for what.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What the machine is to do.
    pub purpose: Purpose,
    /// The installer, where it is known; its signatures alone count then.
    pub installer: Option<InstallerKind>,
    /// How long things may take.
    pub budgets: Budgets,
    /// Why a panic may be the emulator's fault, where it may.
    pub emulator: Option<String>,
}

/// What a machine is to do.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Install, and go off.
    Install,
    /// Boot, until the condition holds.
    Verify(Condition),
}

/// What must be seen on the console of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A login prompt.
    LoginPrompt,
    /// The signature that [`Knowledge::for_verify`] made of a spec's pattern.
    Console,
    /// Nothing: somebody else finds out.
    Elsewhere,
}

impl From<&VerifyCondition> for Condition {
    fn from(condition: &VerifyCondition) -> Self {
        match condition {
            VerifyCondition::LoginPrompt => Self::LoginPrompt,
            VerifyCondition::Console(_) => Self::Console,
            VerifyCondition::Ssh(_) => Self::Elsewhere,
        }
    }
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// A phase; one that is not named may take as long as it likes.
    pub phases: BTreeMap<Phase, Duration>,
    /// Without any sign of work.
    pub idle: Duration,
    /// Everything.
    pub total: Duration,
}

/// What a watcher noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A phase began.
    PhaseReached {
        /// Which.
        phase: Phase,
        /// When, since the machine was started.
        at: Duration,
    },
    /// It got further.
    Progress(Progress),
    /// Something is not as it should be, but no reason to stop.
    Noted {
        /// The signature it rests on.
        signature: String,
        /// In plain English.
        meaning: String,
        /// The line of the console.
        line: Option<String>,
    },
    /// A judgement. [`Verdict::EndedWell`] of an installer is not the end: the
    /// machine has to go off. Every other is.
    Verdict(Box<Judgement>),
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is counted or done.
    pub what: String,
    /// How far.
    pub done: u64,
    /// Out of how many; 100 where it is in hundredths.
    pub total: Option<u64>,
    /// Whether it is in hundredths.
    pub is_percent: bool,
}

/// Watches one machine.
#[derive(Debug)]
pub struct Watcher {
    examiner: Examiner,
    watch: Watch,
    record: Record,
    /// Over the shorter time that a lone request may take.
    recent: Record,
    phase: Phase,
    phase_since: Duration,
    /// When the last sign of progress was read.
    progress_at: Duration,
    last_progress: Option<Progress>,
    /// When a program last wrote something.
    spoke_at: Duration,
    /// When anything came.
    fed_at: Duration,
    /// The text after the last newline has been looked at since then.
    tail_examined: bool,
    /// What may turn out to be the end.
    pending: Vec<Pending>,
    /// The installer said that it was done.
    done: Option<Judgement>,
    decided: Option<Judgement>,
    machine: Option<MachineEnd>,
    noted: BTreeMap<String, u32>,
    slow: Option<Phase>,
}

#[derive(Debug)]
struct Pending {
    judgement: Judgement,
    after: Duration,
    weak: bool,
    /// How many lines programs had written before it.
    spoken: u64,
}

/// After so much silence an unfinished line is taken for complete.
const TAIL_QUIET: Duration = Duration::from_secs(1);
/// A weak sign of failure waits so long for a better one.
const WEAK_PATIENCE: Duration = Duration::from_secs(2);
/// A question followed by more lines than its choices take is not the last word.
const QUESTION_LINES: u64 = 40;
/// More would be noise.
const MOST_PENDING: usize = 32;
/// The same note is not given more often.
const MOST_NOTES: u32 = 3;
/// A machine that does nothing but wait for an answer, or whose installer said
/// that it was done, is given this part of the time that one without any sign of
/// work gets.
const UNANSWERED: u32 = 4;
/// But an installer that is done may have this much to tidy up.
const GOING_OFF: Duration = Duration::from_mins(1);
/// A machine that said that it halts, and then nothing for so long, has halted:
/// from outside it looks like one that idles.
const HALTED: Duration = Duration::from_secs(8);

impl Watcher {
    /// Watches a machine that is started now.
    pub fn new(knowledge: Arc<Knowledge>, watch: Watch) -> Self {
        Self {
            examiner: Examiner::new(knowledge),
            record: Record::new(watch.budgets.idle),
            recent: Record::new(watch.budgets.idle / UNANSWERED),
            watch,
            phase: Phase::Boot,
            phase_since: Duration::ZERO,
            progress_at: Duration::ZERO,
            last_progress: None,
            spoke_at: Duration::ZERO,
            fed_at: Duration::ZERO,
            tail_examined: true,
            pending: Vec::new(),
            done: None,
            decided: None,
            machine: None,
            noted: BTreeMap::new(),
            slow: None,
        }
    }

    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The last lines of the console, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        let mut lines = self.examiner.last_lines();
        lines.extend(self.examiner.tail().filter(|it| lines.last() != Some(it)));
        lines
    }

    /// Takes what came from the console at a time since the machine was started.
    pub fn feed(&mut self, bytes: &[u8], at: Duration) -> Vec<Finding> {
        if bytes.is_empty() {
            return Vec::new();
        }
        let spoken = self.examiner.spoken();
        let mut hits = Vec::new();
        let knowledge = Arc::clone(self.examiner.knowledge());
        self.examiner.feed(bytes, &mut |it| hits.push(it.keep(&knowledge)));
        self.fed_at = at;
        self.tail_examined = false;
        if self.examiner.spoken() != spoken || self.examiner.program_is_speaking() {
            self.spoke_at = at;
        }
        let mut findings = Vec::new();
        for hit in hits {
            self.take(&hit, at, &mut findings);
        }
        findings
    }

    /// Looks at what silence and evidence say at a time since the machine was
    /// started. To be called about once a second.
    pub fn tick(&mut self, at: Duration, evidence: &Evidence) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.tail_examined && at.saturating_sub(self.fed_at) >= TAIL_QUIET {
            self.examine_tail(at, &mut findings);
        }
        self.record.add(at, *evidence);
        self.recent.add(at, *evidence);
        if self.decided.is_none() {
            let verdict = self
                .due(at)
                .or_else(|| self.halted(at))
                .or_else(|| self.stalled(at, evidence, &mut findings));
            if let Some(judgement) = verdict {
                self.decide(judgement, &mut findings);
            }
        }
        findings
    }

    /// What became of the machine, now that it has ended.
    pub fn conclude(&mut self, end: &End, at: Duration) -> Outcome {
        self.examine_tail(at, &mut Vec::new());
        if self.decided.is_none() {
            let bad = self.pending.iter().filter(|it| it.judgement.verdict == Verdict::EndedBadly);
            self.decided = bad.min_by_key(|it| it.weak).map(|it| it.judgement.clone());
        }
        match &self.decided {
            Some(it) if it.verdict == Verdict::EndedWell => {
                Outcome::Success(Success { phase: it.phase, line: it.line.clone(), at: it.at })
            }
            Some(judgement) => Outcome::Failure(Box::new(judgement.clone())),
            None => self.ended(end, at),
        }
    }

    /// What an end means about which nothing bad was heard.
    fn ended(&self, end: &End, at: Duration) -> Outcome {
        let known = Known {
            phase: self.phase,
            phase_since: self.phase_since,
            done: self.done.as_ref(),
            machine: self.machine,
            ends: self.watch.installer.and_then(|it| self.examiner.knowledge().ends(it)),
            context: self.last_lines(),
            is_install: matches!(self.watch.purpose, Purpose::Install),
        };
        outcome::conclude(known, end, at)
    }

    fn examine_tail(&mut self, at: Duration, findings: &mut Vec<Finding>) {
        self.tail_examined = true;
        let mut hits = Vec::new();
        let knowledge = Arc::clone(self.examiner.knowledge());
        self.examiner.examine_tail(&mut |it| hits.push(it.keep(&knowledge)));
        for hit in hits {
            self.take(&hit, at, findings);
        }
    }

    /// Takes one signature that was found.
    fn take(&mut self, hit: &Hit, at: Duration, findings: &mut Vec<Finding>) {
        let knowledge = Arc::clone(self.examiner.knowledge());
        let Some(signature) = knowledge.signature(hit.signature) else { return };
        if !self.counts(signature) {
            return;
        }
        if signature.machine.is_some() {
            self.machine = signature.machine;
        }
        if matches!(signature.verdict, Verdict::Progress | Verdict::EndedWell) {
            self.advance(signature, hit, at, findings);
        }
        match signature.verdict {
            Verdict::Progress | Verdict::Harmless => {}
            Verdict::Warning => {
                let times = self.noted.entry(signature.id.clone()).or_default();
                *times += 1;
                if *times <= MOST_NOTES {
                    findings.push(Finding::Noted {
                        signature: signature.id.clone(),
                        meaning: fill(&signature.meaning, &hit.captures),
                        line: Some(hit.text.clone()),
                    });
                }
            }
            Verdict::EndedWell => self.ended_well(signature, hit, at, findings),
            Verdict::EndedBadly | Verdict::WaitsForInput | Verdict::Stalled => {
                let judgement = self.judge(signature, hit, at);
                let is_fatal = signature.verdict == Verdict::EndedBadly;
                let after = if signature.weak {
                    signature.after.max(WEAK_PATIENCE)
                } else {
                    signature.after
                };
                if is_fatal && after.is_zero() {
                    if self.decided.is_none() {
                        self.decide(judgement, findings);
                    }
                } else if self.pending.len() < MOST_PENDING
                    && !self.pending.iter().any(|it| {
                        it.judgement.signature == judgement.signature
                            && it.judgement.line_number == judgement.line_number
                    })
                {
                    self.pending.push(Pending {
                        judgement,
                        after,
                        weak: signature.weak,
                        spoken: hit.spoken,
                    });
                }
            }
        }
    }

    fn counts(&self, signature: &Signature) -> bool {
        let scope = match self.watch.purpose {
            Purpose::Install => Scope::Install,
            Purpose::Verify(_) => Scope::Verify,
        };
        // When the result is booted there is no installer any more.
        let is_here = signature.installer.is_none_or(|this| {
            scope != Scope::Verify && self.watch.installer.is_none_or(|expected| expected == this)
        });
        is_here && (signature.scope == Scope::Any || signature.scope == scope)
    }

    /// Takes note of how far it got; who asked a question before has gone on.
    fn advance(
        &mut self,
        signature: &Signature,
        hit: &Hit,
        at: Duration,
        findings: &mut Vec<Finding>,
    ) {
        self.progress_at = at;
        self.pending.retain(|it| it.judgement.verdict == Verdict::EndedBadly);
        if let Some(phase) = signature.phase
            && phase > self.phase
        {
            self.phase = phase;
            self.phase_since = at;
            findings.push(Finding::PhaseReached { phase, at });
        }
        let progress = Progress::of(signature, hit);
        if progress.is_some() && progress != self.last_progress {
            self.last_progress.clone_from(&progress);
            findings.extend(progress.map(Finding::Progress));
        }
    }

    fn ended_well(
        &mut self,
        signature: &Signature,
        hit: &Hit,
        at: Duration,
        findings: &mut Vec<Finding>,
    ) {
        let holds = match self.watch.purpose {
            Purpose::Install => {
                if self.done.is_none() {
                    let judgement = self.judge(signature, hit, at);
                    self.done = Some(judgement.clone());
                    findings.push(Finding::Verdict(Box::new(judgement)));
                }
                return;
            }
            Purpose::Verify(Condition::LoginPrompt) => signature.phase == Some(Phase::Login),
            Purpose::Verify(Condition::Console) => signature.id == CONDITION,
            Purpose::Verify(Condition::Elsewhere) => false,
        };
        if holds && self.decided.is_none() {
            let judgement = self.judge(signature, hit, at);
            self.decide(judgement, findings);
        }
    }

    fn judge(&self, signature: &Signature, hit: &Hit, at: Duration) -> Judgement {
        let fill = |text: &String| fill(text, &hit.captures);
        Judgement {
            verdict: signature.verdict,
            signature: signature.id.clone(),
            meaning: fill(&signature.meaning),
            cause: signature.cause,
            remedy: signature.remedy.as_ref().map(fill),
            directive: signature.directive.as_ref().map(fill),
            line: Some(hit.text.clone()),
            line_number: Some(hit.number),
            context: Vec::new(),
            doubt: self.watch.emulator.clone().filter(|_| signature.emulator),
            phase: self.phase,
            at,
            in_phase: at.saturating_sub(self.phase_since),
        }
    }

    fn decide(&mut self, mut judgement: Judgement, findings: &mut Vec<Finding>) {
        judgement.context = self.last_lines();
        self.decided = Some(judgement.clone());
        findings.push(Finding::Verdict(Box::new(judgement)));
    }

    /// What has waited long enough: failures first, then questions.
    fn due(&mut self, at: Duration) -> Option<Judgement> {
        let now = self.examiner.spoken();
        self.pending.retain(|it| {
            let lines = now.saturating_sub(it.spoken);
            match it.judgement.verdict {
                Verdict::EndedBadly => true,
                // What was to come has come: the line itself is one.
                Verdict::Stalled => lines <= 1,
                _ => lines <= QUESTION_LINES,
            }
        });
        let silence = at.saturating_sub(self.spoke_at);
        let is_due = |it: &&Pending| match it.judgement.verdict {
            Verdict::EndedBadly => at.saturating_sub(it.judgement.at) >= it.after,
            _ => silence >= it.after,
        };
        let of = |verdict| {
            self.pending.iter().filter(is_due).filter(move |it| it.judgement.verdict == verdict)
        };
        let failure = if of(Verdict::EndedBadly).next().is_some() {
            // One that is due brings the others with it: a better one may be younger.
            self.pending
                .iter()
                .filter(|it| it.judgement.verdict == Verdict::EndedBadly)
                .min_by_key(|it| it.weak)
        } else {
            None
        };
        let question = || {
            of(Verdict::WaitsForInput).next()?;
            // The last question is the one that is asked.
            self.pending
                .iter()
                .filter(|it| it.judgement.verdict == Verdict::WaitsForInput)
                .min_by_key(|it| (it.weak, std::cmp::Reverse(it.spoken)))
        };
        let stuck = || of(Verdict::Stalled).next();
        failure.or_else(question).or_else(stuck).map(|it| it.judgement.clone())
    }

    fn halted(&self, at: Duration) -> Option<Judgement> {
        let is_halted =
            self.machine == Some(MachineEnd::Halted) && at.saturating_sub(self.fed_at) >= HALTED;
        match is_halted.then(|| self.ended(&End::Halted, at))? {
            Outcome::Failure(judgement) => Some(*judgement),
            Outcome::Success(_) => None,
        }
    }

    fn stalled(
        &mut self,
        at: Duration,
        now: &Evidence,
        findings: &mut Vec<Finding>,
    ) -> Option<Judgement> {
        let budgets = self.watch.budgets.clone();
        if at >= budgets.total {
            return Some(self.late(
                "watch/timeout",
                format!("it was not done within {}", spell(budgets.total)),
                at,
                now,
            ));
        }
        let silence = at.saturating_sub(self.spoke_at);
        let patience = budgets.idle / UNANSWERED;
        let waits = now.unanswered.unwrap_or_default();
        if waits >= patience
            && silence >= patience
            && self.recent.activity(at, *now) == Some(Activity::Idle)
        {
            return Some(self.late(
                "watch/unanswered",
                format!(
                    "it has waited {} for the network in vain, and does nothing else",
                    spell(waits)
                ),
                at,
                now,
            ));
        }
        if self.done.is_some()
            && silence >= patience.max(GOING_OFF).min(budgets.idle)
            && self.recent.activity(at, *now) == Some(Activity::Idle)
        {
            let meaning = format!("no sign of work for {}: {}", spell(silence), measured(now));
            return Some(self.late("watch/idle", meaning, at, now));
        }
        let activity = self.record.activity(at, *now)?;
        let patience = if activity == Activity::Unknown { budgets.idle * 2 } else { budgets.idle };
        if matches!(activity, Activity::Idle | Activity::Unknown) && silence >= patience {
            return Some(self.late(
                "watch/idle",
                format!("no sign of work for {}: {}", spell(silence), measured(now)),
                at,
                now,
            ));
        }
        let budget = *budgets.phases.get(&self.phase)?;
        let in_phase = at.saturating_sub(self.phase_since);
        if in_phase < budget || self.done.is_some() {
            return None;
        }
        let goes_on =
            activity == Activity::Working || at.saturating_sub(self.progress_at) < budgets.idle;
        if !goes_on {
            let phase = self.phase;
            return Some(self.late(
                "watch/budget",
                format!(
                    "phase {phase} took longer than its {}, and nothing has come of it for {}",
                    spell(budget),
                    spell(at.saturating_sub(self.progress_at))
                ),
                at,
                now,
            ));
        }
        if self.slow.replace(self.phase) != Some(self.phase) {
            findings.push(Finding::Noted {
                signature: "watch/slow".to_owned(),
                meaning: format!(
                    "phase {} takes longer than its {}, but it goes on",
                    self.phase,
                    spell(budget)
                ),
                line: None,
            });
        }
        None
    }

    fn late(&self, id: &str, meaning: String, at: Duration, now: &Evidence) -> Judgement {
        let ends = self.watch.installer.and_then(|it| self.examiner.knowledge().ends(it));
        let (meaning, cause, remedy, directive) = if self.done.is_some() {
            (
                format!("the installation was done, but the machine did not go off; {meaning}"),
                Some(Cause::AnswerFile),
                "tell the installer to switch the machine off at the end".to_owned(),
                ends.map(|it| it.power_off.clone()),
            )
        } else if id == "watch/unanswered" {
            let is_mirror = self.phase >= Phase::Components;
            (
                meaning,
                Some(if is_mirror { Cause::Mirror } else { Cause::Network }),
                "see that the server can be reached from the machine and answers, or choose another"
                    .to_owned(),
                None,
            )
        } else if now.answer_fetched == Some(false) && self.phase <= Phase::Network {
            (
                format!("{meaning}; the installer never fetched its answer file"),
                Some(Cause::Network),
                "see whether the machine has a network and whether its kernel parameters name the answer file"
                    .to_owned(),
                None,
            )
        } else if id == "watch/timeout" {
            (meaning, None, "raise `install.timeout`, or see why it is slow".to_owned(), None)
        } else {
            (
                meaning,
                Some(if self.phase == Phase::Boot { Cause::Kernel } else { Cause::Installer }),
                "look at the last lines of the console and at the screenshot".to_owned(),
                None,
            )
        };
        Judgement {
            verdict: Verdict::Stalled,
            signature: id.to_owned(),
            meaning,
            cause,
            remedy: Some(remedy),
            directive,
            line: self.last_lines().last().cloned(),
            line_number: Some(self.examiner.line_number()),
            context: Vec::new(),
            doubt: None,
            phase: self.phase,
            at,
            in_phase: at.saturating_sub(self.phase_since),
        }
    }
}

/// What was looked at and found idle.
fn measured(evidence: &Evidence) -> String {
    let mut quiet = vec!["nothing on the console"];
    let counters = [
        (evidence.disk_bytes.is_some(), "nothing from the disk"),
        (evidence.net_bytes.is_some(), "nothing from the network"),
        (evidence.cpu_time.is_some(), "an idle processor"),
    ];
    quiet.extend(counters.into_iter().filter(|(known, _)| *known).map(|(_, text)| text));
    quiet.join(", ")
}

impl Progress {
    /// What the groups of a progress message say.
    pub(super) fn of(signature: &Signature, hit: &Hit) -> Option<Self> {
        let number = |name: &str| hit.captures.get(name)?.parse::<u64>().ok();
        let what = hit.captures.get("what").cloned().or_else(|| signature.counts.clone());
        let what = what.unwrap_or_else(|| signature.meaning.clone());
        if let Some(done) = number("percent") {
            return Some(Self { what, done: done.min(100), total: Some(100), is_percent: true });
        }
        Some(Self { what, done: number("done")?, total: number("total"), is_percent: false })
    }
}

/// A length of time as people read it.
fn spell(time: Duration) -> Span {
    Span::secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn watcher(purpose: Purpose) -> Watcher {
        let budgets = Budgets {
            phases: [(Phase::Boot, 10 * MINUTE), (Phase::Packages, 10 * MINUTE)].into(),
            idle: 3 * MINUTE,
            total: 60 * MINUTE,
        };
        let watch = Watch {
            purpose,
            installer: Some(InstallerKind::DebianInstaller),
            budgets,
            emulator: Some("QEMU 7.2 miscomputes".to_owned()),
        };
        Watcher::new(Arc::new(Knowledge::builtin().unwrap()), watch)
    }

    fn install() -> Watcher {
        watcher(Purpose::Install)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn verdict(findings: &[Finding]) -> Option<&Judgement> {
        findings.iter().find_map(|it| match it {
            Finding::Verdict(it) => Some(it.as_ref()),
            _ => None,
        })
    }

    /// Ticks every ten seconds until there is a verdict; the evidence is a
    /// function of the seconds.
    fn run(
        watcher: &mut Watcher,
        until: u64,
        evidence: impl Fn(u64) -> Evidence,
    ) -> Option<(u64, Judgement)> {
        (0..until).step_by(10).find_map(|second| {
            let findings = watcher.tick(at(second), &evidence(second));
            verdict(&findings).map(|it| (second, it.clone()))
        })
    }

    fn evidence(disk: u64, cpu_millis: u64) -> Evidence {
        Evidence {
            disk_bytes: Some(disk),
            net_bytes: Some(0),
            cpu_time: Some(Duration::from_millis(cpu_millis)),
            answer_fetched: None,
            unanswered: None,
        }
    }

    #[test]
    fn a_question_is_named_when_it_is_the_last_word() {
        let mut watcher = install();
        watcher.feed(b"Partition disks\n---------------\n\nPartitioning method:\n  1: Guided, \nPrompt: '?' for help> \n", at(1));
        // The kernel's chatter is not an answer.
        watcher.feed(b"[   12.345678] random: crng init done\n", at(8));
        assert_eq!(verdict(&watcher.tick(at(9), &Evidence::default())), None);
        let findings = watcher.tick(at(12), &Evidence::default());
        let judgement = verdict(&findings).unwrap();
        assert_eq!(judgement.verdict, Verdict::WaitsForInput);
        assert_eq!(judgement.directive.as_deref(), Some("d-i partman-auto/method string regular"));
        assert_eq!(judgement.line.as_deref(), Some("Partitioning method:"));
    }

    #[test]
    fn a_question_that_somebody_answers_is_none() {
        let mut watcher = install();
        watcher.feed(b"Partitioning method:\nPrompt: '?' for help> \n", at(1));
        watcher.feed(b"Installing the base system  ... 0%", at(5));
        assert_eq!(verdict(&watcher.tick(at(100), &Evidence::default())), None);
    }

    #[test]
    fn a_password_prompt_without_newline_is_seen() {
        let mut watcher = install();
        watcher.feed(b"Root password:", at(1));
        watcher.tick(at(3), &Evidence::default());
        let findings = watcher.tick(at(12), &Evidence::default());
        assert_eq!(verdict(&findings).unwrap().signature, "debconf/passwd/root-password");
    }

    #[test]
    fn what_is_fatal_counts_at_once() {
        let mut watcher = install();
        let text = b"[    1.5] x\n[    1.812400] Kernel panic - not syncing: System is deadlocked on memory\n";
        let findings = watcher.feed(text, at(2));
        let judgement = verdict(&findings).unwrap();
        assert_eq!(
            (judgement.cause, judgement.signature.as_str()),
            (Some(Cause::Memory), "kernel/panic-memory")
        );
        assert_eq!(judgement.line_number, Some(2));
    }

    #[test]
    fn a_panic_is_explained_by_what_led_to_it() {
        let mut watcher = install();
        let text = b"[    4.6] Initramfs unpacking failed: write error\n[    6.3] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.\n";
        assert_eq!(verdict(&watcher.feed(text, at(6))), None);
        let findings = watcher.tick(at(8), &Evidence::default());
        assert_eq!(verdict(&findings).unwrap().signature, "kernel/initrd-no-room");
    }

    #[test]
    fn a_boot_that_nothing_comes_of_is_a_stall() {
        let condition = Purpose::Verify(Condition::LoginPrompt);
        let mut watcher = watcher(condition.clone());
        watcher.feed(b"Booting from Hard Disk...\r\n", at(2));
        assert_eq!(verdict(&watcher.tick(at(20), &Evidence::default())), None);
        let findings = watcher.tick(at(23), &Evidence::default());
        assert_eq!(verdict(&findings).unwrap().signature, "firmware/nothing-after-boot");
        for after in
            [&b"GRUB loading.\r\n"[..], b"some loader\r\n", b"[    0.0] Linux version 6.12.1\n"]
        {
            let mut watcher = super::tests::watcher(condition.clone());
            watcher.feed(b"Booting from Hard Disk...\r\n", at(2));
            watcher.feed(after, at(3));
            assert_eq!(verdict(&watcher.tick(at(60), &Evidence::default())), None, "{after:?}");
        }
    }

    #[test]
    fn a_better_explanation_that_comes_a_moment_later_wins() {
        let mut watcher = install();
        assert_eq!(
            verdict(
                &watcher.feed(b"!! ERROR: Failed to retrieve the preconfiguration file\n\n", at(1))
            ),
            None
        );
        let findings =
            watcher.feed(b"The file needed for preconfiguration could not be retrieved from\nhttp://10.0.2.2/x. The installation\n", at(2));
        let judgement = verdict(&findings).unwrap();
        assert_eq!(judgement.signature, "debian-installer/preseed-unreachable");
    }

    #[test]
    fn nothing_at_all_is_a_stall() {
        let (second, judgement) = run(&mut install(), 600, |_| evidence(0, 0)).unwrap();
        assert_eq!((second, judgement.signature.as_str()), (180, "watch/idle"));
        assert!(judgement.meaning.contains("an idle processor"), "{}", judgement.meaning);
    }

    #[test]
    fn an_answer_that_does_not_come_is_a_stall_sooner() {
        let waiting = |second| Evidence {
            unanswered: Some(Duration::from_secs(second)),
            ..evidence(0, 10 * second)
        };
        let (second, judgement) = run(&mut install(), 600, waiting).unwrap();
        assert_eq!((second, judgement.signature.as_str()), (50, "watch/unanswered"));
        assert_eq!(judgement.cause, Some(Cause::Network));
        // Whoever works meanwhile does not wait.
        let working = |second| Evidence { disk_bytes: Some(second << 20), ..waiting(second) };
        assert_eq!(run(&mut install(), 600, working), None);
    }

    #[test]
    fn where_nothing_can_be_measured_patience_is_doubled() {
        let (second, judgement) = run(&mut install(), 600, |_| Evidence::default()).unwrap();
        assert_eq!((second, judgement.signature.as_str()), (360, "watch/idle"));
    }

    #[test]
    fn an_answer_file_that_was_never_fetched_is_said() {
        let unfetched = |_| Evidence { answer_fetched: Some(false), ..evidence(0, 0) };
        let (_, judgement) = run(&mut install(), 600, unfetched).unwrap();
        assert_eq!(judgement.cause, Some(Cause::Network));
        assert!(
            judgement.meaning.ends_with("never fetched its answer file"),
            "{}",
            judgement.meaning
        );
    }

    #[test]
    fn a_slow_machine_that_works_is_left_alone_until_the_time_is_over() {
        let works = |second| evidence(second * 100_000, second * 900);
        let (second, judgement) = run(&mut install(), 7200, works).unwrap();
        assert_eq!((second, judgement.signature.as_str()), (3600, "watch/timeout"));
    }

    #[test]
    fn a_machine_that_only_computes_may_do_so_within_its_budget() {
        let (second, judgement) =
            run(&mut install(), 3600, |second| evidence(0, second * 900)).unwrap();
        assert_eq!((second, judgement.signature.as_str()), (600, "watch/budget"));
    }

    #[test]
    fn a_phase_over_its_budget_that_goes_on_is_only_noted() {
        let mut watcher = install();
        let mut noted = 0;
        for second in (0..1800).step_by(10) {
            let findings = watcher.tick(at(second), &evidence(second * 100_000, 0));
            noted += findings.iter().filter(|it| matches!(it, Finding::Noted { .. })).count();
            assert_eq!(verdict(&findings), None);
        }
        assert_eq!(noted, 1);
    }

    #[test]
    fn an_end_is_judged_by_how_far_it_came() {
        let boot_loader: &[u8] = b"Installing GRUB boot loader  ... 16%\n";
        let early: &[u8] = b"Installing the base system  ... 3%\n";
        for (text, end, expected) in [
            (boot_loader, End::PoweredOff, Ok(Phase::BootLoader)),
            (b"IMGBUILD-DONE\n", End::PoweredOff, Ok(Phase::End)),
            (b"IMGBUILD-DONE\n[  9.123456] reboot: Power down\n", End::Exited, Ok(Phase::End)),
            (
                b"IMGBUILD-DONE\n[    9.123456] reboot: Restarting system\n",
                End::Exited,
                Err("watch/rebooted"),
            ),
            (boot_loader, End::Rebooted, Err("watch/rebooted")),
            (boot_loader, End::Halted, Err("watch/halted")),
            (early, End::PoweredOff, Err("watch/too-early")),
            (early, End::Exited, Err("watch/too-early")),
            (early, End::Rebooted, Err("watch/rebooted-early")),
            (boot_loader, End::Panicked, Err("watch/panicked")),
            (boot_loader, End::Deleted, Err("watch/deleted")),
            (boot_loader, End::Failed("no valid host".to_owned()), Err("watch/platform")),
            (b"!! ERROR: Bad archive mirror\n", End::PoweredOff, Err("debconf/mirror/bad")),
        ] {
            let mut watcher = install();
            watcher.feed(text, at(60));
            match (watcher.conclude(&end, at(61)), expected) {
                (Outcome::Success(it), Ok(phase)) => assert_eq!(it.phase, phase),
                (Outcome::Failure(it), Err(id)) => assert_eq!(it.signature, id),
                (outcome, _) => panic!("{end:?}: {outcome:?}"),
            }
        }
        let mut watcher = install();
        watcher.feed(boot_loader, at(60));
        let Outcome::Failure(judgement) = watcher.conclude(&End::Rebooted, at(61)) else {
            panic!()
        };
        assert_eq!(
            judgement.directive.as_deref(),
            Some("d-i debian-installer/exit/poweroff boolean true")
        );
    }

    #[test]
    fn a_machine_that_halts_has_ended_although_it_runs_on() {
        for (before, expected) in [
            (&b"Installing GRUB boot loader  ... 16%\n"[..], "watch/halted"),
            (b"Installing the base system  ... 3%\n", "watch/halted-early"),
        ] {
            let mut watcher = install();
            watcher.feed(before, at(60));
            watcher.feed(b"Requesting system halt\n", at(61));
            assert_eq!(verdict(&watcher.tick(at(64), &evidence(0, 0))), None, "it is on its way");
            watcher.feed(b"[   61.352126] reboot: System halted\n", at(65));
            assert_eq!(verdict(&watcher.tick(at(72), &evidence(0, 0))), None);
            let findings = watcher.tick(at(73), &evidence(0, 0));
            let judgement = verdict(&findings).unwrap();
            assert_eq!(judgement.signature, expected);
            assert_eq!(judgement.directive.is_some(), expected == "watch/halted");
        }
        let mut watcher = install();
        watcher.feed(b"Requesting system halt\nRequesting system poweroff\n", at(61));
        assert_eq!(verdict(&watcher.tick(at(90), &evidence(0, 0))), None, "the last word counts");
    }

    #[test]
    fn an_installer_that_is_done_need_not_be_waited_for_as_long() {
        let mut watcher = install();
        watcher.feed(b"IMGBUILD-DONE\n", at(1));
        let (second, judgement) = run(&mut watcher, 600, |_| evidence(5, 0)).unwrap();
        assert_eq!(second, 70, "and not 3 minutes");
        assert_eq!(judgement.signature, "watch/idle");
        let mut watcher = install();
        watcher.feed(b"IMGBUILD-DONE\n", at(1));
        let found = run(&mut watcher, 170, |second| evidence(second * 100_000, 0));
        assert_eq!(found, None, "it still writes to the disk");
    }

    #[test]
    fn a_login_prompt_proves_a_result() {
        let mut watcher = watcher(Purpose::Verify(Condition::LoginPrompt));
        watcher.feed(b"[FAILED] Failed to start x.service - X.\n\nDebian GNU/Linux 13 debian ttyS0\n\ndebian login: ", at(30));
        let findings = watcher.tick(at(32), &Evidence::default());
        assert_eq!(verdict(&findings).unwrap().verdict, Verdict::EndedWell);
        assert!(matches!(watcher.conclude(&End::Exited, at(40)), Outcome::Success(_)));
    }

    #[test]
    fn a_pattern_proves_a_result() {
        let condition = VerifyCondition::Console("^ready (?:now)?$".to_owned());
        let knowledge = Knowledge::for_verify(&[], &condition).unwrap();
        let mut watcher = watcher(Purpose::Verify(Condition::from(&condition)));
        watcher.examiner = Examiner::new(knowledge);
        assert_eq!(verdict(&watcher.feed(b"debian login:\n", at(1))), None);
        assert!(verdict(&watcher.feed(b"ready now\n", at(2))).is_some());
    }

    #[test]
    fn a_panic_under_emulation_is_doubted() {
        let mut watcher = watcher(Purpose::Verify(Condition::LoginPrompt));
        let findings = watcher.feed(
            b"[    3.123460] Kernel panic - not syncing: Attempted to kill init! exitcode=0xb\n",
            at(5),
        );
        assert_eq!(verdict(&findings).unwrap().doubt.as_deref(), Some("QEMU 7.2 miscomputes"));
    }

    #[test]
    fn a_result_that_goes_off_is_not_proved() {
        let mut watcher = watcher(Purpose::Verify(Condition::LoginPrompt));
        watcher.feed(b"Welcome to Debian GNU/Linux 13 (trixie)!\n", at(5));
        assert!(matches!(watcher.conclude(&End::PoweredOff, at(9)), Outcome::Failure(_)));
    }

    #[test]
    fn progress_counts_packages_and_hundredths() {
        let mut watcher = install();
        let findings = watcher.feed(
            b"Installing the base system  ... 3%... 40%\nimgbuild-quick: packages 3/10\n",
            at(5),
        );
        let progress: Vec<_> = findings
            .iter()
            .filter_map(|it| match it {
                Finding::Progress(it) => Some((it.what.as_str(), it.done, it.total, it.is_percent)),
                _ => None,
            })
            .collect();
        let base = "Installing the base system";
        assert_eq!(
            progress,
            [
                (base, 3, Some(100), true),
                (base, 40, Some(100), true),
                ("packages", 3, Some(10), false)
            ]
        );
    }
}
