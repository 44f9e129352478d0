//! What the installer is told and the machine that it runs in.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// What the installer is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where the text comes from.
    pub origin: AnswerOrigin,
    /// Values for the template beside the variables. They may be made of secrets.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// The same values with `<sensitive:NAME>` in place of secrets.
    pub masked_values: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("origin", &self.origin)
            .field("values", &self.masked_values)
            .finish()
    }
}

/// Where the text of an answer file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerOrigin {
    /// A template in the spec's folder or in the built-in `templates/`.
    Template(String),
    /// A file in the spec's folder that is used as it is.
    File(String),
    /// Text in the spec, a template too.
    Text(String),
}

/// The machine the installer runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Install {
    /// The size of the disk that is installed to.
    pub disk: Size,
    /// Memory.
    pub memory: Size,
    /// Processors.
    pub cpus: u32,
    /// What starts the machine.
    pub firmware: Firmware,
    /// What starts the installer.
    pub boot: BootMethod,
    /// How the answer file reaches it.
    pub delivery: Delivery,
    /// More kernel parameters for the installer.
    pub parameters: Vec<String>,
    /// Kernel parameters that the installed system is to keep.
    pub target_parameters: Vec<String>,
    /// The whole install must end within this.
    pub timeout: Span,
    /// How long the machine may show no sign of work at all.
    pub idle: Span,
    /// How long each phase may take, by phase name.
    pub budgets: BTreeMap<String, Span>,
}

/// What starts a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A PC BIOS (SeaBIOS).
    #[default]
    Bios,
    /// UEFI (OVMF, AAVMF).
    Uefi,
}

/// What starts the installer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootMethod {
    /// The boot disk, which the installer overwrites; as in Nova.
    #[default]
    Disk,
    /// Kernel and initrd handed over by the platform.
    Direct,
    /// The ISO as a CD-ROM, with its own boot loader.
    Cdrom,
}

/// How the answer file reaches the installer.
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
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// User-data at `http://169.254.169.254/latest/user-data`.
    #[default]
    Metadata,
    /// A volume labelled `config-2`.
    ConfigDrive,
    /// A volume with the label the installer looks for (`OEMDRV`, `cidata`).
    Volume,
    /// Appended to the initrd.
    Initrd,
}
