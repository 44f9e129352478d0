//! What is wrong with profiles that are documents: AutoYaST, Agama, autoinstall.

use super::{schema, yast};
use crate::{
    answer::{
        agama::{is_jsonnet, place_of, read},
        autoinstall::settings,
        finding::Gatherer,
        xml, yaml,
    },
    catalogue::Os,
    spec::document::{Node, Value},
};

/// AutoYaST: well-formed, asks nothing, waits for nobody.
pub(super) fn autoyast(text: &str, os: Option<&Os>, gatherer: &mut Gatherer<'_>) {
    let root = match xml::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let end = text.len().min(error.at + 1);
            gatherer.error("autoyast::xml", error.at.min(end)..end, error.message, "");
            return;
        }
    };
    if root.name != "profile" {
        gatherer.error(
            "autoyast::root",
            root.span.clone(),
            format!("the root is `<{}>`, not `<profile>`", root.name),
            "",
        );
    }
    let confirm = root.find(&["general", "mode", "confirm"]);
    if confirm.is_none_or(|it| it.text != "false") {
        gatherer.error(
            "autoyast::asks",
            confirm.unwrap_or(&root).span.clone(),
            "YaST shows its proposal and waits for someone to confirm it",
            "add `<confirm config:type=\"boolean\">false</confirm>` to `<general><mode>`",
        );
    }
    for kind in ["messages", "warnings", "errors"] {
        let Some(report) = root.find(&["report", kind]) else { continue };
        let value = |name: &str| report.find(&[name]).map(|it| it.text.as_str());
        if value("show") == Some("true") && value("timeout") == Some("0") {
            gatherer.error(
                "autoyast::waits",
                report.span.clone(),
                format!("{kind} stay on the screen until someone reads them"),
                "write a `<timeout>` in seconds, or `<show …>false</show>`",
            );
        }
    }
    let mut told = schema::autoyast(&root, gatherer);
    let mut all = Vec::new();
    root.walk(&mut all);
    for element in all.iter().filter(|it| matches!(it.attribute("type"), Some("boolean"))) {
        if !matches!(element.text.as_str(), "true" | "false") {
            gatherer.error(
                "autoyast::boolean",
                element.span.clone(),
                format!("`<{}>` is neither `true` nor `false`", element.name),
                "",
            );
            told.push(element.span.clone());
        }
    }
    yast::lint(&root, os, &told, gatherer);
}

/// Agama: JSON, with a product.
pub(super) fn agama(text: &str, gatherer: &mut Gatherer<'_>) {
    let plain = text.trim_start_matches('\u{feff}');
    let strict = serde_json::from_str::<serde_json::Value>(plain);
    if strict.is_err() && is_jsonnet(plain) && read(text).is_none() {
        gatherer.warning(
            "agama::jsonnet",
            0..0,
            "this is Jsonnet, a program that only the installer runs: nothing in it is checked",
            "check what `jsonnet FILE` makes of it, or give that to the build",
        );
        return;
    }
    match strict.or_else(|error| read(text).ok_or(error)) {
        Err(error) => {
            let before: usize = plain
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1))
                .map(str::len)
                .sum();
            let mut at = (before + error.column().saturating_sub(1)).min(plain.len())
                + (text.len() - plain.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            gatherer.error("agama::json", at..at, format!("this is no JSON: {error}"), "");
        }
        Ok(profile) => {
            if profile.pointer("/product/id").and_then(serde_json::Value::as_str).is_none() {
                gatherer.error(
                    "agama::product",
                    place_of(text, "product"),
                    "the profile names no product",
                    "add `\"product\": { \"id\": \"openSUSE_Leap\" }`",
                );
            }
            if let Ok(document) = yaml::parse(text) {
                let skipped = text.len() - document.text.len();
                let moved = |it: std::ops::Range<usize>| it.start + skipped..it.end + skipped;
                schema::agama(&document.root, &moved, text, gatherer);
            }
            if profile.get("root").is_none() && profile.get("user").is_none() {
                gatherer.warning(
                    "agama::no-account",
                    0..0,
                    "there is no `root` and no `user`, so nobody can log in",
                    "",
                );
            }
        }
    }
}

/// Autoinstall: YAML, a version, an account, keys where they belong.
pub(super) fn autoinstall(text: &str, gatherer: &mut Gatherer<'_>) {
    let skipped = text.len() - text.trim_start_matches('\u{feff}').len();
    let moved = |it: std::ops::Range<usize>| it.start + skipped..it.end + skipped;
    let document = match yaml::parse_old(text) {
        Ok(document) => document,
        Err((message, span)) => {
            gatherer.error("autoinstall::yaml", moved(span), message, "");
            return;
        }
    };
    let (settings, is_nested) = settings(&document);
    let entries = settings.entries();
    if is_nested && !text.trim_start_matches('\u{feff}').starts_with("#cloud-config") {
        gatherer.warning(
            "autoinstall::no-cloud-config",
            0..0,
            "the file does not start with `#cloud-config`, so cloud-init does not read it",
            "make `#cloud-config` its first line",
        );
    }
    if is_nested {
        for entry in document.root.entries() {
            if entry.key != "autoinstall" && schema::is_autoinstall_key(&entry.key) {
                gatherer.error(
                    "autoinstall::nesting",
                    moved(entry.key_span.clone()),
                    format!(
                        "`{}` is beside `autoinstall:`, where the installer does not look",
                        entry.key
                    ),
                    "indent it below `autoinstall:`",
                );
            }
        }
    }
    match settings.child("version").map(|it| &it.value) {
        Some(Value::Integer(1)) => {}
        Some(_) => gatherer.error(
            "autoinstall::version",
            moved(settings.child("version").map_or(0..0, Node::pointer)),
            "the only version there is is 1",
            "write `version: 1`",
        ),
        None => gatherer.error(
            "autoinstall::version",
            moved(entries.first().map_or(0..0, |it| it.key_span.clone())),
            "`version` is missing",
            "add `version: 1`",
        ),
    }
    schema::autoinstall(settings, &moved, text, gatherer);
    let identity = settings.child("identity");
    if identity.is_none() && settings.child("user-data").is_none() {
        gatherer.error(
            "autoinstall::identity",
            moved(entries.first().map_or(0..0, |it| it.key_span.clone())),
            "there is neither `identity` nor `user-data`, so the installer stops",
            "add one of them",
        );
    }
    if let Some(identity) = identity {
        for key in ["hostname", "username", "password"] {
            if identity.child(key).is_none() {
                gatherer.error(
                    "autoinstall::identity",
                    moved(identity.pointer()),
                    format!("`identity` has no `{key}`"),
                    "it needs `hostname`, `username` and `password`",
                );
            }
        }
    }
    if let Some(sections) = settings.child("interactive-sections")
        && matches!(&sections.value, Value::Array(items) if !items.is_empty())
    {
        gatherer.error(
            "autoinstall::asks",
            moved(sections.pointer()),
            "the installer waits for someone in these sections",
            "leave `interactive-sections` out",
        );
    }
}
