//! Which signatures can match a line at all.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// An index over the texts that signatures require.
#[derive(Debug)]
pub(super) struct Index {
    automaton: AhoCorasick,
    /// The entries that each text belongs to.
    owners: Vec<Vec<usize>>,
    /// Entries that every line has to be tried with.
    always: Vec<usize>,
}

/// The automaton would be too large.
#[derive(Debug, thiserror::Error)]
#[error("the signatures together are too large")]
pub struct TooLarge(#[from] aho_corasick::BuildError);

impl Index {
    /// An index of entries by the texts of which one must be in the line; an
    /// entry without texts is a candidate everywhere.
    pub(super) fn new(entries: &[Vec<Vec<u8>>]) -> Result<Self, TooLarge> {
        let mut texts: Vec<&[u8]> = Vec::new();
        let mut owners: Vec<Vec<usize>> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut always = Vec::new();
        for (entry, required) in entries.iter().enumerate() {
            if required.is_empty() {
                always.push(entry);
            }
            for text in required {
                let at = *known.entry(text.as_slice()).or_insert_with(|| {
                    texts.push(text);
                    owners.push(Vec::new());
                    texts.len() - 1
                });
                if let Some(owners) = owners.get_mut(at) {
                    owners.push(entry);
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(texts)?;
        Ok(Self { automaton, owners, always })
    }

    /// Puts the entries that may match the text into `found`, in order.
    pub(super) fn candidates(&self, text: &[u8], found: &mut Vec<usize>) {
        found.clear();
        for hit in self.automaton.find_overlapping_iter(text) {
            if let Some(owners) = self.owners.get(hit.pattern().as_usize()) {
                found.extend_from_slice(owners);
            }
        }
        if !found.is_empty() || !self.always.is_empty() {
            found.extend_from_slice(&self.always);
            found.sort_unstable();
            found.dedup();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_may_overlap_and_be_shared() {
        let texts = |it: &[&str]| it.iter().map(|it| it.as_bytes().to_vec()).collect::<Vec<_>>();
        let index =
            Index::new(&[texts(&["panic"]), texts(&["kernel panic", "oops"]), texts(&[]), texts(&["panic"])]).unwrap();
        let mut found = Vec::new();
        index.candidates(b"a kernel panic", &mut found);
        assert_eq!(found, [0, 1, 2, 3]);
        index.candidates(b"nothing", &mut found);
        assert_eq!(found, [2]);
    }
}
