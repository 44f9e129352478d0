//! Stage `boot-disk`: what the installer starts from.

use camino::Utf8Path;
use secrecy::ExposeSecret as _;

use super::{
    QemuRunner,
    fetch::{Fetched, fetched},
};
use crate::{
    engine::{StageCx, StageError},
    installer::escape_volume_id,
    media::{
        MediaError, boot_disk, config_drive,
        initrd::{self, InitrdFile, Packing},
        loaders::Loaders,
        volume,
    },
    model::{BootMethod, Delivery, reveal},
    plan::{Stage, qemu::files},
    platform::qemu::metadata::{self, Metadata},
};

/// What a command line says where only the ISO knows its volume ID.
pub(super) const VOLUME_ID: &str = "{volume-id}";

impl QemuRunner {
    pub(super) async fn boot_disk(
        &self,
        stage: &Stage,
        delivery: Delivery,
        boot: BootMethod,
        command_line: &str,
        cx: &mut StageCx<'_>,
    ) -> Result<serde_json::Value, StageError> {
        let context = &self.context;
        let fetched = fetched(cx)?;
        if matches!(delivery, Delivery::ConfigDrive | Delivery::Volume) {
            let resource = self.claim(stage, "answer-volume", cx)?;
            self.write_answers(delivery, Utf8Path::new(&resource.name), cx).map_err(of)?;
        }
        let mut initrd = fetched.initrd.path.clone();
        if delivery == Delivery::Initrd {
            let resource = self.claim(stage, "initrd", cx)?;
            let name = context.build.os.boot.volume_file.clone();
            let name = name.unwrap_or_else(|| "preseed.cfg".to_owned());
            let answers = context.answers.expose_secret().to_owned();
            let (from, to, cancel) = (initrd.clone(), resource.name.clone(), cx.cancel.clone());
            let written = tokio::task::spawn_blocking(move || {
                let file = InitrdFile { path: &name, bytes: answers.as_bytes(), mode: 0o600 };
                initrd::append(from.as_std_path(), &[file], Packing::Plain, to.as_ref(), &cancel)
            });
            written.await.map_err(|it| StageError::of(super::ImageError::Lost(it)))?.map_err(of)?;
            initrd = resource.name.into();
        }
        if boot != BootMethod::Disk {
            // No secret is in it: that was checked before anything began.
            return Ok(serde_json::json!({ "initrd": initrd, "command-line": command_line }));
        }
        let resource = self.claim(stage, "boot-disk", cx)?;
        let loaders = Loaders::find(context.build.arch, context.cache.folder().as_std_path());
        let disk = boot_disk::BootDisk {
            arch: context.build.arch,
            firmware: context.build.install.firmware,
            kernel: fetched.kernel.path.as_std_path(),
            initrd: &[initrd.as_std_path()],
            command_line: &final_command_line(
                &reveal(command_line, &context.build.variables),
                &fetched,
            ),
        };
        let guard = &context.release.guard;
        let out = Utf8Path::new(&resource.name).as_std_path();
        let assembled =
            boot_disk::assemble(&disk, &loaders, out, guard, &cx.cancel).await.map_err(of)?;
        Ok(serde_json::json!({ "initrd": initrd, "bytes": assembled.size }))
    }

    fn write_answers(
        &self,
        delivery: Delivery,
        out: &Utf8Path,
        cx: &StageCx<'_>,
    ) -> Result<(), MediaError> {
        let context = &self.context;
        let metadata = self.metadata();
        if delivery == Delivery::ConfigDrive {
            let described = metadata::meta_data(&metadata);
            let ec2 = serde_json::json!({
                "instance-id": metadata.instance_id, "hostname": metadata.hostname,
                "local-hostname": metadata.hostname,
            });
            let network = metadata::network_data();
            let drive = config_drive::ConfigDrive {
                user_data: &context.answers,
                meta_data: &described,
                ec2_meta_data: &ec2,
                network_data: Some(&network),
            };
            config_drive::write(&drive, out.as_std_path(), &cx.cancel)?;
            return Ok(());
        }
        let boot = &context.build.os.boot;
        let label = boot.volume_label.as_deref().unwrap_or("OEMDRV");
        let file = boot.volume_file.as_deref().unwrap_or("ks.cfg");
        let answers = context.answers.expose_secret().as_bytes();
        let mut contents = vec![volume::VolumeFile { path: file, bytes: answers }];
        let instance = format!("instance-id: {}\n", metadata.instance_id);
        for path in &boot.volume_companions {
            // What cloud-init calls by this name may not be empty in all versions.
            let bytes = if path == "meta-data" { instance.as_bytes() } else { b"" };
            contents.push(volume::VolumeFile { path, bytes });
        }
        volume::write(label, &contents, out.as_std_path(), &cx.cancel)?;
        Ok(())
    }

    /// What the guest is told about itself.
    pub(super) fn metadata(&self) -> Metadata {
        let context = &self.context;
        Metadata {
            user_data: (context.build.install.delivery == Delivery::Metadata)
                .then(|| context.answers.clone()),
            hostname: context.build.name.clone(),
            instance_id: format!("i-{}", context.run),
            public_keys: context.key.iter().map(|it| it.public.clone()).collect(),
        }
    }

    /// Where the initrd is that the installer is started with.
    pub(super) fn installer_initrd(
        &self,
        cx: &StageCx<'_>,
        fetched: &Fetched,
    ) -> camino::Utf8PathBuf {
        let own = self.context.folder.file(files::INITRD);
        cx.output("boot-disk")
            .and_then(|it| it.get("initrd")?.as_str().map(Into::into))
            .filter(|it: &camino::Utf8PathBuf| it.is_file())
            .unwrap_or_else(|| if own.is_file() { own } else { fetched.initrd.path.clone() })
    }
}

/// What a platform hands to the machine that it starts the installer in.
pub(in crate::runner) struct Start {
    /// The kernel's file.
    pub(in crate::runner) kernel: camino::Utf8PathBuf,
    /// The initrd's file.
    pub(in crate::runner) initrd: camino::Utf8PathBuf,
    /// Holds no secret: that was checked before anything began.
    pub(in crate::runner) command_line: String,
}

impl QemuRunner {
    /// What starts the installer without a disk, as the stage `boot-disk` left
    /// it; `None` where it made a disk.
    pub(in crate::runner) fn direct(&self, cx: &StageCx<'_>) -> Result<Option<Start>, StageError> {
        let fetched = fetched(cx)?;
        let said = cx.output("boot-disk").and_then(|it| it.get("command-line")?.as_str());
        Ok(said.map(|said| Start {
            initrd: self.installer_initrd(cx, &fetched),
            command_line: final_command_line(said, &fetched),
            kernel: fetched.kernel.path.clone(),
        }))
    }
}

/// The command line, with what only the ISO knows.
pub(super) fn final_command_line(command_line: &str, fetched: &Fetched) -> String {
    let id = escape_volume_id(fetched.volume_id.as_deref().unwrap_or_default());
    command_line.replace(VOLUME_ID, &id)
}

fn of(error: MediaError) -> StageError {
    match error {
        MediaError::Cancelled => StageError::Cancelled,
        error => StageError::of(error),
    }
}
