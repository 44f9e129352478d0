//! A console log read in increments.
//!
//! Nova returns the last part of a log, always the same bytes again while it
//! grows and then a window that slides. What is new is found by where the end
//! of what was seen lies in it, so that nothing is shown twice and nothing is
//! lost unless the window moved on by more than its length.

/// What is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Increment {
    /// The text.
    pub text: String,
    /// Whether some text before it was never seen.
    pub gap: bool,
}

/// Remembers what was seen of one server's console.
#[derive(Clone, Debug, Default)]
pub struct Console {
    seen: String,
}

/// As much is remembered as Nova returns at most (`MAX_CONSOLE_BYTES`).
const WINDOW: usize = 100 * 1024;
/// A shorter overlap of long texts is an accident, such as the same newline.
const TELLING: usize = 16;

/// What stands for bytes that are no text; at a window's edge it stands for
/// half a character.
const HALF: char = char::REPLACEMENT_CHARACTER;

impl Console {
    /// What of `log` was not seen before.
    pub fn merge(&mut self, log: &str) -> Increment {
        // Half a character at the end is whole the next time.
        let log = log.trim_end_matches(HALF);
        if log.is_empty() {
            return Increment::default();
        }
        let (from, gap) = if self.seen.is_empty() {
            (0, false)
        } else if let Some(rest) = log.strip_prefix(self.seen.as_str()) {
            (log.len() - rest.len(), false)
        } else {
            self.slide(log)
        };
        let text = log[from..].to_owned();
        if !text.is_empty() {
            log.clone_into(&mut self.seen);
            let excess = self.seen.len().saturating_sub(WINDOW);
            let excess = self.seen.ceil_char_boundary(excess);
            self.seen.drain(..excess);
        }
        Increment { text, gap }
    }

    /// Where the new text begins in a window that has moved.
    fn slide(&self, log: &str) -> (usize, bool) {
        let body = log.trim_start_matches(HALF);
        let skipped = log.len() - body.len();
        let overlap = overlap(self.seen.as_bytes(), body.as_bytes());
        if overlap > 0 {
            let is_accident =
                overlap < TELLING && self.seen.len().min(body.len()) > TELLING * TELLING;
            return (skipped + overlap, is_accident);
        }
        // A log that is shorter than what was seen of it was begun anew: the
        // machine was started again, and nothing is missing.
        (0, log.len() >= self.seen.len())
    }
}

/// The length of the longest end of `old` that `new` begins with (Knuth, Morris
/// and Pratt's table over `new`, run along `old`).
fn overlap(old: &[u8], new: &[u8]) -> usize {
    let old = &old[old.len().saturating_sub(new.len())..];
    let mut table = vec![0; new.len()];
    let mut k = 0;
    for i in 1..new.len() {
        while k > 0 && new[i] != new[k] {
            k = table[k - 1];
        }
        k += usize::from(new[i] == new[k]);
        table[i] = k;
    }
    let mut k = 0;
    for (i, byte) in old.iter().enumerate() {
        while k > 0 && (k == new.len() || *byte != new[k]) {
            k = table[k - 1];
        }
        k += usize::from(k < new.len() && *byte == new[k]);
        // Only at the very end may all of `new` have been seen.
        if k == new.len() && i + 1 < old.len() {
            k = table[k - 1];
        }
    }
    k
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(logs: &[&str]) -> Vec<(String, bool)> {
        let mut console = Console::default();
        logs.iter().map(|log| console.merge(log)).map(|it| (it.text, it.gap)).collect()
    }

    #[test]
    fn a_growing_log_is_read_once() {
        let got = read(&["", "boot\n", "boot\n", "boot\nlogin: ", "boot\nlogin: "]);
        let texts: Vec<_> = got.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["", "boot\n", "", "login: ", ""]);
        assert!(got.iter().all(|(_, gap)| !gap));
    }

    #[test]
    fn a_newline_in_common_is_no_continuation() {
        let old = format!("{}\n", "a line of before\n".repeat(100));
        let new = format!("\n{}", "another line\n".repeat(200));
        assert!(read(&[&old, &new])[1].1, "something is missing");
    }

    #[test]
    fn a_sliding_window_loses_nothing() {
        assert_eq!(
            read(&["abcdef", "cdefgh", "fghij"])[1..],
            [("gh".into(), false), ("ij".into(), false)]
        );
        assert_eq!(
            read(&["abcdef", "uvwxyz"])[1],
            ("uvwxyz".into(), true),
            "and says so where it does"
        );
        assert_eq!(
            read(&["abcdefgh", "boot"])[1],
            ("boot".into(), false),
            "a machine started again"
        );
    }

    #[test]
    fn half_characters_at_the_edges_are_no_text() {
        assert_eq!(read(&["ab\u{fffd}", "abä!"])[1], ("ä!".into(), false));
        assert_eq!(read(&["abäcdef", "\u{fffd}cdefg"])[1], ("g".into(), false));
    }

    proptest! {
        #[test]
        fn the_parts_make_the_whole(
            lines in prop::collection::vec("[a-zä]{1,30}", 1..60),
            steps in prop::collection::vec(1usize..40, 1..40),
        ) {
            // Numbered: where everything repeats, nobody could tell.
            let whole: String = lines.iter().enumerate().flat_map(|(n, it)| [n.to_string(), format!(" {it}
    ")]).collect();
            let bytes = whole.as_bytes();
            let window = 400;
            let mut console = Console::default();
            let (mut at, mut got) = (0, String::new());
            for step in steps.into_iter().chain([usize::MAX]) {
                if step == usize::MAX {
                    while at < bytes.len() {
                        at = (at + 100).min(bytes.len());
                        got += &console.merge(&String::from_utf8_lossy(&bytes[at.saturating_sub(window)..at])).text;
                    }
                } else {
                    at = (at + step).min(bytes.len());
                    let increment = console.merge(&String::from_utf8_lossy(&bytes[at.saturating_sub(window)..at]));
                    prop_assert!(!increment.gap);
                    got += &increment.text;
                }
            }
            prop_assert_eq!(got, whole);
        }

        #[test]
        fn the_overlap_is_the_longest(old in "[ab]{0,12}", new in "[ab]{0,12}") {
            let slow = (0..=old.len().min(new.len()))
                .rev()
                .find(|n| old.as_bytes()[old.len() - n..] == new.as_bytes()[..*n])
                .unwrap();
            prop_assert_eq!(overlap(old.as_bytes(), new.as_bytes()), slow);
        }
    }
}
