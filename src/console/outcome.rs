//! What became of an installation.
//!
//! A machine that goes off proves nothing by itself: installers that fail go
//! off, too. It was installed where its installer said so, or came far enough,
//! and then switched the machine off.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{Cause, Phase, Verdict, knowledge::InstallerEnd, signature::MachineEnd};

/// What is said about a machine, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// What it is.
    pub verdict: Verdict,
    /// The signature it rests on, such as `debconf/mirror/bad`; `watch/…` where
    /// it rests on something else than text.
    pub signature: String,
    /// In plain English, without a period.
    pub meaning: String,
    /// Where the cause lies.
    pub cause: Option<Cause>,
    /// What to do.
    pub remedy: Option<String>,
    /// The line of the answer file that would have prevented it.
    pub directive: Option<String>,
    /// The line of the console, where there is one.
    pub line: Option<String>,
    /// Its number, from 1.
    pub line_number: Option<u64>,
    /// The last lines of the console when it was judged.
    pub context: Vec<String>,
    /// Lines of the installer's own log that explain it, oldest first.
    pub log: Vec<String>,
    /// Why it may be otherwise.
    pub doubt: Option<String>,
    /// The phase it happened in.
    pub phase: Phase,
    /// When, since the machine was started.
    pub at: Duration,
    /// When, since the phase began.
    pub in_phase: Duration,
}

/// How a machine ended, as its platform saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was switched off from inside.
    PoweredOff,
    /// It started again.
    Rebooted,
    /// It stopped without being switched off.
    Halted,
    /// Its kernel said that it panicked (pvpanic).
    Panicked,
    /// It is gone, and whether it was a reboot cannot be told from outside; the
    /// console decides.
    Exited,
    /// The platform gave up on it: an error of the host, a quota, a crash of the
    /// emulator.
    Failed(String),
    /// Somebody deleted it.
    Deleted,
}

/// What became of it all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did what it was to do.
    Success(Success),
    /// It did not.
    Failure(Box<Judgement>),
}

/// Why an installation, or a boot of its result, counts as done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Success {
    /// The phase that was reached.
    pub phase: Phase,
    /// The line in which the installer said that it was done.
    pub line: Option<String>,
    /// When the machine ended.
    pub at: Duration,
}

/// What is known when a machine ends.
pub(super) struct Known<'a> {
    pub(super) phase: Phase,
    pub(super) phase_since: Duration,
    /// The installer said that it was done.
    pub(super) done: Option<&'a Judgement>,
    /// What the console said about the end.
    pub(super) machine: Option<MachineEnd>,
    pub(super) ends: Option<&'a InstallerEnd>,
    pub(super) context: Vec<String>,
    pub(super) is_install: bool,
}

/// Judges the end of a machine about which nothing bad was heard.
pub(super) fn conclude(known: Known<'_>, end: &End, at: Duration) -> Outcome {
    let complete = known.ends.map_or(Phase::BootLoader, |it| it.complete);
    let is_complete = known.done.is_some() || known.phase >= complete;
    let is_off = match end {
        End::PoweredOff => true,
        // Without a word a machine that leaves the emulator was switched off.
        End::Exited => matches!(known.machine, None | Some(MachineEnd::PoweredOff)),
        _ => false,
    };
    if known.is_install && is_complete && is_off {
        let line = known.done.and_then(|it| it.line.clone());
        return Outcome::Success(Success { phase: known.phase, line, at });
    }
    let phase = known.phase;
    let title = known.ends.map_or("the installer", |it| it.title.as_str());
    let power_off = known.ends.map(|it| it.power_off.clone());
    let (id, meaning, cause, remedy, directive) = match (end, known.machine) {
        (End::Failed(reason), _) => (
            "watch/platform",
            format!("the machine failed in phase {phase}: {reason}"),
            None,
            if reason.contains("No space left") {
                "make room for the run's disks, or name a work folder elsewhere with --work-dir"
            } else {
                "see what the platform says about it"
            }
            .to_owned(),
            None,
        ),
        (End::Deleted, _) => (
            "watch/deleted",
            format!("somebody deleted the machine in phase {phase}"),
            None,
            "build again, and keep clean-up jobs away from the machine".to_owned(),
            None,
        ),
        (End::Panicked, _) => (
            "watch/panicked",
            format!("the guest's kernel panicked in phase {phase}, as its pvpanic device says"),
            Some(Cause::Kernel),
            "look at the last lines of the console; too little memory or a kernel that does not fit the initrd are usual"
                .to_owned(),
            None,
        ),
        _ if !known.is_install => (
            "watch/ended",
            format!("the machine went off in phase {phase}, before the condition held"),
            Some(Cause::Boot),
            "boot the image by hand and look at its console".to_owned(),
            None,
        ),
        (End::Rebooted, _) | (End::Exited, Some(MachineEnd::Rebooted)) if is_complete => (
            "watch/rebooted",
            format!("the installation was done, and then {title} rebooted the machine instead of switching it off"),
            Some(Cause::AnswerFile),
            format!("tell {title} to switch the machine off at the end"),
            power_off,
        ),
        (End::Halted, _) | (End::Exited, Some(MachineEnd::Halted)) if is_complete => (
            "watch/halted",
            format!("the installation was done, and then {title} halted the machine instead of switching it off"),
            Some(Cause::AnswerFile),
            format!("tell {title} to switch the machine off at the end"),
            power_off,
        ),
        (End::Rebooted, _) | (End::Exited, Some(MachineEnd::Rebooted)) => (
            "watch/rebooted-early",
            format!("the machine rebooted in phase {phase}, before the {complete} phase was reached"),
            Some(if phase == Phase::Boot { Cause::Kernel } else { Cause::Installer }),
            "look at the last lines of the console: the installer gave up, or the machine crashed".to_owned(),
            None,
        ),
        (End::Halted, _) | (End::Exited, Some(MachineEnd::Halted)) => (
            "watch/halted-early",
            format!("the machine halted in phase {phase}, before the {complete} phase was reached"),
            Some(Cause::Installer),
            "look at the last lines of the console: the installer gave up".to_owned(),
            None,
        ),
        (End::PoweredOff | End::Exited, _) => (
            "watch/too-early",
            format!("the machine powered off in phase {phase}, before the boot loader was installed"),
            Some(Cause::Installer),
            "look at the last lines of the console: the installer gave up, or somebody switched the machine off"
                .to_owned(),
            None,
        ),
    };
    Outcome::Failure(Box::new(Judgement {
        verdict: Verdict::EndedBadly,
        signature: id.to_owned(),
        meaning,
        cause,
        remedy: Some(remedy),
        directive,
        line: known.context.last().cloned(),
        line_number: None,
        context: known.context,
        log: Vec::new(),
        doubt: None,
        phase,
        at,
        in_phase: at.saturating_sub(known.phase_since),
    }))
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.meaning)
    }
}
