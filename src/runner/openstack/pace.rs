//! How often a cloud is asked about a server, and how long it may be away.
//!
//! Nova is asked, it does not tell: often in the first minutes, then seldom,
//! which keeps an hour of waiting under 400 requests however much is said. Towards
//! the end it is asked often again: by Nova's default the console of a server that
//! is off is gone, and with it the words by which a success is known. A service that is started anew in the middle of an installation of hours is no
//! reason to throw that away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::of;
use crate::{
    console::Phase,
    engine::{StageError, Teller},
    openstack::Error,
    units::Span,
};

/// Between two looks at first, and later.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(25);
/// What each server that is looked at adds to the pause of all: all together
/// are looked at twenty times a second at most.
const SHARE: Duration = Duration::from_millis(50);
/// So many looks at what counts more for one at the other.
const LOOKS: u32 = 6;
/// The pause at first is this part of the time that has passed.
const PART: u32 = 15;
/// While packages are installed, and from the boot loader on: so many looks with no
/// more than so much between them. Installers need 10 seconds and more from there
/// to their end, on fast machines.
const NEAR: (u32, Duration) = (60, Duration::from_secs(8));
const AT_THE_END: (u32, Duration) = (30, Duration::from_secs(2));

/// What is asked next of a server that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Its state.
    pub(super) server: bool,
    /// Its console.
    pub(super) console: bool,
}

impl Look {
    /// At the state alone: of a server that does not run yet.
    pub(super) const STATE: Self = Self { server: true, console: false };
}

/// The servers of several builds at once that are looked at: they share what a
/// cloud can bear.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<AtomicU32>);

/// How often a server is looked at.
#[derive(Debug)]
pub(super) struct Pace {
    crowd: Crowd,
    n_looks: u32,
    /// When its installer said that it was done: what is left is to go off.
    done: Option<Duration>,
    /// How many looks more are close to each other, and how close.
    close: (u32, Duration),
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    /// The pace of one among others.
    pub(super) fn among(crowd: &Crowd) -> Self {
        crowd.0.fetch_add(1, Ordering::Relaxed);
        Self { crowd: crowd.clone(), n_looks: 0, done: None, close: (0, SELDOM) }
    }

    /// What to look at. The console tells most; once
    /// the installer has said that it is done, the state does.
    pub(super) fn look(&mut self) -> Look {
        let full = self.n_looks.is_multiple_of(LOOKS);
        self.n_looks += 1;
        let is_done = self.done.is_some();
        Look { server: full || is_done, console: full || !is_done }
    }

    /// The next look is at its state as well.
    pub(super) fn look_at_all(&mut self) {
        self.n_looks = 0;
    }

    /// Its installer has come so far.
    pub(super) fn reached(&mut self, phase: Phase) {
        match phase {
            Phase::Packages => self.close = NEAR,
            // Once: the end comes soon behind the boot loader.
            Phase::BootLoader | Phase::End if self.close.1 != AT_THE_END.1 => {
                self.close = AT_THE_END;
            }
            _ => {}
        }
    }

    /// Its installer said that it was done.
    pub(super) fn done(&mut self, at: Duration) {
        self.done.get_or_insert(at);
    }

    /// How long to wait until the next look.
    pub(super) fn pause(&mut self, at: Duration) -> Duration {
        let mut pause = at.saturating_sub(self.done.unwrap_or_default()) / PART;
        let (n_close, most) = &mut self.close;
        if *n_close > 0 && pause > *most && self.done.is_none() {
            *n_close -= 1;
            pause = *most;
        }
        let n_others = self.crowd.0.load(Ordering::Relaxed);
        pause.clamp((SHARE * n_others).clamp(OFTEN, SELDOM), SELDOM)
    }
}

/// Something in a cloud that does not answer for a while.
#[derive(Debug)]
pub(super) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    /// It may last so long.
    limit: Duration,
}

impl Outage {
    /// None so far; `what` names it in messages. It may last for `limit`.
    pub(super) const fn of(what: &'static str, limit: Duration) -> Self {
        Self { what, since: None, limit }
    }

