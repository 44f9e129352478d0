//! Runs a [`Plan`]: in order, once each, undone on failure.
//!
//! The engine knows nothing of disks or clouds. It calls one [`Runner`], writes
//! what happened to the [`Journal`], and in the end releases what was claimed,
//! newest first: scratch always, products only when the build failed.

mod event;
mod journal;

use std::{
    cell::Cell,
    fmt,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use miette::Diagnostic;

use crate::{
    CancellationToken,
    plan::{Plan, Stage},
    units::Span,
};

pub use event::{Event, Level, Lifetime, Resource, ResourceKind, Teller, Unit};
pub use journal::{Journal, JournalError, State};

/// How long undoing one resource may take, with all its tries.
const RELEASE_DEADLINE: Duration = Duration::from_mins(3);
/// The pause before undoing is tried again; it doubles.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

/// Performs stages and releases what they created.
#[async_trait(?Send)]
pub trait Runner {
    /// Performs `stage` and returns what later stages may ask for.
    ///
    /// Must be idempotent: after a crash the same stage is run again.
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError>;

    /// Releases `resource`. One that no longer exists is a success.
    async fn release(&self, resource: &Resource) -> Result<(), StageError>;
}

/// What a stage may use while it runs.
pub struct StageCx<'a> {
    journal: &'a mut Journal,
    /// Cancelled when the user interrupts the build, or the stage's time is up.
    pub cancel: CancellationToken,
    clock: &'a Clock,
}

impl StageCx<'_> {
    /// Records the intent to create `resource`, before it is created.
    pub fn claim(&mut self, resource: Resource) -> Result<(), StageError> {
        Ok(self.journal.record(&Event::Claimed { resource })?)
    }

    /// Records the identity the platform gave a claimed resource.
    pub fn confirm(&mut self, label: &str, id: &str) -> Result<(), StageError> {
        let event = Event::Confirmed { label: label.to_owned(), id: id.to_owned() };
        Ok(self.journal.record(&event)?)
    }

    /// Records that a resource was given back before the end of the build.
    pub fn released(&mut self, label: &str) -> Result<(), StageError> {
        Ok(self.journal.record(&Event::Released { label: label.to_owned() })?)
    }

    /// Records that the installer reached a phase.
    pub fn phase(&mut self, phase: &str, at: Duration) -> Result<(), StageError> {
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        Ok(self.journal.record(&Event::PhaseReached { phase: phase.to_owned(), millis })?)
    }

    /// What the stage `name` put out.
    pub fn output(&self, name: &str) -> Option<&serde_json::Value> {
        self.journal.state().outputs.get(name)
    }

    /// What the journal says so far.
    pub fn state(&self) -> &State {
        self.journal.state()
    }

    /// Tells the user.
    pub fn teller(&self) -> &Teller {
        self.journal.teller()
    }

    /// Waits for something that is no work of the stage's, such as another build
    /// to end: the stage's time stands still.
    pub async fn aside<T>(&self, wait: impl Future<Output = T>) -> T {
        self.clock.stopped.set(Some(Instant::now()));
        let ended = wait.await;
        self.clock.aside.set(self.clock.aside());
        self.clock.stopped.set(None);
        ended
    }
}

/// What ends a build before it is done.
#[derive(Debug)]
pub struct Ends {
    /// The user interrupts it.
    pub cancel: CancellationToken,
    /// How long it may take, and since when. What it waits for counts.
    within: Option<(Instant, Span)>,
}

impl Ends {
    /// Those of a build that begins now.
    pub fn new(cancel: CancellationToken, within: Option<Span>) -> Self {
        Self { cancel, within: within.map(|it| (Instant::now(), it)) }
    }

    /// Waits until the build's time is up, and returns how much it had.
    async fn over(&self) -> Span {
        let Some((began, within)) = self.within else { return std::future::pending().await };
        tokio::time::sleep(within.duration().saturating_sub(began.elapsed())).await;
        within
    }
}

