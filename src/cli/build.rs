//! `build`: runs plans, and says what came of each.
//!
//! All builds share one thread, one display and, in a cloud, one session. Each
//! has a run, a journal and an undoing of its own.

use std::{cell::RefCell, io::Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    Surroundings,
    arguments::{Build as BuildArguments, BuildFormat, OnError},
    attended::{Begun, decision, interrupted, stopped_at_once},
    builds, cloud, expectation,
    failure::{self, Failure, Plain, Status},
    prepare::Prepared,
    runs, story,
    turns::{InTurn, Site, Turn, Turns},
};
use crate::{
    CancellationToken,
    engine::{self, Ends, Event, Journal, Outcome, RunError, Runner, StageError, Teller},
    model::Target,
    openstack::Cloud,
    plan::Plan,
    runner::{Observed, OpenstackRunner, Place, QemuRunner, folder::RunFolder, manifest},
    ui::{Display, Format, Shown},
};

/// `imgbuild build`
pub(super) async fn build(arguments: &BuildArguments, cx: &Surroundings) -> Result<(), Failure> {
    let all = builds::to_build(arguments, cx).await?;
    let is_many = all.len() > 1;
    check_many(arguments, is_many)?;
    if let Some(run) = &arguments.resume {
        runs::find(&cx.home, run)?;
    }
    // Nothing runs before all are right; warnings are said with each build.
    for prepared in all.iter().filter(|it| is_many && it.findings.is_fatal()) {
        prepared.print_findings(cx.colours)?;
    }
    for (folder, left) in runs::dead(&cx.home) {
        _ = writeln!(
            std::io::stderr(),
            "run {} was killed and left {} things behind: `imgbuild cleanup` gives them back",
            folder.file_name().unwrap_or_default(),
            left.len()
        );
    }
    let format = match arguments.format {
        BuildFormat::Auto => Format::automatic(),
        BuildFormat::Plain => Format::Lines,
        BuildFormat::Json => Format::Json,
        BuildFormat::Quiet => Format::Quiet,
    };
    let interrupt = CancellationToken::new();
    let builds = Builds {
        arguments,
        cx,
        display: Display::new(format, is_many),
        turns: Turns::new(usize::from(arguments.jobs.get())),
        stop: interrupt.child_token(),
        begun: RefCell::default(),
    };
    let ended = {
        let work = builds.all(all);
        tokio::pin!(work);
        let stop = interrupted(&interrupt);
        tokio::pin!(stop);
        tokio::select! {
            ended = &mut work => Some(ended),
            () = &mut stop => None,
        }
    };
    let Some(mut ended) = ended else { return Err(stopped_at_once(&builds.begun.borrow())) };
    if !is_many && let Some(one) = ended.pop() {
        return one.result.map(drop);
    }
    ended.sort_by_key(|it| it.index);
    builds.sum_up(&ended);
    let status = worst(&ended, interrupt.is_cancelled());
    status.map_or(Ok(()), |it| Err(Failure::silent(it)))
}

/// Refuses what makes no sense for several builds.
fn check_many(arguments: &BuildArguments, is_many: bool) -> Result<(), Failure> {
    if is_many && arguments.resume.is_some() {
        return Err(Failure::usage(Plain::new(
            "--resume is for one run, and several images would be made",
            "choose one of them with `--only`",
        )));
    }
    if is_many && arguments.on_error == OnError::Ask && arguments.jobs.get() > 1 {
        return Err(Failure::usage(Plain::new(
            "--on-error ask would hold up the builds that run beside the one it asks about",
            "use `--on-error keep`, or leave -j out",
        )));
    }
    Ok(())
}

/// The status of several builds: the worst there is, if one of them is not made.
fn worst(ended: &[Ended], is_interrupted: bool) -> Option<Status> {
    let statuses = ended.iter().filter_map(|it| match &it.result {
        Ok(_) => None,
        // What was stopped because another one failed is not interrupted.
        Err(failure) if failure.status == Status::Interrupted && !is_interrupted => {
            Some(Status::Failed)
        }
        Err(failure) => Some(failure.status),
    });
    statuses.reduce(builds::worse)
}

