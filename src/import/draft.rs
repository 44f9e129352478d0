//! A spec in the making: its sections, its files, and what to say of it.

use std::sync::Arc;

use toml::{Table, Value};

use super::{Context, ImportError, Imported};
use crate::{
    answer,
    catalogue::{Dialect, Os},
    model::Arch,
    render,
};

/// A spec in the making.
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) os: Arc<Os>,
    root: Table,
    files: Vec<(String, String)>,
    /// Files of the specs before it, of the same import.
    taken: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

impl Draft {
    /// A spec that says nothing yet. Its names differ from those of the specs
    /// `before` it, of the same import.
    pub(super) fn new(
        name: &str,
        os: Arc<Os>,
        arch: Arch,
        before: &[Imported],
    ) -> Result<Self, ImportError> {
        if !os.arches.contains(&arch) {
            return Err(ImportError::no_counterpart(
                format!("{} is not known on {arch}", os.title),
                "`imgbuild os show` lists the architectures of a system",
            ));
        }
        let mut name = image_name(name);
        if before.iter().any(|it| it.name == name) {
            name = format!("{name}-{}", before.len() + 1);
        }
        let mut draft = Self {
            name: name.clone(),
            os,
            root: Table::new(),
            files: Vec::new(),
            taken: before.iter().flat_map(|it| it.files.clone()).collect(),
            notes: Vec::new(),
        };
        draft.set("version", 1);
        draft.set("name", name);
        draft.set("os", draft.os.id.clone());
        if arch != Arch::default() {
            draft.set("arch", arch.as_str());
        }
        Ok(draft)
    }

