//! A server that runs, and the watcher that judges it.
//!
//! Nova is asked, it does not tell: often in the first minutes, then every
//! quarter of a minute, which keeps an hour of waiting under 400 requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use super::{OpenstackRunner, of};
use crate::{
    console::{
        Verdict,
        evidence::Evidence,
        knowledge::Knowledge,
        outcome::{End, Outcome},
        watch::{Finding, Purpose, Watch, Watcher},
    },
    engine::{StageCx, StageError},
    openstack::{
        Cloud,
        compute::{Server, ServerState},
        console::Console,
    },
    runner::{console_log::ConsoleLog, failed::MachineFailed, qemu},
};

/// Between two looks at the console: at first, and later.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(15);
/// So many looks at the console for one at the server, where nothing happens.
const LOOKS: u32 = 4;
/// Between two looks at the hypervisor's counters.
const COUNTERS: Duration = Duration::from_mins(2);

/// How a watched server ended well.
pub(super) enum Watched {
    /// It did what it was to do, and is off.
    Done,
    /// What was waited for is there; the server runs on.
    Reached,
}

impl OpenstackRunner {
    /// Watches a server until it ended or was judged.
    pub(super) async fn watched(
        &self,
        id: &str,
        log_name: &str,
        knowledge: Knowledge,
        watch: Watch,
        cx: &mut StageCx<'_>,
    ) -> Result<Watched, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let path = context.folder.file(log_name);
        let mut log = ConsoleLog::create(&path, context.redactor.clone()).map_err(qemu::io)?;
        let installs = matches!(watch.purpose, Purpose::Install);
        let mut watcher = Watcher::new(Arc::new(knowledge), watch);
        let mut console = Console::default();
        let mut evidence = Evidence::default();
        let mut counted: Option<Instant> = None;
        let mut may_count = true;
        // A server that is still being made has neither console nor clock.
        let mut began: Option<Instant> = None;
        let mut said_all = false;
        let failure = 'watching: loop {
            for look in 0..LOOKS {
                let server =
                    if look == 0 || said_all { Some(seen(&cloud, id).await?) } else { None };
                let runs = server
                    .as_ref()
                    .is_none_or(|it| it.as_ref().is_some_and(|it| it.status != ServerState::Build));
                let at = if runs {
                    began.get_or_insert_with(Instant::now).elapsed()
                } else {
                    Duration::ZERO
                };
                let mut findings = Vec::new();
                let mut is_new = false;
                if runs && let Some(text) = cloud.compute().console(id).await.map_err(of)? {
                    let increment = console.merge(&text);
                    if increment.gap {
                        cx.teller().warn("the cloud has dropped a part of the console");
                    }
                    is_new = !increment.text.is_empty();
                    log.write(increment.text.as_bytes()).map_err(qemu::io)?;
                    self.local.packages_of(increment.text.as_bytes());
                    findings = watcher.feed(increment.text.as_bytes(), at);
                }
                if runs {
                    if may_count && counted.is_none_or(|it| it.elapsed() > COUNTERS) {
                        counted = Some(Instant::now());
                        match cloud.compute().diagnostics(id).await.map_err(of)? {
                            Some(counters) => evidence = counters_of(&counters),
                            // Not for this account, or not now: the console has to do.
                            None => may_count = began.is_some_and(|it| it.elapsed() < COUNTERS),
                        }
                    }
                    findings.extend(watcher.tick(at, &evidence));
                }
                for finding in findings {
                    match finding {
                        Finding::PhaseReached { phase, at } if installs => {
                            cx.phase(phase.as_str(), at)?;
                        }
                        Finding::PhaseReached { .. } => {}
                        Finding::Progress(progress) => qemu::tell(&progress, cx),
                        Finding::Noted { meaning, line, .. } => {
                            let line = line.map(|it| format!(": {it}")).unwrap_or_default();
                            cx.teller().info(format!("{meaning}{line}"));
                        }
                        Finding::Verdict(it) if it.verdict == Verdict::EndedWell => {
                            if !installs {
                                _ = log.finish();
                                return Ok(Watched::Reached);
                            }
                            // It still has to switch the server off.
                            said_all = true;
                        }
                        Finding::Verdict(judgement) => break 'watching judgement,
                    }
                }
                if let Some(server) = server
                    && let Some(end) = end_of(server.as_ref())
                {
                    match watcher.conclude(&end, at) {
                        Outcome::Success(_) => {
                            _ = log.finish();
                            return Ok(Watched::Done);
                        }
                        Outcome::Failure(judgement) => break 'watching judgement,
                    }
                }
                let pause = if said_all || is_new { at / 40 } else { at / 20 };
                tokio::select! {
                    () = cx.cancel.cancelled() => {
                        _ = log.finish();
                        return Err(StageError::Cancelled);
                    }
                    () = tokio::time::sleep(pause.clamp(OFTEN, SELDOM)) => {}
                }
            }
        };
        _ = log.finish();
        let last = watcher.last_lines();
        let failed = MachineFailed::new(failure, &last, &[], &context.redactor);
        Err(StageError::of(failed))
    }
}

