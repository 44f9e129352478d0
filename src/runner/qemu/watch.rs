//! A machine that runs, and the watcher that judges it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{ImageError, QemuRunner};
use crate::{
    console::{
        Verdict,
        evidence::Evidence,
        knowledge::Knowledge,
        outcome::{End, Judgement, Outcome},
        signature::SignatureError,
        system_log::LogReader,
        watch::{Finding, Progress, Watch, Watcher},
    },
    engine::{Event, StageCx, StageError, Unit},
    platform::qemu::{
        arguments::MachineSpec,
        machine::{self, Happening, Machine},
        metadata::Metadata,
        traffic::{Seen, Unanswered},
    },
    runner::{
        SYSTEM_LOG,
        console_log::{ConsoleLog, SystemLog},
        failed::MachineFailed,
        process_identity,
    },
};

/// How often silence and counters are looked at.
const TICK: Duration = Duration::from_secs(1);
/// What a console says right after its last words belongs to them.
const AFTERWORDS: Duration = Duration::from_millis(1500);
/// What went wrong on the network is told with a failure, as many of the last.
const RECENT: usize = 3;
/// What the guest has waited for so long is told with a failure.
const LONG_WAIT: Duration = Duration::from_secs(5);
/// What the templates print before each package's name.
const PACKAGE_MARK: &str = "IMGBUILD-PACKAGE ";

/// How a watched machine ended well.
pub(super) enum Watched {
    /// It did what it was to do, and is off.
    Done,
    /// What was waited for is there; the machine runs on.
    Reached(Box<Machine>),
}

/// What a machine said, on its console and in its installer's own log.
struct Logs {
    console: ConsoleLog,
    system: SystemLog,
    reader: LogReader,
}

/// What is waited for beside what the console says.
pub(in crate::runner) type Meanwhile<'a> =
    std::pin::Pin<Box<dyn Future<Output = Result<(), StageError>> + 'a>>;

