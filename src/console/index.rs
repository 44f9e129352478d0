//! Which signatures can match a line at all.
//!
//! Of each text that a signature requires, the most telling eight bytes are kept,
//! or four where it is short. At every place of a line a table of bits says
//! whether the bytes there can be such a piece; only then it is looked up and the
//! whole text compared. An automaton over all texts would be exact, but so large
//! that it misses the cache at every other byte.

use std::collections::HashMap;

/// An index over the texts that signatures require.
#[derive(Debug)]
pub(super) struct Index {
    /// Pieces of eight bytes.
    long: Pieces<{ 1 << 12 }>,
    /// Pieces of four bytes, of texts that are shorter.
    short: Pieces<{ 1 << 7 }>,
    /// Entries that every line has to be tried with.
    always: Vec<usize>,
}

/// A text that a piece is from.
#[derive(Debug)]
struct Text {
    whole: Vec<u8>,
    /// Where the piece starts in it.
    start: usize,
    entry: usize,
}

/// Texts by a piece of them.
#[derive(Debug)]
struct Pieces<const WORDS: usize> {
    /// Has the bit of every piece, and of some others.
    bits: Box<[u64; WORDS]>,
    texts: HashMap<u64, Vec<Text>>,
}

impl Index {
    /// The length of the shortest text that is of use.
    pub(super) const SHORTEST: usize = 4;

    /// An index of entries by the texts of which one must be in the line; an
    /// entry without texts, or with one that is too short, is a candidate
    /// everywhere.
    pub(super) fn new(entries: &[Vec<Vec<u8>>]) -> Self {
        let mut index = Self { long: Pieces::new(), short: Pieces::new(), always: Vec::new() };
        for (entry, required) in entries.iter().enumerate() {
            if required.is_empty() || required.iter().any(|it| it.len() < Self::SHORTEST) {
                index.always.push(entry);
                continue;
            }
            for text in required {
                index.add(text, entry);
            }
        }
        index
    }

    fn add(&mut self, text: &[u8], entry: usize) {
        let at = |start| Text { whole: text.to_vec(), start, entry };
        if let Some((start, piece)) = most_telling::<8>(text) {
            self.long.add(u64::from_le_bytes(piece), at(start));
        } else if let Some((start, piece)) = most_telling::<4>(text) {
            self.short.add(u32::from_le_bytes(piece).into(), at(start));
        }
    }

    /// Puts the entries that may match the text into `found`, in order.
    pub(super) fn candidates(&self, text: &[u8], found: &mut Vec<usize>) {
        found.clear();
        found.extend_from_slice(&self.always);
        for (start, piece) in text.windows(8).enumerate() {
            let Ok(piece) = <[u8; 8]>::try_from(piece) else { continue };
            let piece = u64::from_le_bytes(piece);
            if self.long.may_have(piece) {
                self.long.look_up(piece, text, start, found);
            }
            let piece = piece & u64::from(u32::MAX);
            if self.short.may_have(piece) {
                self.short.look_up(piece, text, start, found);
            }
        }
        // Where no eight bytes are left.
        let rest = text.len().saturating_sub(7);
        for (start, piece) in text.get(rest..).unwrap_or_default().windows(4).enumerate() {
            let Ok(piece) = <[u8; 4]>::try_from(piece) else { continue };
            self.short.look_up(u32::from_le_bytes(piece).into(), text, rest + start, found);
        }
        found.sort_unstable();
        found.dedup();
    }
}

impl<const WORDS: usize> Pieces<WORDS> {
    fn new() -> Self {
        Self { bits: Box::new([0; WORDS]), texts: HashMap::new() }
    }

    fn add(&mut self, piece: u64, text: Text) {
        let (word, bit) = Self::place(piece);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= bit;
        }
        self.texts.entry(piece).or_default().push(text);
    }

    #[inline]
    fn may_have(&self, piece: u64) -> bool {
        let (word, bit) = Self::place(piece);
        self.bits.get(word).is_some_and(|it| it & bit != 0)
    }

    /// Looks up the piece at a place in the line.
    #[inline(never)]
    fn look_up(&self, piece: u64, line: &[u8], start: usize, found: &mut Vec<usize>) {
        if !self.may_have(piece) {
            return;
        }
        for text in self.texts.get(&piece).into_iter().flatten() {
            let rest = start.checked_sub(text.start).and_then(|it| line.get(it..));
            if rest.is_some_and(|it| it.starts_with(&text.whole)) {
                found.push(text.entry);
            }
        }
    }

    #[inline]
    const fn place(piece: u64) -> (usize, u64) {
        let hash = piece.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        ((hash >> 6) as usize % WORDS, 1 << (hash & 63))
    }
}

/// The piece of `N` bytes that is seldom in other texts, and where it starts.
fn most_telling<const N: usize>(text: &[u8]) -> Option<(usize, [u8; N])> {
    let telling = |it: &[u8]| it.iter().map(|it| rarity(*it)).sum::<u32>();
    let (start, piece) = text.windows(N).enumerate().max_by_key(|(_, it)| telling(it))?;
    Some((start, piece.try_into().ok()?))
}

/// How seldom a byte is in English text, roughly.
const fn rarity(byte: u8) -> u32 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' | b'.' => 1,
        b'l' | b'd' | b'c' | b'u' | b'm' | b'g' | b'p' | b'h' => 3,
        b'a'..=b'z' | b'0'..=b'9' => 5,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(entries: &[&[&str]]) -> Index {
        let entries: Vec<Vec<_>> =
            entries.iter().map(|it| it.iter().map(|it| it.as_bytes().to_vec()).collect()).collect();
        Index::new(&entries)
    }

    #[test]
    fn texts_may_overlap_and_be_shared() {
        let index = index(&[&["panic"], &["kernel panic", "oops"], &[], &["panic"], &["abc"]]);
        let mut found = Vec::new();
        for (text, expected) in [
            ("a kernel panic", &[0, 1, 2, 3, 4][..]),
            ("panic", &[0, 2, 3, 4]),
            ("nothing", &[2, 4]),
            ("oops", &[1, 2, 4]),
            ("", &[2, 4]),
        ] {
            index.candidates(text.as_bytes(), &mut found);
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_missed(before in "[a-z ]{0,20}", text in "[a-zA-Z .]{4,30}", after in "[a-z ]{0,20}") {
            let index = index(&[&["something else"], &[&text]]);
            let mut found = Vec::new();
            index.candidates(format!("{before}{text}{after}").as_bytes(), &mut found);
            prop_assert!(found.contains(&1));
        }
    }
}
