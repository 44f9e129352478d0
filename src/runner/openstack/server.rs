//! Stages `install` and `verify`: servers that are watched.

use std::{collections::BTreeMap, str::FromStr as _, time::Instant};

use super::{CloudError, OpenstackRunner, deadline, metadata, of, said, watch::Watched};
use crate::{
    console::{
        Phase,
        knowledge::Knowledge,
        watch::{Budgets, Condition, Purpose, Watch},
    },
    engine::{StageCx, StageError},
    model::{BootMethod, Delivery, Openstack, Platform, Target, Verify, VerifyCondition},
    openstack::{
        compute::{Attachment, Device, NewServer},
        volume::NewVolume,
    },
    plan::{ServerInstall, Stage},
    runner::{
        Checked, MachineFailed,
        qemu::{Meanwhile, knowledge_error, let_in_by},
    },
    units::Span,
};

/// What a kernel of Linux says before anything else, and with `quiet` later.
const KERNEL: [&str; 4] = ["Linux version", "Kernel panic", "] Run /init", "Command line:"];
/// What a failure rests on that Nova told, and no console.
const TOLD_BY_NOVA: [&str; 2] = ["watch/platform", "watch/deleted"];

impl OpenstackRunner {
    pub(super) async fn install(
        &self,
        stage: &Stage,
        action: &ServerInstall,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let install = &action.install;
        let doors = if stage.planned("install-keypair").is_some() {
            Some(self.open_to_ssh(stage, &action.cloud, cx).await?)
        } else {
            None
        };
        let resource = self.local.claim(stage, "install-server", cx)?;
        let mut new = self.server(&resource.name, &action.cloud);
        if let Some(doors) = doors {
            doors.into(&mut new);
        }
        if action.from_volume {
            new.devices = vec![Device::volume(&said(cx, "upload", "volume")?).boot(0)];
        } else {
            new.image = Some(said(cx, "upload", "image")?);
        }
        if let Ok(medium) = said(cx, "upload", "medium") {
            // With a second disk Nova wants the first one to be named as well.
            if let Some(image) = &new.image {
                new.devices.push(Device::local(image).boot(0));
            }
            new.devices.push(Device::volume(&medium).cdrom());
        }
        if matches!(install.delivery, Delivery::Metadata | Delivery::ConfigDrive) {
            new.user_data = Some(context.answers.clone());
        }
        new.config_drive |= install.delivery == Delivery::ConfigDrive;
        let server = cloud.compute().create_server(&new).await.map_err(of)?;
        cx.confirm("install-server", &server.id)?;
        let budgets = Budgets {
            phases: phases(&install.budgets),
            idle: install.idle.duration(),
            total: install.timeout.duration(),
        };
        let watch = Watch {
            purpose: Purpose::Install,
            installer: Some(action.installer),
            budgets,
            emulator: None,
        };
        let knowledge = Knowledge::shared(&context.build.console).map_err(knowledge_error)?;
        let ended = self.watched(&server.id, "console.log", knowledge, watch, None, cx).await;
        if install.boot == BootMethod::Direct {
            ended.map_err(|it| self.kernel_or(it, cx))?;
        } else {
            ended?;
        }
        Ok(serde_json::json!({ "server": server.id }))
    }

