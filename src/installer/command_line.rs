//! The kernel command line that starts an installer.

use miette::Diagnostic;
use thiserror::Error;

use crate::{
    catalogue::{Dialect, fill},
    model::{BootMethod, Build, Delivery, Platform, Source, reveal, seen_from_guest},
    render::serial_port,
};

/// Where a guest finds its user-data, on a cloud as under QEMU.
pub const USER_DATA_URL: &str = "http://169.254.169.254/latest/user-data";

/// Who takes the system log of a guest under QEMU: imgbuild, at the address where
/// it serves user-data.
const LOG_HOST: &str = "169.254.169.254";

/// What the kernel takes where the catalogue says nothing: `COMMAND_LINE_SIZE`
/// of x86 and arm64, less its final zero byte.
const LIMIT: u32 = 2047;

/// What an installer is told beside its answer file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallerContext {
    /// Where it fetches the answer file.
    pub answer_url: String,
    /// The label of the volume with the answer file.
    pub volume_label: Option<String>,
    /// The install tree.
    pub tree_url: Option<String>,
    /// The volume ID of the attached ISO, where it is known already.
    pub volume_id: Option<String>,
    /// Whether an ISO is attached.
    pub has_iso: bool,
    /// The serial console, `ttyS0`; none is asked for where it is `None`.
    pub serial: Option<String>,
    /// Who takes the installer's own log, by syslog; nobody where it is `None`.
    pub log_host: Option<String>,
}

/// A kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// For the installer.
    pub parameters: Vec<String>,
    /// What stands before `target`.
    pub separator: Option<String>,
    /// What the installed system keeps.
    pub target: Vec<String>,
}

impl CommandLine {
    /// The whole line.
    pub fn text(&self) -> String {
        let mut words = self.parameters.clone();
        if let Some(separator) = self.separator.as_ref().filter(|_| !self.target.is_empty()) {
            words.push(separator.clone());
            words.extend(self.target.iter().cloned());
        }
        words.join(" ")
    }
}

/// Why an installer cannot be started like this.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
#[non_exhaustive]
pub enum InstallerError {
    /// The installer cannot get its answers this way.
    #[error("the installer of {os} cannot get its answers by `{delivery}`")]
    #[diagnostic(code(installer::delivery), help("set `install.delivery` to one of {known}"))]
    Delivery {
        /// The system's title.
        os: String,
        /// The way asked for.
        delivery: &'static str,
        /// Ways that work.
        known: String,
    },
    /// Parameters for the installed system have no place on the command line.
    #[error("the installer of {os} does not hand kernel parameters on to the installed system")]
    #[diagnostic(
        code(installer::target_parameters),
        help("state them in the answer file: {remedy}; and leave `install.target-parameters` out")
    )]
    TargetParameters {
        /// The system's title.
        os: String,
        /// Where they go.
        remedy: &'static str,
    },
    /// A parameter would fall apart or change what stands after it.
    #[error("`{parameter}` cannot be a kernel parameter")]
    #[diagnostic(code(installer::parameter), help("{help}"))]
    Parameter {
        /// The parameter.
        parameter: String,
        /// What to do.
        help: &'static str,
    },
    /// A placeholder of the catalogue cannot be filled in for this build.
    #[error("`{parameter}` needs `{{{name}}}`, which this build does not have")]
    #[diagnostic(
        code(installer::placeholder),
        help("use another `install.delivery` or `source`, or correct the catalogue's entry")
    )]
    Placeholder {
        /// The parameter.
        parameter: String,
        /// The placeholder.
        name: String,
    },
    /// The kernel does not take as much.
    #[error(
        "the kernel command line has {length} characters, and the kernel of {os} takes {limit}"
    )]
    #[diagnostic(
        code(installer::too_long),
        help("shorten `install.parameters`, or move settings into the answer file")
    )]
    TooLong {
        /// The system's title.
        os: String,
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: u32,
    },
}

/// What the installer of a build is told, on a platform with a metadata service.
pub fn context(build: &Build) -> InstallerContext {
    let (tree_url, has_iso) = match &build.source {
        Source::Tree { url, .. } => (Some(url.clone()), false),
        Source::Iso { attach, .. } => (None, *attach),
        Source::Kernel { .. } => (build.os.tree_url(build.arch), false),
        Source::Package { mirror, .. } => (Some(mirror.clone()), false),
    };
    // The tree may be on this machine, which its guests know by another address.
    let tree_url = tree_url.map(|it| match &build.platform {
        Platform::Qemu(_) => seen_from_guest(&it),
        Platform::Openstack(_) => it,
    });
    InstallerContext {
        answer_url: USER_DATA_URL.to_owned(),
        volume_label: build.os.boot.volume_label.clone(),
        tree_url: tree_url.map(|it| it.trim_end_matches('/').to_owned()),
        volume_id: None,
        has_iso,
        serial: Some(serial_port(build.arch).to_owned()),
        // In a cloud nobody listens there.
        log_host: match &build.platform {
            Platform::Qemu(_) => Some(LOG_HOST.to_owned()),
            Platform::Openstack(_) => None,
        },
    }
}

