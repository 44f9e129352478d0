//! What a kickstart says of the build.

use crate::{
    answer::{
        hints,
        inspection::{End, Inspection, Password, RemoteView, Stated},
        residue,
        text::lines,
    },
    catalogue::{Catalogue, Dialect},
};

use super::parse::{Command, Kickstart};

/// Words that only a kickstart has at the start of a line.
const MARKS: &[&str] = &[
    "%packages",
    "bootloader",
    "rootpw",
    "clearpart",
    "zerombr",
    "autopart",
    "liveimg",
    "ostreesetup",
    "ostreecontainer",
    "url",
    "cdrom",
    "harddrive",
    "nfs",
    "authconfig",
    "authselect",
    "firstboot",
    "selinux",
    "skipx",
    "langsupport",
];

/// Whether a text is a kickstart.
pub(crate) fn is_kickstart(text: &str) -> bool {
    let mut n_marks = 0;
    for line in lines(text) {
        let mut words = line.text.split_whitespace();
        let first = words.next().unwrap_or_default();
        let is_mark = MARKS.contains(&first) || first == "part" || first == "partition";
        // In a shell script or a list of words too; a heading is not.
        n_marks += usize::from(is_mark) + usize::from(first == "%packages");
        if n_marks >= 2 {
            return true;
        }
    }
    n_marks == 1
        && lines(text).any(|it| {
            let mut words = it.text.split_whitespace();
            words.next().is_some_and(|it| MARKS.contains(&it))
                && words.all(|it| it.starts_with("--") || !it.contains(['{', ';']))
        })
}

/// What it states.
pub(crate) fn inspect(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let kickstart = Kickstart::parse(text);
    tree(&kickstart, inspection, text);
    system(&kickstart, inspection, text, catalogue);
    passwords(&kickstart, inspection, text);
    remote(&kickstart, inspection, text);
    end(&kickstart, inspection, text);
    for include in &kickstart.includes {
        let what = include.arguments.first().map(|it| it.text.clone()).unwrap_or_default();
        let by = include.name.text.clone();
        inspection.includes.push(Stated::new(what, text, include.span.clone(), by));
    }
}

/// The URL that packages come from.
fn tree(kickstart: &Kickstart, inspection: &mut Inspection, text: &str) {
    let Some(command) = kickstart.named("url").next_back() else {
        let other = ["nfs", "cdrom", "harddrive", "liveimg", "hmc"];
        let stated = kickstart.commands.iter().find(|it| other.contains(&it.name.text.as_str()));
        let include = kickstart.includes.first();
        if let Some(command) = stated {
            let doubt = match command.name.text.as_str() {
                "cdrom" => "takes its packages from the ISO: add --source.iso PATH",
                "liveimg" => "installs a ready-made image, which needs a tree to start from",
                _ => "takes its packages from a place imgbuild cannot read its kernel from",
            };
            let doubt = Stated::new(doubt.into(), text, command.span.clone(), &command.name.text);
            inspection.doubts.push(doubt);
        } else if let Some(include) = include {
            let doubt = "the install tree may be stated in the file this includes".to_owned();
            inspection.doubts.push(Stated::new(doubt, text, include.span.clone(), "%include"));
        }
        return;
    };
    let Some(url) = command.option("--url") else {
        let doubt = "names a list of mirrors instead of a tree: add --source.tree URL".to_owned();
        inspection.doubts.push(Stated::new(doubt, text, command.span.clone(), "url"));
        return;
    };
    let is_url = ["http://", "https://", "ftp://", "file://", "nfs:"]
        .iter()
        .any(|it| url.text.starts_with(it));
    let filled = url.text.replace("$basearch", "x86_64");
    let is_final = !filled.contains('$') && residue::find(&filled).is_none();
    if !is_url || !is_final || filled.contains(char::is_whitespace) {
        let doubt = "the URL of the install tree is not filled in".to_owned();
        inspection.doubts.push(Stated::new(doubt, text, url.span, "url --url"));
        return;
    }
    inspection.tree = Some(Stated::new(filled, text, url.span, "url --url"));
}

