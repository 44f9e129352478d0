//! Which names the guest looks up, and in vain.
//!
//! DNS over UDP as in RFC 1035, section 4.1, no more of it than the question and
//! how the answer went.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Queries that are followed at the same time.
const MOST_PENDING: usize = 64;
/// A query that was sent this long ago and is sent again has not been answered;
/// resolvers wait 5 s, busybox 2.5 s (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a query has been sent in vain when it is told.
const OFTEN: u32 = 3;
/// After so long without being sent again a query has been given up.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// How a name was looked up in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InVain {
    /// There is no such name.
    NotFound(String),
    /// No name server knows, or none answers.
    NoAnswer(String),
}

/// Queries that wait for their answers.
#[derive(Default)]
pub(super) struct Names {
    pending: VecDeque<Query>,
}

struct Query {
    id: u16,
    port: u16,
    name: String,
    since: Instant,
    n_sent: u32,
}

impl Names {
    /// A query of the guest, from this port of it.
    pub(super) fn ask(&mut self, port: u16, message: &[u8], now: Instant) -> Option<InVain> {
        let (id, _, name) = question(message)?;
        // An installer looks for a name for its own address; that fails as a rule
        // and means nothing.
        if name.ends_with(".arpa") {
            return None;
        }
        if let Some(known) = self.pending.iter_mut().find(|it| it.name == name) {
            (known.id, known.port) = (id, port);
            // A and AAAA are asked for at once: that is not again.
            if now.duration_since(known.since) < PATIENCE {
                return None;
            }
            known.since = now;
            known.n_sent += 1;
            return (known.n_sent == OFTEN).then_some(InVain::NoAnswer(name));
        }
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(Query { id, port, name, since: now, n_sent: 1 });
        None
    }

    /// An answer to the guest, to this port of it.
    pub(super) fn answer(&mut self, port: u16, message: &[u8]) -> Option<InVain> {
        let (id, code, name) = question(message)?;
        let at = self
            .pending
            .iter()
            .position(|it| it.name == name || (it.id == id && it.port == port))?;
        self.pending.remove(at);
        match code {
            0 => None,
            3 => Some(InVain::NotFound(name)),
            _ => Some(InVain::NoAnswer(name)),
        }
    }

    /// Names that are waited for, and since when.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = (&str, Instant)> {
        let waits = self.pending.iter().filter(|it| it.since.elapsed() < GIVEN_UP);
        waits.map(|it| (it.name.as_str(), it.since))
    }
}

/// A message's ID, its response code, and the name it is about.
fn question(message: &[u8]) -> Option<(u16, u8, String)> {
    let id = u16::from_be_bytes(message.get(..2)?.try_into().ok()?);
    let code = message.get(3)? & 0xf;
    if message.get(4..6)? == [0, 0] {
        return None;
    }
    let mut rest = message.get(12..)?;
    let mut name = String::new();
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            break;
        }
        // Longer ones are pointers, which a first question cannot have.
        let label = after.get(..usize::from(length)).filter(|_| length < 64)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|it| {
            if it.is_ascii_graphic() { char::from(it.to_ascii_lowercase()) } else { '?' }
        }));
        rest = after.get(usize::from(length)..)?;
        if name.len() > 255 {
            return None;
        }
    }
    (!name.is_empty()).then_some((id, code, name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: u16, code: u8, name: &str) -> Vec<u8> {
        let mut message =
            vec![id.to_be_bytes()[0], id.to_be_bytes()[1], 1, code, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        message
    }

    #[test]
    fn a_name_that_is_not_there_is_told() {
        let (mut names, now) = (Names::default(), Instant::now());
        assert_eq!(names.ask(4000, &message(7, 0, "Deb.Invalid"), now), None);
        let answer = names.answer(4000, &message(7, 3, "deb.invalid"));
        assert_eq!(answer, Some(InVain::NotFound("deb.invalid".into())));
        assert_eq!(names.answer(4000, &message(7, 3, "deb.invalid")), None, "told once");
    }

    #[test]
    fn a_name_that_is_found_is_not() {
        let (mut names, now) = (Names::default(), Instant::now());
        names.ask(4000, &message(7, 0, "ftp.debian.org"), now);
        assert_eq!(names.answer(4000, &message(7, 0, "ftp.debian.org")), None);
        assert_eq!(names.unanswered().count(), 0);
    }

    #[test]
    fn an_address_without_a_name_is_nothing_to_tell() {
        let mut names = Names::default();
        let ask = message(7, 0, "15.2.0.10.in-addr.arpa");
        assert_eq!(names.ask(4000, &ask, Instant::now()), None);
        assert_eq!(names.answer(4000, &message(7, 3, "15.2.0.10.in-addr.arpa")), None);
    }

    #[test]
    fn silence_is_told_when_it_lasts() {
        let (mut names, mut now) = (Names::default(), Instant::now());
        let ask = message(7, 0, "m.example");
        assert_eq!(names.ask(1, &ask, now), None);
        assert_eq!(names.ask(1, &ask, now), None, "AAAA beside A");
        now += Duration::from_secs(5);
        assert_eq!(names.ask(1, &ask, now), None);
        now += Duration::from_secs(5);
        assert_eq!(names.ask(1, &ask, now), Some(InVain::NoAnswer("m.example".into())));
        now += Duration::from_secs(5);
        assert_eq!(names.ask(1, &ask, now), None, "told once");
    }

    proptest! {
        #[test]
        fn arbitrary_messages_do_no_harm(messages: Vec<Vec<u8>>) {
            let mut names = Names::default();
            for it in &messages {
                names.ask(1, it, Instant::now());
                names.answer(1, it);
            }
            prop_assert!(names.pending.len() <= MOST_PENDING);
        }

        #[test]
        fn a_cut_message_is_no_question(cut in 0usize..24) {
            prop_assert_eq!(question(&message(1, 0, "deb.debian")[..cut]), None);
        }
    }
}
