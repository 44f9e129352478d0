//! The machine the installer runs in.

use std::collections::BTreeMap;

use super::{Checker, names};
use crate::{
    model::{Arch, BootMethod, Delivery, Firmware, Install},
    spec::file::{InstallTable, SourceTable},
    units::{Size, Span},
};

/// What an install goes through; budgets are given by these names.
const PHASES: &[&str] = &[
    "boot",
    "network",
    "components",
    "partitioning",
    "base-system",
    "packages",
    "boot-loader",
    "end",
];

const TIMEOUT: Span = Span::minutes(180);
const IDLE: Span = Span::minutes(10);
const CPUS: u32 = 2;

impl Checker<'_> {
    pub(super) fn install(
        &mut self,
        table: &InstallTable,
        source: Option<&SourceTable>,
    ) -> Install {
        let InstallTable {
            disk,
            memory,
            cpus,
            firmware,
            boot,
            delivery,
            parameters,
            target_parameters,
            timeout,
            idle,
            budgets,
        } = table;
        let needs = self.os.as_ref().map(|it| it.machine.clone());
        let disk = disk
            .or(needs.as_ref().map(|it| it.disk_minimum.max(Size::gib(8))))
            .unwrap_or(Size::gib(8));
        let memory = memory.or(needs.as_ref().map(|it| it.memory)).unwrap_or(Size::gib(2));
        if let (Some(needs), Some(os)) = (&needs, self.os.clone()) {
            self.at_least("disk", disk, needs.disk_minimum, &os.title);
            self.at_least("memory", memory, needs.memory_minimum, &os.title);
        }
        let default_firmware =
            if self.arch == Arch::Aarch64 { Firmware::Uefi } else { Firmware::default() };
        let firmware = firmware.unwrap_or(default_firmware);
        if self.arch == Arch::Aarch64 && firmware == Firmware::Bios {
            self.contradiction(
                "aarch64 machines have no BIOS",
                (&["install", "firmware"], "a PC's firmware"),
                (&["arch"], "this architecture"),
                "use `firmware = \"uefi\"`, or leave it out",
            );
        }
        let boot = boot.unwrap_or_default();
        self.boot(boot, source);
        let delivery = self.delivery(*delivery, boot);
        let timeout = self.time(&["install", "timeout"], *timeout, TIMEOUT);
        let idle = self.time(&["install", "idle"], *idle, IDLE);
        if table.idle.is_some() && idle > timeout {
            self.warn(
                "no-effect",
                format!("`install.idle` is longer than the whole install may take, {timeout}"),
                &["install", "idle"],
                "never reached",
                "make it shorter than `install.timeout`",
            );
        }
        self.budgets(budgets, timeout);
        self.parameters("parameters", parameters);
        self.parameters("target-parameters", target_parameters);
        Install {
            disk,
            memory,
            cpus: cpus.unwrap_or(CPUS),
            firmware,
            boot,
            delivery,
            parameters: parameters.clone(),
            target_parameters: target_parameters.clone(),
            timeout,
            idle,
            budgets: budgets.clone(),
        }
    }

    fn at_least(&mut self, key: &str, found: Size, least: Size, title: &str) {
        if found < least {
            self.error(
                "too-small",
                format!("{title} does not install with a {key} of {found}"),
                &["install", key],
                &format!("must be at least {least}"),
                format!("write `{key} = \"{least}\"` or more, or leave it out"),
            );
        }
    }

    fn boot(&mut self, boot: BootMethod, source: Option<&SourceTable>) {
        let path: &[&str] = &["install", "boot"];
        if boot != BootMethod::Cdrom {
            return;
        }
        match source {
            Some(SourceTable { iso: Some(iso), .. }) if iso.attach == Some(false) => {
                self.contradiction(
                    "the machine is to start from an ISO that is not attached",
                    (path, "starts from the ISO"),
                    (&["source", "iso", "attach"], "does not attach it"),
                    "leave `attach` out",
                );
            }
            Some(SourceTable { iso: Some(_), .. }) => {}
            _ => self.contradiction(
                "the machine is to start from a CD-ROM, but the source is no ISO",
                (path, "needs an ISO"),
                (&["source"], "is none"),
                "use `[source.iso]`, or `boot = \"disk\"`",
            ),
        }
    }

    fn delivery(&mut self, wanted: Option<Delivery>, boot: BootMethod) -> Delivery {
        let path: &[&str] = &["install", "delivery"];
        let Some(os) = self.os.clone() else { return wanted.unwrap_or_default() };
        let known = &os.boot.delivery;
        let delivery = wanted.unwrap_or_else(|| {
            let usual = Delivery::default();
            if known.contains_key(&usual) {
                usual
            } else {
                known.keys().next().copied().unwrap_or(usual)
            }
        });
        if !known.contains_key(&delivery) {
            let names: Vec<_> = known.keys().map(|it| name_of(*it)).collect();
            let error = super::SpecError::new(
                "delivery",
                format!(
                    "the installer of {} cannot get its answers by `{}`",
                    os.title,
                    name_of(delivery)
                ),
            )
            .at(self.span(path), "not this way")
            .and(self.exact(&["os"]), "this system")
            .help(format!("it takes {}", names::list(&names)));
            self.errors.push(error);
        } else if delivery == Delivery::Volume && os.boot.volume_label.is_none() {
            self.error(
                "delivery",
                format!("the label that the installer of {} looks for is not known", os.title),
                path,
                "needs a label",
                "use another `delivery`",
            );
        }
        if delivery == Delivery::Initrd && boot == BootMethod::Cdrom {
            self.contradiction(
                "the answer file cannot be appended to the initrd of an ISO that boots by itself",
                (path, "changes the initrd"),
                (&["install", "boot"], "starts the ISO's own"),
                "use `boot = \"disk\"` or another `delivery`",
            );
        }
        delivery
    }

    fn budgets(&mut self, budgets: &BTreeMap<String, Span>, timeout: Span) {
        for (phase, budget) in budgets {
            let path: &[&str] = &["install", "budgets", phase];
            if !PHASES.contains(&phase.as_str()) {
                let help = match names::nearest(phase, PHASES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the phases are {}", names::list(PHASES)),
                };
                let at = self.document.key_span(path);
                self.errors.push(
                    super::SpecError::new("unknown-phase", format!("no phase is called `{phase}`"))
                        .at(at, "unknown phase")
                        .help(help),
                );
            }
            self.time(path, Some(*budget), TIMEOUT);
            if *budget > timeout {
                self.warn(
                    "no-effect",
                    format!("the budget of `{phase}` is longer than the whole install may take, {timeout}"),
                    path,
                    "never reached",
                    "make it shorter, or `install.timeout` longer",
                );
            }
        }
    }

    /// A time that something must end within: not zero.
    pub(super) fn time(&mut self, path: &[&str], given: Option<Span>, default: Span) -> Span {
        let Some(time) = given else { return default };
        if time.duration().is_zero() {
            self.error(
                "out-of-range",
                format!("`{}` is zero", path.join(".")),
                path,
                "nothing ends at once",
                format!("leave it out for the default, or write a time such as \"{default}\""),
            );
            return default;
        }
        time
    }

    fn parameters(&mut self, key: &str, parameters: &[String]) {
        for (i, parameter) in parameters.iter().enumerate() {
            let i = i.to_string();
            let path: &[&str] = &["install", key, i.as_str()];
            if parameter.trim().is_empty() {
                self.error(
                    "bad-value",
                    "a kernel parameter is empty",
                    path,
                    "here",
                    "leave it out",
                );
            } else if parameter.contains(['\n', '\r', '\0']) {
                self.error(
                    "bad-value",
                    "a kernel parameter has a line break",
                    path,
                    "here",
                    "write one parameter an item",
                );
            } else if parameter.trim() == "---" {
                self.error(
                    "bad-value",
                    "`---` is no parameter",
                    path,
                    "here",
                    "what the installed system is to keep belongs into `install.target-parameters`",
                );
            }
        }
    }
}

const fn name_of(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Metadata => "metadata",
        Delivery::ConfigDrive => "config-drive",
        Delivery::Volume => "volume",
        Delivery::Initrd => "initrd",
    }
}
