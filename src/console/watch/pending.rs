//! What may turn out to be the end, if nothing better comes.
//!
//! A weak sign of failure waits for a stronger one; a question waits for whoever
//! answers it; a boot that began waits for its next line.

use std::time::Duration;

use super::super::{Verdict, examine::Hit, outcome::Judgement, signature::Signature};

/// A weak sign of failure waits so long for a better one.
const WEAK_PATIENCE: Duration = Duration::from_secs(2);
/// A question followed by more lines than its choices take is not the last word.
const QUESTION_LINES: u64 = 40;

/// Judgements that are not passed yet, of each signature one at most.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    judgement: Judgement,
    after: Duration,
    weak: bool,
    /// How many lines programs had written before it.
    spoken: u64,
}

impl Pending {
    /// Takes a judgement that has to wait, or gives it back where it is one that
    /// counts at once.
    pub(super) fn take(
        &mut self,
        judgement: Judgement,
        signature: &Signature,
        hit: &Hit,
    ) -> Option<Judgement> {
        let weak = signature.weak;
        let after = if weak { signature.after.max(WEAK_PATIENCE) } else { signature.after };
        if signature.verdict == Verdict::EndedBadly && after.is_zero() {
            return Some(judgement);
        }
        let is_failure = judgement.verdict == Verdict::EndedBadly;
        let waiting = Waiting { judgement, after, weak, spoken: hit.spoken };
        let same = |it: &&mut Waiting| it.judgement.signature == waiting.judgement.signature;
        match self.0.iter_mut().find(same) {
            // What failed first is the cause; of a question the last time counts.
            Some(_) if is_failure => {}
            Some(known) => *known = waiting,
            None => self.0.push(waiting),
        }
        None
    }

    /// The machine goes on, as a signature shows: its questions were answered.
    /// Failures stay, but those that it settles, and weak ones where another
    /// phase was reached.
    pub(super) fn go_on(&mut self, signature: &Signature, hit: &Hit, is_another_phase: bool) {
        self.0.retain(|it| {
            let is_over = it.judgement.line_number != Some(hit.number)
                && ((it.weak && is_another_phase)
                    || signature.settles.contains(&it.judgement.signature));
            it.judgement.verdict == Verdict::EndedBadly && !is_over
        });
    }

    /// What has waited long enough: failures first, then questions. `spoken` is
    /// how many lines programs have written, `silence` how long they have been quiet.
    pub(super) fn due(
        &mut self,
        at: Duration,
        spoken: u64,
        silence: Duration,
    ) -> Option<&Judgement> {
        self.0.retain(|it| {
            let lines = spoken.saturating_sub(it.spoken);
            match it.judgement.verdict {
                Verdict::EndedBadly => true,
                // What was to come has come: the line itself is one.
                Verdict::Stalled => lines <= 1,
                _ => lines <= QUESTION_LINES,
            }
        });
        let is_due = |it: &Waiting| match it.judgement.verdict {
            Verdict::EndedBadly => at.saturating_sub(it.judgement.at) >= it.after,
            _ => silence >= it.after,
        };
        let first_due = |verdict| self.of(verdict).find(|it| is_due(it));
        // One that is due brings the others with it: a better one may be younger.
        let failure = || first_due(Verdict::EndedBadly).and_then(|_| self.worst());
        let question = || {
            first_due(Verdict::WaitsForInput)?;
            // The last question is the one that is asked.
            let asked = self.of(Verdict::WaitsForInput);
            asked.min_by_key(|it| (it.weak, std::cmp::Reverse(it.spoken))).map(|it| &it.judgement)
        };
        let stuck = || first_due(Verdict::Stalled).map(|it| &it.judgement);
        failure().or_else(question).or_else(stuck)
    }

    /// The best explanation of a failure, due or not.
    pub(super) fn worst(&self) -> Option<&Judgement> {
        self.of(Verdict::EndedBadly).min_by_key(|it| it.weak).map(|it| &it.judgement)
    }

    fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Waiting> {
        self.0.iter().filter(move |it| it.judgement.verdict == verdict)
    }
}