impl QemuRunner {
    /// Runs a machine until it ended or was judged. `meanwhile` is done beside
    /// it; when it is done, so is the wait.
    pub(super) async fn watched(
        &self,
        spec: &MachineSpec,
        metadata: Metadata,
        knowledge: Arc<Knowledge>,
        watch: Watch,
        mut meanwhile: Option<Meanwhile<'_>>,
        cx: &mut StageCx<'_>,
    ) -> Result<Watched, StageError> {
        let context = &self.context;
        let label = format!("{}-machine", spec.name);
        let log_name = if spec.name == "install" {
            "console.log".to_owned()
        } else {
            format!("console-{}.log", spec.name)
        };
        let mut log = ConsoleLog::create(&context.folder.file(&log_name), context.redactor.clone())
            .map_err(io)?;
        let mut system_log = SystemLog::new(context.folder.file(SYSTEM_LOG), &context.redactor);
        let mut log_reader = LogReader::new(Arc::clone(&knowledge), watch.installer);
        let total = watch.budgets.total;
        let installs = matches!(watch.purpose, crate::console::watch::Purpose::Install);
        let mut watcher = Watcher::new(knowledge, watch);
        let began = Instant::now();
        let folder = context.folder.path().to_owned();
        let started = Machine::start(spec, metadata, &folder, &context.release.guard).await;
        let mut machine = started.map_err(StageError::of)?;
        if let Some(id) = machine.id() {
            cx.confirm(&label, &process_identity(id))?;
        }
        let mut recent: Vec<String> = Vec::new();
        let mut answer_fetched = false;
        let mut text = String::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cancel = cx.cancel.clone();
        let failure = loop {
            let mut findings = Vec::new();
            tokio::select! {
                () = cancel.cancelled() => {
                    machine.stop().await;
                    return Err(StageError::Cancelled);
                }
                happening = machine.next() => match happening {
                    Happening::Console(bytes) => {
                        log.write(&bytes).map_err(io)?;
                        self.packages(&bytes, &mut text);
                        findings = watcher.feed(&bytes, began.elapsed());
                    }
                    Happening::Network(Seen::Metadata { path }) => {
                        if path.contains("user-data") || path.contains("user_data") {
                            if !answer_fetched {
                                cx.teller().info("the guest fetched its answer file");
                            }
                            answer_fetched = true;
                        }
                    }
                    Happening::Network(Seen::Log { line }) => {
                        log_reader.line(&line);
                        system_log.line(&line).map_err(io)?;
                    }
                    Happening::Log(bytes) => {
                        log_reader.feed(&bytes);
                        system_log.write(&bytes).map_err(io)?;
                    }
                    Happening::Network(Seen::Request { status: ..400, .. }) => {}
                    Happening::Network(failed) => {
                        let line = failed.to_string();
                        if let Seen::Request { url, status, .. } = failed {
                            self.observed.borrow_mut().failed_request(url, status);
                        } else {
                            cx.teller().info(line.clone());
                        }
                        recent.push(line);
                        if recent.len() > RECENT {
                            recent.remove(0);
                        }
                    }
                    Happening::Ended(end) => {
                        match watcher.conclude(&end_of(end), began.elapsed()) {
                            Outcome::Success(_) => {
                                let counters = machine.counters().await;
                                self.observed.borrow_mut().carried(&spec.name, counters);
                                machine.stop().await;
                                return Ok(Watched::Done);
                            }
                            Outcome::Failure(judgement) => break judgement,
                        }
                    }
                },
                _ = tick.tick() => {
                    let counters = machine.counters().await;
                    self.observed.borrow_mut().carried(&spec.name, counters);
                    let evidence = Evidence {
                        disk_bytes: Some(counters.disk_read + counters.disk_written),
                        net_bytes: Some(counters.network),
                        cpu_time: Some(counters.processor),
                        answer_fetched: Some(answer_fetched),
                        unanswered: Some(
                            machine.unanswered().first().map_or(Duration::ZERO, |it| it.age),
                        ),
                    };
                    findings = watcher.tick(began.elapsed(), &evidence);
                }
                done = async { match &mut meanwhile {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                } } => {
                    match done {
                        Ok(()) => {
                            return Ok(Watched::Reached(Box::new(machine)));
                        }
                        Err(error) => {
                            self.picture(&machine, &spec.name).await;
                            machine.stop().await;
                            return Err(error);
                        }
                    }
                }
            }
            let mut judged = None;
            for finding in findings {
                match finding {
                    Finding::PhaseReached { phase, at } => {
                        if installs {
                            cx.phase(phase.as_str(), at)?;
                            if context.screenshots {
                                self.picture(&machine, phase.as_str()).await;
                            }
                        }
                    }
                    Finding::Progress(progress) => tell(&progress, cx),
                    Finding::Noted { meaning, line, .. } => {
                        let line = line.map(|it| format!(": {it}")).unwrap_or_default();
                        cx.teller().info(format!("{meaning}{line}"));
                    }
                    Finding::Verdict(judgement) => judged = Some(judgement),
                }
            }
            match judged {
                // An installer that is done still has to switch the machine off.
                Some(judgement) if judgement.verdict == Verdict::EndedWell && installs => {}
                Some(judgement) if judgement.verdict == Verdict::EndedWell => {
                    // Whoever waits for something else is not done by a login prompt.
                    let is_awaited = meanwhile.is_none();
                    if is_awaited {
                        if context.screenshots {
                            self.picture(&machine, &spec.name).await;
                        }
                        return Ok(Watched::Reached(Box::new(machine)));
                    }
                }
                Some(judgement) => break judgement,
                None => {}
            }
            if began.elapsed() > total + Duration::from_secs(30) {
                // The watcher should have said so; nothing may wait for ever.
                machine.stop().await;
                return Err(StageError::TimedOut(crate::units::Span::secs(total.as_secs())));
            }
        };
        let logs = Logs { console: log, system: system_log, reader: log_reader };
        self.failed(failure, watcher, machine, logs, recent, &spec.name).await
    }

