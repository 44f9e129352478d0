//! Lines out of the bytes of a console.
//!
//! Consoles redraw: a progress bar returns the carriage, a text screen moves the
//! cursor, the kernel speaks in the middle of a sentence, and bytes arrive split
//! anywhere. [`Stream`] turns that into plain lines. What it yields depends on
//! the bytes alone, never on how they were split, and it holds one line at most.
//!
//! Nearly all lines are plain text that ends in a newline; they are handed on
//! without being copied.

use memchr::{memchr, memchr_iter};

/// No line is longer; what goes on is a line of its own.
pub const LONGEST: usize = 4096;
/// How much of a line that is too long begins the next one, so that no message
/// is cut apart.
const OVERLAP: usize = 128;
/// Longer control sequences are not believed: the console has lost bytes.
const LONGEST_SEQUENCE: usize = 512;

/// A piece of console text without control characters, trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text, without what the kernel puts before its own messages.
    pub text: &'a [u8],
    /// The number of the line in the log, from 1; several redraws have the same.
    pub number: u64,
    /// Who speaks.
    pub speaker: Speaker,
    /// Whether it was handed on before, and only hundredths were added since.
    pub is_step: bool,
}

/// Who speaks on a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The kernel: there is a time stamp before the line.
    Kernel,
    /// A program, the firmware, or a kernel without time stamps.
    Program,
}

/// Turns bytes into lines.
#[derive(Debug, Default)]
pub struct Stream {
    /// The line as it stands on the screen.
    buffer: Vec<u8>,
    /// What stood there before the kernel interrupted.
    interrupted: Vec<u8>,
    /// Newlines so far.
    newlines: u64,
    /// How much of `buffer` has been handed on already.
    told: usize,
    /// A carriage return came, and nothing after it yet.
    returned: bool,
    /// The line on the screen is to go on from `interrupted`.
    resumes: bool,
    graphics: bool,
    escape: Escape,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    /// After ESC.
    Begun,
    /// After ESC and one of `( ) * + # %`; true for the first character set.
    Charset(bool),
    /// In a control sequence, with its length so far.
    Sequence(usize),
    /// In a string that ends with BEL or ESC \, with its length so far.
    Text(usize),
}

