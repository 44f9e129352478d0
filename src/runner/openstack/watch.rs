//! A server that runs, and the watcher that judges it.

use std::{sync::Arc, time::Instant};

use super::{
    OpenstackRunner,
    gauge::Gauge,
    of,
    pace::{Look, Outage, Pace},
};
use crate::{
    console::{
        Verdict,
        knowledge::Knowledge,
        outcome::{End, Outcome},
        watch::{Finding, Purpose, Watch, Watcher},
    },
    engine::{StageCx, StageError},
    openstack::{
        Cloud, Error,
        compute::{Server, ServerState},
        console::Console,
    },
    runner::{console_log::ConsoleLog, failed::MachineFailed, qemu},
    units::Span,
};

/// How a watched server ended well.
pub(super) enum Watched {
    /// It did what it was to do, and is off.
    Done,
    /// What was waited for is there; the server runs on.
    Reached,
}

impl OpenstackRunner {
    /// Watches a server until it ended or was judged, or `meanwhile` is done.
    pub(super) async fn watched(
        &self,
        id: &str,
        log_name: &str,
        knowledge: Arc<Knowledge>,
        watch: Watch,
        mut meanwhile: Option<qemu::Meanwhile<'_>>,
        cx: &mut StageCx<'_>,
    ) -> Result<Watched, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let path = context.folder.file(log_name);
        let mut log = ConsoleLog::create(&path, context.redactor.clone()).map_err(qemu::io)?;
        let installs = matches!(watch.purpose, Purpose::Install);
        let mut gauge = Gauge::new(watch.budgets.idle);
        let mut watcher = Watcher::new(knowledge, watch);
        let mut console = Console::default();
        // A server that is still being made has neither console nor clock.
        let asked = Instant::now();
        let mut began: Option<Instant> = None;
        let mut pace = Pace::among(&self.crowd);
        // Nova may know a server whose hypervisor does not answer.
        let away = cloud.session().patience().away;
        let mut nova = Outage::of("nova", away);
        let mut hypervisor = Outage::of("the server's console", away);
        let (mut heard, mut is_heard) = (Instant::now(), false);
        let mut unheard = None;
        let mut end = None;
        let failure = 'watching: loop {
            let at = began.map(|it| it.elapsed()).unwrap_or_default();
            let look = if began.is_some() { pace.look() } else { Look::STATE };
            if look.server
                && end.is_none()
                && let Some(server) = nova.bear(seen(&cloud, id).await, cx.teller())?
            {
                end = end_of(server.as_ref());
                if server.is_none_or(|it| it.status != ServerState::Build) {
                    began.get_or_insert_with(Instant::now);
                }
            }
            let mut findings = Vec::new();
            if (look.console || end.is_some())
                && began.is_some()
                && let Some(text) = hypervisor.bear(said(&cloud, id).await, cx.teller())?
            {
                // By Nova's default a server that is off has no console any more.
                unheard = text.is_none().then(|| heard.elapsed());
                if text.is_some() {
                    (heard, is_heard) = (Instant::now(), true);
                } else if is_heard {
                    // It may be off, or gone.
                    pace.look_at_all();
                }
                let increment = console.merge(&text.unwrap_or_default());
                if increment.gap {
                    cx.teller().warn("the cloud has dropped a part of the console");
                }
                log.write(increment.text.as_bytes()).map_err(qemu::io)?;
                self.local.packages_of(increment.text.as_bytes());
                findings = watcher.feed(increment.text.as_bytes(), at);
            }
            if began.is_some() && gauge.is_due(at) {
                gauge.take(at, cloud.compute().diagnostics(id).await).map_err(of)?;
            }
            // Nobody is idle because he cannot be seen.
            if began.is_some() && !nova.lasts() && !hypervisor.lasts() {
                findings.extend(watcher.tick(at, &gauge.evidence()));
            }
            for finding in findings {
                match finding {
                    Finding::PhaseReached { phase, at } if installs => {
                        pace.reached(phase);
                        cx.phase(phase.as_str(), at)?;
                    }
                    Finding::PhaseReached { .. } => {}
                    Finding::Progress(progress) => qemu::tell(&progress, cx),
                    Finding::Noted { meaning, line, .. } => {
                        let line = line.map(|it| format!(": {it}")).unwrap_or_default();
                        cx.teller().info(format!("{meaning}{line}"));
                    }
                    Finding::Verdict(it) if it.verdict == Verdict::EndedWell => {
                        // Whoever waits for something else is not done by a login prompt.
                        if meanwhile.is_some() {
                            continue;
                        }
                        if !installs {
                            _ = log.finish();
                            return Ok(Watched::Reached);
                        }
                        // It still has to switch the server off.
                        pace.done(at);
                    }
                    Finding::Verdict(judgement) => break 'watching judgement,
                }
            }
            // What it said last may be what counts: a console that is away is waited for.
            if let Some(end) = &end
                && !(matches!(end, End::PoweredOff) && hypervisor.lasts())
            {
                match watcher.conclude(end, at) {
                    Outcome::Success(_) => {
                        _ = log.finish();
                        return Ok(Watched::Done);
                    }
                    Outcome::Failure(mut judgement) => {
                        if matches!(end, End::PoweredOff)
                            && let (None, Some(unheard)) = (&judgement.doubt, unheard)
                        {
                            judgement.doubt = Some(format!(
                                "this cloud shows no console of a server that is off: what was said in the last {} was not seen",
                                Span::secs(unheard.as_secs() + 1)
                            ));
                        }
                        break 'watching judgement;
                    }
                }
            }
            tokio::select! {
                () = cx.cancel.cancelled() => {
                    _ = log.finish();
                    return Err(StageError::Cancelled);
                }
                done = async {
                    match meanwhile.as_mut() {
                        Some(work) => work.await,
                        None => std::future::pending().await,
                    }
                } => {
                    _ = log.finish();
                    return done.map(|()| Watched::Reached);
                }
                () = tokio::time::sleep(pace.pause(began.unwrap_or(asked).elapsed())) => {}
            }
        };
        _ = log.finish();
        let last = watcher.last_lines();
        let failed = MachineFailed::new(failure, &last, &[], &context.redactor);
        Err(StageError::of(failed))
    }
}

/// The server; `None` where somebody deleted it.
async fn seen(cloud: &Cloud, id: &str) -> Result<Option<Server>, Error> {
    match cloud.compute().server(id).await {
        Ok(server) => Ok(Some(server)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The console; `None` where it cannot be had now, or the server is gone.
async fn said(cloud: &Cloud, id: &str) -> Result<Option<String>, Error> {
    match cloud.compute().console(id).await {
        Err(error) if error.is_missing() => Ok(None),
        other => other,
    }
}

/// How a server ended, if it did.
fn end_of(server: Option<&Server>) -> Option<End> {
    let Some(server) = server else { return Some(End::Deleted) };
    match &server.status {
        ServerState::Shutoff => Some(End::PoweredOff),
        ServerState::Deleted | ServerState::SoftDeleted => Some(End::Deleted),
        ServerState::Error => {
            let fault = server.fault.as_ref().map(|it| it.message.clone());
            Some(End::Failed(fault.unwrap_or_else(|| server.describe())))
        }
        _ => None,
    }
}
