//! A build, right by construction: what a spec means once it is checked.
//!
//! [`spec`](crate::spec) makes these values; nothing after it asks again
//! whether they are valid. Strings are final: variables are filled in.

mod address;
mod install;
mod platform;
mod source;
mod stage;
mod target;

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{catalogue::Os, redact::Secret};

pub use address::{seen_from_guest, seen_from_host};
pub use install::{Answer, AnswerOrigin, BootMethod, Delivery, Firmware, Install};
pub use platform::{CloudMedium, Openstack, Platform, Qemu};
pub use source::{Checksums, Source};
pub use stage::{
    GuestCheck, Place, STAGES, STAGES_IN_CLOUDS, SshAccess, UserAction, UserStage, Verify,
    VerifyCondition,
};
pub use target::{Compression, DiskFormat, FileTarget, GlanceTarget, Target, VolumeTarget};

/// One image to build. Secrets are in `variables` and `answer` alone; see [`reveal`].
#[derive(Clone, Debug)]
pub struct Build {
    /// Its name: letters, digits, `.`, `_`, `-`; used in file and resource names.
    pub name: String,
    /// The operating system that is installed.
    pub os: Arc<Os>,
    /// The processor architecture.
    pub arch: Arch,
    /// The variables with their final values, by name.
    pub variables: BTreeMap<String, Variable>,
    /// Where the installer comes from.
    pub source: Source,
    /// What the installer is told.
    pub answer: Answer,
    /// The machine the installer runs in.
    pub install: Install,
    /// Where that machine runs.
    pub platform: Platform,
    /// What is made of the installed disk.
    pub target: Target,
    /// How the result is proved; `None` only where the spec says so.
    pub verify: Option<Verify>,
    /// The user's own stages.
    pub stages: Vec<UserStage>,
    /// Console signatures of the spec's own, in the format of `data/console`.
    pub console: Vec<serde_json::Value>,
}

/// A processor architecture.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86, also called amd64.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM, also called arm64.
    Aarch64,
}

impl Arch {
    /// The name used by kernels, RPM and Nova.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name used by Debian and Ubuntu.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What a URL or a path says of the architecture, by one of its words; the last
    /// word counts. The error is an architecture that is not built for.
    pub fn named_in(location: &str) -> Result<Option<Self>, &str> {
        let words = location.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        for word in words.rev() {
            match word {
                "x86_64" | "amd64" => return Ok(Some(Self::X86_64)),
                "aarch64" | "arm64" => return Ok(Some(Self::Aarch64)),
                "i386" | "i586" | "i686" | "armhfp" | "armhf" | "ppc" | "ppc64" | "ppc64le"
                | "ppc64el" | "riscv64" | "s390" | "s390x" => return Err(word),
                _ => {}
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A variable with its final value.
#[derive(Clone)]
pub struct Variable {
    /// The value. Of a sensitive variable it must not be shown.
    pub value: serde_json::Value,
    /// Whether the value is a secret.
    pub sensitive: bool,
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive { f.write_str("<sensitive>") } else { write!(f, "{}", self.value) }
    }
}

/// Values of sensitive variables, for the redactor.
pub fn secrets(variables: &BTreeMap<String, Variable>) -> Vec<Secret> {
    variables
        .iter()
        .filter(|(_, it)| it.sensitive)
        .flat_map(|(name, it)| match &it.value {
            serde_json::Value::Array(items) => {
                items.iter().map(|item| Secret::new(name, &text_of(item))).collect()
            }
            value => vec![Secret::new(name, &text_of(value))],
        })
        .collect()
}

/// A text of a build with its secrets filled in.
///
/// Outside of `variables` and `answer` the strings of a [`Build`] are free of
/// secrets, so that plans, events and journals are too: `<sensitive:NAME>` stands
/// for the variable's value. Call this where the text is used, and nowhere before.
pub fn reveal(text: &str, variables: &BTreeMap<String, Variable>) -> String {
    let mut text = text.to_owned();
    for (name, variable) in variables.iter().filter(|(_, it)| it.sensitive) {
        let mask = format!("<sensitive:{name}>");
        if text.contains(&mask) {
            text = text.replace(&mask, &text_of(&variable.value));
        }
    }
    text
}

/// A value as templates print it.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