impl Stream {
    /// Takes bytes and hands on each line that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(Line<'_>)) {
        while !bytes.is_empty() {
            if self.is_at_line_start()
                && let Some(end) = memchr(b'\n', bytes)
                && let (Some(raw), Some(rest)) = (bytes.get(..end), bytes.get(end + 1..))
                && let Some(line) = plain(raw)
            {
                bytes = rest;
                hand_on(line, self.newlines + 1, tell);
                self.newlines += 1;
                continue;
            }
            bytes = self.step(bytes, tell);
        }
    }

    /// The text after the last newline, such as a prompt.
    pub fn tail(&self) -> Option<Line<'_>> {
        let text = if self.buffer.is_empty() { &self.interrupted } else { &self.buffer };
        line(text, self.newlines + 1)
    }

    /// The number of lines that have ended.
    pub fn newlines(&self) -> u64 {
        self.newlines
    }

    fn is_at_line_start(&self) -> bool {
        self.buffer.is_empty()
            && !self.returned
            && self.interrupted.is_empty()
            && !self.graphics
            && self.escape == Escape::None
    }

    /// Takes at least one byte, the slow way; returns the rest.
    fn step<'a>(&mut self, bytes: &'a [u8], tell: &mut impl FnMut(Line<'_>)) -> &'a [u8] {
        if self.escape == Escape::None && !self.returned && !self.resumes && !self.graphics {
            let room = LONGEST.saturating_sub(self.buffer.len()).max(1);
            let run =
                bytes.iter().take(room).take_while(|it| is_common(**it) && **it != b']').count();
            if let (true, Some(text), Some(rest)) = (run > 0, bytes.get(..run), bytes.get(run..)) {
                self.buffer.extend_from_slice(text);
                self.bound(tell);
                return rest;
            }
        }
        if let Some((byte, rest)) = bytes.split_first() {
            self.byte(*byte, tell);
            return rest;
        }
        bytes
    }

    fn byte(&mut self, byte: u8, tell: &mut impl FnMut(Line<'_>)) {
        match self.escape {
            Escape::None => self.text(byte, tell),
            Escape::Begun => {
                self.escape = match byte {
                    b'[' => Escape::Sequence(0),
                    b']' | b'P' | b'X' | b'^' | b'_' => Escape::Text(0),
                    b'(' => Escape::Charset(true),
                    b')' | b'*' | b'+' | b'#' | b'%' | b' ' => Escape::Charset(false),
                    0x1b => Escape::Begun,
                    _ => Escape::None,
                };
                match byte {
                    // Index, next line, reverse index, reset: the cursor goes elsewhere.
                    b'D' | b'E' | b'M' | b'c' => self.redraw(tell),
                    b'\n' => self.text(byte, tell),
                    _ => {}
                }
            }
            Escape::Charset(first) => {
                self.escape = Escape::None;
                if first {
                    self.graphics = byte == b'0';
                }
                if byte == b'\n' {
                    self.text(byte, tell);
                }
            }
            Escape::Sequence(length) => match byte {
                0x40..=0x7e => {
                    self.escape = Escape::None;
                    match byte {
                        b'A' | b'B' | b'E' | b'F' | b'H' | b'J' | b'S' | b'T' | b'd' | b'f'
                        | b'r' => {
                            self.redraw(tell);
                        }
                        b'C' | b'G' | b'`' | b'a' => self.push(b' ', tell),
                        _ => {}
                    }
                }
                0x1b => self.escape = Escape::Begun,
                b'\n' => {
                    self.escape = Escape::None;
                    self.text(byte, tell);
                }
                _ if length >= LONGEST_SEQUENCE => self.escape = Escape::None,
                _ => self.escape = Escape::Sequence(length + 1),
            },
            Escape::Text(length) => match byte {
                0x07 => self.escape = Escape::None,
                0x1b => self.escape = Escape::Begun,
                b'\n' => {
                    self.escape = Escape::None;
                    self.text(byte, tell);
                }
                _ if length >= LONGEST_SEQUENCE => self.escape = Escape::None,
                _ => self.escape = Escape::Text(length + 1),
            },
        }
    }

    fn text(&mut self, byte: u8, tell: &mut impl FnMut(Line<'_>)) {
        if byte == b'\n' {
            self.end_line(tell);
            return;
        }
        if self.returned && byte != b'\r' && byte != 0 {
            self.returned = false;
            self.redraw(tell);
        }
        match byte {
            b'\r' => self.returned = true,
            0x1b => self.escape = Escape::Begun,
            0x08 | 0x7f => {
                self.resume(b' ', tell);
                // A whole character, not a byte of it.
                while self.buffer.pop().is_some_and(|it| it & 0xc0 == 0x80) {}
                self.told = self.told.min(self.buffer.len());
            }
            0x0e => self.graphics = true,
            0x0f => self.graphics = false,
            b'\t' => self.push(b' ', tell),
            // Vertical tab and form feed move the cursor down.
            0x0b | 0x0c => self.redraw(tell),
            0..=0x1f => {}
            // Line drawing of a VT100: the frames of text screens.
            b'`'..=b'~' if self.graphics => self.push(b' ', tell),
            _ => self.push(byte, tell),
        }
    }

    fn push(&mut self, byte: u8, tell: &mut impl FnMut(Line<'_>)) {
        self.resume(byte, tell);
        self.buffer.push(byte);
        match byte {
            b']' => self.part_from_kernel(tell),
            b'%' if is_percentage(&self.buffer) => self.tell_step(tell),
            0x80..=0xbf => self.blank_frames(),
            _ => {}
        }
        self.bound(tell);
    }

    /// Goes on with what stood on the line before the kernel interrupted, where
    /// the byte can be its continuation.
    fn resume(&mut self, byte: u8, tell: &mut impl FnMut(Line<'_>)) {
        if !self.resumes {
            return;
        }
        self.resumes = false;
        self.buffer.append(&mut self.interrupted);
        self.told = self.buffer.len();
        if !matches!(byte, b' ' | b'.' | b'%' | b'0'..=b'9') {
            self.redraw(tell);
        }
    }

    /// Where the buffer ends in the time stamp of the kernel, ends the line before it.
    fn part_from_kernel(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        let Some(start) = stamp_start(&self.buffer) else { return };
        if start == 0 || self.buffer.get(..start).is_some_and(|it| stamp_end(it).is_some()) {
            return;
        }
        let stamp = self.buffer.split_off(start);
        self.tell(tell);
        self.interrupted = std::mem::replace(&mut self.buffer, stamp);
        self.told = 0;
    }

    /// Overwrites the frames of text screens (U+2500 to U+259F) with a space.
    fn blank_frames(&mut self) {
        if let [.., 0xe2, 0x94..=0x96, _] = self.buffer.as_slice() {
            let length = self.buffer.len() - 3;
            self.buffer.truncate(length);
            self.told = self.told.min(length);
            self.buffer.push(b' ');
        }
    }

    fn bound(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        if self.buffer.len() >= LONGEST {
            self.tell(tell);
            let overlap = self.buffer.len() - OVERLAP;
            self.buffer.drain(..overlap);
            self.told = OVERLAP;
        }
    }

    /// Hands on what stands on the screen, before something else is drawn there.
    fn redraw(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        self.tell(tell);
        self.buffer.clear();
        self.told = 0;
        self.resumes = false;
        self.interrupted.clear();
    }

    fn end_line(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        self.returned = false;
        if self.resumes {
            self.resumes = false;
            self.buffer.append(&mut self.interrupted);
            self.told = self.buffer.len();
        }
        let was_told = self.told == self.buffer.len();
        if !was_told {
            hand_on(&self.buffer, self.newlines + 1, tell);
        }
        self.newlines += 1;
        self.buffer.clear();
        self.told = 0;
        self.resumes = !self.interrupted.is_empty();
    }

    /// Hands on a line that ends in hundredths.
    fn tell_step(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        let is_step = self.told > 0
            && self.buffer.get(self.told..).is_some_and(|it| it.len() <= "... 100%".len());
        if let Some(line) = line(&self.buffer, self.newlines + 1) {
            tell(Line { is_step, ..line });
        }
        self.told = self.buffer.len();
    }

    fn tell(&mut self, tell: &mut impl FnMut(Line<'_>)) {
        if self.told < self.buffer.len() {
            hand_on(&self.buffer, self.newlines + 1, tell);
            self.told = self.buffer.len();
        }
    }
}

/// The line without its carriage return, if it needs no further work.
fn plain(raw: &[u8]) -> Option<&[u8]> {
    let line = raw.strip_suffix(b"\r").unwrap_or(raw);
    // Folded without a branch, so that it becomes vector code.
    let special = line.iter().fold(false, |found, it| found | !is_common(*it));
    if special || line.len() >= LONGEST {
        return None;
    }
    // Not at the start: a time stamp in the middle means that the kernel interrupted.
    let interrupted = memchr_iter(b']', line)
        .any(|at| line.get(..=at).and_then(stamp_start).is_some_and(|start| start > 0));
    (!interrupted).then_some(line)
}

/// Whether a byte can be taken over without a look at its neighbours.
#[inline]
const fn is_common(byte: u8) -> bool {
    matches!(byte, 0x20..=0x24 | 0x26..=0x7e)
}

/// Whether the text ends in what debian-installer's text frontend writes after
/// the title of a step: `... 40%`.
fn is_percentage(text: &[u8]) -> bool {
    let Some(text) = text.strip_suffix(b"%") else { return false };
    let digits = text.iter().rev().take_while(|it| it.is_ascii_digit()).count();
    (1..=3).contains(&digits)
        && text.get(..text.len() - digits).is_some_and(|it| it.ends_with(b"... "))
}

/// Where a kernel time stamp (`[    5.224443]`) starts that the text ends with.
fn stamp_start(text: &[u8]) -> Option<usize> {
    let inner = text.strip_suffix(b"]")?;
    let rest = strip_digits(inner, 6)?.strip_suffix(b".")?;
    let digits = rest.iter().rev().take_while(|it| it.is_ascii_digit()).count();
    let rest = rest.get(..rest.len().checked_sub(digits).filter(|_| digits > 0)?)?;
    let spaces = rest.iter().rev().take_while(|it| **it == b' ').count();
    let rest = rest.get(..rest.len() - spaces)?;
    rest.strip_suffix(b"[").map(<[u8]>::len)
}

fn strip_digits(text: &[u8], n: usize) -> Option<&[u8]> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(n)?)?;
    digits.iter().all(u8::is_ascii_digit).then_some(rest)
}

/// Where the message starts in a line that starts with a kernel time stamp.
fn stamp_end(line: &[u8]) -> Option<usize> {
    if !line.starts_with(b"[") {
        return None;
    }
    let end = memchr(b']', line.get(..24.min(line.len()))?)? + 1;
    (stamp_start(line.get(..end)?)? == 0).then_some(end)
}

fn hand_on(text: &[u8], number: u64, tell: &mut impl FnMut(Line<'_>)) {
    if let Some(line) = line(text, number) {
        tell(line);
    }
}

/// The line as it is handed on; none where it is empty.
fn line(text: &[u8], number: u64) -> Option<Line<'_>> {
    let text = text.trim_ascii();
    let (text, speaker) = match stamp_end(text) {
        Some(end) => (text.get(end..)?.trim_ascii_start(), Speaker::Kernel),
        None => (text, Speaker::Program),
    };
    (!text.is_empty()).then_some(Line { text, number, speaker, is_step: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<(u64, String)> {
        let (mut stream, mut lines) = (Stream::default(), Vec::new());
        let mut keep =
            |it: Line<'_>| lines.push((it.number, String::from_utf8_lossy(it.text).into_owned()));
        for piece in pieces {
            stream.feed(piece, &mut keep);
        }
        if let Some(tail) = stream.tail() {
            keep(tail);
        }
        lines
    }

    fn texts(bytes: &[u8]) -> Vec<String> {
        lines_of(&[bytes]).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn what_a_console_does_becomes_plain_lines() {
        let table: &[(&str, &[u8], &[&str])] = &[
            ("plain lines", b"one\r\ntwo\nthree", &["one", "two", "three"]),
            ("colours", b"\x1b[32m  OK  \x1b[0m Started\n", &["OK   Started"]),
            ("a title", b"\x1b]0;a title\x07text\n", &["text"]),
            ("a carriage return redraws", b" 10%\r 20%\r\ndone\n", &["10%", "20%", "done"]),
            ("backspaces", b"wrong\x08\x08\x08\x08\x08right\n", &["right"]),
            ("a backspace takes a whole character", "x\u{e4}\u{8}y\n".as_bytes(), &["xy"]),
            ("NULs", b"a\0b\0\n", &["ab"]),
            ("a text screen", b"\x1b[2;3HTitle\x1b[5;3HText\x1b[K", &["Title", "Text"]),
            ("UTF-8 frames", "\u{2502} Root password: \u{2502}\n".as_bytes(), &["Root password:"]),
            ("VT100 frames", b"\x1b(0lqqk\x1b(B Title \x0exq\x0f\n", &["Title"]),
            (
                "the kernel's time stamp",
                b"[    5.224443] io scheduler registered\n",
                &["io scheduler registered"],
            ),
            (
                "the kernel interrupts",
                b"debian login: [   12.345678] random: crng init done\n",
                &["debian login:", "random: crng init done", "debian login:"],
            ),
            (
                "steps in hundredths",
                b"Installing  ... 3%... 40%",
                &["Installing  ... 3%", "Installing  ... 3%... 40%", "Installing  ... 3%... 40%"],
            ),
            (
                "the kernel interrupts a step",
                b"Installing  ... 3%[   12.345678] x\n... 40%\n",
                &["Installing  ... 3%", "x", "Installing  ... 3%... 40%"],
            ),
            ("a sequence that never ends", b"\x1b[12\nnext\n", &["next"]),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(texts(bytes), *expected, "{name}");
        }
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        assert_eq!(
            lines_of(&[b"a\n\n\rb\rc\n\x1b[Hd\ne"]),
            [(1, "a"), (3, "b"), (3, "c"), (4, "d"), (5, "e")]
                .map(|(n, text)| (n, text.to_owned()))
        );
    }

    #[test]
    fn a_line_without_end_takes_little_memory() {
        let mut stream = Stream::default();
        let mut longest = 0;
        for _ in 0..1000 {
            stream.feed(&[b'x'; 10_000], &mut |it| longest = longest.max(it.text.len()));
        }
        assert!(longest <= LONGEST && stream.buffer.capacity() <= 4 * LONGEST, "{longest}");
    }

    /// Text with what makes consoles hard, more often than chance would have it.
    fn console_bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..20),
            4 => "[a-z ]{0,40}".prop_map(String::into_bytes),
            2 => Just(b"\r\n".to_vec()),
            2 => Just(b"\n".to_vec()),
            1 => Just(b"[   12.345678] kernel text".to_vec()),
            1 => Just(b"... 40%".to_vec()),
            1 => Just(b"\x1b[31m".to_vec()),
            1 => Just(b"\x1b[2;5H".to_vec()),
            1 => Just("\u{2502}\u{e4}".as_bytes().to_vec()),
            1 => Just(vec![b'y'; 3000]),
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|it| it.concat())
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_are_split(
            bytes in console_bytes(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|it| it.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|it| &bytes[it[0]..it[1]]).collect();
            let whole = lines_of(&[&bytes]);
            prop_assert_eq!(&lines_of(&pieces), &whole);
            let single: Vec<_> = bytes.chunks(1).collect();
            prop_assert_eq!(&lines_of(&single), &whole);
        }

        #[test]
        fn no_control_character_gets_through(bytes in console_bytes()) {
            let mut stream = Stream::default();
            stream.feed(&bytes, &mut |it| {
                assert!(it.text.iter().all(|it| *it >= 0x20) && it.text.len() <= LONGEST);
            });
        }
    }
}
