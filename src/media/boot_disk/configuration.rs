//! What each loader is told, as text.

use super::super::MediaError;

/// The kernel's name on the disk.
pub(super) const KERNEL: &str = "linux";
/// The initrd's name on the disk.
pub(super) const INITRD: &str = "initrd.img";
/// Where syslinux looks for its configuration.
pub(super) const SYSLINUX_PATH: &str = "syslinux.cfg";

/// What loaders add to the parameters: syslinux this, systemd-boot less.
const ADDED: &str = "BOOT_IMAGE=linux initrd=initrd.img ";

/// Whether parameters arrive as they are at a kernel that reads `longest` bytes.
pub(super) fn check(command_line: &str, longest: usize) -> Result<(), MediaError> {
    if command_line.contains(char::is_control) {
        return Err(MediaError::CommandLineControl);
    }
    let limit = longest.saturating_sub(ADDED.len());
    let length = command_line.len();
    if length > limit {
        return Err(MediaError::CommandLineTooLong { length, limit });
    }
    Ok(())
}

/// The configuration of syslinux: no menu, no prompt, and the serial port is
/// told, too.
pub(super) fn syslinux(command_line: &str) -> String {
    format!(
        "SERIAL 0 115200\nPROMPT 0\nTIMEOUT 1\nDEFAULT installer\nLABEL installer\n  \
         LINUX {KERNEL}\n  INITRD {INITRD}\n  APPEND {command_line}\n"
    )
}

/// The files that systemd-boot reads, with their paths.
pub(super) fn systemd_boot(command_line: &str) -> [(&'static str, String); 2] {
    [
        ("loader/loader.conf", "timeout 0\ndefault installer.conf\neditor no\n".to_owned()),
        (
            "loader/entries/installer.conf",
            format!("title Installer\nlinux /{KERNEL}\ninitrd /{INITRD}\noptions {command_line}\n"),
        ),
    ]
}

/// The script that GRUB reads; nothing where it would change the parameters: it
/// puts a backslash before each quote and backslash.
pub(super) fn grub(command_line: &str) -> Option<String> {
    if command_line.contains(['\'', '"', '\\']) {
        return None;
    }
    let words: Vec<_> = command_line.split_whitespace().map(|it| format!("'{it}'")).collect();
    Some(format!("linux /{KERNEL} {}\ninitrd /{INITRD}\nboot\n", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_do_not_arrive_are_refused() {
        assert!(check("", 0).is_ok());
        let longest = "x".repeat(2047 - ADDED.len());
        assert!(check(&longest, 2047).is_ok());
        assert!(matches!(
            check(&format!("{longest}x"), 2047),
            Err(MediaError::CommandLineTooLong { length: 2013, limit: 2012 })
        ));
        for bad in ["a\nb", "a\tb", "a\0", "a\u{1b}"] {
            assert!(matches!(check(bad, 2047), Err(MediaError::CommandLineControl)), "{bad:?}");
        }
    }

    #[test]
    fn grub_gets_each_parameter_as_one_word_or_nothing() {
        let script = grub("a=1  b=$c;d").unwrap();
        assert_eq!(script.lines().next(), Some("linux /linux 'a=1' 'b=$c;d'"));
        for changed in ["a='b'", r"a=\x20b", "a=\"b c\""] {
            assert_eq!(grub(changed), None);
        }
    }
}
