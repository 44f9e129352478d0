//! QEMU on this machine.

pub mod accelerator;
pub mod arguments;
pub mod endpoint;
pub mod firmware;
mod http;
pub mod machine;
pub mod metadata;
mod names;
pub mod qmp;
mod survey;
mod syslog;
pub mod traffic;
pub mod wire;

use camino::Utf8PathBuf;

use crate::{guard::Guard, model::Arch};

pub use survey::survey;

/// The oldest QEMU that has what imgbuild needs: `-netdev stream`.
pub const OLDEST: (u32, u32) = (7, 2);

/// This machine, as far as QEMU is concerned.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where findings are remembered.
    pub cache: Utf8PathBuf,
    /// Starts programs.
    pub guard: Guard,
}

impl Host {
    /// The version of a QEMU program; nothing where it cannot be run.
    pub async fn version(&self, program: &str) -> Option<(u32, u32)> {
        let output = self.guard.command(program).arg("--version").output().await.ok()?;
        version_of(&String::from_utf8_lossy(&output.stdout))
    }
}

/// The QEMU program for guests of an architecture.
pub fn program(arch: Arch) -> String {
    format!("qemu-system-{}", arch.as_str())
}

/// `QEMU emulator version 10.0.2 (Debian …)`
fn version_of(text: &str) -> Option<(u32, u32)> {
    let number = text.split("version ").nth(1)?;
    let mut parts = number.split(|it: char| !it.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version_of;

    #[test]
    fn versions_are_read_as_qemu_prints_them() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(version_of(text), Some((10, 0)));
        assert_eq!(version_of("qemu-img version 7.2.22"), Some((7, 2)));
        assert_eq!(version_of("nonsense"), None);
    }
}
