//! What is wrong in any dialect: how it ends, passwords, templates' marks.

use crate::{
    answer::{
        finding::{Findings, Gatherer},
        inspection::{End, Inspection, RemoteView},
    },
    catalogue::Dialect,
    model::{Build, Source, seen_from_host},
};

/// What every answer file is looked at for.
pub(super) fn lint(inspection: &Inspection, gatherer: &mut Gatherer<'_>) {
    end(inspection, gatherer);
    for residue in &inspection.residue {
        gatherer.error(
            "answer::residue",
            residue.span.clone(),
            "a placeholder of a template was not filled in",
            "use it as a `template` with its variables, or write the value",
        );
    }
    for password in &inspection.passwords {
        if password.value.is_plain {
            gatherer.warning(
                "answer::plain-password",
                password.span.clone(),
                format!("the password of {} can be read by everybody", password.value.of),
                "store its hash, as `{{ password | sha512_crypt }}` makes it from a variable with \
                 `sensitive = true`",
            );
        }
    }
    for remote in &inspection.remote {
        if remote.value == RemoteView::WaitingSsh {
            gatherer.warning(
                "answer::waits-for-login",
                remote.span.clone(),
                "the installer waits until someone logs in over SSH",
                "leave `network-console` out of a build that nobody watches",
            );
        }
    }
}

/// A build ends when the machine is off.
fn end(inspection: &Inspection, gatherer: &mut Gatherer<'_>) {
    let Some(dialect) = inspection.dialect else { return };
    let remedy = match dialect {
        Dialect::Kickstart => "a line `poweroff`; of several such lines the last one counts",
        Dialect::Preseed => "a line `d-i debian-installer/exit/poweroff boolean true`",
        Dialect::Autoyast => {
            "`<halt config:type=\"boolean\">true</halt>` in `<general><mode>`, and \
             `<second_stage config:type=\"boolean\">false</second_stage>`"
        }
        Dialect::Agama => "the boot parameter `inst.finish=poweroff`",
        Dialect::Autoinstall => "`shutdown: poweroff`",
        Dialect::Other => return,
    };
    let Some(end) = &inspection.end else { return };
    let (message, verb) = match end.value {
        End::Poweroff => return,
        End::Reboot => {
            ("the installer starts the machine again instead of switching it off", "reboots")
        }
        End::Halt => ("the installer halts the system and leaves the machine running", "halts"),
        End::Asks => ("the installer waits for a key at its end", "asks"),
    };
    let is_stated = !end.span.is_empty();
    let span = if is_stated { end.span.clone() } else { gatherer.at_end() };
    let help = if is_stated { format!("write instead {remedy}") } else { format!("add {remedy}") };
    let code = match verb {
        "reboots" => "answer::reboots",
        "halts" => "answer::halts",
        _ => "answer::asks-at-end",
    };
    gatherer.error(code, span, message, help);
}

/// Packages from another tree than the kernel's are of another build of the
/// installer: its modules do not fit.
pub(super) fn other_tree(inspection: &Inspection, build: &Build, text: &str) -> Findings {
    let mut gatherer = Gatherer::new(text);
    let Source::Tree { url, .. } = &build.source else { return gatherer.end() };
    let Some(stated) = &inspection.tree else { return gatherer.end() };
    let plain = |it: &str| {
        // The guest and this machine reach one and the same mirror by other names.
        let it = seen_from_host(it);
        let bare = it.split_once("://").map_or(it.as_str(), |it| it.1);
        bare.trim_end_matches('/').to_ascii_lowercase()
    };
    if plain(url) != plain(&stated.value) {
        gatherer.warning(
            "answer::other-tree",
            stated.span.clone(),
            "the packages come from another tree than the installer's kernel",
            "name the same tree in `source.tree.url`; in a template, `{{ source.tree }}` is it",
        );
    }
    gatherer.end()
}
