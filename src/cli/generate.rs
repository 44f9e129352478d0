//! Specs that imgbuild writes: worked out from an answer file, or for a system.

use camino::Utf8Path;

use super::{
    arguments::Overrides,
    failure::{Failure, Plain},
    load,
};
use crate::{
    answer::{self, Inspection},
    catalogue::{Catalogue, Os},
    model::Arch,
};

/// A spec that was worked out.
pub(super) struct Generated {
    /// The spec, in TOML.
    pub text: String,
    /// What was found, and where, a line each.
    pub notes: Vec<String>,
}

/// Whether a text is an answer file although its name is that of a spec, as
/// autoinstall's `user-data.yaml` is.
pub(super) fn is_answer_file(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').starts_with("#cloud-config")
        || text.lines().any(|it| it.trim_end() == "autoinstall:")
}

/// Works a spec out from an answer file alone. What is missing is asked for by
/// name.
pub(super) fn spec_of_answer_file(
    path: &Utf8Path,
    text: &str,
    overrides: &Overrides,
    catalogue: &Catalogue,
) -> Result<Generated, Failure> {
    let inspection = answer::inspect(path.as_str(), text, catalogue);
    let Some(dialect) = inspection.dialect else {
        return Err(Failure::usage(Plain::new(
            format!("cannot tell what `{path}` is"),
            "a spec ends in .toml, .yaml or .yml; an answer file is a kickstart, a preseed, \
             an AutoYaST or Agama profile, or an autoinstall file",
        )));
    };
    let id = overrides.os.clone().or_else(|| inspection.os_id()).ok_or_else(|| {
        Failure::usage(Plain::new(
            format!("{path} does not say which release it is for"),
            format!("add --os ID ({})", candidates(catalogue, dialect)),
        ))
    })?;
    let os = catalogue.get(&id).ok_or_else(|| load::unknown_os(&id, catalogue))?;
    if os.dialect != dialect {
        return Err(Failure::usage(Plain::new(
            format!(
                "{path} is a {}, and {} takes a {}",
                crate::plan::dialect_text(dialect),
                os.title,
                crate::plan::dialect_text(os.dialect)
            ),
            format!("add --os with another ID ({})", candidates(catalogue, dialect)),
        )));
    }
    let (source, location) = source(&inspection, overrides, &os, path)?;
    let arch = Arch::named_in(&location).map_err(|word| {
        Failure::usage(Plain::new(
            format!("images for `{word}` cannot be built, and {location} is for that"),
            "imgbuild builds for x86_64 and aarch64: add --source.tree or --source.iso with one \
             of these, or change the answer file",
        ))
    })?;
    let name = name_of(path);
    let file = path.file_name().unwrap_or_default();
    let mut notes = inspection.notes();
    if source.contains("attach = false") {
        notes.push(format!(
            "{path}: its packages come from the tree, so only kernel and initrd are fetched of the ISO"
        ));
    }
    let source = match arch {
        Some(arch) if arch != Arch::default() => {
            notes.push(format!("{path}: for {arch}, as {location} says"));
            format!("arch = \"{arch}\"\n\n{source}")
        }
        _ => source,
    };
    let text = spec_text(&name, &os, &source, &Answer::File(file.to_owned()), None);
    Ok(Generated { text, notes })
}

/// The answer file of a spec that is written.
pub(super) enum Answer {
    /// A file that is used as it is.
    File(String),
    /// A template.
    Template(String),
}

/// The source of a spec, and where that is.
fn source(
    inspection: &Inspection,
    overrides: &Overrides,
    os: &Os,
    path: &Utf8Path,
) -> Result<(String, String), Failure> {
    let quoted = |it: &str| toml::Value::from(it).to_string();
    if let Some(iso) = &overrides.source.source_iso {
        // A kickstart whose packages come from a tree needs no more of a remote ISO
        // than what boots.
        let is_enough = iso.contains("://")
            && os.dialect == crate::catalogue::Dialect::Kickstart
            && inspection.tree.is_some();
        let attach = if is_enough { "attach = false\n" } else { "" };
        return Ok((format!("[source.iso]\nlocation = {}\n{attach}", quoted(iso)), iso.clone()));
    }
    let tree = overrides
        .source
        .source_tree
        .clone()
        .or_else(|| inspection.tree.as_ref().map(|it| it.value.clone()))
        .or_else(|| os.tree_url(Arch::default()));
    let tree = tree.ok_or_else(|| {
        Failure::usage(Plain::new(
            match inspection.doubts.first() {
                Some(it) => format!("no install tree in `{path}` (line {}: {})", it.line, it.value),
                None => format!("no install tree in `{path}`"),
            },
            format!("add --source.tree URL or --source.iso PATH, or {}", tree_directive(os)),
        ))
    })?;
    Ok((format!("[source.tree]\nurl = {}\n", quoted(&tree)), tree))
}

fn tree_directive(os: &Os) -> &'static str {
    use crate::catalogue::Dialect;
    match os.dialect {
        Dialect::Kickstart => "a line `url --url=https://…`",
        Dialect::Preseed => {
            "lines `d-i mirror/http/hostname string …` and `d-i mirror/http/directory string …`"
        }
        Dialect::Autoyast | Dialect::Agama | Dialect::Autoinstall | Dialect::Other => {
            "write a spec with `imgbuild init` that names it"
        }
    }
}

