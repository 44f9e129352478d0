//! Work in a running guest: `ssh` and `ansible` stages.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use camino::{Utf8Path, Utf8PathBuf};
use miette::Diagnostic;

use super::{
    QemuRunner,
    fetch::fetched,
    install::of,
    machine::disk,
    ssh::{Reach, let_in_by},
    watch::{Meanwhile, Watched, knowledge_error},
};
use crate::{
    CancellationToken,
    console::{
        knowledge::Knowledge,
        watch::{Budgets, Condition, Purpose, Watch},
    },
    engine::{StageCx, StageError, Teller},
    model::{DiskFormat, UserAction},
    plan::{Machine, Stage, qemu::files},
    runner::command,
    units::Span,
};

/// How long a guest may take to switch itself off.
const POWER_OFF: Duration = Duration::from_mins(3);

/// Why work in a guest failed.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum GuestError {
    /// No key could be made.
    #[error("cannot make an SSH key")]
    #[diagnostic(help("install the OpenSSH client (ssh, ssh-keygen)"))]
    NoKey(#[source] std::io::Error),
    /// There is no free port on this machine's loopback.
    #[error("there is no free port on the loopback interface")]
    NoPort(#[source] std::io::Error),
    /// It let nobody in.
    #[error("the guest does not let `{user}` in over SSH at {address}, tried for {tried}: {last}")]
    #[diagnostic(help(
        "it has to run an SSH server; its answer file, or cloud-init, has to put `{{{{ build.ssh_public_key }}}}` into the authorized keys of `{user}`; and what lies between, such as a cloud's security groups, has to let this machine through"
    ))]
    NotReached {
        /// The account.
        user: String,
        /// Address and port.
        address: String,
        /// For how long.
        tried: Span,
        /// What ssh said last.
        last: String,
    },
    /// It does not have what it has to have.
    #[error("the result is not as `verify` has it: {failed}")]
    #[diagnostic(help(
        "see that the answer file installs and starts it, or correct `verify.ssh`; the report has every check"
    ))]
    Lacking {
        /// Each check that failed, with what was found.
        failed: String,
    },
    /// It did not go off.
    #[error("the guest was asked to switch itself off and did not")]
    #[diagnostic(help("`keep = true` needs a guest in which `poweroff` works for this account"))]
    StaysOn,
    /// A disk could not be made or taken over.
    #[error("cannot work with the guest's disk")]
    Disk(#[source] std::io::Error),
}

impl QemuRunner {
    pub(super) async fn in_guest(
        &self,
        stage: &Stage,
        action: &UserAction,
        planned: &Machine,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let keeps = matches!(
            action,
            UserAction::Ssh { keep: true, .. } | UserAction::Ansible { keep: true, .. }
        );
        let context = &self.context;
        let resource = self.claim(stage, &format!("{}-overlay", stage.name), cx)?;
        let overlay = Utf8Path::new(&resource.name);
        _ = fs_err::remove_file(overlay);
        let base = self.newest_disk();
        self.qemu_img()
            .copy_on_write(base.0.as_std_path(), base.1, overlay.as_std_path(), &cx.cancel)
            .await
            .map_err(of)?;
        self.claim(stage, &format!("{}-machine", stage.name), cx)?;
        let root = disk(overlay.to_owned(), DiskFormat::Qcow2, &planned.disk_bus);
        let kernel = fetched(cx).ok().map(|it| it.kernel.path);
        let mut spec = self.machine(&stage.name, planned, root, kernel.as_deref(), cx).await?;
        let total = stage.timeout.duration();
        let reach = Reach::forwarded(let_in_by(total)).map_err(StageError::of)?;
        spec.forwards.push((reach.port, 22));
        let way = reach.clone();
        let knowledge = Knowledge::shared(&context.build.console).map_err(knowledge_error)?;
        let watch = Watch {
            purpose: Purpose::Verify(Condition::Elsewhere),
            installer: None,
            budgets: Budgets { phases: BTreeMap::new(), idle: total, total },
            emulator: None,
        };
        let mut metadata = self.metadata();
        metadata.user_data = None;
        let (teller, cancel) = (cx.teller().clone(), cx.cancel.clone());
        let work: Meanwhile<'_> =
            Box::pin(async move { self.work(stage, action, &reach, &teller, &cancel).await });
        let ended = self.watched(&spec, metadata, knowledge, watch, Some(work), cx).await;
        let ended = match ended {
            Ok(Watched::Reached(machine)) if keeps => {
                self.switch_off(*machine, account(action), &way).await
            }
            Ok(Watched::Reached(machine)) => {
                machine.stop().await;
                Ok(())
            }
            Ok(Watched::Done) => Ok(()),
            Err(error) => Err(error),
        };
        self.tidy(&stage.name);
        ended?;
        cx.released(&format!("{}-machine", stage.name))?;
        if keeps {
            self.take_over(overlay, &base.0, cx).await?;
        }
        Ok(serde_json::Value::Null)
    }

