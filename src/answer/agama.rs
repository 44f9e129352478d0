//! Agama profiles: what they say of the build.
//!
//! A profile is JSON, or Jsonnet: a program that only the installer runs. Much of
//! what is called Jsonnet is JSON with bare keys, single quotes and trailing commas,
//! which YAML reads; of the rest no more than the product can be told.

use std::sync::LazyLock;

use regex::Regex;
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
    let profile = read(text).unwrap_or(Value::Null);
    let product = profile.pointer("/product/id").and_then(Value::as_str);
    let stated = PRODUCT.as_ref().and_then(|it| it.captures(text)?.get(1));
    let product = product.or_else(|| stated.map(|it| it.as_str()).filter(|_| profile.is_null()));
    if let Some(product) = product {
        let id = match product {
            "openSUSE_Leap" => "opensuse-16",
            "Tumbleweed" => "opensuse-tumbleweed",
            "SLES" | "SLES_SAP" => "sles-16",
            other => other,
        };
        let newest = catalogue
            .systems()
            .into_iter()
            .find(|it| it.dialect == Dialect::Agama && it.id.starts_with(id));
        let span = place_of(text, product);
        if let Some(os) = newest {
            inspection.state_os(&os, text, span, "product.id".to_owned());
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

/// `product: { id: 'SLES'` in a program.
static PRODUCT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\bproduct["']?\s*:\s*\{[^{}]*?\bid["']?\s*:\s*["'](\w+)["']"#).ok()
});

/// What only Jsonnet has: comments, bare keys, single quotes, text blocks.
static JSONNET: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?m)^\s*(?://|#|local\s|import\s)|^\s*\{?\s*[A-Za-z_]\w*\s*:|:\s*'|\|\|\|").ok()
});

/// Reads a profile that is JSON, or Jsonnet without a program in it.
pub(super) fn read(text: &str) -> Option<Value> {
    let plain = text.trim_start_matches('\u{feff}');
    if let Ok(profile) = serde_json::from_str(plain) {
        return Some(profile);
    }
    let is_plain =
        is_jsonnet(plain) && plain.trim_start().starts_with('{') && !plain.contains("|||");
    is_plain.then(|| serde_yaml::from_str::<Value>(plain).ok()).flatten().filter(Value::is_object)
}

/// Whether a text that is no JSON is Jsonnet.
pub(super) fn is_jsonnet(text: &str) -> bool {
    JSONNET.as_ref().is_some_and(|it| it.is_match(text))
}

/// Where a word of a profile stands, in quotes where it has some.
pub(super) fn place_of(text: &str, word: &str) -> std::ops::Range<usize> {
    let quoted = [format!("\"{word}\""), format!("'{word}'"), format!("{word}:")];
    let found = quoted.iter().find_map(|it| Some((text.find(it.as_str())?, it.len())));
    found.map_or(0..0, |(at, length)| at..at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonnet_is_read_as_far_as_it_is_no_program() {
        for (text, product) in [
            ("{ \"product\": { \"id\": \"SLES\" } }", Some("sles-16")),
            ("{\n  product: {\n    id: 'SLES',\n  },\n}", Some("sles-16")),
            (
                "local x = import 'a';\n{\n  product: { id: \"openSUSE_Leap\" },\n  root: x,\n}",
                Some("opensuse-16"),
            ),
            ("{\n  product: { id: x.id },\n  files: [|||\n  a\n|||],\n}", None),
        ] {
            let inspection = super::super::inspect("x", text, &Catalogue::built_in());
            let os = inspection.os.map(|it| it.value);
            let is_it = |os: &String| product.is_some_and(|it| os.starts_with(it));
            assert!(os.as_ref().map_or(product.is_none(), is_it), "{text}: {os:?}");
        }
        assert!(!is_jsonnet("{\n  \"a\": 1,,\n}"));
    }
}
