//! Stalls by evidence: only where nothing that can be measured shows work.

use std::time::Duration;

use super::{
    super::{
        Cause, Phase, Verdict,
        evidence::{Activity, Evidence},
        outcome::{End, Judgement, Outcome},
        signature::MachineEnd,
    },
    Condition, Finding, Purpose, Watcher,
};
use crate::units::Span;

/// A machine that does nothing but wait for an answer, or whose installer said
/// that it was done, is given this part of the time that one without any sign of
/// work gets.
pub(super) const UNANSWERED: u32 = 4;
/// But an installer that is done may have this much to tidy up.
const GOING_OFF: Duration = Duration::from_mins(1);
/// A machine that said that it halts, and then nothing for so long, has halted:
/// from outside it looks like one that idles.
const HALTED: Duration = Duration::from_secs(8);

/// One that said that it starts again has done so by then. Where its platform does
/// not tell, what follows on the console is the next start.
const REBOOTED: Duration = Duration::from_secs(20);

impl Watcher {
    /// An end that the platform does not report.
    pub(super) fn went_down(&self, at: Duration) -> Option<Judgement> {
        let (end, said_at) = self.machine?;
        let end = match end {
            MachineEnd::Halted => {
                (at.saturating_sub(self.fed_at) >= HALTED).then_some(End::Halted)?
            }
            MachineEnd::Rebooted if matches!(self.watch.purpose, Purpose::Install) => {
                (at.saturating_sub(said_at) >= REBOOTED).then_some(End::Rebooted)?
            }
            // The platform sees the one, and a result may do the other.
            MachineEnd::PoweredOff | MachineEnd::Rebooted => return None,
        };
        match self.ended(&end, at) {
            Outcome::Failure(judgement) => Some(*judgement),
            Outcome::Success(_) => None,
        }
    }

    pub(super) fn stalled(
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
            let limit = match self.watch.purpose {
                Purpose::Install => "`install.timeout`",
                Purpose::Verify(Condition::Elsewhere) => "its `timeout`",
                Purpose::Verify(_) => "`verify.timeout`",
            };
            (meaning, None, format!("raise {limit}, or see why it is slow"), None)
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
            log: Vec::new(),
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

/// A length of time as people read it.
fn spell(time: Duration) -> Span {
    Span::secs(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{super::pretence::*, *};

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
    fn a_machine_that_starts_again_has_ended_where_its_platform_does_not_tell() {
        for (before, expected) in [
            (&b"Installing GRUB boot loader  ... 16%\n"[..], "watch/rebooted"),
            (b"Installing the base system  ... 3%\n", "watch/rebooted-early"),
        ] {
            let mut watcher = install();
            watcher.feed(before, at(60));
            watcher.feed(
                b"Requesting system reboot\n[   61.352126] reboot: Restarting system\n",
                at(61),
            );
            watcher.feed(b"SeaBIOS (version 1.16.3)\nGRUB loading.\n", at(63));
            assert_eq!(verdict(&watcher.tick(at(70), &evidence(0, 0))), None);
            let findings = watcher.tick(at(82), &evidence(1 << 30, 0));
            assert_eq!(verdict(&findings).unwrap().signature, expected);
        }
        let mut result = watcher(Purpose::Verify(Condition::LoginPrompt));
        result.feed(b"[   11.352126] reboot: Restarting system\n", at(11));
        assert_eq!(verdict(&result.tick(at(60), &evidence(0, 0))), None, "to label its files, say");
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
}
