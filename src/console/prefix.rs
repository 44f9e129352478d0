//! What stands before a message because somebody passed it on.
//!
//! systemd writes `anaconda[2628]: ` before what a service says on the console,
//! a log has the time and the host, and Packer tells whose output it is. A
//! pattern that is tied to the start of a line means the message itself.

use memchr::memmem;

/// So many of them may stand before each other.
const MOST: usize = 4;
/// No name of a host or program is longer.
const LONGEST_NAME: usize = 64;
/// The months as syslog writes them.
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The message without them; none where there are none.
pub(super) fn without(line: &[u8]) -> Option<&[u8]> {
    let mut text = line;
    for _ in 0..MOST {
        match date_and_time(text).or_else(|| packer(text)).or_else(|| program(text)) {
            Some(rest) => text = rest.trim_ascii_start(),
            None => break,
        }
    }
    (text.len() < line.len() && !text.is_empty()).then_some(text)
}

/// `Mar 23 19:03:52 `, `2021/12/20 20:39:15 `, `2024-01-01T00:00:00.123Z `, `05:35:38,756 `
fn date_and_time(text: &[u8]) -> Option<&[u8]> {
    let after_date = day_of_syslog(text).or_else(|| day(text)).unwrap_or(text);
    let rest = after_date;
    let rest = digits(rest, 2)?.strip_prefix(b":")?;
    let rest = digits(rest, 2)?.strip_prefix(b":")?;
    let rest = digits(rest, 2)?;
    // Fractions and zone.
    let end = rest.iter().position(|it| {
        !matches!(it, b'.' | b',' | b'+' | b'-' | b':' | b'Z') && !it.is_ascii_digit()
    });
    let rest = rest.get(end?..)?;
    rest.strip_prefix(b" ")
}

fn day_of_syslog(text: &[u8]) -> Option<&[u8]> {
    let (month, rest) = text.split_first_chunk::<3>()?;
    MONTHS.contains(&month).then_some(())?;
    let rest = rest.strip_prefix(b" ")?.trim_ascii_start();
    digits(rest, 2).or_else(|| digits(rest, 1))?.strip_prefix(b" ")
}

fn day(text: &[u8]) -> Option<&[u8]> {
    let rest = separated(digits(text, 4)?)?;
    let rest = separated(digits(rest, 2)?)?;
    let [b' ' | b'T', rest @ ..] = digits(rest, 2)? else { return None };
    Some(rest)
}

fn separated(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"/"))
}

fn digits(text: &[u8], n: usize) -> Option<&[u8]> {
    let (digits, rest) = text.split_at_checked(n)?;
    digits.iter().all(u8::is_ascii_digit).then_some(rest)
}

/// `packer-builder-qemu plugin: Qemu stdout: `
fn packer(text: &[u8]) -> Option<&[u8]> {
    let start = memmem::find(text.get(..text.len().min(2 * LONGEST_NAME))?, b" plugin: ")?;
    is_name(text.get(..start)?).then_some(())?;
    let rest = text.get(start + b" plugin: ".len()..)?;
    rest.strip_prefix(b"Qemu stdout: ")
        .or_else(|| rest.strip_prefix(b"Qemu stderr: "))
        .or(Some(rest))
}

/// `anaconda[2628]: `, with or without a host before it.
fn program(text: &[u8]) -> Option<&[u8]> {
    let end = memmem::find(text.get(..text.len().min(2 * LONGEST_NAME))?, b"]: ")?;
    let (before, rest) = (text.get(..end)?, text.get(end + b"]: ".len()..)?);
    let open = before.iter().rposition(|it| *it == b'[')?;
    let (names, id) = (before.get(..open)?, before.get(open + 1..)?);
    let is_id = !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    let mut names = names.split(|it| *it == b' ');
    let are_names = names.by_ref().take(2).all(is_name) && names.next().is_none();
    (is_id && are_names).then_some(rest)
}

fn is_name(text: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && text
            .iter()
            .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_' | b'/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_others_put_before_a_message_is_taken_off() {
        for line in [
            "anaconda[2628]: Complete!",
            "localhost anaconda[2628]: Complete!",
            "Apr  4 10:52:02 host anaconda[9559]: Complete!",
            "Apr 14 10:52:02 host anaconda[9559]: Complete!",
            "2021/12/20 20:39:15 packer-builder-qemu plugin: Qemu stdout: Complete!",
            "2021-12-20 20:39:15,756 Complete!",
            "2024-01-01T00:00:00.1234567Z Complete!",
            "05:35:38,756 Complete!",
            "05:35:38 subiquity_event.13901[13901]:     Complete!",
        ] {
            let text = without(line.as_bytes()).map(String::from_utf8_lossy);
            assert_eq!(text.as_deref(), Some("Complete!"), "{line}");
        }
    }

    #[test]
    fn a_message_that_nobody_passed_on_is_left_alone() {
        for line in [
            "Complete!",
            "Done [12/210]",
            "[FAILED] Failed to start x.service - X: y.",
            "1) [x] Language settings                 2) [x] Time settings",
            "Installing bash-4.2.46-34.el7.x86_64 (12/300)",
            "May not be used without a licence",
            "anaconda[2628]: ",
            "see install(8) and foo[bar]: nothing",
            "three words here[12]: nothing",
            "",
        ] {
            assert_eq!(without(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_may_come(line in proptest::collection::vec(any::<u8>(), 0..100)) {
            without(&line);
        }
    }
}