/// The command line that starts the installer of a build.
///
/// `{volume-id}` stays in it where the context does not know it: see
/// [`escape_volume_id`].
pub fn kernel_command_line(
    build: &Build,
    context: &InstallerContext,
) -> Result<CommandLine, InstallerError> {
    let os = &build.os;
    let boot = &os.boot;
    let install = &build.install;
    let Some(delivery) = boot.delivery.get(&install.delivery) else {
        let known: Vec<_> = boot.delivery.keys().map(|it| delivery_text(*it)).collect();
        return Err(InstallerError::Delivery {
            os: os.title.clone(),
            delivery: delivery_text(install.delivery),
            known: format!("`{}`", known.join("`, `")),
        });
    };
    let mut parameters: Vec<&String> = boot.always.iter().chain(delivery).collect();
    // A mirror of Debian's is named in the answer file.
    if context.tree_url.is_some() && !context.has_iso {
        parameters.extend(&boot.tree);
    }
    if context.has_iso && install.boot != BootMethod::Cdrom {
        parameters.extend(&boot.iso);
    }
    let mut line = CommandLine { separator: boot.separator.clone(), ..CommandLine::default() };
    let (console, target) = match &context.serial {
        Some(_) => (&boot.console[..], &boot.target[..]),
        None => (&[][..], &[][..]),
    };
    if context.log_host.is_some() {
        parameters.extend(&boot.log);
    }
    for parameter in parameters {
        line.parameters.push(filled(parameter, build, context)?);
    }
    for parameter in &install.parameters {
        line.parameters.push(own(parameter, build)?);
    }
    // The last console is the preferred one: nothing may come after it.
    for parameter in console {
        line.parameters.push(filled(parameter, build, context)?);
    }
    for parameter in target {
        line.target.push(filled(parameter, build, context)?);
    }
    if boot.separator.is_none() && !install.target_parameters.is_empty() {
        return Err(InstallerError::TargetParameters {
            os: os.title.clone(),
            remedy: match os.dialect {
                Dialect::Kickstart => "`bootloader --append=\"…\"`",
                Dialect::Preseed => "`d-i debian-installer/add-kernel-opts string …`",
                Dialect::Autoyast => "`<bootloader><global><append>`",
                Dialect::Agama => "`\"bootloader\": {\"extraKernelParams\": \"…\"}`",
                Dialect::Autoinstall => "a `late-commands` entry that edits `/etc/default/grub`",
                Dialect::Other => "whatever makes its boot loader pass them on",
            },
        });
    }
    for parameter in &install.target_parameters {
        line.target.push(own(parameter, build)?);
    }
    let length = reveal(&line.text(), &build.variables).chars().count();
    let limit = boot.command_line_limit.unwrap_or(LIMIT);
    if length > usize::try_from(limit).unwrap_or(usize::MAX) {
        return Err(InstallerError::TooLong { os: os.title.clone(), length, limit });
    }
    Ok(line)
}

/// A volume ID as it stands in for `{volume-id}`: dracut and udev write a blank,
/// and whatever else is no letter, as `\x20`.
pub fn escape_volume_id(volume_id: &str) -> String {
    use std::fmt::Write as _;
    volume_id.chars().fold(String::new(), |mut text, it| {
        if it.is_ascii_alphanumeric() || "#+-.:=@_".contains(it) || !it.is_ascii() {
            text.push(it);
        } else {
            _ = write!(text, "\\x{:02x}", u32::from(it));
        }
        text
    })
}

/// A parameter of the catalogue's, filled in.
fn filled(
    parameter: &str,
    build: &Build,
    context: &InstallerContext,
) -> Result<String, InstallerError> {
    let mut missing = None;
    let text = fill(parameter, |name| {
        let value = match name {
            "arch" => Some(build.arch.as_str().to_owned()),
            "debarch" => Some(build.arch.debian().to_owned()),
            "answer" => Some(context.answer_url.clone()),
            "tree" => context.tree_url.clone(),
            "label" => context.volume_label.clone(),
            "serial" => context.serial.clone(),
            "log" => context.log_host.clone(),
            "volume-id" => match &context.volume_id {
                Some(id) => Some(escape_volume_id(id)),
                None => Some("{volume-id}".to_owned()),
            },
            _ => None,
        };
        if value.is_none() {
            missing = Some(name.to_owned());
        }
        value
    });
    match missing {
        None => Ok(text),
        Some(name) => Err(InstallerError::Placeholder { parameter: parameter.to_owned(), name }),
    }
}

/// A parameter of the spec's, checked.
fn own(parameter: &str, build: &Build) -> Result<String, InstallerError> {
    let fails = |help| Err(InstallerError::Parameter { parameter: parameter.to_owned(), help });
    if Some(parameter) == build.os.boot.separator.as_deref() || parameter == "---" {
        return fails("what the installed system keeps goes into `install.target-parameters`");
    }
    let revealed = reveal(parameter, &build.variables);
    if parameter.trim().is_empty() || revealed.contains(['\n', '\r', '\0']) {
        return fails("write one parameter, `name=value`, an entry");
    }
    let is_quoted = revealed.matches('"').count().is_multiple_of(2);
    if !is_quoted || (revealed.contains(char::is_whitespace) && !revealed.contains('"')) {
        return fails("write one parameter an entry; a value with blanks goes in double quotes");
    }
    Ok(parameter.to_owned())
}

/// A way of delivery as a spec writes it.
fn delivery_text(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Metadata => "metadata",
        Delivery::ConfigDrive => "config-drive",
        Delivery::Volume => "volume",
        Delivery::Initrd => "initrd",
    }
}
