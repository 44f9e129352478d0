//! `{name}` in the strings of the catalogue.

/// Replaces each `{name}` that `value` knows and leaves the others as they are.
///
/// A name is made of lower-case letters, digits and `-` and starts with a
/// letter, so the `{1,2}` of a regex is none.
pub fn fill(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    for place in places(text) {
        let start = place.start - (text.len() - rest.len());
        let (before, after) = rest.split_at(start);
        filled.push_str(before);
        let (name, after) = after.split_at(place.name.len() + 2);
        match value(place.name) {
            Some(value) => filled.push_str(&value),
            None => filled.push_str(name),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// A `{name}` in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    /// The name.
    pub(super) name: &'a str,
    /// Where its brace is, in bytes.
    pub(super) start: usize,
}

/// Every `{name}` of a text.
pub(super) fn places(text: &str) -> impl Iterator<Item = Place<'_>> {
    text.match_indices('{').filter_map(|(start, _)| {
        let name = text.get(start + 1..)?.split_once('}')?.0;
        let is_name = name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-');
        is_name.then_some(Place { name, start })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_replaced_and_nothing_else() {
        let value = |name: &str| (name == "version").then(|| "13".to_owned());
        for (text, filled) in [
            ("debian-{version}-{debarch}", "debian-13-{debarch}"),
            (r"^\d{1,2} {version}$", r"^\d{1,2} 13$"),
            ("{{version}}", "{13}"),
            ("{version", "{version"),
            ("{version}{version}", "1313"),
            ("ü{version}ü", "ü13ü"),
        ] {
            assert_eq!(fill(text, value), filled, "{text}");
        }
    }
}