    /// Whether it is away.
    pub(super) fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// What a request brought; nothing where it is away, which is borne
    /// for a while.
    pub(super) fn bear<T>(
        &mut self,
        answer: Result<T, Error>,
        teller: &Teller,
    ) -> Result<Option<T>, StageError> {
        match answer {
            Ok(answer) => {
                if let Some(since) = self.since.take() {
                    let away = Span::secs(since.elapsed().as_secs());
                    teller.info(format!("{} answers again, after {away}", self.what));
                }
                Ok(Some(answer))
            }
            Err(error) if error.is_transient() => {
                let since = *self.since.get_or_insert_with(|| {
                    let what = self.what;
                    teller.warn(format!("{what} does not answer, waiting for it: {error}"));
                    Instant::now()
                });
                if since.elapsed() > self.limit { Err(of(error)) } else { Ok(None) }
            }
            Err(error) => Err(of(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::{super::gauge::Gauge, *};

    /// The looks of an hour, with the time they were taken at. Phases are reached
    /// at so many seconds.
    fn hour(phases: &[(u64, Phase)], done_at: Option<u64>) -> Vec<(Duration, Look)> {
        let mut phases = phases.iter().peekable();
        let mut pace = Pace::among(&Crowd::default());
        let mut at = Duration::ZERO;
        let mut looks = Vec::new();
        while at < Duration::from_hours(1) {
            looks.push((at, pace.look()));
            while let Some((_, phase)) = phases.next_if(|it| at.as_secs() >= it.0) {
                pace.reached(*phase);
            }
            if done_at.is_some_and(|it| at.as_secs() >= it) {
                pace.done(at);
            }
            at += pace.pause(at);
        }
        looks
    }

    fn n_requests(looks: &[(Duration, Look)]) -> usize {
        let mut gauge = Gauge::new(Duration::from_mins(10));
        let one = |(at, it): &(Duration, Look)| {
            let counts = gauge.is_due(*at);
            if counts {
                gauge.take(*at, Ok(Some(Map::new()))).unwrap();
            }
            usize::from(it.server) + usize::from(it.console) + usize::from(counts)
        };
        looks.iter().map(one).sum()
    }

    #[test]
    fn an_hour_of_waiting_is_at_most_400_requests() {
        for done_at in [None, Some(0), Some(60), Some(1200), Some(3000)] {
            for packages in [10, 300, 900, 2000] {
                for boot_loader in [packages + 1, packages + 600, packages + 1500] {
                    let phases = [
                        (packages, Phase::Packages),
                        (boot_loader, Phase::BootLoader),
                        (boot_loader + 30, Phase::End),
                    ];
                    let n = n_requests(&hour(&phases, done_at));
                    assert!((150..=400).contains(&n), "{phases:?}, done at {done_at:?}: {n}");
                }
            }
        }
    }

    #[test]
    fn the_last_words_of_an_installer_are_not_missed() {
        // An install of a quarter of an hour whose boot loader takes ten seconds.
        let phases = [(500, Phase::Packages), (900, Phase::BootLoader)];
        let looks = hour(&phases, None);
        let last = looks.iter().filter(|it| it.1.console && (890..910).contains(&it.0.as_secs()));
        assert!(last.count() >= 4);
    }

    #[test]
    fn servers_of_many_builds_share_what_a_cloud_bears() {
        let crowd = Crowd::default();
        let mut many: Vec<_> = (0..200).map(|_| Pace::among(&crowd)).collect();
        assert_eq!(many[0].pause(Duration::ZERO), Duration::from_secs(10));
        assert_eq!(many[0].pause(Duration::from_hours(1)), SELDOM);
        drop(many);
        assert_eq!(Pace::among(&crowd).pause(Duration::ZERO), OFTEN);
    }

    #[test]
    fn a_server_that_is_to_go_off_is_looked_at_at_once() {
        let looks = hour(&[], Some(1200));
        let after: Vec<_> = looks.iter().filter(|it| it.0.as_secs() >= 1230).take(5).collect();
        assert!(after.iter().all(|it| it.1.server));
        let pauses: Vec<_> = after.windows(2).map(|it| it[1].0.abs_diff(it[0].0)).collect();
        assert!(pauses.iter().all(|it| *it < Duration::from_secs(4)), "{pauses:?}");
    }

    #[test]
    fn a_service_may_be_away_and_a_refusal_is_none() {
        let away = || Error::Slow {
            service: crate::openstack::Service::Compute,
            request: "GET /servers/x".to_owned(),
            limit: Duration::from_mins(1),
        };
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let teller = Teller::new(sender);
        let mut outage = Outage::of("nova", Duration::from_mins(15));
        for _ in 0..3 {
            assert_eq!(outage.bear::<()>(Err(away()), &teller).unwrap(), None);
        }
        assert_eq!(outage.bear(Ok(7), &teller).unwrap(), Some(7));
        let mut n_told = 0;
        while told.try_recv().is_ok() {
            n_told += 1;
        }
        assert_eq!(n_told, 2, "once that it is away, once that it is back");

        outage.since = Instant::now().checked_sub(outage.limit * 2);
        assert!(outage.bear::<()>(Err(away()), &teller).is_err(), "not for ever");
        let mut outage = Outage::of("nova", Duration::from_mins(15));
        assert!(outage.bear::<()>(Err(Error::Cancelled), &teller).is_err());
    }
}
