//! What the commands of each release take: data made from pykickstart by
//! `tests/lint/generate_kickstart.py`.

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

use serde::Deserialize;
use serde_json::value::RawValue;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // A test reads the file; without it nothing would be known.
    serde_json::from_str(include_str!("../../../data/kickstart/commands.json")).unwrap_or_default()
});

/// The table. Its words are those of the file: nothing is copied.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Table {
    /// What it was made from.
    #[expect(dead_code, reason = "for the reader of the file")]
    source: &'static str,
    versions: HashMap<&'static str, Part<Version>>,
    classes: Vec<Vec<&'static str>>,
    parsers: Vec<Part<Parser>>,
}

/// A part of the file that is read when it is first asked for: one kickstart needs
/// one release and some of its commands.
#[derive(Debug)]
struct Part<T> {
    text: &'static str,
    value: OnceLock<Option<T>>,
}

impl<'de: 'static, T> Deserialize<'de> for Part<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'static RawValue>::deserialize(deserializer)?;
        Ok(Self { text: raw.get(), value: OnceLock::new() })
    }
}

impl<T: Deserialize<'static>> Part<T> {
    /// The part; a test reads them all.
    fn get(&self) -> Option<&T> {
        self.value.get_or_init(|| serde_json::from_str(self.text).ok()).as_ref()
    }
}

/// One release.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound(deserialize = "'de: 'static"))]
struct Version {
    #[expect(dead_code, reason = "orders releases for the reader of the file")]
    number: u32,
    needs_end: bool,
    commands: HashMap<&'static str, Entry>,
    sections: HashMap<&'static str, Option<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    classes: usize,
    is: Option<Fate>,
    parser: Option<usize>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
    /// It is read and does nothing.
    Deprecated,
    /// It is an error.
    Removed,
}

/// What a command takes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound(deserialize = "'de: 'static"))]
pub(crate) struct Parser {
    pub(crate) options: Vec<Opt>,
    pub(crate) positional: Vec<Positional>,
    #[serde(default)]
    pub(crate) groups: Vec<Group>,
}

/// An option.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Opt {
    pub(crate) names: Vec<&'static str>,
    #[serde(default)]
    pub(crate) nargs: Nargs,
    #[serde(rename = "type")]
    pub(crate) kind: Option<&'static str>,
    pub(crate) choices: Option<Vec<&'static str>>,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) deprecated: bool,
}

/// An argument that is no option.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Positional {
    pub(crate) dest: String,
    #[serde(default)]
    pub(crate) nargs: Nargs,
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "no such argument has a type that can fail")]
    kind: Option<&'static str>,
    pub(crate) choices: Option<Vec<&'static str>>,
}

/// Options of which one may be there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound(deserialize = "'de: 'static"))]
pub(crate) struct Group {
    pub(crate) names: Vec<&'static str>,
    pub(crate) required: bool,
}

/// How many values there are: a number, or `?`, `*`, `+`, `...`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Nargs {
    /// One.
    #[default]
    One,
    /// None: a flag.
    Zero,
    /// One or none.
    Maybe,
    /// Any number.
    Any,
    /// One at least.
    Some,
}

impl<'de> Deserialize<'de> for Nargs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;
        impl serde::de::Visitor<'_> for Count {
            type Value = Nargs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("0, 1, `?`, `*`, `...` or `+`")
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Nargs, E> {
                match count {
                    0 => Ok(Nargs::Zero),
                    1 => Ok(Nargs::One),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, count: &str) -> Result<Nargs, E> {
                match count {
                    "?" => Ok(Nargs::Maybe),
                    "*" | "..." => Ok(Nargs::Any),
                    "+" => Ok(Nargs::Some),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(count), &self)),
                }
            }
        }
        deserializer.deserialize_any(Count)
    }
}

/// What one release knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    version: &'static Version,
}

/// What a release knows of one command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Whether it still does something.
    pub(crate) fate: Option<Fate>,
    /// What it takes.
    pub(crate) parser: Option<&'static Parser>,
    classes: &'static [&'static str],
}

/// What the heading of a section takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SectionForm {
    /// Anything.
    Free,
    /// Options.
    Takes(&'static Parser),
}

impl Known {
    /// Whether it works like this class of pykickstart.
    pub(crate) fn is_a(&self, class: &str) -> bool {
        self.classes.contains(&class)
    }
}

impl Release {
    /// A release by pykickstart's name for it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(Self { version: TABLE.versions.get(name)?.get()? })
    }

    /// What it knows of a command.
    pub(crate) fn command(self, name: &str) -> Option<Known> {
        let entry = self.version.commands.get(name)?;
        Some(Known {
            fate: entry.is,
            parser: entry.parser.and_then(|it| TABLE.parsers.get(it)?.get()),
            classes: TABLE.classes.get(entry.classes).map(Vec::as_slice).unwrap_or_default(),
        })
    }

    /// What the heading of a section takes; `None` where there is no such section.
    pub(crate) fn section(self, name: &str) -> Option<SectionForm> {
        let parser = self.version.sections.get(name)?;
        let parser = parser.and_then(|it| TABLE.parsers.get(it)?.get());
        Some(parser.map_or(SectionForm::Free, SectionForm::Takes))
    }

    /// Whether a section has to be closed.
    pub(crate) fn needs_end(self) -> bool {
        self.version.needs_end
    }

    /// The names of its commands.
    pub(crate) fn commands(self) -> impl Iterator<Item = &'static str> {
        self.version.commands.keys().copied()
    }
}

/// Whether any release knows a command.
pub(crate) fn is_known_anywhere(command: &str) -> bool {
    TABLE.versions.values().filter_map(Part::get).any(|it| it.commands.contains_key(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_file_is_right() {
        let table: Table =
            serde_json::from_str(include_str!("../../../data/kickstart/commands.json")).unwrap();
        assert!(table.versions.len() > 40);
        assert!(table.parsers.iter().all(|it| it.get().is_some()));
        for version in table.versions.values() {
            let version = version.get().unwrap();
            for entry in version.commands.values() {
                assert!(entry.classes < table.classes.len());
                assert!(entry.parser.is_none_or(|it| it < table.parsers.len()));
            }
        }
    }

    #[test]
    fn every_kickstart_system_of_the_catalogue_has_its_release() {
        let catalogue = crate::catalogue::Catalogue::built_in();
        for os in catalogue.systems() {
            if os.dialect == crate::catalogue::Dialect::Kickstart {
                let version = os.dialect_version.as_deref().unwrap();
                assert!(Release::named(version).is_some(), "{}: {version}", os.id);
            }
        }
    }
}
