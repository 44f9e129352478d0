//! Agama profiles: what they say of the build.

use serde_json::Value;

use crate::catalogue::{Catalogue, Dialect};

use super::{
    hints,
    inspection::{End, Inspection, Password, Stated},
};

/// Whether a text, without blanks before it, is an Agama profile.
pub(super) fn is_agama(start: &str) -> bool {
    let is_object =
        start.starts_with('{') || start.starts_with("//") || start.starts_with("local ");
    is_object
        && !start.starts_with("{{")
        && !start.starts_with("{%")
        && !start.starts_with("{#")
        && ["\"product\"", "product:", "\"bootloader\"", "\"localization\""]
            .iter()
            .any(|it| start.contains(it))
}

/// What it states.
pub(super) fn inspect(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let plain = text.trim_start_matches('\u{feff}');
    let profile = serde_json::from_str::<Value>(plain).unwrap_or(Value::Null);
    let product = profile.pointer("/product/id").and_then(Value::as_str);
    if let Some(product) = product {
        let id = match product {
            "openSUSE_Leap" => "opensuse-16",
            "Tumbleweed" => "opensuse-tumbleweed",
            "SLES" | "SLES_SAP" => "sles-16",
            other => other,
        };
        let newest = catalogue
            .systems()
            .iter()
            .find(|it| it.dialect == Dialect::Agama && it.id.starts_with(id));
        let span = place_of(text, product);
        if let Some(os) = newest {
            inspection.state_os(os, text, span, "product.id".to_owned());
        } else {
            let doubt = format!("the product `{product}` is not in the catalogue");
            inspection.doubts.push(Stated::new(doubt, text, span, "product.id"));
        }
    } else if let Some(os) = hints::of_words(&inspection.name, Dialect::Agama, catalogue) {
        let by = "its name".to_owned();
        inspection.os = Some(Stated { value: os.id.clone(), line: 0, span: 0..0, by });
    }
    for (path, of) in [("/root", "root"), ("/user", "the user")] {
        let Some(account) = profile.pointer(path) else { continue };
        let key = ["password", "hashedPassword"]
            .into_iter()
            .find(|it| account.get(it).is_some_and(Value::is_string));
        if let Some(key) = key {
            let is_hash = account.get("hashedPassword").and_then(Value::as_bool) == Some(true)
                || key == "hashedPassword";
            let found = Password { of: of.to_owned(), is_plain: !is_hash };
            inspection.passwords.push(Stated::new(found, text, place_of(text, key), path));
        }
    }
    // A boot parameter says how it ends, not the profile; the catalogue has it.
    let by = "inst.finish=poweroff on the command line".to_owned();
    inspection.end = Some(Stated { value: End::Poweroff, line: 1, span: 0..0, by });
}

/// Where a word of a profile stands, in quotes.
pub(super) fn place_of(text: &str, word: &str) -> std::ops::Range<usize> {
    let quoted = format!("\"{word}\"");
    text.find(&quoted).map_or(0..0, |it| it..it + quoted.len())
}