/// The time of a stage, with what does not count of it.
#[derive(Debug, Default)]
struct Clock {
    aside: Cell<Duration>,
    stopped: Cell<Option<Instant>>,
}

impl Clock {
    fn aside(&self) -> Duration {
        self.aside.get() + self.stopped.get().map(|it| it.elapsed()).unwrap_or_default()
    }

    /// Ends when so much time was worked.
    async fn over(&self, limit: Duration) {
        let began = Instant::now();
        loop {
            let left = (limit + self.aside()).saturating_sub(began.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// Why a stage failed.
#[derive(Debug, Diagnostic)]
pub enum StageError {
    /// The user interrupted the build.
    Cancelled,
    /// The stage did not end in time.
    #[diagnostic(help("raise the stage's `timeout` in the spec, or --timeout"))]
    TimedOut(Span),
    /// The build, of which it is a stage, did not end in time.
    #[diagnostic(help("raise --timeout"))]
    BuildTimedOut(Span),
    /// The journal could not be written.
    #[diagnostic(transparent)]
    Journal(JournalError),
    /// What the stage does failed, in the words of the layer that does it.
    #[diagnostic(transparent)]
    Failed(Box<dyn Diagnostic + Send + Sync>),
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("interrupted"),
            Self::TimedOut(within) => write!(f, "not done within {within}"),
            Self::BuildTimedOut(within) => write!(f, "the build was not done within {within}"),
            Self::Journal(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

// By hand: thiserror does not hand on the causes of a boxed diagnostic.
impl std::error::Error for StageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cancelled | Self::TimedOut(_) | Self::BuildTimedOut(_) => None,
            Self::Journal(error) => error.source(),
            Self::Failed(error) => error.source(),
        }
    }
}

impl From<JournalError> for StageError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl StageError {
    /// The failure of a layer below.
    pub fn of(error: impl Diagnostic + Send + Sync + 'static) -> Self {
        Self::Failed(Box::new(error))
    }

    /// The error of the layer below, where it is of this type.
    pub fn inner<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let Self::Failed(inner) = self else { return None };
        let inner: &(dyn std::error::Error + 'static) = inner.as_ref();
        inner.downcast_ref()
    }

    /// The message and its causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = vec![self.to_string()];
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            if causes.last() != Some(&text) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

/// How a build ended: two questions, each with its own answer.
#[derive(Debug)]
#[must_use]
pub struct Outcome {
    /// Whether the image was made, and if not, why.
    pub result: Result<(), RunError>,
    /// What could not be released, or was kept because the user wants to look.
    /// A good build may have some too.
    pub leftovers: Vec<Resource>,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("stage `{stage}` failed")]
pub struct RunError {
    /// The name of the failed stage.
    pub stage: String,
    /// The cause.
    #[source]
    #[diagnostic_source]
    pub source: StageError,
}

/// What is done when a stage fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Release everything.
    Cleanup,
    /// Leave everything where it is.
    Keep,
    /// Run the stage once more.
    Retry,
}

/// Runs every stage of `plan` that the journal does not already say is done.
///
/// `decide` is asked when a stage fails, never after an interruption.
pub async fn run(
    plan: &Plan,
    runner: &dyn Runner,
    journal: &mut Journal,
    ends: &Ends,
    decide: &mut dyn FnMut(&RunError) -> Decision,
) -> Outcome {
    let (result, keep) = forward(plan, runner, journal, ends, decide).await;
    let leftovers = if keep {
        journal.state().held.clone()
    } else {
        unwind(runner, journal, result.is_err()).await
    };
    Outcome { result, leftovers }
}

async fn forward(
    plan: &Plan,
    runner: &dyn Runner,
    journal: &mut Journal,
    ends: &Ends,
    decide: &mut dyn FnMut(&RunError) -> Decision,
) -> (Result<(), RunError>, bool) {
    for (index, stage) in plan.stages.iter().enumerate() {
        while !journal.state().is_done(&stage.name) {
            let Err(source) = run_stage(index, stage, runner, journal, ends).await else { break };
            let interrupted = matches!(source, StageError::Cancelled | StageError::Journal(_));
            let error = RunError { stage: stage.name.clone(), source };
            let decision = if interrupted { Decision::Cleanup } else { decide(&error) };
            if decision != Decision::Retry {
                return (Err(error), decision == Decision::Keep);
            }
        }
    }
    (Ok(()), false)
}

async fn run_stage(
    index: usize,
    stage: &Stage,
    runner: &dyn Runner,
    journal: &mut Journal,
    ends: &Ends,
) -> Result<(), StageError> {
    let cancel = &ends.cancel;
    if cancel.is_cancelled() {
        return Err(StageError::Cancelled);
    }
    let began = Instant::now();
    let name = stage.name.clone();
    journal.record(&Event::StageStarted { index, stage: name.clone() })?;
    let ended = {
        let clock = Clock::default();
        let mut cx = StageCx { journal, cancel: cancel.child_token(), clock: &clock };
        let child = cx.cancel.clone();
        let work = runner.run(stage, &mut cx);
        tokio::pin!(work);
        let too_late = tokio::select! {
            ended = &mut work => Err(ended),
            () = clock.over(stage.timeout.duration()) => Ok(StageError::TimedOut(stage.timeout)),
            within = ends.over() => Ok(StageError::BuildTimedOut(within)),
        };
        match too_late {
            Ok(error) => {
                // It is asked to stop, so that it can stop what it started.
                child.cancel();
                _ = tokio::time::timeout(Duration::from_secs(30), work).await;
                Err(error)
            }
            Err(ended) => ended,
        }
    };
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    match ended {
        Ok(output) => {
            Ok(journal.record(&Event::StageFinished { index, stage: name, millis, output })?)
        }
        Err(error) => {
            // A stage whose time was up sees a cancelled token too.
            let error = match error {
                StageError::Failed(_) if cancel.is_cancelled() => StageError::Cancelled,
                error => error,
            };
            let help = match &error {
                StageError::Failed(inner) => inner.help().map(|it| it.to_string()),
                other => other.help().map(|it| it.to_string()),
            };
            let causes = error.causes();
            let event = Event::StageFailed { index, stage: name, millis, causes, help };
            journal.record(&event)?;
            Err(error)
        }
    }
}

/// Releases resources, newest first, and returns those it could not release.
///
/// Does not take the cancellation token: undoing is what cancellation asks for.
pub async fn unwind(runner: &dyn Runner, journal: &mut Journal, failed: bool) -> Vec<Resource> {
    let mut leftovers = Vec::new();
    for resource in journal.state().held.clone().into_iter().rev() {
        if !failed && resource.lifetime == Lifetime::Product {
            continue;
        }
        let released = match release(runner, &resource).await {
            Ok(()) => journal.record(&Event::Released { label: resource.label.clone() }).is_ok(),
            Err(error) => {
                let causes = error.causes().join(": ");
                journal.teller().warn(format!("cannot release `{}`: {causes}", resource.name));
                false
            }
        };
        if !released {
            leftovers.push(resource);
        }
    }
    leftovers
}

/// Releases one resource, with more tries: a volume that is still being created
/// cannot be deleted yet.
async fn release(runner: &dyn Runner, resource: &Resource) -> Result<(), StageError> {
    let deadline = Instant::now() + RELEASE_DEADLINE;
    let mut pause = RELEASE_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let tried = tokio::time::timeout(left, runner.release(resource))
            .await
            .unwrap_or(Err(StageError::TimedOut(Span::secs(RELEASE_DEADLINE.as_secs()))));
        let local = matches!(
            resource.kind,
            ResourceKind::File | ResourceKind::Folder | ResourceKind::Machine
        );
        if tried.is_ok() || local || Instant::now() + pause >= deadline {
            return tried;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(15));
    }
}
