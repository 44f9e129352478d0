//! Waiting for the cloud.
//!
//! One function serves "until it is ready" and "until it is gone": a look is an
//! [`Observation`], and what it means is decided by the one who waits. Looks
//! that fail for a moment are borne, so that a service may be restarted.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use super::{Error, Patience};
use crate::CancellationToken;

/// What a look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation<T> {
    /// It is there.
    Present(T),
    /// It does not exist (any more, or yet).
    Gone,
}

/// What a look means.
#[derive(Debug)]
pub enum Decision<R> {
    /// Look again; the state is for the message when time runs out.
    Continue(String),
    /// The wait is over.
    Done(R),
    /// It will never happen.
    Fail(Error),
}

/// The pauses between looks: growing, with some chance in them so that many
/// builds do not ask in step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

/// Each pause is this much longer than the one before.
const GROWTH: f64 = 1.5;

/// Pauses differ by up to this much of their length, either way.
const JITTER: f64 = 0.2;

impl Backoff {
    /// Pauses from `first` to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The pauses, without an end.
    pub fn pauses(self) -> impl Iterator<Item = Duration> {
        let mut next = self.first;
        std::iter::repeat_with(move || {
            let pause = next;
            next = next.mul_f64(GROWTH).min(self.max);
            pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance())
        })
    }
}

/// Looks until `decide` says that it is over.
///
/// `observe` may fail: a 404 is [`Observation::Gone`], a transient failure is
/// borne as long as a service may be away, any other ends the wait: an image may
/// travel for hours, a service that is gone for good is not waited for so long.
/// `what` names the thing in messages.
pub async fn wait<T, R>(
    what: &str,
    mut observe: impl AsyncFnMut() -> Result<T, Error>,
    mut decide: impl FnMut(Observation<T>) -> Decision<R>,
    patience: &Patience,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<R, Error> {
    let begin = Instant::now();
    let mut state = "unknown".to_owned();
    let mut trouble = None;
    let mut answered = begin;
    for pause in patience.poll.pauses() {
        let seen = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::Cancelled),
            seen = tokio::time::timeout_at(deadline, observe()) => seen,
        };
        match seen {
            Ok(Ok(seen)) => match decide(Observation::Present(seen)) {
                Decision::Continue(now) => {
                    (state, trouble, answered) = (now, None, Instant::now());
                }
                Decision::Done(done) => return Ok(done),
                Decision::Fail(err) => return Err(err),
            },
            Ok(Err(err)) if err.is_missing() => match decide(Observation::Gone) {
                Decision::Continue(now) => {
                    (state, trouble, answered) = (now, None, Instant::now());
                }
                Decision::Done(done) => return Ok(done),
                Decision::Fail(err) => return Err(err),
            },
            Ok(Err(err)) if err.is_transient() && answered.elapsed() < patience.away => {
                trouble = Some(err);
            }
            Ok(Err(err)) => return Err(err),
            Err(_) => {}
        }
        if Instant::now() + pause >= deadline {
            // The last words of a service that is down say more than the time.
            return Err(trouble.unwrap_or_else(|| Error::Late {
                what: what.to_owned(),
                state: format!("`{state}`"),
                after: begin.elapsed(),
            }));
        }
        sleep(pause, cancel).await?;
    }
    Err(Error::Cancelled)
}

/// Sleeps, unless the user does not want to wait any more.
pub(super) async fn sleep(pause: Duration, cancel: &CancellationToken) -> Result<(), Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled),
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

/// A number from 0 to 1. `RandomState` is seeded by the system; that is chance
/// enough for a pause.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
    let chance = bits as f64 / f64::from(u32::MAX);
    chance
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

    fn broken() -> Error {
        Error::Slow {
            service: super::super::Service::Compute,
            request: "GET /servers/x".into(),
            limit: Duration::from_mins(1),
        }
    }

    async fn after(
        minutes: u64,
        cancel: &CancellationToken,
        mut looks: impl FnMut(u32) -> Result<u32, Error>,
    ) -> Result<u32, Error> {
        let mut n_looks = 0;
        wait(
            "server `x`",
            async || {
                n_looks += 1;
                looks(n_looks)
            },
            |seen| match seen {
                Observation::Present(n) if n >= 100 => Decision::Done(n),
                Observation::Present(n) => Decision::Continue(format!("BUILD {n}")),
                Observation::Gone => Decision::Done(0),
            },
            &Patience { poll: BACKOFF, ..Patience::default() },
            Instant::now() + Duration::from_secs(60 * minutes),
            cancel,
        )
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_may_be_away_for_a_while() {
        let cancel = CancellationToken::new();
        let done = after(10, &cancel, |n| if n < 20 { Err(broken()) } else { Ok(100) }).await;
        assert_eq!(done.unwrap(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_endless() {
        let cancel = CancellationToken::new();
        let late = after(1, &cancel, |_| Ok(1)).await.unwrap_err();
        assert_eq!(
            late.to_string().split(" after ").next(),
            Some("server `x` was still `BUILD 1`")
        );
        let late = after(1, &cancel, |_| Err(broken())).await.unwrap_err();
        assert!(late.is_transient(), "the service's own words: {late}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_gone_for_good_is_not_waited_for_until_the_deadline() {
        let begin = Instant::now();
        let gone = after(240, &CancellationToken::new(), |_| Err(broken())).await.unwrap_err();
        let away = Patience::default().away;
        assert!(gone.is_transient(), "{gone}");
        assert!((away..away + Duration::from_mins(1)).contains(&begin.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelling_ends_a_wait_at_once() {
        let cancel = CancellationToken::new();
        let canceller = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            canceller.cancel();
        });
        let begin = Instant::now();
        assert!(matches!(after(60, &cancel, |_| Ok(1)).await, Err(Error::Cancelled)));
        assert!(begin.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test(start_paused = true)]
    async fn an_hour_of_waiting_is_a_few_requests() {
        let cancel = CancellationToken::new();
        let mut n_looks = 0;
        _ = after(60, &cancel, |n| {
            n_looks = n;
            Ok(1)
        })
        .await;
        assert!((180..330).contains(&n_looks), "{n_looks}");
    }
}
