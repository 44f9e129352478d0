//! What a watcher noticed.

use std::time::Duration;

use super::super::{Phase, examine::Hit, outcome::Judgement, signature::Signature};

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

impl Progress {
    /// What the groups of a progress message say.
    pub(in crate::console) fn of(signature: &Signature, hit: &Hit) -> Option<Self> {
        let number = |name: &str| hit.captures.get(name)?.parse::<u64>().ok();
        let what = hit.captures.get("what").cloned().or_else(|| signature.counts.clone());
        let what = what.unwrap_or_else(|| signature.meaning.clone());
        if let Some(done) = number("percent") {
            return Some(Self { what, done: done.min(100), total: Some(100), is_percent: true });
        }
        Some(Self { what, done: number("done")?, total: number("total"), is_percent: false })
    }
}
