//! A running QEMU machine.

use std::{os::fd::OwnedFd, process::Stdio, rc::Rc, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use command_fds::{CommandFdExt as _, FdMapping};
use miette::Diagnostic;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::UnixStream, process::Child, sync::mpsc};

use super::{
    arguments::{MachineSpec, arguments, descriptors},
    metadata::Metadata,
    qmp::{Qmp, QmpError, QmpEvent},
    traffic::{Seen, Unanswered},
    wire::Wire,
};
use crate::guard::Guard;

/// How long QEMU may take to come up and answer.
const START: Duration = Duration::from_mins(1);
/// How long it may take to end once it was asked to.
const STOP: Duration = Duration::from_secs(10);

/// Why a machine could not be run.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum MachineError {
    /// QEMU could not be started at all.
    #[error("cannot start `{program}`")]
    #[diagnostic(help(
        "install QEMU (`make setup`, or the package qemu-system-x86), or name the program in `platform.qemu.program`; `imgbuild doctor` says what else is missing"
    ))]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended before the machine ran.
    #[error("QEMU ended with {status} before the machine ran{said}")]
    #[diagnostic(help("`imgbuild doctor` says what this machine can do"))]
    Refused {
        /// Its exit status.
        status: String,
        /// What it said, each line after a line break.
        said: String,
    },
    /// It does not talk to us.
    #[error("QEMU does not come up")]
    Silent(#[source] QmpError),
    /// A screenshot could not be taken.
    #[error("cannot take a screenshot")]
    Screenshot(#[source] QmpError),
}

/// How a machine ended. One that only halts its processors runs on, as far as
/// QEMU can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest switched it off.
    PoweredOff,
    /// The guest restarted it.
    Rebooted,
    /// The guest's kernel panicked and said so.
    Panicked,
    /// QEMU itself ended, or cannot go on.
    Died {
        /// Its exit status, and what it said.
        said: String,
    },
}

/// What a machine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes read from disks.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_written: u64,
    /// Bytes sent and received over the network.
    pub network: u64,
    /// Processor time of the QEMU process.
    pub processor: Duration,
}

/// A running QEMU machine. It is killed when it is dropped, and when imgbuild
/// ends for whatever reason.
pub struct Machine {
    child: Child,
    qmp: Rc<Qmp>,
    events: mpsc::UnboundedReceiver<QmpEvent>,
    console: UnixStream,
    /// Where the guest may write a log, until it cannot any more.
    log: Option<UnixStream>,
    wire: Wire,
    seen: mpsc::Receiver<Seen>,
    errors: Utf8PathBuf,
    ended: Option<End>,
}

/// Something that happened in or to a machine.
#[derive(Debug)]
pub enum Happening {
    /// The serial console said something.
    Console(Vec<u8>),
    /// The guest wrote to its port for logs.
    Log(Vec<u8>),
    /// Something was seen on the network.
    Network(Seen),
    /// The machine ended.
    Ended(End),
}

