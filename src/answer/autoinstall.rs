//! Autoinstall files of Ubuntu: what they say of the build.

use crate::{
    catalogue::{Catalogue, Dialect},
    spec::document::{Document, Node, Value},
};

use super::{
    hints,
    inspection::{End, Inspection, Password, Stated},
    kickstart::hints_in_comments,
    text::lines,
    yaml,
};

/// Whether a text, without blanks before it, is an autoinstall file.
pub(super) fn is_autoinstall(start: &str) -> bool {
    let has_key = |key: &str| {
        lines(start).any(|it| it.text.strip_prefix(key).is_some_and(|it| it.starts_with(':')))
    };
    has_key("autoinstall")
        || (has_key("version")
            && (has_key("identity") || has_key("storage") || has_key("user-data")))
        || (start.starts_with("#cloud-config") && start.contains("\n  identity:"))
}

/// The mapping that subiquity reads, and whether it is under `autoinstall:`.
pub(super) fn settings(document: &Document) -> (&Node, bool) {
    match document.find(&["autoinstall"]) {
        Some(node) => (node, true),
        None => (&document.root, false),
    }
}

/// What it states. A file that is no YAML states nothing; lint says why.
pub(super) fn inspect(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let read = yaml::parse_old(text);
    if let Ok(document) = &read {
        let (settings, _) = settings(document);
        let offset = text.len() - document.text.len();
        let moved = |it: &Node| it.pointer().start + offset..it.pointer().end + offset;
        if let Some(identity) = settings.child("identity")
            && let Some(password) = identity.child("password")
        {
            let is_plain = !password.as_str().unwrap_or_default().starts_with('$');
            let of = identity.child("username").and_then(Node::as_str).unwrap_or("the user");
            let found = Password { of: of.to_owned(), is_plain };
            inspection.passwords.push(Stated::new(found, text, moved(password), "identity"));
        }
        let shutdown = settings.child("shutdown");
        let end = match shutdown.and_then(Node::as_str) {
            Some("poweroff") => End::Poweroff,
            _ => End::Reboot,
        };
        inspection.end = Some(match shutdown {
            Some(node) => Stated::new(end, text, moved(node), "shutdown"),
            None => Stated { value: end, line: 1, span: 0..0, by: "no `shutdown`".to_owned() },
        });
        suites(settings, inspection, text, offset, catalogue);
    }
    hints_in_comments(inspection, text, Dialect::Autoinstall, catalogue);
}

/// A codename in an apt source says which release it is for.
fn suites(
    settings: &Node,
    inspection: &mut Inspection,
    text: &str,
    offset: usize,
    catalogue: &Catalogue,
) {
    let Some(apt) = settings.child("apt") else { return };
    let mut nodes = vec![apt];
    while let Some(node) = nodes.pop() {
        match &node.value {
            Value::Array(items) => nodes.extend(items),
            Value::Table(entries) => nodes.extend(entries.iter().map(|it| &it.value)),
            Value::String(value) => {
                let codename = value
                    .split(|c: char| !c.is_ascii_alphabetic())
                    .find_map(|it| hints::of_codename(it, Dialect::Autoinstall, catalogue));
                if let Some(os) = codename {
                    let span = node.span.start + offset..node.span.end + offset;
                    inspection.state_os(&os, text, span, "an apt source".to_owned());
                    return;
                }
            }
            _ => {}
        }
    }
}
