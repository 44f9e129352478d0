//! Programs that help to make disks: started, watched, stopped.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    time::{Instant, sleep_until},
};

use super::MediaError;
use crate::CancellationToken;

/// What of a failed program's words is kept, in bytes: its last lines.
const KEPT: usize = 4 << 10;

/// How a program is run.
pub(super) struct Run<'a> {
    /// Its name, for messages.
    pub(super) program: &'a str,
    /// What to install where it is missing.
    pub(super) remedy: &'a str,
    /// How long it may say nothing.
    pub(super) patience: Duration,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit code; nothing where a signal ended it.
    pub(super) code: Option<i32>,
    /// All that it wrote to its standard output, where nobody listened.
    pub(super) stdout: Vec<u8>,
    status: String,
    stderr: String,
}

/// Gets what a program writes to its standard output.
pub(super) type Listener<'a> = &'a mut (dyn FnMut(&[u8]) + Send);

impl Run<'_> {
    /// Runs a program that must succeed; what it wrote to its standard output.
    pub(super) async fn successfully(
        &self,
        command: Command,
        listener: Option<Listener<'_>>,
        cancel: &CancellationToken,
    ) -> Result<Vec<u8>, MediaError> {
        let said = self.to_its_end(command, listener, cancel).await?;
        match said.code {
            Some(0) => Ok(said.stdout),
            _ => Err(self.failed(&said)),
        }
    }

    /// Runs a program to its end, however that is.
    pub(super) async fn to_its_end(
        &self,
        mut command: Command,
        mut listener: Option<Listener<'_>>,
        cancel: &CancellationToken,
    ) -> Result<Said, MediaError> {
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |it: std::io::Error| MediaError::ProgramFailed {
            program: self.program.to_owned(),
            status: "not started".to_owned(),
            message: it.to_string(),
        };
        let mut child = command.spawn().map_err(failed)?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (mut heard, mut complaints) = (vec![], vec![]);
        let (mut from_stdout, mut from_stderr) = (vec![0; KEPT], vec![0; KEPT]);
        let mut deadline = Instant::now() + self.patience;
        let status = loop {
            tokio::select! {
                n = async { stdout.as_mut()?.read(&mut from_stdout).await.ok() },
                    if stdout.is_some() =>
                {
                    let words = &from_stdout[..n.unwrap_or(0)];
                    match &mut listener {
                        _ if words.is_empty() => stdout = None,
                        Some(listener) => listener(words),
                        None => heard.extend_from_slice(words),
                    }
                    deadline = Instant::now() + self.patience;
                }
                n = async { stderr.as_mut()?.read(&mut from_stderr).await.ok() },
                    if stderr.is_some() =>
                {
                    let words = &from_stderr[..n.unwrap_or(0)];
                    if words.is_empty() {
                        stderr = None;
                    }
                    complaints.extend_from_slice(words);
                    complaints.drain(..complaints.len().saturating_sub(KEPT));
                    deadline = Instant::now() + self.patience;
                }
                status = child.wait(), if stdout.is_none() && stderr.is_none() => {
                    break status.map_err(failed)?;
                }
                () = cancel.cancelled() => {
                    stop(&mut child).await;
                    return Err(MediaError::Cancelled);
                }
                () = sleep_until(deadline) => {
                    stop(&mut child).await;
                    return Err(MediaError::ProgramHangs {
                        program: self.program.to_owned(),
                        seconds: self.patience.as_secs(),
                    });
                }
            }
        };
        Ok(Said {
            code: status.code(),
            stdout: heard,
            status: status.to_string(),
            stderr: String::from_utf8_lossy(&complaints).trim().to_owned(),
        })
    }

    /// What a program that did not succeed means.
    pub(super) fn failed(&self, said: &Said) -> MediaError {
        // The guard's word for "not found"; programs of their own say more.
        if said.code == Some(127) && said.stderr.is_empty() {
            return MediaError::NoProgram {
                program: self.program.to_owned(),
                remedy: self.remedy.to_owned(),
            };
        }
        MediaError::ProgramFailed {
            program: self.program.to_owned(),
            status: said.status.clone(),
            message: said.stderr.clone(),
        }
    }
}

impl Said {
    /// Whether it complained that a disk is full.
    pub(super) fn is_about_space(&self) -> bool {
        ["No space left on device", "Disk quota exceeded", "Disk full"]
            .iter()
            .any(|it| self.stderr.contains(it))
    }
}

/// Kills a program with all that it started, and waits until it is gone.
async fn stop(child: &mut Child) {
    let group = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        _ = kill_process_group(group, Signal::KILL);
    }
    _ = child.kill().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run<'static> = Run { program: "sh", remedy: "", patience: Duration::from_mins(1) };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0);
        command
    }

    #[tokio::test]
    async fn a_failure_carries_the_last_words() {
        let script = "i=0; while [ $i -lt 2000 ]; do echo filler; i=$((i+1)); done >&2; \
                      echo 'No space left on device' >&2; exit 3";
        let said = RUN.to_its_end(shell(script), None, &CancellationToken::new()).await.unwrap();
        assert!(said.is_about_space());
        let MediaError::ProgramFailed { status, message, .. } = RUN.failed(&said) else { panic!() };
        assert_eq!(status, "exit status: 3");
        assert!(message.len() <= KEPT && message.ends_with("device"));
    }

    #[tokio::test]
    async fn a_program_that_is_cancelled_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let cancel = CancellationToken::new();
        let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", path.display());
        let cancel_when_started = async {
            while !path.exists() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let run = RUN.to_its_end(shell(&script), None, &cancel);
        let (result, ()) = tokio::join!(run, cancel_when_started);
        assert!(matches!(result, Err(MediaError::Cancelled)));
        let pid = fs_err::read_to_string(&path).unwrap();
        let status = format!("/proc/{}/stat", pid.trim());
        while fs_err::read_to_string(&status).is_ok_and(|it| !it.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_says_nothing_is_stopped() {
        let run = Run { patience: Duration::from_millis(50), ..RUN };
        let result = run.to_its_end(shell("sleep 600"), None, &CancellationToken::new()).await;
        assert!(matches!(result, Err(MediaError::ProgramHangs { .. })));
    }
}
