//! Files of the catalogue: rows that extend bases, and what they expand to.
//!
//! A row states what is its own and takes the rest from bases or from other
//! systems by `extends`. Tables are merged key by key, lists and values replaced.
//! `{version}` and the like are filled in at the end, with the row's own values.

use std::collections::BTreeMap;

use serde::{Deserialize, de};
use toml::Spanned;

use super::{
    BootParameters, Dialect, InstallerKind, IsoLayout, MachineNeeds, Os, PackageLayout, TreeLayout,
    fill::{fill, places},
};
use crate::{
    model::{Arch, Delivery},
    units::Size,
};

/// A file with operating systems.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    /// The family of all its rows.
    pub(super) family: Option<String>,
    /// What its rows have in common, by name.
    #[serde(default)]
    pub(super) base: BTreeMap<String, Row>,
    /// The systems.
    #[serde(default)]
    pub(super) os: Vec<Spanned<Row>>,
}

/// A value that can be laid over another.
trait Over {
    fn over(self, base: &Self) -> Self;
}

/// A table whose keys may all be missing.
macro_rules! partial {
    ($(#[$about:meta])* $name:ident { $($field:ident: $type:ty,)* } tables { $($table:ident: $part:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$type>,)*
            $(#[serde(default)] pub(super) $table: $part,)*
        }

        impl Over for $name {
            fn over(self, base: &Self) -> Self {
                Self {
                    $($field: self.$field.or_else(|| base.$field.clone()),)*
                    $($table: self.$table.over(&base.$table),)*
                }
            }
        }
    };
}

partial! {
    /// A system or a base.
    Row {
        extends: Extends,
        id: String,
        aliases: Vec<String>,
        title: String,
        family: String,
        version: String,
        codename: String,
        installer: InstallerKind,
        dialect: Dialect,
        dialect_version: String,
        template: String,
        end_of_life: String,
        arches: Vec<Arch>,
        sources: Vec<String>,
    } tables {
        with: BTreeMap<String, String>,
        tree: TreePart,
        iso: IsoPart,
        package: PackagePart,
        machine: MachinePart,
        boot: BootPart,
        glance: BTreeMap<String, String>,
    }
}

partial! {
    /// See [`TreeLayout`].
    TreePart {
        url: String,
        kernel: String,
        initrd: String,
        checksums: Vec<String>,
        treeinfo_family: String,
        treeinfo_version: String,
    } tables {}
}

partial! {
    /// See [`IsoLayout`].
    IsoPart {
        kernel: Vec<String>,
        initrd: Vec<String>,
        volume_id: String,
        file: String,
    } tables {}
}

partial! {
    /// See [`PackageLayout`].
    PackagePart {
        name: String,
        kernel: String,
        initrd: String,
    } tables {}
}

partial! {
    /// See [`MachineNeeds`].
    MachinePart {
        memory_minimum: Size,
        memory: Size,
        disk_minimum: Size,
        disk_bus: String,
        nic: String,
        machine: String,
        x86_64_level: Level,
        disk_device: String,
        log_port: String,
    } tables {}
}

partial! {
    /// See [`BootParameters`].
    BootPart {
        always: Vec<String>,
        tree: Vec<String>,
        iso: Vec<String>,
        console: Vec<String>,
        log: Vec<String>,
        separator: String,
        target: Vec<String>,
        volume_label: String,
        volume_file: String,
        volume_companions: Vec<String>,
        command_line_limit: u32,
    } tables {
        delivery: BTreeMap<Delivery, Vec<String>>,
        remote: BTreeMap<String, Vec<String>>,
    }
}

impl<K: Ord + Clone, V: Clone> Over for BTreeMap<K, V> {
    fn over(self, base: &Self) -> Self {
        let mut all = base.clone();
        all.extend(self);
        all
    }
}

/// The names a row extends; of several the first wins.
#[derive(Clone, Debug)]
pub(super) struct Extends(Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Extends {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> de::Visitor<'de> for Names {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(vec![name.to_owned()])
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(names)
            }
        }
        // The span is that of the whole value: a list is short.
        struct One(Vec<String>);
        impl<'de> Deserialize<'de> for One {
            fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Names).map(One)
            }
        }
        let all = Spanned::<One>::deserialize(deserializer)?;
        let span = all.span();
        let names = all.into_inner().0.into_iter();
        Ok(Self(names.map(|it| Spanned::new(span.clone(), it)).collect()))
    }
}