    /// Lets the last words be said, takes a picture, and says why.
    async fn failed(
        &self,
        mut judgement: Box<Judgement>,
        mut watcher: Watcher,
        mut machine: Machine,
        mut logs: Logs,
        mut network: Vec<String>,
        name: &str,
    ) -> Result<Watched, StageError> {
        let at = judgement.at;
        // Asked before it can be given up.
        network.extend(
            machine.unanswered().iter().filter(|it| it.age >= LONG_WAIT).take(RECENT).map(waits),
        );
        let afterwords = async {
            loop {
                match machine.next().await {
                    Happening::Console(bytes) => {
                        _ = logs.console.write(&bytes);
                        watcher.feed(&bytes, at);
                    }
                    Happening::Ended(_) => return,
                    Happening::Network(Seen::Log { line }) => {
                        logs.reader.line(&line);
                        _ = logs.system.line(&line);
                    }
                    Happening::Log(bytes) => {
                        logs.reader.feed(&bytes);
                        _ = logs.system.write(&bytes);
                    }
                    Happening::Network(_) => {}
                }
            }
        };
        _ = tokio::time::timeout(AFTERWORDS, afterwords).await;
        self.picture(&machine, name).await;
        machine.stop().await;
        logs.reader.explain(&mut judgement);
        let last = watcher.last_lines();
        let failed = MachineFailed::new(judgement, &last, &network, &self.context.redactor);
        Err(StageError::of(failed))
    }

    /// Takes a picture of the screen, named after a machine or a phase. It is a
    /// help, so its failure is none.
    pub(super) async fn picture(&self, machine: &Machine, name: &str) {
        let file = if name == "install" {
            "screenshot.png".to_owned()
        } else {
            format!("screenshot-{name}.png")
        };
        _ = machine.screenshot(&self.context.folder.file(&file)).await;
    }

    /// The same of a part of a console, which may begin and end anywhere.
    pub(in crate::runner) fn packages_of(&self, bytes: &[u8]) {
        let mut text = std::mem::take(&mut *self.unfinished.borrow_mut());
        self.packages(bytes, &mut text);
        *self.unfinished.borrow_mut() = text;
    }

    /// Collects the packages that templates of ours print.
    fn packages(&self, bytes: &[u8], text: &mut String) {
        text.push_str(&String::from_utf8_lossy(bytes));
        let whole = text.rfind('\n').map_or(0, |it| it + 1);
        for line in text.get(..whole).unwrap_or_default().lines() {
            if let Some((_, package)) = line.split_once(PACKAGE_MARK) {
                self.observed.borrow_mut().packages.push(package.trim().to_owned());
            }
        }
        text.drain(..whole);
        // No package's line is that long.
        if text.len() > 4096 {
            text.clear();
        }
    }
}

pub(in crate::runner) fn tell(progress: &Progress, cx: &StageCx<'_>) {
    let unit = if progress.is_percent { Unit::Percent } else { Unit::Items };
    cx.teller().tell(Event::Progress {
        what: progress.what.clone(),
        done: progress.done,
        total: progress.total,
        unit,
    });
}

fn waits(Unanswered { what, age }: &Unanswered) -> String {
    format!("{what}  in vain for {}", crate::units::Span::secs(age.as_secs()))
}

fn end_of(end: machine::End) -> End {
    match end {
        machine::End::PoweredOff => End::PoweredOff,
        machine::End::Rebooted => End::Rebooted,
        machine::End::Panicked => End::Panicked,
        machine::End::Died { said } => End::Failed(format!("QEMU ended: {said}")),
    }
}

pub(in crate::runner) fn io(error: std::io::Error) -> StageError {
    StageError::of(ImageError::Io(error))
}

/// Console knowledge that cannot be read. The spec's own was checked before.
pub(in crate::runner) fn knowledge_error(errors: Vec<SignatureError>) -> StageError {
    errors.into_iter().next().map_or(StageError::Cancelled, StageError::of)
}
