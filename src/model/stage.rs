//! How the result is proved, and stages of users' own.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::units::{Size, Span};

/// How the result is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verify {
    /// What must happen.
    pub condition: VerifyCondition,
    /// Within this time.
    pub timeout: Span,
    /// Memory of the machine it is booted in.
    pub memory: Size,
}

/// What must happen when the result is booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyCondition {
    /// A login prompt on the serial console.
    LoginPrompt,
    /// A pattern on the serial console.
    Console(String),
    /// A command over SSH that ends with 0.
    Ssh(SshAccess),
}

/// How a guest is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SshAccess {
    /// The account, such as `root`.
    pub user: String,
    /// The command.
    pub command: String,
    /// What the guest has to have as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<GuestCheck>,
}

/// Something that a guest has to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestCheck {
    /// A file or folder, by its absolute path.
    File(String),
    /// An installed package.
    Package(String),
    /// A service that runs.
    Service(String),
}

impl fmt::Display for GuestCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Package(name) => write!(f, "package {name}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

/// A stage of the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserStage {
    /// Its name, unlike any other stage's.
    pub name: String,
    /// Where it is placed.
    pub place: Place,
    /// What it does.
    pub action: UserAction,
    /// It must end within this.
    pub timeout: Span,
}

/// Where a stage of the user's own is placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Just before the stage of this name.
    Before(String),
    /// Just after the stage of this name.
    After(String),
}

/// What a stage of the user's own does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserAction {
    /// A program on this machine.
    Command {
        /// Program and arguments.
        run: Vec<String>,
        /// More environment variables.
        environment: BTreeMap<String, String>,
    },
    /// Commands in the running guest.
    Ssh {
        /// The account.
        user: String,
        /// Shell commands, in order.
        run: Vec<String>,
        /// Whether the image keeps what they change (else a copy is booted).
        keep: bool,
    },
    /// An Ansible playbook against the running guest.
    Ansible {
        /// The account.
        user: String,
        /// The playbook, in the spec's folder.
        playbook: String,
        /// More arguments for `ansible-playbook`.
        arguments: Vec<String>,
        /// Whether the image keeps what it changes (else a copy is booted).
        keep: bool,
    },
    /// A program `imgbuild-runner-NAME` on PATH.
    External {
        /// `NAME`
        runner: String,
        /// Its input, checked against the schema it publishes.
        input: serde_json::Value,
    },
}

/// Stages that some builds in clouds have beside [`STAGES`].
pub const STAGES_IN_CLOUDS: [&str; 2] = ["upload", "verify-image"];

/// The stages that imgbuild itself brings, in order. Users' stages are placed
/// before or after them.
pub const STAGES: [&str; 6] = ["fetch", "boot-disk", "install", "convert", "verify", "publish"];
