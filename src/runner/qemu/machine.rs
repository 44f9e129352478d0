//! A planned machine, made fit for this host.

use camino::{Utf8Path, Utf8PathBuf};

use super::{ImageError, QemuRunner};
use crate::{
    engine::{StageCx, StageError},
    model::{Arch, DiskFormat, Firmware},
    plan::Machine,
    platform::qemu::{
        Host,
        accelerator::{self, Choice},
        arguments::{Disk, MachineSpec, Uefi},
        firmware, program,
    },
};

impl QemuRunner {
    /// The machine that `planned` asks for, with one disk and nothing else.
    /// `kernel` is what an accelerator may be tried with.
    pub(super) async fn machine(
        &self,
        name: &str,
        planned: &Machine,
        disk: Disk,
        kernel: Option<&Utf8Path>,
        cx: &StageCx<'_>,
    ) -> Result<MachineSpec, StageError> {
        let context = &self.context;
        let arch = context.build.arch;
        let qemu = &planned.qemu;
        let program = qemu.program.clone().unwrap_or_else(|| program(arch));
        let cache = context.cache.folder().to_owned();
        let host = Host { cache: cache.clone(), guard: context.release.guard.clone() };
        let version = host.version(&program).await.ok_or_else(|| {
            StageError::of(crate::platform::qemu::machine::MachineError::NotStarted {
                program: program.clone(),
                source: std::io::ErrorKind::NotFound.into(),
            })
        })?;
        let question = accelerator::Question {
            program: &program,
            version,
            arch,
            x86_64_level: planned.x86_64_level,
            kernel,
            cache: &cache,
            guard: &context.release.guard,
        };
        let Choice { name: accelerator, cpu, why } =
            accelerator::choose(&question, qemu.accelerator.as_deref()).await;
        let (major, minor) = version;
        {
            let mut observed = self.observed.borrow_mut();
            observed.machine.insert("qemu".into(), format!("{major}.{minor}"));
            let known = observed.machine.insert("accelerator".into(), accelerator.clone());
            if known.as_ref() != Some(&accelerator) {
                let chosen = format!("QEMU {major}.{minor}, accelerator {accelerator}: {why}");
                cx.teller().info(chosen);
            }
        }
        let uefi = match planned.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some(self.uefi(name, arch)?),
        };
        Ok(MachineSpec {
            name: name.to_owned(),
            program,
            arch,
            machine: planned.machine_type.clone(),
            accelerator,
            cpu: qemu.cpu.clone().unwrap_or(cpu),
            cpus: planned.cpus,
            memory: planned.memory,
            uefi,
            disks: vec![disk],
            cdrom: None,
            direct: None,
            nic: planned.nic.clone(),
            forwards: vec![],
            bios_on_console: false,
            log_port: None,
            more: qemu.arguments.clone(),
        })
    }

    /// UEFI with variables of this machine's own, which live in the run's folder
    /// and are removed with the disks.
    fn uefi(&self, name: &str, arch: Arch) -> Result<Uefi, StageError> {
        let found = firmware::find(arch).map_err(StageError::of)?;
        let variables = self.context.folder.file(&uefi_variables(name));
        fs_err::copy(&found.variables, &variables)
            .map_err(|it| StageError::of(ImageError::Io(it)))?;
        Ok(Uefi { code: found.code, variables })
    }

    /// Removes what a machine of this name left beside its disks.
    pub(super) fn tidy(&self, name: &str) {
        _ = fs_err::remove_file(self.context.folder.file(&uefi_variables(name)));
    }
}

fn uefi_variables(machine: &str) -> String {
    format!("{machine}.{}", crate::plan::qemu::files::UEFI_VARIABLES)
}

/// A disk that the guest may write to and boot from.
pub(super) fn disk(path: Utf8PathBuf, format: DiskFormat, bus: &str) -> Disk {
    Disk { path, format, bus: bus.to_owned(), read_only: false, boots: true }
}