/// An x86-64 level, 1 to 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level(u8);

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            level @ 1..=4 => Ok(Self(level)),
            level => {
                Err(de::Error::custom(format!("there is no x86-64 level {level}, only 1 to 4")))
            }
        }
    }
}

/// Why a row cannot be expanded.
#[derive(Debug)]
pub(super) enum Problem {
    /// It extends something that is not there, or itself.
    Extends(Spanned<String>),
    /// A key is missing.
    Missing(&'static str),
    /// A value makes no sense.
    Value { message: String, help: String },
}

/// What a name means that a row extends.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) row: &'a Row,
    /// The file it stands in, by number: what it extends is looked up from there.
    pub(super) file: usize,
    pub(super) kind: Kind<'a>,
}

/// What can be extended.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    Base,
    /// The family is that of its file. Another system has names of its own.
    System {
        family: Option<&'a str>,
    },
}

impl<'a> Kind<'a> {
    fn family(self) -> Option<&'a str> {
        match self {
            Self::Base => None,
            Self::System { family } => family,
        }
    }
}

/// Finds what a name means in the file of this number.
pub(super) type Find<'a, 'f> = dyn Fn(&str, usize) -> Option<Found<'a>> + 'f;

/// Lays a row over all that it extends.
pub(super) fn resolve(row: &Row, file: usize, find: &Find<'_, '_>) -> Result<Row, Problem> {
    let mut whole = Row { extends: None, ..row.clone() };
    each_base(row, file, find, 0, &mut |base| {
        let names = (whole.id.clone(), whole.aliases.clone());
        whole = std::mem::take(&mut whole).over(base.row);
        if let Kind::System { .. } = base.kind {
            (whole.id, whole.aliases) = names;
        }
        whole.family = whole.family.take().or_else(|| base.kind.family().map(str::to_owned));
    })?;
    whole.extends = None;
    Ok(whole)
}

/// What a row extends, and what that extends, the first to win first.
fn each_base<'a>(
    row: &Row,
    file: usize,
    find: &Find<'a, '_>,
    depth: usize,
    visit: &mut dyn FnMut(Found<'a>),
) -> Result<(), Problem> {
    for name in row.extends.iter().flat_map(|it| &it.0) {
        // Deeper than this only a circle is.
        let base = (depth < 16).then(|| find(name.get_ref(), file)).flatten();
        let base = base.ok_or_else(|| Problem::Extends(name.clone()))?;
        visit(base);
        each_base(base.row, base.file, find, depth + 1, visit)?;
    }
    Ok(())
}

/// What a system is looked up by.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) id: String,
    pub(super) aliases: Vec<String>,
    pub(super) codename: Option<String>,
}

impl Names {
    /// The id and the aliases.
    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.id).chain(&self.aliases)
    }
}

/// The names of a row. A start of imgbuild wants those of all systems, and the
/// rest of one: no more than this is worked out of each.
pub(super) fn names(
    row: &Row,
    family: Option<&str>,
    file: usize,
    find: &Find<'_, '_>,
) -> Result<Names, Problem> {
    let mut of = Row {
        id: row.id.clone(),
        aliases: row.aliases.clone(),
        family: row.family.clone(),
        version: row.version.clone(),
        codename: row.codename.clone(),
        with: row.with.clone(),
        ..Row::default()
    };
    each_base(row, file, find, 0, &mut |base| {
        let row = base.row;
        if let Kind::Base = base.kind {
            of.id = of.id.take().or_else(|| row.id.clone());
            of.aliases = of.aliases.take().or_else(|| row.aliases.clone());
        }
        let family = row.family.as_deref().or(base.kind.family());
        of.family = of.family.take().or_else(|| family.map(str::to_owned));
        of.version = of.version.take().or_else(|| row.version.clone());
        of.codename = of.codename.take().or_else(|| row.codename.clone());
        for (key, value) in &row.with {
            of.with.entry(key.clone()).or_insert_with(|| value.clone());
        }
    })?;
    of.family = of.family.or_else(|| family.map(str::to_owned));
    let filler = Filler::of(&of)?;
    Ok(Names { aliases: filler.aliases(&of)?, codename: of.codename.clone(), id: filler.id })
}

