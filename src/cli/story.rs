//! What is kept of a run: the report, and the names of logs and screenshots.

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;

use super::prepare::Prepared;
use crate::{
    engine::{Journal, Outcome, RunError, StageError, State},
    model::Target,
    plan::Plan,
    runner::{Observed, SYSTEM_LOG, folder::RunFolder, manifest},
    ui::report::{
        Check, Console, Fact, Failure, Picture, Report, Request, bars_of_beginnings, bars_of_bytes,
        bars_of_durations,
    },
};

/// What is kept of a run.
pub(super) struct Kept {
    /// The run's folder.
    pub folder: Utf8PathBuf,
    /// Files in it that a person may want to see.
    pub files: Vec<String>,
}

/// Writes the report, and names what is kept beside it.
pub(super) fn write(
    prepared: &Prepared,
    plan: &Plan,
    journal: &Journal,
    outcome: &Outcome,
    observed: &Observed,
    folder: &RunFolder,
    run: &str,
) -> Kept {
    let state = journal.state();
    let os = prepared.loaded.build().os.title.clone();
    let failure = outcome.result.as_ref().err().map(failure);
    let marked = failure.as_ref().and_then(|it| it.line.clone());
    let end = state
        .took
        .iter()
        .find(|it| it.0 == "install")
        .map_or_else(|| state.phases.last().map_or(1, |it| it.1 + 1000), |it| it.1);
    let report = Report {
        name: plan.name.clone(),
        outcome: super::build::outcome_text(outcome).to_owned(),
        os,
        arch: plan.arch.to_string(),
        run: run.to_owned(),
        finished: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        imgbuild: env!("CARGO_PKG_VERSION").to_owned(),
        failure,
        stages: bars_of_durations(&state.took, state.failed.as_ref()),
        phases: bars_of_beginnings(&state.phases, end),
        bytes: bars_of_bytes(&bytes(prepared, state, observed, outcome)),
        requests: observed
            .failed_requests
            .iter()
            .map(|(url, status)| Request { url: url.clone(), status: status.clone() })
            .collect(),
        checks: observed
            .checks
            .iter()
            .map(|it| Check {
                name: it.name.clone(),
                result: it.result.clone(),
                is_bad: !it.is_good,
            })
            .collect(),
        facts: facts(prepared, state, outcome),
        pictures: pictures(folder),
        consoles: consoles(folder, marked.as_deref()),
    };
    if let Ok(html) = report.html() {
        _ = fs_err::write(folder.file("report.html"), prepared.redactor.mask(&html));
    }
    Kept { folder: folder.path().to_owned(), files: files(folder) }
}

/// A failure as the report shows it: the line that its label points at is the
/// one to be marked in the console.
fn failure(error: &RunError) -> Failure {
    let causes = error.source.causes();
    let inner: Option<&dyn Diagnostic> = match &error.source {
        StageError::Failed(inner) => Some(inner.as_ref()),
        _ => None,
    };
    let line = inner.and_then(|it| {
        let span = *it.labels()?.next()?.inner();
        let text = it.source_code()?.read_span(&span, 0, 0).ok()?;
        Some(String::from_utf8_lossy(text.data()).trim().to_owned())
    });
    Failure {
        message: format!("{error}: {}", causes.first().map_or("", String::as_str)),
        causes: causes.into_iter().skip(1).collect(),
        line,
        help: inner.and_then(|it| it.help().map(|it| it.to_string())),
    }
}

