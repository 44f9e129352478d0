//! A stage performed by a program that a user brings, `imgbuild-runner-NAME`.
//!
//! The protocol is in `tests/runners/README.md`: `describe` prints what the
//! program is and the JSON Schema of its input; `run` takes the stage as a line
//! of JSON and answers with events, one a line; `release` takes a resource. The
//! host's journal stays the only truth: a resource is claimed in it before the
//! program is told to go on.

use std::process::Stdio;

use miette::Diagnostic;
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use crate::{
    engine::{Event, Lifetime, Resource, ResourceKind, StageCx, StageError, Unit},
    guard::Guard,
};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
/// How long a cancelled program may take to give up by itself.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);
/// Giving something back may take a while, though not for ever.
const RELEASE: std::time::Duration = std::time::Duration::from_mins(2);
/// `describe` does no work.
const DESCRIBE: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a runner program failed.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ExternalError {
    /// It is not there.
    #[error("there is no program `{0}` on PATH")]
    #[diagnostic(help("install it, or correct the stage's `runner`"))]
    NotFound(String),
    /// It could not be talked to.
    #[error("cannot talk to `{program}`")]
    Io {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It says something that is not in the protocol.
    #[error("`{program}` does not keep to the protocol: {what}")]
    #[diagnostic(help("tests/runners/README.md in imgbuild's source says what a runner prints"))]
    Protocol {
        /// The program.
        program: String,
        /// What was wrong.
        what: String,
    },
    /// It reports a failure.
    #[error("{message}{}", causes_text(.causes))]
    Failed {
        /// What it says.
        message: String,
        /// What lies beneath.
        causes: Vec<String>,
        /// What to do.
        #[help]
        help: Option<String>,
    },
}

fn causes_text(causes: &[String]) -> String {
    super::command::indented(causes.iter())
}

/// What a runner program says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// The version of the protocol it speaks.
    pub protocol: u32,
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// The JSON Schema of its input.
    pub input: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Said {
    Claimed {
        resource: ClaimedResource,
    },
    Confirmed {
        label: String,
        id: String,
    },
    Progress {
        done: u64,
        total: Option<u64>,
    },
    #[serde(rename = "said")]
    Line {
        text: String,
    },
    Done {
        #[serde(default)]
        output: serde_json::Value,
    },
    Failed {
        message: String,
        #[serde(default)]
        causes: Vec<String>,
        help: Option<String>,
    },
}

#[derive(Deserialize)]
struct ClaimedResource {
    label: String,
    name: String,
    #[serde(default = "scratch")]
    lifetime: Lifetime,
}

fn scratch() -> Lifetime {
    Lifetime::Scratch
}

/// The name of the program that is runner `name`.
pub fn program(name: &str) -> String {
    format!("imgbuild-runner-{name}")
}

/// Asks a runner program what it is.
pub async fn describe(name: &str, guard: &Guard) -> Result<Description, ExternalError> {
    let program = program(name);
    let io = |source| ExternalError::Io { program: program.clone(), source };
    let output = guard.command(&program).arg("describe").stdin(Stdio::null()).output();
    let output = tokio::time::timeout(DESCRIBE, output)
        .await
        .map_err(|_| ExternalError::Protocol {
            program: program.clone(),
            what: "`describe` does not end".to_owned(),
        })?
        .map_err(io)?;
    if output.status.code() == Some(127) && output.stdout.is_empty() {
        return Err(ExternalError::NotFound(program));
    }
    let description: Description =
        serde_json::from_slice(&output.stdout).map_err(|error| ExternalError::Protocol {
            program: program.clone(),
            what: format!("`describe` printed no description: {error}"),
        })?;
    if description.protocol != PROTOCOL {
        return Err(ExternalError::Protocol {
            program,
            what: format!("it speaks version {}, this is {PROTOCOL}", description.protocol),
        });
    }
    Ok(description)
}

/// Runs a stage.
pub async fn run(
    name: &str,
    request: &serde_json::Value,
    guard: &Guard,
    cx: &mut StageCx<'_>,
) -> Result<serde_json::Value, StageError> {
    let mut talk = Talk::start(name, "run", guard).map_err(StageError::of)?;
    talk.send(request).await.map_err(StageError::of)?;
    loop {
        let cancel = cx.cancel.clone();
        let said = tokio::select! {
            () = cancel.cancelled() => {
                talk.give_up().await;
                return Err(StageError::Cancelled);
            }
            said = talk.hear() => said.map_err(StageError::of)?,
        };
        match said {
            Said::Claimed { resource } => {
                let claimed = cx.claim(Resource {
                    label: resource.label,
                    kind: ResourceKind::External(name.to_owned()),
                    name: resource.name,
                    id: None,
                    lifetime: resource.lifetime,
                });
                let answer = match &claimed {
                    Ok(()) => serde_json::json!({"ok": true}),
                    Err(error) => serde_json::json!({"ok": false, "message": error.to_string()}),
                };
                talk.send(&answer).await.map_err(StageError::of)?;
                claimed?;
            }
            Said::Confirmed { label, id } => cx.confirm(&label, &id)?,
            Said::Progress { done, total } => cx.teller().tell(Event::Progress {
                what: name.to_owned(),
                done,
                total,
                unit: Unit::Items,
            }),
            Said::Line { text } => cx.teller().info(text),
            Said::Done { output } => {
                talk.end().await;
                return Ok(output);
            }
            Said::Failed { message, causes, help } => {
                talk.end().await;
                return Err(StageError::of(ExternalError::Failed { message, causes, help }));
            }
        }
    }
}

/// Releases a resource that a runner program claimed.
pub async fn release(name: &str, resource: &Resource, guard: &Guard) -> Result<(), ExternalError> {
    let mut talk = Talk::start(name, "release", guard)?;
    let line = serde_json::json!({
        "label": resource.label, "name": resource.name, "id": resource.id,
    });
    talk.send(&line).await?;
    drop(talk.input.take());
    let failed = |why: String| ExternalError::Failed {
        message: format!("`{}` could not release `{}`: {why}", program(name), resource.name),
        causes: vec![],
        help: None,
    };
    match tokio::time::timeout(RELEASE, talk.child.wait()).await {
        Err(_) => Err(failed(format!("it did not end within {} s", RELEASE.as_secs()))),
        Ok(Err(source)) => Err(ExternalError::Io { program: program(name), source }),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(status.to_string())),
    }
}