    /// The disk as the last stage left it.
    fn newest_disk(&self) -> (Utf8PathBuf, DiskFormat) {
        let image = self.context.folder.file(files::IMAGE);
        if image.is_file() {
            return (image, self.image_format());
        }
        (self.context.folder.file(files::DISK), DiskFormat::Qcow2)
    }

    /// Makes what a guest changed part of its disk.
    async fn take_over(
        &self,
        overlay: &Utf8Path,
        base: &Utf8Path,
        cx: &StageCx<'_>,
    ) -> Result<(), StageError> {
        let context = &self.context;
        let arguments: Vec<String> =
            ["qemu-img", "commit", "-q", "-f", "qcow2", overlay.as_str()].map(Into::into).into();
        let none = BTreeMap::new();
        let ended = command::run(
            &arguments,
            &none,
            context.folder.path(),
            &context.release.guard,
            &context.redactor,
            cx.teller(),
            &cx.cancel,
        );
        ended.await.map_err(StageError::of)?;
        fs_err::File::open(base)
            .and_then(|it| it.sync_all())
            .map_err(|it| StageError::of(GuestError::Disk(it)))
    }

    /// Switches a guest off from inside, so that its disk is whole.
    async fn switch_off(
        &self,
        mut machine: crate::platform::qemu::machine::Machine,
        user: &str,
        reach: &Reach,
    ) -> Result<(), StageError> {
        use crate::platform::qemu::machine::{End, Happening};
        let mut ssh = self.poweroff(user, reach);
        let mut child = ssh.spawn().map_err(|it| StageError::of(GuestError::NoKey(it)))?;
        let off = async {
            loop {
                if let Happening::Ended(end) = machine.next().await {
                    return end;
                }
            }
        };
        let ended = tokio::time::timeout(POWER_OFF, off).await;
        _ = child.kill().await;
        machine.stop().await;
        match ended {
            Ok(End::PoweredOff) => Ok(()),
            _ => Err(StageError::of(GuestError::StaysOn)),
        }
    }

    /// Does what a stage does in a guest, as soon as it lets us in.
    pub(in crate::runner) async fn work(
        &self,
        stage: &Stage,
        action: &UserAction,
        reach: &Reach,
        teller: &Teller,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        match action {
            UserAction::Ssh { user, run, .. } => {
                self.over_ssh(user, run, reach, teller, cancel).await
            }
            UserAction::Ansible { user, playbook, arguments, .. } => {
                self.over_ssh(user, &["true".to_owned()], reach, teller, cancel).await?;
                let values = self.values(stage);
                self.play(user, playbook, arguments, values, reach, teller, cancel).await
            }
            UserAction::Command { .. } | UserAction::External { .. } => Ok(()),
        }
    }

    /// Asks a guest to switch itself off. Whether it does is seen from outside:
    /// the connection may end before there is an answer.
    pub(in crate::runner) async fn ask_to_go_off(
        &self,
        action: &UserAction,
        reach: &Reach,
        cancel: &CancellationToken,
    ) {
        let mut ssh = self.poweroff(account(action), reach);
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = ssh.kill_on_drop(true).status() => {}
        }
    }

    fn poweroff(&self, user: &str, reach: &Reach) -> tokio::process::Command {
        let command = if user == "root" { "poweroff" } else { "sudo -n poweroff" };
        let mut ssh = self.ssh(user, reach);
        ssh.arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ssh
    }

    #[expect(clippy::too_many_arguments, reason = "a playbook is told all of them")]
    async fn play(
        &self,
        user: &str,
        playbook: &str,
        more: &[String],
        values: BTreeMap<String, String>,
        reach: &Reach,
        teller: &Teller,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        let context = &self.context;
        let mut arguments: Vec<String> = vec![
            "ansible-playbook".into(),
            "-i".into(),
            "guest,".into(),
            "-e".into(),
            format!("ansible_host={} ansible_port={} ansible_user={user}", reach.host, reach.port),
            // In one word: the value begins with a dash.
            format!("--ssh-common-args={}", shell_words::join(self.ssh_options(reach))),
        ];
        arguments.extend(more.iter().cloned());
        arguments.push(playbook.to_owned());
        let mut environment: BTreeMap<String, String> = values
            .into_iter()
            .map(|(name, value)| (format!("IMGBUILD_{}", name.to_uppercase()), value))
            .collect();
        environment.insert("ANSIBLE_HOST_KEY_CHECKING".into(), "False".into());
        let ended = command::run(
            &arguments,
            &environment,
            &context.spec_folder,
            &context.release.guard,
            &context.redactor,
            teller,
            cancel,
        );
        match ended.await {
            Ok(()) => Ok(()),
            Err(command::CommandError::Cancelled) => Err(StageError::Cancelled),
            Err(error) => Err(StageError::of(error)),
        }
    }
}

/// The account that a stage enters a guest with.
fn account(action: &UserAction) -> &str {
    match action {
        UserAction::Ssh { user, .. } | UserAction::Ansible { user, .. } => user,
        UserAction::Command { .. } | UserAction::External { .. } => "root",
    }
}
