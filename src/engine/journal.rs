//! The durable record of a build.
//!
//! An append-only file of [`Event`]s, one JSON object a line, synced before the
//! build goes on. The state of a build is a fold over it, so a build that was
//! killed and one that runs cannot differ. The file is locked while its build
//! runs, which tells a running build from a dead one.

use std::{
    collections::BTreeMap,
    fs::TryLockError,
    io::{self, Write as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;

use super::{Event, Resource, Teller};
use crate::redact::Redactor;

/// Records events: on disk first, then to the user.
pub struct Journal {
    file: std::fs::File,
    path: Utf8PathBuf,
    redactor: Redactor,
    teller: Teller,
    state: State,
}

/// What a journal says of its build.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The run's ID, the image's name and the digest of its inputs.
    pub started: Option<(String, String, String)>,
    /// The names of all stages, in order.
    pub stages: Vec<String>,
    /// The cloud it is built in, by its name in `clouds.yaml`.
    pub cloud: Option<String>,
    /// The ID of the project there that everything belongs to.
    pub project: Option<String>,
    /// What finished stages put out, by their names.
    pub outputs: BTreeMap<String, serde_json::Value>,
    /// What was claimed and not released, in order of claim.
    pub held: Vec<Resource>,
    /// The phases the installer reached, with milliseconds since its start.
    pub phases: Vec<(String, u64)>,
    /// How long each stage took, in milliseconds.
    pub took: Vec<(String, u64)>,
    /// The stage that failed, and how long it ran, in milliseconds.
    pub failed: Option<(String, u64)>,
    /// How the build ended.
    pub outcome: Option<String>,
    /// What finished stages made was given back, so that they are run again where
    /// the build goes on.
    pub is_undone: bool,
}

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum JournalError {
    /// It cannot be written, so nothing more may be created.
    #[error("cannot record what the build does in `{path}`")]
    #[diagnostic(help(
        "without a journal nothing could be undone: free some space or name another folder with --work-dir"
    ))]
    NotWritable {
        /// The journal.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the journal `{path}`")]
    NotReadable {
        /// The journal.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its build is still running.
    #[error("the build of `{path}` is still running")]
    #[diagnostic(help("wait for it, or interrupt it with Ctrl-C"))]
    Running {
        /// The journal.
        path: Utf8PathBuf,
    },
}

impl Journal {
    /// Begins a new journal, or goes on with one whose build is dead.
    pub fn open(path: &Utf8Path, redactor: Redactor, teller: Teller) -> Result<Self, JournalError> {
        let not_writable = |source| JournalError::NotWritable { path: path.to_owned(), source };
        let file = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(not_writable)?
            .into_parts()
            .0;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Running { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
        }
        let state = State::read(path)?;
        Ok(Self { file, path: path.to_owned(), redactor, teller, state })
    }

    /// Records an event. When this fails the build must stop.
    pub fn record(&mut self, event: &Event) -> Result<(), JournalError> {
        let written = serde_json::to_string(event).map_err(io::Error::from).and_then(|line| {
            self.file.write_all(format!("{}\n", self.redactor.mask(&line)).as_bytes())?;
            self.file.sync_data()
        });
        written.map_err(|source| JournalError::NotWritable { path: self.path.clone(), source })?;
        self.state.apply(event);
        self.teller.tell(event.clone());
        Ok(())
    }

    /// Who is told of events.
    pub fn teller(&self) -> &Teller {
        &self.teller
    }

    /// What the journal says so far.
    pub fn state(&self) -> &State {
        &self.state
    }
}

impl State {
    /// Reads the state out of a journal. A last line that was cut short, as by a
    /// crash, is left out: what it would have said had not begun yet.
    pub fn read(path: &Utf8Path) -> Result<Self, JournalError> {
        let text = fs_err::read(path)
            .map_err(|source| JournalError::NotReadable { path: path.to_owned(), source })?;
        let mut state = Self::default();
        for line in text.split(|it| *it == b'\n') {
            if let Ok(event) = serde_json::from_slice(line) {
                state.apply(&event);
            }
        }
        Ok(state)
    }

    /// Whether a stage is done, so that a build that goes on leaves it out.
    pub fn is_done(&self, stage: &str) -> bool {
        !self.is_undone && self.outputs.contains_key(stage)
    }

    fn has_failed(&self) -> bool {
        self.outcome.as_ref().is_some_and(|it| it != "succeeded")
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::BuildStarted { run, name, inputs, stages, cloud, project, .. } => {
                self.cloud.clone_from(cloud);
                self.project.clone_from(project);
                self.started = Some((run.clone(), name.clone(), inputs.clone()));
                self.stages.clone_from(stages);
            }
            Event::Claimed { resource } => {
                self.held.retain(|it| it.label != resource.label);
                self.held.push(resource.clone());
            }
            Event::Confirmed { label, id } => {
                for resource in self.held.iter_mut().filter(|it| it.label == *label) {
                    resource.id = Some(id.clone());
                }
            }
            Event::StageFinished { stage, output, millis, .. } => {
                self.outputs.insert(stage.clone(), output.clone());
                self.took.push((stage.clone(), *millis));
            }
            Event::Released { label } => {
                self.held.retain(|it| it.label != *label);
                // A stage gives things back as well; after the end it is the undoing.
                self.is_undone |= self.failed.is_some() || self.has_failed();
            }
            Event::PhaseReached { phase, millis } => self.phases.push((phase.clone(), *millis)),
            Event::BuildFinished { outcome, leftovers, .. } => {
                self.outcome = Some(outcome.clone());
                // Who cleans up after a killed build says so before anything is given back.
                self.is_undone |=
                    self.has_failed() && (leftovers.is_empty() || outcome == "killed");
            }
            Event::StageFailed { stage, millis, .. } => {
                self.failed = Some((stage.clone(), *millis));
            }
            // A build that is resumed tries it again.
            Event::StageStarted { .. } => {
                self.failed = None;
                self.outcome = None;
                if std::mem::take(&mut self.is_undone) {
                    self.outputs.clear();
                }
            }
            Event::Progress { .. } | Event::Said { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Lifetime, ResourceKind};

    fn claim(label: &str) -> Event {
        Event::Claimed {
            resource: Resource {
                label: label.to_owned(),
                kind: ResourceKind::File,
                name: format!("/tmp/{label}"),
                id: None,
                lifetime: Lifetime::Scratch,
            },
        }
    }

    #[test]
    fn a_journal_cut_anywhere_still_names_what_was_claimed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(folder.path().join("journal.jsonl")).unwrap();
        let mut journal = Journal::open(&path, Redactor::default(), Teller::default()).unwrap();
        journal.record(&claim("a")).unwrap();
        let whole = fs_err::read(&path).unwrap().len();
        journal.record(&claim("b")).unwrap();
        drop(journal);
        let text = fs_err::read(&path).unwrap();
        for cut in whole..text.len() {
            fs_err::write(&path, &text[..cut]).unwrap();
            let held = State::read(&path).unwrap().held;
            assert!(held.iter().any(|it| it.label == "a"), "cut at {cut}");
        }
    }

    #[test]
    fn a_running_build_keeps_its_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(folder.path().join("journal.jsonl")).unwrap();
        let first = Journal::open(&path, Redactor::default(), Teller::default()).unwrap();
        let second = Journal::open(&path, Redactor::default(), Teller::default());
        assert!(matches!(second, Err(JournalError::Running { .. })));
        drop(first);
        Journal::open(&path, Redactor::default(), Teller::default()).unwrap();
    }

    #[test]
    fn secrets_do_not_reach_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::try_from(folder.path().join("journal.jsonl")).unwrap();
        let redactor = Redactor::default();
        redactor.add("pw", "hunter22");
        let mut journal = Journal::open(&path, redactor, Teller::default()).unwrap();
        journal.record(&claim("file-hunter22")).unwrap();
        assert!(!fs_err::read_to_string(&path).unwrap().contains("hunter22"));
    }
}