/// All builds of one command.
struct Builds<'a> {
    arguments: &'a BuildArguments,
    cx: &'a Surroundings,
    display: Display,
    turns: Turns,
    /// The user wants no more, or one has failed and the others are to stop.
    stop: CancellationToken,
    begun: RefCell<Vec<Begun>>,
}

/// How a build ended.
struct Ended {
    index: usize,
    name: String,
    /// None where it did not begin.
    run: Option<String>,
    /// The product, a path or an ID.
    result: Result<String, Failure>,
}

impl Ended {
    fn outcome(&self) -> &'static str {
        match (&self.result, &self.run) {
            (Ok(_), Some(_)) => "succeeded",
            (Ok(_), None) => "nothing has changed",
            (Err(it), None) if it.status == Status::Interrupted => "not begun",
            (Err(it), _) => match it.status {
                Status::LeftBehind => "left something behind",
                Status::Interrupted => "interrupted",
                Status::Failed | Status::Usage | Status::Invalid => "failed",
            },
        }
    }
}

impl Builds<'_> {
    /// Runs all of them, in turn; returns them as they ended.
    async fn all(&self, all: Vec<Prepared>) -> Vec<Ended> {
        let mut running: FuturesUnordered<_> = all
            .into_iter()
            .enumerate()
            .map(|(index, prepared)| self.in_turn(index, prepared))
            .collect();
        let mut ended = Vec::new();
        while let Some(one) = running.next().await {
            ended.push(one);
        }
        ended
    }

    async fn in_turn(&self, index: usize, prepared: Prepared) -> Ended {
        let name = prepared.plan.name.clone();
        let mut run = None;
        let result = match self.turns.job(&self.stop).await {
            Some(_job) => Box::pin(self.one(prepared, &mut run)).await,
            None => Err(Failure::silent(Status::Interrupted)),
        };
        if let Err(failure) = &result {
            if self.display.is_many()
                && let Some(report) = &failure.report
            {
                self.display.print(&failure::render(report.as_ref(), self.cx.colours));
            }
            if self.arguments.fail_fast {
                self.stop.cancel();
            }
        }
        Ended { index, name, run, result }
    }

    async fn one(
        &self,
        mut prepared: Prepared,
        run: &mut Option<String>,
    ) -> Result<String, Failure> {
        let Self { arguments, cx, .. } = self;
        prepared.print_findings(cx.colours)?;
        if let Some(timeout) = arguments.timeout {
            prepared.limit(timeout);
        }
        let build = prepared.loaded.build();
        let target = build.target.clone();
        let site = match cloud::settings(build) {
            Some(settings) => Some(self.turns.site(settings.cloud.as_deref())?),
            None => None,
        };
        let cloud = site.as_ref().map(|it| &it.cloud);
        if arguments.resume.is_none()
            && !arguments.force
            && let Some((name, product)) = current(&target, cloud, &prepared.inputs).await
        {
            self.display.print(&format!(
                "{name}: nothing has changed since it was built; --force builds it again"
            ));
            self.product(&product);
            return Ok(product);
        }
        let Some(site) = site else {
            return self.run(prepared, &target, None, run).await;
        };
        let Some((place, turn)) = self.place(&site, &prepared).await? else {
            return Err(Failure::silent(Status::Interrupted));
        };
        let made = self.run(prepared, &target, Some((&site, place, &turn)), run).await;
        if made.is_ok() {
            turn.made(&target);
        }
        made
    }

    /// Where the servers of a build are started, once the cloud has room for it.
    async fn place(
        &self,
        site: &std::rc::Rc<Site>,
        prepared: &Prepared,
    ) -> Result<Option<(Place, Turn)>, Failure> {
        let name = &prepared.plan.name;
        let waits = || {
            self.display.say(
                name,
                "waits: the other builds may use all that the quotas of the cloud leave",
            );
        };
        let length = prepared.rendered.expose().len();
        let heading = self.display.is_many().then_some(prepared.plan.name.as_str());
        site.begin(prepared.loaded.build(), length, heading, waits, &self.stop).await
    }

    async fn run(
        &self,
        prepared: Prepared,
        target: &Target,
        in_cloud: Option<(&Site, Place, &Turn)>,
        begun: &mut Option<String>,
    ) -> Result<String, Failure> {
        let Self { arguments, cx, .. } = self;
        let plan = prepared.plan.clone();
        let name = plan.name.clone();
        let work = &cx.home.work;
        let opened = match &arguments.resume {
            Some(run) => RunFolder::create(work, run).map(|it| (run.clone(), it)),
            None => RunFolder::begin(work, new_runs(&name)),
        };
        let (run, folder) = opened.map_err(|source| {
            Failure::failed(Plain::io(
                format!("cannot make the folder of a run in `{work}`"),
                source,
            ))
        })?;
        *begun = Some(run.clone());
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let teller = Teller::new(sender);
        let in_cloud_name = cloud_name(&prepared);
        let build = prepared.loaded.build();
        let shown = Shown {
            name: name.clone(),
            run: run.clone(),
            redactor: prepared.redactor.clone(),
            expected: expectation::of(&name, in_cloud_name.as_deref(), build, &cx.home),
        };
        let shown = tokio::task::spawn_local(self.display.clone().show(receiver, shown));

        let journal_path = folder.file(RunFolder::JOURNAL);
        let mut journal = Journal::open(&journal_path, prepared.redactor.clone(), teller.clone())
            .map_err(Failure::failed)?;
        let site = in_cloud.as_ref().map(|it| &it.0.cloud);
        let project = match site {
            Some(cloud) => cloud.session().project().await.map_err(Failure::failed)?,
            None => None,
        };
        let at = Whereabouts { cloud: site.map(|it| it.session().cloud().name.clone()), project };
        begin(&mut journal, &run, &prepared, at)?;
        self.begun.borrow_mut().push(Begun { run: run.clone(), journal: journal_path });
        let cloud = in_cloud.as_ref().map(|it| it.0.cloud.clone());
        let mut context = prepared.context(cx, &folder, &run, cloud).await?;
        context.screenshots = arguments.screenshots;
        if arguments.screenshots && in_cloud.is_some() {
            teller.warn("a cloud gives no pictures of the screen: --screenshots is for QEMU");
        }
        let key = context.key.clone();
        let local = QemuRunner::new(context);
        let turn = in_cloud.as_ref().map(|it| it.2);
        let runner = match in_cloud {
            Some((site, place, _)) => {
                let runner = OpenstackRunner::new(local, site.cloud.clone(), place);
                AnyRunner::Cloud(runner.among(&site.crowd))
            }
            None => AnyRunner::Local(local),
        };
        let ends = Ends::new(self.stop.child_token(), arguments.timeout);
        let mut decide =
            |error: &RunError| decision(arguments.on_error, error, &self.display, cx.colours);
        let outcome = {
            let in_turn = InTurn { runner: runner.as_runner(), turns: &self.turns, turn };
            engine::run(&plan, &in_turn, &mut journal, &ends, &mut decide).await
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
        self.finish(&outcome, product.as_deref(), &kept, &run)?;
        Ok(product.unwrap_or_default())
    }

    /// Says how it ended; the image's path is the last thing on standard output.
    fn finish(
        &self,
        outcome: &Outcome,
        product: Option<&str>,
        kept: &story::Kept,
        run: &str,
    ) -> Result<(), Failure> {
        let mut said = Vec::new();
        if let Err(error) = &outcome.result {
            if !matches!(error.source, StageError::Cancelled) {
                if self.display.is_many() {
                    said.push(format!("run {run}"));
                }
                said.push(failure::render(error, self.cx.colours).trim_end().to_owned());
            }
            if !kept.files.is_empty() {
                said.push(format!("  kept: {}  in {}", kept.files.join("  "), kept.folder));
            }
        }
        said.extend(outcome.leftovers.iter().map(|it| format!("left behind: {}", it.name)));
        if !outcome.leftovers.is_empty() {
            said.push(format!("`imgbuild cleanup {run}` gives back what was left behind"));
        }
        let ended = match (&outcome.result, outcome.leftovers.is_empty()) {
            (_, false) => Err(Failure::silent(Status::LeftBehind)),
            (Ok(()), true) => Ok(()),
            (Err(error), true) if matches!(error.source, StageError::Cancelled) => {
                said.push("interrupted; nothing was left behind".to_owned());
                Err(Failure::silent(Status::Interrupted))
            }
            (Err(_), true) => Err(Failure::silent(Status::Failed)),
        };
        if !said.is_empty() {
            self.display.print(&said.join("\n"));
        }
        if let Some(product) = product {
            self.product(product);
        }
        ended
    }

    /// Prints where a product is; in JSON the last event says it.
    fn product(&self, product: &str) {
        if self.arguments.format != BuildFormat::Json {
            self.display.print_data(product);
        }
    }

    /// Says what became of each.
    fn sum_up(&self, ended: &[Ended]) {
        if self.arguments.format == BuildFormat::Json {
            let builds: Vec<_> = ended
                .iter()
                .map(|it| {
                    serde_json::json!({ "name": it.name, "run": it.run, "outcome": it.outcome(),
                        "product": it.result.as_ref().ok() })
                })
                .collect();
            let time = Timestamp::now().to_string();
            let event =
                serde_json::json!({ "event": "builds-finished", "time": time, "builds": builds });
            return self.display.print_data(&event.to_string());
        }
        let n_made = ended.iter().filter(|it| it.result.is_ok()).count();
        let mut lines = vec![format!("{n_made} of {} builds made", ended.len())];
        let longest = ended.iter().map(|it| it.name.chars().count()).max().unwrap_or_default();
        for it in ended {
            let run = it.run.as_ref().filter(|_| it.result.is_err());
            let run = run.map(|run| format!("  run {run}")).unwrap_or_default();
            lines.push(format!("  {:longest$}  {}{run}", it.name, it.outcome()));
        }
        self.display.print(&lines.join("\n"));
    }
}

