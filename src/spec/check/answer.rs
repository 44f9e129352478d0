//! What the installer is told.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Checker, SpecError, names};
use crate::{
    model::{Answer, AnswerOrigin},
    render::{self, BUILT_IN_NAMES},
    spec::file::{AnswerTable, VariableTable},
};

impl Checker<'_> {
    pub(super) fn answer(
        &mut self,
        table: &AnswerTable,
        masked: Json,
        variables: &BTreeMap<String, VariableTable>,
        is_damaged: bool,
    ) -> Answer {
        let AnswerTable { template, file, text, values } = table;
        let given: Vec<_> = [("template", template), ("file", file), ("text", text)]
            .into_iter()
            .filter_map(|(key, value)| value.as_ref().map(|it| (key, it)))
            .collect();
        for ((first, _), (second, _)) in given.iter().zip(given.iter().skip(1)) {
            self.contradiction(
                format!("`answer` has both `{first}` and `{second}`"),
                (&["answer", second], "and this"),
                (&["answer", first], "this"),
                "keep one of `template`, `file` and `text`",
            );
        }
        for (key, name) in given.iter().filter(|(key, _)| *key != "text") {
            self.inside(&["answer", key], name);
        }
        self.values(table, variables);
        let origin = match given.first() {
            Some(("template", name)) => AnswerOrigin::Template((*name).clone()),
            Some(("file", name)) => AnswerOrigin::File((*name).clone()),
            Some((_, text)) => {
                if text.trim().is_empty() {
                    self.error(
                        "empty",
                        "the answer file is empty",
                        &["answer", "text"],
                        "says nothing",
                        "write it, or leave `text` out for the built-in template",
                    );
                }
                AnswerOrigin::Text((*text).clone())
            }
            None if is_damaged => AnswerOrigin::Text(String::new()),
            None => AnswerOrigin::Template(self.built_in_template()),
        };
        if matches!(origin, AnswerOrigin::File(_)) && !values.is_empty() {
            let warning = SpecError::warning(
                "no-effect",
                "the values are not used: `answer.file` is taken as it is",
            )
            .at(self.span(&["answer", "values"]), "never used")
            .and(self.span(&["answer", "file"]), "taken as it is")
            .help("write `template` instead of `file`");
            self.warnings.push(warning);
        }
        let masked_values = match masked {
            Json::Object(masked) => masked,
            _ => values.clone(),
        };
        Answer { origin, values: values.clone(), masked_values }
    }

    fn built_in_template(&mut self) -> String {
        let Some(os) = self.os.clone() else { return String::new() };
        os.template.clone().unwrap_or_else(|| {
            self.error(
                "missing-key",
                format!("there is no built-in answer file for `{}`", os.id),
                &["os"],
                "this system",
                "add `[answer]` with a `template`, a `file` or a `text`",
            );
            String::new()
        })
    }

    fn values(&mut self, table: &AnswerTable, variables: &BTreeMap<String, VariableTable>) {
        for name in table.values.keys() {
            let path = ["answer", "values", name.as_str()];
            let at = self.document.key_span(&path);
            if variables.contains_key(name) {
                let variable = self.document.key_span(&["variables", name]);
                self.errors.push(
                    SpecError::new(
                        "contradiction",
                        format!("`{name}` is an answer value and a variable"),
                    )
                    .at(at, "here it is a value")
                    .and(variable, "here it is a variable")
                    .help("templates see both under one name; rename one, or leave the value out"),
                );
            } else if BUILT_IN_NAMES.contains(&name.as_str()) {
                self.errors.push(
                    SpecError::new(
                        "reserved-name",
                        format!("an answer value cannot be called `{name}`"),
                    )
                    .at(at, "this name is taken")
                    .help(format!(
                        "{} are always there; choose another name",
                        names::list(BUILT_IN_NAMES)
                    )),
                );
            }
        }
    }

    /// A name of a file in the spec's folder.
    pub(super) fn inside(&mut self, path: &[&str], name: &str) {
        if !render::stays_inside(name) {
            let message = if name.is_empty() {
                format!("`{}` is empty", path.join("."))
            } else {
                format!("`{name}` leads out of the spec's folder")
            };
            self.error(
                "outside",
                message,
                path,
                "here",
                "put the file beside the spec and name it without a leading `/` and without `..`",
            );
        }
    }
}
