//! What the hypervisor counts of a server, and how much of it still holds.
//!
//! A count that cannot be had any more is no count that stands still: a server
//! is not idle because nobody tells what it does.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{console::evidence::Evidence, openstack::Error};

/// A hypervisor that tells no counters after so long never will.
const MAY_START: Duration = Duration::from_mins(2);
/// Between two looks at the counters, at most and at least.
const SELDOM: Duration = Duration::from_mins(2);
const OFTEN: Duration = Duration::from_secs(10);
/// So often they are looked at in the time that a server may be idle: what is
/// judged over a quarter of it sees them grow.
const LOOKS: u32 = 5;

/// Reads the counters of one server.
#[derive(Debug)]
pub(super) struct Gauge {
    pause: Duration,
    asked: Option<Duration>,
    evidence: Evidence,
    /// Whether there is any use in asking.
    may_count: bool,
    has_counted: bool,
}

impl Gauge {
    /// For a server that may be idle for so long.
    pub(super) fn new(idle: Duration) -> Self {
        let pause = (idle / LOOKS).clamp(OFTEN, SELDOM);
        let evidence = Evidence::default();
        Self { pause, asked: None, evidence, may_count: true, has_counted: false }
    }

    /// Whether the counters are to be asked for, so long after the start.
    pub(super) fn is_due(&self, at: Duration) -> bool {
        self.may_count && self.asked.is_none_or(|it| at.saturating_sub(it) >= self.pause)
    }

    /// Takes what the cloud answered.
    pub(super) fn take(
        &mut self,
        at: Duration,
        answer: Result<Option<Map<String, Value>>, Error>,
    ) -> Result<(), Error> {
        self.asked = Some(at);
        self.evidence = match answer {
            Ok(Some(counters)) => {
                self.has_counted = true;
                counters_of(&counters)
            }
            Ok(None) => {
                // Not for this account, or not now: the console has to do.
                self.may_count = self.has_counted || at < MAY_START;
                Evidence::default()
            }
            Err(error) if error.is_transient() => Evidence::default(),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// What is known now.
    pub(super) fn evidence(&self) -> Evidence {
        self.evidence
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
    use crate::console::evidence::{Activity, Record};

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

    #[test]
    fn a_server_is_not_idle_because_nobody_counts() {
        let counters = json!({"cpu0_time": 1, "vda_read": 1, "vda_write": 1, "tap1_rx": 1});
        let counters = counters.as_object().unwrap();
        let minute = Duration::from_mins;
        let mut gauge = Gauge::new(minute(10));
        let mut record = Record::new(minute(10));
        let mut activity = None;
        for at in (0..40).map(minute) {
            // It counts at first; then it is migrated, and nobody tells any more.
            let answer = if at < minute(5) { Some(counters.clone()) } else { None };
            if gauge.is_due(at) {
                gauge.take(at, Ok(answer)).unwrap();
            }
            record.add(at, gauge.evidence());
            activity = record.activity(at, gauge.evidence());
        }
        assert_eq!(activity, Some(Activity::Unknown));
        assert!(gauge.is_due(minute(50)), "it has counted, and may do so again");
        let mut gauge = Gauge::new(minute(10));
        gauge.take(minute(3), Ok(None)).unwrap();
        assert!(!gauge.is_due(minute(50)), "it never counted");
    }

    #[test]
    fn counters_are_read_often_enough_to_see_them_grow() {
        let counted = |second: u64| json!({"vda_read": second * 1_000_000}).as_object().cloned();
        for idle in [1, 3, 10, 30].map(Duration::from_mins) {
            let mut gauge = Gauge::new(idle);
            // As the watcher looks at a server of which it expects an answer.
            let mut record = Record::new(idle / 4);
            for second in 0..3 * idle.as_secs() {
                let at = Duration::from_secs(second);
                if gauge.is_due(at) {
                    gauge.take(at, Ok(counted(second))).unwrap();
                }
                record.add(at, gauge.evidence());
                let activity = record.activity(at, gauge.evidence());
                assert!(activity.is_none_or(|it| it == Activity::Working), "{idle:?} {second}");
            }
        }
    }
}
