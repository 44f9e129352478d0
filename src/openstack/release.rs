//! Giving back what was created.
//!
//! Deleting is asked for, waited for, and asked for again where the cloud took
//! it back: a snapshot that something was cloned from is `available` again, a
//! volume is `in-use` until its server is gone.

use tokio::time::Instant;

use super::{Error, session::Session, wait::sleep};

/// Something in a cloud, by its ID or by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// By its ID.
    Id(&'a str),
    /// By its name; everything in the project that has it is meant.
    Name(&'a str),
}

/// What stands between us and its end.
pub(super) enum Standing {
    /// It may be deleted now.
    Deletable,
    /// It is being deleted, or not ready for it; the state is for messages.
    Wait,
}

/// Deletes until it is gone. `look` says in which state it is.
pub(super) async fn until_gone(
    session: &Session,
    what: &str,
    delete: impl AsyncFn() -> Result<(), Error>,
    look: impl AsyncFn() -> Result<(Standing, String), Error>,
    deadline: Instant,
) -> Result<(), Error> {
    let begin = Instant::now();
    let mut state = "there".to_owned();
    let mut trouble = None;
    for pause in session.patience().poll.pauses() {
        let step = async {
            let (standing, now) = look().await?;
            if matches!(standing, Standing::Deletable) {
                delete().await?;
            }
            Ok::<_, Error>(now)
        };
        match tokio::time::timeout_at(deadline, step).await {
            Ok(Ok(now)) => (state, trouble) = (now, None),
            Ok(Err(err)) if err.is_missing() => return Ok(()),
            // 400 and 409: something still holds it, which may go away.
            Ok(Err(err)) if err.is_transient() || matches!(err.status(), Some(400 | 409)) => {
                trouble = Some(err);
            }
            Ok(Err(err)) => return Err(err),
            Err(_) => {}
        }
        if Instant::now() + pause >= deadline {
            return Err(trouble.unwrap_or_else(|| Error::Late {
                what: what.to_owned(),
                state: format!("`{state}`"),
                after: begin.elapsed(),
            }));
        }
        sleep(pause, session.cancel()).await?;
    }
    Err(Error::Cancelled)
}