/// Names that stay until a build fills them in.
const LATER: &[&str] =
    &["arch", "debarch", "serial", "answer", "tree", "label", "volume-id", "log"];

/// Fills `{version}` and the like in with a row's own values.
struct Filler<'a> {
    row: &'a Row,
    family: &'a str,
    version: &'a str,
    id: String,
}

impl<'a> Filler<'a> {
    fn of(row: &'a Row) -> Result<Self, Problem> {
        let family = row.family.as_deref().ok_or(Problem::Missing("family"))?;
        let version = row.version.as_deref().ok_or(Problem::Missing("version"))?;
        let mut filler = Self { row, family, version, id: String::new() };
        let id = row.id.as_deref().unwrap_or("{family}-{version}");
        filler.id = fill(id, |name| filler.known(name));
        Ok(filler)
    }

    fn known(&self, name: &str) -> Option<String> {
        match name {
            "id" if !self.id.is_empty() => Some(self.id.clone()),
            "family" => Some(self.family.to_owned()),
            "version" => Some(self.version.to_owned()),
            "major" => self.version.split('.').next().map(str::to_owned),
            "codename" => self.row.codename.clone(),
            _ => self.row.with.get(name).cloned(),
        }
    }

    fn text(&self, it: &str) -> Result<String, Problem> {
        if !it.contains('{') {
            return Ok(it.to_owned());
        }
        let filled = fill(it, |name| self.known(name));
        if let Some(place) = places(&filled).find(|it| !LATER.contains(&it.name)) {
            return Err(Problem::Value {
                message: format!("nothing is known to fill `{{{}}}` in with", place.name),
                help: "state it in `with`, or `codename` where it is that".to_owned(),
            });
        }
        Ok(filled)
    }

    fn list(&self, it: Option<&Vec<String>>) -> Result<Vec<String>, Problem> {
        it.into_iter().flatten().map(|it| self.text(it)).collect()
    }

    fn lists<K: Ord + Clone>(&self, map: &Lists<K>) -> Result<Lists<K>, Problem> {
        map.iter()
            .map(|(key, list)| {
                let filled: Result<_, Problem> = list.iter().map(|it| self.text(it)).collect();
                Ok((key.clone(), filled?))
            })
            .collect()
    }

    fn aliases(&self, row: &Row) -> Result<Vec<String>, Problem> {
        let mut aliases = self.list(row.aliases.as_ref())?;
        // libosinfo's short form, which older tools took.
        let short = self.id.replacen('-', "", 1);
        if short != self.id && !aliases.contains(&short) {
            aliases.push(short);
        }
        aliases.retain(|it| *it != self.id);
        Ok(aliases)
    }
}

type Lists<K> = BTreeMap<K, Vec<String>>;

