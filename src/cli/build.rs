//! `build`: runs a plan, and says what came of it.

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Surroundings,
    arguments::{Build as BuildArguments, BuildFormat, OnError},
    builds, cloud,
    failure::{self, Failure, Plain, Status},
    prepare::Prepared,
    runs, story,
};
use crate::{
    CancellationToken,
    engine::{self, Decision, Event, Journal, Outcome, RunError, Runner, StageError, Teller},
    model::Target,
    openstack::Cloud,
    plan::Plan,
    runner::{Observed, OpenstackRunner, Place, QemuRunner, folder::RunFolder, manifest},
    ui,
};

/// `imgbuild build`
pub(super) async fn build(arguments: &BuildArguments, cx: &Surroundings) -> Result<(), Failure> {
    let mut all = builds::prepared(&arguments.spec, arguments.fix, cx).await?;
    if all.len() == 1 {
        return build_one(arguments, cx, all.swap_remove(0)).await;
    }
    if arguments.resume.is_some() {
        return Err(Failure::usage(Plain::new(
            "--resume is for one run, and the spec makes several images",
            "choose one of them with `--only`",
        )));
    }
    // Nothing runs before all are right; warnings are said with each build.
    for prepared in all.iter().filter(|it| it.findings.is_fatal()) {
        prepared.print_findings(cx.colours)?;
    }
    let n_all = all.len();
    let mut failed = Vec::new();
    let mut status = Status::Failed;
    for (i, prepared) in all.into_iter().enumerate() {
        let name = prepared.plan.name.clone();
        if matches!(arguments.format, BuildFormat::Auto | BuildFormat::Plain) {
            _ = writeln!(std::io::stderr(), "build {} of {n_all}: {name}", i + 1);
        }
        let Err(failure) = build_one(arguments, cx, prepared).await else { continue };
        if let Some(report) = &failure.report {
            failure::print(report.as_ref(), cx.colours);
        }
        failed.push(name);
        if failure.status == Status::LeftBehind {
            status = Status::LeftBehind;
        }
        if failure.status == Status::Interrupted {
            status = failure.status;
            break;
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    _ = writeln!(std::io::stderr(), "of {n_all} builds not made: {}", failed.join(", "));
    Err(Failure::silent(status))
}

async fn build_one(
    arguments: &BuildArguments,
    cx: &Surroundings,
    mut prepared: Prepared,
) -> Result<(), Failure> {
    prepared.print_findings(cx.colours)?;
    if let Some(timeout) = arguments.timeout {
        prepared.limit(timeout);
    }
    let target = prepared.loaded.build().target.clone();
    let cloud = match cloud::settings(prepared.loaded.build()) {
        Some(settings) => Some(cloud::connect(settings.cloud.as_deref())?),
        None => None,
    };
    if arguments.resume.is_none()
        && !arguments.force
        && let Some((name, product)) = current(&target, cloud.as_ref(), &prepared.inputs).await
    {
        _ = writeln!(
            std::io::stderr(),
            "{name}: nothing has changed since it was built; --force builds it again",
        );
        _ = writeln!(std::io::stdout(), "{product}");
        return Ok(());
    }
    let mut in_cloud = None;
    if let Some(cloud) = cloud {
        let length = prepared.rendered.expose().len();
        let place = cloud::survey(&cloud, prepared.loaded.build(), length).await?;
        in_cloud = Some((cloud, place));
    }
    for (folder, left) in runs::dead(&cx.home) {
        _ = writeln!(
            std::io::stderr(),
            "run {} was killed and left {} things behind: `imgbuild cleanup` gives them back",
            folder.file_name().unwrap_or_default(),
            left.len()
        );
    }
    run(arguments, cx, prepared, &target, in_cloud).await
}

async fn run(
    arguments: &BuildArguments,
    cx: &Surroundings,
    prepared: Prepared,
    target: &Target,
    in_cloud: Option<(Cloud, Place)>,
) -> Result<(), Failure> {
    let plan = prepared.plan.clone();
    let name = plan.name.clone();
    let run = arguments.resume.clone().unwrap_or_else(|| new_run(&cx.home.work, &name));
    let folder = RunFolder::create(&cx.home.work, &run).map_err(|source| {
        Failure::failed(Plain::io(format!("cannot make the folder of run `{run}`"), source))
    })?;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let teller = Teller::new(sender);
    let format = match arguments.format {
        BuildFormat::Auto => ui::Format::automatic(),
        BuildFormat::Plain => ui::Format::Lines,
        BuildFormat::Json => ui::Format::Json,
        BuildFormat::Quiet => ui::Format::Quiet,
    };
    let shown = tokio::task::spawn_local(ui::show(receiver, format, prepared.redactor.clone()));

    let journal_path = folder.file(RunFolder::JOURNAL);
    let mut journal = Journal::open(&journal_path, prepared.redactor.clone(), teller.clone())
        .map_err(Failure::failed)?;
    begin(&mut journal, arguments, &run, &prepared)?;
    let cloud = in_cloud.as_ref().map(|it| it.0.clone());
    let context = prepared.context(cx, &folder, &run, cloud).await?;
    let key = context.key.clone();
    let local = QemuRunner::new(context);
    let runner = match in_cloud {
        Some((cloud, place)) => AnyRunner::Cloud(OpenstackRunner::new(local, cloud, place)),
        None => AnyRunner::Local(local),
    };
    let cancel = CancellationToken::new();
    let mut decide = |error: &RunError| decision(arguments.on_error, error, cx.colours);
    let outcome = {
        let work = engine::run(&plan, runner.as_runner(), &mut journal, &cancel, &mut decide);
        tokio::pin!(work);
        let stop = interrupted(&cancel, arguments.timeout);
        tokio::pin!(stop);
        tokio::select! {
            outcome = &mut work => Some(outcome),
            () = &mut stop => None,
        }
    };
    let Some(outcome) = outcome else {
        drop(runner);
        return Err(stopped_at_once(&journal, &run));
    };
    let product = outcome.result.is_ok().then(|| product(target, &journal));
    let event = Event::BuildFinished {
        outcome: outcome_text(&outcome).to_owned(),
        product: product.clone(),
        leftovers: outcome.leftovers.clone(),
    };
    journal.record(&event).map_err(Failure::failed)?;
    let kept =
        story::write(&prepared, &plan, &journal, &outcome, &runner.observed(), &folder, &run);
    if let Some(key) = key {
        key.remove();
    }
    drop(runner);
    drop(journal);
    drop(teller);
    _ = shown.await;
    finish(arguments, cx, &outcome, product.as_deref(), &kept, &run)
}

/// Records what is built, or makes sure that it is still the same.
fn begin(
    journal: &mut Journal,
    arguments: &BuildArguments,
    run: &str,
    prepared: &Prepared,
) -> Result<(), Failure> {
    if let Some((_, _, inputs)) = &journal.state().started {
        if *inputs != prepared.inputs {
            return Err(Failure::usage(Plain::new(
                format!("the spec has changed since run `{run}` began"),
                "build it anew, without --resume",
            )));
        }
        return Ok(());
    }
    if arguments.resume.is_some() {
        return Err(Failure::usage(Plain::new(
            format!("there is no run `{run}` to go on with"),
            "`imgbuild runs` lists them",
        )));
    }
    let plan: &Plan = &prepared.plan;
    let event = Event::BuildStarted {
        format: 1,
        run: run.to_owned(),
        name: plan.name.clone(),
        inputs: prepared.inputs.clone(),
        stages: plan.stages.iter().map(|it| it.name.clone()).collect(),
        cloud: cloud::settings(prepared.loaded.build())
            .and_then(|it| it.cloud.clone())
            .or_else(|| std::env::var("OS_CLOUD").ok().filter(|it| !it.is_empty())),
    };
    journal.record(&event).map_err(Failure::failed)
}

/// Says how it ended; the image's path is the last thing on standard output.
fn finish(
    arguments: &BuildArguments,
    cx: &Surroundings,
    outcome: &Outcome,
    product: Option<&str>,
    kept: &story::Kept,
    run: &str,
) -> Result<(), Failure> {
    let mut errors = std::io::stderr();
    if let Err(error) = &outcome.result {
        if !matches!(error.source, StageError::Cancelled) {
            failure::print(error, cx.colours);
        }
        if !kept.files.is_empty() {
            _ = writeln!(errors, "  kept: {}  in {}", kept.files.join("  "), kept.folder);
        }
    }
    for resource in &outcome.leftovers {
        _ = writeln!(errors, "left behind: {}", resource.name);
    }
    if !outcome.leftovers.is_empty() {
        _ = writeln!(errors, "`imgbuild cleanup {run}` gives back what was left behind");
    }
    if let Some(product) = product
        && arguments.format != BuildFormat::Json
    {
        _ = writeln!(std::io::stdout(), "{product}");
    }
    match (&outcome.result, outcome.leftovers.is_empty()) {
        (_, false) => Err(Failure::silent(Status::LeftBehind)),
        (Ok(()), true) => Ok(()),
        (Err(error), true) if matches!(error.source, StageError::Cancelled) => {
            _ = writeln!(errors, "interrupted; nothing was left behind");
            Err(Failure::silent(Status::Interrupted))
        }
        (Err(_), true) => Err(Failure::silent(Status::Failed)),
    }
}

pub(super) fn outcome_text(outcome: &Outcome) -> &'static str {
    match &outcome.result {
        Ok(()) => "succeeded",
        Err(error) if matches!(error.source, StageError::Cancelled) => "interrupted",
        Err(_) => "failed",
    }
}

/// Waits for signals: the first cancels, and the build undoes itself; after the
/// second this returns, and everything is dropped at once. The time limit of
/// the whole build counts as a first signal.
async fn interrupted(cancel: &CancellationToken, timeout: Option<crate::units::Span>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupts), Ok(mut terminations), Ok(mut hang_ups)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    let mut limit = std::pin::pin!(async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout.duration()).await,
            None => std::future::pending().await,
        }
    });
    let mut limit_is_over = false;
    loop {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
            _ = hang_ups.recv() => {}
            () = &mut limit, if !limit_is_over => {
                limit_is_over = true;
                _ = writeln!(std::io::stderr(), "the build's time is up, undoing");
                cancel.cancel();
                continue;
            }
        }
        if cancel.is_cancelled() {
            return;
        }
        _ = writeln!(std::io::stderr(), "interrupted, undoing; once more stops at once");
        cancel.cancel();
    }
}

