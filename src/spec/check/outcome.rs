//! Where the machine runs, what is made of its disk, how that is proved.

use regex::Regex;

use super::Checker;
use crate::{
    model::{
        CloudMedium, Compression, DiskFormat, FileTarget, GlanceTarget, GuestCheck, Install,
        Openstack, Platform, Qemu, SshAccess, Target, Verify, VerifyCondition,
    },
    spec::{
        file::{
            FileTable, OpenstackTable, PlatformTable, QemuTable, TargetTable, VerifySshTable,
            VerifyTable,
        },
        variables::bad_regex,
    },
    units::{Size, Span},
};

const VERIFY_TIMEOUT: Span = Span::minutes(20);
const VERIFY_MEMORY: Size = Size::gib(1);

impl Checker<'_> {
    pub(super) fn platform(&mut self, table: Option<&PlatformTable>) -> Platform {
        match table {
            Some(PlatformTable { openstack: Some(it), .. }) => {
                Platform::Openstack(self.openstack(it))
            }
            Some(PlatformTable { qemu: Some(it), .. }) => Platform::Qemu(self.qemu(it)),
            _ => Platform::Qemu(Qemu::default()),
        }
    }

    fn openstack(&mut self, table: &OpenstackTable) -> Openstack {
        const PORT: [&str; 3] = ["platform", "openstack", "port"];
        const ADDRESS: [&str; 3] = ["platform", "openstack", "fixed-ip"];
        let others = [
            ("network", table.network.is_some()),
            ("fixed-ip", table.fixed_ip.is_some()),
            ("security-groups", !table.security_groups.is_empty()),
        ];
        for (other, is_there) in others {
            if table.port.is_some() && is_there {
                self.contradiction(
                    format!("`port` and `{other}` are both given, and a port has its own"),
                    (&PORT, "has one already"),
                    (&["platform", "openstack", other], "is given, too"),
                    format!("leave `{other}` out, or `port`"),
                );
            }
        }
        if let Some(address) = &table.fixed_ip
            && address.parse::<std::net::IpAddr>().is_err()
            && !self.is_open(&ADDRESS)
        {
            self.error(
                "bad-value",
                format!("`{address}` is not an IP address"),
                &ADDRESS,
                "here",
                "write an address of one of the network's subnets, such as \"192.0.2.17\"",
            );
        }
        if table.fixed_ip.is_some() && table.network.is_none() && table.port.is_none() {
            self.error(
                "missing",
                "`fixed-ip` is given without the network that it is in",
                &ADDRESS,
                "an address in which network?",
                "name it with `network`",
            );
        }
        openstack(table)
    }

    fn qemu(&mut self, table: &QemuTable) -> Qemu {
        let QemuTable { accelerator, cpu, machine, program, arguments } = table;
        for (key, value) in
            [("accelerator", accelerator), ("cpu", cpu), ("machine", machine), ("program", program)]
        {
            if value.as_ref().is_some_and(|it| it.trim().is_empty()) {
                self.error(
                    "bad-value",
                    format!("`platform.qemu.{key}` is empty"),
                    &["platform", "qemu", key],
                    "here",
                    "leave it out for the default",
                );
            }
        }
        Qemu {
            accelerator: accelerator.clone(),
            cpu: cpu.clone(),
            machine: machine.clone(),
            program: program.clone(),
            arguments: arguments.clone(),
        }
    }

    pub(super) fn target(
        &mut self,
        name: &str,
        table: Option<&TargetTable>,
        platform: &Platform,
    ) -> Target {
        let in_cloud = matches!(platform, Platform::Openstack(_));
        let local_only = |this: &mut Self, key: &str| {
            if !in_cloud {
                this.contradiction(
                    format!("`target.{key}` is made in a cloud, but the platform is QEMU on this machine"),
                    (&["target", key], "made in a cloud"),
                    (&["platform", "qemu"], "runs here"),
                    "add `[platform.openstack]`, or use `[target.file]`",
                );
            }
        };
        if let Some(TargetTable { file: Some(_), glance, volume }) = table
            && (glance.is_some() || volume.is_some())
        {
            let other = if glance.is_some() { "glance" } else { "volume" };
            self.contradiction(
                format!("`target` has both `file` and `{other}`"),
                (&["target", other], "made in a cloud"),
                (&["target", "file"], "made on this machine"),
                "keep one of them, and build twice with `--target`",
            );
        }
        match table {
            Some(TargetTable { file: Some(it), .. }) => {
                if in_cloud {
                    self.contradiction(
                        "`target.file` is made on this machine, but the platform is a cloud",
                        (&["target", "file"], "made here"),
                        (&["platform", "openstack"], "runs in a cloud"),
                        "use `[target.glance]` or `[target.volume]`",
                    );
                }
                Target::File(self.file(name, it))
            }
            Some(TargetTable { volume: Some(it), glance, .. }) => {
                local_only(self, "volume");
                Target::Volume(self.volume(name, it, glance.as_ref()))
            }
            Some(TargetTable { glance: Some(it), .. }) => {
                local_only(self, "glance");
                Target::Glance(self.glance(name, it))
            }
            _ if in_cloud => {
                Target::Glance(GlanceTarget { name: name.to_owned(), ..GlanceTarget::default() })
            }
            _ => Target::File(FileTarget {
                path: format!("{name}.qcow2").into(),
                format: DiskFormat::Qcow2,
                compression: Compression::None,
            }),
        }
    }

    fn file(&mut self, name: &str, table: &FileTable) -> FileTarget {
        let FileTable { path, format, compression } = table;
        let told = path.as_deref().and_then(|it| {
            let it = it.to_ascii_lowercase();
            if it.ends_with(".qcow2") {
                Some(DiskFormat::Qcow2)
            } else if it.ends_with(".raw") || it.ends_with(".img") {
                Some(DiskFormat::Raw)
            } else {
                None
            }
        });
        let compression = compression.unwrap_or_default();
        let format = format.or(told).unwrap_or_default();
        if format == DiskFormat::Raw && compression != Compression::None {
            let because: &[&str] = if table.format.is_some() {
                &["target", "file", "format"]
            } else {
                &["target", "file", "path"]
            };
            self.contradiction(
                "a raw image cannot be compressed",
                (&["target", "file", "compression"], "compressed"),
                (because, "raw"),
                "leave `compression` out, or use `format = \"qcow2\"`",
            );
        }
        if let (Some(told), Some(format)) = (told, table.format)
            && told != format
        {
            let warning = super::SpecError::warning(
                "misleading",
                "the file's name says another format than `format`",
            )
            .at(self.span(&["target", "file", "path"]), "this name")
            .and(self.span(&["target", "file", "format"]), "this format")
            .help("give the file the ending of its format");
            self.warnings.push(warning);
        }
        if path.as_ref().is_some_and(|it| it.is_empty() || it.ends_with('/')) {
            self.error(
                "bad-value",
                "`target.file.path` names no file",
                &["target", "file", "path"],
                "here",
                format!("write the file's name, such as \"{name}.qcow2\""),
            );
        }
        let ending = if format == DiskFormat::Raw { "raw" } else { "qcow2" };
        FileTarget {
            path: path.clone().unwrap_or_else(|| format!("{name}.{ending}")).into(),
            format,
            compression,
        }
    }

    pub(super) fn verify(&mut self, table: &VerifyTable, install: &Install) -> Option<Verify> {
        let VerifyTable { skip, login_prompt, console, ssh, timeout, memory } = table;
        let given: Vec<_> = [
            ("skip", *skip == Some(true)),
            ("login-prompt", *login_prompt == Some(true)),
            ("console", console.is_some()),
            ("ssh", ssh.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_given)| is_given.then_some(key))
        .collect();
        for (first, second) in given.iter().zip(given.iter().skip(1)) {
            self.contradiction(
                format!("`verify` has both `{first}` and `{second}`"),
                (&["verify", second], "and this"),
                (&["verify", first], "this"),
                "keep one of `login-prompt`, `console`, `ssh` and `skip`",
            );
        }
        if given.is_empty() && *login_prompt == Some(false) {
            self.error(
                "missing-key",
                "`verify` says what not to wait for, but not what to wait for",
                &["verify", "login-prompt"],
                "not this",
                "add `console` or `ssh`, or `skip = true` to prove nothing",
            );
        }
        let timeout = self.time(&["verify", "timeout"], *timeout, VERIFY_TIMEOUT);
        let memory = memory.unwrap_or_else(|| install.memory.min(VERIFY_MEMORY));
        if table.memory.is_some() && memory < Size::mib(64) {
            self.error(
                "too-small",
                format!("no system boots with a memory of {memory}"),
                &["verify", "memory"],
                "must be at least 64 MiB",
                "leave it out for the default",
            );
        }
        let condition = match (console, ssh) {
            (Some(pattern), _) => {
                self.console_pattern(pattern);
                VerifyCondition::Console(pattern.clone())
            }
            (None, Some(ssh)) => VerifyCondition::Ssh(SshAccess {
                user: self.account(&["verify", "ssh", "user"], Some(&ssh.user)),
                command: ssh.command.clone().unwrap_or_else(|| "true".to_owned()),
                checks: self.guest_checks(ssh),
            }),
            (None, None) => VerifyCondition::LoginPrompt,
        };
        (*skip != Some(true)).then_some(Verify { condition, timeout, memory })
    }

    fn guest_checks(&mut self, table: &VerifySshTable) -> Vec<GuestCheck> {
        let VerifySshTable { user: _, command: _, files, packages, services } = table;
        let is_path = |it: &str| it.starts_with('/') && !it.chars().any(char::is_control);
        let is_name = |it: &str| {
            it.starts_with(|c: char| c.is_ascii_alphanumeric())
                && it.chars().all(|c| c.is_ascii_alphanumeric() || "._+:@~-\\".contains(c))
        };
        let mut checks = Vec::new();
        for (key, names) in [("files", files), ("packages", packages), ("services", services)] {
            for (at, name) in names.iter().enumerate() {
                let path = ["verify", "ssh", key, &at.to_string()];
                let is_right = if key == "files" { is_path(name) } else { is_name(name) };
                if !is_right && !self.is_open(&path) {
                    let message = format!("`{name}` cannot be looked for");
                    let help =
                        if key == "files" { "write an absolute path" } else { "write a name" };
                    self.error("bad-value", message, &path, "here", help);
                }
                checks.push(match key {
                    "files" => GuestCheck::File(name.clone()),
                    "packages" => GuestCheck::Package(name.clone()),
                    _ => GuestCheck::Service(name.clone()),
                });
            }
        }
        checks
    }

    fn console_pattern(&mut self, pattern: &str) {
        let path: &[&str] = &["verify", "console"];
        match Regex::new(pattern) {
            Err(err) => {
                let error =
                    bad_regex(pattern, &err).at(self.span(path), "not a regular expression");
                self.errors.push(error);
            }
            Ok(regex) if regex.is_match("") => self.error(
                "bad-value",
                "this pattern is found in every console, even an empty one",
                path,
                "matches nothing at all",
                "write what only a system that works says, such as \"login:\"",
            ),
            Ok(_) => {}
        }
    }

    /// An account in the guest; `root` where left out.
    pub(super) fn account(&mut self, path: &[&str], user: Option<&String>) -> String {
        let Some(user) = user else { return "root".to_owned() };
        let is_name = !user.is_empty()
            && !user.starts_with('-')
            && user.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
        if !is_name && !self.is_open(path) {
            self.error(
                "bad-value",
                format!("`{user}` is not the name of an account"),
                path,
                "here",
                "write a name such as \"root\" or \"debian\"",
            );
        }
        user.clone()
    }
}

/// What a spec says of a cloud, as it is.
fn openstack(table: &OpenstackTable) -> Openstack {
    let OpenstackTable {
        cloud,
        flavor,
        network,
        port,
        fixed_ip,
        security_groups,
        floating_ip,
        availability_zone,
        volume_backed,
        volume_type,
        config_drive,
        medium,
        cache_media,
    } = table;
    let medium = medium.as_ref().and_then(|it| {
        let image = it.image.clone().map(CloudMedium::Image);
        image.or_else(|| it.volume_snapshot.clone().map(CloudMedium::VolumeSnapshot))
    });
    Openstack {
        cloud: cloud.clone(),
        flavor: flavor.clone(),
        network: network.clone(),
        port: port.clone(),
        fixed_ip: fixed_ip.clone(),
        security_groups: security_groups.clone(),
        floating_ip: floating_ip.clone(),
        availability_zone: availability_zone.clone(),
        volume_backed: *volume_backed,
        volume_type: volume_type.clone(),
        config_drive: *config_drive,
        medium,
        cache_media: *cache_media,
    }
}