fn system(kickstart: &Kickstart, inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let dialect = Dialect::Kickstart;
    // What is installed from, in the order of how much it says.
    let of = |command: &str, options: &[&str]| -> Vec<(&'static str, super::words::Word)> {
        let mut urls = Vec::new();
        for it in kickstart.named(command) {
            for option in options {
                urls.extend(it.option(option).map(|it| ("its URL", it)));
            }
        }
        urls
    };
    let mut urls = of("url", &["--url", "--mirrorlist", "--metalink"]);
    urls.extend(of("nfs", &["--dir"]));
    urls.extend(of("repo", &["--baseurl", "--mirrorlist", "--metalink"]));
    for (by, url) in urls {
        if let Some(os) = hints::of_url(&url.text, dialect, catalogue) {
            inspection.state_os(&os, text, url.span, by.to_owned());
            return;
        }
    }
    hints_in_comments(inspection, text, dialect, catalogue);
}

/// The file's name, then its comments.
pub(in crate::answer) fn hints_in_comments(
    inspection: &mut Inspection,
    text: &str,
    dialect: Dialect,
    catalogue: &Catalogue,
) {
    let name = inspection.name.rsplit('/').next().unwrap_or_default().to_owned();
    if let Some(os) = hints::of_words(&name, dialect, catalogue) {
        let stated = Stated { value: os.id.clone(), line: 0, span: 0..0, by: "its name".into() };
        inspection.os.get_or_insert(stated);
        return;
    }
    for line in lines(text).filter(|it| it.text.trim_start().starts_with('#')).take(200) {
        if let Some(os) = hints::of_words(line.text, dialect, catalogue) {
            inspection.state_os(&os, text, line.trimmed_span(), "a comment".to_owned());
            return;
        }
    }
}

fn passwords(kickstart: &Kickstart, inspection: &mut Inspection, text: &str) {
    let mut add = |of: String, is_plain: bool, command: &Command| {
        let by = command.name.text.clone();
        let password = Password { of, is_plain };
        inspection.passwords.push(Stated::new(password, text, command.span.clone(), by));
    };
    for command in &kickstart.commands {
        let is_crypted = command.has("--iscrypted");
        match command.name.text.as_str() {
            "rootpw" if command.positional().next().is_some() => {
                add("root".to_owned(), !is_crypted, command);
            }
            "user" if command.has("--password") => {
                let name = command.option("--name").map_or("a user".to_owned(), |it| it.text);
                add(name, !is_crypted, command);
            }
            "sshpw" if command.positional().next().is_some() => {
                add("the installer's SSH server".to_owned(), !is_crypted, command);
            }
            "vnc" if command.has("--password") => add("VNC".to_owned(), true, command),
            "rdp" if command.has("--password") => add("RDP".to_owned(), true, command),
            "bootloader" if command.has("--password") => {
                add("the boot loader".to_owned(), !is_crypted, command);
            }
            _ => {}
        }
    }
}

fn remote(kickstart: &Kickstart, inspection: &mut Inspection, text: &str) {
    for command in &kickstart.commands {
        let view = match command.name.text.as_str() {
            "vnc" => RemoteView::Vnc,
            "rdp" => RemoteView::Rdp,
            "sshpw" | "ssh" => RemoteView::Ssh,
            _ => continue,
        };
        let by = command.name.text.clone();
        inspection.remote.push(Stated::new(view, text, command.span.clone(), by));
    }
}

/// `reboot`, `poweroff`, `shutdown`, `halt`: the last one counts. Without any of
/// them Anaconda waits for a key.
fn end(kickstart: &Kickstart, inspection: &mut Inspection, text: &str) {
    for command in &kickstart.commands {
        let end = match command.name.text.as_str() {
            "poweroff" | "shutdown" => End::Poweroff,
            "reboot" => End::Reboot,
            "halt" => End::Halt,
            _ => continue,
        };
        let by = command.name.text.clone();
        inspection.end = Some(Stated::new(end, text, command.span.clone(), by));
    }
    if inspection.end.is_none() && kickstart.includes.is_empty() {
        let by = "no `poweroff`".to_owned();
        inspection.end = Some(Stated { value: End::Asks, line: 1, span: 0..0, by });
    }
}
