//! How long a build will take, by what an earlier one of the same name took.

use super::{home::Home, runs};
use crate::{
    engine::State,
    model::{Build, Target},
    runner::{folder::RunFolder, manifest},
    ui::Expected,
};

/// Runs that are looked at, the newest first.
const MOST_RUNS: usize = 20;

/// How long the stages of a build will take; nothing is known of the first one.
pub(super) fn of(name: &str, cloud: Option<&str>, build: &Build, home: &Home) -> Expected {
    let folders = runs::all(home).into_iter().rev();
    let same = folders.filter(|it| it.file_name().is_some_and(|it| it.contains(name)));
    let states = same.filter_map(|it| State::read(&it.join(RunFolder::JOURNAL)).ok());
    if let Some(took) = took(states.take(MOST_RUNS), name, cloud) {
        return Expected::of(&took);
    }
    // Runs may have been cleared away; the image is still here.
    match &build.target {
        Target::File(target) => manifest::of(&target.path)
            .filter(|it| it.name == name)
            .map(|it| Expected::of(&it.stages))
            .unwrap_or_default(),
        Target::Glance(_) | Target::Volume(_) => Expected::default(),
    }
}

/// What the stages of the first run took that made the same image in the same
/// place.
fn took(
    mut runs: impl Iterator<Item = State>,
    name: &str,
    cloud: Option<&str>,
) -> Option<Vec<(String, u64)>> {
    let is_same = |it: &State| {
        it.outcome.as_deref() == Some("succeeded")
            && it.started.as_ref().is_some_and(|it| it.1 == name)
            && it.cloud.as_deref() == cloud
    };
    runs.find(is_same).map(|it| it.took)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, outcome: Option<&str>, cloud: Option<&str>, millis: u64) -> State {
        State {
            started: Some((format!("20261123-{name}"), name.to_owned(), String::new())),
            outcome: outcome.map(str::to_owned),
            cloud: cloud.map(str::to_owned),
            took: vec![("install".to_owned(), millis)],
            ..State::default()
        }
    }

    #[test]
    fn the_newest_run_that_made_the_same_in_the_same_place_tells() {
        let runs = || {
            [
                run("debian", None, None, 1),
                run("debian", Some("failed"), None, 2),
                run("debian-13", Some("succeeded"), None, 3),
                run("debian", Some("succeeded"), Some("mycloud"), 4),
                run("debian", Some("succeeded"), None, 5),
                run("debian", Some("succeeded"), None, 6),
            ]
            .into_iter()
        };
        let of = |name: &str, cloud| took(runs(), name, cloud).map(|it| it[0].1);
        assert_eq!(of("debian", None), Some(5));
        assert_eq!(of("debian", Some("mycloud")), Some(4));
        assert_eq!(of("debian", Some("other")), None);
        assert_eq!(of("rocky", None), None);
    }
}
