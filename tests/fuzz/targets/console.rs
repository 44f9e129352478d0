//! A console: the same is found however its bytes are cut.
#![no_main]

use std::sync::{Arc, LazyLock};

use imgbuild::console::{explain::explain, knowledge::Knowledge, stream::Stream};
use libfuzzer_sys::fuzz_target;

static KNOWLEDGE: LazyLock<Option<Arc<Knowledge>>> =
    LazyLock::new(|| Knowledge::shared(&[]).ok());

fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut stream = Stream::default();
    let mut lines = Vec::new();
    for piece in pieces {
        stream.feed(piece, &mut |it| lines.push(it.text.to_vec()));
    }
    lines.extend(stream.tail().map(|it| it.text.to_vec()));
    lines
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let (start, rest) = bytes.split_at(usize::from(cut) % (bytes.len() + 1));
    assert_eq!(lines(&[bytes]), lines(&[start, rest]));
    let knowledge = KNOWLEDGE.as_ref().expect("the built-in signatures are right");
    explain(bytes, knowledge);
});
