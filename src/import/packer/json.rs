//! Packer's templates in JSON, with their variables filled in.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::{Builder, Template, text_of};
use crate::import::{Context, ImportError};

/// Reads a template.
pub(super) fn read(name: &str, text: &str, cx: &Context<'_>) -> Result<Template, ImportError> {
    let root = object(name, text)?;
    if !root.contains_key("builders") {
        return Err(ImportError::Unknown(name.to_owned()));
    }
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let declared = root.get("variables").and_then(Json::as_object);
    for (key, value) in declared.into_iter().flatten() {
        // `null` is a value that has to be given.
        if let Some(value) = text_of(value).or_else(|| value.as_str().map(str::to_owned)) {
            values.insert(key.clone(), value);
        }
    }
    for (file, text) in cx.variable_files {
        for (key, value) in object(file, text)? {
            values.extend(text_of(&value).map(|it| (key, it)));
        }
    }
    values.extend(cx.variables.iter().cloned());
    let mut template = Template::default();
    let lines = builder_lines(text);
    for (i, builder) in list(&root, "builders").iter().enumerate() {
        let Some(settings) = builder.as_object() else { continue };
        let kind = settings.get("type").and_then(text_of).unwrap_or_default();
        let label = settings.get("name").and_then(text_of);
        let label =
            label.and_then(|it| text_filled(&it, &values, 0).ok()).unwrap_or_else(|| kind.clone());
        let line = lines.get(i).copied().unwrap_or_default();
        let mut found = Builder { kind, label, line, ..Builder::default() };
        for (key, value) in settings {
            match filled(value, &values, 0) {
                Ok(Json::String(filled)) if filled.is_empty() => {
                    let from = value.as_str().unwrap_or_default().to_owned();
                    found.empty.push((key.clone(), from));
                }
                Ok(value) => {
                    found.settings.insert(key.clone(), value);
                }
                Err(why) => found.open.push((key.clone(), why)),
            }
        }
        template.builders.push(found);
    }
    for (section, word) in [("provisioners", "provisioner"), ("post-processors", "post-processor")]
    {
        let mut entries: Vec<&Json> = Vec::new();
        for entry in list(&root, section) {
            match entry {
                Json::Array(inner) => entries.extend(inner),
                other => entries.push(other),
            }
        }
        for entry in entries {
            let kind = entry.get("type").and_then(Json::as_str).or(entry.as_str());
            template.others.push(format!("the {word} `{}`", kind.unwrap_or("?")));
        }
    }
    Ok(template)
}

/// The lines that the builders begin at: JSON's reader tells none.
fn builder_lines(text: &str) -> Vec<usize> {
    let Some(start) = text.find("\"builders\"") else { return Vec::new() };
    let mut line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
    let (mut depth, mut is_text, mut is_escaped) = (0_u32, false, false);
    let mut lines = Vec::new();
    for sign in text.get(start + "\"builders\"".len()..).unwrap_or_default().chars() {
        line += usize::from(sign == '\n');
        match sign {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '[' | '{' => {
                depth += 1;
                if depth == 2 {
                    lines.push(line);
                }
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    lines
}

fn object(name: &str, text: &str) -> Result<Map<String, Json>, ImportError> {
    let syntax =
        |line: usize, message: String| ImportError::Syntax { name: name.to_owned(), line, message };
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Json::Object(root)) => Ok(root),
        Ok(_) => Err(syntax(1, "this is no table".to_owned())),
        Err(error) => Err(syntax(error.line(), error.to_string())),
    }
}

fn list<'a>(root: &'a Map<String, Json>, key: &str) -> &'a [Json] {
    root.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

static CALL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"\{\{\s*(user|env|build_name|build_type|template_dir|pwd|isotime|timestamp|uuid|clean_resource_name)\b\s*(?:[`"]([^`"]*)[`"])?[^}]*\}\}"#).ok()
});

/// A value with its variables filled in; `{{ .HTTPIP }}` and the like stay.
fn filled(value: &Json, values: &BTreeMap<String, String>, depth: u32) -> Result<Json, String> {
    Ok(match value {
        Json::String(text) => Json::String(text_filled(text, values, depth)?),
        Json::Array(items) => {
            Json::Array(items.iter().map(|it| filled(it, values, depth)).collect::<Result<_, _>>()?)
        }
        Json::Object(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, it)| Ok((key.clone(), filled(it, values, depth)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other.clone(),
    })
}

fn text_filled(
    text: &str,
    values: &BTreeMap<String, String>,
    depth: u32,
) -> Result<String, String> {
    let Some(call) = &*CALL else { return Ok(text.to_owned()) };
    if depth > 8 {
        return Err("variables use each other in a circle".to_owned());
    }
    let mut out = String::new();
    let mut at = 0;
    for found in call.captures_iter(text) {
        let (Some(whole), Some(function)) = (found.get(0), found.get(1)) else { continue };
        let argument = found.get(2).map(|it| it.as_str()).unwrap_or_default();
        out.push_str(text.get(at..whole.start()).unwrap_or_default());
        at = whole.end();
        match function.as_str() {
            "user" => {
                let value = values
                    .get(argument)
                    .ok_or_else(|| format!("the variable `{argument}` has no value"))?;
                out.push_str(&text_filled(value, values, depth + 1)?);
            }
            "template_dir" | "pwd" => out.push('.'),
            "build_name" | "build_type" => out.push_str("qemu"),
            other => return Err(format!("`{other}` has a value only when Packer runs")),
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Ok(out)
}
