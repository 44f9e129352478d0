//! Whether a machine works, by what can be measured from outside.
//!
//! A slow machine is not a stalled one. As long as something grows faster than
//! an idle system would make it grow, the machine works.

use std::{collections::VecDeque, time::Duration};

/// What a machine has done since it was started. Counters only grow; `None`
/// where a platform cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Bytes read from and written to its disks.
    pub disk_bytes: Option<u64>,
    /// Bytes received and sent.
    pub net_bytes: Option<u64>,
    /// Time its processors were busy, all together.
    pub cpu_time: Option<Duration>,
    /// Whether the answer file was fetched.
    pub answer_fetched: Option<bool>,
    /// How long it has waited for an answer from the network without a byte of
    /// it; nothing where it waits for none.
    pub unanswered: Option<Duration>,
}

/// How a machine worked over some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Its disks or its network are in use.
    Working,
    /// Only its processors are busy.
    Computing,
    /// Nothing, as far as could be measured.
    Idle,
    /// Nothing could be measured.
    Unknown,
}

/// What a journal or a log daemon of an idle system writes, and more, in bytes
/// a second.
const IDLE_DISK: u64 = 4 << 10;
/// ARP, DHCP and router solicitations, and more, in bytes a second.
const IDLE_NET: u64 = 512;
/// Of one processor: an idle kernel needs a few hundredths under emulation.
const IDLE_CPU: f64 = 0.15;
/// So many samples cover the time that is looked back on.
const SAMPLES: u32 = 16;

/// Evidence over a moving span of time.
#[derive(Debug)]
pub struct Record {
    span: Duration,
    samples: VecDeque<(Duration, Evidence)>,
}

impl Record {
    /// Looks back over this span.
    pub fn new(span: Duration) -> Self {
        Self { span, samples: VecDeque::new() }
    }

    /// Takes a measurement at a time since the machine was started.
    pub fn add(&mut self, at: Duration, evidence: Evidence) {
        let due = self.samples.back().is_none_or(|(last, _)| at >= *last + self.span / SAMPLES);
        if due {
            self.samples.push_back((at, evidence));
        }
        // The oldest one kept is from before the span, so that it is covered whole.
        while self.samples.get(1).is_some_and(|(second, _)| *second + self.span <= at) {
            self.samples.pop_front();
        }
    }

    /// What the machine did within the span that ends now; `None` before it has
    /// been watched for that long.
    pub fn activity(&self, at: Duration, now: Evidence) -> Option<Activity> {
        let (since, then) = self.samples.front()?;
        let passed = at.checked_sub(*since).filter(|it| *it >= self.span)?;
        let seconds = passed.as_secs().max(1);
        let grew = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let disk = grew(now.disk_bytes, then.disk_bytes).map(|it| it > IDLE_DISK * seconds);
        let net = grew(now.net_bytes, then.net_bytes).map(|it| it > IDLE_NET * seconds);
        let cpu = now.cpu_time.zip(then.cpu_time).map(|(now, then)| {
            now.saturating_sub(then).as_secs_f64() > IDLE_CPU * passed.as_secs_f64()
        });
        Some(match (disk, net, cpu) {
            (None, None, None) => Activity::Unknown,
            (Some(true), _, _) | (_, Some(true), _) => Activity::Working,
            (_, _, Some(true)) => Activity::Computing,
            _ => Activity::Idle,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The activity after two minutes of growth by so much a second.
    fn activity(disk: Option<u64>, net: Option<u64>, cpu_millis: Option<u64>) -> Option<Activity> {
        let mut record = Record::new(Duration::from_mins(1));
        let mut last = None;
        for second in 0..120 {
            let at = Duration::from_secs(second);
            let evidence = Evidence {
                disk_bytes: disk.map(|it| it * second),
                net_bytes: net.map(|it| it * second),
                cpu_time: cpu_millis.map(|it| Duration::from_millis(it * second)),
                answer_fetched: None,
                unanswered: None,
            };
            record.add(at, evidence);
            last = record.activity(at, evidence);
            assert!(record.samples.len() <= SAMPLES as usize + 2);
            assert!(last.is_some() || second < 60);
        }
        last
    }

    #[test]
    fn what_grows_tells_whether_a_machine_works() {
        assert_eq!(activity(Some(1 << 20), Some(0), Some(10)), Some(Activity::Working));
        assert_eq!(activity(Some(100), Some(4096), Some(10)), Some(Activity::Working));
        assert_eq!(activity(Some(100), Some(60), Some(990)), Some(Activity::Computing));
        assert_eq!(activity(Some(100), Some(60), Some(30)), Some(Activity::Idle));
        assert_eq!(activity(Some(0), None, None), Some(Activity::Idle));
        assert_eq!(activity(None, None, None), Some(Activity::Unknown));
    }

    #[test]
    fn nothing_is_said_before_the_span_is_over() {
        let mut record = Record::new(Duration::from_mins(1));
        record.add(Duration::ZERO, Evidence::default());
        assert_eq!(record.activity(Duration::from_secs(59), Evidence::default()), None);
    }
}