/// A conversation with a runner program.
struct Talk {
    program: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn start(name: &str, verb: &str, guard: &Guard) -> Result<Self, ExternalError> {
        let program = program(name);
        let io = |source| ExternalError::Io { program: program.clone(), source };
        let mut child = guard
            .command(&program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(io)?;
        let input = child.stdin.take();
        let output =
            child.stdout.take().ok_or_else(|| io(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { program, child, input, output: BufReader::new(output) })
    }

    async fn send(&mut self, line: &serde_json::Value) -> Result<(), ExternalError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let sent = async {
            input.write_all(format!("{line}\n").as_bytes()).await?;
            input.flush().await
        };
        match sent.await {
            // What it has to say about that is in what it printed, or in its status.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => {
                other.map_err(|source| ExternalError::Io { program: self.program.clone(), source })
            }
        }
    }

    async fn hear(&mut self) -> Result<Said, ExternalError> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).await;
        let read =
            read.map_err(|source| ExternalError::Io { program: self.program.clone(), source })?;
        if read == 0 {
            let status = self.child.wait().await.ok();
            if status.and_then(|it| it.code()) == Some(127) {
                return Err(ExternalError::NotFound(self.program.clone()));
            }
            let status = status.map_or_else(|| "unknown status".to_owned(), |it| it.to_string());
            return Err(ExternalError::Protocol {
                program: self.program.clone(),
                what: format!("it ended with {status} before it said `done` or `failed`"),
            });
        }
        serde_json::from_str(&line).map_err(|error| ExternalError::Protocol {
            program: self.program.clone(),
            what: format!("it printed `{}`: {error}", line.trim()),
        })
    }

    /// Waits for it to end; one that does not is killed when it is dropped.
    async fn end(&mut self) {
        drop(self.input.take());
        _ = tokio::time::timeout(GRACE, self.child.wait()).await;
    }

    /// Asks it to stop.
    async fn give_up(&mut self) {
        if let Some(id) = self.child.id().and_then(|it| i32::try_from(it).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(id)
        {
            _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        self.end().await;
    }
}
