//! `runs` and `cleanup`: what past builds did, and what dead ones left.

use std::io::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use super::{
    arguments::{Cleanup, Runs},
    cloud,
    failure::{Failure, Plain, Status},
    home::Home,
};
use crate::{
    engine::{Event, Journal, JournalError, Resource, ResourceKind, State, Teller, unwind},
    guard::Guard,
    openstack::{
        Cloud,
        lost::{Lost, lost},
    },
    redact::Redactor,
    runner::{Release, empty_cache, folder::RunFolder},
    ui,
    units::Span,
};

/// Every run there is, oldest first.
pub(super) fn all(home: &Home) -> Vec<Utf8PathBuf> {
    let folder = home.work.join("runs");
    let Ok(entries) = fs_err::read_dir(folder.as_std_path()) else { return Vec::new() };
    let mut runs: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|it| Utf8PathBuf::try_from(it.path()).ok())
        .filter(|it| it.join(RunFolder::JOURNAL).is_file())
        .collect();
    runs.sort();
    runs
}

/// The runs whose build is dead and left something.
pub(super) fn dead(home: &Home) -> Vec<(Utf8PathBuf, Vec<Resource>)> {
    all(home)
        .into_iter()
        .filter_map(|folder| {
            let held = State::read(&folder.join(RunFolder::JOURNAL)).ok()?;
            let left = leftovers(&held);
            (!left.is_empty() && !is_running(&folder)).then_some((folder, left))
        })
        .collect()
}

/// What a dead build has to give back: everything it held, but the products of
/// one that succeeded.
fn leftovers(state: &State) -> Vec<Resource> {
    let succeeded = state.outcome.as_deref() == Some("succeeded");
    let is_left = |it: &&Resource| !(succeeded && it.lifetime == crate::engine::Lifetime::Product);
    state.held.iter().filter(is_left).cloned().collect()
}