impl Machine {
    /// Starts a machine. `folder` is where QEMU's own messages go.
    pub async fn start(
        spec: &MachineSpec,
        metadata: Metadata,
        folder: &Utf8Path,
        guard: &Guard,
    ) -> Result<Self, MachineError> {
        let not_started =
            |source| MachineError::NotStarted { program: spec.program.clone(), source };
        let (console, console_end) = UnixStream::pair().map_err(not_started)?;
        let (qmp, qmp_end) = UnixStream::pair().map_err(not_started)?;
        let (guest, guest_end) = UnixStream::pair().map_err(not_started)?;
        let (network, network_end) = UnixStream::pair().map_err(not_started)?;
        let (log, log_end) = match &spec.log_port {
            Some(_) => UnixStream::pair().map(|(it, end)| (Some(it), Some(end))),
            None => Ok((None, None)),
        }
        .map_err(not_started)?;
        let errors = folder.join(format!("qemu-{}.txt", spec.name));
        let error_file = fs_err::File::create(&errors).map_err(not_started)?.into_parts().0;
        let mut command = guard.command(&spec.program);
        command
            .args(arguments(spec))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error_file);
        let mut mappings = Vec::new();
        let ends = [
            (console_end, descriptors::CONSOLE),
            (qmp_end, descriptors::QMP),
            (guest_end, descriptors::GUEST_WIRE),
            (network_end, descriptors::NETWORK_WIRE),
        ];
        for (end, child_fd) in ends.into_iter().chain(log_end.map(|it| (it, descriptors::LOG))) {
            let end = end.into_std().map_err(not_started)?;
            mappings.push(FdMapping { parent_fd: OwnedFd::from(end), child_fd });
        }
        command
            .as_std_mut()
            .fd_mappings(mappings)
            .map_err(|it| not_started(std::io::Error::other(it)))?;
        let child = command.spawn().map_err(not_started)?;
        // The ends in the command are ours until it is dropped; QEMU's end would
        // never be noticed.
        drop(command);
        let (wire, seen) = Wire::join(guest, network, metadata);
        let (qmp, events) = Qmp::begin(qmp);
        let mut machine =
            Self { child, qmp, events, console, log, wire, seen, errors, ended: None };
        machine.greet(spec).await?;
        Ok(machine)
    }

    async fn greet(&mut self, spec: &MachineSpec) -> Result<(), MachineError> {
        let qmp = self.qmp.clone();
        let greeting = qmp.execute("qmp_capabilities", Value::Null);
        let answer = tokio::time::timeout(START, greeting).await;
        match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(QmpError::Gone)) => {
                let status = tokio::time::timeout(STOP, self.child.wait()).await;
                let status = status.ok().and_then(Result::ok);
                if status.and_then(|it| it.code()) == Some(127) {
                    return Err(MachineError::NotStarted {
                        program: spec.program.clone(),
                        source: std::io::ErrorKind::NotFound.into(),
                    });
                }
                let status = status.map_or_else(|| "no status".to_owned(), |it| it.to_string());
                Err(MachineError::Refused { status, said: self.said() })
            }
            Ok(Err(error)) => Err(MachineError::Silent(error)),
            Err(_) => Err(MachineError::Silent(QmpError::NoAnswer("qmp_capabilities".into()))),
        }
    }

    /// The process ID of QEMU.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until something happens. After the end nothing does.
    pub async fn next(&mut self) -> Happening {
        let mut bytes = Vec::with_capacity(64 << 10);
        let mut logged = Vec::with_capacity(4 << 10);
        loop {
            if let Some(end) = &self.ended {
                // What the console and the log still hold comes before the end.
                let rest = Duration::from_millis(50);
                let read = self.console.read_buf(&mut bytes);
                if let Ok(Ok(1..)) = tokio::time::timeout(rest, read).await {
                    return Happening::Console(bytes);
                }
                let read = read_log(&mut self.log, &mut logged);
                if let Ok(Ok(1..)) = tokio::time::timeout(rest, read).await {
                    return Happening::Log(logged);
                }
                return Happening::Ended(end.clone());
            }
            tokio::select! {
                read = read_log(&mut self.log, &mut logged) => match read {
                    Ok(1..) => return Happening::Log(logged),
                    _ => self.log = None,
                },
                read = self.console.read_buf(&mut bytes) => match read {
                    Ok(n) if n > 0 => return Happening::Console(bytes),
                    _ => self.ended = Some(self.died().await),
                },
                Some(seen) = self.seen.recv() => return Happening::Network(seen),
                event = self.events.recv() => match event {
                    Some(event) => self.ended = end_of(&event),
                    None => self.ended = Some(self.died().await),
                },
            }
        }
    }

    async fn died(&mut self) -> End {
        // An event may have come just before.
        while let Ok(event) = self.events.try_recv() {
            if let Some(end) = end_of(&event) {
                return end;
            }
        }
        let status = tokio::time::timeout(STOP, self.child.wait()).await;
        let status = match status {
            Ok(Ok(status)) => ended_with(status),
            _ => "it closed its connections".to_owned(),
        };
        End::Died { said: format!("{status}{}", self.said()) }
    }

    /// What QEMU wrote to its standard error.
    fn said(&self) -> String {
        let text = fs_err::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<_> = text.lines().take(12).collect();
        if lines.is_empty() { String::new() } else { format!("\n  {}", lines.join("\n  ")) }
    }

    /// Sends bytes to the serial console.
    pub async fn type_text(&mut self, text: &str) -> std::io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        self.console.write_all(text.as_bytes()).await
    }

    /// Takes a picture of the screen, as PNG.
    pub async fn screenshot(&self, path: &Utf8Path) -> Result<(), MachineError> {
        let arguments = json!({"filename": path, "format": "png"});
        self.qmp
            .execute("screendump", arguments)
            .await
            .map(|_| ())
            .map_err(MachineError::Screenshot)
    }

    /// What the guest waits for on the network, the oldest first.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        self.wire.unanswered()
    }

    /// What the machine has done so far.
    pub async fn counters(&self) -> Counters {
        let carried = self.wire.carried();
        let mut counters = Counters {
            network: carried.sent + carried.received,
            processor: self.id().and_then(processor_time).unwrap_or_default(),
            ..Counters::default()
        };
        if let Ok(blocks) = self.qmp.execute("query-blockstats", Value::Null).await {
            for block in blocks.as_array().into_iter().flatten() {
                let count = |name: &str| {
                    block.pointer(&format!("/stats/{name}")).and_then(Value::as_u64).unwrap_or(0)
                };
                counters.disk_read += count("rd_bytes");
                counters.disk_written += count("wr_bytes");
            }
        }
        counters
    }

    /// Ends the machine. Disks are as the guest last wrote them.
    pub async fn stop(mut self) {
        _ = tokio::time::timeout(STOP, self.qmp.execute("quit", Value::Null)).await;
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            _ = self.child.kill().await;
        }
        if fs_err::metadata(&self.errors).is_ok_and(|it| it.len() == 0) {
            _ = fs_err::remove_file(&self.errors);
        }
    }
}