/// What a row, with all that it extends, means.
pub(super) fn expand(row: &Row) -> Result<Os, Problem> {
    let missing = Problem::Missing;
    let filler = Filler::of(row)?;
    let text = |it: &str| filler.text(it);
    let maybe = |it: &Option<String>| it.as_deref().map(text).transpose();
    let list = |it: &Option<Vec<String>>| filler.list(it.as_ref());
    let needed = |it: &Option<String>, key| text(it.as_deref().ok_or(missing(key))?);

    let tree = if row.tree.url.is_some() || row.tree.kernel.is_some() {
        Some(TreeLayout {
            url: maybe(&row.tree.url)?,
            kernel: needed(&row.tree.kernel, "tree.kernel")?,
            initrd: needed(&row.tree.initrd, "tree.initrd")?,
            checksums: list(&row.tree.checksums)?,
            treeinfo_family: maybe(&row.tree.treeinfo_family)?,
            treeinfo_version: maybe(&row.tree.treeinfo_version)?,
        })
    } else {
        None
    };
    let iso = if row.iso.kernel.is_some() {
        let (kernel, initrd) = (list(&row.iso.kernel)?, list(&row.iso.initrd)?);
        if kernel.len() != initrd.len() {
            return Err(Problem::Value {
                message: "`iso.kernel` and `iso.initrd` are not of the same length".to_owned(),
                help: "they are pairs: the first kernel goes with the first initrd".to_owned(),
            });
        }
        Some(IsoLayout {
            kernel,
            initrd,
            volume_id: maybe(&row.iso.volume_id)?,
            file: maybe(&row.iso.file)?,
        })
    } else {
        None
    };
    let package = if row.package.name.is_some() {
        Some(PackageLayout {
            name: needed(&row.package.name, "package.name")?,
            kernel: needed(&row.package.kernel, "package.kernel")?,
            initrd: needed(&row.package.initrd, "package.initrd")?,
        })
    } else {
        None
    };
    let machine = &row.machine;
    let arches = row.arches.clone().filter(|it| !it.is_empty()).ok_or(missing("arches"))?;
    let boot = &row.boot;
    let delivery = filler.lists(&boot.delivery)?;
    if delivery.is_empty() {
        return Err(missing("boot.delivery"));
    }
    Ok(Os {
        aliases: filler.aliases(row)?,
        title: needed(&row.title, "title")?,
        family: filler.family.to_owned(),
        version: filler.version.to_owned(),
        codename: row.codename.clone(),
        installer: row.installer.ok_or(missing("installer"))?,
        dialect: row.dialect.ok_or(missing("dialect"))?,
        dialect_version: maybe(&row.dialect_version)?,
        template: maybe(&row.template)?,
        end_of_life: row.end_of_life.clone(),
        arches,
        tree,
        iso,
        package,
        machine: MachineNeeds {
            memory_minimum: machine.memory_minimum.ok_or(missing("machine.memory-minimum"))?,
            memory: machine.memory.ok_or(missing("machine.memory"))?,
            disk_minimum: machine.disk_minimum.ok_or(missing("machine.disk-minimum"))?,
            disk_bus: needed(&machine.disk_bus, "machine.disk-bus")?,
            nic: needed(&machine.nic, "machine.nic")?,
            machine: needed(&machine.machine, "machine.machine")?,
            x86_64_level: machine.x86_64_level.map_or(1, |it| it.0),
            disk_device: needed(&machine.disk_device, "machine.disk-device")?,
            log_port: machine.log_port.clone(),
        },
        boot: BootParameters {
            always: list(&boot.always)?,
            delivery,
            tree: list(&boot.tree)?,
            iso: list(&boot.iso)?,
            console: list(&boot.console)?,
            log: list(&boot.log)?,
            separator: boot.separator.clone(),
            target: list(&boot.target)?,
            remote: filler.lists(&boot.remote)?,
            volume_label: boot.volume_label.clone(),
            volume_file: boot.volume_file.clone(),
            volume_companions: list(&boot.volume_companions)?,
            command_line_limit: boot.command_line_limit,
        },
        glance: row
            .glance
            .iter()
            .map(|(key, value)| Ok((key.clone(), text(value)?)))
            .collect::<Result<_, Problem>>()?,
        sources: list(&row.sources)?,
        id: filler.id,
    })
}

/// Checks what costs too much to check of each built-in row at each start.
pub(super) fn check(os: &Os) -> Result<(), Problem> {
    let tree = os.tree.as_ref();
    let patterns = [
        tree.and_then(|it| it.treeinfo_family.as_ref()),
        tree.and_then(|it| it.treeinfo_version.as_ref()),
        os.iso.as_ref().and_then(|it| it.volume_id.as_ref()),
    ];
    for pattern in patterns.into_iter().flatten() {
        if let Err(error) = regex::Regex::new(pattern) {
            return Err(Problem::Value {
                message: format!("`{pattern}` is no regular expression"),
                help: error.to_string(),
            });
        }
    }
    let day = os.end_of_life.as_ref();
    if let Some(day) = day.filter(|it| it.parse::<jiff::civil::Date>().is_err()) {
        return Err(Problem::Value {
            message: format!("`{day}` is no day"),
            help: "write `end-of-life = \"2028-06-30\"`".to_owned(),
        });
    }
    if os.machine.memory < os.machine.memory_minimum {
        return Err(Problem::Value {
            message: "`machine.memory` is less than `machine.memory-minimum`".to_owned(),
            help: "raise `machine.memory`".to_owned(),
        });
    }
    let is_name = |it: &str| {
        !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if let Some(name) = std::iter::once(&os.id).chain(&os.aliases).find(|it| !is_name(it)) {
        return Err(Problem::Value {
            message: format!("`{name}` cannot be the name of a system"),
            help: "use letters, digits, `.`, `_` and `-`".to_owned(),
        });
    }
    Ok(())
}
