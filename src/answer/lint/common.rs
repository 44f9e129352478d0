//! What is wrong in any dialect: how it ends, passwords, templates' marks.

use crate::{
    answer::{
        finding::Gatherer,
        inspection::{End, Inspection, RemoteView},
    },
    catalogue::Dialect,
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