/// The server; `None` where somebody deleted it.
async fn seen(cloud: &Cloud, id: &str) -> Result<Option<Server>, StageError> {
    match cloud.compute().server(id).await {
        Ok(server) => Ok(Some(server)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(of(error)),
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

/// Counters as libvirt's driver of Nova names them: those of microversion 2.48,
/// and the older flat ones (`vda_read`, `tap…_rx`, `cpu0_time`).
fn counters_of(counters: &Map<String, Value>) -> Evidence {
    let list = |name: &str| counters.get(name).and_then(Value::as_array).cloned();
    let sum = |name: &str, keys: &[&str]| {
        list(name).map(|items| {
            let of =
                |item: &Value| keys.iter().filter_map(|it| item.get(it)?.as_u64()).sum::<u64>();
            items.iter().map(of).sum::<u64>()
        })
    };
    let flat = |ends: &[&str]| {
        let matching = counters.iter().filter(|(key, _)| ends.iter().any(|it| key.ends_with(it)));
        let values: Vec<u64> = matching.filter_map(|(_, value)| value.as_u64()).collect();
        (!values.is_empty()).then(|| values.iter().sum::<u64>())
    };
    let time = sum("cpu_details", &["time"]).or_else(|| flat(&["_time"]));
    Evidence {
        disk_bytes: sum("disk_details", &["read_bytes", "write_bytes"])
            .or_else(|| flat(&["_read", "_write"])),
        net_bytes: sum("nic_details", &["rx_octets", "tx_octets"])
            .or_else(|| flat(&["_rx", "_tx"])),
        cpu_time: time.map(Duration::from_nanos),
        answer_fetched: None,
        unanswered: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_of_both_kinds_are_read() {
        let new = json!({
            "cpu_details": [{"id": 0, "time": 17_300_000_000_u64}],
            "disk_details": [{"read_bytes": 262_144, "write_bytes": 10}],
            "nic_details": [{"rx_octets": 2_070, "tx_octets": 140}],
        });
        let old = json!({"cpu0_time": 17_300_000_000_u64, "vda_read": 262_144, "vda_write": 10,
            "vda_read_req": 112, "tap1_rx": 2_070, "tap1_tx": 140, "memory": 524_288});
        for counters in [new, old] {
            let evidence = counters_of(counters.as_object().unwrap());
            assert_eq!(evidence.disk_bytes, Some(262_154));
            assert_eq!(evidence.net_bytes, Some(2_210));
            assert_eq!(evidence.cpu_time, Some(Duration::from_millis(17_300)));
        }
        assert_eq!(counters_of(&Map::new()), Evidence::default());
    }
}
