//! Gives back what a build on this machine claimed.

use async_trait::async_trait;
use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::external;
use crate::{
    engine::{Resource, ResourceKind, Runner, StageCx, StageError},
    guard::Guard,
    openstack::Cloud,
    plan::Stage,
};

/// How long a cloud may take to give one thing back. The engine tries again.
const CLOUD_PATIENCE: std::time::Duration = std::time::Duration::from_mins(2);

/// Why something could not be given back.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReleaseError {
    /// A file or folder could not be removed.
    #[error("cannot remove `{name}`")]
    File {
        /// Its path.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A machine does not stop.
    #[error("process {pid} does not end")]
    #[diagnostic(help("look at it with ps, and kill it"))]
    Machine {
        /// Its process ID.
        pid: i32,
    },
    /// It is not on this machine.
    #[error("`{name}` is in a cloud")]
    #[diagnostic(help("name the cloud with --cloud"))]
    Cloud {
        /// Its name.
        name: String,
    },
}

/// Gives back what a build on this machine claimed; runs nothing.
#[derive(Clone, Debug)]
pub struct Release {
    /// The cloud that a build is in.
    pub cloud: Option<Cloud>,
    /// Starts runner programs.
    pub guard: Guard,
}

impl Release {
    /// Gives back one thing in the middle of a build.
    pub async fn release_now(&self, resource: &Resource) -> Result<(), StageError> {
        Runner::release(self, resource).await
    }
}

#[async_trait(?Send)]
impl Runner for Release {
    async fn run(&self, _: &Stage, _: &mut StageCx<'_>) -> Result<serde_json::Value, StageError> {
        Err(StageError::Cancelled)
    }

    async fn release(&self, resource: &Resource) -> Result<(), StageError> {
        let name = &resource.name;
        let gone = |removed: std::io::Result<()>| match removed {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StageError::of(ReleaseError::File { name: name.clone(), source }))
            }
            _ => Ok(()),
        };
        match &resource.kind {
            ResourceKind::File => gone(fs_err::tokio::remove_file(name).await),
            ResourceKind::Folder => gone(fs_err::tokio::remove_dir_all(name).await),
            ResourceKind::Machine => stop(resource.id.as_deref()).await,
            ResourceKind::External(runner) => {
                external::release(runner, resource, &self.guard).await.map_err(StageError::of)
            }
            _ => match &self.cloud {
                Some(cloud) => {
                    let deadline = tokio::time::Instant::now() + CLOUD_PATIENCE;
                    cloud.release(resource, deadline).await.map_err(StageError::of)
                }
                None => Err(StageError::of(ReleaseError::Cloud { name: name.clone() })),
            },
        }
    }
}

/// The identity of a process: its ID alone would be given to another one some day.
pub fn process_identity(pid: u32) -> String {
    format!("{pid}:{}", start_time(pid).unwrap_or_default())
}

/// When a process was started, in clock ticks since the machine was: field 22
/// of `/proc/PID/stat`, see proc(5).
fn start_time(pid: u32) -> Option<String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs_err::read_to_string(Utf8Path::new(&path).as_std_path()).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// Kills the process of this identity, if it still runs.
async fn stop(identity: Option<&str>) -> Result<(), StageError> {
    let Some((pid, started)) = identity.and_then(|it| it.split_once(':')) else { return Ok(()) };
    let Ok(number) = pid.parse::<u32>() else { return Ok(()) };
    if start_time(number).as_deref() != Some(started) {
        return Ok(());
    }
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return Ok(()) };
    _ = kill_process(pid, Signal::KILL);
    for _ in 0..50 {
        if test_kill_process(pid).is_err() || start_time(number).as_deref() != Some(started) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(StageError::of(ReleaseError::Machine { pid: pid.as_raw_nonzero().get() }))
}