fn facts(prepared: &Prepared, state: &State, outcome: &Outcome) -> Vec<Fact> {
    let fact = |name: &str, value: &str| Fact { name: name.to_owned(), value: value.to_owned() };
    let mut facts = vec![fact("inputs", &prepared.inputs)];
    for (name, digest) in super::prepare::digests(prepared) {
        facts.push(fact(&name, &digest));
    }
    let fetched = state.outputs.get("fetch");
    for file in ["kernel", "initrd"] {
        let field = |name: &str| fetched.and_then(|it| it.get(file)?.get(name)?.as_str());
        if let (Some(digest), Some(origin)) = (field("sha256"), field("origin")) {
            facts.push(fact(file, &format!("sha256:{digest}, {origin}")));
        }
    }
    if let Some(trust) = fetched.and_then(|it| it.get("trust")?.as_str()) {
        facts.push(fact("trust", trust));
    }
    if let Target::File(target) = &prepared.loaded.build().target
        && let Some(manifest) = published(prepared, outcome)
    {
        facts.push(fact("image", target.path.as_str()));
        facts.push(fact("image's digest", &format!("sha256:{}", manifest.image.sha256)));
        facts.push(fact("size", &crate::units::Size::bytes(manifest.image.bytes).to_string()));
        facts.push(fact("disk", &manifest.image.disk.to_string()));
    }
    facts
}

/// What was fetched, what machines moved, and how large the image is.
fn bytes(
    prepared: &Prepared,
    state: &State,
    observed: &Observed,
    outcome: &Outcome,
) -> Vec<(String, u64)> {
    let mut amounts = Vec::new();
    let fetched = state.outputs.get("fetch");
    for (name, pointer) in [("kernel", "/kernel/path"), ("initrd", "/initrd/path"), ("ISO", "/iso")]
    {
        let path = fetched.and_then(|it| it.pointer(pointer)?.as_str());
        if let Some(about) = path.and_then(|it| fs_err::metadata(it).ok()) {
            amounts.push((name.to_owned(), about.len()));
        }
    }
    for (machine, it) in &observed.carried {
        amounts.push((format!("{machine}: network"), it.network));
        amounts.push((format!("{machine}: read from disks"), it.disk_read));
        amounts.push((format!("{machine}: written to disks"), it.disk_written));
    }
    if let Some(manifest) = published(prepared, outcome) {
        amounts.push(("image".to_owned(), manifest.image.bytes));
    }
    amounts
}

/// What is known of an image file that was made.
fn published(prepared: &Prepared, outcome: &Outcome) -> Option<manifest::Manifest> {
    outcome.result.as_ref().ok()?;
    match &prepared.loaded.build().target {
        Target::File(target) => manifest::of(&target.path),
        _ => None,
    }
}

/// In the order in which they were taken.
fn pictures(folder: &RunFolder) -> Vec<Picture> {
    let mut names = names(folder.path(), |it| it.ends_with(".png"));
    names.sort_by_cached_key(|it| {
        fs_err::metadata(folder.file(it)).and_then(|it| it.modified()).ok()
    });
    names
        .into_iter()
        .filter_map(|name| {
            let bytes = fs_err::read(folder.file(&name)).ok()?;
            Some(Picture::png(name.trim_end_matches(".png"), &bytes))
        })
        .collect()
}

fn consoles(folder: &RunFolder, marked: Option<&str>) -> Vec<Console> {
    names(folder.path(), |it| it.ends_with(".log"))
        .into_iter()
        .chain([SYSTEM_LOG.to_owned()])
        .filter_map(|name| {
            let bytes = fs_err::read(folder.file(&name)).ok()?;
            let text = crate::console::plain_text(&bytes);
            let id = name.trim_end_matches(".log").replace('/', "-");
            Some(Console::new(&name, &id, &text, marked))
        })
        .collect()
}

fn files(folder: &RunFolder) -> Vec<String> {
    let mut files = names(folder.path(), |it| {
        let it = Utf8Path::new(it);
        matches!(it.extension(), Some("log" | "png" | "html"))
    });
    files.extend(folder.file(SYSTEM_LOG).is_file().then(|| SYSTEM_LOG.to_owned()));
    files
}

fn names(folder: &Utf8Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder.as_std_path()) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(Result::ok)
        .filter_map(|it| it.file_name().into_string().ok())
        .filter(|it| wanted(it))
        .collect();
    names.sort();
    names
}
