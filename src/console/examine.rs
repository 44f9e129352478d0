//! Signatures found in the bytes of a console.
//!
//! Each line is tried with the signatures whose fixed text is in it, which for
//! nearly every line are none. Messages that text screens break over several
//! lines are looked for in the last few lines together.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{
    Verdict,
    knowledge::Knowledge,
    prefix,
    signature::Signature,
    stream::{Line, Speaker, Stream},
};

/// A signature matched. Nothing is copied before somebody wants to keep it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its index in [`Knowledge::signatures`].
    pub signature: usize,
    /// The line, or the lines.
    text: &'a [u8],
    /// What of it is the message.
    message: &'a [u8],
    /// The number of the line, from 1.
    pub number: u64,
    /// How many lines programs had written before it.
    pub spoken: u64,
}

/// A signature that matched, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its index in [`Knowledge::signatures`].
    pub signature: usize,
    /// The line, as far as it is worth showing.
    pub text: String,
    /// Its number, from 1.
    pub number: u64,
    /// What the groups of the pattern matched.
    pub captures: BTreeMap<String, String>,
    /// How many lines programs had written before it.
    pub spoken: u64,
}

/// Finds signatures in what a console says, in constant memory.
#[derive(Debug)]
pub struct Examiner {
    knowledge: Arc<Knowledge>,
    stream: Stream,
    lines: Lines,
}

/// What is remembered of lines already seen.
#[derive(Debug, Default)]
struct Lines {
    /// Lines of programs; each redraw of one counts.
    spoken: u64,
    recent: VecDeque<Recent>,
    /// Signatures that may be complete a few lines later, and until when.
    open: Vec<(usize, u64)>,
    /// Signatures that were found broken over lines, and when.
    found: Vec<(usize, u64)>,
    candidates: Vec<usize>,
    /// Signatures found in the line that is being written, and its number: a
    /// redraw says nothing new.
    in_line: (u64, Vec<usize>),
    window: Vec<u8>,
}

#[derive(Debug, Default)]
struct Recent {
    text: Vec<u8>,
}

/// So many lines may a message be broken over, before and after the word that
/// gave it away.
const WINDOW: usize = 4;
/// Of a line no more is kept.
const KEPT: usize = 256;

impl Found<'_> {
    /// All of it, to keep.
    pub fn keep(&self, knowledge: &Knowledge) -> Hit {
        let signature = knowledge.signature(self.signature);
        Hit {
            signature: self.signature,
            text: shown(self.text),
            number: self.number,
            captures: signature.map(|it| it.captures(self.message)).unwrap_or_default(),
            spoken: self.spoken,
        }
    }
}

impl Examiner {
    /// Looks for these signatures.
    pub fn new(knowledge: Arc<Knowledge>) -> Self {
        Self { knowledge, stream: Stream::default(), lines: Lines::default() }
    }

    /// What it looks for.
    pub fn knowledge(&self) -> &Arc<Knowledge> {
        &self.knowledge
    }

    /// Takes bytes and hands on what they match, in order.
    pub fn feed(&mut self, bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let Self { knowledge, stream, lines } = self;
        stream.feed(bytes, &mut |line| lines.examine(knowledge, line, found));
    }

    /// Looks at the text after the last newline as if it were complete.
    pub fn examine_tail(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if let Some(line) = self.stream.tail() {
            self.lines.examine(&self.knowledge, line, found);
        }
    }

    /// The text after the last newline, as it may be shown.
    pub fn tail(&self) -> Option<String> {
        self.stream.tail().map(|it| shown(it.text))
    }

    /// Whether the text after the last newline is from a program.
    pub fn program_is_speaking(&self) -> bool {
        self.stream.tail().is_some_and(|it| it.speaker == Speaker::Program)
    }

    /// How many lines programs have written; the kernel does not count.
    pub fn spoken(&self) -> u64 {
        self.lines.spoken
    }

    /// The number of the line that is being written, from 1.
    pub fn line_number(&self) -> u64 {
        self.stream.newlines() + 1
    }

    /// The last lines that programs wrote, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.lines.recent.iter().map(|it| shown(&it.text)).collect()
    }
}

