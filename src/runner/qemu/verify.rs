//! Stage `verify`: a copy of the image is booted, and has to show that it works.

use std::{collections::BTreeMap, time::Duration};

use camino::Utf8Path;

use super::{
    Checked, QemuRunner,
    fetch::fetched,
    install::of,
    machine::disk,
    ssh::{Reach, let_in_by},
    watch::{Meanwhile, Watched, knowledge_error},
};
use crate::{
    console::{
        knowledge::Knowledge,
        watch::{Budgets, Condition, Purpose, Watch},
    },
    engine::{StageCx, StageError},
    model::{DiskFormat, Verify, VerifyCondition},
    plan::{Machine, Stage, qemu::files},
};

impl QemuRunner {
    pub(super) async fn verify(
        &self,
        stage: &Stage,
        verify: &Verify,
        planned: &Machine,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let context = &self.context;
        let resource = self.claim(stage, "verify-overlay", cx)?;
        let overlay = Utf8Path::new(&resource.name);
        _ = fs_err::remove_file(overlay);
        let image = context.folder.file(files::IMAGE);
        let format = self.image_format();
        self.qemu_img()
            .copy_on_write(image.as_std_path(), format, overlay.as_std_path(), &cx.cancel)
            .await
            .map_err(of)?;
        self.claim(stage, "verify-machine", cx)?;
        let root = disk(overlay.to_owned(), DiskFormat::Qcow2, &planned.disk_bus);
        let kernel = fetched(cx).ok().map(|it| it.kernel.path);
        let mut spec = self.machine("verify", planned, root, kernel.as_deref(), cx).await?;
        // An image that does not boot says so at once, not by a timeout.
        spec.bios_on_console = true;
        let own = &context.build.console;
        let knowledge = Knowledge::for_verify(own, &verify.condition).map_err(knowledge_error)?;
        let emulator = (spec.accelerator == "tcg" && self.qemu_major() < 8).then(|| {
            "QEMU 7's software emulation has a fault that makes some kernels panic: try a newer \
             QEMU before you doubt the image"
                .to_owned()
        });
        let watch = Watch {
            purpose: Purpose::Verify(Condition::from(&verify.condition)),
            installer: None,
            budgets: Budgets {
                phases: BTreeMap::new(),
                idle: verify.timeout.duration(),
                total: verify.timeout.duration(),
            },
            emulator,
        };
        // The result gets no user-data: it has to come up by itself.
        let mut metadata = self.metadata();
        metadata.user_data = None;
        let meanwhile: Option<Meanwhile<'_>> = match &verify.condition {
            VerifyCondition::Ssh(access) => {
                let reach = Reach::forwarded(let_in_by(verify.timeout.duration()))
                    .map_err(StageError::of)?;
                spec.forwards.push((reach.port, 22));
                let (teller, cancel) = (cx.teller().clone(), cx.cancel.clone());
                let commands = vec![access.command.clone()];
                Some(Box::pin(async move {
                    self.over_ssh(&access.user, &commands, &reach, &teller, &cancel).await?;
                    self.check(access, &reach, &teller, &cancel).await
                }))
            }
            VerifyCondition::LoginPrompt | VerifyCondition::Console(_) => None,
        };
        let began = std::time::Instant::now();
        let ended = self.watched(&spec, metadata, knowledge, watch, meanwhile, cx).await;
        self.tidy("verify");
        let proof = match ended? {
            Watched::Reached(machine) => {
                let proof = proof(&verify.condition, began.elapsed());
                machine.stop().await;
                proof
            }
            Watched::Done => proof(&verify.condition, began.elapsed()),
        };
        cx.released("verify-machine")?;
        self.observed.borrow_mut().checks.push(Checked::good("boots", &proof));
        Ok(serde_json::json!({ "proof": proof }))
    }

    fn qemu_major(&self) -> u32 {
        let observed = self.observed.borrow();
        let version =
            observed.machine.get("qemu").and_then(|it| it.split('.').next()?.parse().ok());
        version.unwrap_or(0)
    }
}

fn proof(condition: &VerifyCondition, after: Duration) -> String {
    let after = crate::units::Span::secs(after.as_secs());
    match condition {
        VerifyCondition::LoginPrompt => format!("login prompt on the console after {after}"),
        VerifyCondition::Console(pattern) => format!("`{pattern}` on the console after {after}"),
        VerifyCondition::Ssh(access) => {
            format!("`{}` succeeded over SSH after {after}", access.command)
        }
    }
}