    /// Sets a value by its dotted path.
    pub(super) fn set(&mut self, path: &str, value: impl Into<Value>) {
        let mut table = &mut self.root;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value.into());
                return;
            }
            let next = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(next) = next else { return };
            table = next;
        }
    }

    /// Makes sure that a section is there.
    pub(super) fn section(&mut self, path: &str) {
        let table = path.split('.').try_fold(&mut self.root, |table, part| {
            match table.entry(part).or_insert_with(|| Value::Table(Table::new())) {
                Value::Table(next) => Some(next),
                _ => None,
            }
        });
        debug_assert!(table.is_some(), "sections are tables");
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Uses an answer file that people have. What reboots, halts or asks in it is
    /// mended, as Packer and Oz wait for other ends than a build.
    pub(super) fn answer_file(&mut self, path: &str, text: &str, cx: &Context<'_>) {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let (text, changes) = answer::fix(text, Some(&self.os), cx.catalogue);
        for change in changes {
            let now = if change.now.is_empty() {
                "taken out".to_owned()
            } else {
                format!("now `{}`", change.now)
            };
            self.note(format!("{name}:{}: {now}, as {}", change.line, change.because));
        }
        let name = self.file_name(name, &text);
        self.set("answer.file", name.clone());
        self.files.push((name, text));
    }

    /// A file's name, or another where a spec before has another file of that name.
    fn file_name(&self, name: String, text: &str) -> String {
        let is_taken = self.taken.iter().any(|it| it.0 == name && it.1 != text);
        if is_taken { format!("{}-{name}", self.name) } else { name }
    }

    /// Uses an answer file in which `${adminpw}` stands for a password.
    pub(super) fn answer_with_password(&mut self, path: &str, text: &str, cx: &Context<'_>) {
        if !text.contains("${adminpw}") {
            self.answer_file(path, text, cx);
            return;
        }
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let (text, changes) = answer::fix(text, Some(&self.os), cx.catalogue);
        for change in changes {
            self.note(format!(
                "{name}:{}: now `{}`, as {}",
                change.line, change.now, change.because
            ));
        }
        let (open, close) = if render::is_template(&text) || text.contains("{#") {
            ("{% raw %}", "{% endraw %}")
        } else {
            ("", "")
        };
        let filled = text.replace("${adminpw}", &format!("{close}{{{{ admin_password }}}}{open}"));
        self.set("variables.admin_password.description", "What stood for `${adminpw}`");
        self.set("variables.admin_password.sensitive", true);
        self.set("answer.template", name.clone());
        self.files.push((name, format!("{open}{filled}{close}")));
        self.note("the password is not written down: set IMGBUILD_VAR_admin_password");
    }

    /// Uses the system's built-in template.
    pub(super) fn built_in_template(&mut self) -> Result<(), ImportError> {
        let Some(template) = self.os.template.clone() else {
            return Err(ImportError::no_counterpart(
                format!("there is no built-in answer file for {}", self.os.title),
                "write one, and `imgbuild init --from FILE` makes a spec of it",
            ));
        };
        self.set("answer.template", template);
        Ok(())
    }

    /// The spec as it is written, after a comment that says where it is from.
    pub(super) fn finish(self, from: &str) -> Result<Imported, ImportError> {
        let body = toml::to_string_pretty(&self.root).map_err(|it| {
            ImportError::no_counterpart(format!("cannot write the spec: {it}"), "report this")
        })?;
        let mut text = format!("# {}, imported from {from}.\n", self.os.title);
        for note in &self.notes {
            for line in note.lines() {
                text.push_str("# - ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text.push_str(&body);
        Ok(Imported { name: self.name, spec: text, files: self.files, notes: self.notes })
    }
}

/// A system by the words that name it: a title, an ISO's file name.
pub(super) fn system(words: &[&str], cx: &Context<'_>) -> Result<Arc<Os>, ImportError> {
    system_for(words, None, cx)
}

/// The same, for an answer file of this dialect where it is known.
pub(super) fn system_for(
    words: &[&str],
    dialect: Option<Dialect>,
    cx: &Context<'_>,
) -> Result<Arc<Os>, ImportError> {
    if let Some(id) = cx.os {
        return cx.catalogue.get(id).ok_or_else(|| {
            ImportError::no_counterpart(
                format!("there is no operating system `{id}` in the catalogue"),
                "`imgbuild os list` shows those it knows",
            )
        });
    }
    let fits = |it: &Arc<Os>| dialect.is_none_or(|wanted| wanted == it.dialect);
    let named = |dialect| {
        words.iter().find_map(|it| {
            let by_id = cx.catalogue.get(it).filter(fits);
            by_id.or_else(|| answer::system_named(it, dialect, cx.catalogue))
        })
    };
    let found = named(dialect).or_else(|| named(None));
    found.ok_or_else(|| {
        let shown: Vec<_> = words.iter().filter(|it| !it.is_empty()).collect();
        let shown = shown.first().map_or_else(String::new, |it| format!(" of `{it}`"));
        ImportError::no_counterpart(
            format!("no operating system in the catalogue fits what is said{shown}"),
            "name it with --os ID; `imgbuild os list` shows those it knows, `imgbuild os add` adds \
             one of your own",
        )
    })
}

/// An architecture by any of its names.
pub(super) fn arch(name: &str) -> Result<Arch, ImportError> {
    match name.to_ascii_lowercase().as_str() {
        "" | "x86_64" | "amd64" | "x64" => Ok(Arch::X86_64),
        "aarch64" | "arm64" => Ok(Arch::Aarch64),
        _ => Err(ImportError::no_counterpart(
            format!("images for `{name}` cannot be built"),
            "imgbuild builds for x86_64 and aarch64",
        )),
    }
}

/// A size in the words of specs: `40000`, `40000M` and `20G` mean what they do in
/// QEMU, with this unit where there is none.
pub(super) fn size(text: &str, unit: &str) -> Option<String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|it| *it > 0)?;
    let unit = match suffix.trim().to_ascii_lowercase().as_str() {
        "" => unit,
        "b" if number.is_multiple_of(1 << 20) => return Some(format!("{} MiB", number >> 20)),
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    Some(format!("{number} {unit}"))
}

/// Text that no template is seen in.
pub(super) fn literal(text: &str) -> String {
    if render::is_template(text) || text.contains("{#") {
        format!("{{% raw %}}{text}{{% endraw %}}")
    } else {
        text.to_owned()
    }
}

/// A name that images may have, made of any.
fn image_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() || "._-".contains(it) { it } else { '-' })
        .collect();
    let name = name.trim_matches(|it: char| !it.is_ascii_alphanumeric());
    let name: String = name.chars().take(63).collect();
    if name.is_empty() { "image".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_qemu_are_those_of_specs() {
        for (text, expected) in [
            ("40000", Some("40000 MiB")),
            ("40000M", Some("40000 MiB")),
            ("20G", Some("20 GiB")),
            ("20 GB", Some("20 GiB")),
            ("0", None),
            ("x", None),
            ("12Q", None),
        ] {
            assert_eq!(size(text, "MiB").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn any_name_becomes_one_that_images_may_have() {
        for (name, expected) in
            [("a b", "a-b"), ("-x-", "x"), ("", "image"), ("f18.jeos", "f18.jeos")]
        {
            assert_eq!(image_name(name), expected);
        }
    }
}