/// The cloud that a build names, or the environment.
fn cloud_name(prepared: &Prepared) -> Option<String> {
    let settings = cloud::settings(prepared.loaded.build())?;
    let in_environment = || std::env::var("OS_CLOUD").ok().filter(|it| !it.is_empty());
    settings.cloud.clone().or_else(in_environment)
}

/// Where a build's resources are.
struct Whereabouts {
    /// The cloud, by its name in `clouds.yaml`.
    cloud: Option<String>,
    /// The project's ID.
    project: Option<String>,
}

/// Records what is built and where, or makes sure that it is still the same.
fn begin(
    journal: &mut Journal,
    run: &str,
    prepared: &Prepared,
    at: Whereabouts,
) -> Result<(), Failure> {
    if let Some((_, _, inputs)) = &journal.state().started {
        if *inputs != prepared.inputs {
            return Err(Failure::usage(Plain::new(
                format!("the spec has changed since run `{run}` began"),
                "build it anew, without --resume",
            )));
        }
        if journal.state().outcome.as_deref() == Some("succeeded") {
            return Err(Failure::usage(Plain::new(
                format!("run `{run}` has succeeded, there is nothing to go on with"),
                "build without --resume; --force builds again what has not changed",
            )));
        }
        if journal.state().project.is_some() && journal.state().project != at.project {
            return Err(Failure::usage(Plain::new(
                format!("run `{run}` began in another project or cloud"),
                "go on with the `--cloud` and the `OS_*` variables that it began with",
            )));
        }
        return Ok(());
    }
    let plan: &Plan = &prepared.plan;
    let event = Event::BuildStarted {
        format: 1,
        run: run.to_owned(),
        name: plan.name.clone(),
        inputs: prepared.inputs.clone(),
        stages: plan.stages.iter().map(|it| it.name.clone()).collect(),
        cloud: at.cloud,
        project: at.project,
    };
    journal.record(&event).map_err(Failure::failed)
}

pub(super) fn outcome_text(outcome: &Outcome) -> &'static str {
    match &outcome.result {
        Ok(()) => "succeeded",
        Err(error) if matches!(error.source, StageError::Cancelled) => "interrupted",
        Err(_) => "failed",
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

/// What a new run may be called: by the time, in UTC, and the image's name.
fn new_runs(name: &str) -> impl Iterator<Item = String> {
    let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
    let first = format!("{time}-{name}");
    let others = (2..10_000).map({
        let first = first.clone();
        move |n| format!("{first}-{n}")
    });
    std::iter::once(first).chain(others)
}

fn absolute(path: &Utf8Path) -> Utf8PathBuf {
    path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned())
}
