//! Stage `install`: the system's own installer at work.

use std::{collections::BTreeMap, str::FromStr as _};

use camino::Utf8Path;

use super::{
    QemuRunner, boot_disk::final_command_line, fetch::fetched, machine::disk,
    watch::knowledge_error,
};
use crate::{
    console::{
        Phase,
        knowledge::Knowledge,
        watch::{Budgets, Purpose, Watch},
    },
    engine::{StageCx, StageError},
    media::MediaError,
    model::{BootMethod, Delivery, DiskFormat},
    plan::{InstallAction, Stage, qemu::files},
    platform::qemu::arguments::{DirectKernel, Disk},
};

impl QemuRunner {
    pub(super) async fn install(
        &self,
        stage: &Stage,
        action: &InstallAction,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let context = &self.context;
        let fetched = fetched(cx)?;
        let install = &action.install;
        let resource = self.claim(stage, "disk", cx)?;
        let path = Utf8Path::new(&resource.name);
        // A run that was killed here left half an installation.
        _ = fs_err::remove_file(path);
        let made = match install.boot {
            BootMethod::Disk => {
                let base = context.folder.file(files::BOOT_DISK);
                self.qemu_img()
                    .overlay(base.as_std_path(), install.disk, path.as_std_path(), &cx.cancel)
                    .await
            }
            BootMethod::Direct | BootMethod::Cdrom => {
                self.qemu_img().create(install.disk, path.as_std_path(), &cx.cancel).await
            }
        };
        made.map_err(of)?;
        cx.confirm("disk", path.as_str())?;
        self.claim(stage, "install-machine", cx)?;

        let planned = &action.machine;
        let root = disk(path.to_owned(), DiskFormat::Qcow2, &planned.disk_bus);
        let kernel = fetched.kernel.path.clone();
        let mut spec = self.machine("install", planned, root, Some(&kernel), cx).await?;
        spec.cdrom.clone_from(&fetched.iso);
        spec.log_port.clone_from(&action.log_port);
        if matches!(install.delivery, Delivery::ConfigDrive | Delivery::Volume) {
            spec.disks.push(Disk {
                path: context.folder.file(files::ANSWER_VOLUME),
                format: DiskFormat::Raw,
                bus: planned.disk_bus.clone(),
                read_only: true,
                boots: false,
            });
        }
        if install.boot == BootMethod::Direct {
            spec.direct = Some(DirectKernel {
                kernel,
                initrd: Some(self.installer_initrd(cx, &fetched)),
                command_line: final_command_line(&command_line(cx), &fetched),
            });
        }
        let knowledge = Knowledge::shared(&context.build.console).map_err(knowledge_error)?;
        let watch = Watch {
            purpose: Purpose::Install,
            installer: Some(action.installer),
            budgets: Budgets {
                phases: phases(&install.budgets),
                idle: install.idle.duration(),
                total: install.timeout.duration(),
            },
            emulator: None,
        };
        let ended = self.watched(&spec, self.metadata(), knowledge, watch, None, cx).await;
        self.tidy("install");
        ended?;
        cx.released("install-machine")?;
        if install.boot == BootMethod::Disk {
            // What the installer left of the boot disk it was started from is
            // nothing of the system's: unwritten blocks read as zeros from now on.
            self.qemu_img().detach(path.as_std_path(), &cx.cancel).await.map_err(of)?;
        }
        Ok(serde_json::Value::Null)
    }
}

/// The command line that the plan's stage `boot-disk` names.
fn command_line(cx: &StageCx<'_>) -> String {
    cx.output("boot-disk")
        .and_then(|it| it.get("command-line")?.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn phases(budgets: &BTreeMap<String, crate::units::Span>) -> BTreeMap<Phase, std::time::Duration> {
    budgets
        .iter()
        .filter_map(|(name, span)| Some((Phase::from_str(name).ok()?, span.duration())))
        .collect()
}

pub(super) fn of(error: MediaError) -> StageError {
    match error {
        MediaError::Cancelled => StageError::Cancelled,
        error => StageError::of(error),
    }
}
