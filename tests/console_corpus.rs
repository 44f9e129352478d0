//! Every log under `tests/consoles` is judged as its note says.
//!
//! `cargo test --test console_corpus -- --nocapture` prints what was found and
//! with what precision and recall.

#![expect(clippy::print_stdout, reason = "the figures are for people")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use imgbuild::{
    catalogue::InstallerKind,
    console::{
        Cause, Phase, Verdict,
        evidence::Evidence,
        explain::{Ending, explain},
        knowledge::Knowledge,
        outcome::{End, Outcome},
        watch::{Budgets, Condition, Finding, Purpose, Watch, Watcher},
    },
};
use serde::Deserialize;

/// What a log is, beside it as TOML.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Note {
    installer: Option<InstallerKind>,
    #[serde(default)]
    purpose: What,
    verdict: Verdict,
    cause: Option<Cause>,
    phase: Phase,
    signature: Option<String>,
    directive: Option<String>,
    /// How the machine ended; it still runs where this is missing.
    end: Option<Off>,
    /// What `explain` says of it, where that differs.
    explained: Option<String>,
    source: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    #[default]
    Install,
    Verify,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Off {
    PoweredOff,
    Rebooted,
}

/// What was made of a log.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    verdict: Verdict,
    cause: Option<Cause>,
    phase: Phase,
    signature: String,
    directive: Option<String>,
    /// How long after the last byte it was found.
    after: Duration,
}

/// A watched machine says so much at a time, and so often.
const PIECE: usize = 700;
const PAUSE: Duration = Duration::from_millis(300);
/// A question is to be seen within this.
const QUESTION: Duration = Duration::from_secs(30);
/// Everything else is to be seen within this.
const FAILURE: Duration = Duration::from_secs(15);

fn watch(log: &[u8], note: &Note, knowledge: &Arc<Knowledge>) -> Option<Found> {
    let purpose = match note.purpose {
        What::Install => Purpose::Install,
        What::Verify => Purpose::Verify(Condition::LoginPrompt),
    };
    let hour = Duration::from_hours(1);
    let budgets = Budgets { phases: BTreeMap::new(), idle: hour, total: 4 * hour };
    let setting = Watch { purpose, installer: note.installer, budgets, emulator: None };
    let mut watcher = Watcher::new(Arc::clone(knowledge), setting);
    let mut at = Duration::ZERO;
    let mut findings = Vec::new();
    for piece in log.chunks(PIECE) {
        findings.extend(watcher.feed(piece, at).into_iter().map(|it| (at, it)));
        at += PAUSE;
        findings.extend(watcher.tick(at, &Evidence::default()).into_iter().map(|it| (at, it)));
    }
    let end = at;
    if note.end.is_none() {
        while at < end + QUESTION {
            at += Duration::from_secs(1);
            findings.extend(watcher.tick(at, &Evidence::default()).into_iter().map(|it| (at, it)));
        }
    }
    let judgement = findings.into_iter().find_map(|(seen, it)| match it {
        Finding::Verdict(it)
            if note.purpose == What::Verify || it.verdict != Verdict::EndedWell =>
        {
            Some((seen, Outcome::Failure(it)))
        }
        _ => None,
    });
    let outcome = judgement.or_else(|| {
        let end = match note.end? {
            Off::PoweredOff => End::PoweredOff,
            Off::Rebooted => End::Rebooted,
        };
        Some((at, watcher.conclude(&end, at)))
    });
    let (seen, outcome) = outcome?;
    Some(match outcome {
        Outcome::Failure(it) => Found {
            verdict: it.verdict,
            cause: it.cause,
            phase: it.phase,
            signature: it.signature,
            directive: it.directive,
            after: seen.saturating_sub(end),
        },
        Outcome::Success(it) => Found {
            verdict: Verdict::EndedWell,
            cause: None,
            phase: it.phase,
            signature: String::new(),
            directive: None,
            after: Duration::ZERO,
        },
    })
}