    /// The failure of a server that was to start a kernel; where none spoke,
    /// that is what there is to say.
    fn kernel_or(&self, ended: StageError, cx: &StageCx<'_>) -> StageError {
        let by_nova =
            |it: &MachineFailed| TOLD_BY_NOVA.contains(&it.judgement().signature.as_str());
        let is_judged = ended.inner::<MachineFailed>().is_some_and(|it| !by_nova(it));
        let log = fs_err::read(self.local.context.folder.file("console.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let is_heard = !cx.state().phases.is_empty() || KERNEL.iter().any(|it| log.contains(it));
        if is_judged && !is_heard {
            return StageError::of(CloudError::NoKernel { ended: Box::new(ended) });
        }
        ended
    }

    pub(super) async fn verify(
        &self,
        stage: &Stage,
        verify: &Verify,
        target: &Target,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let cloud = self.cloud(cx);
        let context = &self.local.context;
        let settings = self.settings();
        let label = |what: &str| format!("{}-{what}", stage.name);
        let mut devices = Vec::new();
        let mut image = None;
        if matches!(target, Target::Volume(_)) {
            let resource = self.local.claim(stage, &label("volume"), cx)?;
            let new = NewVolume {
                name: resource.name.clone(),
                snapshot: Some(said(cx, "convert", "snapshot")?),
                volume_type: settings.volume_type.clone(),
                metadata: metadata(&context.run),
                ..NewVolume::default()
            };
            let volume = cloud.volumes().create(&new).await.map_err(of)?;
            cx.confirm(&label("volume"), &volume.id)?;
            cloud.volumes().wait_available(&volume.id, deadline(stage)).await.map_err(of)?;
            cloud.volumes().set_bootable(&volume.id, true).await.map_err(of)?;
            devices.push(Device::volume(&volume.id).boot(0));
        } else {
            image = Some(said(cx, "convert", "image")?);
        }
        let access = match &verify.condition {
            VerifyCondition::Ssh(access) => Some(access),
            VerifyCondition::LoginPrompt | VerifyCondition::Console(_) => None,
        };
        let doors = match access {
            Some(_) => Some(self.open_to_ssh(stage, &settings, cx).await?),
            None => None,
        };
        let resource = self.local.claim(stage, &label("server"), cx)?;
        // The result gets no user-data: it has to come up by itself.
        let mut new = NewServer { image, devices, ..self.server(&resource.name, &settings) };
        if let Some(doors) = doors {
            doors.into(&mut new);
        }
        let server = cloud.compute().create_server(&new).await.map_err(of)?;
        cx.confirm(&label("server"), &server.id)?;
        let total = verify.timeout.duration();
        let watch = Watch {
            purpose: Purpose::Verify(Condition::from(&verify.condition)),
            installer: None,
            budgets: Budgets { phases: BTreeMap::new(), idle: total, total },
            emulator: None,
        };
        let own = &context.build.console;
        let knowledge = Knowledge::for_verify(own, &verify.condition).map_err(knowledge_error)?;
        let began = Instant::now();
        let work: Option<Meanwhile<'_>> = match access {
            Some(access) => {
                let until = let_in_by(total);
                let reach = self.address(stage, &settings, &server.id, until, cx).await?;
                cx.teller().info(format!("the server is reached at {}", reach.host));
                let (teller, cancel) = (cx.teller().clone(), cx.cancel.clone());
                Some(Box::pin(async move {
                    let commands = [access.command.clone()];
                    self.local.over_ssh(&access.user, &commands, &reach, &teller, &cancel).await?;
                    self.local.check(access, &reach, &teller, &cancel).await
                }))
            }
            None => None,
        };
        let log = format!("console-{}.log", stage.name);
        match self.watched(&server.id, &log, knowledge, watch, work, cx).await? {
            Watched::Done | Watched::Reached => {}
        }
        let after = Span::secs(began.elapsed().as_secs());
        let proof = match &verify.condition {
            VerifyCondition::Console(pattern) => {
                format!("`{pattern}` on the console after {after}")
            }
            VerifyCondition::LoginPrompt => format!("login prompt on the console after {after}"),
            VerifyCondition::Ssh(access) => {
                format!("`{}` succeeded over SSH after {after}", access.command)
            }
        };
        self.local.observed.borrow_mut().checks.push(Checked::good("boots", &proof));
        self.give_back(&label("server"), cx).await?;
        self.close_to_ssh(&stage.name, cx).await?;
        if matches!(target, Target::Volume(_)) {
            self.give_back(&label("volume"), cx).await?;
        }
        Ok(serde_json::json!({ "proof": proof }))
    }

    /// What the spec says of the cloud.
    pub(super) fn settings(&self) -> Openstack {
        match &self.local.context.build.platform {
            Platform::Openstack(it) => it.clone(),
            Platform::Qemu(_) => Openstack::default(),
        }
    }

    /// What all servers of a build have in common.
    fn server(&self, name: &str, settings: &Openstack) -> NewServer {
        let network = match (&self.place.port, &self.place.network, &settings.fixed_ip) {
            (Some(port), ..) => Attachment::Ports(vec![port.clone()]),
            (None, Some(network), Some(address)) => {
                Attachment::Address { network: network.clone(), address: address.clone() }
            }
            (None, Some(network), None) => Attachment::Networks(vec![network.clone()]),
            (None, None, _) => Attachment::Auto,
        };
        NewServer {
            name: name.to_owned(),
            flavor: self.place.flavor.clone(),
            config_drive: settings.config_drive,
            network,
            security_groups: settings.security_groups.clone(),
            availability_zone: settings.availability_zone.clone(),
            metadata: metadata(&self.local.context.run),
            ..NewServer::default()
        }
    }

    /// Gives something back that is not needed until the end.
    pub(super) async fn give_back(
        &self,
        label: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<(), StageError> {
        let held = cx.state().held.iter().find(|it| it.label == label).cloned();
        if let Some(resource) = held {
            self.local.context.release.release_now(&resource).await?;
            cx.released(label)?;
        }
        Ok(())
    }
}

fn phases(budgets: &BTreeMap<String, Span>) -> BTreeMap<Phase, std::time::Duration> {
    budgets
        .iter()
        .filter_map(|(name, span)| Some((Phase::from_str(name).ok()?, span.duration())))
        .collect()
}