/// Whether its build is at work.
pub(super) fn is_running(folder: &Utf8Path) -> bool {
    fs_err::File::open(folder.join(RunFolder::JOURNAL))
        .is_ok_and(|it| matches!(it.file().try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// `imgbuild runs`
pub(super) fn runs(arguments: &Runs, home: &Home) -> Result<(), Failure> {
    let mut out = crate::ui::stdout();
    let Some(run) = &arguments.run else {
        let folders = all(home);
        if folders.is_empty() {
            let none = home.work.join("runs");
            _ = writeln!(std::io::stderr(), "there is no run yet in {none}");
        }
        for folder in folders {
            let Ok(state) = State::read(&folder.join(RunFolder::JOURNAL)) else { continue };
            let outcome = match &state.outcome {
                Some(outcome) => outcome.clone(),
                None if is_running(&folder) => "running".to_owned(),
                None => "killed".to_owned(),
            };
            let left = if is_running(&folder) { 0 } else { leftovers(&state).len() };
            let left = if left > 0 { format!("  {left} left behind") } else { String::new() };
            let name = folder.file_name().unwrap_or_default();
            _ = writeln!(out, "{name:<40} {outcome}{left}");
        }
        return Ok(());
    };
    let folder = find(home, run)?;
    let journal = folder.join(RunFolder::JOURNAL);
    let text = fs_err::read_to_string(&journal)
        .map_err(|it| Failure::failed(Plain::io(format!("cannot read run `{run}`"), it)))?;
    for line in text.lines() {
        if let Some(text) =
            serde_json::from_str::<Event>(line).ok().and_then(|it| ui::sentence(&it))
        {
            _ = writeln!(out, "{text}");
        }
    }
    if let Ok(state) = State::read(&journal) {
        for (stage, millis) in &state.took {
            _ = writeln!(out, "{stage:<20} {}", Span::secs(millis / 1000));
        }
    }
    _ = writeln!(out, "files in {folder}");
    Ok(())
}

/// The folder of a run, by its ID.
pub(super) fn find(home: &Home, run: &str) -> Result<Utf8PathBuf, Failure> {
    all(home).into_iter().find(|it| it.file_name() == Some(run)).ok_or_else(|| {
        Failure::usage(Plain::new(
            format!("there is no run `{run}` in {}", home.work.join("runs")),
            "`imgbuild runs` lists them",
        ))
    })
}

/// Where what a build left can be given back.
enum Reach {
    /// All of it is on this machine.
    Here,
    /// In this cloud.
    Cloud(Box<Cloud>),
    /// In another cloud than the one that is meant. Asked for by its ID in the wrong
    /// one, everything would seem to be gone.
    Elsewhere(String),
}

/// The cloud of a build that left something there. `is_named` is whether the user
/// meant this very run.
async fn reach(state: &State, named: Option<&str>, is_named: bool) -> Result<Reach, Failure> {
    let in_cloud = |it: &Resource| {
        !matches!(
            it.kind,
            ResourceKind::File
                | ResourceKind::Folder
                | ResourceKind::Machine
                | ResourceKind::External(_)
        )
    };
    if !leftovers(state).iter().any(in_cloud) {
        return Ok(Reach::Here);
    }
    let built_in = state.cloud.as_deref();
    if let (Some(named), Some(built_in)) = (named, built_in)
        && named != built_in
        && !is_named
    {
        return Ok(Reach::Elsewhere(format!("it is in the cloud `{built_in}`")));
    }
    let cloud = cloud::connect(named.or(built_in))?;
    // A cloud that does not answer says so for each thing.
    if let (Some(built_in), Ok(Some(here))) = (&state.project, cloud.session().project().await)
        && *built_in != here
    {
        return Ok(Reach::Elsewhere(format!(
            "it is in project {built_in}, and `{}` leads to project {here}",
            cloud.session().cloud().name
        )));
    }
    Ok(Reach::Cloud(Box::new(cloud)))
}

/// `imgbuild cleanup`
pub(super) async fn cleanup(
    arguments: &Cleanup,
    home: &Home,
    guard: &Guard,
) -> Result<(), Failure> {
    let folders = if arguments.runs.is_empty() {
        all(home)
    } else {
        arguments.runs.iter().map(|it| find(home, it)).collect::<Result<Vec<_>, _>>()?
    };
    let mut left = Vec::new();
    let mut is_clean = !arguments.cache && arguments.lost.is_none();
    for folder in folders {
        let opened =
            Journal::open(&folder.join(RunFolder::JOURNAL), Redactor::default(), Teller::default());
        let mut journal = match opened {
            Ok(journal) => journal,
            Err(JournalError::Running { .. }) if arguments.runs.is_empty() => continue,
            Err(error) => return Err(Failure::failed(error)),
        };
        let failed = journal.state().outcome.as_deref() != Some("succeeded");
        let name = folder.file_name().unwrap_or_default().to_owned();
        let named = arguments.cloud.as_deref();
        let cloud = match reach(journal.state(), named, !arguments.runs.is_empty()).await {
            Ok(Reach::Here) => None,
            Ok(Reach::Cloud(cloud)) => Some(*cloud),
            Ok(Reach::Elsewhere(why)) => {
                _ = writeln!(std::io::stderr(), "{name}: nothing is given back: {why}");
                // Of a cloud that was not asked about nothing is missed.
                if named.is_none_or(|it| journal.state().cloud.as_deref() == Some(it)) {
                    left.append(&mut leftovers(journal.state()));
                }
                continue;
            }
            // One whose cloud is not known any more does not keep the others.
            Err(failure) if arguments.runs.is_empty() => {
                let why = failure.report.map(|it| it.to_string()).unwrap_or_default();
                _ = writeln!(std::io::stderr(), "{name}: nothing is given back: {why}");
                left.append(&mut leftovers(journal.state()));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let before = leftovers(journal.state());
        // Said first, so that a build that goes on never counts on what is given back.
        if journal.state().outcome.is_none() {
            let event = Event::BuildFinished {
                outcome: "killed".to_owned(),
                product: None,
                leftovers: before.clone(),
            };
            journal.record(&event).map_err(Failure::failed)?;
        }
        let before = before.len();
        let mut still =
            unwind(&Release { guard: guard.clone(), cloud }, &mut journal, failed).await;
        if before > 0 {
            is_clean = false;
            let gone = before.saturating_sub(still.len());
            _ = writeln!(crate::ui::stdout(), "{name}: {gone} of {before} given back");
        }
        if arguments.logs && still.is_empty() {
            drop(journal);
            fs_err::remove_dir_all(&folder).map_err(|it| {
                Failure::failed(Plain::io(format!("cannot remove run `{name}`"), it))
            })?;
        }
        left.append(&mut still);
    }
    if arguments.cache {
        let cloud = cloud::connect(arguments.cloud.as_deref())?;
        for name in empty_cache(&cloud).await.map_err(Failure::failed)? {
            _ = writeln!(crate::ui::stdout(), "removed from the cloud: {name}");
        }
    }
    if let Some(age) = arguments.lost {
        left.append(&mut give_back_lost(arguments.cloud.as_deref(), age, home, guard).await?);
    }
    if left.is_empty() {
        if is_clean {
            _ = writeln!(std::io::stderr(), "nothing was left behind");
        }
        return Ok(());
    }
    for resource in &left {
        _ = writeln!(std::io::stderr(), "left behind: {:?} {}", resource.kind, resource.name);
    }
    Err(Failure::silent(Status::LeftBehind))
}

/// Gives back what builds have in a cloud that began so long ago and are not known
/// here; returns what stays.
async fn give_back_lost(
    cloud: Option<&str>,
    age: Span,
    home: &Home,
    guard: &Guard,
) -> Result<Vec<Resource>, Failure> {
    let cloud = cloud::connect(cloud)?;
    let age = SignedDuration::try_from(age.duration()).unwrap_or(SignedDuration::MAX);
    let before = Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN);
    let mut lost = lost(&cloud, before).await.map_err(Failure::failed)?;
    // Those whose journals are here have been looked at, or are at work.
    let known: Vec<_> =
        all(home).iter().filter_map(|it| Some(format!("imgbuild-{}-", it.file_name()?))).collect();
    lost.retain(|it| !known.iter().any(|run| it.resource.name.starts_with(run)));
    let release = Release { guard: guard.clone(), cloud: Some(cloud) };
    let mut left = Vec::new();
    for Lost { resource, .. } in lost {
        match release.release_now(&resource).await {
            Ok(()) => {
                let Resource { kind, name, .. } = &resource;
                _ = writeln!(crate::ui::stdout(), "given back: {kind:?} {name}");
            }
            Err(error) => {
                _ = writeln!(std::io::stderr(), "{}", error.causes().join(": "));
                left.push(resource);
            }
        }
    }
    Ok(left)
}