/// The text of a spec.
pub(super) fn spec_text(
    name: &str,
    os: &Os,
    source: &str,
    answer: &Answer,
    variables: Option<&str>,
) -> String {
    let quoted = |it: &str| toml::Value::from(it).to_string();
    let answer = match answer {
        Answer::File(name) => format!("file = {}", quoted(name)),
        Answer::Template(name) => format!("template = {}", quoted(name)),
    };
    let needs = &os.machine;
    let disk = needs.disk_minimum.max(crate::units::Size::gib(8));
    format!(
        "# {title}. `imgbuild validate` checks this file, `imgbuild plan` shows what it would do,\n\
         # `imgbuild build` does it. `imgbuild schema` prints a JSON Schema for editors.\n\
         version = 1\n\
         name = {name}\n\
         os = {id}\n\
         \n\
         {variables}{source}{gap}\
         # What the installer is told.\n\
         [answer]\n\
         {answer}\n\
         \n\
         # The machine the installer runs in.\n\
         [install]\n\
         disk = \"{disk}\"\n\
         memory = \"{memory}\"\n\
         \n\
         # What is made of the installed disk.\n\
         [target.file]\n\
         path = \"{plain}.qcow2\"\n\
         \n\
         # The image is booted before it gets its name. This is the default condition.\n\
         [verify]\n\
         login-prompt = true\n",
        gap = if source.is_empty() { "" } else { "\n" },
        title = os.title,
        name = quoted(name),
        plain = name,
        id = quoted(&os.id),
        variables = variables.unwrap_or_default(),
        memory = needs.memory,
    )
}

/// A name for an image, made of a file's name.
pub(super) fn name_of(path: &Utf8Path) -> String {
    let stem = path.file_stem().unwrap_or("image");
    let name: String = stem
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() || "._-".contains(it) { it } else { '-' })
        .collect();
    let name = name.trim_matches(|it: char| !it.is_ascii_alphanumeric()).to_owned();
    if name.is_empty() { "image".to_owned() } else { name }
}

fn candidates(catalogue: &Catalogue, dialect: crate::catalogue::Dialect) -> String {
    let fitting: Vec<_> = catalogue
        .ids()
        .into_iter()
        .filter(|it| catalogue.get(it).is_some_and(|it| it.dialect == dialect))
        .collect();
    let some: Vec<_> = fitting.iter().rev().take(5).map(String::as_str).collect();
    format!("such as {}; `imgbuild os list` shows all", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::SourceOverrides;

    #[test]
    fn of_a_remote_iso_no_more_is_fetched_than_a_kickstart_needs() {
        let catalogue = Catalogue::built_in();
        let url = "url --url=http://mirror.example/rocky/9/BaseOS/x86_64/os/\n%packages\n%end\n";
        for (text, iso, is_whole) in [
            (url, "https://mirror.example/big.iso", false),
            (url, "/media/big.iso", true),
            ("cdrom\n%packages\n%end\n", "https://mirror.example/big.iso", true),
        ] {
            let overrides = Overrides {
                os: Some("rocky-9".to_owned()),
                source: SourceOverrides {
                    source_iso: Some(iso.to_owned()),
                    ..SourceOverrides::default()
                },
                ..Overrides::default()
            };
            let made =
                spec_of_answer_file(Utf8Path::new("my.ks"), text, &overrides, &catalogue).unwrap();
            assert_eq!(!made.text.contains("attach = false"), is_whole, "{text}{iso}");
            assert_eq!(
                !made.notes.iter().any(|it| it.contains("only kernel and initrd")),
                is_whole
            );
        }
    }

    #[test]
    fn the_tree_says_what_machine_the_image_is_for() {
        let catalogue = Catalogue::built_in();
        let made = |arch: &str| {
            let text =
                format!("url --url=http://mirror.example/rocky/9/BaseOS/{arch}/os/\n%packages\n");
            let path = Utf8Path::new("my.ks");
            let made = spec_of_answer_file(path, &text, &Overrides::default(), &catalogue);
            made.map(|it| it.text).map_err(|it| format!("{it:?}"))
        };
        assert!(made("aarch64").unwrap().contains("arch = \"aarch64\"\n"));
        assert!(!made("x86_64").unwrap().contains("arch ="));
        assert!(made("s390x").unwrap_err().contains("images for `s390x` cannot be built"));
    }

    #[test]
    fn why_there_is_no_tree_is_told() {
        let text = "nfs --server=a --dir=/rhel-5.9/os\nrootpw --lock\npoweroff\n%packages\n";
        let catalogue = Catalogue::built_in();
        let made =
            spec_of_answer_file(Utf8Path::new("my.ks"), text, &Overrides::default(), &catalogue);
        let error = made.err().map(|it| format!("{it:?}")).unwrap_or_default();
        assert!(error.contains("line 1: takes its packages from a place"), "{error}");
    }
}