impl Lines {
    fn examine(
        &mut self,
        knowledge: &Knowledge,
        line: Line<'_>,
        found: &mut impl FnMut(Found<'_>),
    ) {
        let spoken = self.spoken;
        if line.speaker == Speaker::Program {
            self.spoken += 1;
            self.remember(line.text);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        knowledge.candidates(line, &mut candidates);
        if !candidates.is_empty() {
            if self.in_line.0 != line.number {
                self.in_line.0 = line.number;
                self.in_line.1.clear();
            }
            // What matches is moved to the front.
            let mut n_hits = 0;
            let mut is_harmless = false;
            let message = prefix::without(line.text);
            let is_message = |it: &Signature| message.is_some_and(|text| it.is_match(text));
            for at in 0..candidates.len() {
                let Some(index) = candidates.get(at).copied() else { break };
                let Some(signature) = knowledge.signature(index) else { continue };
                if self.in_line.1.contains(&index) {
                    continue;
                }
                if signature.is_match(line.text) || is_message(signature) {
                    is_harmless |= signature.verdict == Verdict::Harmless;
                    // Only what counts has something new to say in a redraw.
                    if !signature.has_groups() {
                        self.in_line.1.push(index);
                    }
                    candidates.swap(n_hits, at);
                    n_hits += 1;
                } else if signature.wraps() {
                    self.open.retain(|(it, _)| *it != index);
                    self.open.push((index, self.spoken + WINDOW as u64));
                }
            }
            for index in candidates.iter().take(n_hits).copied() {
                let Some(signature) = knowledge.signature(index) else { continue };
                let is_silenced = is_harmless && is_trouble(signature);
                if !is_silenced && (!signature.wraps() || self.is_new(index)) {
                    let (text, number) = (line.text, line.number);
                    let message = message.filter(|it| signature.is_match(it)).unwrap_or(text);
                    found(Found { signature: index, text, message, number, spoken });
                }
            }
        }
        self.candidates = candidates;
        if !self.open.is_empty() && line.speaker == Speaker::Program {
            self.examine_window(knowledge, line.number, found);
        }
    }

    /// Tries what may be broken over the last lines.
    fn examine_window(
        &mut self,
        knowledge: &Knowledge,
        number: u64,
        found: &mut impl FnMut(Found<'_>),
    ) {
        let mut window = std::mem::take(&mut self.window);
        window.clear();
        let mut ends = Vec::with_capacity(self.recent.len());
        for recent in &self.recent {
            window.extend_from_slice(&recent.text);
            ends.push(window.len());
            window.push(b' ');
        }
        let now = self.spoken;
        for (index, until) in std::mem::take(&mut self.open) {
            let Some(signature) = knowledge.signature(index) else { continue };
            if let Some(matched) = signature.place(&window) {
                if self.is_new(index) {
                    // The lines that it is in, whole.
                    let start = ends.iter().rev().find(|it| **it <= matched.start);
                    let start = start.map_or(0, |it| it + 1);
                    let end = ends.iter().find(|it| **it >= matched.end);
                    let end = end.copied().unwrap_or(window.len());
                    let text = window.get(start..end).unwrap_or(&window);
                    found(Found {
                        signature: index,
                        text,
                        message: text,
                        number,
                        spoken: now.saturating_sub(1),
                    });
                }
            } else if now < until {
                self.open.push((index, until));
            }
        }
        self.window = window;
    }

    fn remember(&mut self, text: &[u8]) {
        let mut recent = if self.recent.len() >= 2 * WINDOW {
            self.recent.pop_front().unwrap_or_default()
        } else {
            Recent::default()
        };
        recent.text.clear();
        recent.text.extend_from_slice(text.get(..KEPT).unwrap_or(text));
        self.recent.push_back(recent);
    }

    /// Whether a signature was not found in the lines that are remembered.
    fn is_new(&mut self, index: usize) -> bool {
        let since = self.spoken.saturating_sub(2 * WINDOW as u64);
        self.found.retain(|(_, at)| *at > since);
        let is_new = !self.found.iter().any(|(it, _)| *it == index);
        if is_new {
            self.found.push((index, self.spoken));
        }
        is_new
    }
}

/// Whether a line that is known to be harmless must not raise it.
pub(super) fn is_trouble(signature: &Signature) -> bool {
    matches!(signature.verdict, Verdict::EndedBadly | Verdict::WaitsForInput | Verdict::Warning)
}

/// Text as it may be shown: valid, one line, not too long.
fn shown(text: &[u8]) -> String {
    const LONGEST: usize = 400;
    let text = String::from_utf8_lossy(text.get(..LONGEST).unwrap_or(text));
    if text.is_ascii() && !text.bytes().any(|it| it.is_ascii_control()) {
        return text.trim_end().to_owned();
    }
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn knowledge() -> Arc<Knowledge> {
        let own = [
            json!({"id": "own/wrapped", "pattern": "the quick brown (?P<animal>\\w+) jumps", "wraps": true,
                "meaning": "a {animal}", "verdict": "ended-badly"}),
            json!({"id": "own/trouble", "text": "trouble", "meaning": "x", "verdict": "ended-badly"}),
            json!({"id": "own/harmless", "text": "no trouble", "meaning": "x", "verdict": "harmless"}),
        ];
        Arc::new(Knowledge::with(&own).unwrap())
    }

    fn hits(knowledge: &Arc<Knowledge>, pieces: &[&[u8]]) -> Vec<(String, u64, String)> {
        let mut examiner = Examiner::new(Arc::clone(knowledge));
        let mut hits = Vec::new();
        let mut keep = |it: Found<'_>| {
            let it = it.keep(knowledge);
            let id = knowledge.signatures()[it.signature].id.clone();
            hits.push((id, it.number, it.text));
        };
        for piece in pieces {
            examiner.feed(piece, &mut keep);
        }
        examiner.examine_tail(&mut keep);
        hits
    }

    #[test]
    fn a_message_is_found_wherever_a_screen_breaks_it() {
        let knowledge = knowledge();
        for text in [
            "the quick brown fox jumps\n",
            "  the quick\n brown\n fox jumps\n",
            "\x1b[2;3Hthe quick brown\x1b[3;3Hfox\x1b[4;3Hjumps over",
            "\u{2502} the quick brown fox \u{2502}\r\n[   12.345678] usb 1-1: new device\r\n\u{2502} jumps \u{2502}\r\n",
            "the quick brown fox\njumps over\n",
        ] {
            let ids: Vec<_> =
                hits(&knowledge, &[text.as_bytes()]).into_iter().map(|it| it.0).collect();
            assert_eq!(ids, ["own/wrapped"], "{text:?}");
        }
    }

    #[test]
    fn of_a_broken_message_the_lines_that_it_is_in_are_shown() {
        let text =
            b"progress ... 1%... 95%\n----\nsaid: the quick\n brown fox \njumps over it\nnext\n";
        let hits = hits(&knowledge(), &[text]);
        assert_eq!(hits.len(), 1);
        assert_eq!(
            hits[0].2.split_whitespace().collect::<Vec<_>>().join(" "),
            "said: the quick brown fox jumps over it"
        );
    }

    #[test]
    fn what_is_known_to_be_harmless_raises_nothing() {
        let knowledge = knowledge();
        let ids: Vec<_> = hits(&knowledge, &[b"trouble\nno trouble\n"])
            .into_iter()
            .map(|it| (it.0, it.1))
            .collect();
        assert_eq!(ids, [("own/trouble".to_owned(), 1), ("own/harmless".to_owned(), 2)]);
    }

    #[test]
    fn a_message_that_was_passed_on_is_the_same_message() {
        let own =
            [json!({"id": "own/tied", "pattern": "^lost (?P<what>\\w+)$", "meaning": "a {what}",
            "verdict": "ended-badly"})];
        let knowledge = Arc::new(Knowledge::with(&own).unwrap());
        for line in
            ["lost hope", "[   34.520412] host prog[26]: lost hope", "12:00:01,123 lost hope"]
        {
            let mut examiner = Examiner::new(Arc::clone(&knowledge));
            let mut hits = Vec::new();
            examiner.feed(format!("{line}\n").as_bytes(), &mut |it| hits.push(it.keep(&knowledge)));
            assert_eq!(hits.len(), 1, "{line}");
            assert_eq!(hits[0].captures["what"], "hope");
            assert!(line.ends_with(&hits[0].text), "the line is shown as it stands");
        }
    }

    #[test]
    fn a_million_lines_take_no_more_memory_than_ten() {
        let knowledge = knowledge();
        let mut examiner = Examiner::new(knowledge);
        let text = "the quick brown\nfox\njumps\ntrouble\n".repeat(1000);
        let mut n_hits = 0;
        for _ in 0..50 {
            examiner.feed(text.as_bytes(), &mut |_| n_hits += 1);
        }
        assert!(n_hits > 50_000);
        let lines = &examiner.lines;
        assert!(
            lines.recent.len() <= 2 * WINDOW && lines.open.len() < 20 && lines.found.len() < 20
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn findings_do_not_depend_on_how_bytes_are_split(
            words in proptest::collection::vec(prop_oneof![
                Just("the quick"), Just("brown fox"), Just("jumps"), Just("trouble"), Just("no "), Just("\n"), Just("\r"),
                Just("\x1b[3;4H"), Just("[   12.345678] "), Just("!! ERROR: "), Just("Bad archive mirror"), Just(" "),
                Just("Installing the base system  ... 3%"), Just("... 40%"), Just("Kernel panic - not syncing: x\n"),
            ], 0..40),
            size in 1..60usize,
        ) {
            let text = words.concat();
            let knowledge = knowledge();
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(hits(&knowledge, &pieces), hits(&knowledge, &[text.as_bytes()]));
        }
    }
}