fn stopped_at_once(journal: &Journal, run: &str) -> Failure {
    let held = &journal.state().held;
    let mut errors = std::io::stderr();
    for resource in held {
        _ = writeln!(errors, "left behind: {}", resource.name);
    }
    if held.is_empty() {
        return Failure::silent(Status::Interrupted);
    }
    _ = writeln!(errors, "`imgbuild cleanup {run}` gives back what was left behind");
    Failure::silent(Status::LeftBehind)
}

fn decision(on_error: OnError, error: &RunError, colours: bool) -> Decision {
    match on_error {
        OnError::Cleanup => Decision::Cleanup,
        OnError::Keep => Decision::Keep,
        OnError::Ask => {
            failure::print(error, colours);
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

/// The runner of a build.
enum AnyRunner {
    Local(QemuRunner),
    Cloud(OpenstackRunner),
}

impl AnyRunner {
    fn as_runner(&self) -> &dyn Runner {
        match self {
            Self::Local(it) => it,
            Self::Cloud(it) => it,
        }
    }

    fn observed(&self) -> Observed {
        match self {
            Self::Local(it) => it.observed(),
            Self::Cloud(it) => it.observed(),
        }
    }
}

/// What was made of the same inputs earlier: its name, and its path or ID.
async fn current(target: &Target, cloud: Option<&Cloud>, inputs: &str) -> Option<(String, String)> {
    match (target, cloud) {
        (Target::File(it), _) => {
            let is_same = manifest::of(&it.path).is_some_and(|it| it.inputs == inputs);
            is_same.then(|| (it.path.to_string(), absolute(&it.path).into_string()))
        }
        (Target::Glance(it), Some(cloud)) => {
            Some((it.name.clone(), cloud::current(cloud, target, inputs).await?))
        }
        (Target::Volume(it), Some(cloud)) => {
            Some((it.name.clone(), cloud::current(cloud, target, inputs).await?))
        }
        (Target::Glance(_) | Target::Volume(_), None) => None,
    }
}

/// Where the product is: a path, or an ID in the cloud.
fn product(target: &Target, journal: &Journal) -> String {
    match target {
        Target::File(it) => absolute(&it.path).into_string(),
        Target::Glance(_) | Target::Volume(_) => {
            let said = journal.state().outputs.get("publish");
            let id = said.and_then(|it| it.get("product")?.as_str());
            id.unwrap_or_default().to_owned()
        }
    }
}

/// A new run's ID: the time, in UTC, and the image's name.
fn new_run(work: &Utf8Path, name: &str) -> String {
    let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
    let first = format!("{time}-{name}");
    let taken = |it: &str| work.join("runs").join(it).exists();
    if !taken(&first) {
        return first;
    }
    (2..10_000).map(|n| format!("{first}-{n}")).find(|it| !taken(it)).unwrap_or(first)
}

fn absolute(path: &Utf8Path) -> Utf8PathBuf {
    path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned())
}
