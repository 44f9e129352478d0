//! A stage that runs a program on this machine.

use std::{collections::BTreeMap, process::Stdio};

use camino::Utf8Path;
use miette::Diagnostic;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use crate::{CancellationToken, engine::Teller, guard::Guard, redact::Redactor};

/// How many of the last lines an error shows.
const LAST_LINES: usize = 12;

/// Why a program on this machine failed.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start `{program}`")]
    #[diagnostic(help("is it installed and on PATH?"))]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended badly.
    #[error("`{program}` ended with {status}{last}")]
    Failed {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its last lines, each after a line break.
        last: String,
    },
    /// The build was interrupted.
    #[error("interrupted")]
    Cancelled,
}

/// Runs a program to its end; what it prints is told line by line.
pub async fn run(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
    folder: &Utf8Path,
    guard: &Guard,
    redactor: &Redactor,
    teller: &Teller,
    cancel: &CancellationToken,
) -> Result<(), CommandError> {
    let program = arguments.first().cloned().unwrap_or_default();
    let mut child = guard
        .command(&program)
        .args(arguments.iter().skip(1))
        .envs(environment)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| CommandError::NotStarted { program: program.clone(), source })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err) = tokio::join!(lines(out, redactor, teller), lines(err, redactor, teller));
        (child.wait().await, out, err)
    };
    let (status, out, err) = tokio::select! {
        () = cancel.cancelled() => return Err(CommandError::Cancelled),
        ended = work => ended,
    };
    let status =
        status.map_err(|source| CommandError::NotStarted { program: program.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(127) && err.is_empty() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(CommandError::NotStarted { program, source });
    }
    let n_more = (out.len() + err.len()).saturating_sub(LAST_LINES);
    let last = indented(out.iter().chain(&err).skip(n_more));
    Err(CommandError::Failed { program, status, last })
}

/// Each line after a line break.
pub(super) fn indented<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    lines.fold(String::new(), |text, it| text + "\n  " + it)
}

/// Tells every line and returns the last ones.
async fn lines(
    stream: Option<impl AsyncRead + Unpin>,
    redactor: &Redactor,
    teller: &Teller,
) -> Vec<String> {
    let mut last = Vec::new();
    let Some(stream) = stream else { return last };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|it| it > 0) {
        let text = redactor.mask(String::from_utf8_lossy(&line).trim_end());
        teller.info(&text);
        last.push(text);
        if last.len() > LAST_LINES {
            last.remove(0);
        }
        line.clear();
    }
    last
}
