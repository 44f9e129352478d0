//! Boot commands: what is typed at a boot loader, read as what it means.

use std::sync::LazyLock;

use regex::Regex;

/// What a boot command asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words, without keys and waits.
    pub(super) words: Vec<String>,
    /// The answer file's path on Packer's server; empty where it is its root.
    pub(super) answer: Option<String>,
    /// Kernel parameters of the template's own.
    pub(super) parameters: Vec<String>,
}

/// Parameters that imgbuild gives by itself, or that belong to the medium.
const OWN: &[&str] = &[
    "ks",
    "inst.ks",
    "inst.repo",
    "inst.stage2",
    "repo",
    "method",
    "stage2",
    "url",
    "preseed/url",
    "preseed/file",
    "file",
    "auto",
    "auto-install/enable",
    "priority",
    "debconf/priority",
    "ds",
    "autoyast",
    "autoyast2",
    "install",
    "inst.auto",
    "initrd",
    "BOOT_IMAGE",
    "root",
    "ramdisk_size",
    "console",
    "boot",
    "vga",
    "video",
    "textmode",
    "inst.text",
    "inst.cmdline",
    "text",
    "cmdline",
    "gfxpayload",
    "load_video",
    "cloud-config-url",
    "iso-url",
    "netsetup",
    "ip",
    "ksdevice",
    "inst.sshd",
    "inst.vnc",
    "vnc",
    "vncpassword",
    "auto_install",
    "fb",
    "DEBIAN_FRONTEND",
    "debian-installer/framebuffer",
    "debconf/frontend",
    "cdrom-detect/try-usb",
    "prefix",
    "net_default_server",
];

static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"<[A-Za-z][^<>]{0,30}>").ok());
static SERVED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\{\{\s*\.HTTPIP\s*\}\}:?(?:\{\{\s*\.HTTPPort\s*\}\})?(/[^\s'\x22;]*)?").ok()
});
static PARAMETER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z][A-Za-z0-9_./-]*=[^\s{}<>]*$").ok());

impl Command {
    /// Reads what is typed.
    pub(super) fn read(typed: &str) -> Self {
        let mut command = Self::default();
        let (Some(keys), Some(served), Some(parameter)) = (&*KEYS, &*SERVED, &*PARAMETER) else {
            return command;
        };
        let typed = keys.replace_all(typed, |key: &regex::Captures<'_>| {
            let name = key.get(0).map_or("", |it| it.as_str()).to_ascii_lowercase();
            // Waiting and releasing keys do not end a word; what else is pressed may.
            let is_quiet = name.starts_with("<wait") || name.contains("shift") || name == "<bs>";
            if is_quiet { "" } else { " " }
        });
        if let Some(found) = served.captures(&typed) {
            let path = found.get(1).map_or("", |it| it.as_str());
            command.answer = Some(path.trim_start_matches('/').to_owned());
        }
        // `{{ .Name }}` has blanks in it that end no word.
        let compact = typed.replace("{{ ", "{{").replace(" }}", "}}");
        command.words = compact.split_whitespace().map(str::to_owned).collect();
        for word in &command.words {
            let name = word.split('=').next().unwrap_or_default();
            let is_own = OWN.contains(&name) || name.starts_with("iso-scan") || word.contains("{{");
            if parameter.is_match(word) && !is_own && !command.parameters.contains(word) {
                command.parameters.push(word.clone());
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        for (typed, answer, parameters) in [
            (
                "<up><wait><tab> inst.text inst.ks=http://{{ .HTTPIP }}:{{ .HTTPPort }}/a/ks.cfg net.ifnames=0<enter><wait>",
                Some("a/ks.cfg"),
                &["net.ifnames=0"][..],
            ),
            (
                "<esc><wait>auto preseed/url=http://{{.HTTPIP}}:{{.HTTPPort}}/d/preseed.cfg hostname=x <enter>",
                Some("d/preseed.cfg"),
                &["hostname=x"],
            ),
            (
                "c<wait>linux /casper/vmlinuz --- autoinstall ds='nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/ubuntu/' <enter>initrd /casper/initrd<enter>boot",
                Some("ubuntu/"),
                &[],
            ),
            ("ds=nocloud-net\\;s=http://{{.HTTPIP}}:{{.HTTPPort}}/", Some(""), &[]),
            ("<esc>install<enter>", None, &[]),
        ] {
            let command = Command::read(typed);
            assert_eq!(command.answer.as_deref(), answer, "{typed}");
            assert_eq!(command.parameters, parameters, "{typed}");
        }
    }
}
