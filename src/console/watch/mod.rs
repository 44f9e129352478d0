//! A machine judged while it runs.
//!
//! Three rules. What is fatal counts at once. A question counts when it is the
//! last thing that was said and nobody answers within its patience. A stall
//! counts only where nothing that can be measured shows work: slow is not
//! stalled. Whoever drives the machine calls [`Watcher::feed`] with what came,
//! [`Watcher::tick`] about once a second, and [`Watcher::conclude`] at its end.

mod finding;
mod pending;
mod stall;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use self::finding::{Finding, Progress};
use self::{pending::Pending, stall::UNANSWERED};
use super::{
    Phase, Verdict,
    evidence::{Evidence, Record},
    examine::{Examiner, Hit},
    knowledge::{CONDITION, Knowledge},
    outcome::{self, End, Judgement, Known, Outcome, Success},
    signature::{MachineEnd, Scope, Signature, fill},
};
use crate::{catalogue::InstallerKind, model::VerifyCondition};

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
    pending: Pending,
    /// The installer said that it was done.
    done: Option<Judgement>,
    decided: Option<Judgement>,
    /// How it said that it goes off, and when.
    machine: Option<(MachineEnd, Duration)>,
    noted: BTreeMap<String, u32>,
    slow: Option<Phase>,
}

/// After so much silence an unfinished line is taken for complete.
const TAIL_QUIET: Duration = Duration::from_secs(1);
/// The same note is not given more often.
const MOST_NOTES: u32 = 3;
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
            pending: Pending::default(),
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
            let silence = at.saturating_sub(self.spoke_at);
            let verdict = self
                .pending
                .due(at, self.examiner.spoken(), silence)
                .cloned()
                .or_else(|| self.went_down(at))
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
            self.decided = self.pending.worst().cloned();
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
            machine: self.machine.map(|(end, _)| end),
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
        if let Some(end) = signature.machine {
            self.machine = Some((end, at));
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
                if let Some(judgement) = self.pending.take(judgement, signature, hit)
                    && self.decided.is_none()
                {
                    self.decide(judgement, findings);
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
        let later = signature.phase.filter(|it| *it > self.phase);
        self.pending.go_on(signature, hit, later.is_some());
        if let Some(phase) = later {
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
            log: Vec::new(),
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
}

/// A watcher and what it is told, for the tests of this folder.
#[cfg(test)]
mod pretence {
    use super::*;

    pub(in crate::console) const MINUTE: Duration = Duration::from_mins(1);

    pub(in crate::console) fn watcher(purpose: Purpose) -> Watcher {
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

    pub(in crate::console) fn install() -> Watcher {
        watcher(Purpose::Install)
    }

    pub(in crate::console) fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    pub(in crate::console) fn verdict(findings: &[Finding]) -> Option<&Judgement> {
        findings.iter().find_map(|it| match it {
            Finding::Verdict(it) => Some(it.as_ref()),
            _ => None,
        })
    }

    /// Ticks every ten seconds until there is a verdict; the evidence is a
    /// function of the seconds.
    pub(in crate::console) fn run(
        watcher: &mut Watcher,
        until: u64,
        evidence: impl Fn(u64) -> Evidence,
    ) -> Option<(u64, Judgement)> {
        (0..until).step_by(10).find_map(|second| {
            let findings = watcher.tick(at(second), &evidence(second));
            verdict(&findings).map(|it| (second, it.clone()))
        })
    }

    pub(in crate::console) fn evidence(disk: u64, cpu_millis: u64) -> Evidence {
        Evidence {
            disk_bytes: Some(disk),
            net_bytes: Some(0),
            cpu_time: Some(Duration::from_millis(cpu_millis)),
            answer_fetched: None,
            unanswered: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Cause, pretence::*, *};

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
            let mut watcher = pretence::watcher(condition.clone());
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
    fn what_the_installer_gets_over_is_no_failure() {
        let own = [
            serde_json::json!({"id": "own/tried", "text": "cannot fetch", "meaning": "x",
                "verdict": "ended-badly", "after": "10s"}),
            serde_json::json!({"id": "own/fetched", "text": "fetched it", "meaning": "x",
                "verdict": "progress", "settles": ["own/tried"]}),
            serde_json::json!({"id": "own/weak", "text": "odd", "meaning": "x",
                "verdict": "ended-badly", "weak": true, "after": "10s"}),
        ];
        let next_phase: &[u8] = b"Select and install software  ... 1%\n";
        for (before, after, expected) in [
            (&b"cannot fetch\n"[..], &b"fetched it\n"[..], None),
            (b"cannot fetch\n", b"fetched it\ncannot fetch\n", Some("own/tried")),
            (b"cannot fetch\n", next_phase, Some("own/tried")),
            (b"odd\n", next_phase, None),
            (b"odd\n", b"fetched it\n", Some("own/weak")),
        ] {
            let mut watcher = install();
            watcher.examiner = Examiner::new(Arc::new(Knowledge::with(&own).unwrap()));
            watcher.feed(before, at(1));
            watcher.feed(after, at(3));
            let findings = watcher.tick(at(14), &evidence(0, 0));
            let found = verdict(&findings).map(|it| it.signature.as_str());
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(after));
        }
    }

    #[test]
    fn noise_does_not_keep_out_what_counts() {
        let own =
            [serde_json::json!({"id": "own/waits", "pattern": "still waiting for (?P<what>\\S+)",
            "meaning": "x", "verdict": "ended-badly", "after": "1h", "cause": "boot"})];
        let mut watcher = install();
        watcher.examiner = Examiner::new(Arc::new(Knowledge::with(&own).unwrap()));
        for number in 0..200 {
            watcher.feed(format!("still waiting for disk{number}\n").as_bytes(), at(1));
        }
        watcher.feed(b"!! ERROR: Bad archive mirror\n", at(2));
        let findings = watcher.tick(at(5), &evidence(0, 0));
        assert!(verdict(&findings).is_some());
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