/// Waits for ever where there is no log to be read.
async fn read_log(log: &mut Option<UnixStream>, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    match log {
        Some(log) => log.read_buf(bytes).await,
        None => std::future::pending().await,
    }
}

/// How QEMU ended, for people.
fn ended_with(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        // Nothing of ours sends it while the machine is watched.
        Some(9) => format!("{status}, as the kernel of the host does where memory runs out"),
        _ => status.to_string(),
    }
}

fn end_of(event: &QmpEvent) -> Option<End> {
    let text = |name| event.data.get(name).and_then(Value::as_str);
    match event.name.as_str() {
        "SHUTDOWN" => match text("reason") {
            Some("guest-reset") => Some(End::Rebooted),
            Some("guest-shutdown") => Some(End::PoweredOff),
            Some("guest-panic") => Some(End::Panicked),
            Some(other) => Some(End::Died { said: format!("QEMU was ended: {other}") }),
            None => None,
        },
        "GUEST_PANICKED" => Some(End::Panicked),
        // QEMU stops the machine where its disk's file cannot grow (`werror`,
        // qemu(1)); it would wait for room for ever.
        "BLOCK_IO_ERROR" if text("action") == Some("stop") => Some(End::Died {
            said: format!(
                "the file of a disk cannot be written: {}",
                text("reason").unwrap_or("no reason given")
            ),
        }),
        _ => None,
    }
}

/// User and system time of a process: fields 14 and 15 of `/proc/PID/stat`, in
/// hundredths of a second on every Linux that QEMU runs on, see proc(5).
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use super::*;

    #[test]
    fn a_machine_that_the_host_kills_is_told_with_the_usual_reason() {
        let told = ended_with(ExitStatus::from_raw(9));
        assert!(told.contains("SIGKILL") && told.contains("memory"), "{told}");
        assert_eq!(ended_with(ExitStatus::from_raw(1 << 8)), "exit status: 1");
    }
}
