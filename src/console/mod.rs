//! What an installer's console says, judged by data.
//!
//! The knowledge is in files under `data/console`: one signature a message, with
//! what it means and what to do about it. The way of a byte:
//!
//! ```text
//! bytes ──stream──▶ lines ──examine──▶ hits ──watch──▶ findings ──conclude──▶ outcome
//!                                        └────explain──▶ explanation of a stored log
//! ```
//!
//! An installer's own log takes the same way to hits; what it says explains what
//! a console announced (`system_log`).
//!
//! Nothing here reads a clock or a file: whoever watches a machine says what
//! came and when.

mod debconf;
pub mod evidence;
pub mod examine;
pub mod explain;
mod index;
pub mod knowledge;
mod literals;
pub mod outcome;
mod pattern;
mod prefix;
pub mod signature;
pub mod stream;
pub mod system_log;
pub mod viewer;
pub mod watch;

use std::{fmt, str::FromStr};

/// A console's bytes as lines of text, without what moves cursors and colours.
pub fn plain_text(bytes: &[u8]) -> String {
    let mut stream = stream::Stream::default();
    let mut text = String::new();
    stream.feed(bytes, &mut |line| {
        text.push_str(&String::from_utf8_lossy(line.text));
        text.push('\n');
    });
    if let Some(line) = stream.tail() {
        text.push_str(&String::from_utf8_lossy(line.text));
        text.push('\n');
    }
    text
}

use serde::{Deserialize, Serialize};

/// How far an installation has come. Later phases compare as greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Firmware, boot loader, kernel, initrd.
    Boot,
    /// The network is set up, the answer file is fetched.
    Network,
    /// The installer fetches the rest of itself.
    Components,
    /// Disks are partitioned and formatted.
    Partitioning,
    /// The first packages, or a whole system image.
    BaseSystem,
    /// Everything else that is installed.
    Packages,
    /// The boot loader is installed, the system is configured.
    BootLoader,
    /// The installer finishes.
    End,
    /// The installed system asks for a login.
    Login,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 9] = [
        Self::Boot,
        Self::Network,
        Self::Components,
        Self::Partitioning,
        Self::BaseSystem,
        Self::Packages,
        Self::BootLoader,
        Self::End,
        Self::Login,
    ];

    /// Its name in specs, events and data files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Network => "network",
            Self::Components => "components",
            Self::Partitioning => "partitioning",
            Self::BaseSystem => "base-system",
            Self::Packages => "packages",
            Self::BootLoader => "boot-loader",
            Self::End => "end",
            Self::Login => "login",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = UnknownPhase;

    fn from_str(text: &str) -> Result<Self, UnknownPhase> {
        Self::ALL
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}

/// A phase of this name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a phase; use one of boot, network, components, partitioning, base-system, packages, boot-loader, end, login"
)]
pub struct UnknownPhase(String);

/// What a message says about how the installation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It goes on.
    Progress,
    /// It is done.
    EndedWell,
    /// It cannot be completed.
    EndedBadly,
    /// It waits for an answer that nobody will give.
    WaitsForInput,
    /// Nothing happens any more, or it takes too long.
    Stalled,
    /// Not as it should be, but no reason to stop.
    Warning,
    /// Looks like trouble and is none: other signatures do not count on this line.
    Harmless,
}

/// Where the cause of a failure lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Addresses, names, routes.
    Network,
    /// The install tree or package mirror.
    Mirror,
    /// What the installer was told.
    AnswerFile,
    /// Disks, partitions, file systems.
    Storage,
    /// A package or its scripts.
    Package,
    /// Firmware or boot loader.
    Boot,
    /// The kernel or its initrd.
    Kernel,
    /// Too little memory.
    Memory,
    /// The installer itself.
    Installer,
}

impl Cause {
    /// Its name in data files and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Mirror => "mirror",
            Self::AnswerFile => "answer-file",
            Self::Storage => "storage",
            Self::Package => "package",
            Self::Boot => "boot",
            Self::Kernel => "kernel",
            Self::Memory => "memory",
            Self::Installer => "installer",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_by_the_name_it_is_shown_with() {
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        assert!("packing".parse::<Phase>().unwrap_err().to_string().contains("`packing`"));
        assert!(Phase::ALL.is_sorted());
    }
}
