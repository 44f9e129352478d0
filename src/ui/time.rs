//! How long something has taken and will take: `6m12s of about 11m`.

use std::{collections::BTreeMap, time::Duration};

use crate::units::Span;

/// How long stages will take, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected(BTreeMap<String, Duration>);

impl Expected {
    /// What the stages of an earlier run took, in milliseconds.
    pub fn of(took: &[(String, u64)]) -> Self {
        Self(took.iter().map(|(name, it)| (name.clone(), Duration::from_millis(*it))).collect())
    }

    /// How long the stage `name` will take, where that is known.
    pub fn stage(&self, name: &str) -> Option<Duration> {
        self.0.get(name).copied()
    }
}

/// How long something has taken, and of how much, where that is known.
pub fn text(elapsed: Duration, expected: Option<Duration>) -> String {
    let elapsed = Duration::from_secs(elapsed.as_secs());
    let so_far = Span::secs(elapsed.as_secs());
    // What takes no time worth telling needs no forecast.
    match expected.filter(|it| *it >= Duration::from_secs(3)) {
        None => so_far.to_string(),
        Some(expected) if elapsed <= rounded(expected) => {
            format!("{so_far} of about {}", Span::secs(rounded(expected).as_secs()))
        }
        Some(expected) => {
            format!("{so_far}, last time {}", Span::secs(rounded(expected).as_secs()))
        }
    }
}

/// As exact as a forecast can be: to the minute, to ten seconds below two
/// minutes, to the second below ten.
fn rounded(it: Duration) -> Duration {
    let secs = it.as_secs_f64();
    let step = match secs {
        ..10.0 => 1.0,
        ..120.0 => 10.0,
        _ => 60.0,
    };
    Duration::from_secs_f64((secs / step).round() * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_as_exact_as_it_can_be() {
        for (elapsed, expected, said) in [
            (372, Some(651), "6m12s of about 11m"),
            (372, None, "6m12s"),
            (0, Some(11_000), "0s of about 3h03m"),
            (4, Some(7), "4s of about 7s"),
            (4, Some(44), "4s of about 40s"),
            (4, Some(118), "4s of about 2m"),
            (700, Some(651), "11m40s, last time 11m"),
            // Too short to be worth a word.
            (4, Some(2), "4s"),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(text(Duration::from_secs(elapsed), expected), said);
        }
    }

    #[test]
    fn stages_are_known_by_their_names() {
        let expected = Expected::of(&[("fetch".into(), 1500), ("install".into(), 660_000)]);
        assert_eq!(expected.stage("install"), Some(Duration::from_mins(11)));
        assert_eq!(expected.stage("verify"), None);
    }
}
