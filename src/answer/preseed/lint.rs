//! What is wrong with a preseed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use serde::Deserialize;

use crate::{
    answer::{finding::Gatherer, inspection::Inspection},
    catalogue::Os,
};

use super::parse::{Answer, Preseed};

/// The questions of debian-installer, made from its templates by
/// `tests/lint/generate_preseed.py`.
static QUESTIONS: LazyLock<Questions> = LazyLock::new(|| {
    // A test reads the files; without them nothing is unknown.
    serde_json::from_str(include_str!("../../../data/preseed/questions.json")).unwrap_or_default()
});

static NEEDED: LazyLock<NeededFile> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../data/preseed/needed.toml")).unwrap_or_default()
});

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Questions {
    #[expect(dead_code, reason = "for the reader of the file")]
    source: String,
    /// Types by name.
    questions: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NeededFile {
    needed: Vec<Needed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Needed {
    any: Vec<String>,
    value: Option<String>,
    what: String,
    add: String,
}

/// The types of debconf, and the flag that may stand in their place.
const KINDS: &[&str] =
    &["string", "boolean", "select", "multiselect", "note", "password", "text", "title", "seen"];

/// What is wrong with it.
pub(crate) fn lint(
    inspection: &Inspection,
    os: Option<&Os>,
    text: &str,
    gatherer: &mut Gatherer<'_>,
) {
    let preseed = Preseed::parse(text);
    form(&preseed, gatherer);
    let mut last: BTreeMap<&str, &Answer> = BTreeMap::new();
    for answer in &preseed.answers {
        one(answer, os, gatherer);
        if answer.kind.text == "seen" {
            continue;
        }
        if let Some(first) = last.insert(&answer.question.text, answer)
            && first.value != answer.value
        {
            gatherer.warning(
                "preseed::duplicate",
                answer.question.span.clone(),
                format!("`{}` is answered twice, and not the same", answer.question.text),
                "the last answer counts; leave the other out",
            );
        }
    }
    if inspection.includes.is_empty() {
        asked(&preseed, gatherer);
        accounts(&preseed, gatherer);
    }
}

/// Lines that the installer does not read as they are meant.
fn form(preseed: &Preseed, gatherer: &mut Gatherer<'_>) {
    for span in &preseed.broken {
        gatherer.error(
            "preseed::syntax",
            span.clone(),
            "this is no answer: the installer stops reading the file here",
            "write `owner question type value`, as in `d-i mirror/suite string trixie`",
        );
    }
    for span in &preseed.inner_comments {
        gatherer.warning(
            "preseed::comment-inside",
            span.clone(),
            "this comment stands in the middle of an answer that goes on",
            "the installer drops it and joins the lines around it; move it before the answer",
        );
    }
    if let Some(span) = &preseed.open_end {
        gatherer.error(
            "preseed::open-end",
            span.clone(),
            "the last answer ends with a backslash, so the installer forgets it",
            "leave the backslash out",
        );
    }
}

fn one(answer: &Answer, os: Option<&Os>, gatherer: &mut Gatherer<'_>) {
    let kind = answer.kind.text.as_str();
    let question = answer.question.text.as_str();
    if !KINDS.contains(&kind) {
        let near = crate::spec::names::nearest(kind, KINDS);
        gatherer.error(
            "preseed::type",
            answer.kind.span.clone(),
            format!("`{kind}` is no type of debconf's"),
            near.map_or_else(
                || "write `owner question type value`".to_owned(),
                |it| format!("did you mean `{it}`?"),
            ),
        );
        return;
    }
    if kind == "boolean" && !matches!(answer.value.as_str(), "true" | "false" | "") {
        gatherer.error(
            "preseed::boolean",
            answer.value_span.clone(),
            format!("`{question}` is neither `true` nor `false`"),
            "write `true` or `false`",
        );
    }
    // Packages bring questions of their own; only the installer's are known.
    if answer.owner.text != "d-i" || kind == "seen" {
        return;
    }
    let known = QUESTIONS.questions.get(question);
    match known {
        Some(known) if known != kind && !goes_for(known, kind) => gatherer.warning(
            "preseed::other-type",
            answer.kind.span.clone(),
            format!("`{question}` is a {known}, not a {kind}"),
            format!("write `{known}`"),
        ),
        // The names of another release's questions are not these.
        None if os.is_some_and(|it| it.family == "debian") && !is_made_up(question) => {
            let names: Vec<_> = QUESTIONS.questions.keys().map(String::as_str).collect();
            let near = crate::spec::names::nearest(question, &names);
            gatherer.warning(
                "preseed::unknown-question",
                answer.question.span.clone(),
                format!("debian-installer knows no question `{question}`"),
                near.map_or_else(
                    || {
                        "another release may have it, or a package: then name that as its owner"
                            .into()
                    },
                    |it| format!("did you mean `{it}`?"),
                ),
            );
        }
        _ => {}
    }
}

/// Types that debconf stores alike.
fn goes_for(known: &str, kind: &str) -> bool {
    let is_text =
        |it: &str| matches!(it, "string" | "select" | "multiselect" | "password" | "text");
    let is_shown = |it: &str| matches!(it, "note" | "error" | "text");
    (is_text(known) && is_text(kind))
        || (is_shown(known) && is_shown(kind))
        || (is_shown(known) && kind == "boolean")
}

/// Questions whose names are put together while the installer runs.
fn is_made_up(question: &str) -> bool {
    [
        "apt-setup/local",
        "partman-auto-raid/",
        "preseed/",
        "mirror/",
        "netcfg/",
        "partman/",
        "anna/",
        "debian-installer/",
        "crypto/",
        "apt-mirror-setup/",
        "tasksel/",
        "keyboard-configuration/",
        "console-setup/",
        "console-keymaps",
    ]
    .iter()
    .any(|it| question.starts_with(it))
}

/// Questions that will be asked.
fn asked(preseed: &Preseed, gatherer: &mut Gatherer<'_>) {
    for needed in &NEEDED.needed {
        let answer = needed.any.iter().find_map(|it| preseed.get(it));
        match (answer, &needed.value) {
            (None, _) => {
                let at = gatherer.at_end();
                gatherer.error(
                    "preseed::asked",
                    at,
                    format!("the installer will ask {}", needed.what),
                    format!("add `{}`", needed.add),
                );
            }
            (Some(answer), Some(value)) if answer.value != *value => gatherer.error(
                "preseed::asked",
                answer.value_span.clone(),
                format!("`{}` is answered so that the installer stops", answer.question.text),
                format!("write `{}`", needed.add),
            ),
            _ => {}
        }
    }
}

/// Accounts: as `user-setup-ask` decides.
fn accounts(preseed: &Preseed, gatherer: &mut Gatherer<'_>) {
    let is_false = |it: &str| preseed.get(it).is_some_and(|it| it.value == "false");
    let filled = |it: &str| preseed.get(it).is_some_and(|it| !it.value.is_empty());
    let at = gatherer.at_end();
    if !is_false("passwd/root-login") {
        let crypted = preseed.get("passwd/root-password-crypted");
        if let Some(answer) = crypted.filter(|it| it.value == "!") {
            gatherer.error(
                "preseed::asked",
                answer.span.clone(),
                "the installer takes `!` for no password and asks for one",
                "write `*`, which no password matches either",
            );
        } else if crypted.is_none_or(|it| it.value.is_empty())
            && (!filled("passwd/root-password") || !filled("passwd/root-password-again"))
        {
            gatherer.error(
                "preseed::asked",
                at.clone(),
                "the installer will ask for root's password",
                "add `d-i passwd/root-password-crypted password …`, or both \
                 `passwd/root-password` and `passwd/root-password-again`",
            );
        }
    }
    let makes_user = is_false("passwd/root-login") || !is_false("passwd/make-user");
    if makes_user {
        let crypted = filled("passwd/user-password-crypted");
        let plain = filled("passwd/user-password") && filled("passwd/user-password-again");
        let missing: Vec<_> = [
            (preseed.get("passwd/user-fullname").is_none(), "passwd/user-fullname"),
            (!filled("passwd/username"), "passwd/username"),
            (!crypted && !plain, "passwd/user-password-crypted"),
        ]
        .into_iter()
        .filter(|it| it.0)
        .map(|it| it.1)
        .collect();
        if !missing.is_empty() {
            gatherer.error(
                "preseed::asked",
                at,
                format!("the installer will ask for an account: `{}`", missing.join("`, `")),
                "answer these, or add `d-i passwd/make-user boolean false`",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_files_are_right() {
        let questions: Questions =
            serde_json::from_str(include_str!("../../../data/preseed/questions.json")).unwrap();
        assert!(questions.questions.len() > 500);
        let needed: NeededFile =
            toml::from_str(include_str!("../../../data/preseed/needed.toml")).unwrap();
        for question in needed.needed.iter().flat_map(|it| &it.any) {
            assert!(
                questions.questions.contains_key(question) || is_made_up(question),
                "{question}"
            );
        }
    }
}
