//! AutoYaST profiles: what they say of the build.

use std::ops::Range;

use crate::catalogue::{Catalogue, Dialect};

use super::{
    hints,
    inspection::{End, Inspection, Password, Stated},
    text::lines,
    xml::{self, Element},
};

/// Whether a text, without blanks before it, is an AutoYaST profile.
pub(super) fn is_autoyast(start: &str) -> bool {
    let head: String = start.chars().take(4000).collect();
    start.starts_with('<')
        && (head.contains("<profile") || head.contains("<!DOCTYPE profile"))
        && (head.contains("yast2ns")
            || head.contains("<!DOCTYPE profile")
            || head.contains("</profile")
            || head.contains("config:type"))
}

/// What it states. A profile that is no XML states nothing; lint says why.
pub(super) fn inspect(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let Ok(root) = xml::parse(text) else {
        comments(inspection, text, catalogue);
        return;
    };
    let mut all = Vec::new();
    root.walk(&mut all);
    system(&all, inspection, text, catalogue);
    passwords(&root, inspection, text);
    let mode = root.find(&["general", "mode"]);
    let flag = |name: &str| {
        let element = mode?.find(&[name])?;
        Some((element.text == "true", element.span.clone()))
    };
    let (halt, last) = (flag("halt"), flag("final_halt"));
    let second_stage = flag("second_stage").is_none_or(|it| it.0);
    inspection.end = Some(match (halt, last) {
        (Some((true, span)), _) => Stated::new(End::Poweroff, text, span, "general/mode/halt"),
        (_, Some((true, span))) if second_stage => {
            Stated::new(End::Poweroff, text, span, "general/mode/final_halt")
        }
        _ => Stated {
            value: End::Reboot,
            line: 1,
            span: 0..0,
            by: "no `<halt>` in `general/mode`".to_owned(),
        },
    });
    for rule in all.iter().filter(|it| it.name == "include") {
        if let Some(href) = rule.attribute("href") {
            let stated = Stated::new(href.to_owned(), text, rule.span.clone(), "xi:include");
            inspection.includes.push(stated);
        }
    }
}

fn system(all: &[&Element], inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let dialect = Dialect::Autoyast;
    for element in all.iter().filter(|it| it.name == "media_url" || it.name == "baseurl") {
        if let Some(os) = hints::of_url(&element.text, dialect, catalogue) {
            let by = "the URL of an add-on".to_owned();
            inspection.state_os(&os, text, element.span.clone(), by);
            return;
        }
    }
    // `<version>15.4</version>` of a registered add-on is that of the system.
    let product: Option<(&str, Range<usize>)> = all
        .iter()
        .find(|it| matches!(it.text.as_str(), "SLES" | "SLED" | "openSUSE" | "Leap"))
        .map(|it| (it.text.as_str(), it.span.clone()));
    let version = all.iter().filter(|it| it.name == "version").find_map(|it| {
        let id = match product.as_ref().map(|it| it.0) {
            Some("openSUSE" | "Leap") => format!("opensuse-{}", it.text),
            _ => match it.text.split_once('.') {
                Some((major, "0")) => format!("sles-{major}"),
                Some((major, minor)) => format!("sles-{major}-sp{minor}"),
                None => format!("sles-{}", it.text),
            },
        };
        Some((hints::named(&id, dialect, catalogue)?, it.span.clone()))
    });
    if let Some((os, span)) = version {
        inspection.state_os(&os, text, span, "a product's version".to_owned());
        return;
    }
    comments(inspection, text, catalogue);
}

/// The file's name, then its comments.
fn comments(inspection: &mut Inspection, text: &str, catalogue: &Catalogue) {
    let name = inspection.name.rsplit('/').next().unwrap_or_default();
    if let Some(os) = hints::of_words(name, Dialect::Autoyast, catalogue) {
        let by = "its name".to_owned();
        inspection.os.get_or_insert(Stated { value: os.id.clone(), line: 0, span: 0..0, by });
        return;
    }
    let mut is_comment = false;
    for line in lines(text) {
        is_comment |= line.text.contains("<!--");
        if is_comment && let Some(os) = hints::of_words(line.text, Dialect::Autoyast, catalogue) {
            inspection.state_os(&os, text, line.trimmed_span(), "a comment".to_owned());
            return;
        }
        is_comment &= !line.text.contains("-->");
    }
}

fn passwords(root: &Element, inspection: &mut Inspection, text: &str) {
    let users = root.find(&["users"]).map(|it| it.children.as_slice()).unwrap_or_default();
    for user in users {
        let value = |name: &str| user.find(&[name]).map(|it| it.text.as_str());
        let Some(password) = user.find(&["user_password"]) else { continue };
        if matches!(password.text.as_str(), "" | "!" | "*") {
            continue;
        }
        let found = Password {
            of: value("username").unwrap_or("a user").to_owned(),
            is_plain: value("encrypted") != Some("true"),
        };
        let span = password.span.clone();
        inspection.passwords.push(Stated::new(found, text, span, "user_password"));
    }
}
