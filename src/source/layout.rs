//! Paths of the catalogue, with the values of one build filled in.

use crate::{catalogue::Os, model::Arch};

use super::SourceError;

/// Fills `{arch}`, `{debarch}`, `{version}` and `{codename}` in.
pub(super) fn fill(text: &str, os: &Os, arch: Arch) -> Result<String, SourceError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        let value = match name {
            "arch" => Some(arch.as_str()),
            "debarch" => Some(arch.debian()),
            "version" => Some(os.version.as_str()),
            "codename" => os.codename.as_deref(),
            _ => None,
        };
        filled.push_str(value.ok_or_else(|| SourceError::Placeholder {
            text: text.to_owned(),
            name: name.to_owned(),
            os: os.id.clone(),
        })?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}
