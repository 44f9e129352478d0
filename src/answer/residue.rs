//! Signs of a template that was not filled in.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// Jinja, ERB, `${adminpw}` of the tools of 2013, `@@NAME@@`, `%%NAME%%`, and
/// `<FILL THIS IN>`.
static RESIDUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"\{\{[^{}\n]*\}\}|\{%-?\s[^\n]*?%\}|<%[=-]?[^\n]*?%>|\$\{adminpw\}|@@[A-Z_]+@@|%%[A-Z_]+%%|<[A-Z][A-Z _-]{3,}>",
    )
    .ok()
});

/// The first of them.
pub(super) fn find(text: &str) -> Option<Range<usize>> {
    all(text).next()
}

/// All of them.
pub(super) fn find_all(text: &str) -> Vec<Range<usize>> {
    all(text).collect()
}

fn all(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let found = RESIDUE.as_ref().into_iter().flat_map(move |it| it.find_iter(text));
    found.filter(|it| !is_shell(text, it)).map(|it| it.range())
}

/// `cat <<EOF >file`: the shell's, no `<FILL THIS IN>`.
fn is_shell(text: &str, found: &regex::Match<'_>) -> bool {
    let before = text.get(..found.start()).unwrap_or_default();
    found.as_str().starts_with('<') && (before.ends_with('<') || found.as_str().ends_with(" >"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_documents_are_no_placeholders() {
        for (text, expected) in [
            ("cat <<EOF > /etc/motd", None),
            ("cat <<EOF >/etc/motd", None),
            ("cat <<-'EOF' > x", None),
            ("rootpw <YOUR PASSWORD>", Some("<YOUR PASSWORD>")),
            ("url --url={{ tree }}", Some("{{ tree }}")),
        ] {
            assert_eq!(find(text).and_then(|it| text.get(it)), expected, "{text}");
        }
    }
}
