//! How a guest is entered over SSH: the build's key, where the guest is reached,
//! and waiting until it lets us in.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use camino::{Utf8Path, Utf8PathBuf};

use super::{Checked, QemuRunner, guest::GuestError};
use crate::{
    CancellationToken,
    engine::{StageError, Teller},
    guard::Guard,
    runner::command,
    units::Span,
};

/// The pause between two tries to reach a guest that is still booting.
const PAUSE: Duration = Duration::from_secs(3);

/// The key that guests let in, made for one build.
#[derive(Clone, Debug)]
pub struct BuildKey {
    /// The file with the private half.
    pub private: Utf8PathBuf,
    /// The public half, as in `authorized_keys`.
    pub public: String,
}

impl BuildKey {
    /// Makes a key in a run's folder, or takes the one that is there.
    pub async fn make(folder: &Utf8Path, guard: &Guard) -> Result<Self, GuestError> {
        let private = folder.join("key");
        let public = folder.join("key.pub");
        if !public.is_file() {
            let status = guard
                .command("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "imgbuild", "-f", private.as_str()])
                .stdin(Stdio::null())
                .status()
                .await
                .map_err(GuestError::NoKey)?;
            if !status.success() {
                let said = std::io::Error::other(format!("ssh-keygen ended with {status}"));
                return Err(GuestError::NoKey(said));
            }
        }
        let text = fs_err::read_to_string(&public).map_err(GuestError::NoKey)?;
        Ok(Self { private, public: text.trim().to_owned() })
    }

    /// Removes the key.
    pub fn remove(&self) {
        _ = fs_err::remove_file(&self.private);
        _ = fs_err::remove_file(format!("{}.pub", self.private));
    }
}

/// Where a guest's SSH server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runner) struct Reach {
    /// Its address.
    pub(in crate::runner) host: String,
    /// Its port.
    pub(in crate::runner) port: u16,
    /// When it has to let us in at the latest.
    pub(in crate::runner) until: Instant,
}

/// When a guest has to let us in at the latest, where there is so much time for all
/// from now on: a little earlier, so that what SSH said is told and not only that
/// time is up.
pub(in crate::runner) fn let_in_by(total: Duration) -> Instant {
    Instant::now() + total.mul_f64(0.9)
}

impl Reach {
    /// A port of this machine that is free now, to lead into a guest. QEMU takes
    /// it a moment later, and says so where somebody else was faster.
    pub(super) fn forwarded(until: Instant) -> Result<Self, GuestError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(GuestError::NoPort)?;
        let port = listener.local_addr().map_err(GuestError::NoPort)?.port();
        Ok(Self { host: "127.0.0.1".to_owned(), port, until })
    }
}

impl QemuRunner {
    /// Runs commands in a guest, as soon as it lets us in.
    pub(in crate::runner) async fn over_ssh(
        &self,
        user: &str,
        commands: &[String],
        reach: &Reach,
        teller: &Teller,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        self.let_in(user, reach, cancel).await?;
        let none = BTreeMap::new();
        for text in commands {
            let context = &self.context;
            let mut arguments = vec!["ssh".to_owned()];
            arguments.extend(self.ssh_options(reach));
            arguments.push(format!("{user}@{}", reach.host));
            arguments.push(text.clone());
            let ended = command::run(
                &arguments,
                &none,
                &context.spec_folder,
                &context.release.guard,
                &context.redactor,
                teller,
                cancel,
            );
            match ended.await {
                Ok(()) => {
                    self.observed.borrow_mut().checks.push(Checked::good(text, "succeeded"));
                }
                Err(command::CommandError::Cancelled) => return Err(StageError::Cancelled),
                Err(error) => return Err(StageError::of(error)),
            }
        }
        Ok(())
    }

    /// Waits until the guest lets us in.
    async fn let_in(
        &self,
        user: &str,
        reach: &Reach,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        let began = Instant::now();
        // A guest that refuses the key for so long will not change its mind.
        let mut refused_since: Option<Instant> = None;
        let mut last = "ssh did not say anything".to_owned();
        let gave_up = |last: &str| {
            StageError::of(GuestError::NotReached {
                user: user.to_owned(),
                address: format!("{} port {}", reach.host, reach.port),
                tried: Span::secs(began.elapsed().as_secs()),
                last: self.context.redactor.mask(last),
            })
        };
        loop {
            let mut ssh = self.ssh(user, reach);
            let output = ssh.arg("true").stdin(Stdio::null()).kill_on_drop(true).output();
            let left = reach.until.saturating_duration_since(Instant::now());
            let output = tokio::select! {
                () = cancel.cancelled() => return Err(StageError::Cancelled),
                () = tokio::time::sleep(left) => return Err(gave_up(&last)),
                output = output => output.map_err(|it| StageError::of(GuestError::NoKey(it)))?,
            };
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            if let Some(said) = said.lines().map(str::trim).rfind(|it| !it.is_empty()) {
                said.clone_into(&mut last);
            }
            if last.contains("Permission denied") {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_mins(1) {
                    return Err(gave_up(&last));
                }
            }
            let left = reach.until.saturating_duration_since(Instant::now());
            tokio::select! {
                () = cancel.cancelled() => return Err(StageError::Cancelled),
                () = tokio::time::sleep(PAUSE.min(left)) => {}
            }
        }
    }

    pub(super) fn ssh(&self, user: &str, reach: &Reach) -> tokio::process::Command {
        let mut command = self.context.release.guard.command("ssh");
        command.args(self.ssh_options(reach)).arg(format!("{user}@{}", reach.host));
        command
    }

    /// The guest is a minute old: there is no host key that could be known.
    pub(super) fn ssh_options(&self, reach: &Reach) -> Vec<String> {
        let key = self.context.key.as_ref().map(|it| it.private.to_string()).unwrap_or_default();
        let options = [
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=10",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "ServerAliveInterval=15",
            "-i",
        ];
        let mut options: Vec<String> = options.map(str::to_owned).into();
        options.extend([key, "-p".to_owned(), reach.port.to_string()]);
        options
    }
}
