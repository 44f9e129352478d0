//! What people say while builds run: signals, and what becomes of a build that
//! failed.

use std::io::Write as _;

use camino::Utf8PathBuf;

use super::{
    arguments::OnError,
    failure::{self, Failure, Status},
};
use crate::{
    CancellationToken,
    engine::{Decision, RunError, State},
    ui::Display,
};

/// A run that has begun.
pub(super) struct Begun {
    pub(super) run: String,
    pub(super) journal: Utf8PathBuf,
}

/// Waits for signals: the first cancels, and the builds undo themselves; after
/// the second this returns, and everything is dropped at once.
pub(super) async fn interrupted(cancel: &CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupts), Ok(mut terminations), Ok(mut hang_ups)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            _ = hang_ups.recv() => {}
        }
        if cancel.is_cancelled() {
            return;
        }
        _ = writeln!(std::io::stderr(), "interrupted, undoing; once more stops at once");
        cancel.cancel();
    }
}

/// Says what runs hold that were not given the time to undo themselves.
pub(super) fn stopped_at_once(begun: &[Begun]) -> Failure {
    let mut errors = std::io::stderr();
    let mut status = Status::Interrupted;
    for Begun { run, journal } in begun {
        let Ok(state) = State::read(journal) else { continue };
        if state.outcome.is_some() || state.held.is_empty() {
            continue;
        }
        for resource in &state.held {
            _ = writeln!(errors, "left behind: {}", resource.name);
        }
        _ = writeln!(errors, "`imgbuild cleanup {run}` gives back what was left behind");
        status = Status::LeftBehind;
    }
    Failure::silent(status)
}

pub(super) fn decision(
    on_error: OnError,
    error: &RunError,
    display: &Display,
    colours: bool,
) -> Decision {
    match on_error {
        OnError::Cleanup => Decision::Cleanup,
        OnError::Keep => Decision::Keep,
        OnError::Ask => {
            display.print(&failure::render(error, colours));
            ask()
        }
    }
}

/// Asks on the terminal; where nobody can answer, everything is given back.
fn ask() -> Decision {
    loop {
        _ = write!(std::io::stderr(), "[c]lean up, [k]eep everything, [r]etry the stage? ");
        let mut answer = String::new();
        match std::io::stdin().read_line(&mut answer) {
            Ok(0) | Err(_) => return Decision::Cleanup,
            Ok(_) => {}
        }
        match answer.trim() {
            "c" | "" => return Decision::Cleanup,
            "k" => return Decision::Keep,
            "r" => return Decision::Retry,
            _ => {}
        }
    }
}
