//! A stored console log, explained.
//!
//! The same knowledge as for a running machine, without a clock: a question is
//! unanswered where the log ends with it.

mod story;

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use self::story::Story;
use super::{
    Cause, Phase, Verdict,
    examine::{Examiner, Found, Hit},
    knowledge::Knowledge,
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

/// Of one signature no more are kept.
const MOST_OF_ONE: u32 = 20;

/// Explains a console log.
pub fn explain(bytes: &[u8], knowledge: &Arc<Knowledge>) -> Explanation {
    let mut explainer = Explainer::new(Arc::clone(knowledge));
    explainer.feed(bytes);
    explainer.finish()
}

/// Reads a log and explains it, in the same memory however long it is.
#[derive(Debug)]
pub struct Explainer {
    knowledge: Arc<Knowledge>,
    examiner: Examiner,
    heard: Heard,
}

impl Explainer {
    /// Explains by this knowledge.
    pub fn new(knowledge: Arc<Knowledge>) -> Self {
        let examiner = Examiner::new(Arc::clone(&knowledge));
        Self { knowledge, examiner, heard: Heard::default() }
    }

    /// Takes a part of the log, which may begin and end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { knowledge, examiner, heard } = self;
        // In pieces, as from a machine, so that memory does not depend on the part.
        for piece in bytes.chunks(1 << 16) {
            examiner.feed(piece, &mut |it| heard.keep(it, knowledge));
        }
    }

    /// What the log says.
    pub fn finish(self) -> Explanation {
        let Self { knowledge, mut examiner, mut heard } = self;
        examiner.examine_tail(&mut |it| heard.keep(it, &knowledge));
        let (installer, hits) = heard.in_order();
        let mut story = Story::new(&knowledge, installer);
        for hit in &hits {
            story.take(hit);
        }
        story.end(&examiner)
    }
}

/// What was found in a log: of each signature the first few and the last.
#[derive(Debug, Default)]
struct Heard {
    hits: Vec<(u64, Hit)>,
    last: BTreeMap<usize, (u64, Hit)>,
    counts: BTreeMap<usize, u32>,
    installers: BTreeMap<InstallerKind, u64>,
    /// How many there were.
    order: u64,
}

impl Heard {
    fn keep(&mut self, found: Found<'_>, knowledge: &Knowledge) {
        let Some(signature) = knowledge.signature(found.signature) else { return };
        if let Some(installer) = signature.installer {
            *self.installers.entry(installer).or_default() += 1;
        }
        let count = self.counts.entry(found.signature).or_default();
        *count += 1;
        self.order += 1;
        let hit = (self.order, found.keep(knowledge));
        if *count <= MOST_OF_ONE {
            self.hits.push(hit);
        } else {
            self.last.insert(found.signature, hit);
        }
    }

    /// The installer that was heard most, and what was found, in order.
    fn in_order(self) -> (Option<InstallerKind>, Vec<Hit>) {
        let Self { mut hits, last, installers, .. } = self;
        let installer = installers.into_iter().max_by_key(|(_, count)| *count).map(|(it, _)| it);
        hits.extend(last.into_values());
        hits.sort_by_key(|(order, _)| *order);
        (installer, hits.into_iter().map(|(_, hit)| hit).collect())
    }
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