/// What `explain` is to say of the log.
fn expected_ending(note: &Note) -> Ending {
    match (note.explained.as_deref(), note.verdict) {
        (Some("rebooted"), _) => Ending::Rebooted,
        (_, Verdict::EndedWell) => Ending::EndedWell,
        (_, Verdict::WaitsForInput) => Ending::WaitsForInput,
        _ => Ending::EndedBadly,
    }
}

#[test]
fn every_log_is_judged_as_its_note_says() {
    let knowledge = Arc::new(Knowledge::builtin().unwrap());
    let mut names: Vec<_> = fs_err::read_dir("tests/consoles")
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "log"))
        .collect();
    names.sort();
    let (mut faults, mut rows) = (Vec::new(), Vec::new());
    let (mut right, mut false_alarms, mut missed, mut good) = (0_u32, 0_u32, 0_u32, 0_u32);
    for path in &names {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let log = fs_err::read(path).unwrap();
        let note: Note =
            toml::from_str(&fs_err::read_to_string(path.with_extension("toml")).unwrap()).unwrap();
        assert!(!note.source.is_empty(), "{name} names no source");
        let found = watch(&log, &note, &knowledge);
        let is_good = note.verdict == Verdict::EndedWell;
        let says_good = found.as_ref().is_none_or(|it| it.verdict == Verdict::EndedWell);
        let explanation = explain(&log, &knowledge);
        let mut complaints = Vec::new();
        match &found {
            None => complaints.push("nothing was seen".to_owned()),
            Some(found) => {
                let mut compare = |what: &str, is_right: bool, found: String| {
                    if !is_right {
                        complaints.push(format!("{what} is {found}"));
                    }
                };
                compare("verdict", found.verdict == note.verdict, format!("{:?}", found.verdict));
                compare(
                    "cause",
                    is_good || found.cause == note.cause,
                    format!("{:?}", found.cause),
                );
                compare("phase", found.phase == note.phase, found.phase.to_string());
                compare(
                    "signature",
                    is_good || note.signature.as_ref().is_none_or(|it| *it == found.signature),
                    found.signature.clone(),
                );
                compare(
                    "directive",
                    note.directive.is_none() || note.directive == found.directive,
                    format!("{:?}", found.directive),
                );
                let patience =
                    if found.verdict == Verdict::WaitsForInput { QUESTION } else { FAILURE };
                compare("delay", found.after <= patience, format!("{:?}", found.after));
            }
        }
        if explanation.verdict != expected_ending(&note) {
            complaints.push(format!(
                "explained as {:?}: {:?}",
                explanation.verdict,
                explanation.judgement.map(|it| (it.signature, it.line))
            ));
        }
        if note.purpose == What::Install
            && note.installer.is_some()
            && explanation.installer != note.installer
        {
            complaints.push(format!("explained as a log of {:?}", explanation.installer));
        }
        match (is_good, says_good) {
            (true, true) => good += 1,
            (true, false) => false_alarms += 1,
            (false, true) => missed += 1,
            (false, false) => right += 1,
        }
        let seen = found.map_or_else(String::new, |it| {
            format!("{:?} {} +{:?}", it.verdict, it.signature, it.after)
        });
        rows.push(format!(
            "{} {name:40} {seen}",
            if complaints.is_empty() { "ok " } else { "BAD" }
        ));
        if !complaints.is_empty() {
            faults.push(format!("{name}: {}", complaints.join("; ")));
        }
    }
    let share = |part: u32, rest: u32| 100.0 * f64::from(part) / f64::from((part + rest).max(1));
    println!("{}", rows.join("\n"));
    println!(
        "\n{} logs: {right} failures seen, {missed} missed, {good} successes, {false_alarms} false alarms",
        names.len()
    );
    println!(
        "precision {:.1} %, recall {:.1} %, all details right in {:.1} %",
        share(right, false_alarms),
        share(right, missed),
        share(
            u32::try_from(names.len() - faults.len()).unwrap(),
            u32::try_from(faults.len()).unwrap()
        ),
    );
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_command_tells_people_what_a_log_says() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_imgbuild"))
        .args(["explain", "tests/consoles/debian-13-unknown-package.log"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["installer  debian-installer\n", "\nit failed\n", "help: ", "answer file: d-i "] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}
