//! Names that people nearly got right.

/// The known name that comes nearest, where one is near enough.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |it: &str| it.to_lowercase().replace(['_', ' ', '.'], "-");
    let name = plain(name);
    known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(&name, &plain(it)), *it))
        .filter(|(distance, it)| *distance <= 1 + name.len().min(it.len()) / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, it)| it)
        .or_else(|| {
            // `mem` for `memory`.
            let longer = |it: &&&str| name.len() >= 3 && plain(it).starts_with(&name);
            known.iter().find(longer).copied()
        })
}

/// `a`, `b` and `c`, each in backticks.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<_> = names.iter().map(|it| format!("`{}`", it.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
