//! The stages of a build on QEMU.

mod boot_disk;
mod checks;
mod fetch;
mod guest;
mod image;
mod install;
mod machine;
mod ssh;
mod verify;
mod watch;

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use camino::Utf8PathBuf;
use secrecy::SecretString;

use super::{Release, command, external, folder::RunFolder};
use crate::{
    engine::{Resource, Runner, StageCx, StageError},
    media::image::QemuImg,
    model::{Build, UserAction, Variable, reveal},
    plan::{Action, Stage},
    platform::qemu::machine::Counters,
    redact::Redactor,
    source::Cache,
};

pub(super) use fetch::fetched;
pub use guest::GuestError;
pub use image::ImageError;
pub(super) use image::measured;
pub use ssh::BuildKey;
pub(super) use ssh::{Reach, let_in_by};
pub(super) use watch::{Meanwhile, io, knowledge_error, tell};

/// What the stages of one build share.
pub struct Context {
    /// What is built.
    pub build: Arc<Build>,
    /// The answer file.
    pub answers: SecretString,
    /// Knows every secret.
    pub redactor: Redactor,
    /// Starts programs, and gives back what they left.
    pub release: Release,
    /// Downloads.
    pub cache: Cache,
    /// This run's folder.
    pub folder: RunFolder,
    /// The spec's folder: where the user's stages run.
    pub spec_folder: Utf8PathBuf,
    /// The run's ID.
    pub run: String,
    /// The digest of everything that goes into the image.
    pub inputs: String,
    /// More digests for the manifest.
    pub digests: BTreeMap<String, String>,
    /// The key that guests let in, where one was made.
    pub key: Option<BuildKey>,
    /// Whether a picture is taken at each phase, not of failures alone.
    pub screenshots: bool,
}

/// Performs the stages of a build on QEMU.
pub struct QemuRunner {
    pub(super) context: Context,
    pub(super) observed: RefCell<Observed>,
    /// A line of a console that has not ended.
    unfinished: RefCell<String>,
}

/// What was seen on the way, for manifest and report.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Requests of the guest that did not get what they asked for: URL, status.
    pub failed_requests: Vec<(String, String)>,
    /// What was checked on the result, and what came of it.
    pub checks: Vec<Checked>,
    /// Packages that the installer named.
    pub packages: Vec<String>,
    /// What machines ran on.
    pub machine: BTreeMap<String, String>,
    /// What machines read, wrote and carried, by the machine's name, in the
    /// order in which they ran.
    pub carried: Vec<(String, Counters)>,
}

/// Something that was checked on the result.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What.
    pub name: String,
    /// What was found.
    pub result: String,
    /// Whether that is as it has to be.
    pub is_good: bool,
}

impl Checked {
    /// A check that went well.
    pub(in crate::runner) fn good(name: &str, result: &str) -> Self {
        Self { name: name.to_owned(), result: result.to_owned(), is_good: true }
    }
}

/// Failed requests that are kept.
const MOST_REQUESTS: usize = 100;

impl Observed {
    fn carried(&mut self, machine: &str, counters: Counters) {
        match self.carried.iter_mut().find(|it| it.0 == machine) {
            Some(known) => known.1 = counters,
            None => self.carried.push((machine.to_owned(), counters)),
        }
    }

    fn failed_request(&mut self, url: String, status: u16) {
        if self.failed_requests.len() < MOST_REQUESTS {
            self.failed_requests.push((url, status.to_string()));
        }
    }
}

impl QemuRunner {
    /// Performs the stages of the build that `context` describes.
    pub fn new(context: Context) -> Self {
        Self { context, observed: RefCell::default(), unfinished: RefCell::default() }
    }

    /// What was seen so far.
    pub fn observed(&self) -> Observed {
        self.observed.borrow().clone()
    }

    fn qemu_img(&self) -> QemuImg {
        QemuImg::new(self.context.release.guard.clone())
    }

