//! The stages of a build in an OpenStack cloud.
//!
//! What happens on this machine (fetching, the boot disk, programs of the
//! user's) is done as for QEMU. Every resource is claimed under a name of its
//! own before the cloud is asked for it.

mod cache;
mod gauge;
mod guest;
mod medium;
mod pace;
mod product;
mod reach;
mod server;
mod upload;
mod watch;

use std::collections::BTreeMap;

use async_trait::async_trait;
use miette::Diagnostic;
use tokio::time::Instant;

pub use cache::empty_cache;
pub use pace::Crowd;

use super::{Observed, QemuRunner};
use crate::{
    engine::{Resource, Runner, StageCx, StageError},
    model::UserAction,
    openstack::{Cloud, Error},
    plan::{Action, Stage},
};

/// Why a stage in a cloud failed, where it is not the cloud that says so.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CloudError {
    /// An earlier stage left nothing to go on with.
    #[error("the stage `{stage}` has not said what it made")]
    #[diagnostic(help("build it anew, without --resume"))]
    NoOutput {
        /// The earlier stage.
        stage: &'static str,
    },
    /// A server that nothing leads to.
    #[error("server `{server}` has no address")]
    #[diagnostic(help("name a network with a subnet: `network` in `[platform.openstack]`"))]
    NoAddress {
        /// The server's ID.
        server: String,
    },
    /// What was written is not what is there.
    #[error("image `{image}` does not have the property `{property}` that it was given")]
    #[diagnostic(help("the cloud forbids it (property protection): leave it out of the spec"))]
    NotKept {
        /// The image's ID.
        image: String,
        /// The property.
        property: String,
    },
    /// A server that was to start a kernel, and none spoke.
    #[error("the server did not start the installer's kernel: nothing of it is on the console")]
    #[diagnostic(help(
        "this cloud's hypervisor may not heed `kernel_id`: use `install.boot = \"disk\"`"
    ))]
    NoKernel {
        /// How the server ended.
        #[source]
        ended: Box<StageError>,
    },
    /// What should be gone is there.
    #[error("volume `{volume}` still has the property `{property}`")]
    #[diagnostic(help(
        "servers made from it would start the installer again: use `install.boot = \"disk\"`"
    ))]
    StillDirect {
        /// The volume's ID.
        volume: String,
        /// The property.
        property: String,
    },
    /// An image that still starts the installer.
    #[error("image `{image}` still has the property `{property}`")]
    #[diagnostic(help(
        "the cloud forbids removing it (property protection): use `install.boot = \"disk\"`"
    ))]
    NotRemoved {
        /// The image's ID.
        image: String,
        /// The property.
        property: String,
    },
    /// An image without anything in it.
    #[error("image `{image}` is empty")]
    Empty {
        /// The image's ID.
        image: String,
    },
}

/// Where servers of a build are started: chosen before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The flavor's ID.
    pub flavor: String,
    /// The network's ID, where it is clear which.
    pub network: Option<String>,
    /// The ID of the port that the spec names.
    pub port: Option<String>,
}

/// Performs the stages of a build in a cloud.
pub struct OpenstackRunner {
    local: QemuRunner,
    cloud: Cloud,
    place: Place,
    crowd: Crowd,
}

impl OpenstackRunner {
    /// A runner of one build. `local` performs what happens on this machine and
    /// knows the cloud for giving things back.
    pub fn new(local: QemuRunner, cloud: Cloud, place: Place) -> Self {
        Self { local, cloud, place, crowd: Crowd::default() }
    }

    /// The same, beside other builds in the same cloud.
    #[must_use]
    pub fn among(self, crowd: &Crowd) -> Self {
        Self { crowd: crowd.clone(), ..self }
    }

    /// What was learnt so far.
    pub fn observed(&self) -> Observed {
        self.local.observed()
    }

    /// The cloud, with waits that end with the stage.
    fn cloud(&self, cx: &StageCx<'_>) -> Cloud {
        self.cloud.under(cx.cancel.clone())
    }
}

#[async_trait(?Send)]
impl Runner for OpenstackRunner {
    async fn run(
        &self,
        stage: &Stage,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        match &stage.action {
            Action::Upload { properties, volume, medium, direct, cache } => {
                let wanted = upload::Wanted {
                    properties,
                    volume: volume.as_ref(),
                    medium: medium.as_ref(),
                    direct: *direct,
                    cache: *cache,
                };
                self.upload(stage, &wanted, cx).await
            }
            Action::InstallServer(action) => self.install(stage, action, cx).await,
            Action::Capture { target, from_volume } => {
                self.capture(stage, target, *from_volume, cx).await
            }
            Action::VerifyServer { verify, target } => self.verify(stage, verify, target, cx).await,
            Action::Offer { target } => self.offer(stage, target, cx).await,
            Action::User {
                action: action @ (UserAction::Ssh { .. } | UserAction::Ansible { .. }),
                ..
            } => self.in_server(stage, action, cx).await,
            _ => self.local.run(stage, cx).await,
        }
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        self.local.release(resource).await
    }
}

/// An error of the cloud as one of a stage.
fn of(error: Error) -> StageError {
    match error {
        Error::Cancelled => StageError::Cancelled,
        error => StageError::of(error),
    }
}

/// Until when a stage may wait.
fn deadline(stage: &Stage) -> Instant {
    Instant::now() + stage.timeout.duration()
}

/// What an earlier stage said of something it made.
fn said(cx: &StageCx<'_>, stage: &'static str, key: &str) -> Result<String, StageError> {
    cx.output(stage)
        .and_then(|it| it.get(key)?.as_str().map(str::to_owned))
        .ok_or_else(|| StageError::of(CloudError::NoOutput { stage }))
}

/// What things of a build say of themselves.
fn metadata(run: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("imgbuild_run".to_owned(), run.to_owned())])
}