    /// Claims what a stage will create, by its label.
    pub(super) fn claim(
        &self,
        stage: &Stage,
        label: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<Resource, StageError> {
        let planned = stage
            .planned(label)
            .ok_or_else(|| StageError::of(ImageError::NotPlanned { label: label.to_owned() }))?;
        let resource = self.context.folder.resource(planned);
        cx.claim(resource.clone())?;
        Ok(resource)
    }

    /// What programs that users bring may know of the build.
    fn values(&self, stage: &Stage) -> BTreeMap<String, String> {
        let context = &self.context;
        let build = &context.build;
        let file = |name: &str| context.folder.file(name).into_string();
        BTreeMap::from([
            ("name".to_owned(), build.name.clone()),
            ("os".to_owned(), build.os.id.clone()),
            ("arch".to_owned(), build.arch.to_string()),
            ("run".to_owned(), context.run.clone()),
            ("run_folder".to_owned(), context.folder.path().to_string()),
            ("stage".to_owned(), stage.name.clone()),
            ("disk".to_owned(), file(crate::plan::qemu::files::DISK)),
            ("image".to_owned(), file(crate::plan::qemu::files::IMAGE)),
        ])
    }
}

#[async_trait(?Send)]
impl Runner for QemuRunner {
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        match &stage.action {
            Action::Fetch { source } => self.fetch(source, cx).await,
            Action::BootDisk { delivery, boot, command_line } => {
                self.boot_disk(stage, *delivery, *boot, command_line, cx).await
            }
            Action::Install(action) => self.install(stage, action, cx).await,
            Action::Convert { target } => self.convert(stage, target, cx).await,
            Action::Verify { verify, machine } => self.verify(stage, verify, machine, cx).await,
            Action::Publish { target } => self.publish(stage, target, cx).await,
            Action::Upload { .. }
            | Action::InstallServer(_)
            | Action::Capture { .. }
            | Action::VerifyServer { .. }
            | Action::Offer { .. } => {
                Err(StageError::of(ImageError::NotPlanned { label: stage.name.clone() }))
            }
            Action::User { action, machine } => match action {
                UserAction::Command { run, environment } => {
                    self.command(stage, run, environment, cx).await
                }
                UserAction::Ssh { .. } | UserAction::Ansible { .. } => {
                    self.in_guest(stage, action, machine, cx).await
                }
                UserAction::External { runner, input } => {
                    let variables = &self.context.build.variables;
                    let request = serde_json::json!({
                        "stage": stage.name,
                        "input": revealed(input, variables),
                        "values": self.values(stage),
                    });
                    external::run(runner, &request, &self.context.release.guard, cx).await
                }
            },
        }
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.context.release.release(resource).await
    }
}

/// A value with the secrets in its texts filled in.
fn revealed(
    value: &serde_json::Value,
    variables: &BTreeMap<String, Variable>,
) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(reveal(text, variables)),
        Value::Array(items) => items.iter().map(|it| revealed(it, variables)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, it)| (name.clone(), revealed(it, variables)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

impl QemuRunner {
    async fn command(
        &self,
        stage: &Stage,
        run: &[String],
        environment: &BTreeMap<String, String>,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let variables = &self.context.build.variables;
        let mut environment: BTreeMap<String, String> = environment
            .iter()
            .map(|(name, value)| (name.clone(), reveal(value, variables)))
            .collect();
        for (name, value) in self.values(stage) {
            environment.entry(format!("IMGBUILD_{}", name.to_uppercase())).or_insert(value);
        }
        let context = &self.context;
        let ended = command::run(
            run,
            &environment,
            &context.spec_folder,
            &context.release.guard,
            &context.redactor,
            cx.teller(),
            &cx.cancel,
        );
        match ended.await {
            Ok(()) => Ok(serde_json::Value::Null),
            Err(command::CommandError::Cancelled) => Err(StageError::Cancelled),
            Err(error) => Err(StageError::of(error)),
        }
    }
}
